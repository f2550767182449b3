package anomaly

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// daily is a number of a fleet in order: a wave of a day with noise, one each five minutes.
func daily(n int) []float64 {
	rng := rand.New(rand.NewPCG(1, 2))
	v := make([]float64, n)
	for i := range v {
		v[i] = 20 + 5*math.Sin(2*math.Pi*float64(i)/288) + 0.3*rng.NormFloat64()
	}
	return v
}

func judge(values []float64) []Result {
	d := New()
	out := make([]Result, len(values))
	for i, v := range values {
		out[i] = d.Add(start.Add(time.Duration(i)*5*time.Minute), v)
	}
	return out
}

// rarest is the point after the first weeks that surprises most.
func rarest(out []Result, from int) int {
	at := from
	for i := from; i < len(out); i++ {
		if out[i].Rising && out[i].Surprise > out[at].Surprise {
			at = i
		}
	}
	return at
}

func TestDetector_finds(t *testing.T) {
	const n, at = 6000, 5000
	for name, fault := range map[string]func(v []float64){
		"a spike": func(v []float64) { v[at] += 15 },
		"a shift": func(v []float64) {
			for i := at; i < n; i++ {
				v[i] += 6
			}
		},
		"noise": func(v []float64) {
			rng := rand.New(rand.NewPCG(3, 4))
			for i := at; i < at+60; i++ {
				v[i] += 4 * rng.NormFloat64()
			}
		},
		"a day without its wave": func(v []float64) {
			for i := at; i < at+288; i++ {
				v[i] = 25
			}
		},
	} {
		v := daily(n)
		fault(v)
		out := judge(v)
		if i := rarest(out, 1500); i < at || i > at+300 {
			t.Errorf("%s at %d: most surprising is %d, %+v", name, at, i, out[i])
		}
	}
}

// The score is the share of the past that was less unusual: of what is normal it is even.
func TestDetector_calibrated(t *testing.T) {
	out := judge(daily(20_000))
	for _, limit := range []float64{0.5, 0.9, 0.99} {
		over, all := 0, 0
		for _, r := range out[3000:] {
			all++
			if r.Score > limit {
				over++
			}
		}
		if share := float64(over) / float64(all); share > 1.5*(1-limit)+0.003 || share < (1-limit)/3 {
			t.Errorf("%.1f %% of normal points have a score above %g", 100*share, limit)
		}
	}
}

// Neither the unit nor the day matters, and no point is judged by what comes later.
func TestDetector_invariant(t *testing.T) {
	v := daily(4000)
	v[3000] += 9
	want := judge(v)
	other := make([]float64, len(v))
	for i := range v {
		other[i] = -40 + 1.8*v[i]
	}
	d := New()
	for i := range other {
		got := d.Add(start.Add(11*24*time.Hour).Add(time.Duration(i)*5*time.Minute), other[i])
		if math.Abs(got.Surprise-want[i].Surprise) > 0.3 {
			t.Fatalf("point %d: %+v in other units, %+v", i, got, want[i])
		}
	}
	for i, r := range judge(v[:2500]) {
		if r != want[i] {
			t.Fatalf("point %d depends on what comes later", i)
		}
	}
}

func TestDetector_odd(t *testing.T) {
	d := New()
	for i := range 500 {
		at := start.Add(time.Duration(i) * time.Minute)
		for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			if r := d.Add(at, v); r != (Result{}) {
				t.Fatalf("of %g it says %+v", v, r)
			}
		}
		if r := d.Add(at, 7); math.IsNaN(r.Score) || math.IsNaN(r.Surprise) || math.IsInf(r.Surprise, 0) || r.Score > 0.999 && i > 30 {
			t.Fatalf("of a constant it says %+v", r)
		}
	}
	if r := d.Add(start.Add(time.Hour*10), 7.001); r.Score < 0.99 || !r.Rising {
		t.Errorf("a constant that moves: %+v", r)
	}
	for _, v := range []float64{1e300, -1e300, 5e-324, 0, math.MaxFloat64, -math.MaxFloat64} {
		if r := d.Add(start.Add(11*time.Hour), v); math.IsNaN(r.Score) || math.IsInf(r.Surprise, 0) || math.IsNaN(r.Surprise) {
			t.Errorf("of %g it says %+v", v, r)
		}
	}
	if d.StateBytes() > 8<<10 {
		t.Errorf("the state has %d bytes", d.StateBytes())
	}
}

// Of several metrics the odd one is named.
func TestSeveral(t *testing.T) {
	a, b := daily(4000), daily(4000)
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range b {
		b[i] = 100 + rng.NormFloat64()
	}
	b[3500] += 20
	s := NewSeveral(2)
	best, at, metric := 0.0, 0, 0
	for i := range a {
		r, m := s.Add(start.Add(time.Duration(i)*5*time.Minute), []float64{a[i], b[i]})
		if i > 1500 && r.Surprise > best {
			best, at, metric = r.Surprise, i, m
		}
	}
	if at < 3500 || at > 3503 || metric != 1 {
		t.Errorf("point %d of metric %d", at, metric)
	}
}

func BenchmarkDetector_Add(b *testing.B) {
	v := daily(10_000)
	d := New()
	at := start
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		at = at.Add(time.Minute)
		d.Add(at, v[i%len(v)])
	}
}
