package models

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/profile"
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
	States      []profile.State
	Transitions []profile.Transition
	Overruns    int
	Early       int
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

func (v *Viewer) observe(ctx context.Context, thing twin.ThingName, from, to twin.Time) (o Observed, err error) {
	o = Observed{From: from, To: to, Complete: true}
	var m profile.Moves
	q := history.LogQuery{Thing: thing, Newest: true, Limit: eventPage, Filter: history.Filter{Kinds: []twin.EventKind{twin.EventBehaviour}, From: from, To: to}}
	for n := 0; ; {
		page, err := v.History.Log(ctx, q)
		if err != nil {
			return o, fmt.Errorf("read the events of %s: %w", thing, err)
		}
		for i := range page.Events {
			o.add(&m, &page.Events[i])
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
	o.States, o.Transitions = m.States(), m.Transitions()
	return o, nil
}

// add counts an event.
func (o *Observed) add(m *profile.Moves, ev *twin.Event) {
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
	m.Enter(d.State)
	if d.From != "" {
		m.Move(d.From, d.State, ev.Time-d.Since, ev.Type == model.BehaviourIllegal)
	}
}
