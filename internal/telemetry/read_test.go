package telemetry_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

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

func (m model) windows(metric twin.MetricName, from, to, length twin.Time) []telemetry.Window {
	var list []telemetry.Window
	for start := from - from%length; start < to; start += length {
		w := telemetry.Window{Start: start}
		for _, p := range m.points(metric, max(from, start), min(to, start+length)) {
			v := p.Value.Number
			if p.Value.Type != twin.ValueNumber {
				continue
			}
			if w.Count == 0 {
				w.First, w.Min, w.Max = v, v, v
			}
			w.Count, w.Sum, w.Last, w.Min, w.Max = w.Count+1, w.Sum+v, v, min(w.Min, v), max(w.Max, v)
		}
		if w.Count > 0 {
			list = append(list, w)
		}
	}
	return list
}

// randomRows are late, of few times, and change the types of their values.
func randomRows(rng *rand.Rand, n int) model {
	var m model
	for i := range n {
		r := twin.Row{Thing: "a", Time: twin.Time(1 + rng.IntN(300)), Arrival: twin.Time(1000 + i)}
		for _, metric := range []twin.MetricName{"t", "u"} {
			switch v := rng.IntN(1000); v % 8 {
			case 0:
			case 1:
				r.Values = append(r.Values, twin.Measurement{Metric: metric, Value: twin.TextValue(fmt.Sprint(v))})
			case 2:
				r.Values = append(r.Values, twin.Measurement{Metric: metric, Value: twin.BoolValue(v%3 == 0)})
			default:
				r.Values = append(r.Values, twin.Measurement{Metric: metric, Value: twin.NumberValue(float64(v))})
			}
		}
		m = append(m, r)
	}
	return m
}

func stored(t *testing.T, m model) *telemetry.Reader {
	t.Helper()
	mem := store.NewMemory()
	rows := make([]store.SampleRow, len(m))
	for i, r := range m {
		rows[i] = store.SampleRow{Thing: r.Thing, Time: r.Time, Arrival: r.Arrival, Values: r.AppendValues(nil)}
	}
	if err := mem.AppendRows(t.Context(), rows, true); err != nil {
		t.Fatal(err)
	}
	return telemetry.NewReader(mem)
}

// Page by page, whatever the limit, points and windows are those of the model.
func TestReader_model(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := randomRows(rng, rng.IntN(900))
		r := stored(t, m)
		q := telemetry.Query{Thing: "a", Metric: "t", From: twin.Time(rng.IntN(100)), Limit: 1 + rng.IntN(80), Window: twin.Time(1 + rng.IntN(60))}
		q.To = q.From + twin.Time(rng.IntN(400))
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
			page.From = p.Until
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d, limit %d:\ngot  %v\nwant %v", seed, q.Limit, got, want)
		}
		checkWindows(t, r, q, m.windows("t", q.From, q.To, q.Window))
		checkSeries(t, r, m)
	}
}

func checkWindows(t *testing.T, r *telemetry.Reader, q telemetry.Query, want []telemetry.Window) {
	t.Helper()
	var got []telemetry.Window
	for {
		w, err := r.Windows(t.Context(), q)
		if err != nil || len(w.Windows) > q.Limit {
			t.Fatalf("%d windows, %v", len(w.Windows), err)
		}
		got = append(got, w.Windows...)
		if w.Complete {
			break
		}
		q.From = w.Until
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%+v:\ngot  %v\nwant %v", q, got, want)
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
		for _, p := range m.points(s.Metric, 0, 1000) {
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

// A window with more points than a pass takes is one window still, and further ones are
// for the next call.
func TestWindows_many(t *testing.T) {
	var m model
	for i := range twin.Time(150_000) {
		m = append(m, row("a", 1+i, 1))
	}
	r := stored(t, m)
	q := telemetry.Query{Thing: "a", Metric: "t", From: 1, To: 1_000_000, Limit: 10, Window: 1_000_000}
	w, err := r.Windows(t.Context(), q)
	if err != nil || !w.Complete || len(w.Windows) != 1 || w.Windows[0].Count != len(m) {
		t.Fatalf("%+v, %v", w, err)
	}
	q.Window = 60_000
	w, err = r.Windows(t.Context(), q)
	if err != nil || w.Complete || len(w.Windows) != 1 || w.Until != 60_000 {
		t.Fatalf("%+v, %v", w, err)
	}
}
