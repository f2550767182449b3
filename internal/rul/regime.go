package rul

import (
	"math"
	"math/rand/v2"
)

// regimes are the ways in which things are run, such as altitude and speed of an aircraft: each
// is a centre in the space of all measurements. Where there is one alone, it is everything.
type regimes struct {
	mean, deviation []float64   // of all measurements
	centres         [][]float64 // in deviations
}

const (
	regimesMax = 12
	// regimeShare is what may be left of the variance within regimes; more, and there are none.
	regimeShare = 0.08
	// enough is the share that another regime may leave at most.
	enough      = 0.9
	regimeSeeds = 4
	regimeRows  = 4000
	regimeTurns = 12
)

// findRegimes returns what the regimes may be: none, and each number of centres that explain
// nearly all of the variance, as wear hardly does.
func findRegimes(rows [][]float64) []*regimes {
	one := &regimes{}
	one.scale(rows)
	all := []*regimes{one}
	step := max(1, len(rows)/regimeRows)
	var list [][]float64
	for i := 0; i < len(rows); i += step {
		list = append(list, one.scaled(rows[i]))
	}
	before := 1.0
	for k := 2; k <= regimesMax; k++ {
		best, share := [][]float64(nil), math.Inf(1)
		for seed := range uint64(regimeSeeds) {
			if centres, left := cluster(list, k, seed); left < share {
				best, share = centres, left
			}
		}
		if len(all) > 1 && share > enough*before {
			break // another one divides what belongs together
		}
		if share < regimeShare {
			all = append(all, &regimes{mean: one.mean, deviation: one.deviation, centres: best})
			before = share
		}
	}
	return all
}

func (r *regimes) scale(rows [][]float64) {
	n := len(rows[0])
	r.mean, r.deviation = make([]float64, n), make([]float64, n)
	for f := range n {
		r.mean[f], r.deviation[f] = meanOf(rows, f)
	}
}

// meanOf is the mean and the deviation of a measurement; the latter is 0 of a constant.
func meanOf(rows [][]float64, f int) (mean, deviation float64) {
	for _, row := range rows {
		mean += row[f] / float64(len(rows))
	}
	for _, row := range rows {
		deviation += (row[f] - mean) * (row[f] - mean) / float64(len(rows))
	}
	deviation = math.Sqrt(deviation)
	if deviation < 1e-9*(math.Abs(mean)+1e-300) {
		deviation = 0
	}
	return mean, deviation
}

func (r *regimes) scaled(row []float64) []float64 {
	out := make([]float64, len(row))
	for f, v := range row {
		if r.deviation[f] > 0 {
			out[f] = (v - r.mean[f]) / r.deviation[f]
		}
	}
	return out
}

// of is the number of the regime of a row.
func (r *regimes) of(row []float64) int {
	if len(r.centres) == 0 {
		return 0
	}
	i, _ := nearest(r.centres, r.scaled(row))
	return i
}

func (r *regimes) count() int { return max(1, len(r.centres)) }

func nearest(centres [][]float64, x []float64) (at int, square float64) {
	square = math.Inf(1)
	for i, c := range centres {
		d := 0.0
		for f, v := range x {
			d += (v - c[f]) * (v - c[f])
		}
		if d < square {
			at, square = i, d
		}
	}
	return at, square
}

// cluster is k-means with centres that begin far from each other; left is the share of the
// variance that is within.
//
// Source: Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding", 2007.
func cluster(rows [][]float64, k int, seed uint64) (centres [][]float64, left float64) {
	rng := rand.New(rand.NewPCG(seed, uint64(k)))
	centres = append(centres, rows[rng.IntN(len(rows))])
	squares := make([]float64, len(rows))
	for len(centres) < k {
		sum := 0.0
		for i, x := range rows {
			_, squares[i] = nearest(centres, x)
			sum += squares[i]
		}
		at, u := 0, rng.Float64()*sum
		for ; at < len(rows)-1 && u > squares[at]; at++ {
			u -= squares[at]
		}
		centres = append(centres, rows[at])
	}
	for range regimeTurns {
		sums, counts := make([][]float64, k), make([]float64, k)
		for i := range sums {
			sums[i] = make([]float64, len(rows[0]))
		}
		left = 0
		for _, x := range rows {
			i, d := nearest(centres, x)
			left += d
			counts[i]++
			for f, v := range x {
				sums[i][f] += v
			}
		}
		for i := range centres {
			if counts[i] == 0 {
				continue
			}
			for f := range sums[i] {
				sums[i][f] /= counts[i]
			}
			centres[i] = sums[i]
		}
	}
	total := 0.0
	for _, x := range rows {
		for _, v := range x {
			total += v * v
		}
	}
	return centres, left / max(total, math.SmallestNonzeroFloat64)
}
