package series

import (
	"math"

	"github.com/twofold-iot/twofold/twin"
)

// HoldMax is how long a number is taken to hold, in milliseconds, if no other follows:
// what is longer is a gap, in which the thing has no value.
const HoldMax = twin.Time(3_600_000)

// Rollup is what the samples of a stretch of time come to. The zero value has none.
type Rollup struct {
	Start twin.Time // of the stretch
	Count int64
	Sum   float64
	// First and Last are by time; of several lowest, or highest, it is the earliest.
	First, Last, Min, Max Point
	// Area is the integral of the numbers, each held until the next but [HoldMax] at
	// most, from First to Last, in milliseconds; Held is how much of that time has a
	// value.
	Area float64
	Held twin.Time

	sketch Sketch
	digits int8 // after the point, of the numbers; or [notDecimal]
}

// Add adds a sample that is later than those added before.
func (r *Rollup) Add(p Point) { r.addDigits(p, notDecimal) }

func (r *Rollup) addDigits(p Point, digits int8) {
	if r.Count == 0 {
		r.First, r.Min, r.Max = p, p, p
		r.digits = digits
	} else {
		r.hold(p.Time)
		r.digits = moreDigits(r.digits, digits)
	}
	if p.Value < r.Min.Value {
		r.Min = p
	}
	if p.Value > r.Max.Value {
		r.Max = p
	}
	r.Count++
	r.Sum += p.Value
	r.Last = p
	r.sketch.add(p.Value)
}

func moreDigits(a, b int8) int8 {
	if a == notDecimal || b == notDecimal {
		return notDecimal
	}
	return max(a, b)
}

// hold lets the last number hold until a time.
func (r *Rollup) hold(until twin.Time) {
	held := min(until-r.Last.Time, HoldMax)
	r.Area += r.Last.Value * float64(held)
	r.Held += held
}

// Merge adds the samples of a later stretch.
func (r *Rollup) Merge(o *Rollup) {
	switch {
	case o.Count == 0:
		return
	case r.Count == 0:
		start := r.Start
		*r = *o
		r.Start = start
		r.sketch.buckets = append([]bucket(nil), o.sketch.buckets...)
		return
	}
	r.hold(o.First.Time)
	if o.Min.Value < r.Min.Value {
		r.Min = o.Min
	}
	if o.Max.Value > r.Max.Value {
		r.Max = o.Max
	}
	r.Count += o.Count
	r.Sum += o.Sum
	r.Area += o.Area
	r.Held += o.Held
	r.Last = o.Last
	r.digits = moreDigits(r.digits, o.digits)
	r.sketch.merge(&o.sketch)
}

// Avg is the mean of the numbers.
func (r *Rollup) Avg() float64 { return r.Sum / float64(r.Count) }

// Quantile returns about the number of rank q*(count-1): within one percent of it.
func (r *Rollup) Quantile(q float64) float64 {
	if r.Count == 0 {
		return math.NaN()
	}
	return min(max(r.sketch.quantile(q), r.Min.Value), r.Max.Value)
}

// TimeWeighted is the mean over the time from Start to end: each number counts for as
// long as it holds. before is the newest sample before Start, if there is one. It is
// false if no time has a value.
func (r *Rollup) TimeWeighted(before *Point, end twin.Time) (mean float64, ok bool) {
	area, held := r.Area, r.Held
	add := func(p Point, from, to twin.Time) {
		to = min(to, p.Time+HoldMax)
		if to > from {
			area += p.Value * float64(to-from)
			held += to - from
		}
	}
	if before != nil {
		until := end
		if r.Count > 0 {
			until = r.First.Time
		}
		add(*before, r.Start, until)
	}
	if r.Count > 0 {
		add(r.Last, r.Last.Time, end)
	}
	if held <= 0 {
		return 0, false
	}
	return area / float64(held), true
}

// RollUp returns the rollups of points, which are in order of time, in stretches of a
// length that start at multiples of it. Those without a point are absent.
func RollUp(points []Point, length twin.Time) []Rollup {
	digits, misfits := digitsOf(len(points), func(i int) float64 { return points[i].Value })
	if misfits > 0 {
		digits = notDecimal
	}
	var list []Rollup
	for _, p := range points {
		start := StartOf(p.Time, length)
		if n := len(list); n == 0 || list[n-1].Start != start {
			list = append(list, Rollup{Start: start})
		}
		list[len(list)-1].addDigits(p, int8(digits))
	}
	return list
}

// Coarser merges rollups, which are in order of time, into those of a longer length.
func Coarser(list []Rollup, length twin.Time) []Rollup {
	var coarse []Rollup
	for i := range list {
		start := StartOf(list[i].Start, length)
		if n := len(coarse); n == 0 || coarse[n-1].Start != start {
			coarse = append(coarse, Rollup{Start: start})
		}
		coarse[len(coarse)-1].Merge(&list[i])
	}
	return coarse
}

// StartOf is the start of the stretch of a length that a time is in.
func StartOf(t, length twin.Time) twin.Time {
	m := t % length
	if m < 0 {
		m += length
	}
	return t - m
}

// M4 appends the samples of a rollup that a chart shows of it: the first, lowest, highest
// and last, in order of time and each once. A line through them has, on a column of
// pixels, the pixels of the line through all (Jugel et al., "M4: A Visualization-Oriented
// Time Series Data Aggregation", PVLDB 7, 2014).
func (r *Rollup) M4(dst []Point) []Point {
	if r.Count == 0 {
		return dst
	}
	low, high := r.Min, r.Max
	if low.Time > high.Time {
		low, high = high, low
	}
	from := len(dst)
	for _, p := range [4]Point{r.First, low, high, r.Last} {
		if n := len(dst); n == from || dst[n-1].Time != p.Time {
			dst = append(dst, p)
		}
	}
	return dst
}

// Include adds a sample of any time within the stretch, where those it comes among are
// no longer there. Area and Held stay as they are.
func (r *Rollup) Include(p Point) {
	if r.Count == 0 {
		r.addDigits(p, notDecimal)
		return
	}
	if r.digits != notDecimal {
		if _, ok := whole(p.Value, int(r.digits)); !ok {
			r.digits = notDecimal
		}
	}
	if p.Time < r.First.Time {
		r.First = p
	}
	if p.Time > r.Last.Time {
		r.Last = p
	}
	if p.Value < r.Min.Value {
		r.Min = p
	}
	if p.Value > r.Max.Value {
		r.Max = p
	}
	r.Count++
	r.Sum += p.Value
	r.sketch.add(p.Value)
}
