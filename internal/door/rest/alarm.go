package rest

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/models"
	"github.com/twofold-iot/twofold/twin"
)

// Alarms are the alarms of twins by their models.
type Alarms interface {
	Alarms(thing twin.ThingName) ([]models.Alarm, bool) // false: no model is in force
	Raised() []models.Alarm                             // of all twins, newest first
	Acknowledge(ctx context.Context, thing twin.ThingName, alarm, who string, o twin.Origin) error
	// Mute marks what an alarm tells until a time; 0: no longer.
	Mute(ctx context.Context, thing twin.ThingName, alarm string, until twin.Time, o twin.Origin) error
}

// alarmDocument is one alarm of one twin.
type alarmDocument struct {
	DeviceID twin.ThingName `json:"deviceId,omitempty"` // in a list over twins
	Model    string         `json:"model,omitempty"`
	Name     string         `json:"name"`
	State    string         `json:"state"`
	Severity string         `json:"severity,omitempty"`
	// Since is when the condition began to hold; of a raised alarm, when it was raised.
	Since string `json:"since,omitempty"`
	Muted string `json:"mutedUntil,omitempty"`
	By    string `json:"acknowledgedBy,omitempty"`
}

func newAlarmDocument(a *models.Alarm) alarmDocument {
	return alarmDocument{
		Name: a.Name, State: alarmState(a.State), Severity: a.Severity.String(), Since: timeText(a.Since), Muted: timeText(a.MutedUntil), By: a.By,
	}
}

func alarmState(s model.AlarmState) string {
	return [...]string{model.AlarmIdle: "idle", model.AlarmPending: "pending", model.AlarmActive: "raised", model.AlarmAcked: "acknowledged"}[s]
}

type twinAlarms struct {
	DeviceID twin.ThingName  `json:"deviceId"`
	Model    string          `json:"model"`
	Alarms   []alarmDocument `json:"alarms"`
}

// raisedAlarms are the newest of Total.
type raisedAlarms struct {
	Alarms []alarmDocument `json:"alarms"`
	Total  int             `json:"total"`
}

const muteMax = 366 * 24 * time.Hour

func (d *door) alarmRoutes() []route {
	return []route{
		{
			method: "GET", path: "/api/v1/alarms", name: "listAlarms", summary: "List the alarms of all twins that are raised, newest first",
			query: []string{"severity", "model", "limit"}, answer: raisedAlarms{}, handler: d.listAlarms,
		}, {
			method: "GET", path: "/api/v1/twins/{id}/alarms", name: "getAlarms", summary: "List the alarms that the model of a thing has, and where they stand",
			answer: twinAlarms{}, handler: d.getAlarms,
		}, {
			method: "POST", path: "/api/v1/twins/{id}/alarms/{alarm}/acknowledge", name: "acknowledgeAlarm", summary: "Say that somebody has seen a raised alarm",
			query: []string{"by"}, answer: twinAlarms{}, handler: d.acknowledge,
		}, {
			method: "POST", path: "/api/v1/twins/{id}/alarms/{alarm}/mute", name: "muteAlarm", summary: "Mark what an alarm tells as muted for a time",
			query: []string{"for"}, answer: twinAlarms{}, handler: d.mute,
		},
	}
}

func (d *door) listAlarms(w http.ResponseWriter, r *http.Request) error {
	p := d.params(r)
	least, _ := twin.ParseSeverity(p.choice("severity", "info", "warning", "error", "critical"))
	name := p.text("model")
	limit := int(p.number("limit", pageMax))
	if p.err != nil {
		return p.err
	}
	if limit == 0 {
		limit = pageDefault
	}
	answer := raisedAlarms{Alarms: []alarmDocument{}}
	raised := d.opts.Alarms.Raised()
	for i := range raised {
		a := &raised[i]
		if a.Severity < least || name != "" && a.Model != name {
			continue
		}
		if answer.Total++; len(answer.Alarms) < limit {
			doc := newAlarmDocument(a)
			doc.DeviceID, doc.Model = a.Thing, a.Model
			answer.Alarms = append(answer.Alarms, doc)
		}
	}
	return writeJSON(w, answer)
}

func (d *door) getAlarms(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	if exists, err := d.exists(r, key.Thing); err != nil || !exists {
		return orNoTwin(err, key.Thing)
	}
	return d.writeAlarms(w, key.Thing)
}

func (d *door) writeAlarms(w http.ResponseWriter, thing twin.ThingName) error {
	list, ok := d.opts.Alarms.Alarms(thing)
	if !ok {
		return d.noModel(thing)
	}
	answer := twinAlarms{DeviceID: thing, Model: d.attributes(thing).Model, Alarms: []alarmDocument{}}
	for i := range list {
		answer.Alarms = append(answer.Alarms, newAlarmDocument(&list[i]))
	}
	return writeJSON(w, answer)
}

func (d *door) acknowledge(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	who := d.params(r).text("by")
	if who == "" {
		who = caller(r)
	}
	if err := d.opts.Alarms.Acknowledge(r.Context(), key.Thing, r.PathValue("alarm"), who, origin(r)); err != nil {
		return err
	}
	return d.writeAlarms(w, key.Thing)
}

func (d *door) mute(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	text := d.params(r).text("for")
	length, err := time.ParseDuration(text)
	if err != nil || length < 0 || length > muteMax {
		return badParam("for", "for: %.80q is no duration between 0s and 8784h such as 2h", text)
	}
	until := twin.Time(0)
	if length > 0 {
		until = twin.TimeOf(d.opts.Now().Add(length))
	}
	if err := d.opts.Alarms.Mute(r.Context(), key.Thing, r.PathValue("alarm"), until, origin(r)); err != nil {
		return err
	}
	return d.writeAlarms(w, key.Thing)
}

// noModel says why a thing has nothing that a model gives.
func (d *door) noModel(thing twin.ThingName) error {
	name := d.attributes(thing).Model
	if name == "" {
		return &problem{slug: slugNotFound, Detail: string(thing) + " has no model; PATCH gives it one"}
	}
	return &problem{slug: slugNotFound, Detail: fmt.Sprintf("%s has the model %q, which is not in force; PUT /api/v1/models/%s puts it there", thing, name, name)}
}
