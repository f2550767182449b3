package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
)

func newList() *cobra.Command {
	r := &remote{}
	var model string
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List all twins",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			twins := c.TwinsOfModel(cmd.Context(), model)
			switch r.output {
			case "json":
				err = writeArray(cmd.OutOrStdout(), twins)
			case "ndjson":
				err = writeLines(cmd.OutOrStdout(), twins)
			default:
				err = writeList(cmd.OutOrStdout(), twins)
			}
			return explain(err)
		},
	}
	cmd.Flags().StringVar(&model, "model", "", "only twins that have this `model`")
	r.addServer(cmd)
	r.addOutput(cmd, "table", "json", "ndjson")
	return cmd
}

// writeArray writes one object with all twins, as the server's pages put together.
func writeArray(w io.Writer, twins iter.Seq2[client.Summary, error]) (err error) {
	b := bufio.NewWriter(w)
	defer func() { err = errors.Join(err, b.Flush()) }()
	separator := `{"twins":[` + "\n"
	for t, err := range twins {
		if err != nil {
			return err
		}
		if _, err := b.WriteString(separator); err != nil {
			return err
		}
		if _, err := b.Write(t.Raw); err != nil {
			return err
		}
		separator = ",\n"
	}
	end := "\n]}\n"
	if separator != ",\n" {
		end = `{"twins":[]}` + "\n"
	}
	_, err = b.WriteString(end)
	return err
}

func writeLines(w io.Writer, twins iter.Seq2[client.Summary, error]) (err error) {
	b := bufio.NewWriter(w)
	defer func() { err = errors.Join(err, b.Flush()) }()
	for t, err := range twins {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(b, "%s\n", t.Raw); err != nil {
			return err
		}
	}
	return nil
}

func writeList(w io.Writer, twins iter.Seq2[client.Summary, error]) error {
	tw := newTable(w)
	n := 0
	now := time.Now()
	for t, err := range twins {
		if err != nil {
			return err
		}
		if n++; n == 1 {
			if _, err := fmt.Fprintln(tw, "THING\tVERSION\tLAST SEEN\tDRIFT"); err != nil {
				return err
			}
		}
		version, seen, drift := notSet, notSet, notSet
		if t.Version != 0 {
			version = fmt.Sprintf("v%d", t.Version)
		}
		if !t.LastSeen.IsZero() {
			seen = age(now.Sub(t.LastSeen)) + " ago"
		}
		if t.Delta != nil {
			drift = "→ " + safe(string(t.Delta))
		}
		if _, err := fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", t.DeviceID, version, seen, drift); err != nil {
			return err
		}
	}
	if n == 0 {
		_, err := fmt.Fprintln(w, "no twins yet; the first update of a thing makes its twin")
		return err
	}
	return tw.Flush()
}
