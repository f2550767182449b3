package engine

import (
	"maps"
	"slices"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/twin"
)

// Models are the models in force.
type Models interface {
	// Model returns the model with a name and the number of its version; nil: there is
	// none. It is called by committers for each update of a twin that has a model, and
	// must not block.
	Model(name string) (*model.Model, uint32)
}

// Settled is one thing that has become durable.
type Settled struct {
	Thing twin.ThingName
	// Change is the change of a shadow; nil: it was none.
	Change *twin.Change
	// Event is what was appended to the log; nil for a change of a shadow.
	Event *twin.Event
	// Attributes are those of the twin from now on; nil: they are as before.
	Attributes *twin.Attributes
	// Computed are the computed attributes of the state, if Change is one of the classic
	// shadow of a twin whose model is known. It is never altered.
	Computed expr.Map
}

// modelled is what a model makes of the classic shadow of a thing; like the document it
// is a working state. It is not kept on disk: it follows from shadow and attributes.
type modelled struct {
	by         *model.Model
	attributes *twin.Attributes
	computed   expr.Map
}

// compute evaluates the computed attributes of the state after a change, and notes in the
// event those that changed: as a JSON object, null for what has no value any more. An
// event after which nothing of before is known has all of them.
func (c *committer) compute(j *job, s *shadow, change *twin.Change, ev *twin.Event) {
	at := j.thing.attributes
	if c.engine.opts.Models == nil || at.Model == "" || s.name != "" {
		return
	}
	m, version := c.engine.opts.Models.Model(at.Model)
	if m == nil {
		s.model = modelled{}
		return
	}
	in := expr.Inputs{ID: j.thing.name, Model: at.Model, Tags: at.Tags, Shadow: change.Current, Now: ev.Time}
	known := s.model.by == m && s.model.attributes == at
	var changed []expr.Path
	if known && j.mirror == nil {
		changed = c.touched(change)
	}
	before := s.model.computed
	values, _ := m.Evaluate(in, changed, before)
	ev.ModelVersion = version
	if !known {
		before = nil
	}
	ev.Computed = appendComputed(nil, m, values, before, !known)
	s.model = modelled{by: m, attributes: at, computed: values}
	j.computed = values
}

// touched lists what an update can have changed; nil: anything.
func (c *committer) touched(change *twin.Change) []expr.Path {
	paths := c.paths[:0]
	all := !change.Request.Touches(func(section, name string) {
		paths = append(paths, expr.Path{section, name})
	})
	c.paths = paths
	if all || change.Kind != twin.EventUpdated || len(paths) == 0 {
		return nil
	}
	return paths
}

// appendComputed writes the values that are not as before, all of them if whole is set.
func appendComputed(dst []byte, m *model.Model, values, before expr.Map, whole bool) []byte {
	start := len(dst)
	for i := range m.Computed() {
		a := &m.Computed()[i]
		v, has := values[a.Name]
		old, had := before[a.Name]
		if !a.OfState || !whole && has == had && v == old {
			continue
		}
		dst = append(dst, ',')
		dst = twin.TextValue(a.Name).AppendJSON(dst)
		dst = append(dst, ':')
		if !has {
			dst = append(dst, "null"...)
			continue
		}
		dst = v.AppendJSON(dst)
	}
	if len(dst) == start {
		return dst
	}
	dst[start] = '{'
	return append(dst, '}')
}

// tell says what has become durable.
func (e *Engine) tell(j *job) {
	if e.opts.Settled == nil || j.mutation < 0 || j.thing == nil || j.result.Err != nil {
		return
	}
	s := Settled{Thing: j.thing.name, Change: j.result.Change, Attributes: j.attributes, Computed: j.computed}
	if j.entry != nil {
		s.Event = &j.appended
	}
	e.opts.Settled(&s)
}

// AllAttributes returns a copy of the table of durable attributes.
func (e *Engine) AllAttributes() map[twin.ThingName]*twin.Attributes {
	e.attributes.mu.RLock()
	defer e.attributes.mu.RUnlock()
	return maps.Clone(e.attributes.m)
}

// ThingsOf lists the things whose durable attributes name a model, in order.
func (e *Engine) ThingsOf(name string) []twin.ThingName {
	var things []twin.ThingName
	for thing, at := range e.AllAttributes() {
		if at.Model == name {
			things = append(things, thing)
		}
	}
	slices.Sort(things)
	return things
}
