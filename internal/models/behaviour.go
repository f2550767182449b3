package models

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/twin"
)

// Behaviour is what the model of a twin says that it does, beside what it did.
type Behaviour struct {
	Model    string
	Version  uint32
	Declared *model.Behaviour
	State    model.StateMemory
	Observed Observed
}

// Observed is what a twin did in a window, by its events of kind behaviour.
type Observed struct {
	From, To    twin.Time
	Complete    bool // false: only the newest eventsMax events were looked at
	States      []ObservedState
	Transitions []ObservedTransition
	Overruns    int
	Early       int
}

// ObservedState is how long a state lasted. Lengths are in milliseconds, of the times that it
// was left in the window.
type ObservedState struct {
	Name               string
	Entered, Left      int
	Median, P95, Worst twin.Time
}

// ObservedTransition is how often one state followed another.
type ObservedTransition struct {
	From, To string
	Count    int
	Illegal  int     // of these, as the model was when it happened
	Share    float64 // of all that left From
}

const (
	eventsMax = 20_000
	eventPage = 1000
)

// Behaviour returns the state of a twin and what it did from a time to another; nil if its
// model has no behaviour or is not in force.
func (v *Viewer) Behaviour(ctx context.Context, thing twin.ThingName, from, to twin.Time) (*Behaviour, error) {
	name := v.Registry.engine.Attributes(thing).Model
	m, number := v.Registry.Model(name)
	if m == nil || m.Behaviour() == nil {
		return nil, nil
	}
	b := &Behaviour{Model: name, Version: number, Declared: m.Behaviour(), State: v.Registry.engine.Memory(thing).State()}
	var err error
	b.Observed, err = v.observe(ctx, thing, from, to)
	return b, err
}

// State returns the state of the behaviour of a twin; the zero value is none.
func (v *Viewer) State(thing twin.ThingName) model.StateMemory {
	return v.Registry.engine.Memory(thing).State()
}

// moves are what is counted of a twin's events.
type moves struct {
	counts  map[[2]string]*ObservedTransition
	dwells  map[string][]twin.Time
	entered map[string]int
}

func (v *Viewer) observe(ctx context.Context, thing twin.ThingName, from, to twin.Time) (o Observed, err error) {
	o = Observed{From: from, To: to, Complete: true}
	m := moves{counts: map[[2]string]*ObservedTransition{}, dwells: map[string][]twin.Time{}, entered: map[string]int{}}
	q := history.LogQuery{Thing: thing, Newest: true, Limit: eventPage, Filter: history.Filter{Kinds: []twin.EventKind{twin.EventBehaviour}, From: from, To: to}}
	for n := 0; ; {
		page, err := v.History.Log(ctx, q)
		if err != nil {
			return o, fmt.Errorf("read the events of %s: %w", thing, err)
		}
		for i := range page.Events {
			m.add(&o, &page.Events[i])
		}
		n += len(page.Events)
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
		if n >= eventsMax {
			o.Complete = false
			break
		}
	}
	m.finish(&o)
	return o, nil
}

func (m *moves) add(o *Observed, ev *twin.Event) {
	switch ev.Type {
	case model.BehaviourOverrun:
		o.Overruns++
		return
	case model.BehaviourEarly:
		o.Early++
		return
	case model.BehaviourEntered, model.BehaviourIllegal:
	default:
		return
	}
	var d struct {
		State, From string
		Since       twin.Time
	}
	if json.Unmarshal(ev.Data, &d) != nil || d.State == "" {
		return
	}
	m.entered[d.State]++
	if d.From == "" {
		return
	}
	way := [2]string{d.From, d.State}
	t := m.counts[way]
	if t == nil {
		t = &ObservedTransition{From: d.From, To: d.State}
		m.counts[way] = t
	}
	t.Count++
	if ev.Type == model.BehaviourIllegal {
		t.Illegal++
	}
	m.dwells[d.From] = append(m.dwells[d.From], ev.Time-d.Since)
}

func (m *moves) finish(o *Observed) {
	for name := range m.dwells { // also what was entered before the window
		m.entered[name] += 0
	}
	for _, name := range slices.Sorted(maps.Keys(m.entered)) {
		s := ObservedState{Name: name, Entered: m.entered[name], Left: len(m.dwells[name])}
		if all := m.dwells[name]; len(all) > 0 {
			slices.Sort(all)
			s.Median, s.P95, s.Worst = all[(len(all)-1)/2], all[(len(all)-1)*95/100], all[len(all)-1]
		}
		o.States = append(o.States, s)
	}
	for _, t := range m.counts {
		t.Share = float64(t.Count) / float64(len(m.dwells[t.From]))
		o.Transitions = append(o.Transitions, *t)
	}
	slices.SortFunc(o.Transitions, func(a, b ObservedTransition) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(b.Count, a.Count), cmp.Compare(a.To, b.To))
	})
}
