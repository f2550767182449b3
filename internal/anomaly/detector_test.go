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
		r, m := s.AddRow(start.Add(time.Duration(i)*5*time.Minute), []float64{a[i], b[i]})
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

// at judges the values from an index on, after a state was written and read back in between.
func TestSeveral_restart(t *testing.T) {
	a, b := daily(3000), daily(3000)
	states := []string{"idle", "run", "idle", "run", "clean"}
	feed := func(s *Several, from, to int) (out []Result) {
		for i := from; i < to; i++ {
			r, _ := s.Add(start.Add(time.Duration(i)*5*time.Minute), []Reading{{Metric: 0, Number: a[i]}, {Metric: 1, Number: 3*b[i] + 1}, {Metric: 2, State: states[i%5]}, {Metric: 3, Number: float64(i * 7)}})
			out = append(out, r)
		}
		return out
	}
	open := func() *Several {
		s := NewSeveral(2)
		s.Extend(true)
		s.Extend(false)
		return s
	}
	want := feed(open(), 0, 3000)
	s := open()
	feed(s, 0, 1500)
	kept := s.AppendBinary(nil)
	if most := 16 << 10 * 4; len(kept) > most {
		t.Errorf("4 metrics take %d bytes, the limit is %d", len(kept), most)
	}
	s, err := ReadSeveral(kept)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range feed(s, 1500, 3000) {
		if r != want[1500+i] {
			t.Fatalf("instant %d: %+v, without a restart %+v", 1500+i, r, want[1500+i])
		}
	}
	for n := range kept { // what is cut off is refused
		if _, err := ReadSeveral(kept[:n]); err == nil {
			t.Fatalf("%d of %d bytes are taken for a state", n, len(kept))
		}
	}
}

func FuzzReadSeveral(f *testing.F) {
	s := NewSeveral(1)
	s.Extend(true)
	for i := range 200 {
		s.Add(start.Add(time.Duration(i)*time.Minute), []Reading{{Metric: 0, Number: float64(i % 7)}, {Metric: 1, State: string(rune('a' + i%3))}})
	}
	f.Add(s.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ReadSeveral(b)
		if err != nil {
			return
		}
		for i := range s.Len() { // what is read can be used
			if s.States(i) != nil {
				s.Add(start, []Reading{{Metric: i, State: "x"}})
			} else {
				s.Add(start, []Reading{{Metric: i, Number: 1}})
			}
		}
	})
}

func most(out []Result) (r Result) {
	for _, x := range out {
		if x.Surprise > r.Surprise {
			r = x
		}
	}
	return r
}

// A gap in which the value moves on is no step and no jump.
func TestDetector_gap(t *testing.T) {
	v := daily(4000)
	d := New()
	for i := range 3000 {
		d.Add(start.Add(time.Duration(i)*5*time.Minute), v[i])
	}
	// The wave is elsewhere after half a day.
	at := start.Add(3000*5*time.Minute + 13*time.Hour)
	r := d.Add(at, v[3000+12*13])
	if r.Surprise > 2 {
		t.Errorf("after a gap: %+v", r)
	}
}

// A counter is judged by its rate: that it is higher than ever is usual, and so is a reset.
func TestDetector_counter(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	d := New()
	total, rate := 1000.0, 2.0
	var out []Result
	for i := range 4000 {
		if i == 2500 {
			total = 0
		}
		if i == 3500 {
			rate = 9
		}
		total += rate + 0.2*rng.Float64()
		out = append(out, d.Add(start.Add(time.Duration(i)*time.Minute), total))
	}
	if !d.Usual(start).Rate {
		t.Fatal("it is taken for a level")
	}
	if r := most(out[2490:2510]); r.Surprise > 3 {
		t.Errorf("its reset: %+v", r)
	}
	if r := most(out[3500:3510]); r.Surprise < 3 {
		t.Errorf("another rate: %+v", r)
	}
	// What falls a little is no counter.
	for i := range 100 {
		d.Add(start.Add(time.Duration(4000+i)*time.Minute), total-float64(i%5))
	}
	if d.Usual(start).Rate {
		t.Error("it falls, and is taken for a counter")
	}
}

// Another unit is one episode, then what is usual is learned again.
func TestDetector_unit(t *testing.T) {
	v := daily(6000)
	for i := 3000; i < len(v); i++ {
		v[i] = v[i]*1.8 + 32
	}
	out := judge(v)
	if r := most(out[3000:3010]); r.Surprise < 3.5 || !r.Rising {
		t.Errorf("the change: %+v", r)
	}
	rises := 0
	for _, r := range out[3500:] {
		if r.Rising && r.Surprise > 3.5 {
			rises++
		}
	}
	if rises > 1 {
		t.Errorf("%d alarms after it", rises)
	}
}

// A slow drift is found by days, long before a point stands out; a level that only varies is
// none, and a new level that stays becomes usual.
func TestDetector_drift(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	d, steady, moved := New(), New(), New()
	found, settled := -1, -1
	for i := range 200 * 24 {
		at, day := start.Add(time.Duration(i)*time.Hour), i/24
		z := rng.NormFloat64()
		x := 2 + 0.2*z
		if day > 100 {
			x += 0.01 * float64(day-100)
		}
		d.Add(at, x)
		steady.Add(at, 2+0.2*z)
		x = 2 + 0.2*z
		if day > 100 {
			x++
		}
		moved.Add(at, x)
		if found < 0 && math.Abs(d.Drift()) >= DriftLimit {
			found = day
		}
		if math.Abs(steady.Drift()) >= DriftLimit {
			t.Fatalf("day %d of what is steady drifts by %.1f", day, steady.Drift())
		}
		if settled < 0 && day > 105 && moved.Drift() == 0 {
			settled = day
		}
	}
	if found < 101 || found > 140 {
		t.Errorf("a drift from day 100 on is found on day %d", found)
	}
	if settled < 105 || settled > 130 {
		t.Errorf("a new level of day 100 is usual from day %d on", settled)
	}
}

// Two metrics that go together and no longer do, each as usual by itself.
func TestSeveral_correlation(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 7))
	s := NewSeveral(2)
	broken := false
	for i := range 6000 {
		load := 50 + 10*math.Sin(float64(i)/40) + 5*rng.NormFloat64()
		flow, power := load+rng.NormFloat64(), 3*load+2*rng.NormFloat64()
		if i >= 5500 {
			power = 3*(100-load) + 2*rng.NormFloat64()
		}
		r, parts := s.Add(start.Add(time.Duration(i)*time.Minute), []Reading{{Metric: 0, Number: flow}, {Metric: 1, Number: power}})
		if i > 5500 && i < 5560 && r.Surprise > 3 && parts[0].Signal == correlation {
			broken = true
		}
	}
	if !broken {
		t.Error("it is not noticed")
	}
}

// A transition that never was, and a state that holds far longer than it does.
func TestStates(t *testing.T) {
	build := func() (*States, time.Time) {
		s, at := &States{}, start
		for i := range 600 {
			s.Add(at, []string{"idle", "fill", "run", "drain"}[i%4])
			at = at.Add(time.Duration(10+i%3) * time.Minute)
		}
		return s, at
	}
	s, at := build()
	if r := s.Add(at, "idle"); r.Surprise > 2 {
		t.Errorf("what is usual: %+v", r)
	}
	s, at = build()
	if r := s.Add(at, "run"); r.Surprise < 2.5 || r.Signal != stateSequence {
		t.Errorf("a transition that never was: %+v", r)
	}
	s, at = build()
	if r := s.Add(at.Add(9*time.Hour), "idle"); r.Surprise < 2.5 || r.Signal != stateDwell {
		t.Errorf("a state that holds for nine hours: %+v", r)
	}
	s = &States{}
	for i := range 100 {
		s.Add(start.Add(time.Duration(i)*time.Minute), string(rune('A'+i)))
	}
	if r := s.Add(start.Add(200*time.Minute), "A"); r != (Result{}) {
		t.Errorf("what is no enumeration: %+v", r)
	}
}

// What is learned of windows, where the points are gone, is the level of the points.
func TestDetector_prime(t *testing.T) {
	v := daily(288 * 30)
	whole, primed := New(), New()
	for i, x := range v {
		whole.Add(start.Add(time.Duration(i)*5*time.Minute), x)
	}
	for i := 0; i+12 <= len(v); i += 12 {
		var m moment
		low, high := math.Inf(1), math.Inf(-1)
		for _, x := range v[i : i+12] {
			m.add(x, 12)
			low, high = min(low, x), max(high, x)
		}
		primed.Prime(start.Add(time.Duration(i)*5*time.Minute), 12, m.mean, m.deviation(), low, high)
	}
	at := start.Add(31 * 24 * time.Hour)
	a, b := whole.slow, primed.slow
	if math.Abs(a.mean-b.mean) > 0.3 || math.Abs(a.deviation()-b.deviation()) > 0.3 || whole.low != primed.low || whole.high != primed.high {
		t.Errorf("level %+v of points, %+v of windows", a, b)
	}
	if h, g := whole.hours[at.Hour()], primed.hours[at.Hour()]; math.Abs(h.mean-g.mean) > 0.3 {
		t.Errorf("hour %+v of points, %+v of windows", h, g)
	}
}
