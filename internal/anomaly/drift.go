package anomaly

import (
	"math"
	"time"
)

// drift compares the means of days: a slow change that no single point shows. What is usual is
// learned from days that lie some time back, and not while it drifts, so that a change
// that goes on does not become usual by itself; a new level that stays is.
type drift struct {
	day   int64 // since 1970 of the points being gathered
	mean  float64
	count int64
	// last are the means of the days before, the newest last.
	last [driftDays]float64
	kept int64
	base moment // of the days that are older
}

const (
	driftDays = 14
	// driftNew is over how many days a drift is looked for.
	driftNew = 3
	// driftLife is over how many days what is usual is forgotten.
	driftLife = 180
	// driftDoubt is from how many deviations on days are not taken for usual.
	driftDoubt = DriftLimit / 2
	// driftLeast is how many older days are needed.
	driftLeast = 7
	// DriftLimit is from how many deviations of daily means on a metric is said to drift. Of
	// independent days, of which seven or more are known, three together are as far out less
	// than once in ten thousand.
	DriftLimit = 6
)

// add takes in a point; floor is the least deviation that counts.
func (f *drift) add(at time.Time, v, floor float64) {
	day := at.Unix() / (24 * 3600)
	if f.count == 0 {
		f.day = day
	}
	if day > f.day {
		f.close(floor)
		f.day, f.mean, f.count = day, 0, 0
	}
	f.count++
	f.mean += (v - f.mean) / float64(f.count)
}

// close ends a day.
func (f *drift) close(floor float64) {
	if f.kept == driftDays {
		if math.Abs(f.by(floor)) < driftDoubt {
			f.base.add(f.last[0], driftLife)
		} else if math.Abs(f.by(floor)) >= DriftLimit && f.settled(floor) {
			f.base = moment{}
			for _, v := range f.last {
				f.base.add(v, driftLife)
			}
		}
		copy(f.last[:], f.last[1:])
		f.kept--
	}
	f.last[f.kept] = f.mean
	f.kept++
}

// by is how many deviations the last days are away from what is usual, all in one direction;
// 0 if that is not known.
func (f *drift) by(floor float64) float64 {
	if f.base.weight < driftLeast || f.kept < driftNew {
		return 0
	}
	scale := max(f.base.deviation(), floor)
	if scale == 0 {
		scale = math.SmallestNonzeroFloat64
	}
	least := math.Inf(1)
	sign := 0.0
	for _, v := range f.last[f.kept-driftNew : f.kept] {
		d := v - f.base.mean
		if sign == 0 {
			sign = d
		}
		if d*sign <= 0 {
			return 0
		}
		least = min(least, math.Abs(d)/scale)
	}
	return math.Copysign(min(least, ratioMax), sign)
}

// settled reports whether the last days are a level of their own: they vary as days do, and do
// not go anywhere.
func (f *drift) settled(floor float64) bool {
	var first, second moment
	for i, v := range f.last {
		if i < driftDays/2 {
			first.add(v, driftDays)
		} else {
			second.add(v, driftDays)
		}
	}
	scale := max(f.base.deviation(), floor)
	return math.Abs(first.mean-second.mean) <= scale/2 && first.deviation() <= 2*scale && second.deviation() <= 2*scale
}

func (f *drift) code(c *codec) {
	c.count(&f.day)
	c.count(&f.count)
	c.number(&f.mean)
	c.count(&f.kept)
	if f.kept < 0 || f.kept > driftDays {
		c.err = errState
		return
	}
	for i := range f.kept {
		c.number(&f.last[i])
	}
	f.base.code(c)
}

// DailyMeans is what the mean of a day is as a rule, and the deviation in which a drift is
// counted.
func (d *Detector) DailyMeans() (mean, deviation float64) {
	return d.drift.base.mean, max(d.drift.base.deviation(), d.floor())
}
