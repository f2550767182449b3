package rul

import "math"

// ridge makes the weights of measurements that say the same smaller.
const ridge = 1e-3

// learnIndex finds the weights with which the measurements of a moment together tell best what
// is left, by least squares, and returns the mean square that is left over.
func (n *normal) learnIndex(lives []Life, target func(left float64) float64) float64 {
	k := len(n.used) + 1
	sums := make([][]float64, k) // of the products of all pairs, and with the target
	for i := range sums {
		sums[i] = make([]float64, k+1)
	}
	squares, count := 0.0, 0.0
	for i := range lives {
		l := &lives[i]
		last := l.Times[len(l.Times)-1]
		for j, row := range l.Rows {
			x := append(n.standard(row), 1)
			y := target(last - l.Times[j])
			squares += y * y
			count++
			for a := range x {
				for b := range x {
					sums[a][b] += x[a] * x[b]
				}
				sums[a][k] += x[a] * y
			}
		}
	}
	for a := range k - 1 {
		sums[a][a] *= 1 + ridge
		sums[a][a] += math.SmallestNonzeroFloat64
	}
	right := make([]float64, k)
	for a := range sums {
		right[a] = sums[a][k]
	}
	w := solve(sums)
	if w == nil {
		return math.Inf(1)
	}
	n.index = w[:k-1]
	for a := range w { // what the weights explain
		squares -= w[a] * right[a]
	}
	return squares / count
}

// solve solves a system of linear equations by elimination, in place; nil: it has no solution.
func solve(m [][]float64) []float64 {
	k := len(m)
	for i := range k {
		top := i
		for r := i + 1; r < k; r++ {
			if math.Abs(m[r][i]) > math.Abs(m[top][i]) {
				top = r
			}
		}
		m[i], m[top] = m[top], m[i]
		if m[i][i] == 0 {
			return nil
		}
		for r := range k {
			if r == i {
				continue
			}
			by := m[r][i] / m[i][i]
			for c := i; c <= k; c++ {
				m[r][c] -= by * m[i][c]
			}
		}
	}
	out := make([]float64, k)
	for i := range out {
		out[i] = m[i][k] / m[i][i]
	}
	return out
}
