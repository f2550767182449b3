package anomaly

import (
	"math"
	"time"
	"unsafe"
)

// Result is what is said of a point.
type Result struct {
	// Score is 0 to 1: the share of the past in which less unusual things happened.
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

var signalNames = [signals]string{"level", "step", "shift", "spread", "hour of day", "context", "outside", "jump"}

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
	// ratioMax bounds signals.
	ratioMax = 1e6
	// valueMax bounds values, so that squares are finite.
	valueMax = 1e150
)

// Detector reads one series. It is not safe for concurrent use. The zero value has seen nothing.
type Detector struct {
	n       int64
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
	if d.n == 0 {
		d.low, d.high, d.last = v, v, v
	}
	hour := &d.hours[at.UTC().Hour()]
	seen := d.look(v, hour)
	d.take(v, hour)

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
	mean := sum / counted
	d.smooth += (mean - d.smooth) / smoothLife
	mean = (mean + d.smooth) / 2
	p := d.combined.add(mean)
	if d.n <= warmUp {
		return Result{}
	}
	r.Score, r.Surprise, r.Rising = 1-p, mean, mean > d.peak
	d.peak = max(d.peak*peakDecay, mean)
	return r
}

// look returns the signals of a point. None depends on the unit: each is a ratio.
func (d *Detector) look(v float64, hour *moment) (s [signals]float64) {
	scale := d.slow.deviation()
	ratio := func(x, by float64) float64 {
		if x == 0 {
			return 0
		}
		return min(x/max(by, scale/ratioMax, math.SmallestNonzeroFloat64), ratioMax)
	}
	s[level] = ratio(math.Abs(v-d.slow.mean), scale)
	s[step] = ratio(math.Abs(v-d.fast.mean), d.fast.deviation()+0.1*scale)
	s[jump] = ratio(math.Abs(v-d.last), d.steps.mean)
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
func (d *Detector) take(v float64, hour *moment) {
	d.n++
	d.fast.add(v, fastLife)
	d.medium.add(v, mediumLife)
	d.slow.add(v, slowLife)
	d.steps.add(math.Abs(v-d.last), slowLife)
	hour.add(v, hourLife)
	d.low, d.high = min(d.low, v), max(d.high, v)
	d.last = v
}
