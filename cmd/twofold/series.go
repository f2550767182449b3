package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

const seriesLimitDefault = 1000

var seriesFormats = map[string]client.TelemetryFormat{"csv": client.CSV, "ndjson": client.NDJSON, "parquet": client.Parquet}

func newSeries() *cobra.Command {
	r, w := &remote{}, &window{}
	q := client.SamplesQuery{}
	spark := false
	cmd := &cobra.Command{
		Use:   "series THING [METRIC...]",
		Short: "Show the telemetry of a thing, or list its metrics",
		Long: "Show metrics of a thing, oldest first, of the last day if no time is given; without a metric list them\n" +
			"with their last values. With --window show figures of the numbers instead: count, minimum, mean and maximum, or\n" +
			"those of --fn: count, min, max, avg, sum, first, last, twa (mean by time), delta, rate, p50, p95, p99, duration\n" +
			"(of states). With --points show as many points as a chart of so many pixels needs, with --spark draw one.",
		Example: "  twofold series pump-7\n  twofold series pump-7 temperature motor.speed --from 1h\n" +
			"  twofold series pump-7 temperature --from 7d --window 1h --fn twa,p95 -o csv\n  twofold series pump-7 temperature mode --from 7d --spark",
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			q.Metrics, q.Limit = a[1:], w.limit
			if q.From, q.To, err = w.times(); err != nil {
				return err
			}
			if q.Points > 0 && q.Window != 0 || spark && (q.Points > 0 || q.Window != 0) {
				return &usageError{errors.New("--points, --window and --spark go one at a time")}
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
			if q.Points > 0 || spark {
				q.Limit = 0
			}
			if spark {
				return r.spark(cmd, c, thing, q)
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
	f.StringSliceVar(&q.Figures, "fn", nil, "`figures` of the windows")
	f.IntVar(&q.Points, "points", 0, "as a chart of so `many` columns of pixels")
	f.BoolVar(&spark, "spark", false, "draw the numbers in one line")
	r.addServer(cmd)
	r.addOutput(cmd, "table", "csv", "json", "ndjson", "parquet")
	return cmd
}

// metrics lists what a thing measures.
func (r *remote) metrics(cmd *cobra.Command, c *client.Client, thing twin.ThingName) error {
	if seriesFormats[r.output] != "" {
		return &usageError{fmt.Errorf("%s needs a metric", r.output)}
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
	if f := seriesFormats[r.output]; f != "" {
		table, more, err := c.SamplesAs(cmd.Context(), thing, q, f)
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
	return writeSamples(out, s, q)
}

// seriesFigures are those of a table if none are asked for.
var seriesFigures = []string{"count", "min", "avg", "max"}

func writeSamples(w io.Writer, s *client.Samples, q client.SamplesQuery) error {
	if len(s.Series) == 0 {
		_, err := fmt.Fprintln(w, "nothing in this time")
		return err
	}
	t := newTable(w)
	head := []string{"TIME", "METRIC"}
	figures := q.Figures
	switch {
	case q.Window == 0:
		head = append(head, "VALUE")
	case len(figures) == 0:
		figures = seriesFigures
	}
	for _, name := range figures {
		if name == "duration" {
			head = append(head, "STATE")
		}
		head = append(head, strings.ToUpper(name))
	}
	_, _ = fmt.Fprintln(t, strings.Join(head, "\t")) // into memory
	for i := range s.Series {
		m := &s.Series[i]
		for n, at := range m.Times {
			line := []string{local(at), safe(m.Metric)}
			if q.Window == 0 {
				line = append(line, show(m.Values[n]))
			}
			_, _ = fmt.Fprintln(t, strings.Join(appendFigures(line, m, figures, n), "\t"))
		}
	}
	return t.Flush()
}

// appendFigures appends the figures of the n-th window.
func appendFigures(line []string, m *client.MetricSeries, figures []string, n int) []string {
	for _, name := range figures {
		column := m.Figure(name)
		switch {
		case name == "count" && n < len(m.Count):
			line = append(line, strconv.Itoa(m.Count[n]))
		case name == "duration" && n < len(column):
			line = append(line, show(m.State), (time.Duration(*column[n]*1000) * time.Millisecond).String())
		case name == "duration":
			line = append(line, notSet, notSet)
		case n < len(column):
			line = append(line, figure(column[n]))
		default:
			line = append(line, notSet)
		}
	}
	return line
}

// figure writes a number with so many digits as a reader takes in.
func figure(v *float64) string {
	if v == nil {
		return notSet
	}
	return strconv.FormatFloat(*v, 'g', 6, 64)
}
