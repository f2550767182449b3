package anomaly

import (
	"math"
	"time"
	"unsafe"
)

// Several reads points of several metrics of one thing and judges them together: the surprise
// of an instant is that of its most surprising metric. It is not safe for concurrent use.
type Several struct {
	members  []member
	pairs    pairs
	combined history
	peak     float64
	n        int64
}

// member is one metric: of numbers, or of states.
type member struct {
	number *Detector
	states *States
}

// Reading is a value of a metric: a number, or a state if it is not empty.
type Reading struct {
	Metric int
	Number float64
	State  string
}

// Part is what a metric contributes to a judgement.
type Part struct {
	Metric int
	Result
	// Share is of the surprise of all metrics.
	Share float64
}

// NewSeveral returns one for so many metrics with numbers.
func NewSeveral(metrics int) *Several {
	s := &Several{}
	for range metrics {
		s.Extend(false)
	}
	return s
}

// Extend adds a metric, of states or of numbers, and returns which it is.
func (s *Several) Extend(states bool) int {
	m := member{number: New()}
	if states {
		m = member{states: &States{}}
	}
	s.members = append(s.members, m)
	return len(s.members) - 1
}

// Number returns the detector of a metric with numbers; nil if it has states.
func (s *Several) Number(metric int) *Detector { return s.members[metric].number }

// States returns what is known of a metric with states; nil if it has numbers.
func (s *Several) States(metric int) *States { return s.members[metric].states }

// Samples returns how many instants were judged.
func (s *Several) Samples() int64 { return s.n }

// Learning reports whether there are too few instants to say anything.
func (s *Several) Learning() bool { return s.n <= warmUp }

// Since takes what is now for usual.
func (s *Several) Since() {
	for _, m := range s.members {
		if m.number != nil {
			m.number.Since()
		}
	}
	s.pairs = pairs{}
	s.peak = 0
}

// Add reads the values of an instant and returns what is said of it, and the metrics that
// contribute, the first most.
func (s *Several) Add(at time.Time, readings []Reading) (Result, []Part) {
	parts := make([]Part, 0, len(readings))
	for _, x := range readings {
		m := s.members[x.Metric]
		var r Result
		if m.number != nil {
			r = m.number.Add(at, x.Number)
		} else {
			r = m.states.Add(at, x.State)
		}
		if r.Surprise > 0 {
			parts = append(parts, Part{Metric: x.Metric, Result: r})
		}
	}
	s.pairs.judge(s, readings, parts)
	var r Result
	sum := 0.0
	for i := range parts {
		sum += parts[i].Surprise
		if parts[i].Surprise > parts[0].Surprise {
			parts[0], parts[i] = parts[i], parts[0]
		}
	}
	if len(parts) == 0 {
		return r, nil
	}
	for i := range parts {
		parts[i].Share = parts[i].Surprise / sum
	}
	r = parts[0].Result
	p := s.combined.add(r.Surprise)
	s.n++
	if len(s.members) > 1 {
		r.Rising = rising(&s.peak, r.Surprise)
		r.Score = score(p, r.Surprise, r.Rising)
	}
	return r, parts
}

// AddRow reads a number for each metric; NaN is none. It returns what is said of the row
// and the metric that is the reason.
func (s *Several) AddRow(at time.Time, numbers []float64) (Result, int) {
	readings := make([]Reading, 0, len(numbers))
	for i, v := range numbers {
		if !math.IsNaN(v) {
			readings = append(readings, Reading{Metric: i, Number: v})
		}
	}
	r, parts := s.Add(at, readings)
	if len(parts) == 0 {
		return r, 0
	}
	return r, parts[0].Metric
}

// AppendBinary appends the state, see docs/format/predict.md.
func (s *Several) AppendBinary(dst []byte) []byte {
	c := &codec{b: append(dst, stateFormat)}
	n := int64(len(s.members))
	c.count(&n)
	for _, m := range s.members {
		is := m.states != nil
		c.truth(&is)
		if is {
			m.states.code(c)
		} else {
			m.number.code(c)
		}
	}
	s.rest(c)
	return c.b
}

func (s *Several) rest(c *codec) {
	s.pairs.code(c)
	s.combined.code(c)
	c.number(&s.peak)
	c.count(&s.n)
}

// membersMax bounds what is read back.
const membersMax = 10_000

// ReadSeveral reads a state back.
func ReadSeveral(b []byte) (*Several, error) {
	if len(b) == 0 || b[0] != stateFormat {
		return nil, errState
	}
	c := &codec{b: b[1:], reading: true}
	s := &Several{}
	n := int64(0)
	c.count(&n)
	if n < 0 || n > membersMax {
		return nil, errState
	}
	for i := int64(0); i < n && c.err == nil; i++ {
		is := false
		c.truth(&is)
		if m := &s.members[s.Extend(is)]; is {
			m.states.code(c)
		} else {
			m.number.code(c)
		}
	}
	s.rest(c)
	if c.err == nil && len(c.b) > 0 {
		c.err = errState
	}
	return s, c.err
}

// Len is the number of metrics.
func (s *Several) Len() int { return len(s.members) }

// StateBytes is about the size of the state in memory.
func (s *Several) StateBytes() int {
	n := int(unsafe.Sizeof(*s))
	for _, m := range s.members {
		if m.number != nil {
			n += m.number.StateBytes()
		} else {
			n += int(unsafe.Sizeof(*m.states)) + statesMax*statesMax*4
		}
	}
	return n
}
