package trend

import (
	"math"
	"slices"
)

// Point is a value at a time, in any unit.
type Point struct{ Time, Value float64 }

// shape is how a curve goes on from its onset.
type shape struct {
	name  string
	power float64 // of a power of time
	rate  float64 // of an exponential, over the time since the onset
}

// shapes are what is tried.
var shapes = []shape{ //nolint:gochecknoglobals // read only
	{name: "linear", power: 1},
	{name: "power", power: 0.5},
	{name: "power", power: 1.5},
	{name: "power", power: 2},
	{name: "power", power: 3},
	{name: "exponential", rate: 1},
	{name: "exponential", rate: 2},
	{name: "exponential", rate: 3},
	{name: "exponential", rate: 4.5},
	{name: "exponential", rate: 6},
}

// at is the shape at a time since the onset, in units of what is observed of it; 1 at 1.
func (s *shape) at(x float64) float64 {
	switch {
	case x <= 0:
		return 0
	case s.rate > 0:
		return math.Expm1(s.rate*x) / math.Expm1(s.rate)
	case s.power == 1:
		return x
	}
	return math.Pow(x, s.power)
}

// when is the inverse of at.
func (s *shape) when(y float64) float64 {
	switch {
	case y <= 0:
		return 0
	case s.rate > 0:
		return math.Log1p(y*math.Expm1(s.rate)) / s.rate
	}
	return math.Pow(y, 1/s.power)
}

// curve is level until onset, and level + rise·shape from there on.
type curve struct {
	shape
	onset, length float64 // of what is observed after the onset
	level, rise   float64
	squares       float64 // weighted sum of squares of what is left
	worth         float64 // sum of the weights
	// Covariance of level and rise, without the variance of the points.
	vLevel, vRise, vBoth float64
	weight               float64
}

const (
	onsetsMost, onsetsFew = 16, 4 // that are tried
	// afterLeast is how many points are needed after an onset.
	afterLeast = 8
	huber      = 1.345 // deviations from which on points count less
	rounds     = 4
	// halfWorth is the age, as a share of all that is observed, at which a point counts half: what
	// comes goes on from what was last.
	halfWorth = 0.5
)

// fits returns the curves for all onsets and shapes. scale is that of the noise.
func fits(points []Point, scale float64, onsets int) []curve {
	first, last := points[0].Time, points[len(points)-1].Time
	var list []curve
	for i := range onsets {
		at := i * (len(points) - afterLeast) / onsets
		if i > 0 && at == (i-1)*(len(points)-afterLeast)/onsets {
			continue
		}
		onset := points[at].Time
		if i == 0 {
			onset = first
		}
		for _, s := range shapes {
			c := curve{shape: s, onset: onset, length: last - onset}
			if c.fit(points, scale) {
				list = append(list, c)
			}
		}
	}
	return list
}

// fit finds level and rise by least squares in which points that are far out count less.
func (c *curve) fit(points []Point, scale float64) bool {
	weights, worth := make([]float64, len(points)), make([]float64, len(points))
	last, span := points[len(points)-1].Time, points[len(points)-1].Time-points[0].Time
	for i, p := range points {
		worth[i] = math.Exp2(-(last - p.Time) / (halfWorth * span))
		weights[i] = worth[i]
	}
	for round := range rounds {
		var n, sg, sgg, sy, sgy float64
		for i, p := range points {
			g, w := c.at((p.Time-c.onset)/c.length), weights[i]
			n += w
			sg += w * g
			sgg += w * g * g
			sy += w * p.Value
			sgy += w * g * p.Value
		}
		det := n*sgg - sg*sg
		if det <= 1e-12*n*sgg || math.IsNaN(det) {
			return false
		}
		c.rise = (n*sgy - sg*sy) / det
		c.level = (sy - c.rise*sg) / n
		c.vLevel, c.vRise, c.vBoth = sgg/det, n/det, -sg/det
		c.squares, c.worth = 0, 0
		for i, p := range points {
			off := math.Abs(p.Value - c.value(p.Time))
			if round < rounds-1 {
				weights[i] = worth[i] * min(1, huber*scale/max(off, math.SmallestNonzeroFloat64))
			}
			c.squares += worth[i] * loss(off, scale)
			c.worth += worth[i]
		}
	}
	return true
}

// loss is the square of a small residual; a large one counts by its size.
func loss(off, scale float64) float64 {
	if off <= huber*scale {
		return off * off
	}
	return huber * scale * (2*off - huber*scale)
}

func (c *curve) value(t float64) float64 { return c.level + c.rise*c.at((t-c.onset)/c.length) }

// reaches is when the curve with another level and rise is at a limit.
func (c *curve) reaches(limit, level, rise float64) float64 {
	y := (limit - level) / rise
	if rise == 0 || y < 0 || math.IsNaN(y) {
		return math.Inf(1)
	}
	return c.onset + c.length*c.when(y)
}

// noise is the deviation of points around a smooth curve, from differences of neighbours, as
// they change little from one to the next; by the median, so that jumps do not count.
func noise(points []Point) float64 {
	if len(points) < 3 {
		return 0
	}
	off := make([]float64, 0, len(points)-2)
	for i := 1; i+1 < len(points); i++ {
		a, b, c := points[i-1], points[i], points[i+1]
		share := 0.5
		if c.Time > a.Time {
			share = (b.Time - a.Time) / (c.Time - a.Time)
		}
		off = append(off, math.Abs(b.Value-(a.Value+(c.Value-a.Value)*share)))
	}
	slices.Sort(off)
	const toDeviation = 1.4826 / 1.2247 // median to deviation; of a difference to its mean neighbours
	return off[len(off)/2] * toDeviation
}

// shock is the deviation that the level gathers in a unit of time beside the curve, as that of
// what is left a tenth of the series apart: a repair in part, or a battery that recovers
// at rest.
func (c *curve) shock(points []Point) float64 {
	apart := max(1, len(points)/10)
	sum, n, time := 0.0, 0.0, 0.0
	for i := apart; i < len(points); i++ {
		a, b := points[i-apart], points[i]
		off := (b.Value - c.value(b.Time)) - (a.Value - c.value(a.Time))
		sum += off * off
		time += b.Time - a.Time
		n++
	}
	if time == 0 {
		return 0
	}
	return math.Sqrt(sum / time)
}

// dependence is the correlation of what is left of neighbours around a curve.
func (c *curve) dependence(points []Point) float64 {
	var sum, both float64
	before := 0.0
	for i, p := range points {
		off := p.Value - c.value(p.Time)
		sum += off * off
		if i > 0 {
			both += off * before
		}
		before = off
	}
	if sum == 0 {
		return 0
	}
	return max(0, min(0.95, both/sum))
}

// anchor moves a curve to where the last points are.
func (c *curve) anchor(points []Point) {
	m := max(5, len(points)/20)
	off := make([]float64, 0, m)
	for _, p := range points[len(points)-m:] {
		off = append(off, p.Value-c.value(p.Time))
	}
	slices.Sort(off)
	c.level += off[len(off)/2]
}
