package models

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/twin"
)

// Line asks for the past of one computed attribute.
type Line struct {
	Thing     twin.ThingName
	Attribute string
	From, To  twin.Time // from <= time < to
	Limit     int       // of points
	// Revise evaluates the expression in force over the past anew; else the points are what
	// the events have.
	Revise bool
	// Every is the distance in milliseconds of the points of an attribute that shadow and tags
	// alone do not decide.
	Every twin.Time
}

// Revision is the past of one computed attribute.
type Revision struct {
	Model    string
	Version  uint32 // in force
	Unit     string
	Points   []RevisionPoint // where the value changes
	Until    twin.Time       // how far they go
	Complete bool
}

// RevisionPoint is a value from a time on.
type RevisionPoint struct {
	Time     twin.Time
	Version  twin.Version // of the shadow, if an update led to it; else 0
	Value    twin.Value   // Type 0: none
	Model    uint32       // the version of the model that made Value
	Revised  bool         // it was made now, and is not what was recorded
	Recorded twin.Value   // if Revised; Type 0: none
	By       uint32       // the version of the model that made Recorded; 0: nothing was recorded
}

// Revise gives the past of a computed attribute. Events are never altered: a model that was
// changed is brought over the past for the answer, and what differs is marked.
func (v *Viewer) Revise(ctx context.Context, q Line) (*Revision, error) {
	at := v.Registry.engine.Attributes(q.Thing)
	m, number := v.Registry.Model(at.Model)
	if m == nil {
		return nil, noModel(at.Model)
	}
	a := m.Attribute(q.Attribute)
	switch {
	case a == nil && q.Revise:
		return nil, twin.NewError(twin.KindNotFound, fmt.Sprintf("Model %s has no computed attribute %q", at.Model, q.Attribute))
	case a != nil && !a.OfState && !q.Revise:
		return nil, twin.NewError(twin.KindInvalid, fmt.Sprintf("computed.%s is not in events, as shadow and tags alone do not decide it; ask with revise=true", a.Name))
	}
	out := &Revision{Model: at.Model, Version: number}
	if a != nil {
		out.Unit = a.Unit
	}
	l := &revising{viewer: v, line: q, model: m, attribute: a, number: number, Revision: out}
	if err := l.before(ctx); err != nil {
		return nil, err
	}
	if q.Revise {
		return out, l.revise(ctx)
	}
	return out, l.read(ctx)
}

// revising is a revision that is being made.
type revising struct {
	*Revision
	viewer    *Viewer
	line      Line
	model     *model.Model
	attribute *model.Attribute
	number    uint32
	recorded  twin.Value // by the events until now
	by        uint32
	last      RevisionPoint
	some      bool
}

// recordedReach is how many events before the beginning are looked at for the value then.
const recordedReach = 1000

// before finds what was recorded at the beginning.
func (l *revising) before(ctx context.Context) error {
	if l.line.From == 0 {
		return nil
	}
	p, err := l.viewer.History.States(ctx, history.Query{Key: twin.ShadowKey{Thing: l.line.Thing}, To: l.line.From, Newest: true, Limit: recordedReach, Form: history.Patches})
	if err != nil {
		return fmt.Errorf("read what was computed for %s: %w", l.line.Thing, err)
	}
	for i := range p.States {
		if l.note(&p.States[i].Event) {
			return nil
		}
	}
	return nil
}

// note takes over what an event says of the attribute.
func (l *revising) note(ev *twin.Event) bool {
	if len(ev.Computed) == 0 {
		return false
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(ev.Computed, &all) != nil {
		return false
	}
	raw, ok := all[l.line.Attribute]
	if !ok {
		return false
	}
	l.recorded, l.by = scalar(raw), ev.ModelVersion
	return true
}

// scalar reads a computed value; Type 0: none.
func scalar(raw []byte) twin.Value {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return twin.Value{}
	}
	switch v := v.(type) {
	case bool:
		return twin.BoolValue(v)
	case float64:
		return twin.NumberValue(v)
	case string:
		return twin.TextValue(v)
	}
	return twin.Value{}
}

// read gives what the events have.
func (l *revising) read(ctx context.Context) error {
	q := history.Query{Key: twin.ShadowKey{Thing: l.line.Thing}, From: l.line.From, To: l.line.To, Limit: history.PageMax, Form: history.Patches}
	if l.by != 0 {
		l.Points = append(l.Points, RevisionPoint{Time: l.line.From, Value: l.recorded, Model: l.by})
	}
	for {
		p, err := l.viewer.History.States(ctx, q)
		if err != nil {
			return fmt.Errorf("read what was computed for %s: %w", l.line.Thing, err)
		}
		for i := range p.States {
			ev := &p.States[i].Event
			if !l.note(ev) {
				continue
			}
			if !l.add(RevisionPoint{Time: ev.Time, Version: ev.Version, Value: l.recorded, Model: l.by}) {
				return nil
			}
		}
		if q.Cursor = p.Next; q.Cursor == "" {
			l.Until, l.Complete = l.line.To, true
			return nil
		}
	}
}

// add adds a point if it differs from the one before; false: there are enough.
func (l *revising) add(x RevisionPoint) bool {
	same := x
	same.Time, same.Version = l.last.Time, l.last.Version
	if l.some && same == l.last {
		return true
	}
	if len(l.Points) >= l.line.Limit {
		l.Until = x.Time
		return false
	}
	l.last, l.some = x, true
	l.Points = append(l.Points, x)
	return true
}

var errEnough = errors.New("there are enough points")

// revise gives what the model in force makes of the past.
func (l *revising) revise(ctx context.Context) error {
	b := budget{left: PreviewMax}
	r := &replay{viewer: l.viewer, model: l.model.Only(l.attribute.Name), thing: l.line.Thing, from: l.line.From, to: l.line.To, budget: &b}
	if !l.attribute.OfState {
		r.metrics, r.ticks = l.model.Reads(l.attribute.Name), l.line.Every
	}
	next := l.line.From // the next point of an attribute that is not of the state
	l.Until = l.line.From
	r.step = func(in *expr.Inputs, ev *twin.Event, _ *model.Step) error {
		l.Until = in.Now
		x := RevisionPoint{Time: in.Now, Model: l.number}
		if ev != nil {
			x.Version = ev.Version
			l.note(ev)
		}
		if l.attribute.OfState {
			x.Value = r.computed[l.attribute.Name]
		} else {
			if in.Now < next || ev != nil {
				return nil
			}
			next = in.Now - (in.Now-l.line.From)%l.line.Every + l.line.Every
			value, err := l.evaluate(ctx, in)
			if err != nil {
				return err
			}
			x.Value = value
		}
		if x.Value != l.recorded || l.by == 0 {
			x.Revised, x.Recorded, x.By = true, l.recorded, l.by
		}
		if !l.add(x) {
			return errEnough
		}
		return nil
	}
	err := r.run(ctx)
	switch {
	case errors.Is(err, errEnough), errors.Is(err, errBudget):
		return nil
	case err == nil:
		l.Until, l.Complete = l.line.To, true
	}
	return err
}

// evaluate gives the value of an attribute that needs more than the state.
func (l *revising) evaluate(ctx context.Context, in *expr.Inputs) (twin.Value, error) {
	now := *in
	past := &Past{Context: ctx, Thing: l.line.Thing, Now: in.Now, Samples: l.viewer.Samples, History: l.viewer.History, Telemetry: in.Telemetry}
	now.Past = past
	values, _ := l.model.Only(l.attribute.Name).View(now)
	return values[l.attribute.Name], past.Err
}
