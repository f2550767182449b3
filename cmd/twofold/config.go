package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/internal/server"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show, check and start a configuration",
	}
	group(cmd)
	cmd.AddCommand(newConfigPrint(), newConfigValidate(), newConfigInit())
	return cmd
}

func newConfigPrint() *cobra.Command {
	origin := false
	r := &remote{}
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Show the configuration that `twofold serve` would use with the same flags",
		Args:  args(cobra.NoArgs),
	}
	load := addConfigFlags(cmd)
	cmd.Flags().BoolVar(&origin, "origin", false, "show where each value comes from: default, file and line, environment or flag")
	r.addOutput(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := load()
		if err != nil {
			return err
		}
		switch {
		case r.output == "json":
			type line struct {
				server.Setting
				Origin string `json:"origin"`
			}
			var lines []line
			for _, s := range loaded.Settings {
				lines = append(lines, line{s, s.Origin.String()})
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(lines)
		case origin:
			return server.WriteOrigins(cmd.OutOrStdout(), loaded.Settings)
		}
		return server.WriteYAML(cmd.OutOrStdout(), loaded.Settings, false)
	}
	return cmd
}

func newConfigValidate() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a configuration file without starting anything",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			loaded, err := server.Load(server.Source{File: a[0]})
			if err != nil {
				return err
			}
			set := 0
			for _, s := range loaded.Settings {
				if s.Origin.Layer == server.LayerFile {
					set++
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "ok: %d of %d settings are set in %s, the others keep their defaults\n", set, len(loaded.Settings), a[0])
			return err
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
}

func newConfigInit() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Print a configuration file with every setting, its default and what it means",
		Long:  "Print a configuration file with every setting, its default and what it means:\n\n  twofold config init > twofold.yaml\n  twofold serve --config twofold.yaml",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := server.Load(server.Source{})
			if err != nil {
				return err
			}
			return server.WriteYAML(cmd.OutOrStdout(), loaded.Settings, true)
		},
	}
}
