package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/internal/server"
)

func newVersion() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this binary",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := server.Build()
			if r.output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(b)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "twofold %s\n", describe(b))
			return err
		},
	}
	r.addOutput(cmd, "text", "json")
	return cmd
}

// commitShown is how many characters of a commit are shown to people.
const commitShown = 12

func describe(b server.BuildInfo) string {
	s := b.Version
	if b.Commit != "" {
		s += "  commit " + b.Commit[:min(len(b.Commit), commitShown)]
		if b.Modified {
			s += " (modified)"
		}
	}
	return s + "  " + b.Go + " " + b.Platform
}
