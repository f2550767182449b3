package rest

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/twin"
)

// pastState is a shadow after one of its events; without states, what was sent.
type pastState struct {
	Timestamp   string          `json:"timestamp"`
	Thing       twin.ThingName  `json:"thing,omitempty"`  // in the history of a fleet
	Shadow      twin.ShadowName `json:"shadow,omitempty"` // empty: the classic one
	Version     twin.Version    `json:"version"`
	Seq         twin.Seq        `json:"seq"`
	Kind        string          `json:"kind"`
	Recorded    string          `json:"recorded,omitempty"` // when a late state came in
	Door        string          `json:"door,omitempty"`
	By          string          `json:"by,omitempty"`
	Correlation string          `json:"correlationId,omitempty"`
	Reported    json.RawMessage `json:"reported,omitempty"`
	Desired     json.RawMessage `json:"desired,omitempty"`
	Patch       json.RawMessage `json:"patch,omitempty"`
	// Computed is what the event changed of the computed attributes; null: gone.
	Computed     json.RawMessage `json:"computed,omitempty"`
	ModelVersion uint32          `json:"modelVersion,omitempty"`
}

// pastStates are the states of a page.
func pastStates(states []history.State) []*pastState {
	list := make([]pastState, len(states)) // in one piece: there may be ten thousand
	refs := make([]*pastState, len(states))
	for i := range states {
		list[i].set(&states[i])
		refs[i] = &list[i]
	}
	return refs
}

func (p *pastState) set(st *history.State) {
	ev := &st.Event
	*p = pastState{
		Timestamp: timeText(instant(ev)), Shadow: ev.Shadow, Version: ev.Version, Seq: ev.Seq,
		Kind: ev.Kind.String(), By: ev.Origin.Session, Correlation: ev.Correlation,
		Computed: ev.Computed, ModelVersion: ev.ModelVersion,
	}
	if ev.Origin.Door != 0 {
		p.Door = ev.Origin.Door.String()
	}
	if instant(ev) != ev.Time {
		p.Recorded = timeText(ev.Time)
	}
	switch s := st.Shadow; {
	case s == nil:
		p.Patch = ev.Patch
	case s.Exists():
		room := make([]byte, 0, s.JSONBytes())
		if s.Reported != nil {
			room = s.Reported.AppendJSON(room)
			p.Reported = room[:len(room):len(room)]
		}
		if s.Desired != nil {
			p.Desired = s.Desired.AppendJSON(room)[len(room):]
		}
	}
}

type historyPage struct {
	DeviceID twin.ThingName  `json:"deviceId,omitempty"`
	Shadow   twin.ShadowName `json:"shadow,omitempty"`
	Model    string          `json:"model,omitempty"`
	States   []*pastState    `json:"states"`
	Next     string          `json:"next,omitempty"` // cursor of the next page
}

// The forms in which history is served.
const (
	asStates, asPatches     = "states", "patches"
	asJSON, asNDJSON, asCSV = "json", "ndjson", "csv"
)

// getHistory answers with a page of the history of a shadow, or of all of a thing.
func (d *door) getHistory(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	q := history.Query{
		Key: key, AllShadows: p.choice("allShadows", "false", "true") == "true",
		FromVersion: twin.Version(p.number("fromVersion", versionMax)), ToVersion: twin.Version(p.number("toVersion", versionMax)),
		Newest: p.choice("order", "newest", "oldest") == "newest",
		Limit:  p.limit(history.PageMax), Cursor: p.cursor(), Form: formOf(p),
	}
	q.From, q.To = p.window()
	format := p.choice("format", asJSON, asNDJSON, asCSV)
	if q.FromVersion != 0 && q.ToVersion != 0 && q.FromVersion > q.ToVersion {
		p.bad("fromVersion", "fromVersion: %d is after toVersion: %d", q.FromVersion, q.ToVersion)
	}
	if p.err != nil {
		return p.err
	}
	page, err := d.opts.Past.States(r.Context(), q)
	if err != nil {
		return pastError(err)
	}
	if len(page.States) == 0 {
		if err := d.mustBeKnown(r, key); err != nil {
			return err
		}
	}
	answer := &historyPage{DeviceID: key.Thing, Shadow: key.Shadow, States: pastStates(page.States), Next: string(page.Next)}
	return writeHistory(w, r, answer, format)
}

func formOf(p *params) history.Form {
	if p.choice("form", asStates, asPatches) == asPatches {
		return history.Patches
	}
	return history.States
}

// mustBeKnown tells a thing without history in a window from one that never was.
func (d *door) mustBeKnown(r *http.Request, key twin.ShadowKey) error {
	contact, err := d.opts.Past.Contact(r.Context(), key.Thing, twin.TimeOf(d.opts.Now()))
	if err != nil {
		return err
	}
	if contact.FirstContact == 0 {
		return &problem{slug: slugNotFound, Detail: fmt.Sprintf("nothing is known of %s", key.Thing)}
	}
	return nil
}

// fleetHistory answers with a page of the history of all things of a model.
func (d *door) fleetHistory(w http.ResponseWriter, r *http.Request) error {
	p := d.params(r)
	q := history.FleetQuery{
		Model: p.text("model"), Newest: p.choice("order", "newest", "oldest") == "newest",
		Limit: p.limit(history.FleetPageMax), Cursor: p.cursor(), Form: formOf(p),
	}
	q.From, q.To = p.window()
	format := p.choice("format", asJSON, asNDJSON, asCSV)
	if q.Model == "" {
		p.bad("model", "model: the history of a fleet needs a model")
	}
	if p.err != nil {
		return p.err
	}
	page, err := d.opts.Past.Fleet(r.Context(), q)
	if err != nil {
		return pastError(err)
	}
	answer := &historyPage{Model: q.Model, States: pastStates(page.States), Next: string(page.Next)}
	for i, st := range answer.States {
		st.Thing = page.States[i].Event.Thing
	}
	return writeHistory(w, r, answer, format)
}

func writeHistory(w http.ResponseWriter, r *http.Request, page *historyPage, format string) error {
	linkNext(w, r, page.Next)
	switch format {
	case asNDJSON:
		return writeStates(w, page.States)
	case asCSV:
		return writeTable(w, page.States)
	}
	b, err := page.appendJSON(make([]byte, 0, pastStateBytes*(1+len(page.States))))
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // the client may be gone
	return nil
}

// pastStateBytes is about what a small state takes.
const pastStateBytes = 256

// writeStates writes one state per line.
func writeStates(w http.ResponseWriter, states []*pastState) error {
	b := make([]byte, 0, pastStateBytes*len(states))
	for _, st := range states {
		var err error
		if b, err = st.appendJSON(b); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		b = append(b, '\n')
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	_, _ = w.Write(b) // the client may be gone
	return nil
}

// writeLines writes one JSON value per line.
func writeLines[T any](w http.ResponseWriter, list []T) error {
	var b bytes.Buffer
	for _, item := range list {
		line, err := marshal(item)
		if err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		b.Write(line)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	_, _ = w.Write(b.Bytes()) // the client may be gone
	return nil
}

// writeTable writes CSV (RFC 4180): a column for each path that any of the states has, in
// the order in which they come up.
func writeTable(w http.ResponseWriter, states []*pastState) error {
	columns := []string{"timestamp", "thing", "shadow", "version", "seq", "kind", "door", "by"}
	fixed := len(columns)
	index := map[string]int{}
	rows := make([]map[int]string, len(states))
	for i, st := range states {
		rows[i] = map[int]string{}
		for _, part := range []struct {
			name string
			doc  json.RawMessage
		}{{"reported", st.Reported}, {"desired", st.Desired}, {"patch", st.Patch}} {
			err := flatten(part.name, part.doc, func(path, value string) {
				at, ok := index[path]
				if !ok {
					at = len(columns)
					index[path], columns = at, append(columns, path)
				}
				rows[i][at] = value
			})
			if err != nil {
				return err
			}
		}
	}
	var b bytes.Buffer
	table := csv.NewWriter(&b)
	_ = table.Write(columns) // a buffer never fails
	for i, st := range states {
		cells := make([]string, len(columns))
		copy(cells, []string{
			st.Timestamp, string(st.Thing), string(st.Shadow), strconv.FormatUint(uint64(st.Version), 10),
			strconv.FormatUint(uint64(st.Seq), 10), st.Kind, st.Door, cell(st.By),
		})
		for at := fixed; at < len(columns); at++ {
			cells[at] = rows[i][at]
		}
		_ = table.Write(cells)
	}
	table.Flush()
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	_, _ = w.Write(b.Bytes()) // the client may be gone
	return nil
}

// flatten calls found for each value under a name that is not a non-empty object.
func flatten(path string, value json.RawMessage, found func(path, value string)) error {
	if len(value) == 0 {
		return nil
	}
	if value[0] != '{' || len(bytes.TrimSpace(value[1:len(value)-1])) == 0 {
		found(path, scalar(value))
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(value))
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("flatten a state: %w", err)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return fmt.Errorf("flatten a state: %w", err)
		}
		var inner json.RawMessage
		if err := dec.Decode(&inner); err != nil {
			return fmt.Errorf("flatten a state: %w", err)
		}
		text, _ := name.(string) // a key always is one
		if text == "" || strings.ContainsAny(text, ".\"\n\r") {
			quoted, err := marshal(text)
			if err != nil {
				return err
			}
			text = string(bytes.TrimSpace(quoted))
		}
		if err := flatten(path+"."+text, inner, found); err != nil {
			return err
		}
	}
	return nil
}

// scalar writes a value for a cell: a string without its quotes.
func scalar(value json.RawMessage) string {
	var s string
	if value[0] == '"' && json.Unmarshal(value, &s) == nil && !json.Valid([]byte(s)) {
		return cell(s)
	}
	return string(value)
}

// cell quotes text that a spreadsheet would take for a formula.
func cell(s string) string {
	if s != "" && slices.Contains([]byte("=+-@\t\r"), s[0]) {
		b, err := marshal(s)
		if err == nil {
			return string(bytes.TrimSpace(b))
		}
	}
	return s
}

type diffDocument struct {
	DeviceID twin.ThingName  `json:"deviceId"`
	Shadow   twin.ShadowName `json:"shadow,omitempty"`
	From     diffSide        `json:"from"`
	To       diffSide        `json:"to"`
	Changes  []pathChange    `json:"changes"`
	// Patch turns the state of From into that of To (RFC 7396).
	Patch json.RawMessage `json:"patch"`
}

type diffSide struct {
	Exists    bool         `json:"exists"`
	Version   twin.Version `json:"version,omitempty"`
	Timestamp string       `json:"timestamp,omitempty"` // of the event that made it
	Seq       twin.Seq     `json:"seq,omitempty"`
}

type pathChange struct {
	Path   string          `json:"path"`
	Op     string          `json:"op"` // added, removed, changed
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// getDiff answers with what changed between two points, of which the second is now
// if it is not given.
func (d *door) getDiff(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	from, to := p.point("from"), p.point("to")
	if p.text("from") == "" {
		p.bad("from", "from: diff needs a time, or a version such as v12")
	}
	if p.text("to") == "" {
		to.Time = twin.TimeOf(p.now)
	}
	if from.Time != 0 && to.Time != 0 && from.Time > to.Time {
		p.bad("from", "from: %s is after to: %s", p.text("from"), timeText(to.Time))
	}
	if p.err != nil {
		return p.err
	}
	diff, err := d.opts.Past.Diff(r.Context(), key, from, to)
	if err != nil {
		return pastError(err)
	}
	doc := diffDocument{
		DeviceID: key.Thing, Shadow: key.Shadow, From: newSide(diff.A), To: newSide(diff.B),
		Changes: make([]pathChange, len(diff.Changes)), Patch: diff.MergePatch,
	}
	for i, c := range diff.Changes {
		doc.Changes[i] = pathChange{c.Path, string(c.Op), c.Before, c.After}
	}
	return writeJSON(w, doc)
}

func newSide(s history.Side) diffSide {
	return diffSide{Exists: s.Exists, Version: s.Version, Timestamp: timeText(s.Time), Seq: s.Seq}
}

type seriesDocument struct {
	DeviceID twin.ThingName  `json:"deviceId"`
	Shadow   twin.ShadowName `json:"shadow,omitempty"`
	Path     string          `json:"path,omitempty"`
	From     string          `json:"from"`
	To       string          `json:"to,omitempty"` // of telemetry
	Until    string          `json:"until"`        // how far the samples go; if before to, go on from here
	Complete bool            `json:"complete"`
	Window   string          `json:"window,omitempty"` // of a chart: what a column of it has
	Samples  []sample        `json:"samples,omitzero"` // of a path
	Series   []metricSeries  `json:"series,omitzero"`  // of metrics
}

type sample struct {
	Timestamp string       `json:"timestamp"`
	Value     *json.Number `json:"value"` // null: from here on there is no number
}

// getSeries answers with a numeric attribute over a window, or with metrics.
func (d *door) getSeries(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Query().Has("metric") {
		return d.getSamples(w, r)
	}
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	path, limit := p.text("path"), p.limit(history.PageMax)
	from, to := p.window()
	if to == 0 {
		to = twin.TimeOf(p.now) + 1
	}
	if from == 0 {
		from = max(to-dayLen, 1)
	}
	if p.values.Has("window") {
		p.bad("window", "window: only the series of a metric has windows")
	}
	if path == "" {
		p.bad("path", "path: a series needs the path of a number, such as reported.temperature; or, of telemetry, metric")
	}
	if from > to {
		p.bad("from", "from: %s is after to: %s", timeText(from), timeText(to))
	}
	if p.err != nil {
		return p.err
	}
	s, err := d.opts.Past.Series(r.Context(), key, path, from, to, limit)
	if err != nil {
		return pastError(err)
	}
	doc := seriesDocument{
		DeviceID: key.Thing, Shadow: key.Shadow, Path: path, From: timeText(s.From), Until: timeText(s.Until),
		Complete: s.Complete, Samples: make([]sample, len(s.Samples)),
	}
	for i, x := range s.Samples {
		doc.Samples[i].Timestamp = timeText(x.Time)
		if x.Number != "" {
			n := json.Number(x.Number)
			doc.Samples[i].Value = &n
		}
	}
	return writeJSON(w, doc)
}

const dayLen twin.Time = 24 * 60 * 60 * 1000
