package main

import (
	"encoding/json"
	"maps"

	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/twin"
)

// exported follows one thing through an audit file: what each of its shadows was, and
// what is said of it beside.
type exported struct {
	thing   twin.ThingName
	shadows map[twin.ShadowName]*exportedShadow
	model   string
	tags    map[string]string
	created bool
}

type exportedShadow struct {
	state *twin.Shadow // nil: none, or not known
	// lost is the line from which on the state is not known, 0: it is; count is how many
	// versions that is.
	lost, count int
	why         error
	live        twin.Version // the newest that was handed on
}

func newExported(thing twin.ThingName) *exported {
	return &exported{thing: thing, shadows: make(map[twin.ShadowName]*exportedShadow), tags: make(map[string]string)}
}

// next takes an event and returns the update/documents message of the state after it; nil if
// it changes no state.
func (x *exported) next(fe *proof.FileEvent) []byte {
	ev := &fe.Event
	x.model = ev.Model
	if ev.Kind == twin.EventManaged {
		x.managed(ev)
		return nil
	}
	if !ev.Kind.OfShadow() {
		return nil
	}
	s := x.shadows[ev.Shadow]
	if s == nil {
		s = &exportedShadow{}
		x.shadows[ev.Shadow] = s
	}
	if ev.Kind == twin.EventRecorded {
		late, err := twin.RecordedState(ev)
		if err != nil {
			s.lose(fe.Line, err)
			return nil
		}
		return documentOf(ev, nil, late)
	}
	before := s.state
	after, err := twin.Fold(before, ev)
	if err != nil && len(ev.Snapshot) > 0 {
		before = nil
		after, err = twin.DecodeShadow(ev.Snapshot)
	}
	if err != nil {
		s.lose(fe.Line, err)
		return nil
	}
	s.state = after
	if !after.Exists() {
		return nil
	}
	s.live = after.Version
	return documentOf(ev, before, after)
}

// lose notes that a state cannot be known, and those after it up to a snapshot.
func (s *exportedShadow) lose(line int, err error) {
	s.state = nil
	if s.lost == 0 {
		s.lost, s.why = line, err
	}
	s.count++
}

// managed takes over what an administrative event says of the thing.
func (x *exported) managed(ev *twin.Event) {
	x.created = ev.Type != "deleted"
	if !x.created {
		x.tags = make(map[string]string)
		return
	}
	var data struct {
		Tags map[string]*string `json:"tags"`
	}
	if json.Unmarshal(ev.Data, &data) != nil {
		return // of another kind
	}
	for k, v := range data.Tags {
		if v == nil {
			delete(x.tags, k)
			continue
		}
		x.tags[k] = *v
	}
}

// final is what is to be done about a thing when all its states are there.
func (x *exported) final() final {
	f := final{thing: x.thing, model: x.model, tags: maps.Clone(x.tags), created: x.created, deleted: make(map[twin.ShadowName]twin.Version)}
	for name, s := range x.shadows {
		if s.state != nil && !s.state.Exists() && s.live != 0 {
			f.deleted[name] = s.live
		}
	}
	return f
}

type final struct {
	thing   twin.ThingName
	model   string
	tags    map[string]string
	created bool
	deleted map[twin.ShadowName]twin.Version // the last live version of each
}

// nothing reports whether there is nothing to do.
func (f *final) nothing() bool {
	return f.model == "" && len(f.tags) == 0 && !f.created && len(f.deleted) == 0
}

// documentOf makes the message that AWS publishes of a change. The instant of a state that
// came from a cloud is the cloud's.
func documentOf(ev *twin.Event, before, after *twin.Shadow) []byte {
	if !before.Exists() || before.Version >= after.Version {
		before = nil
	}
	at := ev.Time
	if ev.OriginTime != 0 && (ev.Kind == twin.EventRecorded || ev.Mirrored()) {
		at = ev.OriginTime
	}
	c := twin.Change{
		Kind: twin.EventUpdated, Previous: before, Current: after, Time: at,
		Request: &twin.Request{ClientToken: ev.Correlation, HasToken: ev.Correlation != ""},
	}
	b := c.AppendDocuments(nil)
	names, err := json.Marshal(struct {
		Thing  twin.ThingName  `json:"thing"`
		Shadow twin.ShadowName `json:"shadow,omitempty"`
	}{ev.Thing, ev.Shadow})
	if err != nil {
		panic(err) // two names
	}
	b[len(b)-1] = ','
	return append(b, names[1:]...)
}
