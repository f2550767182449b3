package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of reading. They bound the memory of a call, however much a thing has sent.
const (
	PointsMax = 10_000 // points, or windows, of one answer
	SeriesMax = 10_000 // series of a thing that are listed

	rowsPage = 4096 // rows read at a time
)

// Reader reads samples back: what is in columns, and the rows that are not yet. Its
// methods may be called by several goroutines.
type Reader struct {
	store store.SampleReader
	locks *locks
}

// NewReader returns a Reader of a store in which nothing is folded meanwhile.
func NewReader(s store.SampleReader) *Reader { return &Reader{s, newLocks()} }

// Reader returns a Reader of the store.
func (t *Telemetry) Reader() *Reader { return &Reader{t.store, t.locks} }

// Query selects samples of one metric: From <= time < To.
type Query struct {
	Thing    twin.ThingName
	Metric   twin.MetricName
	From, To twin.Time
	Limit    int       // points, or windows; 1 to [PointsMax]
	Window   twin.Time // length in milliseconds, of [Reader.Windows]
	// What windows need to have beside their figures: the number before the first of
	// them, and quantiles.
	Before, Quantiles bool
}

func (q *Query) check() error {
	switch {
	case q.Limit < 1 || q.Limit > PointsMax:
		return twin.NewError(twin.KindInvalid, fmt.Sprintf("limit: %d is not between 1 and %d", q.Limit, PointsMax))
	case q.From > q.To:
		return twin.NewError(twin.KindInvalid, "from: it is after to")
	}
	return q.Metric.Check()
}

// Point is a value at a time.
type Point struct {
	Time  twin.Time
	Value twin.Value
}

// Points is what there is of a metric before an instant.
type Points struct {
	// Points are in order of time, and of one time in order of type. A metric whose
	// values have several types is so many series.
	Points []Point
	// Until is how far the points go. If Complete is not set go on with it as From.
	Until    twin.Time
	Complete bool
}

// Points returns the points of a metric. Of two of one time and type the one that
// came later counts. It ends early at an instant and not within one, so that there may
// be a few points more than Limit.
func (r *Reader) Points(ctx context.Context, q Query) (Points, error) {
	if err := q.check(); err != nil {
		return Points{}, err
	}
	v, err := r.look(ctx, q.Thing, q.Metric, q.To)
	if err != nil {
		return Points{}, err
	}
	defer v.close()
	p := Points{Until: q.To}
	var all []Point
	for _, kind := range []twin.ValueType{twin.ValueNumber, twin.ValueBool, twin.ValueText} {
		var until twin.Time
		if kind == twin.ValueNumber {
			list, end, err := some(ctx, v, &numbers, kind, v.numbers, q.From, q.To, q.Limit+1)
			if err != nil {
				return Points{}, err
			}
			for _, x := range list {
				all = append(all, Point{x.Time, twin.NumberValue(x.Value)})
			}
			until = end
		} else {
			list, end, err := some(ctx, v, &states, kind, v.states[kind], q.From, q.To, q.Limit+1)
			if err != nil {
				return Points{}, err
			}
			for _, x := range list {
				all = append(all, Point{x.Time, valueOf(kind, x.Value)})
			}
			until = end
		}
		p.Until = min(p.Until, until)
	}
	slices.SortStableFunc(all, func(a, b Point) int { return cmp.Compare(a.Time, b.Time) })
	for _, x := range all {
		if n := len(p.Points); x.Time >= p.Until || n >= q.Limit && x.Time > p.Points[n-1].Time {
			p.Until = min(p.Until, x.Time)
			break
		}
		p.Points = append(p.Points, x)
	}
	p.Complete = p.Until == q.To
	return p, nil
}

// view is a look at one metric of a thing. While it is open no fold moves its rows.
type view struct {
	store  store.SampleReader
	unlock func()
	thing  twin.ThingName
	metric twin.MetricName
	// kept says of which types there are columns, and from when to when.
	kept map[twin.ValueType]*SeriesInfo
	// numbers and states are of the rows, in order of time.
	numbers []series.Point
	states  map[twin.ValueType][]series.State
}

// look opens a view of what there is before a time. Close it.
func (r *Reader) look(ctx context.Context, thing twin.ThingName, metric twin.MetricName, to twin.Time) (*view, error) {
	l := r.locks.of(thing)
	l.RLock()
	v := &view{
		store: r.store, unlock: l.RUnlock, thing: thing, metric: metric,
		kept: make(map[twin.ValueType]*SeriesInfo), states: make(map[twin.ValueType][]series.State),
	}
	err := v.read(ctx, to)
	if err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (v *view) close() { v.unlock() }

func (v *view) read(ctx context.Context, to twin.Time) error {
	infos, err := v.store.SeriesOf(ctx, v.thing)
	if err != nil {
		return fmt.Errorf("read the series of %s: %w", v.thing, err)
	}
	if v.metric == arrivals.Metric {
		return v.readArrivals(ctx, infos, to)
	}
	for i := range infos {
		if infos[i].Metric != v.metric {
			continue
		}
		info, err := parseInfo(&infos[i])
		if err != nil {
			return fmt.Errorf("%s of %s: %w", v.metric, v.thing, err)
		}
		v.kept[info.Type] = &info
	}
	err = eachValue(ctx, v.store, v.thing, func(row *store.SampleRow, metric []byte, x twin.RawValue) {
		switch {
		case row.Time >= to || string(metric) != string(v.metric):
		case x.Type == twin.ValueNumber:
			v.numbers = append(v.numbers, series.Point{Time: row.Time, Value: x.Number})
		default:
			v.states[x.Type] = append(v.states[x.Type], series.State{Time: row.Time, Value: stateOf(x)})
		}
	})
	v.numbers = numbers.inOrder(v.numbers)
	for kind, list := range v.states {
		v.states[kind] = states.inOrder(list)
	}
	return err
}

// readArrivals looks at the arrivals, which are between those of all series.
func (v *view) readArrivals(ctx context.Context, infos []store.SeriesInfo, to twin.Time) error {
	for i := range infos {
		if infos[i].Series == arrivals {
			continue
		}
		info, err := parseInfo(&infos[i])
		if err != nil {
			return fmt.Errorf("%s of %s: %w", infos[i].Metric, v.thing, err)
		}
		all := v.kept[twin.ValueNumber]
		if all == nil {
			v.kept[twin.ValueNumber] = &info
			continue
		}
		all.First, all.Last = min(all.First, info.First), max(all.Last, info.Last)
	}
	err := eachRow(ctx, v.store, v.thing, func(row *store.SampleRow) error {
		if row.Time < to {
			v.numbers = append(v.numbers, series.Point{Time: row.Time, Value: float64(row.Arrival - row.Time)})
		}
		return nil
	})
	v.numbers = numbers.inOrder(v.numbers)
	return err
}

// of is the series of a type.
func (v *view) of(kind twin.ValueType) store.Series {
	return store.Series{Metric: v.metric, Type: kind}
}

// some returns samples of one type from a time on, in order, and up to which time they are
// all that there are: it takes about so many from columns.
func some[T any](ctx context.Context, v *view, c *codec[T], kind twin.ValueType, rows []T, from, to twin.Time, most int) ([]T, twin.Time, error) {
	until := to
	var list []T
	if info := v.kept[kind]; info != nil {
		for at := max(from, info.First); at < min(to, info.Last+1); at = series.StartOf(at, day) + day {
			cols, err := columns(ctx, v.store, v.thing, v.of(kind), store.LevelSamples, series.StartOf(at, day), series.StartOf(at, day)+day)
			if err != nil {
				return nil, 0, err
			}
			if list, err = c.read(list, cols, from, to, most); err != nil {
				return nil, 0, err
			}
			if len(list) >= most {
				until = c.at(&list[most-1])
				list = list[:most-1]
				break
			}
		}
	}
	rows = rows[c.search(rows, from):]
	return c.merge(list, rows[:c.search(rows, until)]), until, nil
}

// Arrivals returns how long after their time the rows of a thing arrived, in milliseconds, in
// order of their times; negative if the clock of the thing is ahead. Of two rows of one
// time it is the one that came later.
func (r *Reader) Arrivals(ctx context.Context, thing twin.ThingName, from, to twin.Time) ([]series.Point, error) {
	v, err := r.look(ctx, thing, arrivals.Metric, to)
	if err != nil {
		return nil, err
	}
	defer v.close()
	list, _, err := some(ctx, v, &numbers, twin.ValueNumber, v.numbers, from, to, math.MaxInt)
	return list, err
}

// LastArrival returns when the newest row of a thing arrived, zero if there is none.
func (r *Reader) LastArrival(ctx context.Context, thing twin.ThingName) (last twin.Time, err error) {
	l := r.locks.of(thing)
	l.RLock()
	defer l.RUnlock()
	infos, err := r.store.SeriesOf(ctx, thing)
	if err != nil {
		return 0, fmt.Errorf("read the series of %s: %w", thing, err)
	}
	for i := range infos {
		if infos[i].Series != arrivals {
			continue
		}
		info, err := parseInfo(&infos[i])
		if err != nil {
			return 0, fmt.Errorf("the arrivals of %s: %w", thing, err)
		}
		last = info.Last
	}
	err = eachRow(ctx, r.store, thing, func(row *store.SampleRow) error {
		last = max(last, row.Arrival)
		return nil
	})
	return last, err
}

// eachValue calls f with the values of all rows of a thing in order of arrival. What f
// is given is lent to it.
func eachValue(ctx context.Context, s store.SampleReader, thing twin.ThingName, f func(row *store.SampleRow, metric []byte, v twin.RawValue)) error {
	return eachRow(ctx, s, thing, func(row *store.SampleRow) error {
		err := twin.WalkValues(row.Values, func(metric []byte, v twin.RawValue) bool {
			f(row, metric, v)
			return true
		})
		if err != nil {
			return fmt.Errorf("row %d of %s: %w", row.Number, thing, err)
		}
		return nil
	})
}

// eachRow calls f with all rows of a thing in order of arrival.
func eachRow(ctx context.Context, s store.SampleReader, thing twin.ThingName, f func(row *store.SampleRow) error) error {
	for last := store.RowNumber(0); ; {
		rows, err := s.Rows(ctx, thing, last, rowsPage)
		if err != nil {
			return fmt.Errorf("read the telemetry of %s: %w", thing, err)
		}
		for i := range rows {
			if err := f(&rows[i]); err != nil {
				return err
			}
		}
		if len(rows) < rowsPage {
			return nil
		}
		last = rows[len(rows)-1].Number
	}
}

// Series lists the series of a thing by metric and type. Of a thing with more than
// [SeriesMax] some are left out, and complete is false.
func (r *Reader) Series(ctx context.Context, thing twin.ThingName) (list []SeriesInfo, complete bool, err error) {
	l := r.locks.of(thing)
	l.RLock()
	defer l.RUnlock()
	infos, err := r.store.SeriesOf(ctx, thing)
	if err != nil {
		return nil, false, fmt.Errorf("read the series of %s: %w", thing, err)
	}
	found := make(map[store.Series]*SeriesInfo)
	for i := range infos {
		if infos[i].Series == arrivals {
			continue
		}
		info, err := parseInfo(&infos[i])
		if err != nil {
			return nil, false, fmt.Errorf("%s of %s: %w", infos[i].Metric, thing, err)
		}
		found[info.Series] = &info
	}
	complete = true
	err = eachValue(ctx, r.store, thing, func(row *store.SampleRow, metric []byte, v twin.RawValue) {
		s := found[store.Series{Metric: twin.MetricName(metric), Type: v.Type}]
		if s == nil {
			if len(found) >= SeriesMax {
				complete = false
				return
			}
			s = &SeriesInfo{Series: store.Series{Metric: twin.MetricName(metric), Type: v.Type}}
			found[s.Series] = s
		}
		s.add(row.Time, v)
	})
	for s := range maps.Values(found) {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b SeriesInfo) int {
		return cmp.Or(cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.Type, b.Type))
	})
	if len(list) > SeriesMax {
		list, complete = list[:SeriesMax], false
	}
	return list, complete, err
}
