package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// Dynamics say how a thing moves by itself: what its virtual device does.
type Dynamics struct {
	Signals []Signal // each after those that it follows
	States  []StateDynamics
}

// Signal is the law of one measurement. Its value goes, with the lag Tau, to
//
//	Level + cycles + In[state] + Gain·(what it follows) + wear
//
// and has noise on it.
type Signal struct {
	Metric  string    // such as telemetry.vibration or reported.engine.rpm
	Level   float64   //
	Spread  float64   // standard deviation of the level from thing to thing
	Daily   float64   // amplitude of a cosine of a day
	Peak    twin.Time // time of day, in UTC, at which the cosine is highest
	Weekend float64   // added on Saturdays and Sundays
	Noise   float64   // standard deviation of the noise
	Memory  twin.Time // time in which the correlation of the noise falls to 1/e; 0: none
	Follows string    // a number: desired.setpoint, reported.level, telemetry.temperature; empty: none
	Gain    float64   // of what is followed; 1
	Tau     twin.Time // time constant of a first-order lag; 0: none
	In      map[string]float64
	Min     *float64
	Max     *float64
	Digits  int // after the point, 0 to 9
	Wear    *Wear
}

// Wear is a degradation that ends in a failure: what it adds grows, ever faster, to To at
// the end of a life.
type Wear struct {
	To    float64
	Life  twin.Time
	Shape float64 // of (exp(Shape·x)-1)/(exp(Shape)-1), x the part of the life that has passed; 5
}

// StateDynamics say how long a state lasts and how often it is gone to.
type StateDynamics struct {
	State  string
	Dwell  twin.Time // mean; 0: by the dwell of the behaviour
	Weight float64   // among the states to which another may go; 1
}

// Limits of dynamics.
const (
	SignalsMax = 100

	wearShape    = 5
	wearShapeMax = 50
	digitsMax    = 9
	signalDigits = 3
)

// Dynamics returns how a thing moves by itself; nil if the model does not say.
func (m *Model) Dynamics() *Dynamics {
	if m == nil {
		return nil
	}
	return m.dynamics
}

func (m *Model) parseDynamics(n ast.Node) error {
	d, err := readDynamics(n, "dynamics")
	if err != nil {
		return err
	}
	m.dynamics, m.dynamicsAt = d, n
	return nil
}

// linkDynamics checks dynamics against the states of the behaviour.
func (m *Model) linkDynamics() error {
	if m.dynamics == nil {
		return nil
	}
	n := m.dynamicsAt
	m.dynamicsAt = nil // the tree of the whole source is not kept
	var names []string
	if m.behaviour != nil {
		for i := range m.behaviour.States {
			names = append(names, m.behaviour.States[i].Name)
		}
	}
	return m.dynamics.checkStates(n, names)
}

func (d *Dynamics) checkStates(n ast.Node, states []string) error {
	check := func(what, name string) error {
		if slices.Contains(states, name) {
			return nil
		}
		hint := "behaviour names the states"
		if near := expr.Nearest(name, states); near != "" {
			hint = "did you mean " + near + "?"
		}
		return fault(n, fmt.Sprintf("%s: there is no state %q", what, name), hint)
	}
	for _, s := range d.States {
		if err := check("dynamics.states", s.State); err != nil {
			return err
		}
	}
	for i := range d.Signals {
		s := &d.Signals[i]
		in := make([]string, 0, len(s.In))
		for name := range s.In {
			in = append(in, name)
		}
		slices.Sort(in)
		for _, name := range in {
			if err := check("dynamics.signals."+s.Metric+".in", name); err != nil {
				return err
			}
		}
	}
	return nil
}

func readDynamics(n ast.Node, what string) (*Dynamics, error) {
	d := &Dynamics{}
	err := fields(n, what, map[string]func(ast.Node) error{
		"signals": func(n ast.Node) error { return d.parseSignals(n, what+".signals") },
		"states":  func(n ast.Node) error { return d.parseStates(n, what+".states") },
	})
	if err != nil {
		return nil, err
	}
	return d, d.order(n)
}

func (d *Dynamics) parseStates(n ast.Node, what string) error {
	return each(n, what, func(name string, _, value ast.Node) error {
		s := StateDynamics{State: name, Weight: 1}
		err := fields(value, what+"."+name, map[string]func(ast.Node) error{
			"dwell":  span(&s.Dwell, what+"."+name+".dwell"),
			"weight": within(&s.Weight, what+"."+name+".weight", 0, 1e6),
		})
		d.States = append(d.States, s)
		return err
	})
}

func (d *Dynamics) parseSignals(n ast.Node, what string) error {
	return each(n, what, func(_ string, key, value ast.Node) error {
		if len(d.Signals) == SignalsMax {
			return fault(key, fmt.Sprintf("more than %d signals", SignalsMax), "")
		}
		name, err := metricPath(key)
		if err != nil {
			return err
		}
		s := Signal{Metric: name, Gain: 1, Digits: signalDigits}
		if err := s.parse(value, what+"."+name); err != nil {
			return err
		}
		d.Signals = append(d.Signals, s)
		return nil
	})
}

func (s *Signal) parse(n ast.Node, what string) error {
	limit := func(into **float64) func(ast.Node) error {
		return func(n ast.Node) error { *into = new(float64); return figure(*into)(n) }
	}
	digits := float64(s.Digits)
	const most = 1e300
	err := fields(n, what, map[string]func(ast.Node) error{
		"level":   figure(&s.Level),
		"spread":  within(&s.Spread, what+".spread", 0, most),
		"daily":   figure(&s.Daily),
		"peak":    span(&s.Peak, what+".peak"),
		"weekend": figure(&s.Weekend),
		"noise":   within(&s.Noise, what+".noise", 0, most),
		"memory":  span(&s.Memory, what+".memory"),
		"follows": func(n ast.Node) (err error) { s.Follows, err = followed(n); return err },
		"gain":    figure(&s.Gain),
		"tau":     span(&s.Tau, what+".tau"),
		"in": func(n ast.Node) error {
			s.In = map[string]float64{}
			return each(n, what+".in", func(state string, _, value ast.Node) error {
				var v float64
				err := figure(&v)(value)
				s.In[state] = v
				return err
			})
		},
		"min":    limit(&s.Min),
		"max":    limit(&s.Max),
		"digits": within(&digits, what+".digits", 0, digitsMax),
		"wear":   func(n ast.Node) error { return s.parseWear(n, what+".wear") },
	})
	s.Digits = int(digits)
	if err == nil && s.Min != nil && s.Max != nil && *s.Min > *s.Max {
		return fault(n, fmt.Sprintf("%s: min %g is above max %g", what, *s.Min, *s.Max), "")
	}
	return err
}

func (s *Signal) parseWear(n ast.Node, what string) error {
	w := &Wear{Shape: wearShape}
	err := fields(n, what, map[string]func(ast.Node) error{
		"to":    figure(&w.To),
		"life":  span(&w.Life, what+".life"),
		"shape": within(&w.Shape, what+".shape", 0, wearShapeMax),
	})
	if err == nil && w.Life == 0 {
		return fault(n, what+" has no life", "write life: 30d")
	}
	s.Wear = w
	return err
}

// followed reads what a signal follows.
func followed(n ast.Node) (string, error) {
	var s string
	if err := text(&s, metricPathMax)(n); err != nil {
		return "", err
	}
	for _, prefix := range []string{"desired.", "reported.", "telemetry."} {
		if strings.HasPrefix(s, prefix) && len(s) > len(prefix) {
			return s, nil
		}
	}
	return "", fault(n, fmt.Sprintf("%.80q cannot be followed", s), "write desired.setpoint, reported.level or telemetry.temperature")
}

// within reads a number from low to high.
func within(into *float64, what string, low, high float64) func(ast.Node) error {
	return func(n ast.Node) error {
		err := figure(into)(n)
		if err == nil && !(*into >= low && *into <= high) {
			return fault(n, fmt.Sprintf("%s: %g is not %g to %g", what, *into, low, high), "")
		}
		return err
	}
}

// order sorts the signals so that each comes after the one that it follows.
func (d *Dynamics) order(n ast.Node) error {
	at := map[string]int{}
	for i := range d.Signals {
		at[d.Signals[i].Metric] = i
	}
	var sorted []Signal
	done := make([]int, len(d.Signals)) // 1: on the way, 2: done
	var visit func(i int) error
	visit = func(i int) error {
		switch done[i] {
		case 1:
			return fault(n, "signal "+d.Signals[i].Metric+" follows itself", "")
		case 2:
			return nil
		}
		done[i] = 1
		if k, ok := at[d.Signals[i].Follows]; ok {
			if err := visit(k); err != nil {
				return err
			}
		}
		done[i] = 2
		sorted = append(sorted, d.Signals[i])
		return nil
	}
	for i := range d.Signals {
		if err := visit(i); err != nil {
			return err
		}
	}
	d.Signals = sorted
	return nil
}
