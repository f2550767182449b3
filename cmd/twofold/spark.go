package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

// sparkColumns is how many marks a drawn line has.
const sparkColumns = 60

// sparks are the marks from the lowest to the highest mean.
var sparks = []rune("▁▂▃▄▅▆▇█")

// spark draws each metric in a line: the means of stretches of time, a space for those
// without a number.
func (r *remote) spark(cmd *cobra.Command, c *client.Client, thing twin.ThingName, q client.SamplesQuery) error {
	if r.output != "table" {
		return &usageError{fmt.Errorf("--spark draws; it goes without -o %s", r.output)}
	}
	if q.To.IsZero() {
		q.To = time.Now()
	}
	if q.From.IsZero() {
		q.From = q.To.Add(-24 * time.Hour)
	}
	if !q.From.Before(q.To) {
		return &usageError{fmt.Errorf("--from %s is not before --to %s", local(q.From), local(q.To))}
	}
	q.Window, q.Figures = sparkWindow(q.To.Sub(q.From)), []string{"min", "avg", "max", "last"}
	s, err := c.Samples(cmd.Context(), thing, q)
	if err != nil {
		return explain(err)
	}
	return writeSparks(cmd.OutOrStdout(), s, q)
}

// sparkWindow is the length of a stretch: whole minutes where it has any.
func sparkWindow(span time.Duration) time.Duration {
	unit := time.Millisecond
	if span > sparkColumns*time.Minute {
		unit = time.Minute
	}
	return max(unit, (span/sparkColumns + unit - 1).Truncate(unit))
}

func writeSparks(w io.Writer, s *client.Samples, q client.SamplesQuery) error {
	if len(s.Series) == 0 {
		_, err := fmt.Fprintln(w, "no numbers in this time")
		return err
	}
	t := newTable(w)
	_, _ = fmt.Fprintf(t, "METRIC\t%s to %s, a mark is %s\tMIN\tMAX\tLAST\n", local(q.From), local(q.To), q.Window)               // into memory
	first := q.From.Add(-time.Duration(q.From.UnixMilli()%q.Window.Milliseconds()) * time.Millisecond).Truncate(time.Millisecond) // as the server's windows
	marks := int((q.To.Sub(first) + q.Window - 1) / q.Window)
	for i := range s.Series {
		m := &s.Series[i]
		low, high := math.Inf(1), math.Inf(-1)
		means := make([]float64, marks)
		for i := range means {
			means[i] = math.NaN()
		}
		for n, at := range m.Times {
			if i := int(at.Sub(first) / q.Window); i >= 0 && i < marks && m.Avg[n] != nil {
				means[i] = *m.Avg[n]
			}
			if m.Min[n] != nil && m.Max[n] != nil {
				low, high = min(low, *m.Min[n]), max(high, *m.Max[n])
			}
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", safe(m.Metric), drawSparks(means), figure(&low), figure(&high), figure(m.Last[len(m.Last)-1]))
	}
	return t.Flush()
}

// drawSparks draws numbers; NaN is a space.
func drawSparks(v []float64) string {
	low, high := math.Inf(1), math.Inf(-1)
	for _, x := range v {
		if !math.IsNaN(x) {
			low, high = min(low, x), max(high, x)
		}
	}
	var b strings.Builder
	for _, x := range v {
		switch {
		case math.IsNaN(x):
			b.WriteByte(' ')
		case low == high:
			b.WriteRune(sparks[len(sparks)/2])
		default:
			b.WriteRune(sparks[min(int((x-low)/(high-low)*float64(len(sparks))), len(sparks)-1)])
		}
	}
	return b.String()
}
