// Package table is how benchmarks show what they have measured.
package table

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// Figure is one line: what was measured, what came out, what the goal is.
type Figure struct{ What, Value, Goal string }

// Write writes figures in columns.
func Write(w io.Writer, figures []Figure) error {
	for _, f := range figures {
		if _, err := fmt.Fprintf(w, "%-72s %-34s %s\n", f.What, f.Value, f.Goal); err != nil {
			return err
		}
	}
	return nil
}

// Latencies are how long each of many calls took.
type Latencies []time.Duration

// At is the quantile p, 0 to 1.
func (l Latencies) At(p float64) time.Duration {
	slices.Sort(l)
	return l[int(p*float64(len(l)-1))]
}

// String gives the median and p99.
func (l Latencies) String() string {
	if len(l) == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %s, p99 %s", l.At(0.5).Round(time.Microsecond), l.At(0.99).Round(time.Microsecond))
}

// Measure times a call so many times.
func Measure(n int, call func(i int) error) (Latencies, error) {
	var l Latencies
	for i := range n {
		start := time.Now()
		if err := call(i); err != nil {
			return nil, err
		}
		l = append(l, time.Since(start))
	}
	return l, nil
}
