package boost

import (
	"math"
	"math/rand/v2"
	"testing"
)

// data is a function of two of three features, with noise.
func data(seed uint64, n int) (rows [][]float64, targets []float64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for range n {
		x := []float64{rng.Float64(), rng.Float64(), rng.Float64()}
		rows = append(rows, x)
		targets = append(targets, 10*math.Sin(4*x[0])+5*x[0]*x[1]+0.3*rng.NormFloat64())
	}
	return rows, targets
}

func TestFit(t *testing.T) {
	rows, targets := data(1, 4000)
	p := Params{Trees: 150, Rate: 0.1, Depth: 4, LeafRows: 10, RowShare: 0.7, FeatureShare: 0.9, Seed: 1}
	m := Fit(rows, targets, p)
	unseen, want := data(2, 1000)
	square, constant := 0.0, 0.0
	for i, row := range unseen {
		square += math.Pow(m.Predict(row)-want[i], 2) / 1000
		constant += math.Pow(m.Base-want[i], 2) / 1000
	}
	if math.Sqrt(square) > 0.5 || constant < 5 {
		t.Errorf("off by %.2f, noise is 0.3; a constant by %.2f", math.Sqrt(square), math.Sqrt(constant))
	}
	if again := Fit(rows, targets, p); again.Predict(unseen[0]) != m.Predict(unseen[0]) {
		t.Error("the same data give another model")
	}
	for i := range m.Trees {
		if n := len(m.Trees[i].Nodes); n > 31 {
			t.Errorf("tree %d has %d nodes", i, n)
		}
	}
}

func TestFit_odd(t *testing.T) {
	p := Params{Trees: 5, Rate: 0.1, Depth: 3, LeafRows: 2, RowShare: 1, FeatureShare: 0.01}
	if m := Fit(nil, nil, p); m.Predict([]float64{1}) != 0 {
		t.Error("of nothing")
	}
	m := Fit([][]float64{{1, 1}, {1, 1}, {1, 1}}, []float64{4, 4, 4}, p)
	if got := m.Predict([]float64{9, -9}); math.Abs(got-4) > 1e-6 {
		t.Errorf("of a constant: %g", got)
	}
}
