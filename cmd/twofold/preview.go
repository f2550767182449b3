package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

func newModelPreview() *cobra.Command {
	r := &remote{}
	var file, from, to, thing string
	var ours bool
	cmd := &cobra.Command{
		Use:   "preview NAME",
		Short: "Replay the past: how often would the alarms of a model have been raised",
		Long: "Replay the past: how often would the alarms of a model have been raised in the last 30 days, and what would its\n" +
			"state machine have told. It is the version in force, or with --file a definition that is not. Nothing is changed.\n" +
			"Samples count at their own times. Beside it stands how often alarms of that name were raised in fact.",
		Example: "  twofold model preview pump\n  twofold model preview pump --file pump.yaml --from 7d --thing pump-7",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			q := client.PreviewModel{Name: a[0], Thing: twin.ThingName(thing)}
			var err error
			if q.From, q.To, err = times(from, to); err != nil {
				return err
			}
			if file != "" {
				if q.Source, err = readModel(cmd.InOrStdin(), file, ours); err != nil {
					return err
				}
			}
			return r.withModel(func(c *client.Client) error {
				p, err := c.PreviewModel(cmd.Context(), q)
				if err != nil {
					return err
				}
				if r.output == "json" {
					_, err := cmd.OutOrStdout().Write(p.Raw)
					return err
				}
				return writePreview(cmd.OutOrStdout(), p)
			})
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "a definition that is not in force, - is the standard input")
	cmd.Flags().BoolVar(&ours, "builtin", false, "--file names a model that comes with twofold")
	addTimes(cmd, &from, &to)
	cmd.Flags().StringVar(&thing, "thing", "", "only this `thing`")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func addTimes(cmd *cobra.Command, from, to *string) {
	cmd.Flags().StringVar(from, "from", "", "from this `time` on; "+whenHelp)
	cmd.Flags().StringVar(to, "to", "", "before this `time`")
}

func times(from, to string) (start, end time.Time, err error) {
	w := window{from: from, to: to}
	return w.times()
}

func writePreview(w io.Writer, p *client.Preview) error {
	if _, err := fmt.Fprintf(w, "%s  %s to %s  %s, %s, %s\n", safe(p.Model), local(p.From), local(p.To), many(p.Replayed, "twin"), many(p.Updates, "update"), many(p.Samples, "sample")); err != nil {
		return err
	}
	if !p.Complete {
		if _, err := fmt.Fprintf(w, "  of %s, as the rest is more than one request replays; --thing or a shorter time shows it\n", many(p.Twins, "twin")); err != nil {
			return err
		}
	}
	var rows [][]string
	for i := range p.Alarms {
		a := &p.Alarms[i]
		rows = append(rows, []string{"  " + safe(a.Name), a.Severity, often(a.Count), many(a.Twins, "twin"), lasted(a.Held), lasted(a.Longest), often(a.Recorded)})
	}
	if len(rows) > 0 {
		if err := writeCells(w, []string{"  alarm", "severity", "raised", "on", "in all", "longest", "in fact"}, rows); err != nil {
			return err
		}
	}
	for i := range p.Alarms {
		if err := writeRaises(w, p, i); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Behaviour)) {
		if _, err := fmt.Fprintf(w, "  behaviour: %s %s\n", safe(name), often(p.Behaviour[name])); err != nil {
			return err
		}
	}
	return nil
}

func writeRaises(w io.Writer, p *client.Preview, i int) error {
	const shown = 3
	a := &p.Alarms[i]
	for _, x := range a.Newest[:min(len(a.Newest), shown)] {
		end := "to the end"
		if !x.To.IsZero() {
			end = "for " + lasted(x.To.Sub(x.From).Seconds())
		}
		if _, err := fmt.Fprintf(w, "  %s  %s  %s  %s  %s\n", safe(a.Name), x.DeviceID, local(x.From), end, safe(x.Message)); err != nil {
			return err
		}
	}
	return nil
}

// computedPast shows the past of one computed attribute.
func computedPast(cmd *cobra.Command, r *remote, c *client.Client, q client.ComputedHistoryQuery) error {
	h, err := c.ComputedHistory(cmd.Context(), q)
	if err != nil {
		return explain(err)
	}
	w := cmd.OutOrStdout()
	if r.output == "json" {
		_, err := w.Write(h.Raw)
		return err
	}
	t := newTable(w)
	for i := range h.Points {
		x := &h.Points[i]
		note := ""
		switch {
		case x.Revised && x.RecordedBy == 0:
			note = "revised; nothing was recorded"
		case x.Revised:
			note = fmt.Sprintf("revised; recorded by v%d: %s", x.RecordedBy, valueText(x.Recorded))
		}
		if _, err := fmt.Fprintf(t, "%s\t%s\tv%d\t%s\n", local(x.Time), valueText(x.Value), x.ModelVersion, note); err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(h.Points) == 0 {
		_, err = fmt.Fprintln(w, "nothing was computed in that time")
	} else if !h.Complete {
		_, err = fmt.Fprintf(w, "more from %s on\n", h.Until.Format(time.RFC3339Nano))
	}
	return err
}
