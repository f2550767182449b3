package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// PastTwin reads a shadow as it was at an instant, or if that is zero, at a version.
func (c *Client) PastTwin(ctx context.Context, thing twin.ThingName, shadow twin.ShadowName, at time.Time, version twin.Version) (*Twin, error) {
	q := url.Values{}
	setText(q, "shadow", string(shadow))
	if at.IsZero() {
		q.Set("version", strconv.FormatUint(uint64(version), 10))
	} else {
		setTime(q, "at", at)
	}
	return c.readTwin(ctx, twinPath(thing, "", "")+"?"+q.Encode())
}

// HistoryQuery selects states of the past; the zero value is all of the classic shadow,
// newest first.
type HistoryQuery struct {
	Shadow     twin.ShadowName
	AllShadows bool
	From, To   time.Time // from <= time < to; zero: no bound
	Oldest     bool      // oldest first
	Patches    bool      // what was sent, not the states it made
	Limit      int       // of all pages together; 0: no limit
}

func (q *HistoryQuery) values() url.Values {
	v := url.Values{}
	setText(v, "shadow", string(q.Shadow))
	setTime(v, "from", q.From)
	setTime(v, "to", q.To)
	if q.AllShadows {
		v.Set("allShadows", "true")
	}
	if q.Oldest {
		v.Set("order", "oldest")
	}
	if q.Patches {
		v.Set("form", "patches")
	}
	return v
}

// PastState is a shadow after one of its events, or with Patches what was sent.
type PastState struct {
	Timestamp   time.Time       `json:"timestamp"`
	Thing       twin.ThingName  `json:"thing"` // in the history of a fleet
	Shadow      twin.ShadowName `json:"shadow"`
	Version     twin.Version    `json:"version"`
	Seq         twin.Seq        `json:"seq"`
	Kind        string          `json:"kind"`
	Door        string          `json:"door"`
	By          string          `json:"by"`
	Correlation string          `json:"correlationId"`
	Reported    json.RawMessage `json:"reported"`
	Desired     json.RawMessage `json:"desired"`
	Patch       json.RawMessage `json:"patch"`

	Raw json.RawMessage `json:"-"` // as sent
}

// History reads the past of a thing page by page as the loop goes on; an error ends it.
func (c *Client) History(ctx context.Context, thing twin.ThingName, q HistoryQuery) iter.Seq2[PastState, error] {
	return c.states(ctx, twinPath(thing, "/history", ""), q.values(), q.Limit)
}

// FleetHistory reads the past of all things of a model, in order of time.
func (c *Client) FleetHistory(ctx context.Context, model string, q HistoryQuery) iter.Seq2[PastState, error] {
	v := q.values()
	v.Del("shadow")
	v.Del("allShadows")
	v.Set("model", model)
	return c.states(ctx, "/api/v1/history", v, q.Limit)
}

func (c *Client) states(ctx context.Context, path string, v url.Values, limit int) iter.Seq2[PastState, error] {
	return func(yield func(PastState, error) bool) {
		for raw, err := range c.items(ctx, path, v, "states", limit) {
			st := PastState{Raw: raw}
			if err == nil {
				err = json.Unmarshal(raw, &st)
			}
			if !yield(st, err) || err != nil {
				return
			}
		}
	}
}

// HistoryTable reads one page of history as CSV, with a column per path.
func (c *Client) HistoryTable(ctx context.Context, thing twin.ThingName, q HistoryQuery) ([]byte, error) {
	return c.table(ctx, twinPath(thing, "/history", ""), q.values(), q.Limit)
}

// FleetHistoryTable reads one page of the history of a fleet as CSV.
func (c *Client) FleetHistoryTable(ctx context.Context, model string, q HistoryQuery) ([]byte, error) {
	v := q.values()
	v.Set("model", model)
	return c.table(ctx, "/api/v1/history", v, q.Limit)
}

func (c *Client) table(ctx context.Context, path string, v url.Values, limit int) ([]byte, error) {
	v.Set("format", "csv")
	if limit > 0 {
		v.Set("limit", strconv.Itoa(limit))
	}
	a, err := c.do(ctx, http.MethodGet, path+"?"+v.Encode(), nil, nil)
	return a.body, err
}

// EventQuery searches the event log of a thing; empty fields let all pass.
type EventQuery struct {
	Kinds       []string // updated, rejected, connected, reported, …
	Severity    string   // the least: info, warning, error, critical
	Type        string
	Text        string // in any part of an event
	Correlation string
	From, To    time.Time
	Oldest      bool // oldest first
	Limit       int  // of all pages together; 0: no limit
}

// Event is an event of a thing.
type Event struct {
	Thing       twin.ThingName  `json:"thing"`
	Shadow      twin.ShadowName `json:"shadow"`
	Seq         twin.Seq        `json:"seq"`
	Kind        string          `json:"kind"`
	Version     twin.Version    `json:"version"`
	Time        time.Time       `json:"time"`
	OriginTime  time.Time       `json:"originTime"` // when it happened, if not at Time
	Door        string          `json:"door"`
	By          string          `json:"by"`
	Model       string          `json:"model"`
	Type        string          `json:"type"`
	Severity    string          `json:"severity"`
	Message     string          `json:"message"`
	Correlation string          `json:"correlationId"`
	Data        json.RawMessage `json:"data"`
	Patch       json.RawMessage `json:"patch"`

	Raw json.RawMessage `json:"-"` // as sent
}

// Events searches the event log of a thing page by page as the loop goes on; an error
// ends it.
func (c *Client) Events(ctx context.Context, thing twin.ThingName, q EventQuery) iter.Seq2[Event, error] {
	v := url.Values{}
	for _, k := range q.Kinds {
		v.Add("kind", k)
	}
	setText(v, "severity", q.Severity)
	setText(v, "type", q.Type)
	setText(v, "text", q.Text)
	setText(v, "correlation", q.Correlation)
	setTime(v, "from", q.From)
	setTime(v, "to", q.To)
	if q.Oldest {
		v.Set("order", "oldest")
	}
	return func(yield func(Event, error) bool) {
		for raw, err := range c.items(ctx, twinPath(thing, "/events", ""), v, "events", q.Limit) {
			ev := Event{Raw: raw}
			if err == nil {
				err = json.Unmarshal(raw, &ev)
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// Difference is what changed between two points in the past of a shadow.
type Difference struct {
	DeviceID twin.ThingName  `json:"deviceId"`
	Shadow   twin.ShadowName `json:"shadow"`
	From     DifferenceSide  `json:"from"`
	To       DifferenceSide  `json:"to"`
	Changes  []PathChange    `json:"changes"`
	Patch    json.RawMessage `json:"patch"`

	Raw json.RawMessage `json:"-"` // as sent
}

// DifferenceSide is one of the two states.
type DifferenceSide struct {
	Exists    bool         `json:"exists"`
	Version   twin.Version `json:"version"`
	Timestamp time.Time    `json:"timestamp"`
}

// PathChange is one path that differs.
type PathChange struct {
	Path   string          `json:"path"`
	Op     string          `json:"op"` // added, removed, changed
	Before json.RawMessage `json:"before"`
	After  json.RawMessage `json:"after"`
}

// Diff compares a shadow at two points, each an RFC 3339 time or a version such as v12;
// no second point is now.
func (c *Client) Diff(ctx context.Context, thing twin.ThingName, shadow twin.ShadowName, from, to string) (*Difference, error) {
	v := url.Values{"from": {from}}
	setText(v, "shadow", string(shadow))
	setText(v, "to", to)
	a, err := c.do(ctx, http.MethodGet, twinPath(thing, "/diff", "")+"?"+v.Encode(), nil, nil)
	if err != nil {
		return nil, err
	}
	d := &Difference{Raw: a.body}
	if err := json.Unmarshal(a.body, d); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return d, nil
}

// items reads the raw members of a list page by page.
func (c *Client) items(ctx context.Context, path string, v url.Values, list string, limit int) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		for left := limit; ; {
			ask := c.opts.PageLen
			if limit > 0 {
				ask = min(ask, left)
			}
			v.Set("limit", strconv.Itoa(ask))
			var page map[string]json.RawMessage
			var items []json.RawMessage
			var next string
			a, err := c.do(ctx, http.MethodGet, path+"?"+v.Encode(), nil, nil)
			if err == nil {
				err = json.Unmarshal(a.body, &page)
			}
			if err == nil {
				err = json.Unmarshal(page[list], &items)
			}
			if err == nil && page["next"] != nil {
				err = json.Unmarshal(page["next"], &next)
			}
			if err != nil {
				yield(nil, fmt.Errorf("read %s: %w", path, err))
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			left -= len(items)
			if next == "" || limit > 0 && left <= 0 {
				return
			}
			v.Set("cursor", next)
		}
	}
}

func setText(v url.Values, name, text string) {
	if text != "" {
		v.Set(name, text)
	}
}

func setTime(v url.Values, name string, t time.Time) {
	if !t.IsZero() {
		v.Set(name, t.UTC().Format(time.RFC3339Nano))
	}
}

// NewEvent is something to add to the event log of a thing.
type NewEvent struct {
	Type        string          `json:"type"` // "error", "ota", …
	Message     string          `json:"message,omitempty"`
	Severity    string          `json:"severity,omitempty"` // info, warning, error, critical
	Correlation string          `json:"correlationId,omitempty"`
	Time        time.Time       `json:"time,omitzero"` // when it happened, if not now
	Data        json.RawMessage `json:"data,omitempty"`
}

// AddEvent adds an event to the log of a thing that exists.
func (c *Client) AddEvent(ctx context.Context, thing twin.ThingName, n NewEvent) (*Event, error) {
	ev := &Event{}
	raw, err := c.send(ctx, http.MethodPost, twinPath(thing, "/events", ""), n, ev)
	ev.Raw = raw
	return ev, err
}

// Attributes are what is said of a twin beside its shadows.
type Attributes struct {
	DeviceID twin.ThingName    `json:"deviceId"`
	Model    string            `json:"model,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Created  time.Time         `json:"created,omitzero"`

	Raw json.RawMessage `json:"-"` // as sent
}

// Create makes a twin, with model and tags if they are given.
func (c *Client) Create(ctx context.Context, a Attributes) (*Attributes, error) {
	a.Created = time.Time{} // the server says when
	made := &Attributes{}
	raw, err := c.send(ctx, http.MethodPost, "/api/v1/twins", a, made)
	made.Raw = raw
	return made, err
}

// SetAttributes changes model and tags of a twin. A nil model stays; an empty one is
// removed, as is a tag whose value is nil.
func (c *Client) SetAttributes(ctx context.Context, thing twin.ThingName, model *string, tags map[string]*string) (*Attributes, error) {
	patch := map[string]any{}
	if model != nil {
		patch["model"] = model
		if *model == "" {
			patch["model"] = nil
		}
	}
	if len(tags) > 0 {
		patch["tags"] = tags
	}
	now := &Attributes{}
	raw, err := c.send(ctx, http.MethodPatch, twinPath(thing, "", ""), patch, now)
	now.Raw = raw
	return now, err
}

// send sends a JSON document and reads the answer into another.
func (c *Client) send(ctx context.Context, method, path string, body, into any) (json.RawMessage, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("write the request %s %s: %w", method, path, err)
	}
	a, err := c.do(ctx, method, path, http.Header{"Content-Type": {"application/json"}}, b)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return a.body, nil
}
