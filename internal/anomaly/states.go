package anomaly

import (
	"math"
	"time"
)

// States judges how the texts or truth values of an attribute follow each other: a transition
// that is seldom or new, and a state that held much shorter or longer than it does. The
// zero value has seen nothing.
type States struct {
	names    []string
	counts   [][]float32 // counts[i][j]: how often j followed i
	dwells   []moment    // logarithm of the milliseconds that a state held
	now      int         // state; -1 before the first
	since    int64       // milliseconds since 1970; 0: not known
	n        int64       // transitions
	many     bool        // more states than statesMax: it is no enumeration, nothing is said
	ways     history
	lengths  history
	combined history
	smooth   float64
	peak     float64
}

const (
	statesMax     = 16
	stateNameMax  = 64 // bytes
	wayPrior      = 0.5
	transitions   = 8 // are needed before anything is said
	stateDwell    = "dwell"
	stateSequence = "transition"
	dwellLife     = 200
)

// Samples is how many transitions were seen.
func (s *States) Samples() int64 { return s.n }

// Learning reports whether there are too few transitions to say anything.
func (s *States) Learning() bool { return s.n <= transitions }

// Now is the present state; empty before the first.
func (s *States) Now() string {
	if s.now < 0 || s.now >= len(s.names) {
		return ""
	}
	return s.names[s.now]
}

// find returns the number of a state, a new one if there is room; -1: there is none.
func (s *States) find(name string) int {
	for i, n := range s.names {
		if n == name {
			return i
		}
	}
	if len(s.names) == statesMax || len(name) > stateNameMax {
		return -1
	}
	s.names = append(s.names, name)
	for i := range s.counts {
		s.counts[i] = append(s.counts[i], 0)
	}
	s.counts = append(s.counts, make([]float32, len(s.names)))
	s.dwells = append(s.dwells, moment{})
	return len(s.names) - 1
}

// Add reads a state. One that is as before says nothing.
func (s *States) Add(at time.Time, name string) Result {
	if s.many || name == "" {
		return Result{}
	}
	known := len(s.names)
	next := s.find(name)
	if next < 0 {
		*s = States{many: true}
		return Result{}
	}
	t := at.UnixMilli()
	if known == 0 {
		s.now = next
		return Result{}
	}
	if next == s.now {
		return Result{}
	}
	way := s.way(next)
	length := s.dwell(t)
	s.now, s.since = next, t
	s.n++
	p, q := s.ways.add(way), s.lengths.add(length)
	r := Result{Signal: stateSequence}
	if q < p {
		r.Signal = stateDwell
	}
	// The rarer of two, of which either could have been.
	r.Surprise = smoothed(&s.smooth, equivalent(min(1, 2*min(p, q))))
	own := s.combined.add(r.Surprise)
	if s.n <= transitions {
		return Result{}
	}
	r.Rising = rising(&s.peak, r.Surprise)
	r.Score = score(own, r.Surprise, r.Rising)
	return r
}

// way is the surprise of a transition, by those from the same state before it.
func (s *States) way(next int) float64 {
	row := s.counts[s.now]
	sum := float32(0)
	for _, c := range row {
		sum += c
	}
	p := (float64(row[next]) + wayPrior) / (float64(sum) + wayPrior*float64(len(row)))
	row[next]++
	return -math.Log(p)
}

// dwell is how far from usual the time is that the state held, in deviations.
func (s *States) dwell(t int64) float64 {
	if s.since == 0 || t <= s.since {
		return 0
	}
	length := math.Log(float64(t - s.since))
	m := &s.dwells[s.now]
	off := 0.0
	if m.weight >= hourLeast {
		const floor = 0.1 // a tenth of its length is no news
		off = math.Abs(length-m.mean) / (m.deviation() + floor)
	}
	m.add(length, dwellLife)
	return off
}

func (s *States) code(c *codec) {
	c.truth(&s.many)
	n := int64(len(s.names))
	c.count(&n)
	if n < 0 || n > statesMax {
		c.err = errState
		return
	}
	if c.reading {
		s.names, s.counts, s.dwells = make([]string, n), make([][]float32, n), make([]moment, n)
	}
	for i := range s.names {
		c.text(&s.names[i])
		if c.reading {
			s.counts[i] = make([]float32, n)
		}
		c.weights(s.counts[i])
		s.dwells[i].code(c)
	}
	codeInt(c, &s.now)
	c.count(&s.since)
	c.count(&s.n)
	if s.now < 0 || s.now >= max(1, len(s.names)) {
		c.err = errState
	}
	s.ways.code(c)
	s.lengths.code(c)
	s.combined.code(c)
	c.number(&s.smooth)
	c.number(&s.peak)
}
