package sim

import (
	"math"
	"math/rand/v2"

	"github.com/twofold-iot/twofold/twin"
)

const (
	day     = 24 * 60 * 60 * 1000 // ms
	never   = twin.Time(math.MaxInt64)
	hour    = 60 * 60 * 1000
	dwellOf = 20 * 60 * 1000 // mean dwell of a state of which nothing is said, ms
)

// Plant is the physics of one device: its signals and states. The same seed, number and
// course of settings give the same values. It is not safe for concurrent use.
type Plant struct {
	kind     *Kind
	rand     *rand.Rand
	now      twin.Time
	state    int
	until    twin.Time // the state lasts; never: for good
	signals  []moving
	settings []float64 // that signals follow; NaN: not known
	worn     []wearing
}

// moving is the present of a signal.
type moving struct {
	value  float64 // with noise
	lagged float64 // without
	noise  float64
	offset float64 // of this thing
	dt     float64 // for which the factors below hold, ms
	lag    float64 // 1-exp(-dt/tau)
	keep   float64 // exp(-dt/memory)
	fresh  float64 // sqrt(1-keep²)
}

// wearing is a degradation under way.
type wearing struct {
	signal int
	to     float64
	shape  float64
	since  twin.Time
	end    twin.Time // the hidden true time of the failure
	linear bool
}

// NewPlant returns the plant of a device of a kind, at a time.
func NewPlant(k *Kind, seed, number uint64, now twin.Time) *Plant {
	p := &Plant{kind: k, rand: rand.New(rand.NewPCG(seed, number)), now: now, until: never}
	p.settings = make([]float64, len(k.settings))
	for i := range k.settings {
		p.settings[i] = k.settings[i].n
	}
	p.signals = make([]moving, len(k.signals))
	for i := range k.signals {
		law := &k.signals[i]
		m := &p.signals[i]
		if law.Spread > 0 {
			m.offset = law.Spread * p.rand.NormFloat64()
		}
		if w := law.Wear; w != nil {
			p.worn = append(p.worn, wearing{signal: i, to: w.To, shape: w.Shape, since: now, end: now + w.Life})
		}
	}
	if len(k.states) > 0 {
		p.until = now + p.dwell()
	}
	for i := range k.signals {
		law, m := &k.signals[i], &p.signals[i]
		m.lagged = p.target(i)
		m.noise = law.Noise * p.rand.NormFloat64()
		m.value = law.clamp(m.lagged + m.noise)
	}
	return p
}

// Next is when the state changes by itself; never: not.
func (p *Plant) Next() twin.Time { return p.until }

// State is the name of the state; empty: the kind has none.
func (p *Plant) State() string {
	if len(p.kind.states) == 0 {
		return ""
	}
	return p.kind.states[p.state].name
}

// Value is that of a signal, in the order of [Kind.Metrics].
func (p *Plant) Value(i int) float64 { return p.signals[i].value }

// To brings the plant to a time, and reports whether the state has changed on the way.
func (p *Plant) To(t twin.Time) (changed bool) {
	for p.until <= t {
		p.move(p.until)
		p.leave()
		changed = true
	}
	p.move(t)
	return changed
}

// leave goes to another state.
func (p *Plant) leave() {
	s := &p.kind.states[p.state]
	if len(s.to) == 0 {
		p.until = never
		return
	}
	next := s.to[0]
	if len(s.to) > 1 {
		x := p.rand.Float64() * s.weights[len(s.weights)-1]
		for i, w := range s.weights {
			if x < w {
				next = s.to[i]
				break
			}
		}
	}
	p.state = next
	p.until = p.now + p.dwell()
}

// dwell is how long the present state lasts: a log-normal time around its mean, within what
// is allowed.
func (p *Plant) dwell() twin.Time {
	const spread = 0.5
	s := &p.kind.states[p.state]
	mean := s.mean
	if mean == 0 {
		switch {
		case s.max > 0:
			mean = (s.min + s.max) / 2
		default:
			mean = max(dwellOf, 1.5*s.min)
		}
	}
	d := mean * math.Exp(spread*p.rand.NormFloat64()-spread*spread/2)
	if s.max > 0 { // a little within it, as the time of a report counts
		d = min(d, s.min+0.9*(s.max-s.min))
	}
	return twin.Time(max(d, s.min+0.05*max(s.max-s.min, 0), 1))
}

// move brings the signals to a time in one step.
func (p *Plant) move(t twin.Time) {
	dt := float64(t - p.now)
	if dt <= 0 {
		return
	}
	p.now = t
	for i := range p.signals {
		law, m := &p.kind.signals[i], &p.signals[i]
		if m.dt != dt {
			m.factors(law, dt)
		}
		m.lagged += (p.target(i) - m.lagged) * m.lag
		if law.Noise > 0 {
			m.noise = m.noise*m.keep + law.Noise*m.fresh*p.rand.NormFloat64()
		}
		m.value = law.clamp(m.lagged + m.noise)
	}
}

func (m *moving) factors(law *signal, dt float64) {
	m.dt, m.lag, m.keep = dt, 1, 0
	if law.tau > 0 {
		m.lag = -math.Expm1(-dt / law.tau)
	}
	if law.memory > 0 {
		m.keep = math.Exp(-dt / law.memory)
	}
	m.fresh = math.Sqrt(1 - m.keep*m.keep)
}

// target is where a signal goes to.
func (p *Plant) target(i int) float64 {
	law := &p.kind.signals[i]
	v := law.Level + p.signals[i].offset
	if law.Daily != 0 {
		v += law.Daily * math.Cos(2*math.Pi*float64((p.now-law.Peak)%day)/day)
	}
	if law.Weekend != 0 && weekend(p.now) {
		v += law.Weekend
	}
	if law.in != nil {
		v += law.in[p.state]
	}
	switch {
	case law.follows >= 0:
		v += law.Gain * p.signals[law.follows].value
	case law.setting >= 0:
		if x := p.settings[law.setting]; !math.IsNaN(x) {
			v += law.Gain * x
		}
	}
	for k := range p.worn {
		if p.worn[k].signal == i {
			v += p.worn[k].adds(p.now)
		}
	}
	return v
}

// weekend is whether a time is on a Saturday or Sunday in UTC; the first of January 1970
// was a Thursday.
func weekend(t twin.Time) bool {
	d := (int64(t)/day + 4) % 7
	return d == 6 || d == 0
}

func (w *wearing) adds(now twin.Time) float64 {
	x := float64(now-w.since) / float64(w.end-w.since)
	x = min(max(x, 0), 1)
	if w.linear || w.shape == 0 {
		return w.to * x
	}
	return w.to * math.Expm1(w.shape*x) / math.Expm1(w.shape)
}

func (s *signal) clamp(v float64) float64 {
	if s.Min != nil && v < *s.Min {
		return *s.Min
	}
	if s.Max != nil && v > *s.Max {
		return *s.Max
	}
	return v
}

// FailsAt is the hidden true time at which the plant is worn out; false: it does not wear.
func (p *Plant) FailsAt() (twin.Time, bool) {
	end, some := never, false
	for _, w := range p.worn {
		if !w.linear && w.end < end {
			end, some = w.end, true
		}
	}
	return end, some
}

// Wear lets a signal degrade from now on, by to at the end of a life; faster and faster with
// a shape, evenly without.
func (p *Plant) Wear(i int, to float64, life twin.Time, shape float64) {
	p.worn = append(p.worn, wearing{signal: i, to: to, shape: shape, since: p.now, end: p.now + max(life, 1), linear: shape == 0})
}

// Repair ends all degradation.
func (p *Plant) Repair() { p.worn = nil }

// set gives the plant a setting.
func (p *Plant) set(i int, v float64) { p.settings[i] = v }
