package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
)

func newFleetChanges() *cobra.Command {
	r := &remote{}
	q := client.FleetChangesQuery{}
	from, to := "", ""
	cmd := &cobra.Command{
		Use:   "changes [CONDITION]",
		Short: "Say what is different between two instants",
		Long: "Say what is different between two instants: for which twins a condition holds now and did not, for which it does not\n" +
			"any more, and of the others what that is shown has changed. Without a condition all twins are compared.",
		Example: "  twofold fleet changes --from 6h\n  twofold fleet changes 'reported.temperature > 80' --from '2026-11-23 03:00' --to '2026-11-23 04:00'\n  twofold fleet changes --from 1d --select reported.firmware",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(a) == 1 {
				q.Where = a[0]
			}
			if from == "" {
				return &usageError{fmt.Errorf("--from is missing: %s", whenHelp)}
			}
			if err := past(&q.From, from); err != nil {
				return err
			}
			if err := past(&q.To, to); err != nil {
				return err
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			f, err := c.FleetChanges(cmd.Context(), &q)
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err := cmd.OutOrStdout().Write(f.Raw)
				return err
			}
			return writeFleetChanges(cmd.OutOrStdout(), f)
		},
	}
	addTimes(cmd, &from, &to)
	cmd.Flags().StringArrayVar(&q.Select, "select", nil, "`expression` to compare, such as reported.firmware; may be repeated")
	cmd.Flags().IntVar(&q.Limit, "limit", 0, "at most so many, up to 1000 (default 100)")
	r.addServer(cmd)
	r.addOutput(cmd, "table", "json")
	return cmd
}

func writeFleetChanges(w io.Writer, f *client.FleetChanges) error {
	var rows [][]string
	for _, t := range f.Twins {
		cells := []string{string(t.DeviceID), t.Kind}
		for _, name := range f.Columns {
			before, after := cellText(t.Before[name]), cellText(t.After[name])
			if before == after {
				cells = append(cells, before)
			} else {
				cells = append(cells, before+" → "+after)
			}
		}
		rows = append(rows, cells)
	}
	if len(rows) > 0 {
		if err := writeCells(w, append([]string{"id", ""}, f.Columns...), rows); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s then, %d now: %d entered, %d left, %d changed\n", many(f.Before, "twin"), f.After, f.Entered, f.Left, f.Changed)
	if err == nil && f.Next != "" {
		_, err = fmt.Fprintln(w, "--limit shows more")
	}
	return err
}
