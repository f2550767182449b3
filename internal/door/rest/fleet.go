package rest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/twin"
)

// Fleet answers queries over all twins.
type Fleet interface {
	Query(ctx context.Context, r *fleet.Request) (*fleet.Page, error)
	Aggregate(ctx context.Context, r *fleet.AggregateRequest) (*fleet.Aggregate, error)
	Changes(ctx context.Context, r *fleet.ChangesRequest) (*fleet.Changes, error)
	// Find lists all twins that a condition holds for.
	Find(ctx context.Context, condition string) ([]twin.ThingName, error)
	// Condition asks the same of one twin at a time.
	Condition(condition string) (*fleet.Condition, error)
}

// fleetPage is a part of what a query finds.
type fleetPage struct {
	Columns []string       `json:"columns"`
	Twins   []fleetTwin    `json:"twins"`
	Total   int            `json:"total"` // of all pages
	Next    string         `json:"next,omitempty"`
	Hints   []string       `json:"hints,omitempty"` // of paths that no twin has
	Explain *fleet.Explain `json:"explain,omitempty"`
}

// fleetTwin has a value for each column, null for what is absent.
type fleetTwin struct {
	DeviceID twin.ThingName `json:"deviceId"`
	Values   object         `json:"values"`
}

type fleetFigures struct {
	Groups  []fleetGroup   `json:"groups"`
	Total   int            `json:"total"`   // groups
	Matched int            `json:"matched"` // twins
	Hints   []string       `json:"hints,omitempty"`
	Explain *fleet.Explain `json:"explain,omitempty"`
}

type fleetGroup struct {
	Key     object `json:"key"`
	Twins   int    `json:"twins"`
	Figures object `json:"figures"`
}

func (d *door) fleetRoutes() []route {
	return []route{
		{
			method: "GET", path: "/api/v1/fleet", name: "getFleet", summary: "Find twins by a condition over their states, tags, telemetry, computed attributes and alarms",
			query: []string{"where", "select", "sort", "limit", "cursor", "at", "explain"}, answer: fleetPage{}, handler: d.getFleet,
		}, {
			method: "POST", path: "/api/v1/fleet/query", name: "queryFleet", summary: "The same with the query in the body",
			body: fleet.Request{}, answer: fleetPage{}, handler: d.queryFleet,
		}, {
			method: "POST", path: "/api/v1/fleet/aggregate", name: "aggregateFleet", summary: "Figures over twins, by group: counts, means, percentiles, most frequent values, histograms",
			body: fleet.AggregateRequest{}, answer: fleetFigures{}, handler: d.aggregateFleet,
		}, {
			method: "POST", path: "/api/v1/fleet/changes", name: "getFleetChanges", summary: "What is different between two instants: for which twins a condition has come to hold or holds no more, and what else has changed",
			body: fleet.ChangesRequest{}, answer: fleetChanges{}, handler: d.fleetChanges,
		}, {
			method: "POST", path: "/api/v1/fleet/act", name: "actOnFleet", summary: "Change desired or tags of all twins that a condition holds for, or send them a command; without expect say which those are",
			headers: []string{"Idempotency-Key"}, body: fleetAct{}, answer: fleetActed{}, handler: d.actOnFleet,
		},
	}
}

func (d *door) getFleet(w http.ResponseWriter, r *http.Request) error {
	p := d.params(r)
	q := fleet.Request{
		Where: p.text("where"), Select: p.values["select"], Sort: p.values["sort"],
		Limit: p.limit(fleet.LimitMax), Cursor: p.text("cursor"), At: p.text("at"), Explain: p.choice("explain", "false", "true") == "true",
	}
	if p.err != nil {
		return p.err
	}
	page, err := d.opts.Fleet.Query(r.Context(), &q)
	var at *fleet.Error
	if errors.As(err, &at) {
		return badParam(fleetParameter(at.Pointer), "%s: %s", fleetParameter(at.Pointer), at.Reason)
	}
	if err != nil {
		return err
	}
	linkNext(w, r, page.Next)
	return writeFleet(w, page)
}

// fleetParameter is the parameter that a place in a query comes from.
func fleetParameter(pointer string) string {
	for _, name := range []string{"where", "select", "sort", "limit", "cursor", "at"} {
		if len(pointer) > len(name) && pointer[1:1+len(name)] == name {
			return name
		}
	}
	return "where"
}

func (d *door) queryFleet(w http.ResponseWriter, r *http.Request) error {
	var q fleet.Request
	if err := d.decode(w, r, &q); err != nil {
		return err
	}
	page, err := d.opts.Fleet.Query(r.Context(), &q)
	if err != nil {
		return fleetError(err)
	}
	return writeFleet(w, page)
}

func writeFleet(w http.ResponseWriter, page *fleet.Page) error {
	answer := fleetPage{Columns: page.Columns, Twins: []fleetTwin{}, Total: page.Total, Next: page.Next, Hints: page.Hints, Explain: page.Explain}
	for i := range page.Rows {
		answer.Twins = append(answer.Twins, fleetTwin{page.Rows[i].ID, named(page.Columns, page.Rows[i].Values)})
	}
	return writeJSON(w, answer)
}

// named gives values their names.
func named(names []string, values []json.RawMessage) object {
	o := object{}
	for i, name := range names {
		o[name] = values[i]
	}
	return o
}

func (d *door) aggregateFleet(w http.ResponseWriter, r *http.Request) error {
	var q fleet.AggregateRequest
	if err := d.decode(w, r, &q); err != nil {
		return err
	}
	a, err := d.opts.Fleet.Aggregate(r.Context(), &q)
	if err != nil {
		return fleetError(err)
	}
	answer := fleetFigures{Groups: []fleetGroup{}, Total: a.Total, Matched: a.Matched, Hints: a.Hints, Explain: a.Explain}
	for i := range a.Groups {
		g := &a.Groups[i]
		answer.Groups = append(answer.Groups, fleetGroup{named(a.GroupBy, g.Key), g.Twins, named(a.Figures, g.Figures)})
	}
	return writeJSON(w, answer)
}

func fleetError(err error) error {
	var at *fleet.Error
	if errors.As(err, &at) {
		return badBody("#"+at.Pointer, "%s: %s", at.Pointer[1:], at.Reason)
	}
	return err
}
