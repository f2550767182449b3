package telemetry_test

import (
	"cmp"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// model is rows as they came, read in the simplest way.
type model []twin.Row

func (m model) points(metric twin.MetricName, from, to twin.Time) []telemetry.Point {
	type key struct {
		at   twin.Time
		kind twin.ValueType
	}
	last := map[key]twin.Value{}
	for _, r := range m {
		for _, v := range r.Values {
			if v.Metric == metric && r.Time >= from && r.Time < to {
				last[key{r.Time, v.Value.Type}] = v.Value
			}
		}
	}
	var list []telemetry.Point
	for k, v := range last {
		list = append(list, telemetry.Point{Time: k.at, Value: v})
	}
	slices.SortFunc(list, func(a, b telemetry.Point) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Value.Type, b.Value.Type))
	})
	return list
}

func (m model) numbers(metric twin.MetricName, from, to twin.Time) []series.Point {
	var list []series.Point
	for _, p := range m.points(metric, from, to) {
		if p.Value.Type == twin.ValueNumber {
			list = append(list, series.Point{Time: p.Time, Value: p.Value.Number})
		}
	}
	return list
}

func (m model) windows(metric twin.MetricName, from, to, length twin.Time) []telemetry.Window {
	var list []telemetry.Window
	all := m.numbers(metric, 0, to)
	for i, p := range all {
		if p.Time < from {
			continue
		}
		start := p.Time - p.Time%length
		if n := len(list); n == 0 || list[n-1].Start != start {
			w := telemetry.Window{Rollup: series.Rollup{Start: start}}
			if i > 0 {
				w.Before = &all[i-1]
			}
			list = append(list, w)
		}
		list[len(list)-1].Add(p)
	}
	return list
}

// randomRows are late, maybe of few times, and change the types of their values.
func randomRows(rng *rand.Rand, n int) model {
	var m model
	spread := []int{300, 3_600_000, 3 * 86_400_000, 90 * 86_400_000}[rng.IntN(4)]
	late := rng.IntN(3)
	at := 1
	for i := range n {
		at += rng.IntN(2 * (spread/n + 1))
		r := twin.Row{Thing: "a", Time: twin.Time(at), Arrival: twin.Time(at + rng.IntN(1000))}
		if late > 0 && rng.IntN(3*late) == 0 {
			r.Time = twin.Time(1 + rng.IntN(spread))
		}
		for _, metric := range []twin.MetricName{"t", "u"} {
			switch v := rng.IntN(1000); v % 8 {
			case 0:
			case 1:
				r.Values = append(r.Values, twin.Measurement{Metric: metric, Value: twin.TextValue(fmt.Sprint(v))})
			case 2:
				r.Values = append(r.Values, twin.Measurement{Metric: metric, Value: twin.BoolValue(v%3 == 0)})
			default:
				r.Values = append(r.Values, twin.Measurement{Metric: metric, Value: twin.NumberValue(float64(i%7*v) / 10)})
			}
		}
		if len(r.Values) == 0 {
			r.Values = []twin.Measurement{{Metric: "u", Value: twin.NumberValue(1)}}
		}
		m = append(m, r)
	}
	return m
}

// openUnfolded opens telemetry that folds only when it is told to.
func openUnfolded(t *testing.T, s store.Samples) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.Open(slog.New(slog.DiscardHandler), s, telemetry.Options{Now: time.Now, FoldRows: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tel.Close() })
	return tel
}

// stored stores rows and folds some of them.
func stored(t *testing.T, m model, folds ...int) *telemetry.Reader {
	t.Helper()
	mem := store.NewMemory()
	tel := openUnfolded(t, mem)
	rows := make([]store.SampleRow, len(m))
	for i, r := range m {
		rows[i] = store.SampleRow{Thing: r.Thing, Time: r.Time, Arrival: r.Arrival, Values: r.AppendValues(nil)}
	}
	done := 0
	for _, n := range append(slices.Clone(folds), len(rows)) {
		if err := mem.AppendRows(t.Context(), rows[done:n], true); err != nil {
			t.Fatal(err)
		}
		if done = n; n == len(rows) {
			break
		}
		if err := tel.Fold(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return tel.Reader()
}

// Page by page, whatever the limit and however much is folded, points and windows are
// those of the model.
func TestReader_model(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := randomRows(rng, 1+rng.IntN(900))
		var folds []int
		for range rng.IntN(5) {
			folds = append(folds, rng.IntN(len(m)+1))
		}
		slices.Sort(folds)
		r := stored(t, m, folds...)
		end := 1
		for _, row := range m {
			end = max(end, int(row.Time))
		}
		q := telemetry.Query{Thing: "a", Metric: "t", From: twin.Time(rng.IntN(end)), Limit: 1 + rng.IntN(80), Before: true, Quantiles: true}
		q.Window = []twin.Time{1 + twin.Time(rng.IntN(60)), 60_000, 300_000, 3_600_000, 5_400_000, 86_400_000, 7 * 86_400_000}[rng.IntN(7)]
		q.To = q.From + twin.Time(rng.IntN(end))
		if q.Window < 1000 && q.To-q.From > 1_000_000 {
			q.Window *= 1000
		}
		want := m.points("t", q.From, q.To)
		var got []telemetry.Point
		for page := q; ; {
			p, err := r.Points(t.Context(), page)
			if err != nil || len(p.Points) > q.Limit+2 {
				t.Fatalf("seed %d: %d points, %v", seed, len(p.Points), err)
			}
			got = append(got, p.Points...)
			if p.Complete {
				break
			}
			if p.Until <= page.From {
				t.Fatalf("seed %d: no progress", seed)
			}
			page.From = p.Until
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d, limit %d:\ngot  %v\nwant %v", seed, q.Limit, got, want)
		}
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { checkWindows(t, r, q, m.windows("t", q.From, q.To, q.Window)) })
		checkSeries(t, r, m)
	}
}

func checkWindows(t *testing.T, r *telemetry.Reader, q telemetry.Query, want []telemetry.Window) {
	t.Helper()
	var got []telemetry.Window
	for page := q; ; {
		w, err := r.Windows(t.Context(), page)
		if err != nil || len(w.Windows) > q.Limit {
			t.Fatalf("%d windows, %v", len(w.Windows), err)
		}
		got = append(got, w.Windows...)
		if w.Complete {
			break
		}
		page.From = w.Until
	}
	if len(got) != len(want) {
		t.Fatalf("%+v: %d windows, want %d", q, len(got), len(want))
	}
	for i := range got {
		g, w := &got[i], &want[i]
		if g.Start != w.Start || g.Count != w.Count || g.First != w.First || g.Last != w.Last || g.Min != w.Min || g.Max != w.Max ||
			g.Held != w.Held || math.Abs(g.Sum-w.Sum) > 1e-6 || math.Abs(g.Area-w.Area) > 1e-9*math.Abs(w.Area)+1e-6 || g.Quantile(0.5) != w.Quantile(0.5) {
			t.Fatalf("%+v:\ngot  %+v\nwant %+v", q, g, w)
		}
		if (g.Before == nil) != (w.Before == nil) || g.Before != nil && *g.Before != *w.Before {
			t.Fatalf("%+v: before %d: got  %+v, want %+v", q, i, g.Before, w.Before)
		}
	}
}

func checkSeries(t *testing.T, r *telemetry.Reader, m model) {
	t.Helper()
	list, complete, err := r.Series(t.Context(), "a")
	if err != nil || !complete {
		t.Fatal(complete, err)
	}
	n := 0
	for _, s := range list {
		var of []telemetry.Point
		for _, p := range m.points(s.Metric, 0, math.MaxInt64) {
			if p.Value.Type == s.Type {
				of = append(of, p)
			}
		}
		if len(of) == 0 || s.First != of[0].Time || s.Last != of[len(of)-1].Time || s.Value != of[len(of)-1].Value {
			t.Fatalf("%+v is not %v", s, of)
		}
		n += s.Count
	}
	for _, row := range m {
		n -= len(row.Values)
	}
	if n != 0 {
		t.Fatalf("%d samples too many are counted", n)
	}
}

func TestReader_bounds(t *testing.T) {
	r := stored(t, nil)
	for _, q := range []telemetry.Query{
		{Thing: "a", Metric: "t", To: 9, Limit: 0},
		{Thing: "a", Metric: "t", To: 9, Limit: telemetry.PointsMax + 1},
		{Thing: "a", Metric: "", To: 9, Limit: 1},
		{Thing: "a", Metric: "t", From: 10, To: 9, Limit: 1},
	} {
		if _, err := r.Points(t.Context(), q); twin.Kind(err) != twin.KindInvalid {
			t.Errorf("%+v: %v", q, err)
		}
	}
	if _, err := r.Windows(t.Context(), telemetry.Query{Thing: "a", Metric: "t", To: 9, Limit: 1}); twin.Kind(err) != twin.KindInvalid {
		t.Error(err)
	}
}

// A window with more points than a call takes is one window still, and further ones are
// for the next call.
func TestWindows_many(t *testing.T) {
	if testing.Short() {
		t.Skip("many points")
	}
	var m model
	for i := range twin.Time(1_300_000) {
		m = append(m, row("a", 1+i, 1))
	}
	r := stored(t, m, len(m)-1000)
	q := telemetry.Query{Thing: "a", Metric: "t", From: 1, To: 10_000_000, Limit: 10, Window: 10_000_001}
	w, err := r.Windows(t.Context(), q)
	if err != nil || !w.Complete || len(w.Windows) != 1 || w.Windows[0].Count != int64(len(m)) {
		t.Fatalf("%+v, %v", w, err)
	}
	q.Window = 300_001
	w, err = r.Windows(t.Context(), q)
	if err != nil || w.Complete || len(w.Windows) != 4 || w.Until != 1_200_004 {
		t.Fatalf("%+v, %v", w, err)
	}
}
