package trend

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
)

// Limit is where a degradation is a failure.
type Limit struct {
	Value float64
	Below bool // the failure is at or below it; else at or above
}

// Forecast is when a limit is reached. Times are in the unit of the points.
type Forecast struct {
	// Reason says why there is no date; empty: there is one.
	Reason string
	// Reached: the limit was reached already, at Median.
	Reached bool
	Median  float64
	// Interval50 and Interval90 hold the time with these probabilities; an end beyond the
	// horizon is infinite.
	Interval50, Interval90 [2]float64
	Onset                  float64 // of the degradation
	Shape                  string
	Slope                  float64 // now, per unit of time
	Level                  float64 // of the curve, now
	Points                 int
	times                  []float64 // of the paths, in order
	last                   float64   // time of the last point
	change                 float64   // see slopeChange
}

const (
	// PointsMin is how many points a forecast needs.
	PointsMin = 16
	paths     = 1000
	// slopeChange is by how much, as a factor e^x, a slope may have changed after as much time
	// as the degradation has been observed for.
	// It is what is learned from the past of the series, within these bounds.
	slopeChange, slopeMost = 0.5, 1.2
	// sure is in how many of the paths the limit has to be reached.
	sure = 0.8
	// slopeNow is the share of that by which the slope is not known as it is now.
	slopeNow = 0.25
	// horizon is how many times as far as what is observed is looked ahead.
	horizon = 5
	// smoothest bounds from below what is left around a curve, as a share of the range.
	smoothest = 1e-3
)

// Of forecasts a limit from points in order of time. It gives the same for the same points.
func Of(points []Point, limit Limit) Forecast {
	f := Forecast{Points: len(points)}
	if len(points) < PointsMin {
		f.Reason = fmt.Sprintf("not enough data: %d of %d points", len(points), PointsMin)
		return f
	}
	if limit.Below { // the rest is for rising ones
		points = slices.Clone(points)
		for i := range points {
			points[i].Value = -points[i].Value
		}
		f.work(points, -limit.Value)
		f.Slope, f.Level = -f.Slope, -f.Level
		return f
	}
	f.work(points, limit.Value)
	return f
}

func (f *Forecast) work(points []Point, limit float64) {
	first := points[0].Time
	f.last = points[len(points)-1].Time
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range points {
		low, high = min(low, p.Value), max(high, p.Value)
	}
	scale := max(noise(points), smoothest*(high-low))
	if f.last <= first || high == low {
		f.Reason = "the values do not change"
		if high >= limit {
			f.reached(points, limit)
		}
		return
	}
	curves := fits(points, scale, onsetsMost)
	if len(curves) == 0 {
		f.Reason = "no curve fits"
		return
	}
	best := weigh(curves, points)
	for i := range curves {
		curves[i].anchor(points)
	}
	f.change = wander(points, scale)
	f.Onset, f.Shape, f.Level = best.onset, best.name, best.value(f.last)
	step := best.length / 100
	f.Slope = (best.value(f.last) - best.value(f.last-step)) / step
	if f.Level >= limit {
		f.reached(points, limit)
		return
	}
	f.draw(curves, points, limit)
	f.judge(first)
}

// reached finds when half of the points that follow are at the limit.
func (f *Forecast) reached(points []Point, limit float64) {
	f.Reached, f.Reason = true, ""
	over := 0
	at := len(points) - 1
	for i, p := range slices.Backward(points) {
		if p.Value >= limit {
			over++
			if 2*over >= len(points)-i {
				at = i
			}
		}
	}
	f.Median = points[at].Time
	f.Interval50, f.Interval90 = [2]float64{f.Median, f.Median}, [2]float64{f.Median, f.Median}
	f.times = []float64{f.Median}
}

// weigh gives curves their weights and returns the heaviest.
func weigh(curves []curve, points []Point) *curve {
	least := slices.MinFunc(curves, func(a, b curve) int {
		if a.squares < b.squares {
			return -1
		}
		return 1
	})
	// Neighbours that are alike say less than so many points do.
	r := least.dependence(points)
	n := least.worth * (1 - r) / (1 + r)
	floor := 1e-9 * least.squares
	top := math.Inf(-1)
	for i := range curves {
		c := &curves[i]
		bends := 2.0
		if c.power != 1 {
			bends++
		}
		if c.onset > points[0].Time {
			bends++
		}
		c.weight = -n/2*math.Log((c.squares+floor)/c.worth+math.SmallestNonzeroFloat64) - bends/2*math.Log(max(n, 2))
		top = max(top, c.weight)
	}
	best := &curves[0]
	sum := 0.0
	for i := range curves {
		c := &curves[i]
		c.weight = math.Exp(c.weight - top)
		sum += c.weight
		if c.weight > best.weight {
			best = c
		}
	}
	for i := range curves {
		curves[i].weight /= sum
	}
	return best
}

// draw draws paths and notes when they reach the limit.
func (f *Forecast) draw(curves []curve, points []Point, limit float64) {
	rng := rand.New(rand.NewPCG(uint64(len(points)), math.Float64bits(f.last)))
	sums := make([]float64, len(curves))
	sum := 0.0
	deviations, shocks := make([]float64, len(curves)), make([]float64, len(curves))
	for i := range curves {
		c := &curves[i]
		sum += c.weight
		sums[i] = sum
		r := c.dependence(points)
		// Dependence makes means less sure by this factor.
		deviations[i] = math.Sqrt(c.squares / max(c.worth-2, 1) * (1 + r) / (1 - r))
		shocks[i] = c.shock(points)
	}
	f.times = make([]float64, paths)
	for i := range f.times {
		k := min(sort.SearchFloat64s(sums, rng.Float64()*sum), len(curves)-1)
		c, s := &curves[k], deviations[k]
		z1, z2, z3 := rng.NormFloat64(), rng.NormFloat64(), rng.NormFloat64()
		level := c.level + s*math.Sqrt(c.vLevel)*z1
		rise := c.rise + s*(c.vBoth/math.Sqrt(c.vLevel)*z1+math.Sqrt(max(0, c.vRise-c.vBoth*c.vBoth/c.vLevel))*z2)
		way := limit - shocks[k]*rng.NormFloat64()*math.Sqrt(max(0, c.reaches(limit, level, rise)-f.last))
		if math.IsNaN(way) || math.IsInf(way, 0) {
			way = limit
		}
		f.times[i] = f.path(c, way, level, rise, z3)
	}
	slices.Sort(f.times)
}

// path is when one path reaches the limit. From the last point on its speed is another by a
// factor that is the less known the farther it goes.
func (f *Forecast) path(c *curve, limit, level, rise, z float64) float64 {
	t := c.reaches(limit, level, rise)
	if t <= f.last { // the curve is there, the points are not
		t = f.last
	}
	if math.IsInf(t, 1) {
		return t
	}
	ahead := t - f.last
	return f.last + ahead*math.Exp(f.change*math.Sqrt(slopeNow+min(ahead/c.length, 4))*z)
}

// judge reads the figures off the paths.
func (f *Forecast) judge(first float64) {
	end := f.last + horizon*(f.last-first)
	if p := f.Probability(math.MaxFloat64); p < sure {
		f.Reason = fmt.Sprintf("there is no trend towards the limit: %.0f %% of what may come goes there", 100*p)
		return
	}
	at := func(q float64) float64 {
		t := f.times[int(q*float64(len(f.times)-1))]
		if t > end {
			return math.Inf(1)
		}
		return t
	}
	f.Median = at(0.5)
	f.Interval50, f.Interval90 = [2]float64{at(0.25), at(0.75)}, [2]float64{at(0.05), at(0.95)}
	if math.IsInf(f.Median, 1) {
		f.Reason = fmt.Sprintf("it is farther away than %d times what is observed", horizon)
	}
}

// Probability is that the limit is reached by a time.
func (f *Forecast) Probability(t float64) float64 {
	n := sort.Search(len(f.times), func(i int) bool { return f.times[i] > t })
	if len(f.times) == 0 {
		return 0
	}
	return float64(n) / float64(len(f.times))
}

// wander is by how much, as a factor e^x, a slope changes over as much time as it was observed
// for: by how far what was extrapolated from parts of the past was off.
func wander(points []Point, scale float64) float64 {
	sum, n := 0.0, 0.0
	for _, share := range []float64{0.5, 0.65, 0.8} {
		k := int(share * float64(len(points)))
		if k < PointsMin {
			continue
		}
		curves := fits(points[:k], scale, onsetsFew)
		if len(curves) == 0 {
			continue
		}
		best := weigh(curves, points[:k])
		best.anchor(points[:k])
		from, to := points[k-1].Time, points[len(points)-1].Time
		end := Point{Time: to, Value: median(points[len(points)-max(3, len(points)/20):])}
		said, was := best.value(to)-best.value(from), end.Value-best.value(from)
		if said < scale {
			continue // it said that nothing would happen
		}
		x := math.Log(max(was, said/20) / said)
		sum += x * x * best.length / (to - from)
		n++
	}
	if n == 0 {
		return slopeChange
	}
	return max(slopeChange, min(math.Sqrt(sum/n), slopeMost))
}

func median(points []Point) float64 {
	list := make([]float64, len(points))
	for i, p := range points {
		list[i] = p.Value
	}
	slices.Sort(list)
	return list[len(list)/2]
}
