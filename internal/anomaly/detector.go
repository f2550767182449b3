package anomaly

import (
	"math"
	"time"
	"unsafe"
)

// Result is what is said of a point.
type Result struct {
	// Score is 0 to 1: about the share of normal time in which less unusual things happen. Of
	// points that are not rising it is a little lower.
	Score float64
	// Surprise is how unusual the point and the few before it are, as the mean over the signals of
	// minus the logarithm of their tail probabilities. Unlike the score it still rises beyond all
	// that was seen.
	Surprise float64
	// Rising says that the surprise is above all shortly before it: of one episode only few points
	// are rising, so these are what to raise an alarm for.
	Rising bool
	Signal string // that contributes most; empty: none does
}

// The signals. Step and jump see much the same, and count as one.
const (
	level   = iota // far from the mean of all
	step           // far from the mean of the last few
	shift          // the mean of the recent past is far from that of all
	spread         // the spread of the recent past is not as usual
	ofDay          // far from what is usual at this hour of the day
	context        // an eighth of the range that seldom follows the two before it
	outside        // beyond everything seen
	jump           // a large change from the last one
	signals
)

var signalNames = [signals]string{"level", "step", "shift", "spread", "hour of day", "context", "outside", "jump"} //nolint:gochecknoglobals // read only

// counted is how many signals the mean is of.
const counted = signals - 1

// How many points the means are of, about.
const (
	fastLife   = 10
	mediumLife = 30
	slowLife   = 4000
	hourLife   = 200
)

const (
	// warmUp is how many points are read before anything is said.
	warmUp = 20
	// hourLeast is how many points of an hour of the day are needed to know it.
	hourLeast = 5
	// smoothLife is over how many points the surprise is smoothed: what is unusual for several
	// points counts for more than one odd value.
	smoothLife = 4
	// peakDecay is how a peak is forgotten with each point.
	peakDecay = 0.999
	// gapRatio is from how many usual intervals on there is a gap, over which neither a step nor
	// a jump is one; gapLife is how many intervals are usual.
	gapRatio = 20
	gapLife  = 100
	// monotoneLeast is how many points that never fall, or never rise, make a counter. It is
	// judged by its rate.
	monotoneLeast = 40
	// movedAfter is how many points in a row that are moved deviations away make a new level,
	// such as another unit: what is usual is learned again.
	movedAfter = 100
	moved      = 4
	// farOutside is from how many times the range of all that was seen a point is so far outside
	// that it needs no other signal; farLeast points have to have been seen.
	farOutside  = 2
	farLeast    = 100
	farSurprise = 4.5
	// ratioMax bounds signals.
	ratioMax = 1e6
	// valueMax bounds values, so that squares are finite.
	valueMax = 1e150
)

// Detector reads one series. It is not safe for concurrent use. The zero value has seen nothing.
type Detector struct {
	n       int64
	counter counter
	lastAt  int64   // milliseconds since 1970
	every   float64 // usual interval in milliseconds
	away    int64   // points in a row far from the level
	drift   drift
	last    float64
	fast    moment
	medium  moment
	slow    moment
	steps   moment // absolute differences
	spreads moment // logarithm of the spread of the recent past
	low     float64
	high    float64
	hours   [24]moment
	grid    grid

	histories [signals]history
	combined  history
	smooth    float64 // surprise
	peak      float64
}

// New returns a detector that has seen nothing.
func New() *Detector { return &Detector{} }

// StateBytes is the size of the state, which does not grow.
func (d *Detector) StateBytes() int { return int(unsafe.Sizeof(*d)) }

// Add reads the next point and judges it by those before it. A value that is no number is passed
// over.
func (d *Detector) Add(at time.Time, v float64) Result {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return Result{}
	}
	v = max(-valueMax, min(v, valueMax))
	v, changed, ok := d.counter.read(at, v)
	if changed {
		d.forget()
	}
	if !ok {
		return Result{}
	}
	return d.judge(at, v)
}

// forget begins again with points of another kind.
func (d *Detector) forget() { *d = Detector{counter: d.counter} }

func (d *Detector) judge(at time.Time, v float64) Result {
	if d.n == 0 {
		d.low, d.high, d.last = v, v, v
	}
	hour := &d.hours[at.UTC().Hour()]
	seen := d.look(v, hour, d.gap(at))
	d.take(at, v, hour)

	var r Result
	var surprises [signals]float64
	sum, most := 0.0, 0.0
	for i := range seen {
		x := -math.Log(d.histories[i].add(seen[i]))
		surprises[i] = x
		sum += x
		if x > most {
			most, r.Signal = x, signalNames[i]
		}
	}
	sum -= min(surprises[step], surprises[jump])
	r.Surprise = smoothed(&d.smooth, sum/counted)
	if far := seen[outside]; far > farOutside && d.n > farLeast {
		r.Surprise = max(r.Surprise, farSurprise+math.Log2(far/farOutside)/2)
	}
	p := d.combined.add(r.Surprise)
	if d.n <= warmUp {
		return Result{}
	}
	r.Rising = rising(&d.peak, r.Surprise)
	r.Score = score(p, r.Surprise, r.Rising)
	return r
}

// smoothed is the mean of a surprise and that of the few before it.
func smoothed(before *float64, surprise float64) float64 {
	*before += (surprise - *before) / smoothLife
	const alone = 0.8 // of what is left of a single point
	return max((surprise+*before)/2, alone*surprise)
}

// rising reports whether a surprise is above all shortly before it.
func rising(peak *float64, surprise float64) bool {
	is := surprise > *peak
	*peak = max(*peak*peakDecay, surprise)
	return is
}

// score is 1 minus a tail probability. As far as a series is long enough to know it (one in a
// hundred) it is that in its own past. No series has seen its rarest moments often enough, so
// beyond it is that of the surprise by itself, which on series of many kinds falls as
// exp(1/2 − 2s).
func score(own, surprise float64, rising bool) float64 {
	const known, steady = 4.6, 0.7
	x := -0.2*math.Log(own) + 0.8*min(-math.Log(own), known) + max(0, 2*surprise-0.5-known)
	if !rising && x > known {
		x = known + steady*(x-known)
	}
	return -math.Expm1(-x)
}

// equivalent is the surprise of one with a tail probability alone.
func equivalent(p float64) float64 { return (0.5 - math.Log(p)) / 2 }

// gap reports whether a point comes long after the one before it.
func (d *Detector) gap(at time.Time) bool {
	t := at.UnixMilli()
	length := float64(t - d.lastAt)
	known := d.n > warmUp && d.every > 0
	is := known && length > gapRatio*d.every
	if d.n > 0 && length > 0 && !is {
		d.every += (length - d.every) / min(float64(d.n), gapLife)
	}
	if is { // the next ones tell whether this is how it comes from now on
		d.every *= 1.5
		d.fast.weight = 0
		d.medium.weight = min(d.medium.weight, 1)
	}
	d.lastAt = t
	return is
}

// look returns the signals of a point. None depends on the unit: each is a ratio.
func (d *Detector) look(v float64, hour *moment, gap bool) (s [signals]float64) {
	scale := d.slow.deviation()
	ratio := func(x, by float64) float64 {
		if x == 0 {
			return 0
		}
		return min(x/max(by, scale/ratioMax, math.SmallestNonzeroFloat64), ratioMax)
	}
	s[level] = ratio(math.Abs(v-d.slow.mean), scale)
	if !gap {
		s[step] = ratio(math.Abs(v-d.fast.mean), d.fast.deviation()+0.1*scale)
		s[jump] = ratio(math.Abs(v-d.last), d.steps.mean)
	}
	s[shift] = ratio(math.Abs(d.medium.mean-d.slow.mean), scale)
	if scale > 0 {
		wide := math.Log(d.medium.deviation()/scale + 0.01)
		s[spread] = math.Abs(wide-d.spreads.mean) / (d.spreads.deviation() + 0.1)
		d.spreads.add(wide, slowLife)
	}
	if hour.weight >= hourLeast {
		s[ofDay] = ratio(math.Abs(v-hour.mean), hour.deviation()+0.05*scale)
	}
	s[outside] = ratio(max(v-d.high, d.low-v, 0), d.high-d.low)
	s[context] = d.grid.surprise(v, d.low, d.high)
	return s
}

// take lets the state learn a point.
func (d *Detector) take(at time.Time, v float64, hour *moment) {
	d.n++
	if math.Abs(v-d.slow.mean) > moved*d.slow.deviation() {
		d.away++
	} else {
		d.away = 0
	}
	d.fast.add(v, fastLife)
	d.medium.add(v, mediumLife)
	d.slow.add(v, slowLife)
	d.steps.add(math.Abs(v-d.last), slowLife)
	hour.add(v, hourLife)
	d.low, d.high = min(d.low, v), max(d.high, v)
	d.last = v
	d.drift.add(at, v, d.floor())
	if d.away == movedAfter {
		d.settle()
	}
}

// floor is the least deviation of daily means that counts.
func (d *Detector) floor() float64 { return 0.05 * d.slow.deviation() }

// settle takes the level of the last points for what is usual from now on.
func (d *Detector) settle() {
	d.away = 0
	d.slow = d.medium
	wide := moved * d.medium.deviation()
	d.low, d.high = d.medium.mean-wide, d.medium.mean+wide
	d.hours = [24]moment{}
	d.grid = grid{}
	d.spreads = moment{}
	d.steps = moment{mean: d.medium.deviation(), weight: mediumLife}
}

// Usual is what a metric is as a rule.
type Usual struct {
	Samples   int64
	Mean      float64 // at the hour of day, once that is known
	Deviation float64
	Rate      bool // all figures are of the change in a second: it is a counter
	ByHour    bool
}

// Usual returns what is usual at a time.
func (d *Detector) Usual(at time.Time) Usual {
	u := Usual{Samples: d.n, Mean: d.slow.mean, Deviation: d.slow.deviation(), Rate: d.counter.is}
	if h := &d.hours[at.UTC().Hour()]; h.weight >= hourLeast && d.n >= 3*24*hourLeast {
		u.Mean, u.Deviation, u.ByHour = h.mean, max(h.deviation(), 0.05*u.Deviation), true
	}
	return u
}

// Last is the last value; that of a counter is its rate.
func (d *Detector) Last() float64 { return d.last }

// Learning reports whether there are too few points to say anything.
func (d *Detector) Learning() bool { return d.n <= warmUp }

// Drift is how many deviations of daily means the last days are away from the months before,
// all in one direction; 0 if none is known. See [DriftLimit].
func (d *Detector) Drift() float64 { return d.drift.by(d.floor()) }

// Since takes the level as it is now for what is usual: something was repaired or replaced.
func (d *Detector) Since() {
	if d.medium.weight > 0 {
		d.settle()
	}
	d.drift = drift{}
	d.peak = 0
}

// Prime lets a detector that has seen nothing know a level from figures of a window in
// the past of which the points are gone: count numbers with a mean, a deviation and bounds.
func (d *Detector) Prime(at time.Time, count int, mean, deviation, low, high float64) {
	if count <= 0 || math.IsNaN(mean+deviation+low+high) || math.IsInf(mean+deviation+low+high, 0) {
		return
	}
	if d.slow.weight == 0 {
		d.low, d.high = low, high
	}
	d.low, d.high = min(d.low, low), max(d.high, high)
	d.slow.merge(mean, deviation, float64(count), slowLife)
	d.hours[at.UTC().Hour()].merge(mean, deviation, float64(count), hourLife)
	d.drift.add(at, mean, d.floor())
	d.last = mean
}

func (d *Detector) code(c *codec) {
	c.count(&d.n)
	d.counter.code(c)
	c.count(&d.lastAt)
	c.number(&d.every)
	c.count(&d.away)
	d.drift.code(c)
	for _, p := range []*float64{&d.last, &d.low, &d.high, &d.smooth, &d.peak} {
		c.number(p)
	}
	for _, m := range []*moment{&d.fast, &d.medium, &d.slow, &d.steps, &d.spreads} {
		m.code(c)
	}
	for i := range d.hours {
		d.hours[i].code(c)
	}
	d.grid.code(c)
	for i := range d.histories {
		d.histories[i].code(c)
	}
	d.combined.code(c)
}
