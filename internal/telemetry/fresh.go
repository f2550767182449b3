package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// FreshQuery asks for samples of a thing that a reader who follows it has not seen.
type FreshQuery struct {
	Thing twin.ThingName
	// After is the last row that was seen: Fresh.Rows of the call before.
	After store.RowNumber
	// Seen is the newest row that was seen: Fresh.Seen of the call before. It is beyond After
	// where a row between waits for its time.
	Seen store.RowNumber
	// Again: some of the rows after Seen were seen, so none of them is counted as late.
	Again bool
	// Places are the times of the last samples that were seen, by metric.
	Places map[twin.MetricName]twin.Time
	// Skip says of which metrics the reader wants nothing; nil: of none.
	Skip  func(twin.MetricName) bool
	To    twin.Time // samples from then on wait
	Limit int       // samples of a series, about
}

// Fresh is what is new of a thing.
type Fresh struct {
	Samples []Sample // in order of time, of one time by metric
	Rows    store.RowNumber
	Seen    store.RowNumber
	// Late counts samples that came after later ones of their metric; they are not among Samples.
	Late int
	// Complete: there is no more. If not, ask again with the places moved on.
	Complete bool
}

// Sample is a point of a metric.
type Sample struct {
	Metric twin.MetricName
	Point
}

// Fresh returns what has come since. Where rows were folded before they were seen it reads
// columns, a part at a time.
func (r *Reader) Fresh(ctx context.Context, q FreshQuery) (Fresh, error) {
	l := r.locks.of(q.Thing)
	l.RLock()
	defer l.RUnlock()
	infos, err := r.store.SeriesOf(ctx, q.Thing)
	if err != nil {
		return Fresh{}, fmt.Errorf("read the series of %s: %w", q.Thing, err)
	}
	f := follower{reader: r, q: &q, views: map[twin.MetricName]*view{}, until: q.To}
	if err := f.unseen(infos); err != nil {
		return Fresh{}, err
	}
	if err := f.rows(ctx); err != nil {
		return Fresh{}, err
	}
	return f.samples(ctx)
}

// follower works out what is new.
type follower struct {
	reader  *Reader
	q       *FreshQuery
	views   map[twin.MetricName]*view
	columns bool // some have samples that were not seen
	future  bool // some rows wait for their time
	res     Fresh
	until   twin.Time
}

func (f *follower) place(m twin.MetricName) twin.Time {
	if t, ok := f.q.Places[m]; ok {
		return t
	}
	return math.MinInt64
}

func (f *follower) skips(m twin.MetricName) bool { return f.q.Skip != nil && f.q.Skip(m) }

func (f *follower) view(m twin.MetricName) *view {
	v := f.views[m]
	if v == nil {
		v = &view{store: f.reader.store, thing: f.q.Thing, metric: m, kept: map[twin.ValueType]*SeriesInfo{}, states: map[twin.ValueType][]series.State{}}
		f.views[m] = v
	}
	return v
}

// unseen finds the columns with samples that were not seen.
func (f *follower) unseen(infos []store.SeriesInfo) error {
	for i := range infos {
		if infos[i].Series == arrivals || f.skips(infos[i].Metric) {
			continue
		}
		info, err := parseInfo(&infos[i])
		if err != nil {
			return fmt.Errorf("%s of %s: %w", infos[i].Metric, f.q.Thing, err)
		}
		if info.Last > f.place(info.Metric) && info.First < f.q.To {
			f.view(info.Metric).kept[info.Type] = &info
			f.columns = true
		}
	}
	return nil
}

// rows reads the rows that are not folded: those that came since, or all if some came that are.
func (f *follower) rows(ctx context.Context) error {
	after := f.q.After
	if f.columns {
		after = 0
	}
	f.res.Rows, f.res.Seen = max(after, f.q.After), f.q.Seen
	for {
		rows, err := f.reader.store.Rows(ctx, f.q.Thing, after, rowsPage)
		if err != nil {
			return fmt.Errorf("read the telemetry of %s: %w", f.q.Thing, err)
		}
		for i := range rows {
			if err := f.row(&rows[i]); err != nil {
				return err
			}
			after = rows[i].Number
			f.res.Seen = max(f.res.Seen, after)
			if !f.future && !f.columns {
				f.res.Rows = max(f.res.Rows, after)
			}
		}
		if len(rows) < rowsPage {
			return nil
		}
	}
}

func (f *follower) row(row *store.SampleRow) error {
	if row.Time >= f.q.To {
		f.future = true
		return nil
	}
	err := twin.WalkValues(row.Values, func(metric []byte, x twin.RawValue) bool {
		name := twin.MetricName(metric)
		if f.skips(name) {
			return true
		}
		if row.Time <= f.place(name) {
			if row.Number > f.q.Seen && !f.q.Again {
				f.res.Late++
			}
			return true
		}
		if v := f.view(name); x.Type == twin.ValueNumber {
			v.numbers = append(v.numbers, series.Point{Time: row.Time, Value: x.Number})
		} else {
			v.states[x.Type] = append(v.states[x.Type], series.State{Time: row.Time, Value: stateOf(x)})
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("row %d of %s: %w", row.Number, f.q.Thing, err)
	}
	return nil
}

func (f *follower) samples(ctx context.Context) (Fresh, error) {
	for name, v := range f.views {
		v.numbers = numbers.inOrder(v.numbers)
		list, until, err := some(ctx, v, &numbers, twin.ValueNumber, v.numbers, f.place(name)+1, f.q.To, f.q.Limit+1)
		if err != nil {
			return Fresh{}, err
		}
		for _, x := range list {
			f.res.Samples = append(f.res.Samples, Sample{name, Point{x.Time, twin.NumberValue(x.Value)}})
		}
		f.until = min(f.until, until)
		for _, kind := range []twin.ValueType{twin.ValueBool, twin.ValueText} {
			list, until, err := some(ctx, v, &states, kind, states.inOrder(v.states[kind]), f.place(name)+1, f.q.To, f.q.Limit+1)
			if err != nil {
				return Fresh{}, err
			}
			for _, x := range list {
				f.res.Samples = append(f.res.Samples, Sample{name, Point{x.Time, valueOf(kind, x.Value)}})
			}
			f.until = min(f.until, until)
		}
	}
	f.res.Complete = f.until == f.q.To
	list := f.res.Samples
	slices.SortStableFunc(list, func(a, b Sample) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Metric, b.Metric))
	})
	end, _ := slices.BinarySearchFunc(list, f.until, func(x Sample, t twin.Time) int { return cmp.Compare(x.Time, t) })
	f.res.Samples = list[:end]
	return f.res, nil
}
