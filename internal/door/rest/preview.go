package rest

import (
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/models"
	"github.com/twofold-iot/twofold/twin"
)

// modelPreview is what a model would have told had it been in force. Lengths are in seconds.
type modelPreview struct {
	Model string `json:"model"`
	From  string `json:"from"`
	To    string `json:"to"`
	// Twins have the model; Replayed are those that were looked at as a whole, by name.
	Twins     int            `json:"twins"`
	Replayed  int            `json:"replayed"`
	Complete  bool           `json:"complete"`
	Updates   int            `json:"updates"`
	Samples   int            `json:"samples"`
	Alarms    []alarmPreview `json:"alarms"`
	Behaviour map[string]int `json:"behaviour,omitempty"` // events of the state machine, by type
}

type alarmPreview struct {
	Name     string       `json:"name"`
	Severity string       `json:"severity"`
	Count    int          `json:"count"`
	Twins    int          `json:"twins"`
	Held     float64      `json:"held"` // in all
	Longest  float64      `json:"longest"`
	Recorded int          `json:"recorded"` // raised in fact, by the models in force then
	Newest   []alarmRaise `json:"newest"`
}

type alarmRaise struct {
	DeviceID twin.ThingName `json:"deviceId"`
	From     string         `json:"from"`
	To       string         `json:"to,omitempty"` // left out: to the end
	Message  string         `json:"message,omitempty"`
}

// computedHistory is the past of a computed attribute.
type computedHistory struct {
	DeviceID     twin.ThingName  `json:"deviceId"`
	Model        string          `json:"model"`
	ModelVersion uint32          `json:"modelVersion"`
	Attribute    string          `json:"attribute"`
	Unit         string          `json:"unit,omitempty"`
	Points       []computedPoint `json:"points"` // where the value changes
	Until        string          `json:"until"`
	Complete     bool            `json:"complete"` // false: go on with until as from
}

type computedPoint struct {
	Time         string          `json:"time"`
	Version      twin.Version    `json:"version,omitempty"` // of the shadow
	Value        json.RawMessage `json:"value"`             // null: none
	ModelVersion uint32          `json:"modelVersion"`      // that made the value
	// Revised: it was computed for this answer, and Recorded, by RecordedBy, is what was
	// computed then; without RecordedBy nothing was.
	Revised    bool            `json:"revised,omitempty"`
	Recorded   json.RawMessage `json:"recorded,omitempty"`
	RecordedBy uint32          `json:"recordedBy,omitempty"`
}

func (d *door) previewRoutes() []route {
	return []route{
		{
			method: "POST", path: "/api/v1/models/{modelName}/preview", name: "previewModel",
			summary: "Replay the past of the twins of a model: how often would its alarms have been raised in the last 30 days; the body is a definition, or empty for the version in force",
			query:   []string{"from", "to", "thing"}, body: "", bodyTypes: []string{typeYAML, typeOctets}, answer: modelPreview{}, handler: d.previewModel,
		}, {
			method: "GET", path: "/api/v1/twins/{id}/computed/history", name: "getComputedHistory",
			summary: "Read the past of a computed attribute as it was recorded, or as the model in force revises it; without from and to of the last 24 hours",
			query:   []string{"attribute", "from", "to", "limit", "revise", "every"}, answer: computedHistory{}, handler: d.computedHistory,
		},
	}
}

// span reads from and to; what is left out is a length that ends now.
func (p *params) span(length twin.Time) (from, to twin.Time) {
	from, to = p.window()
	now := twin.TimeOf(p.now) + 1
	if to == 0 || to > now {
		to = now
	}
	if from == 0 {
		from = max(1, to-length)
	}
	if from > to {
		p.bad("from", "from: %s is after to: %s", timeText(from), timeText(to))
	}
	return from, to
}

func (d *door) previewModel(w http.ResponseWriter, r *http.Request) error {
	p := d.params(r)
	q := models.Ask{Name: r.PathValue("modelName"), Thing: twin.ThingName(p.text("thing"))}
	q.From, q.To = p.span(behaviourWindow)
	if p.err != nil {
		return p.err
	}
	if q.Thing != "" {
		if !q.Thing.Valid() {
			return badParam("thing", "thing: %.80q is no name of a thing", q.Thing)
		}
		if exists, err := d.exists(r, q.Thing); err != nil || !exists {
			return orNoTwin(err, q.Thing)
		}
	}
	var err error
	if q.Source, err = io.ReadAll(http.MaxBytesReader(w, r.Body, model.SourceBytesMax+1)); err != nil {
		return readError(err)
	}
	v, err := d.opts.Computed.Preview(r.Context(), q)
	if err != nil {
		return modelError(err, &models.Change{})
	}
	return writeJSON(w, newModelPreview(v))
}

func newModelPreview(v *models.Preview) *modelPreview {
	doc := &modelPreview{
		Model: v.Model, From: timeText(v.From), To: timeText(v.To), Twins: v.Twins, Replayed: v.Replayed, Complete: v.Replayed == v.Twins,
		Updates: v.Updates, Samples: v.Samples, Alarms: []alarmPreview{}, Behaviour: v.Behaviour,
	}
	for i := range v.Alarms {
		a := &v.Alarms[i]
		x := alarmPreview{a.Name, a.Severity.String(), a.Count, a.Twins, inSeconds(a.Held), inSeconds(a.Longest), a.Recorded, []alarmRaise{}}
		for _, raise := range a.Newest {
			x.Newest = append(x.Newest, alarmRaise{raise.Thing, timeText(raise.From), timeText(raise.To), raise.Message})
		}
		doc.Alarms = append(doc.Alarms, x)
	}
	return doc
}

const (
	computedWindow  twin.Time = 24 * 60 * 60 * 1000
	computedPoints            = 200 // of an attribute over time, if the distance is not given
	computedAtLeast           = time.Second
)

func (d *door) computedHistory(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	q := models.Line{Thing: key.Thing, Attribute: p.text("attribute"), Limit: p.limit(pageMax), Revise: p.choice("revise", "false", "true") == "true"}
	q.From, q.To = p.span(computedWindow)
	q.Every = p.every(q.To - q.From)
	if q.Attribute == "" {
		p.bad("attribute", "attribute: which computed attribute is missing")
	}
	if p.err != nil {
		return p.err
	}
	if q.Limit == 0 {
		q.Limit = pageMax
	}
	if exists, err := d.exists(r, key.Thing); err != nil || !exists {
		return orNoTwin(err, key.Thing)
	}
	if m := d.attributes(key.Thing).Model; m == "" {
		return d.noModel(key.Thing)
	}
	v, err := d.opts.Computed.Revise(r.Context(), q)
	if err != nil {
		return err
	}
	doc := computedHistory{DeviceID: key.Thing, Model: v.Model, ModelVersion: v.Version, Attribute: q.Attribute, Unit: v.Unit, Points: []computedPoint{}, Until: timeText(v.Until), Complete: v.Complete}
	for i := range v.Points {
		x := &v.Points[i]
		c := computedPoint{Time: timeText(x.Time), Version: x.Version, Value: x.Value.AppendJSON(nil), ModelVersion: x.Model, Revised: x.Revised, RecordedBy: x.By}
		if x.Revised && x.By != 0 {
			c.Recorded = x.Recorded.AppendJSON(nil)
		}
		doc.Points = append(doc.Points, c)
	}
	return writeJSON(w, doc)
}

// every reads the distance of points in a window.
func (p *params) every(window twin.Time) twin.Time {
	text := p.text("every")
	if text == "" {
		return max(twin.Time(computedAtLeast/time.Millisecond), window/computedPoints)
	}
	length, err := time.ParseDuration(text)
	if err != nil || length < computedAtLeast || length%time.Millisecond != 0 {
		p.bad("every", "every: %.80q is no duration of at least 1s such as 5m", text)
	}
	return max(1, twin.Time(length/time.Millisecond))
}
