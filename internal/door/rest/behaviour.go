package rest

import (
	"context"
	"fmt"
	"net/http"

	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/models"
	"github.com/twofold-iot/twofold/twin"
)

// Behaviours tell what twins do, and what their models say that they do.
type Behaviours interface {
	// Behaviour returns nil for a twin whose model has none.
	Behaviour(ctx context.Context, thing twin.ThingName, from, to twin.Time) (*models.Behaviour, error)
	State(thing twin.ThingName) model.StateMemory // the zero value: none is known
}

// behaviourDocument is what a model says that a twin does, beside what it did. Lengths are
// in seconds.
type behaviourDocument struct {
	DeviceID     twin.ThingName    `json:"deviceId"`
	Model        string            `json:"model"`
	ModelVersion uint32            `json:"modelVersion"`
	State        string            `json:"state,omitempty"` // left out: not known
	Since        string            `json:"since,omitempty"`
	Overrun      bool              `json:"overrun,omitempty"` // it lasts longer than it may
	Declared     declaredBehaviour `json:"declared"`
	Observed     observedBehaviour `json:"observed"`
}

type declaredBehaviour struct {
	Attribute string          `json:"attribute,omitempty"`
	Initial   string          `json:"initial"`
	States    []declaredState `json:"states"`
}

type declaredState struct {
	State string        `json:"state"`
	Min   float64       `json:"min,omitempty"`
	Max   float64       `json:"max,omitempty"`
	To    []declaredWay `json:"to"`
}

type declaredWay struct {
	To    string  `json:"to"`
	When  string  `json:"when,omitempty"`
	After float64 `json:"after,omitempty"`
}

type observedBehaviour struct {
	From        string          `json:"from"`
	To          string          `json:"to"`
	Complete    bool            `json:"complete"` // false: only the newest events were looked at
	States      []observedState `json:"states"`
	Transitions []observedWay   `json:"transitions"`
	Illegal     int             `json:"illegal"`
	Early       int             `json:"early"`
	Overruns    int             `json:"overruns"`
}

type observedState struct {
	State   string  `json:"state"`
	Entered int     `json:"entered"`
	Left    int     `json:"left"`
	Median  float64 `json:"median,omitempty"`
	P95     float64 `json:"p95,omitempty"`
	Longest float64 `json:"longest,omitempty"`
}

type observedWay struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	Count   int     `json:"count"`
	Illegal int     `json:"illegal,omitempty"` // of these
	Share   float64 `json:"share"`             // of all that left the state
}

// behaviourWindow is what is looked at if nothing is asked for: 30 days.
const behaviourWindow twin.Time = 30 * 24 * 60 * 60 * 1000

func (d *door) behaviourRoutes() []route {
	return []route{{
		method: "GET", path: "/api/v1/twins/{id}/behaviour", name: "getBehaviour", summary: "Read the state of a thing, what its model says that it does, and what it did in the last 30 days",
		query: []string{"from", "to"}, answer: behaviourDocument{}, handler: d.getBehaviour,
	}}
}

func (d *door) getBehaviour(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	from, to := p.window()
	if p.err != nil {
		return p.err
	}
	if exists, err := d.exists(r, key.Thing); err != nil || !exists {
		return orNoTwin(err, key.Thing)
	}
	if to == 0 {
		to = twin.TimeOf(d.opts.Now()) + 1
	}
	if from == 0 {
		from = max(1, to-behaviourWindow)
	}
	b, err := d.opts.Behaviours.Behaviour(r.Context(), key.Thing, from, to)
	if err != nil {
		return err
	}
	if b == nil {
		if name := d.attributes(key.Thing).Model; name != "" {
			return &problem{slug: slugNotFound, Detail: fmt.Sprintf("the model %q of %s has no behaviour, or is not in force", name, key.Thing)}
		}
		return d.noModel(key.Thing)
	}
	return writeJSON(w, newBehaviourDocument(key.Thing, b))
}

func newBehaviourDocument(thing twin.ThingName, b *models.Behaviour) *behaviourDocument {
	doc := &behaviourDocument{
		DeviceID: thing, Model: b.Model, ModelVersion: b.Version, State: b.State.State, Since: timeText(b.State.Since), Overrun: b.State.Overrun,
		Declared: declared(b.Declared),
	}
	o := &b.Observed
	doc.Observed = observedBehaviour{
		From: timeText(o.From), To: timeText(o.To), Complete: o.Complete, Early: o.Early, Overruns: o.Overruns,
		States: []observedState{}, Transitions: []observedWay{},
	}
	for _, s := range o.States {
		doc.Observed.States = append(doc.Observed.States, observedState{s.Name, s.Entered, s.Left, inSeconds(s.Median), inSeconds(s.P95), inSeconds(s.Worst)})
	}
	for _, t := range o.Transitions {
		doc.Observed.Transitions = append(doc.Observed.Transitions, observedWay{t.From, t.To, t.Count, t.Illegal, t.Share})
		doc.Observed.Illegal += t.Illegal
	}
	return doc
}

func declared(b *model.Behaviour) declaredBehaviour {
	doc := declaredBehaviour{Initial: b.Initial}
	if b.Attribute != nil {
		doc.Attribute = b.Attribute.Source()
	}
	for i := range b.States {
		s := &b.States[i]
		state := declaredState{State: s.Name, Min: inSeconds(s.Min), Max: inSeconds(s.Max), To: []declaredWay{}}
		for _, t := range s.To {
			way := declaredWay{To: t.To, After: inSeconds(t.After)}
			if t.When != nil {
				way.When = t.When.Source()
			}
			state.To = append(state.To, way)
		}
		doc.States = append(doc.States, state)
	}
	return doc
}

func inSeconds(t twin.Time) float64 { return float64(t) / 1000 }
