package telemetry

import (
	"context"
	"fmt"
	"time"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// foldValues is the most values of one fold: it bounds its memory.
const foldValues = 500_000

// arrivals is the series of how long after its time each row arrived, in milliseconds.
// No metric has an empty name. What is kept of it as a whole are the first and the last
// arrival, and how many rows there were.
var arrivals = store.Series{Type: twin.ValueNumber}

// gathered is the rows of a thing by series.
type gathered struct {
	numbers map[store.Series][]series.Point
	states  map[store.Series][]series.State
	infos   map[store.Series]*SeriesInfo
	rows    int
	through store.RowNumber
}

// gather reads the rows of a thing, of which there may be more than one fold takes.
func gather(ctx context.Context, s store.SampleReader, thing twin.ThingName) (*gathered, error) {
	g := &gathered{
		numbers: make(map[store.Series][]series.Point), states: make(map[store.Series][]series.State),
		infos: make(map[store.Series]*SeriesInfo),
	}
	for values := 0; values < foldValues; {
		rows, err := s.Rows(ctx, thing, g.through, rowsPage)
		if err != nil {
			return nil, fmt.Errorf("read the telemetry of %s: %w", thing, err)
		}
		for i := 0; i < len(rows) && values < foldValues; i++ {
			n, err := g.add(&rows[i])
			if err != nil {
				return nil, err
			}
			values += n
			g.through = rows[i].Number
		}
		if len(rows) < rowsPage {
			break
		}
	}
	return g, nil
}

func (g *gathered) add(r *store.SampleRow) (values int, err error) {
	g.rows++
	came := g.infos[arrivals]
	if came == nil {
		came = &SeriesInfo{Series: arrivals}
		g.infos[arrivals] = came
	}
	came.add(r.Arrival, twin.RawValue{Type: twin.ValueNumber, Number: float64(r.Arrival - r.Time)})
	g.numbers[arrivals] = append(g.numbers[arrivals], series.Point{Time: r.Time, Value: float64(r.Arrival - r.Time)})
	err = twin.WalkValues(r.Values, func(metric []byte, v twin.RawValue) bool {
		values++
		of := store.Series{Metric: twin.MetricName(metric), Type: v.Type}
		info := g.infos[of]
		if info == nil {
			info = &SeriesInfo{Series: of}
			g.infos[of] = info
		}
		info.add(r.Time, v)
		if v.Type == twin.ValueNumber {
			g.numbers[of] = append(g.numbers[of], series.Point{Time: r.Time, Value: v.Number})
		} else {
			g.states[of] = append(g.states[of], series.State{Time: r.Time, Value: stateOf(v)})
		}
		return true
	})
	if err != nil {
		return 0, fmt.Errorf("row %d of %s: %w", r.Number, r.Thing, err)
	}
	return values, nil
}

// stateOf is a text, or a truth value, as a state.
func stateOf(v twin.RawValue) string {
	switch {
	case v.Type == twin.ValueText:
		return string(v.Text)
	case v.Number == 1:
		return "1"
	}
	return "0"
}

// valueOf is the value that a state is of.
func valueOf(t twin.ValueType, state string) twin.Value {
	if t == twin.ValueBool {
		return twin.BoolValue(state == "1")
	}
	return twin.TextValue(state)
}

// fold puts rows of a thing into columns and returns how many.
func (t *Telemetry) fold(ctx context.Context, thing twin.ThingName) (int, error) {
	t.folding.Lock()
	defer t.folding.Unlock()
	g, err := gather(ctx, t.store, thing)
	if err != nil || g.rows == 0 {
		return 0, err
	}
	f := folder{
		store: t.store, thing: thing, fold: store.SampleFold{Thing: thing, Through: g.through},
		expired: make(map[twin.Time]bool),
	}
	if err := f.infos(ctx, g); err != nil {
		return 0, err
	}
	arrived := g.numbers[arrivals]
	delete(g.numbers, arrivals)
	for of, list := range g.numbers {
		if err := f.numbers(ctx, of, numbers.inOrder(list)); err != nil {
			return 0, fmt.Errorf("fold %s of %s: %w", of.Metric, thing, err)
		}
	}
	for of, list := range g.states {
		if err := f.states(ctx, of, states.inOrder(list)); err != nil {
			return 0, fmt.Errorf("fold %s of %s: %w", of.Metric, thing, err)
		}
	}
	if err := f.arrivals(ctx, numbers.inOrder(arrived)); err != nil {
		return 0, fmt.Errorf("fold the arrivals of %s: %w", thing, err)
	}
	l := t.locks.of(thing)
	l.Lock()
	defer l.Unlock()
	if err := t.store.Fold(ctx, f.fold); err != nil {
		return 0, fmt.Errorf("fold the telemetry of %s: %w", thing, err)
	}
	return g.rows, nil
}

// folder makes one fold.
type folder struct {
	store store.SampleReader
	thing twin.ThingName
	fold  store.SampleFold
	// expired are days whose samples are no longer there.
	expired map[twin.Time]bool
}

// infos adds what has come to what is kept of each series.
func (f *folder) infos(ctx context.Context, g *gathered) error {
	old, err := f.store.SeriesOf(ctx, f.thing)
	if err != nil {
		return fmt.Errorf("read the series of %s: %w", f.thing, err)
	}
	for i := range old {
		info := g.infos[old[i].Series]
		if info == nil {
			continue
		}
		before, err := parseInfo(&old[i])
		if err != nil {
			return fmt.Errorf("%s of %s: %w", old[i].Metric, f.thing, err)
		}
		info.after(&before)
	}
	for _, info := range g.infos {
		f.fold.Infos = append(f.fold.Infos, store.SeriesInfo{Series: info.Series, Data: info.append(nil)})
	}
	return nil
}

// after puts the samples that came before to those of s.
func (s *SeriesInfo) after(before *SeriesInfo) {
	s.Count += before.Count
	s.First = min(s.First, before.First)
	if before.Last > s.Last {
		s.Last, s.Value = before.Last, before.Value
	}
}

func (f *folder) numbers(ctx context.Context, of store.Series, list []series.Point) error {
	rollups := rollupFold{store: f.store, thing: f.thing, of: of, days: make(map[twin.Time][]series.Rollup)}
	err := eachDay(&numbers, list, func(start twin.Time, fresh []series.Point) error {
		d, err := foldOne(ctx, f, &numbers, of, start, fresh)
		if err != nil {
			return err
		}
		if d.chunks == 0 {
			hours, err := rollups.read(ctx, &levels[1], start)
			if err != nil {
				return err
			}
			if len(hours) > 0 {
				f.expired[start] = true
				return rollups.include(ctx, fresh)
			}
		}
		f.fold.Columns = append(f.fold.Columns, d.columns...)
		return rollups.day(ctx, d.samples, fresh)
	})
	f.fold.Columns = append(f.fold.Columns, rollups.done()...)
	return err
}

func (f *folder) arrivals(ctx context.Context, list []series.Point) error {
	return eachDay(&numbers, list, func(start twin.Time, fresh []series.Point) error {
		if f.expired[start] {
			return nil
		}
		d, err := foldOne(ctx, f, &numbers, arrivals, start, fresh)
		f.fold.Columns = append(f.fold.Columns, d.columns...)
		return err
	})
}

func (f *folder) states(ctx context.Context, of store.Series, list []series.State) error {
	return eachDay(&states, list, func(start twin.Time, fresh []series.State) error {
		d, err := foldOne(ctx, f, &states, of, start, fresh)
		f.fold.Columns = append(f.fold.Columns, d.columns...)
		return err
	})
}

// eachDay calls f with the samples of each day.
func eachDay[T any](c *codec[T], list []T, f func(start twin.Time, fresh []T) error) error {
	for len(list) > 0 {
		start := series.StartOf(c.at(&list[0]), day)
		n := c.search(list, start+day)
		if err := f(start, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

func foldOne[T any](ctx context.Context, f *folder, c *codec[T], of store.Series, start twin.Time, fresh []T) (dayFold[T], error) {
	old, err := columns(ctx, f.store, f.thing, of, store.LevelSamples, start, start+day)
	if err != nil {
		return dayFold[T]{}, err
	}
	return c.foldDay(of, old, fresh)
}

// foldWhenDue folds the rows of things that have many, and from time to time of those whose
// rows have waited long, until ctx ends.
func (t *Telemetry) foldWhenDue(ctx context.Context) {
	tick := time.NewTicker(t.opts.FoldEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.pending.wake:
		case <-tick.C:
			t.foldAll(ctx, t.pending.old(twin.TimeOf(t.opts.Now())-twin.Time(t.opts.FoldAge.Milliseconds())))
		case <-ctx.Done():
			return
		}
		for thing, ok := t.pending.next(); ok && ctx.Err() == nil; thing, ok = t.pending.next() {
			t.foldAll(ctx, []twin.ThingName{thing})
		}
	}
}

// foldAll folds the rows of things. What fails is tried again when it has waited as long
// once more; nothing is lost by that.
func (t *Telemetry) foldAll(ctx context.Context, things []twin.ThingName) {
	for _, thing := range things {
		if ctx.Err() != nil {
			return
		}
		rows, err := t.fold(ctx, thing)
		if err != nil && ctx.Err() == nil {
			t.log.Error("telemetry could not be folded", "thing", string(thing), "error", err.Error())
			t.pending.later(thing, twin.TimeOf(t.opts.Now()))
			continue
		}
		t.pending.folded(thing, rows, twin.TimeOf(t.opts.Now()), t.opts.FoldRows)
	}
}

// Fold folds all rows that there are.
func (t *Telemetry) Fold(ctx context.Context) error {
	for after := twin.ThingName(""); ; {
		things, err := t.store.RowThings(ctx, after, findPage)
		if err != nil || len(things) == 0 {
			return err
		}
		for _, thing := range things {
			for n := 1; n > 0 && err == nil; {
				n, err = t.fold(ctx, thing)
			}
			if err != nil {
				return err
			}
		}
		after = things[len(things)-1]
	}
}
