package anomaly

import "math"

// history is a decaying histogram of a signal on a logarithmic scale. It gives the share of the
// past that was at least as large as a value.
type history struct {
	bins  [historyBins]float32
	total float32
	grow  float32 // weight of the next value: it rises, in place of all others falling
	top   int32   // the highest bin that any value was in
}

const (
	historyBins = 96
	// historyLife is over how many points the weight of the past falls to 1/e.
	historyLife = 5000
	// binsOctave is how fine the scale is.
	binsOctave = 6
	// tailDecay is how fast the probability is taken to fall with each bin above all that was
	// seen: by 0.2, as for a distribution with a heavy tail, P(x) ~ x^-1.2.
	tailDecay = 0.2
	growMax   = 1e6
)

// binOf is the bin of a signal, from 1/64 on.
func binOf(v float64) int {
	if !(v > 1.0/64) {
		return 0
	}
	return min(1+int(binsOctave*math.Log2(64*min(v, 1e9))), historyBins-1)
}

// add returns the tail probability of a value by what came before it, and takes it in. Half of
// what was in the same bin counts as larger, and the value itself, so nothing is impossible.
func (h *history) add(v float64) float64 {
	if h.grow == 0 {
		h.grow = 1
	}
	b := binOf(v)
	var above float32
	for i := b + 1; i <= int(h.top); i++ {
		above += h.bins[i]
	}
	p := float64(above+h.bins[b]/2+h.grow/2) / float64(h.total+h.grow)
	if over := b - int(h.top); over > 0 {
		p *= math.Exp(-tailDecay * float64(over))
		h.top = int32(b)
	}
	h.bins[b] += h.grow
	h.total += h.grow
	if h.grow *= 1 + 1.0/historyLife; h.grow > growMax {
		for i := range h.bins {
			h.bins[i] /= growMax
		}
		h.total /= growMax
		h.grow = 1
	}
	return p
}
