package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

const seriesLimitDefault = 1000

func newSeries() *cobra.Command {
	r, w := &remote{}, &window{}
	q := client.SamplesQuery{}
	cmd := &cobra.Command{
		Use:   "series THING [METRIC...]",
		Short: "Show the telemetry of a thing, or list its metrics",
		Long: "Show metrics of a thing, oldest first, of the last day if no time is given; without a metric list them\n" +
			"with their last values. With --window show count, minimum, mean and maximum of the numbers instead.",
		Example: "  twofold series pump-7\n  twofold series pump-7 temperature motor.speed --from 1h\n  twofold series pump-7 temperature --from 7d --window 1h -o csv",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			q.Metrics, q.Limit = a[1:], w.limit
			if q.From, q.To, err = w.times(); err != nil {
				return err
			}
			if q.Window < 0 {
				return &usageError{fmt.Errorf("--window %s is negative", q.Window)}
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			if len(q.Metrics) == 0 {
				return r.metrics(cmd, c, thing)
			}
			return r.samples(cmd, c, thing, q)
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	f := cmd.Flags()
	f.StringVar(&w.from, "from", "", "from this `time` on; "+whenHelp)
	f.StringVar(&w.to, "to", "", "before this `time`")
	f.IntVarP(&w.limit, "limit", "n", seriesLimitDefault, "at most so `many` points or windows of a metric; 0: as many as one answer has")
	f.DurationVar(&q.Window, "window", 0, "figures of windows of this `length`, such as 1m")
	r.addServer(cmd)
	r.addOutput(cmd, "table", "csv", "json")
	return cmd
}

// metrics lists what a thing measures.
func (r *remote) metrics(cmd *cobra.Command, c *client.Client, thing twin.ThingName) error {
	if r.output == "csv" {
		return &usageError{errors.New("csv needs a metric")}
	}
	list, err := c.Metrics(cmd.Context(), thing)
	if err != nil {
		return explain(err)
	}
	out := cmd.OutOrStdout()
	if r.output == "json" {
		_, err = out.Write(list.Raw)
		return err
	}
	if len(list.Metrics) == 0 {
		_, err = fmt.Fprintln(out, "no telemetry")
		return err
	}
	t := newTable(out)
	_, _ = fmt.Fprintln(t, "METRIC\tTYPE\tFIRST\tLAST\tCOUNT\tVALUE") // into memory
	for _, m := range list.Metrics {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\n", safe(m.Metric), m.Type, local(m.First), local(m.Last), m.Count, show(m.Value))
	}
	if !list.Complete {
		_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "there are more metrics than can be listed")
	}
	return t.Flush()
}

// samples shows metrics.
func (r *remote) samples(cmd *cobra.Command, c *client.Client, thing twin.ThingName, q client.SamplesQuery) error {
	out, note := cmd.OutOrStdout(), cmd.ErrOrStderr()
	if r.output == "csv" {
		table, more, err := c.SamplesTable(cmd.Context(), thing, q)
		if err != nil {
			return explain(err)
		}
		if more {
			_, _ = fmt.Fprintln(note, "there is more: give a greater --limit, or a later --from")
		}
		_, err = out.Write(table)
		return err
	}
	s, err := c.Samples(cmd.Context(), thing, q)
	if err != nil {
		return explain(err)
	}
	if r.output == "json" {
		_, err = out.Write(s.Raw)
		return err
	}
	if !s.Complete {
		_, _ = fmt.Fprintf(note, "there is more: --from %s\n", s.Until.Format(time.RFC3339Nano))
	}
	return writeSamples(out, s, q.Window > 0)
}

func writeSamples(w io.Writer, s *client.Samples, windows bool) error {
	if len(s.Series) == 0 {
		_, err := fmt.Fprintln(w, "nothing in this time")
		return err
	}
	t := newTable(w)
	head := "TIME\tMETRIC\tVALUE"
	if windows {
		head = "TIME\tMETRIC\tCOUNT\tMIN\tAVG\tMAX"
	}
	_, _ = fmt.Fprintln(t, head) // into memory
	for i := range s.Series {
		m := &s.Series[i]
		for n, at := range m.Times {
			line := local(at) + "\t" + safe(m.Metric)
			if windows {
				line += fmt.Sprintf("\t%d\t%s\t%s\t%s", m.Count[n], figure(m.Min[n]), figure(m.Avg[n]), figure(m.Max[n]))
			} else {
				line += "\t" + show(m.Values[n])
			}
			_, _ = fmt.Fprintln(t, line)
		}
	}
	return t.Flush()
}

// figure writes a number with so many digits as a reader takes in.
func figure(v *float64) string {
	if v == nil {
		return notSet
	}
	return strconv.FormatFloat(*v, 'g', 6, 64)
}
