package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// step is a job that brings the model of a twin on without an update: time is due,
// something beside the shadow has changed, or somebody acts on an alarm.
type step struct {
	changed []expr.Path        // nil: everything is new
	beside  func(*expr.Inputs) // nil: that of the options
	act     model.Act          // nil: none
	done    func(error)        // nil: nobody waits
}

// stepped is what a model has made of a job.
type stepped struct {
	model.Step
	time    twin.Time
	version uint32       // of the model
	taken   bool         // a step was made
	renewed *twin.Shadow // to which, if the model or the attributes are others than before
}

// Act does something to the memory of a twin's model; done is called as for Submit.
func (e *Engine) Act(thing twin.ThingName, o twin.Origin, act model.Act, done func(error)) error {
	if err := checkKey(twin.ShadowKey{Thing: thing}); err != nil {
		return err
	}
	return e.submitStep(thing, o, step{changed: []expr.Path{}, act: act, done: done})
}

// Changed tells that telemetry of a thing has another value, which its model reads; beside
// fills it in, as [Options].Beside does. A full queue is an error of kind KindFull.
func (e *Engine) Changed(thing twin.ThingName, paths []expr.Path, beside func(*expr.Inputs)) error {
	return e.submitStep(thing, twin.Origin{}, step{changed: paths, beside: beside})
}

func (e *Engine) submitStep(thing twin.ThingName, o twin.Origin, s step) error {
	j := &job{update: twin.Update{Key: twin.ShadowKey{Thing: thing}, Origin: o}, step: &s, mutation: -1}
	return e.committer(thing.Shard()).queue.put(j)
}

// dueUnknown stands for a timer that may have fired.
const dueUnknown = twin.Time(-1)

// nobody is the model of a twin that has none any more: it clears what is kept.
var nobody = &model.Model{} //nolint:gochecknoglobals // read only

// modelOf returns the model that is to make a step of a thing; nil: none.
func (c *committer) modelOf(t *thing) (*model.Model, uint32) {
	if c.engine.opts.Models == nil {
		return nil, 0
	}
	if name := t.attributes.Model; name != "" {
		if m, version := c.engine.opts.Models.Model(name); m != nil {
			return m, version
		}
	}
	if t.memory != nil {
		return nobody, 0
	}
	return nil, 0
}

// advance lets the model of a thing make a step to a state of the classic shadow s, and
// returns whether its computed attributes before were known.
func (c *committer) advance(j *job, s *shadow, current *twin.Shadow, changed []expr.Path, now twin.Time) (m *model.Model, before expr.Map, known bool) {
	t := j.thing
	m, version := c.modelOf(t)
	if m == nil {
		s.model = modelled{}
		return nil, nil, false
	}
	at := t.attributes
	in := expr.Inputs{ID: t.name, Model: at.Model, Tags: at.Tags, Shadow: current, Now: now}
	beside := c.engine.opts.Beside
	if j.step != nil && j.step.beside != nil {
		beside = j.step.beside
	}
	if beside != nil && m.ReadsBeside() {
		beside(&in)
	}
	known = s.model.by == m && s.model.attributes == at
	if known {
		before = s.model.computed
	} else {
		changed = nil
	}
	out := m.Step(t.memory, in, changed, before)
	j.stepped = stepped{Step: out, time: now, version: version, taken: true}
	if !known {
		j.stepped.renewed = current
	}
	s.model = modelled{by: m, attributes: at, computed: out.Computed}
	j.computed = out.Computed
	if out.Memory != nil {
		t.memory = out.Memory
	}
	return m, before, known
}

// derive adds what a step has given to the group: its events, and what is kept from
// now on.
func (c *committer) derive(g *group, j *job) {
	st := &j.stepped
	if !st.taken {
		return
	}
	for i := range st.Events {
		ev := c.eventOf(j, &st.Events[i])
		g.bytes += len(c.link(g, j, &ev).Event)
	}
	if st.Memory == nil {
		return
	}
	w := memoryRecord(j.thing.name, st.Memory)
	g.bytes += len(w.Key) + len(w.Value)
	if j.mutation < 0 { // a step that nobody else is to hear of
		j.mutation, j.unchained = len(g.mutations), true
		g.mutations = append(g.mutations, store.Mutation{})
	}
	m := &g.mutations[j.mutation]
	m.Records = append(m.Records, w)
}

func (c *committer) eventOf(j *job, e *model.StepEvent) twin.Event {
	return twin.Event{
		Thing: j.thing.name, Seq: j.thing.head.Seq + 1, Kind: e.Kind, Type: e.Type, Severity: e.Severity, Message: e.Message,
		Correlation: e.Correlation, Data: e.Data, Time: j.stepped.time, Model: j.thing.attributes.Model,
		ModelVersion: j.stepped.version, Origin: j.stepOrigin(),
	}
}

// stepOrigin is who acted; what a model says by itself has no origin.
func (j *job) stepOrigin() twin.Origin {
	if j.step == nil {
		return twin.Origin{}
	}
	return j.update.Origin
}

// step makes a step that no update asks for.
func (c *committer) step(g *group, j *job) {
	t, s := j.thing, j.thing.find("")
	current, err := s.decoded(j.update.Key)
	if err != nil {
		j.result.Err = err
		return
	}
	t.due = dueUnknown
	now := c.engine.commitTime()
	acted, err := c.act(j, now)
	if err != nil {
		j.result.Err = err
		return
	}
	if acted != nil {
		t.memory = acted.Memory
	}
	if m, _, _ := c.advance(j, s, current, j.step.changed, now); m == nil { // nothing is kept, and so nothing was done
		j.stepped.taken, j.stepped.renewed, j.computed = true, current, expr.Map{}
		return
	}
	if acted != nil {
		j.stepped.Events = append(acted.Events, j.stepped.Events...)
		j.stepped.Memory = t.memory
	}
	c.derive(g, j)
}

// act does what somebody asks for; nil: nothing is asked.
func (c *committer) act(j *job, now twin.Time) (*model.Step, error) {
	if j.step.act == nil {
		return nil, nil
	}
	m, _ := c.modelOf(j.thing)
	if m == nil || m == nobody {
		return nil, twin.NewError(twin.KindNotFound, fmt.Sprintf("%s has no model that is in force", j.thing.name))
	}
	mem, ev, err := j.step.act(m, j.thing.memory, now)
	if err != nil {
		return nil, err
	}
	return &model.Step{Memory: mem, Events: []model.StepEvent{ev}}, nil
}

// stepEntry makes the step of a thing with other attributes.
func (c *committer) stepEntry(j *job, ev *twin.Event) {
	s := j.thing.find("")
	if s == nil || c.engine.opts.Models == nil {
		return
	}
	current, err := s.decoded(twin.ShadowKey{Thing: j.thing.name})
	if err != nil {
		return // the next update of the shadow meets it too, and says so
	}
	c.advance(j, s, current, nil, ev.Time)
}

// stepConnection makes the step of a thing that has come or gone.
func (c *committer) stepConnection(j *job, ev *twin.Event) {
	s := j.thing.find("")
	if m, _ := c.modelOf(j.thing); m == nil || s == nil || !m.ReadsBeside() {
		return
	}
	if current, err := s.decoded(twin.ShadowKey{Thing: j.thing.name}); err == nil {
		c.advance(j, s, current, []expr.Path{{"connected"}}, ev.Time)
	}
}

// stepSettled makes the effects of a step visible.
func (c *committer) stepSettled(j *job) {
	st := &j.stepped
	if !st.taken {
		return
	}
	if st.Memory != nil {
		c.engine.memories.set(j.update.Key.Thing, st.Memory)
	}
	if t := j.thing; t.due != st.Due {
		t.due = st.Due
		c.engine.timers.set(t.name, st.Due)
	}
}

// memoryTable holds what models durably keep of twins.
type memoryTable struct {
	mu sync.RWMutex
	m  map[twin.ThingName]*model.Memory
}

func (t *memoryTable) of(thing twin.ThingName) *model.Memory {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[thing]
}

func (t *memoryTable) set(thing twin.ThingName, mem *model.Memory) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mem.Empty() {
		delete(t.m, thing)
		return
	}
	t.m[thing] = mem
}

func memoryRecord(thing twin.ThingName, mem *model.Memory) twin.RecordWrite {
	w := twin.RecordWrite{Kind: twin.RecordMemory, Key: string(thing)}
	if !mem.Empty() {
		w.Value = mem.AppendBinary(nil)
	}
	return w
}

func (e *Engine) loadMemories() error {
	e.memories.m = make(map[twin.ThingName]*model.Memory)
	for after := ""; ; {
		page, err := e.Records(context.Background(), twin.RecordMemory, "", after, attributesPage)
		if err != nil {
			return fmt.Errorf("read what models keep: %w", err)
		}
		for _, r := range page {
			mem, err := model.DecodeMemory(r.Value)
			if err != nil {
				return fmt.Errorf("read what the model of %s keeps: %w", r.Key, err)
			}
			e.memories.m[twin.ThingName(r.Key)] = mem
			after = r.Key
		}
		if len(page) < attributesPage {
			return nil
		}
	}
}

// Memory returns what the model of a thing durably keeps, nil if that is nothing.
func (e *Engine) Memory(thing twin.ThingName) *model.Memory { return e.memories.of(thing) }

// AllMemories returns a copy of the table of what models durably keep.
func (e *Engine) AllMemories() map[twin.ThingName]*model.Memory {
	e.memories.mu.RLock()
	defer e.memories.mu.RUnlock()
	return maps.Clone(e.memories.m)
}

// StepAll lets the models of all twins make a step, as after a start: in the background,
// in any order. Twins whose model keeps nothing are left out.
func (e *Engine) StepAll() {
	if e.opts.Models == nil {
		return
	}
	things := slices.Collect(maps.Keys(e.AllMemories()))
	for thing, at := range e.AllAttributes() {
		if m, _ := e.opts.Models.Model(at.Model); m != nil && m.Remembers() {
			things = append(things, thing)
		}
	}
	e.StepSoon(things)
}

// StepSoon lets the models of things make a step as if all that they read were new, in the
// background: their model has changed.
func (e *Engine) StepSoon(things []twin.ThingName) {
	e.timers.renew(things, twin.TimeOf(e.opts.Now()))
}
