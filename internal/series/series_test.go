package series_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/twin"
)

const t0 = twin.Time(1_795_392_000_000) // 2026-11-23

// shape makes the i-th number of a series.
type shape struct {
	name string
	at   func(rng *rand.Rand, i int) float64
}

var shapes = []shape{
	{"uniform noise of 2 decimals", func(rng *rand.Rand, _ int) float64 { return float64(2000+rng.IntN(101)-50) / 100 }},
	{"constant", func(*rand.Rand, int) float64 { return 21.5 }},
	{"counter", func(_ *rand.Rand, i int) float64 { return float64(1000 + i) }},
	{"whole, far apart", func(rng *rand.Rand, _ int) float64 { return float64(rng.Int64N(1<<54) - 1<<53) }},
	{"float32", func(rng *rand.Rand, _ int) float64 { return float64(float32(20 + rng.Float64())) }},
	{"float64", func(rng *rand.Rand, _ int) float64 { return rng.NormFloat64() }},
	{"mixed", func(rng *rand.Rand, i int) float64 {
		if i%100 == 7 {
			return rng.NormFloat64()
		}
		return float64(rng.IntN(1000)) / 10
	}},
	{"ends", func(rng *rand.Rand, _ int) float64 {
		return []float64{0, math.Copysign(0, -1), math.MaxFloat64, -math.MaxFloat64, 5e-324, -5e-324, 1e300, 0.1, 1 << 53, 1<<53 + 2}[rng.IntN(10)]
	}},
	{"bits", func(rng *rand.Rand, _ int) float64 {
		for {
			if v := math.Float64frombits(rng.Uint64()); !math.IsNaN(v) && !math.IsInf(v, 0) {
				return v
			}
		}
	}},
}

// rhythm makes the time after one.
type rhythm struct {
	name string
	next func(rng *rand.Rand, t twin.Time) twin.Time
}

var rhythms = []rhythm{
	{"1 Hz", func(_ *rand.Rand, t twin.Time) twin.Time { return t + 1000 }},
	{"1 Hz, a few missing", func(rng *rand.Rand, t twin.Time) twin.Time {
		if rng.IntN(50) == 0 {
			return t + 1000*twin.Time(1+rng.IntN(1000))
		}
		return t + 1000
	}},
	{"about 1 Hz", func(rng *rand.Rand, t twin.Time) twin.Time { return t + 990 + twin.Time(rng.IntN(20)) }},
	{"any", func(rng *rand.Rand, t twin.Time) twin.Time { return t + 1 + twin.Time(rng.ExpFloat64()*100_000) }},
}

func points(rng *rand.Rand, n int, s shape, r rhythm) []series.Point {
	list := make([]series.Point, n)
	t := t0
	for i := range list {
		list[i] = series.Point{Time: t, Value: s.at(rng, i)}
		t = r.next(rng, t)
	}
	return list
}

func same(a, b series.Point) bool {
	return a.Time == b.Time && math.Float64bits(a.Value) == math.Float64bits(b.Value)
}

func TestNumbers_roundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range shapes {
		for _, r := range rhythms {
			for _, n := range []int{0, 1, 2, 127, 128, 129, 1000} {
				want := points(rng, n, s, r)
				data := series.AppendNumbers(nil, want)
				got, err := series.ReadNumbers(nil, data)
				if err != nil || !slices.EqualFunc(got, want, same) {
					t.Fatalf("%s, %s, %d: %v", s.name, r.name, n, err)
				}
				if n == 1000 {
					t.Logf("%-28s %-20s %.2f bytes a sample", s.name, r.name, float64(len(data))/float64(n))
				}
			}
		}
	}
}

// Times that lie at the ends of the range, and rise by more than a number can say.
func TestNumbers_extremeTimes(t *testing.T) {
	want := []series.Point{{math.MinInt64, 1}, {-1, 2}, {0, 3}, {1, 4}, {math.MaxInt64, 5}}
	got, err := series.ReadNumbers(nil, series.AppendNumbers(nil, want))
	if err != nil || !slices.Equal(got, want) {
		t.Fatal(got, err)
	}
}

func TestStates_roundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, texts := range []int{1, 2, 5, 300} {
		for _, stay := range []int{1, 3, 500} {
			for _, n := range []int{0, 1, 128, 2000} {
				want := make([]series.State, n)
				text := "start"
				for i := range want {
					if rng.IntN(stay) == 0 {
						text = fmt.Sprint("mode ", rng.IntN(texts))
					}
					want[i] = series.State{Time: t0 + twin.Time(i)*1000, Value: text}
				}
				data := series.AppendStates(nil, want)
				got, err := series.ReadStates(nil, data)
				if err != nil || !slices.Equal(got, want) {
					t.Fatalf("%d texts, %d long, %d: %v", texts, stay, n, err)
				}
				if n == 2000 {
					t.Logf("%3d texts that stay for %3d: %.3f bytes a sample", texts, stay, float64(len(data))/float64(n))
				}
			}
		}
	}
}

// What a chunk costs is what DESIGN promises of a store: these are its goals.
func TestSize(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	noise := points(rng, 86_400, shapes[0], rhythms[0])
	raw, rolled := 0, 0
	for chunk := range slices.Chunk(noise, 4096) {
		raw += len(series.AppendNumbers(nil, chunk))
	}
	minutes := series.RollUp(noise, 60_000)
	for hour := range slices.Chunk(minutes, 60) {
		rolled += len(series.AppendRollups(nil, hour))
	}
	hours := series.Coarser(minutes, 3_600_000)
	rolled += len(series.AppendRollups(nil, hours))
	perSample, perRollup := float64(raw)/86_400, float64(rolled)/86_400
	t.Logf("%.3f bytes a sample, rollups %.3f", perSample, perRollup)
	if perSample > 0.95 || perSample+perRollup > 1.3 {
		t.Errorf("%.3f bytes a sample, rollups %.3f: too much", perSample, perRollup)
	}
}

func TestRead_damaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	p := points(rng, 300, shapes[6], rhythms[3])
	chunks := [][]byte{
		series.AppendNumbers(nil, p), series.AppendNumbers(nil, points(rng, 300, shapes[5], rhythms[1])),
		series.AppendStates(nil, []series.State{{1, "a"}, {2, "b"}, {3, "b"}}), series.AppendRollups(nil, series.RollUp(p, 60_000)),
	}
	read := func(data []byte) []error {
		_, a := series.ReadNumbers(nil, data)
		_, b := series.ReadStates(nil, data)
		_, c := series.ReadRollups(nil, data)
		return []error{a, b, c}
	}
	for i, chunk := range chunks {
		for n := range len(chunk) {
			if slices.Contains(read(chunk[:n]), nil) {
				t.Fatalf("chunk %d, cut at %d of %d: no error", i, n, len(chunk))
			}
		}
		if slices.Contains(read(append(slices.Clone(chunk), 0)), nil) {
			t.Errorf("chunk %d with a byte more: no error", i)
		}
		for range 3000 { // must not panic
			broken := slices.Clone(chunk)
			broken[rng.IntN(len(broken))] ^= 1 << rng.IntN(8)
			read(broken)
		}
	}
}

func FuzzRead(f *testing.F) {
	rng := rand.New(rand.NewPCG(9, 10))
	f.Add(series.AppendNumbers(nil, points(rng, 200, shapes[0], rhythms[1])))
	f.Add(series.AppendNumbers(nil, points(rng, 20, shapes[5], rhythms[2])))
	f.Add(series.AppendStates(nil, []series.State{{1, "a"}, {2, "b"}, {3, "b"}}))
	f.Add(series.AppendRollups(nil, series.RollUp(points(rng, 300, shapes[0], rhythms[0]), 60_000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := series.ReadNumbers(nil, data)
		if err == nil && !slices.ContainsFunc(p, func(p series.Point) bool { return math.IsNaN(p.Value) }) {
			again, err := series.ReadNumbers(nil, series.AppendNumbers(nil, p))
			if err != nil || !slices.EqualFunc(again, p, same) {
				t.Fatalf("%v is read as %v, %v", p, again, err)
			}
		}
		if s, err := series.ReadStates(nil, data); err == nil {
			again, err := series.ReadStates(nil, series.AppendStates(nil, s))
			if err != nil || !slices.Equal(again, s) {
				t.Fatalf("%v is read as %v, %v", s, again, err)
			}
		}
		_, _ = series.ReadRollups(nil, data)
	})
}

func BenchmarkAppendNumbers(b *testing.B) {
	p := points(rand.New(rand.NewPCG(1, 1)), 4096, shapes[0], rhythms[0])
	var data []byte
	for b.Loop() {
		data = series.AppendNumbers(data[:0], p)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/sample")
}

func BenchmarkReadNumbers(b *testing.B) {
	data := series.AppendNumbers(nil, points(rand.New(rand.NewPCG(1, 1)), 4096, shapes[0], rhythms[0]))
	var p []series.Point
	for b.Loop() {
		p, _ = series.ReadNumbers(p[:0], data)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/sample")
}

func BenchmarkRollUp(b *testing.B) {
	p := points(rand.New(rand.NewPCG(1, 1)), 4096, shapes[0], rhythms[0])
	for b.Loop() {
		series.RollUp(p, 60_000)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/sample")
}
