package engine

import (
	"maps"
	"slices"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/intent"
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
	// Computed are the computed attributes of the state if the model of the twin has made a
	// step: with a change of the classic shadow, other attributes, another model or as time
	// was due; else nil. It is never altered.
	Computed expr.Map
	// Memory is what the model keeps from now on; nil: as before. It is never altered.
	Memory *model.Memory
	// Renewed is the classic shadow if another model, or another version of it, looked at it
	// without a change; else nil.
	Renewed *twin.Shadow
	// Intents is what is asked of the thing by the shadow of Key from now on; nil: as before. It
	// is never altered.
	Intents *intent.List
	Key     twin.ShadowKey
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
	if c.engine.opts.Models == nil || s.name != "" {
		return
	}
	var changed []expr.Path
	if j.mirror == nil {
		changed = c.touched(change)
	}
	m, before, known := c.advance(j, s, change.Current, changed, ev.Time)
	if m == nil || m == nobody {
		return
	}
	ev.ModelVersion = j.stepped.version
	ev.Computed = appendComputed(nil, m, j.computed, before, !known)
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
	if e.opts.Settled == nil || j.thing == nil || j.result.Err != nil || j.mutation < 0 && !j.stepped.taken {
		return
	}
	s := Settled{Thing: j.thing.name, Change: j.result.Change, Attributes: j.attributes, Computed: j.computed, Memory: j.stepped.Memory}
	if j.entry != nil {
		s.Event = &j.appended
	}
	s.Intents, s.Key = j.intents, j.update.Key
	if s.Change == nil {
		s.Renewed = j.stepped.renewed
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
