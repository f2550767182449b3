package telemetry

import (
	"context"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// windowPoints is about how many points a call takes for windows that cannot be had from
// rollups.
const windowPoints = 1_000_000

// Window is what the numbers of a stretch of time come to. It starts at a multiple of its
// length since 1970.
type Window struct {
	series.Rollup
	// Before is the newest number before the window, if there is one. That of the
	// first window is looked for only if Query.Before is set.
	Before *series.Point
}

// Delta is by how much the number has changed in the window, and in how many milliseconds:
// from the one before it, or if there is none from the first.
func (w *Window) Delta() (change float64, ms twin.Time) {
	from := w.First
	if w.Before != nil {
		from = *w.Before
	}
	return w.Last.Value - from.Value, w.Last.Time - from.Time
}

// Windows is what there is of a metric before an instant.
type Windows struct {
	Length   twin.Time
	Windows  []Window // those with a number in them, by time
	Until    twin.Time
	Complete bool // if not, go on with Until as From
}

// Windows returns the numbers of a metric in windows of one length. Those at the ends
// hold what is between From and To only. It ends early, between two windows, after
// Limit of them or when it has taken many points. What is whole days, hours and minutes
// comes from rollups; of a day whose samples have expired a minute is in a window as a
// whole if it is between From and To as a whole.
func (r *Reader) Windows(ctx context.Context, q Query) (Windows, error) {
	if err := q.check(); err != nil {
		return Windows{}, err
	}
	if q.Window < 1 {
		return Windows{}, twin.NewError(twin.KindInvalid, "window: it is shorter than a millisecond")
	}
	v, err := r.look(ctx, q.Thing, q.Metric, q.To)
	if err != nil {
		return Windows{}, err
	}
	defer v.close()
	w := &windower{view: v, q: &q, res: Windows{Length: q.Window, Until: q.To, Complete: true}}
	if err := w.run(ctx); err != nil || !q.Before || len(w.res.Windows) == 0 {
		return w.res, err
	}
	w.res.Windows[0].Before, err = v.before(ctx, max(w.res.Windows[0].Start, q.From))
	return w.res, err
}

// ChartWindow is the length of windows for a chart of so many columns of pixels: a whole
// number of minutes, hours or days where it is longer than one, so that rollups have the
// answer and the chart has fewer columns rather than more work.
func ChartWindow(from, to twin.Time, columns int) twin.Time {
	n := twin.Time(columns)
	length := max(1, (to-from+n-1)/n)
	for _, unit := range [...]twin.Time{day, hour, minute} {
		if length >= unit {
			return (length + unit - 1) / unit * unit
		}
	}
	return length
}

// windower makes the windows of one call.
type windower struct {
	*view
	q     *Query
	res   Windows
	spent int // points
	ended bool
}

func (w *windower) run(ctx context.Context) error {
	if w.q.Window%minute != 0 {
		return w.samples(ctx, w.q.From, w.q.To)
	}
	at := w.q.From
	for _, raw := range w.unrolled() {
		if err := w.rolled(ctx, at, raw.from); err != nil {
			return err
		}
		if err := w.samples(ctx, raw.from, raw.to); err != nil {
			return err
		}
		at = raw.to
	}
	return w.rolled(ctx, at, w.q.To)
}

type span struct{ from, to twin.Time }

// unrolled are the times, in order, of which rollups do not say all: minutes that are
// begun before From or end after To, and those for which there are rows.
func (w *windower) unrolled() (list []span) {
	add := func(from, to twin.Time) {
		from, to = max(from, w.q.From), min(to, w.q.To)
		if from >= to {
			return
		}
		if n := len(list) - 1; n >= 0 && list[n].to >= from {
			list[n].to = max(list[n].to, to)
			return
		}
		list = append(list, span{from, to})
	}
	first := series.StartOf(w.q.From, minute)
	if first < w.q.From {
		add(first, first+minute)
	}
	for _, p := range w.numbers[numbers.search(w.numbers, w.q.From):] {
		at := series.StartOf(p.Time, minute)
		add(at, at+minute)
	}
	if last := series.StartOf(w.q.To, minute); last < w.q.To {
		add(last, w.q.To)
	}
	return list
}

// rolled takes whole minutes from the longest rollups that fit.
func (w *windower) rolled(ctx context.Context, from, to twin.Time) error {
	return w.level(ctx, len(levels)-1, from, to)
}

func (w *windower) level(ctx context.Context, n int, from, to twin.Time) error {
	if from >= to || w.ended {
		return nil
	}
	l := &levels[n]
	if n == 0 {
		return w.rollups(ctx, l, from, to)
	}
	first, last := series.StartOf(from+l.length-1, l.length), series.StartOf(to, l.length)
	if w.q.Window%l.length != 0 || first >= last {
		return w.level(ctx, n-1, from, to)
	}
	if err := w.level(ctx, n-1, from, first); err != nil {
		return err
	}
	if err := w.rollups(ctx, l, first, last); err != nil {
		return err
	}
	return w.level(ctx, n-1, last, to)
}

// rollups takes the rollups of a level between two times.
func (w *windower) rollups(ctx context.Context, l *level, from, to twin.Time) error {
	from, to = w.clip(from, to)
	if from >= to || w.ended {
		return nil
	}
	cols, err := columns(ctx, w.store, w.thing, w.of(twin.ValueNumber), l.number, l.start(from), l.start(to-1)+1)
	if err != nil {
		return err
	}
	var list []series.Rollup
	for i := range cols {
		if list, err = w.readRollups(list[:0], cols[i].Data); err != nil {
			return damaged(&cols[i], err)
		}
		for i := searchRollups(list, from); i < len(list) && list[i].Start < to && !w.ended; i++ {
			w.addRollup(&list[i])
		}
	}
	return nil
}

func (w *windower) readRollups(dst []series.Rollup, data []byte) ([]series.Rollup, error) {
	if w.q.Quantiles {
		return series.ReadRollups(dst, data)
	}
	return series.ReadFigures(dst, data)
}

// clip takes the times from a span for which there can be nothing in columns.
func (w *windower) clip(from, to twin.Time) (twin.Time, twin.Time) {
	info := w.kept[twin.ValueNumber]
	if info == nil {
		return to, to
	}
	return max(from, series.StartOf(info.First, day)), min(to, series.StartOf(info.Last, day)+day)
}

// samples takes the samples between two times, of columns and rows.
func (w *windower) samples(ctx context.Context, from, to twin.Time) error {
	rows := w.numbers[numbers.search(w.numbers, from):]
	rows = rows[:numbers.search(rows, to)]
	first, last := w.clip(from, to)
	for at := first; at < last && !w.ended; at = series.StartOf(at, day) + day {
		start := series.StartOf(at, day)
		mine := rows[:numbers.search(rows, start+day)]
		rows = rows[len(mine):]
		cols, err := columns(ctx, w.store, w.thing, w.of(twin.ValueNumber), store.LevelSamples, start, start+day)
		if err != nil {
			return err
		}
		if len(cols) == 0 {
			if err := w.expired(ctx, at, min(last, start+day)); err != nil {
				return err
			}
		}
		if err := w.chunks(cols, mine, at, min(last, start+day)); err != nil {
			return err
		}
	}
	w.addPoints(rows)
	return nil
}

// chunks takes the samples of the chunks of a day, one chunk after the other, and rows.
func (w *windower) chunks(cols []store.Column, rows []series.Point, from, to twin.Time) error {
	var list []series.Point
	for i := range cols {
		end := to
		if i+1 < len(cols) {
			end = min(to, cols[i+1].Start)
		}
		if end <= from || cols[i].Start >= to || w.ended {
			continue
		}
		var err error
		if list, err = numbers.read(list[:0], cols[i:i+1], from, end, 1); err != nil {
			return err
		}
		mine := rows[:numbers.search(rows, end)]
		rows = rows[len(mine):]
		w.addPoints(numbers.merge(list, mine))
	}
	w.addPoints(rows)
	return nil
}

// expired takes, of a day without samples, the minutes that lie between two times.
func (w *windower) expired(ctx context.Context, from, to twin.Time) error {
	l := &levels[0]
	cols, err := columns(ctx, w.store, w.thing, w.of(twin.ValueNumber), l.number, l.start(from), l.start(to-1)+1)
	if err != nil {
		return err
	}
	for i := range cols {
		list, err := w.readRollups(nil, cols[i].Data)
		if err != nil {
			return damaged(&cols[i], err)
		}
		for i := range list {
			if list[i].First.Time >= from && list[i].Last.Time < to && !w.ended {
				w.addRollup(&list[i])
			}
		}
	}
	return nil
}

func (w *windower) addPoints(list []series.Point) {
	for _, p := range list {
		x := w.window(p.Time)
		if x == nil {
			return
		}
		w.spent++
		if x.Count > 0 && p.Time <= x.Last.Time {
			x.Include(p) // among those of a day whose samples have expired
			continue
		}
		x.Add(p)
	}
}

func (w *windower) addRollup(r *series.Rollup) {
	if x := w.window(r.First.Time); x != nil {
		x.Merge(r)
	}
}

// window returns the window that has a time, which is never before the last one; nil if
// that is for the next call.
func (w *windower) window(t twin.Time) *Window {
	n := len(w.res.Windows)
	if n > 0 && t < w.res.Windows[n-1].Start+w.q.Window {
		return &w.res.Windows[n-1]
	}
	if w.ended {
		return nil
	}
	start := series.StartOf(t, w.q.Window)
	if n == w.q.Limit || n > 0 && w.spent > windowPoints {
		w.res.Until, w.res.Complete, w.ended = start, false, true
		return nil
	}
	x := Window{Rollup: series.Rollup{Start: start}}
	if n > 0 {
		last := w.res.Windows[n-1].Last
		x.Before = &last
	}
	w.res.Windows = append(w.res.Windows, x)
	return &w.res.Windows[n]
}

// before returns the newest number before a time, nil if there is none.
func (v *view) before(ctx context.Context, t twin.Time) (*series.Point, error) {
	var newest *series.Point
	take := func(p series.Point) {
		if p.Time < t && (newest == nil || p.Time >= newest.Time) {
			newest = &p
		}
	}
	info := v.kept[twin.ValueNumber]
	if info != nil && info.First < t {
		cols, err := columns(ctx, v.store, v.thing, v.of(twin.ValueNumber), store.LevelSamples, series.StartOf(t, day), t)
		if err != nil {
			return nil, err
		}
		list, err := numbers.read(nil, cols[max(0, len(cols)-1):], 0, t, 1)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			take(p)
		}
		if len(cols) == 0 {
			if err := v.minuteBefore(ctx, t, take); err != nil {
				return nil, err
			}
		}
		if newest == nil {
			if err := v.dayBefore(ctx, info, t, take); err != nil {
				return nil, err
			}
		}
	}
	// A row wins over what is in a column at its time.
	if n := numbers.search(v.numbers, t); n > 0 {
		take(v.numbers[n-1])
	}
	return newest, nil
}

// minuteBefore gives the last numbers of the minutes of a day before a time.
func (v *view) minuteBefore(ctx context.Context, t twin.Time, take func(series.Point)) error {
	cols, err := columns(ctx, v.store, v.thing, v.of(twin.ValueNumber), store.LevelMinutes, series.StartOf(t, day), t)
	if err != nil {
		return err
	}
	for i := range cols {
		list, err := series.ReadRollups(nil, cols[i].Data)
		if err != nil {
			return damaged(&cols[i], err)
		}
		for i := range list {
			take(list[i].Last)
		}
	}
	return nil
}

// dayBefore gives the last number of the newest day before that of a time which has one.
func (v *view) dayBefore(ctx context.Context, info *SeriesInfo, t twin.Time, take func(series.Point)) error {
	l := &levels[2]
	for at := series.StartOf(t, day) - 1; at >= info.First; at = series.StartOf(at, l.column) - 1 {
		cols, err := columns(ctx, v.store, v.thing, v.of(twin.ValueNumber), l.number, l.start(at), l.start(at)+1)
		if err != nil || len(cols) == 0 {
			if err != nil {
				return err
			}
			continue
		}
		list, err := series.ReadRollups(nil, cols[0].Data)
		if err != nil {
			return damaged(&cols[0], err)
		}
		if n := searchRollups(list, series.StartOf(t, day)); n > 0 {
			take(list[n-1].Last)
			return nil
		}
	}
	return nil
}
