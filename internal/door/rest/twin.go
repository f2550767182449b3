package rest

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/models"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/internal/wot"
	"github.com/twofold-iot/twofold/twin"
)

// document is a twin, or one named shadow of it: what is, what was in the last day and
// what can be said of that.
type document struct {
	DeviceID twin.ThingName    `json:"deviceId"`
	Shadow   twin.ShadowName   `json:"shadow,omitempty"`
	Model    string            `json:"model,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Created  string            `json:"created,omitempty"`
	Version  twin.Version      `json:"version,omitempty"`
	// AsOf is the time of the event that made a past state, which has nothing below
	// Metadata either.
	AsOf         string          `json:"asOf,omitempty"`
	Connected    *bool           `json:"connected,omitempty"`
	State        string          `json:"state,omitempty"`      // of the behaviour
	StateSince   string          `json:"stateSince,omitempty"` //
	LastSeen     string          `json:"lastSeen,omitempty"`
	CurrentState json.RawMessage `json:"currentState,omitempty"`
	DesiredState json.RawMessage `json:"desiredState,omitempty"`
	Delta        json.RawMessage `json:"delta,omitempty"`
	Metadata     json.RawMessage `json:"metadata,omitempty"`
	Firmware     *firmware       `json:"firmware,omitempty"`

	History []reported `json:"history,omitzero"`
	// HistoryNext is the cursor with which the same request goes on; from and to must be
	// those of HistoryFrom and HistoryTo.
	HistoryNext string            `json:"historyNext,omitempty"`
	HistoryFrom string            `json:"historyFrom,omitempty"`
	HistoryTo   string            `json:"historyTo,omitempty"`
	Computed    json.RawMessage   `json:"computed,omitempty"`
	Why         map[string]string `json:"why,omitempty"`
}

// reported is one reported state of the past.
type reported struct {
	Timestamp string          `json:"timestamp"`
	Version   twin.Version    `json:"version"`
	State     json.RawMessage `json:"state"`
}

// setState fills in what a shadow says.
func (d *document) setState(s *twin.Shadow) {
	if !s.Exists() {
		return
	}
	d.Version = s.Version
	if s.Reported != nil {
		d.CurrentState = s.Reported.AppendJSON(nil)
		d.Metadata = append(d.Metadata, `,"reported":`...)
		d.Metadata = s.Reported.AppendMetadata(d.Metadata)
	}
	if s.Desired != nil {
		d.DesiredState = s.Desired.AppendJSON(nil)
		d.Metadata = append(d.Metadata, `,"desired":`...)
		d.Metadata = s.Desired.AppendMetadata(d.Metadata)
	}
	if d.Metadata != nil {
		d.Metadata[0] = '{'
		d.Metadata = append(d.Metadata, '}')
	}
	if delta := s.Delta(); delta != nil {
		d.Delta = delta.AppendJSON(nil)
	}
}

// getTwin answers with a twin as it is, or as it was.
func (d *door) getTwin(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	if d.opts.Twins != nil && strings.Contains(r.Header.Get("Accept"), wot.MediaType) {
		return d.getDescription(w, r, key)
	}
	p := d.params(r)
	if p.text("at") != "" || p.text("version") != "" {
		return d.pastTwin(w, r, key, p)
	}
	s, err := d.engine.Shadow(r.Context(), key)
	if err != nil {
		return err
	}
	attributes := d.attributes(key.Thing)
	if !s.Exists() && (key.Shadow != "" || attributes.Empty()) {
		return twin.ErrNoShadow(key)
	}
	if s.Exists() {
		tag := etag(s.Version) // of the state; what is computed moves with the clock
		w.Header().Set("ETag", tag)
		if matchesAny(r.Header.Values("If-None-Match"), tag) {
			w.WriteHeader(http.StatusNotModified) // RFC 9110 section 13.1.2
			return nil
		}
	}
	doc := d.present(key, s, attributes)
	if key.Shadow == "" {
		if doc.Firmware, err = d.firmware(r.Context(), key.Thing, doc.CurrentState); err != nil {
			return err
		}
	}
	if err := d.addPast(r, key, p, doc); err != nil {
		return err
	}
	return writeJSON(w, doc)
}

// present is a twin as it is, without its past.
func (d *door) present(key twin.ShadowKey, s *twin.Shadow, a *twin.Attributes) *document {
	doc := &document{
		DeviceID: key.Thing, Shadow: key.Shadow, Model: a.Model, Tags: a.Tags, Created: timeText(a.Created), LastSeen: d.seen(lastSeen(s), key.Thing),
	}
	doc.setState(s)
	if d.opts.Behaviours != nil && key.Shadow == "" {
		at := d.opts.Behaviours.State(key.Thing)
		doc.State, doc.StateSince = at.State, timeText(at.Since)
	}
	return doc
}

func (d *door) attributes(thing twin.ThingName) *twin.Attributes {
	if d.opts.Twins == nil {
		return &twin.Attributes{}
	}
	return d.opts.Twins.Attributes(thing)
}

// pastTwin answers with a shadow as it was.
func (d *door) pastTwin(w http.ResponseWriter, r *http.Request, key twin.ShadowKey, p *params) error {
	if d.opts.Past == nil {
		return invalidf("this server keeps no past")
	}
	point := history.Point{Time: p.time("at", stateAheadMax), Version: twin.Version(p.number("version", versionMax))}
	if point.Time != 0 && point.Version != 0 {
		p.bad("version", "at and version are two ways to say the same; give one of them")
	}
	for _, name := range []string{"history", "from", "to", "limit", "cursor"} {
		if p.text(name) != "" {
			p.bad(name, "a past state has no history of its own: leave %s out", name)
		}
	}
	if p.err != nil {
		return p.err
	}
	s, ev, err := d.opts.Past.At(r.Context(), key, point)
	if err != nil {
		return pastError(err)
	}
	doc := &document{DeviceID: key.Thing, Shadow: key.Shadow, Model: ev.Model, AsOf: timeText(instant(&ev)), LastSeen: lastSeen(s)}
	doc.setState(s)
	return writeJSON(w, doc)
}

// instant is the time of which an event tells.
func instant(ev *twin.Event) twin.Time {
	if (ev.Kind == twin.EventRecorded || ev.Mirrored()) && ev.OriginTime != 0 {
		return ev.OriginTime
	}
	return ev.Time
}

// addPast fills in what the past says: history, connection, averages.
func (d *door) addPast(r *http.Request, key twin.ShadowKey, p *params, doc *document) error {
	if d.opts.Past == nil {
		return nil
	}
	from, to := p.window()
	win := history.Window{Now: twin.TimeOf(p.now), From: from, To: to, Limit: p.limit(history.SummaryStatesMax)}
	wanted := p.choice("history", "true", "false") == "true"
	cursor := p.cursor()
	if cursor != "" && (from == 0 || to == 0) {
		p.bad("cursor", "a cursor goes on within one window: give from and to too, as historyFrom and historyTo say")
	}
	if p.err != nil {
		return p.err
	}
	sum, err := d.opts.Past.Summary(r.Context(), key, win)
	if err != nil {
		return pastError(err)
	}
	if wanted {
		page := history.Page{States: sum.States, Next: sum.Next}
		if cursor != "" {
			q := history.Query{Key: key, From: from, To: to, Newest: true, Limit: win.Limit, Cursor: cursor}
			if page, err = d.opts.Past.States(r.Context(), q); err != nil {
				return pastError(err)
			}
		}
		doc.History = reportedStates(page.States)
		if page.Next != "" {
			doc.HistoryNext, doc.HistoryFrom, doc.HistoryTo = string(page.Next), timeText(sum.From), timeText(sum.To)
		}
	}
	if sum.LastSeen != 0 {
		doc.LastSeen = d.seen(timeText(sum.LastSeen), key.Thing)
	}
	connected := d.opts.Connected != nil && d.opts.Connected(key.Thing)
	doc.Connected = &connected
	doc.Why = map[string]string{}
	if err := d.addMeans(r.Context(), key, p, &sum, doc.Why); err != nil {
		return err
	}
	ofModel, err := d.ofModel(r.Context(), key)
	if err != nil {
		return err
	}
	doc.Computed, err = computed(&sum, connected, ofModel, doc.Why)
	if err != nil {
		return err
	}
	return d.addPrediction(r.Context(), key, doc)
}

// ofModel returns what the model of a thing computes; nothing for a named shadow.
func (d *door) ofModel(ctx context.Context, key twin.ShadowKey) ([]models.Attribute, error) {
	if d.opts.Computed == nil || key.Shadow != "" {
		return nil, nil
	}
	v, _, err := d.opts.Computed.View(ctx, key.Thing)
	return v.Attributes, err
}

// addMeans puts the means of the metrics of a thing beside those of its attributes. Of one
// name that of the metric counts, which has more samples than the shadow has states.
func (d *door) addMeans(ctx context.Context, key twin.ShadowKey, p *params, sum *history.Summary, why map[string]string) error {
	if d.opts.Samples == nil || key.Shadow != "" {
		return nil
	}
	means, complete, err := d.opts.Samples.Means(ctx, key.Thing, sum.From, min(sum.To, twin.TimeOf(p.now)+1))
	if err != nil {
		return pastError(err)
	}
	for _, m := range means {
		a := history.Average{Name: string(m.Metric), Aggregate: history.Aggregate{Mean: m.Value}}
		i, found := slices.BinarySearchFunc(sum.Averages, a.Name, func(x history.Average, name string) int { return strings.Compare(x.Name, name) })
		if found {
			sum.Averages[i] = a
		} else {
			sum.Averages = slices.Insert(sum.Averages, i, a)
		}
	}
	if !complete {
		why["metrics"] = "the thing has more than " + strconv.Itoa(telemetry.MeansMax) + " metrics: the first by name have averages here, the others in /series"
	}
	return nil
}

// reportedStates lists the states that an event of the device made. What changed only
// desired, or deleted the shadow, is in /history.
func reportedStates(states []history.State) []reported {
	list := make([]reported, 0, len(states))
	for i := range states {
		ev, s := &states[i].Event, states[i].Shadow
		if ev.Kind == twin.EventDeleted || ev.Kind == twin.EventUpdated && !twin.PatchTouches(ev.Patch, "reported") {
			continue
		}
		entry := reported{Timestamp: timeText(instant(ev)), Version: ev.Version, State: json.RawMessage("{}")}
		if s != nil && s.Reported != nil {
			entry.State = s.Reported.AppendJSON(nil)
		}
		list = append(list, entry)
	}
	return list
}

// computed writes the attributes that follow from the past and those of the model, and
// says in why what it cannot give. Of one name that of the model counts.
func computed(sum *history.Summary, connected bool, ofModel []models.Attribute, why map[string]string) (json.RawMessage, error) {
	named := map[string]bool{}
	var fields []byte
	for i := range ofModel {
		a := &ofModel[i]
		named[a.Name] = true
		if a.Value.Type == 0 {
			why[a.Name] = a.Reason
		}
		fields = append(fields, ',')
		fields = append(twin.TextValue(a.Name).AppendJSON(fields), ':')
		fields = a.Value.AppendJSON(fields)
	}
	if !named["uptimeHours"] {
		fields = uptime(append(fields, `,"uptimeHours":`...), sum, connected, why)
	}
	for i := range sum.Averages {
		a := &sum.Averages[i]
		if named[a.Title()] {
			continue
		}
		fields = append(fields, ',')
		fields = append(twin.TextValue(a.Title()).AppendJSON(fields), ':')
		fields = appendNumber(fields, a.Mean)
	}
	if sum.AveragesFrom > sum.From {
		why["averages"] = "they begin at " + timeText(sum.AveragesFrom) + ": of more than " +
			strconv.Itoa(history.SummaryEventsMax) + " updates in the window the newest count"
	}
	fields[0] = '{'
	return append(fields, '}'), nil
}

// uptime writes for how long a thing has been connected, null if that is not known.
func uptime(fields []byte, sum *history.Summary, connected bool, why map[string]string) []byte {
	switch {
	case connected && sum.Connected, !connected && !sum.Known && sum.FirstContact != 0:
		fields = appendNumber(fields, sum.UptimeHours)
	case connected:
		why["uptimeHours"] = "the thing is connected, but the event log does not say since when"
		fields = append(fields, "null"...)
	case sum.FirstContact == 0:
		why["uptimeHours"] = "nothing is known of the thing yet"
		fields = append(fields, "null"...)
	default:
		why["uptimeHours"] = "the thing is not connected"
		fields = append(fields, "null"...)
	}
	return fields
}

// appendNumber writes a number, null for one that JSON has not.
func appendNumber(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	const digits = 9 // an average has no more than its inputs do
	return strconv.AppendFloat(dst, roundTo(f, digits), 'g', -1, 64)
}

// roundTo keeps so many significant digits.
func roundTo(f float64, digits int) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', digits, 64), 64)
	if err != nil {
		return f
	}
	return r
}
