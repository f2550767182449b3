package telemetry

import (
	"context"

	"github.com/twofold-iot/twofold/twin"
)

// Window is what the numbers of a stretch of time come to.
type Window struct {
	Start         twin.Time // a multiple of the length since 1970
	Count         int
	Min, Max, Sum float64
	First, Last   float64 // by time
}

// Avg is the mean of the numbers.
func (w *Window) Avg() float64 { return w.Sum / float64(w.Count) }

func (w *Window) add(v float64) {
	if w.Count == 0 {
		w.Min, w.Max, w.First = v, v, v
	}
	w.Count++
	w.Min, w.Max, w.Sum, w.Last = min(w.Min, v), max(w.Max, v), w.Sum+v, v
}

// Windows is what there is of a metric before an instant.
type Windows struct {
	Windows  []Window // those with a number in them, by time
	Until    twin.Time
	Complete bool // if not, go on with Until as From
}

// Windows returns the numbers of a metric in windows of one length. Those at the ends
// hold what is between From and To only. It ends early, between two windows, after
// Limit of them or when it has taken many points.
func (r *Reader) Windows(ctx context.Context, q Query) (Windows, error) {
	if err := q.check(); err != nil {
		return Windows{}, err
	}
	if q.Window < 1 {
		return Windows{}, twin.NewError(twin.KindInvalid, "window: it is shorter than a millisecond")
	}
	res := Windows{}
	for rest := q; ; {
		p, err := r.points(ctx, &rest, windowSamples, twin.ValueNumber)
		if err != nil {
			return Windows{}, err
		}
		for _, x := range p.Points {
			start := x.Time - x.Time%q.Window
			if n := len(res.Windows); n == 0 || res.Windows[n-1].Start != start {
				if n == q.Limit {
					res.Until = start
					return res, nil
				}
				res.Windows = append(res.Windows, Window{Start: start})
			}
			res.Windows[len(res.Windows)-1].add(x.Value.Number)
		}
		if p.Complete {
			res.Until, res.Complete = q.To, true
			return res, nil
		}
		// A window that is not at its end is for the next call, but for one that alone
		// has more than a pass takes.
		if n := len(res.Windows) - 1; n > 0 {
			res.Until, res.Windows = res.Windows[n].Start, res.Windows[:n]
			return res, nil
		}
		rest.From = p.Until
	}
}
