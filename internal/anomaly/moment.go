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

// merge takes in what count values come to, which together have the weight of at most n.
func (m *moment) merge(mean, deviation, count, n float64) {
	w := min(count, n)
	before := min(m.weight, n-w)
	sum := before + w
	d := mean - m.mean
	m.variance = (before*m.variance+w*deviation*deviation)/sum + d*d*before*w/(sum*sum)
	m.mean += d * w / sum
	m.weight = sum
}

func (m *moment) deviation() float64 { return math.Sqrt(max(m.variance, 0)) }
