package trend

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// series is a degradation with noise, observed until an instant.
func series(seed uint64, until int, f func(t float64) float64) []Point {
	rng := rand.New(rand.NewPCG(seed, 1))
	var list []Point
	for i := range until {
		t := float64(i)
		list = append(list, Point{t, f(t) + 0.1*rng.NormFloat64()})
	}
	return list
}

// Of many degradations of several shapes the intervals hold no fewer failures than they say. On
// curves as smooth as these they hold more, as no series tells that it will stay so.
func TestOf_intervals(t *testing.T) {
	in50, in90, n := 0, 0, 0
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 2))
		onset, speed, bend := 20+40*rng.Float64(), 0.03+0.05*rng.Float64(), []float64{1, 1.5, 2}[rng.IntN(3)]
		f := func(t float64) float64 {
			return 2 + 5*math.Pow(max(0, t-onset)*speed/2, bend)
		}
		const limit = 7.0
		fails := onset + 2/speed
		until := int(onset + (fails-onset)*(0.5+0.3*rng.Float64()))
		c := Of(series(seed, until, f), Limit{Value: limit})
		if c.Reason != "" {
			t.Errorf("seed %d: %s", seed, c.Reason)
			continue
		}
		n++
		if c.Interval50[0] <= fails && fails <= c.Interval50[1] {
			in50++
		}
		if c.Interval90[0] <= fails && fails <= c.Interval90[1] {
			in90++
		}
	}
	if s50, s90 := float64(in50)/float64(n), float64(in90)/float64(n); s50 < 0.35 || s90 < 0.83 {
		t.Errorf("the intervals of 50 %% hold %.0f %%, those of 90 %% hold %.0f %%", 100*s50, 100*s90)
	}
}

func TestOf_below(t *testing.T) {
	up := series(3, 80, func(t float64) float64 { return 2 + 0.05*t })
	down := make([]Point, len(up))
	for i, p := range up {
		down[i] = Point{p.Time, -p.Value}
	}
	a, b := Of(up, Limit{Value: 8}), Of(down, Limit{Value: -8, Below: true})
	if a.Median != b.Median || a.Slope != -b.Slope || math.Abs(a.Median-120) > 15 {
		t.Errorf("up %+v, down %+v", a, b)
	}
}

func TestOf_no(t *testing.T) {
	flat := func(t float64) float64 { return 2 + 0.3*math.Sin(t/7) }
	for name, c := range map[string]struct {
		points []Point
		reason string
	}{
		"few":      {series(1, 10, flat), "not enough data: 10 of 16"},
		"none":     {nil, "not enough data"},
		"healthy":  {series(1, 200, flat), "there is no trend"},
		"constant": {make([]Point, 50), "do not change"},
		"far":      {series(2, 100, func(t float64) float64 { return 2 + 0.004*t }), "farther away"},
		"away":     {series(2, 100, func(t float64) float64 { return 2 - 0.05*t }), "there is no trend"},
	} {
		if f := Of(c.points, Limit{Value: 9}); !strings.Contains(f.Reason, c.reason) || f.Probability(f.last+1) > 0.01 {
			t.Errorf("%s: %q, %+v", name, f.Reason, f.Median)
		}
	}
}

func TestOf_reached(t *testing.T) {
	f := Of(series(1, 120, func(t float64) float64 { return 2 + 0.1*t }), Limit{Value: 9})
	if !f.Reached || math.Abs(f.Median-70) > 5 || f.Reason != "" {
		t.Errorf("%+v", f)
	}
}

// Outliers hardly move a date.
func TestOf_outliers(t *testing.T) {
	clean := series(5, 100, func(t float64) float64 { return 2 + 0.04*t })
	dirty := append([]Point(nil), clean...)
	for i := 10; i < 100; i += 12 {
		dirty[i].Value += 4
	}
	a, b := Of(clean, Limit{Value: 8}), Of(dirty, Limit{Value: 8})
	if math.Abs(a.Median-b.Median) > 0.25*(a.Median-100) {
		t.Errorf("%.0f, with outliers %.0f", a.Median, b.Median)
	}
}

func BenchmarkOf(b *testing.B) {
	points := series(1, 200, func(t float64) float64 { return 2 + 0.01*t })
	for b.Loop() {
		Of(points, Limit{Value: 9})
	}
}
