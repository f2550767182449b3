package rest

import (
	"context"
	"net/http"

	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/models"
	"github.com/twofold-iot/twofold/internal/profile"
	"github.com/twofold-iot/twofold/twin"
)

// Behaviours tell what twins do, and what their models say that they do.
type Behaviours interface {
	// Behaviour returns nil for a twin whose model has none.
	Behaviour(ctx context.Context, thing twin.ThingName, from, to twin.Time) (*models.Behaviour, error)
	State(thing twin.ThingName) model.StateMemory // the zero value: none is known
}

// behaviourDocument is what a model says that a twin does, beside what it did by the model,
// and what its past says by itself. Lengths are in seconds.
type behaviourDocument struct {
	DeviceID     twin.ThingName     `json:"deviceId"`
	Model        string             `json:"model,omitempty"`
	ModelVersion uint32             `json:"modelVersion,omitempty"`
	State        string             `json:"state,omitempty"` // left out: not known
	Since        string             `json:"since,omitempty"`
	Overrun      bool               `json:"overrun,omitempty"`  // it lasts longer than it may
	Declared     *declaredBehaviour `json:"declared,omitempty"` // left out: the model in force has no behaviour, or there is none
	Observed     *observedBehaviour `json:"observed,omitempty"` // the same
	Learned      learnedBehaviour   `json:"learned"`
}

// learnedBehaviour is what the past says of texts and truth values that have changed.
type learnedBehaviour struct {
	From       string             `json:"from"`
	To         string             `json:"to"`
	Complete   bool               `json:"complete"` // false: of the newest events, or some attributes
	Attributes []learnedAttribute `json:"attributes"`
}

type learnedAttribute struct {
	Of          string         `json:"of"`              // such as reported.mode or telemetry.door
	State       string         `json:"state,omitempty"` // the last
	States      []learnedState `json:"states"`
	Transitions []observedWay  `json:"transitions"`
}

type learnedState struct {
	State   string  `json:"state"`
	Share   float64 `json:"share"` // of the time that the attribute had a state
	Entered int     `json:"entered"`
	Left    int     `json:"left"`
	Median  float64 `json:"median,omitempty"`
	P95     float64 `json:"p95,omitempty"`
	Longest float64 `json:"longest,omitempty"`
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
		method: "GET", path: "/api/v1/twins/{id}/behaviour", name: "getBehaviour", summary: "Read the state of a thing, what its model says that it does, what it did in the last 30 days, and what its past says by itself",
		query: []string{"from", "to"}, answer: behaviourDocument{}, handler: d.getBehaviour,
	}, {
		method: "GET", path: "/api/v1/twins/{id}/profile", name: "getProfile", summary: "Read what the numbers of a thing were like at each hour of the week, over the last eight weeks",
		query: []string{"of", "zone", "from", "to"}, answer: profileDocument{}, handler: d.getProfile,
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
	from, to = d.lookBack(from, to, behaviourWindow)
	b, err := d.opts.Behaviours.Behaviour(r.Context(), key.Thing, from, to)
	if err != nil {
		return err
	}
	l, err := d.opts.Learner.States(r.Context(), key.Thing, from, to)
	if err != nil {
		return pastError(err)
	}
	doc := newBehaviourDocument(key.Thing, b)
	doc.Learned = learned(l)
	return writeJSON(w, doc)
}

// lookBack fills in the window of what a thing did: not after now, and so long if no start is
// given.
func (d *door) lookBack(from, to, length twin.Time) (start, end twin.Time) {
	if now := twin.TimeOf(d.opts.Now()) + 1; to == 0 || to > now {
		to = now
	}
	if from == 0 {
		from = max(1, to-length)
	}
	return min(from, to), to
}

func newBehaviourDocument(thing twin.ThingName, b *models.Behaviour) *behaviourDocument {
	doc := &behaviourDocument{DeviceID: thing}
	if b == nil {
		return doc
	}
	doc.Model, doc.ModelVersion, doc.State, doc.Since, doc.Overrun = b.Model, b.Version, b.State.State, timeText(b.State.Since), b.State.Overrun
	doc.Declared = declared(b.Declared)
	o := &b.Observed
	doc.Observed = &observedBehaviour{
		From: timeText(o.From), To: timeText(o.To), Complete: o.Complete, Early: o.Early, Overruns: o.Overruns,
		States: []observedState{}, Transitions: ways(o.Transitions),
	}
	for i := range o.States {
		doc.Observed.States = append(doc.Observed.States, newObservedState(&o.States[i]))
	}
	for _, t := range o.Transitions {
		doc.Observed.Illegal += t.Illegal
	}
	return doc
}

func newObservedState(s *profile.State) observedState {
	return observedState{s.Name, s.Entered, s.Left, inSeconds(s.Median), inSeconds(s.P95), inSeconds(s.Longest)}
}

func ways(transitions []profile.Transition) []observedWay {
	list := []observedWay{}
	for _, t := range transitions {
		list = append(list, observedWay{t.From, t.To, t.Count, t.Illegal, t.Share})
	}
	return list
}

// shareDigits is how many significant digits a share of the time has.
const shareDigits = 6

func learned(l *profile.Learned) learnedBehaviour {
	doc := learnedBehaviour{From: timeText(l.From), To: timeText(l.To), Complete: l.Complete, Attributes: []learnedAttribute{}}
	for i := range l.Attributes {
		a := &l.Attributes[i]
		all := twin.Time(0)
		for j := range a.States {
			all += a.States[j].Held
		}
		out := learnedAttribute{Of: a.Of, State: a.Now, States: []learnedState{}, Transitions: ways(a.Transitions)}
		for j := range a.States {
			s := &a.States[j]
			share := roundTo(float64(s.Held)/float64(max(all, 1)), shareDigits)
			out.States = append(out.States, learnedState{s.Name, share, s.Entered, s.Left, inSeconds(s.Median), inSeconds(s.P95), inSeconds(s.Longest)})
		}
		doc.Attributes = append(doc.Attributes, out)
	}
	return doc
}

func declared(b *model.Behaviour) *declaredBehaviour {
	doc := &declaredBehaviour{Initial: b.Initial}
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
