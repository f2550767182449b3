package anomaly

import "math"

// grid counts which eighths of the range follow which two.
type grid struct {
	counts [gridBins * gridBins][gridBins]float32
	a, b   uint8 // of the two points before
}

const (
	gridBins  = 8
	gridDecay = 0.999
	// gridPrior is what each is taken to have been seen, before it was: the estimate of
	// Krichevsky and Trofimov, 1981.
	gridPrior = 0.5
)

// surprise is minus the logarithm of the probability of a value after the two before it.
func (g *grid) surprise(v, low, high float64) float64 {
	bin := 0
	if high > low {
		bin = int(max(0, min(gridBins-1, gridBins*(v-low)/(high-low))))
	}
	row := &g.counts[int(g.a)*gridBins+int(g.b)]
	var sum float32
	for _, c := range row {
		sum += c
	}
	p := (float64(row[bin]) + gridPrior) / (float64(sum) + gridPrior*gridBins)
	for i := range row {
		row[i] *= gridDecay
	}
	row[bin]++
	g.a, g.b = g.b, uint8(bin)
	return -math.Log(p)
}
