package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
)

func newStorage() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "Tell what the data takes on disk, how it grows, and when the disk will be full",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			s, err := c.Storage(cmd.Context())
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err = cmd.OutOrStdout().Write(s.Raw)
				return err
			}
			return writeStorage(cmd.OutOrStdout(), s)
		},
	}
	r.addServer(cmd)
	r.addOutput(cmd, "table", "json")
	return cmd
}

func writeStorage(w io.Writer, s *client.Storage) error {
	t := newTable(w)
	row := func(cells ...any) {
		_, _ = fmt.Fprintf(t, "%v\t%v\n", cells...) // into memory
	}
	row("used", size(s.UsedBytes))
	row("free", size(s.FreeBytes))
	for _, k := range s.Kinds {
		row("  "+k.Kind, size(k.Bytes))
	}
	growth := "not known yet"
	if s.GrowthBytes != nil {
		growth = size(*s.GrowthBytes) + " a day"
	}
	row("growth", growth)
	full := s.Why
	if s.Full != nil {
		full = "about " + s.Full.Format(time.DateOnly)
	}
	row("full", full)
	row("kept", fmt.Sprintf("history %s, events %s, telemetry %s, rollups %s", s.Retention.History, s.Retention.Events, s.Retention.Telemetry, s.Retention.Rollups))
	for _, m := range s.Retention.Metrics {
		row("  ", m)
	}
	for _, m := range s.Retention.Models {
		row("  "+m.Model, fmt.Sprintf("history %s, events %s; takes %s and %s", m.History, m.Events, size(m.HistoryBytes), size(m.EventsBytes)))
	}
	if b := s.Budget; b != nil {
		reached := b.Why
		if b.Reached != nil {
			reached = "reached about " + b.Reached.Format(time.DateOnly)
		}
		row("budget", size(b.Bytes)+", "+reached)
		for _, n := range b.Next {
			row("  goes then", fmt.Sprintf("%s of %s, %s", n.Kind, n.Day, size(n.Bytes)))
		}
	}
	if n := len(s.Days); n > 0 {
		row("days", fmt.Sprintf("%d, from %s to %s", n, s.Days[0].Day, s.Days[n-1].Day))
	}
	row("things", s.Things)
	for _, l := range s.Largest {
		row("  "+string(l.Thing), fmt.Sprintf("%d events", l.Events))
	}
	return t.Flush()
}

// size writes a number of bytes so that a reader sees three figures of it.
func size(n uint64) string {
	v, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}
