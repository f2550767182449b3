package model

import (
	"slices"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// Step is what a model makes of a change of a twin, or of time that has passed.
type Step struct {
	Computed expr.Map    // the computed attributes of the state, all of them
	Memory   *Memory     // to be kept; nil: as before
	Events   []StepEvent // to be told, in order
	Due      twin.Time   // when time alone has something to do next; 0: never
}

// StepEvent is an event that a step gives.
type StepEvent struct {
	Kind        twin.EventKind
	Type        string
	Severity    twin.Severity
	Message     string
	Correlation string
	Data        []byte // JSON
}

func (s *Step) due(t twin.Time) {
	if s.Due == 0 || t < s.Due {
		s.Due = t
	}
}

// Step brings a twin on. mem is what the step before gave, nil at first; it is not
// altered. in.Now is the time of the step. changed lists the paths that may have another
// value: nil is everything (another model, other tags), empty is none, as when a time is
// due. before are the computed attributes until now. in.Computed is not read.
func (m *Model) Step(mem *Memory, in expr.Inputs, changed []expr.Path, before expr.Map) Step {
	var out Step
	var moved []expr.Path
	out.Computed, moved = m.evaluate(&in, changed, before, nil)
	if !m.Remembers() && mem.Empty() {
		return out
	}
	next := Memory{alarms: make([]AlarmMemory, 0, len(m.alarms))}
	if m.behaviour != nil {
		was := mem.State()
		fresh := changed == nil || anyAffected(m.behaviour.decides, moved)
		in.State = was.State
		next.state = m.behaviour.step(was, &in, fresh, &out)
		if in.State = next.state.State; in.State != was.State {
			moved = append(moved, expr.Path{"state"})
		}
	}
	for i := range m.alarms {
		a := &m.alarms[i]
		fresh := changed == nil || a.affected(moved)
		if s := a.step(mem.alarm(a.Name), &in, fresh, &out); !s.empty() {
			next.alarms = append(next.alarms, s)
		}
	}
	m.drop(mem, &out)
	if !mem.equal(&next) {
		out.Memory = &next
	}
	return out
}

func anyAffected(programs []*expr.Program, moved []expr.Path) bool {
	return slices.ContainsFunc(programs, func(p *expr.Program) bool { return p.Affected(moved) })
}

// drop clears the alarms that the model has no more.
func (m *Model) drop(mem *Memory, out *Step) {
	if mem == nil {
		return
	}
	for _, s := range mem.alarms {
		if m.alarm(s.Name) == nil && s.Raised() {
			a := Alarm{Name: s.Name}
			out.Events = append(out.Events, a.event(AlarmCleared, "the model does not have this alarm any more", s.data("raised")))
		}
	}
}
