package models

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/twin"
)

const (
	// PreviewMax bounds the updates, samples and timers that a preview replays.
	PreviewMax = 2_000_000
	// raisesMax bounds the times that an alarm is shown with.
	raisesMax = 10
)

// Ask is the question of a preview.
type Ask struct {
	Name     string // of the model
	Source   []byte // empty: the version in force
	From, To twin.Time
	Thing    twin.ThingName // empty: all twins of the model
}

// Preview says what a model would have told had it been in force for a time.
type Preview struct {
	Model    string
	From, To twin.Time
	// Twins have the model. Replayed are those that were looked at as a whole, in the order of
	// their names; fewer than Twins if the rest was more than [PreviewMax].
	Twins, Replayed  int
	Updates, Samples int // that were replayed
	Alarms           []AlarmPreview
	Behaviour        map[string]int // the events of the state machine, by type
}

// AlarmPreview is one alarm.
type AlarmPreview struct {
	Name     string
	Severity twin.Severity
	Count    int       // how often it would have been raised
	Twins    int       // on how many
	Held     twin.Time // for how long in all
	Longest  twin.Time
	Recorded int // how often an alarm of this name was raised, by the models in force then
	Newest   []Raise
}

// Raise is one time for which an alarm would have been raised.
type Raise struct {
	Thing    twin.ThingName
	From, To twin.Time // To 0: to the end
	Message  string
}

// Preview replays the past of twins with a model.
func (v *Viewer) Preview(ctx context.Context, q Ask) (*Preview, error) {
	m, err := v.Registry.candidate(q.Name, q.Source)
	if err != nil {
		return nil, err
	}
	things := []twin.ThingName{q.Thing}
	if q.Thing == "" {
		things = v.Registry.engine.ThingsOf(m.Name)
		slices.Sort(things)
	}
	p := &previewing{viewer: v, model: m, Preview: &Preview{Model: m.Name, From: q.From, To: q.To, Twins: len(things), Behaviour: map[string]int{}}, budget: budget{left: PreviewMax}}
	for i := range m.Alarms() {
		p.Alarms = append(p.Alarms, AlarmPreview{Name: m.Alarms()[i].Name, Severity: m.Alarms()[i].Severity})
	}
	for _, thing := range things {
		if err := p.thing(ctx, thing); errors.Is(err, errBudget) {
			break
		} else if err != nil {
			return nil, err
		}
		p.Replayed++
	}
	p.Updates, p.Samples = p.budget.updates, p.budget.samples
	return p.Preview, nil
}

// candidate reads a model that is not in force, or returns the one that is.
func (r *Registry) candidate(name string, source []byte) (*model.Model, error) {
	if len(source) == 0 {
		if m, _ := r.Model(name); m != nil {
			return m, nil
		}
		return nil, noModel(name)
	}
	return r.parse(name, source)
}

// previewing is a preview that is being made.
type previewing struct {
	*Preview
	viewer *Viewer
	model  *model.Model
	budget budget
}

func (p *previewing) thing(ctx context.Context, thing twin.ThingName) error {
	raised := map[string]*Raise{}
	var done []*Raise
	var names []string
	moves := map[string]int{}
	r := &replay{viewer: p.viewer, model: p.model, thing: thing, from: p.From, to: p.To, metrics: p.model.Metrics(), budget: &p.budget}
	r.step = func(in *expr.Inputs, _ *twin.Event, out *model.Step) error {
		for i := range out.Events {
			ev := &out.Events[i]
			switch {
			case ev.Kind != twin.EventAlarm:
				moves[ev.Type]++
			case ev.Type == model.AlarmRaised:
				x := &Raise{Thing: thing, From: in.Now, Message: ev.Message}
				raised[ev.Correlation] = x
				done, names = append(done, x), append(names, ev.Correlation)
			case ev.Type == model.AlarmCleared && raised[ev.Correlation] != nil:
				raised[ev.Correlation].To = in.Now
			}
		}
		return nil
	}
	if err := r.run(ctx); err != nil {
		return err
	}
	for i, x := range done {
		p.alarm(names[i]).add(x, p.To)
	}
	for i := range p.Alarms {
		if slices.Contains(names, p.Alarms[i].Name) {
			p.Alarms[i].Twins++
		}
	}
	for name, n := range moves {
		p.Behaviour[name] += n
	}
	return p.recorded(ctx, thing)
}

func (p *previewing) alarm(name string) *AlarmPreview {
	for i := range p.Alarms {
		if p.Alarms[i].Name == name {
			return &p.Alarms[i]
		}
	}
	return &AlarmPreview{}
}

func (a *AlarmPreview) add(x *Raise, end twin.Time) {
	a.Count++
	held := end - x.From
	if x.To != 0 {
		held = x.To - x.From
	}
	a.Held += held
	a.Longest = max(a.Longest, held)
	a.Newest = append(a.Newest, *x)
	slices.SortFunc(a.Newest, func(x, y Raise) int { return cmp.Or(cmp.Compare(y.From, x.From), cmp.Compare(x.Thing, y.Thing)) })
	a.Newest = a.Newest[:min(len(a.Newest), raisesMax)]
}

// recorded counts what was told in that time.
func (p *previewing) recorded(ctx context.Context, thing twin.ThingName) error {
	if len(p.Alarms) == 0 {
		return nil
	}
	q := history.LogQuery{Thing: thing, Limit: history.PageMax, Filter: history.Filter{Kinds: []twin.EventKind{twin.EventAlarm}, Type: model.AlarmRaised, From: p.From, To: p.To}}
	for {
		page, err := p.viewer.History.Log(ctx, q)
		if err != nil {
			return fmt.Errorf("read the alarms of %s: %w", thing, err)
		}
		for i := range page.Events {
			p.alarm(page.Events[i].Correlation).Recorded++
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return nil
		}
	}
}
