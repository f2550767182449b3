package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of reading. They bound the memory of a call, however much a thing has sent.
const (
	PointsMax = 10_000 // points, or windows, of one answer
	SeriesMax = 10_000 // series of a thing that are listed

	rowsPage      = 4096    // rows read at a time
	windowSamples = 100_000 // points that a pass over the rows takes for windows
	typesMax      = 3       // of values: so many points of a metric can have one time
)

// Reader reads samples back. Its methods may be called by several goroutines. For now
// it goes over all rows of a thing for each call.
type Reader struct {
	store store.SampleReader
}

// NewReader returns a Reader of a store.
func NewReader(s store.SampleReader) *Reader { return &Reader{s} }

// Query selects samples of one metric: From <= time < To.
type Query struct {
	Thing    twin.ThingName
	Metric   twin.MetricName
	From, To twin.Time
	Limit    int       // points, or windows; 1 to [PointsMax]
	Window   twin.Time // length in milliseconds, of [Reader.Windows]
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
	return r.points(ctx, &q, q.Limit, 0)
}

// points reads at most limit points, of one type if that is not zero.
func (r *Reader) points(ctx context.Context, q *Query, limit int, only twin.ValueType) (Points, error) {
	// So many tell also where the next instant is.
	old := oldest{most: limit + typesMax, values: make(map[pointKey]twin.Value)}
	err := r.eachValue(ctx, q.Thing, func(row *store.SampleRow, metric []byte, v twin.RawValue) {
		if row.Time < q.From || row.Time >= q.To || string(metric) != string(q.Metric) || only != 0 && v.Type != only {
			return
		}
		old.add(pointKey{row.Time, v.Type}, v)
	})
	if err != nil {
		return Points{}, err
	}
	p := Points{Until: q.To, Complete: true}
	for _, k := range slices.SortedFunc(maps.Keys(old.values), pointKey.compare) {
		if n := len(p.Points); n >= limit && k.time > p.Points[n-1].Time {
			p.Until, p.Complete = k.time, false
			break
		}
		p.Points = append(p.Points, Point{k.time, old.values[k]})
	}
	return p, nil
}

// eachValue calls f with the values of all rows of a thing in order of arrival. What f
// is given is lent to it.
func (r *Reader) eachValue(ctx context.Context, thing twin.ThingName, f func(row *store.SampleRow, metric []byte, v twin.RawValue)) error {
	for last := store.RowNumber(0); ; {
		rows, err := r.store.Rows(ctx, thing, last, rowsPage)
		if err != nil {
			return fmt.Errorf("read the telemetry of %s: %w", thing, err)
		}
		for i := range rows {
			row := &rows[i]
			err := twin.WalkValues(row.Values, func(metric []byte, v twin.RawValue) bool {
				f(row, metric, v)
				return true
			})
			if err != nil {
				return fmt.Errorf("row %d of %s: %w", row.Number, thing, err)
			}
		}
		if len(rows) < rowsPage {
			return nil
		}
		last = rows[len(rows)-1].Number
	}
}

// pointKey is what there is one point for.
type pointKey struct {
	time twin.Time
	kind twin.ValueType
}

func (k pointKey) compare(o pointKey) int {
	return cmp.Or(cmp.Compare(k.time, o.time), cmp.Compare(k.kind, o.kind))
}

// oldest keeps the oldest points of those added, the last value of each.
type oldest struct {
	most   int
	values map[pointKey]twin.Value
	keys   []pointKey // a heap, the newest first
}

func (o *oldest) add(k pointKey, v twin.RawValue) {
	if _, known := o.values[k]; known {
		o.values[k] = v.Own()
		return
	}
	if len(o.keys) < o.most {
		o.keys = append(o.keys, k)
		o.up(len(o.keys) - 1)
		o.values[k] = v.Own()
		return
	}
	// What is put out never comes back: what is kept only gets older.
	if k.compare(o.keys[0]) > 0 {
		return
	}
	delete(o.values, o.keys[0])
	o.keys[0] = k
	o.down()
	o.values[k] = v.Own()
}

func (o *oldest) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if o.keys[i].compare(o.keys[parent]) <= 0 {
			return
		}
		o.keys[i], o.keys[parent] = o.keys[parent], o.keys[i]
		i = parent
	}
}

func (o *oldest) down() {
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(o.keys) {
			return
		}
		if child+1 < len(o.keys) && o.keys[child+1].compare(o.keys[child]) > 0 {
			child++
		}
		if o.keys[child].compare(o.keys[i]) <= 0 {
			return
		}
		o.keys[i], o.keys[child] = o.keys[child], o.keys[i]
		i = child
	}
}

// SeriesInfo is what a metric of one type comes to.
type SeriesInfo struct {
	store.Series
	First, Last twin.Time
	Count       int        // samples that came; those of one time count each
	Value       twin.Value // at Last
}

// Series lists the series of a thing by metric and type. Of a thing with more than
// [SeriesMax] it lists those that came first, and complete is false.
func (r *Reader) Series(ctx context.Context, thing twin.ThingName) (list []SeriesInfo, complete bool, err error) {
	type key struct {
		metric string
		kind   twin.ValueType
	}
	found := make(map[key]*SeriesInfo)
	complete = true
	err = r.eachValue(ctx, thing, func(row *store.SampleRow, metric []byte, v twin.RawValue) {
		s := found[key{string(metric), v.Type}]
		switch {
		case s == nil && len(found) == SeriesMax:
			complete = false
			return
		case s == nil:
			s = &SeriesInfo{Series: store.Series{Metric: twin.MetricName(metric), Type: v.Type}, First: row.Time, Last: row.Time}
			found[key{string(s.Metric), v.Type}] = s
		}
		s.Count++
		s.First = min(s.First, row.Time)
		if row.Time >= s.Last {
			s.Last, s.Value = row.Time, v.Own()
		}
	})
	for _, s := range found {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b SeriesInfo) int {
		return cmp.Or(cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.Type, b.Type))
	})
	return list, complete, err
}
