package anomaly

import "math"

// moment is a decaying mean and variance.
type moment struct{ mean, variance, weight float64 }

// add takes in a value, which has the weight of one of about n.
func (m *moment) add(v, n float64) {
	m.weight = min(m.weight+1, n)
	d := v - m.mean
	m.mean += d / m.weight
	m.variance += (d*(v-m.mean) - m.variance) / m.weight
}

func (m *moment) deviation() float64 { return math.Sqrt(max(m.variance, 0)) }
