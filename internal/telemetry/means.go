package telemetry

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// MeansMax is the most metrics of which [Reader.Means] gives the mean: a thing with more
// is not looked at as a whole.
const MeansMax = 50

// Mean is the mean of a metric by time.
type Mean struct {
	Metric twin.MetricName
	Value  float64
}

// Means returns the time-weighted means of the numbers of a thing between two times, by
// metric: each number counts for as long as it holds. Metrics that have no number at any of that
// time are absent. Of more than [MeansMax] metrics those first by name count, and
// complete is false.
func (r *Reader) Means(ctx context.Context, thing twin.ThingName, from, to twin.Time) (means []Mean, complete bool, err error) {
	if from >= to {
		return nil, true, nil
	}
	l := r.locks.of(thing)
	l.RLock()
	defer l.RUnlock()
	views, err := r.numberViews(ctx, thing, to)
	if err != nil {
		return nil, false, err
	}
	names := slices.Sorted(maps.Keys(views))
	complete = len(names) <= MeansMax
	for _, name := range names[:min(len(names), MeansMax)] {
		v, ok, err := views[name].mean(ctx, from, to)
		if err != nil {
			return nil, false, err
		}
		if ok {
			means = append(means, Mean{name, v})
		}
	}
	return means, complete, nil
}

// numberViews looks at all numbers of a thing before a time at once.
func (r *Reader) numberViews(ctx context.Context, thing twin.ThingName, to twin.Time) (map[twin.MetricName]*view, error) {
	views := make(map[twin.MetricName]*view)
	of := func(metric twin.MetricName) *view {
		v := views[metric]
		if v == nil {
			v = &view{store: r.store, thing: thing, metric: metric, kept: make(map[twin.ValueType]*SeriesInfo)}
			views[metric] = v
		}
		return v
	}
	infos, err := r.store.SeriesOf(ctx, thing)
	if err != nil {
		return nil, fmt.Errorf("read the series of %s: %w", thing, err)
	}
	for i := range infos {
		if infos[i].Type != twin.ValueNumber || infos[i].Series == arrivals {
			continue
		}
		info, err := parseInfo(&infos[i])
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", infos[i].Metric, thing, err)
		}
		of(info.Metric).kept[twin.ValueNumber] = &info
	}
	err = eachValue(ctx, r.store, thing, func(row *store.SampleRow, metric []byte, x twin.RawValue) {
		if x.Type != twin.ValueNumber || row.Time >= to {
			return
		}
		v := views[twin.MetricName(metric)]
		if v == nil {
			v = of(twin.MetricName(string(metric)))
		}
		v.numbers = append(v.numbers, series.Point{Time: row.Time, Value: x.Number})
	})
	for _, v := range views {
		v.numbers = numbers.inOrder(v.numbers)
	}
	return views, err
}

// mean is the mean of one metric; false if it has no number at any of the time.
func (v *view) mean(ctx context.Context, from, to twin.Time) (float64, bool, error) {
	w := &windower{view: v, q: &Query{From: from, To: to, Limit: PointsMax, Window: day}}
	if err := w.run(ctx); err != nil {
		return 0, false, err
	}
	sum := series.Rollup{Start: from}
	for i := range w.res.Windows {
		sum.Merge(&w.res.Windows[i].Rollup)
	}
	before, err := v.before(ctx, from)
	if err != nil {
		return 0, false, err
	}
	mean, ok := sum.TimeWeighted(before, to)
	return mean, ok, nil
}
