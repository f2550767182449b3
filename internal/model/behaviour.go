package model

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of a behaviour.
const (
	StatesMax      = 64
	TransitionsMax = 256
	ActionsMax     = 8 // of a state or a transition
	StateBytesMax  = 64

	movesMax = 8 // in one step
)

// The types of the events of a behaviour; an action gives an event of its own type.
const (
	BehaviourEntered  = "entered"
	BehaviourIllegal  = "illegal"  // a transition that the model does not have
	BehaviourEarly    = "early"    // a state was left before its least dwell
	BehaviourOverrun  = "overrun"  // a state has lasted longer than its greatest dwell
	BehaviourUnstable = "unstable" // transitions without an end
	BehaviourCommand  = "command"  // an action asks for a command, which is in the data
)

// Behaviour is a state machine. With an attribute the twin says in which state it is, and
// the machine says whether it may be; else conditions and times bring it on.
type Behaviour struct {
	Attribute *expr.Program // nil: by conditions
	Initial   string
	Severity  twin.Severity // of what is not allowed
	States    []State
	decides   []*expr.Program // all conditions, and the attribute
	line      int
	column    int
}

// State is one state.
type State struct {
	Name         string
	Min, Max     twin.Time // dwell; 0: any
	To           []Transition
	Enter, Leave []Action
	line, column int
}

// Transition is a way from a state to another.
type Transition struct {
	To    string
	When  *expr.Program // nil: always
	After twin.Time     // not before the state has lasted so long
	Do    []Action
}

// Action is an event that a state or transition gives. With Command it asks whoever sends
// commands for one.
type Action struct {
	Type     string
	Command  *CommandAction
	Severity twin.Severity
	Message  string
	parts    []part
}

// CommandAction is a command that an action asks for.
type CommandAction struct {
	Name       string          `json:"name"`
	Parameters json.RawMessage `json:"parameters,omitempty"` // an object
	ExpiresIn  string          `json:"expiresIn,omitempty"`  // such as 10m; empty: the default of commands
}

// StateMemory is in which state a twin is.
type StateMemory struct {
	State   string // empty: not known
	Since   twin.Time
	Overrun bool // that has been told
}

// Behaviour returns the state machine, nil if the model has none. The caller must not
// change it.
func (m *Model) Behaviour() *Behaviour { return m.behaviour }

// State returns the state with a name, nil if there is none.
func (b *Behaviour) State(name string) *State {
	i := slices.IndexFunc(b.States, func(s State) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &b.States[i]
}

// mover brings a twin from state to state in one step.
type mover struct {
	*Behaviour
	in  *expr.Inputs
	out *Step
	at  StateMemory
}

// step brings the machine on. fresh says that what it reads may have changed.
func (b *Behaviour) step(mem StateMemory, in *expr.Inputs, fresh bool, out *Step) StateMemory {
	m := mover{b, in, out, mem}
	m.overrun() // also if the timer comes late, and the state is left now
	if b.Attribute != nil {
		if fresh {
			m.observe()
		}
	} else {
		m.advance(fresh)
	}
	m.overrun() // a state that was entered late
	m.dwell()
	return m.at
}

// observe goes where the attribute says that the twin is.
func (m *mover) observe() {
	r := m.Attribute.Evaluate(m.in)
	if r.Status != expr.Known {
		return
	}
	name := stateName(r.Value)
	if name == m.at.State {
		return
	}
	from := m.State(m.at.State)
	switch {
	case m.State(name) == nil:
		m.tell(BehaviourIllegal, name, fmt.Sprintf("%s is no state of the model", name))
		m.enter(name, m.in.Now, nil, false)
	case m.at.State == "":
		m.enter(name, m.in.Now, nil, true)
	case from == nil:
		m.enter(name, m.in.Now, nil, true) // back from a state that is none
	default:
		m.transit(from, name)
	}
}

// transit goes from a state to another that the twin reports.
func (m *mover) transit(from *State, name string) {
	i := slices.IndexFunc(from.To, func(t Transition) bool { return t.To == name })
	if m.at.Since+from.Min > m.in.Now {
		m.tell(BehaviourEarly, from.Name, fmt.Sprintf("%s was left after %s, at least %s is allowed", from.Name, length(m.in.Now-m.at.Since), length(from.Min)))
	}
	if i < 0 {
		m.tell(BehaviourIllegal, name, fmt.Sprintf("%s → %s is not allowed; from %s %s", from.Name, name, from.Name, from.ways()))
		m.enter(name, m.in.Now, nil, false)
		return
	}
	t := &from.To[i]
	if t.When != nil {
		if r := t.When.Evaluate(m.in); !r.Holds() {
			m.tell(BehaviourIllegal, name, fmt.Sprintf("%s → %s is allowed only if %s", from.Name, name, t.When.Source()))
			m.enter(name, m.in.Now, t, false)
			return
		}
	}
	m.enter(name, m.in.Now, t, true)
}

func (s *State) ways() string {
	var names []string
	for _, t := range s.To {
		names = append(names, t.To)
	}
	if names == nil {
		return "there is no way"
	}
	return "to " + strings.Join(names, ", ")
}

// advance follows transitions whose conditions hold and whose times have come.
func (m *mover) advance(fresh bool) {
	if m.State(m.at.State) == nil {
		m.enter(m.Initial, m.in.Now, nil, true)
		fresh = true
	}
	for moves := 0; ; moves++ {
		s := m.State(m.at.State)
		t, at := m.next(s, fresh)
		if t == nil {
			return
		}
		if moves == movesMax {
			m.tell(BehaviourUnstable, s.Name, fmt.Sprintf("%d transitions in one step; it goes on with the next change", movesMax))
			return
		}
		m.enter(t.To, at, t, true)
		fresh = true
	}
}

// next finds the transition that is to be followed, and since when. What held until now
// held for the whole time, also if the timer comes late.
func (m *mover) next(s *State, fresh bool) (*Transition, twin.Time) {
	for i := range s.To {
		t := &s.To[i]
		ready := m.at.Since + max(t.After, s.Min)
		timed := ready > m.at.Since
		if !fresh && !timed {
			continue
		}
		if t.When != nil {
			if r := t.When.Evaluate(m.in); !r.Holds() {
				continue
			}
		}
		switch {
		case ready > m.in.Now:
			m.out.due(ready)
		case t.When != nil:
			return t, m.in.Now
		default:
			return t, ready
		}
	}
	return nil, 0
}

// dwell notes when a state will have lasted too long.
func (m *mover) dwell() {
	s := m.State(m.at.State)
	if s == nil || s.Max == 0 || m.at.Overrun {
		return
	}
	m.out.due(m.at.Since + s.Max)
}

// overrun tells of a state that has lasted too long.
func (m *mover) overrun() {
	s := m.State(m.at.State)
	if s == nil || s.Max == 0 || m.at.Overrun || m.in.Now < m.at.Since+s.Max {
		return
	}
	m.at.Overrun = true
	m.tell(BehaviourOverrun, s.Name, fmt.Sprintf("%s has lasted longer than %s", s.Name, length(s.Max)))
}

// enter leaves the state there is for another.
func (m *mover) enter(name string, at twin.Time, t *Transition, told bool) {
	if from := m.State(m.at.State); from != nil {
		m.act(from.Leave, from.Name)
	}
	if told {
		message := name
		if m.at.State != "" {
			message = m.at.State + " → " + name
		}
		m.tell(BehaviourEntered, name, message)
	}
	if t != nil {
		m.act(t.Do, name)
	}
	m.at = StateMemory{State: name, Since: at}
	if to := m.State(name); to != nil {
		m.act(to.Enter, name)
	}
}

func (m *mover) act(actions []Action, state string) {
	for i := range actions {
		a := &actions[i]
		data := m.data(state)
		if a.Command != nil {
			data["command"] = a.Command
		}
		m.out.Events = append(m.out.Events, StepEvent{
			Kind: twin.EventBehaviour, Type: a.Type, Severity: a.Severity, Message: fill(a.parts, m.in), Correlation: state, Data: encode(data),
		})
	}
}

func (m *mover) tell(what, state, message string) {
	e := StepEvent{Kind: twin.EventBehaviour, Type: what, Severity: m.Severity, Message: message, Correlation: state, Data: encode(m.data(state))}
	if what == BehaviourEntered {
		e.Severity = twin.SeverityInfo
	}
	m.out.Events = append(m.out.Events, e)
}

// data says which state there is, or was, and since when.
func (m *mover) data(state string) map[string]any {
	d := map[string]any{"state": state}
	if m.at.State != "" && m.at.State != state {
		d["from"] = m.at.State
	}
	if m.at.Since != 0 {
		d["since"] = m.at.Since
	}
	return d
}

// stateName is the value of an attribute as the name of a state.
func stateName(v twin.Value) string {
	switch v.Type {
	case twin.ValueBool:
		return strconv.FormatBool(v.Number != 0)
	case twin.ValueNumber:
		return strconv.FormatFloat(v.Number, 'g', -1, 64)
	}
	if len(v.Text) > StateBytesMax {
		return shorten(v.Text)
	}
	return v.Text
}

func length(t twin.Time) string { return (time.Duration(t) * time.Millisecond).String() }

// list notes the expressions that decide.
func (b *Behaviour) list() {
	if b.Attribute != nil {
		b.decides = append(b.decides, b.Attribute)
	}
	for i := range b.States {
		for k := range b.States[i].To {
			if w := b.States[i].To[k].When; w != nil {
				b.decides = append(b.decides, w)
			}
		}
	}
}

// told are the expressions of the messages.
func (b *Behaviour) told() []*expr.Program {
	var list []*expr.Program
	add := func(actions []Action) {
		for i := range actions {
			list = append(list, valuesOf(actions[i].parts)...)
		}
	}
	for i := range b.States {
		s := &b.States[i]
		add(s.Enter)
		add(s.Leave)
		for k := range s.To {
			add(s.To[k].Do)
		}
	}
	return list
}

// check finds states that cannot be, and ways that lead nowhere.
func (b *Behaviour) check() error {
	var names []string
	for i := range b.States {
		names = append(names, b.States[i].Name)
	}
	if b.Initial == "" {
		b.Initial = names[0]
	}
	if b.State(b.Initial) == nil {
		return &Error{Line: b.line, Column: b.column, Reason: fmt.Sprintf("behaviour.initial: there is no state %q", b.Initial), Hint: "there are " + strings.Join(names, ", ")}
	}
	reached := map[string]bool{b.Initial: true}
	for i := range b.States {
		s := &b.States[i]
		for _, t := range s.To {
			if b.State(t.To) == nil {
				e := &Error{Line: s.line, Column: s.column, Reason: fmt.Sprintf("behaviour.states.%s goes to %q, which is no state", s.Name, t.To)}
				if near := expr.Nearest(t.To, names); near != "" {
					e.Hint = "did you mean " + near + "?"
				}
				return e
			}
			reached[t.To] = reached[t.To] || t.To != s.Name
		}
	}
	for i := range b.States {
		if s := &b.States[i]; !reached[s.Name] {
			return &Error{Line: s.line, Column: s.column, Reason: fmt.Sprintf("no state goes to behaviour.states.%s", s.Name), Hint: "let one, or make it the initial one"}
		}
	}
	return nil
}
