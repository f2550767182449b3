package models

import (
	"cmp"
	"context"
	"slices"

	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/twin"
)

// Alarm is one alarm of one twin.
type Alarm struct {
	Thing    twin.ThingName
	Model    string
	Severity twin.Severity
	model.AlarmMemory
}

// Alarms lists all alarms that the model of a thing has, in its order; false if there is no
// model in force.
func (r *Registry) Alarms(thing twin.ThingName) ([]Alarm, bool) {
	name := r.engine.Attributes(thing).Model
	m, _ := r.Model(name)
	if m == nil {
		return nil, false
	}
	kept := r.engine.Memory(thing).Alarms()
	list := make([]Alarm, 0, len(m.Alarms()))
	for i := range m.Alarms() {
		a := &m.Alarms()[i]
		x := Alarm{Thing: thing, Model: name, Severity: a.Severity, AlarmMemory: model.AlarmMemory{Name: a.Name}}
		if at := slices.IndexFunc(kept, func(k model.AlarmMemory) bool { return k.Name == a.Name }); at >= 0 {
			x.AlarmMemory = kept[at]
		}
		list = append(list, x)
	}
	return list, true
}

// Raised lists the alarms of all twins that are raised, newest first.
func (r *Registry) Raised() []Alarm {
	var list []Alarm
	for thing, mem := range r.engine.AllMemories() {
		name := r.engine.Attributes(thing).Model
		m, _ := r.Model(name)
		for _, k := range mem.Alarms() {
			if !k.Raised() {
				continue
			}
			x := Alarm{Thing: thing, Model: name, AlarmMemory: k}
			if m != nil {
				if at := slices.IndexFunc(m.Alarms(), func(a model.Alarm) bool { return a.Name == k.Name }); at >= 0 {
					x.Severity = m.Alarms()[at].Severity
				}
			}
			list = append(list, x)
		}
	}
	slices.SortFunc(list, func(a, b Alarm) int {
		return cmp.Or(cmp.Compare(b.Since, a.Since), cmp.Compare(a.Thing, b.Thing), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// Acknowledge notes that somebody has seen a raised alarm; see [model.Model.Acknowledge].
func (r *Registry) Acknowledge(ctx context.Context, thing twin.ThingName, alarm, who string, o twin.Origin) error {
	return r.act(ctx, thing, o, func(m *model.Model, mem *model.Memory, _ twin.Time) (*model.Memory, model.StepEvent, error) {
		return m.Acknowledge(mem, alarm, who)
	})
}

// Mute marks what an alarm tells until a time; 0: no longer; see [model.Model.Mute].
func (r *Registry) Mute(ctx context.Context, thing twin.ThingName, alarm string, until twin.Time, o twin.Origin) error {
	return r.act(ctx, thing, o, func(m *model.Model, mem *model.Memory, now twin.Time) (*model.Memory, model.StepEvent, error) {
		return m.Mute(mem, alarm, until, now)
	})
}

// act waits until an act is durable. If ctx ends first, it still takes its course.
func (r *Registry) act(ctx context.Context, thing twin.ThingName, o twin.Origin, act model.Act) error {
	done := make(chan error, 1)
	if err := r.engine.Act(thing, o, act, func(err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return twin.NewError(twin.KindUnavailable, "The request ended before its outcome was known")
	}
}
