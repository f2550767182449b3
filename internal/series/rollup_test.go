package series_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/twin"
)

// plain is a rollup by its definition.
func plain(p []series.Point) (r series.Rollup) {
	for i, x := range p {
		if i == 0 || x.Value < r.Min.Value {
			r.Min = x
		}
		if i == 0 || x.Value > r.Max.Value {
			r.Max = x
		}
		r.Count++
		r.Sum += x.Value
		if i > 0 {
			held := min(x.Time-p[i-1].Time, series.HoldMax)
			r.Area += p[i-1].Value * float64(held)
			r.Held += held
		}
	}
	r.First, r.Last = p[0], p[len(p)-1]
	return r
}

func near(a, b, scale float64) bool { return math.Abs(a-b) <= 1e-9*scale }

// check compares a rollup with the points it is of.
func check(t *testing.T, r *series.Rollup, p []series.Point) {
	t.Helper()
	want := plain(p)
	size := 0.0
	for _, x := range p {
		size += math.Abs(x.Value)
	}
	if r.Count != want.Count || r.First != want.First || r.Last != want.Last || r.Min != want.Min || r.Max != want.Max ||
		r.Held != want.Held || !near(r.Sum, want.Sum, size) || !near(r.Area, want.Area, size*3.6e6) {
		t.Fatalf("got  %+v\nwant %+v", r, want)
	}
	values := make([]float64, len(p))
	for i := range p {
		values[i] = p[i].Value
	}
	slices.Sort(values)
	for _, q := range []float64{0, 0.5, 0.95, 0.99, 1} {
		got, exact := r.Quantile(q), values[int(q*float64(len(values)-1))]
		if math.Abs(got-exact) > 0.0101*math.Abs(exact) {
			t.Fatalf("quantile %v of %d: got %v, want %v", q, len(p), got, exact)
		}
	}
}

// Rolled up, written, read, merged in steps: always what the points themselves come to.
func TestRollup_merge(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := shapes[[]int{0, 1, 2, 4, 5, 6}[rng.IntN(6)]]
		p := points(rng, 1+rng.IntN(5000), s, rhythms[rng.IntN(len(rhythms))])
		minutes, err := series.ReadRollups(nil, series.AppendRollups(nil, series.RollUp(p, 60_000)))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		rest := p
		for i := range minutes {
			n, _ := slices.BinarySearchFunc(rest, minutes[i].Start+60_000, func(p series.Point, at twin.Time) int { return int(p.Time - at) })
			check(t, &minutes[i], rest[:n])
			rest = rest[n:]
		}
		if len(rest) > 0 {
			t.Fatalf("seed %d: %d points are in no rollup", seed, len(rest))
		}
		hours, err := series.ReadRollups(nil, series.AppendRollups(nil, series.Coarser(minutes, 3_600_000)))
		if err != nil {
			t.Fatal(err)
		}
		var all series.Rollup
		for i := range hours {
			all.Merge(&hours[i])
		}
		check(t, &all, p)
	}
}

// A merge leaves the rollup it takes as it was.
func TestRollup_mergeOwnsItsMemory(t *testing.T) {
	a := series.RollUp([]series.Point{{1, 5}, {2, 7}}, 60_000)[0]
	var sum series.Rollup
	sum.Merge(&a)
	sum.Add(series.Point{Time: 3, Value: 5})
	check(t, &a, []series.Point{{1, 5}, {2, 7}})
	check(t, &sum, []series.Point{{1, 5}, {2, 7}, {3, 5}})
}

func TestRollup_timeWeighted(t *testing.T) {
	const minute, hour = 60_000, 3_600_000
	for _, c := range []struct {
		name   string
		points []series.Point
		before *series.Point
		end    twin.Time
		want   float64
		none   bool
	}{
		{"one holds to the end", []series.Point{{0, 4}}, nil, hour, 4, false},
		{"by time", []series.Point{{0, 1}, {45 * minute, 5}}, nil, hour, 2, false},
		{"with the one before", []series.Point{{30 * minute, 5}}, &series.Point{Time: -minute, Value: 1}, hour, 3, false},
		{"the one before alone", nil, &series.Point{Time: -minute, Value: 1}, minute, 1, false},
		{"a gap has no value", []series.Point{{0, 1}, {5 * hour, 3}}, nil, 6 * hour, 2, false},
		{"the one before is too old", nil, &series.Point{Time: -2 * hour, Value: 1}, hour, 0, true},
		{"nothing", nil, nil, hour, 0, true},
	} {
		var r series.Rollup
		for _, p := range c.points {
			r.Add(p)
		}
		got, ok := r.TimeWeighted(c.before, c.end)
		if ok == c.none || !near(got, c.want, 1) {
			t.Errorf("%s: %v, %v", c.name, got, ok)
		}
	}
}

// The line through what M4 keeps of each column of pixels reaches as high and as low in it
// as the line through all, and enters and leaves it at the same points.
func TestRollup_m4(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	p := points(rng, 5000, shapes[0], rhythms[1])
	for _, r := range series.RollUp(p, 600_000) {
		from, _ := slices.BinarySearchFunc(p, r.Start, func(p series.Point, at twin.Time) int { return int(p.Time - at) })
		to, _ := slices.BinarySearchFunc(p, r.Start+600_000, func(p series.Point, at twin.Time) int { return int(p.Time - at) })
		all, kept := p[from:to], r.M4(nil)
		if len(kept) > 4 || kept[0] != all[0] || kept[len(kept)-1] != all[len(all)-1] ||
			!slices.IsSortedFunc(kept, func(a, b series.Point) int { return int(a.Time - b.Time) }) {
			t.Fatalf("%v of %d points", kept, len(all))
		}
		for _, x := range kept {
			if !slices.Contains(all, x) {
				t.Fatalf("%v is no point", x)
			}
		}
		want := plain(all)
		got := plain(kept)
		if got.Min != want.Min || got.Max != want.Max {
			t.Fatalf("from %v to %v, not from %v to %v", got.Min, got.Max, want.Min, want.Max)
		}
	}
}

// A sketch of numbers of all sizes keeps to its memory, and the upper quantiles to
// their accuracy.
func TestRollup_manySizes(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 9))
	var r series.Rollup
	var p []series.Point
	for i := range 20_000 {
		p = append(p, series.Point{Time: twin.Time(i), Value: math.Exp(rng.Float64()*120 - 60)})
		r.Add(p[i])
	}
	if n := len(series.AppendRollups(nil, []series.Rollup{r})); n > 6000 {
		t.Errorf("a rollup of %d bytes", n)
	}
	slices.SortFunc(p, func(a, b series.Point) int {
		if a.Value < b.Value {
			return -1
		}
		return 1
	})
	for _, q := range []float64{0.9, 0.99} {
		exact := p[int(q*float64(len(p)-1))].Value
		if got := r.Quantile(q); math.Abs(got-exact) > 0.0101*exact {
			t.Errorf("quantile %v: got %v, want %v", q, got, exact)
		}
	}
}
