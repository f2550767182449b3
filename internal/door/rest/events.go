package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of an event that somebody reports.
const (
	eventTypeBytesMax        = 64
	eventMessageBytesMax     = 2048
	eventCorrelationBytesMax = 128
	eventDataBytesMax        = 8192
)

type eventPage struct {
	DeviceID twin.ThingName   `json:"deviceId"`
	Events   []*eventDocument `json:"events"`
	Next     string           `json:"next,omitempty"`
}

// getEvents searches the log of a thing.
func (d *door) getEvents(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	f := history.Filter{Text: p.text("text"), Correlation: p.text("correlation"), Type: p.text("type")}
	f.From, f.To = p.window()
	if f.Kinds, err = kindsOf(p.values["kind"]); err != nil {
		p.bad("kind", "%s", err.Error())
	}
	severity := p.choice("severity", "", "info", "warning", "error", "critical")
	f.SeverityMin, _ = twin.ParseSeverity(severity)
	q := history.LogQuery{
		Thing: key.Thing, Filter: f, Newest: p.choice("order", "newest", "oldest") == "newest",
		Limit: p.limit(history.PageMax), Cursor: p.cursor(),
	}
	format := p.choice("format", asJSON, asNDJSON)
	if p.err != nil {
		return p.err
	}
	page, err := d.opts.Past.Log(r.Context(), q)
	if err != nil {
		return pastError(err)
	}
	if len(page.Events) == 0 {
		if err := d.mustBeKnown(r, key); err != nil {
			return err
		}
	}
	answer := eventPage{DeviceID: key.Thing, Events: make([]*eventDocument, len(page.Events)), Next: string(page.Next)}
	for i := range page.Events {
		answer.Events[i] = newEventDocument(&page.Events[i])
	}
	linkNext(w, r, answer.Next)
	if format == asNDJSON {
		return writeLines(w, answer.Events)
	}
	return writeJSON(w, answer)
}

// newEvent is what a caller says of an event.
type newEvent struct {
	Type        string          `json:"type"`
	Message     string          `json:"message,omitempty"`
	Severity    string          `json:"severity,omitempty"` // info, warning, error, critical
	Correlation string          `json:"correlationId,omitempty"`
	Time        *time.Time      `json:"time,omitempty"` // when it happened, if not now
	Data        json.RawMessage `json:"data,omitempty"`
}

// check returns the event, or what is wrong with it and where.
func (n *newEvent) check(now time.Time) (ev twin.Event, err error) {
	severity, known := twin.ParseSeverity(n.Severity)
	var data bytes.Buffer
	if len(n.Data) > 0 {
		if err := json.Compact(&data, n.Data); err != nil {
			return ev, badBody("#/data", "data: %v", err)
		}
	}
	switch {
	case n.Type == "" || len(n.Type) > eventTypeBytesMax || !printable(n.Type):
		return ev, badBody("#/type", `type: %.80q is not 1 to %d printable bytes, such as "error" or "ota"`, n.Type, eventTypeBytesMax)
	case len(n.Message) > eventMessageBytesMax:
		return ev, badBody("#/message", "message: %d bytes are over the limit of %d", len(n.Message), eventMessageBytesMax)
	case !known:
		return ev, badBody("#/severity", "severity: %.80q is none of info, warning, error, critical", n.Severity)
	case len(n.Correlation) > eventCorrelationBytesMax:
		return ev, badBody("#/correlationId", "correlationId: %d bytes are over the limit of %d", len(n.Correlation), eventCorrelationBytesMax)
	case data.Len() > eventDataBytesMax:
		return ev, badBody("#/data", "data: %d bytes are over the limit of %d", data.Len(), eventDataBytesMax)
	}
	ev = twin.Event{
		Kind: twin.EventReported, Type: n.Type, Severity: severity, Message: n.Message,
		Correlation: n.Correlation, Data: data.Bytes(),
	}
	if n.Time != nil {
		switch t := *n.Time; {
		case t.UnixMilli() < 1:
			return ev, badBody("#/time", "time: %s is not after 1970", t.Format(time.RFC3339))
		case t.Sub(now) > stateAheadMax:
			return ev, badBody("#/time", "time: %s is in the future; it is %s now", t.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		default:
			ev.OriginTime = twin.TimeOf(t)
		}
	}
	return ev, nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError })
}

// postEvent adds an event to the log of a thing that exists.
func (d *door) postEvent(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	var n newEvent
	if err := d.decode(w, r, &n); err != nil {
		return err
	}
	ev, err := n.check(d.opts.Now())
	if err != nil {
		return err
	}
	ev.Thing, ev.Origin = key.Thing, origin(r)
	res := d.append(r.Context(), twin.Entry{Event: ev, IfExists: true})
	switch {
	case res.Err != nil:
		return res.Err
	case !res.Written:
		return noTwin(key.Thing)
	}
	return writeStatus(w, http.StatusCreated, newEventDocument(&res.Event))
}

func noTwin(thing twin.ThingName) error {
	return &problem{slug: slugNotFound, Detail: fmt.Sprintf("there is no twin of %s; its first update makes one, or POST /api/v1/twins", thing)}
}

func origin(r *http.Request) twin.Origin {
	return twin.Origin{Door: twin.DoorREST, Session: caller(r)}
}

// append waits for the outcome of an entry. If the client goes away first, the entry
// still takes its course.
func (d *door) append(ctx context.Context, en twin.Entry) twin.EntryResult {
	results := make(chan twin.EntryResult, 1)
	if err := d.opts.Twins.Append(en, func(r twin.EntryResult) { results <- r }); err != nil {
		return twin.EntryResult{Err: err}
	}
	select {
	case r := <-results:
		return r
	case <-ctx.Done():
		return twin.EntryResult{Err: errNotKnown(ctx)}
	}
}

func errNotKnown(ctx context.Context) error {
	return &twin.Error{Kind: twin.KindUnavailable, Message: "the request ended before its outcome was known", Err: ctx.Err()}
}

// decode reads a JSON object with no members but those of v.
func (d *door) decode(w http.ResponseWriter, r *http.Request, v any) error {
	return d.decodeUpTo(w, r, d.opts.BodyBytesMax, v)
}

func (d *door) decodeUpTo(w http.ResponseWriter, r *http.Request, bytesMax int64, v any) error {
	if err := mergePatchType(r.Header.Get("Content-Type")); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bytesMax))
	if err != nil {
		return readError(err)
	}
	if !utf8.Valid(body) {
		return &problem{slug: slugEncoding, Detail: "the body is not UTF-8"}
	}
	return decodeBody(body, v)
}

func decodeBody(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind) && kind.Field != "":
		return badBody("#/"+strings.ReplaceAll(kind.Field, ".", "/"), "%s: a %s is not what belongs there", kind.Field, kind.Value)
	case err != nil:
		if name, ok := strings.CutPrefix(err.Error(), `json: unknown field "`); ok {
			name = strings.TrimSuffix(name, `"`)
			return badBody("#/"+name, "%s: there is no such member", name)
		}
		return badBody("#", "the body is not a JSON object of this kind: %v", err)
	case dec.More():
		return badBody("#", "the body is more than one JSON value")
	}
	return nil
}

func badBody(pointer, format string, args ...any) error {
	return &problem{slug: slugInvalid, Detail: fmt.Sprintf(format, args...), Pointer: pointer}
}
