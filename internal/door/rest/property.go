package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/twofold-iot/twofold/internal/wot"
	"github.com/twofold-iot/twofold/twin"
)

// getDescription answers with the Thing Description of a twin.
func (d *door) getDescription(w http.ResponseWriter, r *http.Request, key twin.ShadowKey) error {
	if r.URL.RawQuery != "" {
		return invalidf("a Thing Description is of the twin as it is now: leave the query out")
	}
	t, err := d.thing(r, key.Thing)
	if err != nil {
		return err
	}
	base := d.opts.PublicURL
	if base == "" {
		base = "http://" + r.Host
		if r.TLS != nil {
			base = "https://" + r.Host
		}
	}
	a := d.attributes(key.Thing)
	where := &wot.Where{
		API: strings.TrimSuffix(base, "/") + "/api/v1", Created: timeText(a.Created),
		Stream: d.opts.Feed != nil, Commands: d.opts.Commands != nil,
	}
	if t.Model != nil {
		where.Model = a.Model
	}
	w.Header().Set("Vary", "Accept")
	w.Header().Set("Content-Type", wot.MediaType)
	b, err := marshal(wot.Describe(t, where))
	if err != nil {
		return fmt.Errorf("write the description: %w", err)
	}
	_, _ = w.Write(b) // the client may be gone
	return nil
}

// thing returns what can be read of a twin.
func (d *door) thing(r *http.Request, thing twin.ThingName) (*wot.Thing, error) {
	if exists, err := d.exists(r, thing); err != nil || !exists {
		return nil, orNoTwin(err, thing)
	}
	s, err := d.engine.Shadow(r.Context(), twin.ShadowKey{Thing: thing})
	if err != nil {
		return nil, err
	}
	t := &wot.Thing{Name: thing, Shadow: s, LastSeen: d.seen(lastSeen(s), thing)}
	t.Connected = d.opts.Connected != nil && d.opts.Connected(thing)
	if d.opts.Models != nil {
		t.Model, _ = d.opts.Models.Model(d.attributes(thing).Model)
	}
	if d.opts.Behaviours != nil {
		t.State = d.opts.Behaviours.State(thing).State
	}
	if t.Telemetry, err = d.lastSamples(r.Context(), thing); err != nil {
		return nil, err
	}
	t.Computed, err = d.computedFigures(r.Context(), thing, t)
	return t, err
}

// lastSamples returns the newest sample of each metric.
func (d *door) lastSamples(ctx context.Context, thing twin.ThingName) ([]wot.Figure, error) {
	if d.opts.Samples == nil {
		return nil, nil
	}
	infos, _, err := d.opts.Samples.Series(ctx, thing)
	if err != nil {
		return nil, pastError(err)
	}
	var list []wot.Figure
	var last twin.Time
	for i := range infos {
		x := &infos[i]
		f := wot.Figure{Name: string(x.Metric), Value: x.Value}
		// A metric that had values of two types is in the list twice, side by side.
		if n := len(list); n > 0 && list[n-1].Name == f.Name {
			if x.Last >= last {
				list[n-1], last = f, x.Last
			}
			continue
		}
		list, last = append(list, f), x.Last
	}
	return list, nil
}

func (d *door) computedFigures(ctx context.Context, thing twin.ThingName, t *wot.Thing) ([]wot.Figure, error) {
	if d.opts.Computed == nil || t.Model == nil {
		return nil, nil
	}
	v, _, err := d.opts.Computed.View(ctx, thing)
	if err != nil {
		return nil, err
	}
	list := make([]wot.Figure, len(v.Attributes))
	for i := range v.Attributes {
		a := &v.Attributes[i]
		list[i] = wot.Figure{Name: a.Name, Type: a.Type, Unit: a.Unit, Value: a.Value}
	}
	return list, nil
}

func (d *door) propertyRoutes() []route {
	return []route{
		{
			method: "GET", path: "/api/v1/twins/{id}/properties", name: "listProperties", summary: "Read the values that a thing has now, by the names that expressions use",
			answer: object{}, handler: d.getProperties,
		}, {
			method: "GET", path: "/api/v1/twins/{id}/properties/{property}", name: "getProperty", summary: "Read one value of a thing",
			answer: json.RawMessage{}, handler: d.getProperty,
		}, {
			method: "PUT", path: "/api/v1/twins/{id}/properties/{property}", name: "setProperty", summary: "Ask a thing for the value of an attribute: desired.level, say, which then has that value and no other members",
			query: []string{"expiresIn"}, headers: []string{"If-Match", "Idempotency-Key"}, body: json.RawMessage{}, answer: changed{}, handler: d.putProperty,
		},
	}
}

func (d *door) getProperties(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	t, err := d.thing(r, key.Thing)
	if err != nil {
		return err
	}
	return writeJSON(w, t.Values())
}

func (d *door) getProperty(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	t, err := d.thing(r, key.Thing)
	if err != nil {
		return err
	}
	name := r.PathValue("property")
	v, ok := t.Value(name)
	if !ok {
		return &problem{slug: slugNotFound, Detail: fmt.Sprintf("%s has no value of %q now; /api/v1/twins/%s/properties has all it has", key.Thing, name, key.Thing)}
	}
	return writeJSON(w, v)
}

// replaceTries is how often a value is put in the place of one that others change.
const replaceTries = 10

// putProperty sets an attribute of desired to a value. An object replaces the one that is
// there; an update alone would merge the two.
func (d *door) putProperty(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	name, ok := wot.Attribute(r.PathValue("property"))
	if !ok || name == "" {
		return invalidf("%q is only read; what can be asked of a thing is desired.<attribute>", r.PathValue("property"))
	}
	version, conditional, err := ifMatch(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, d.opts.BodyBytesMax))
	if err != nil {
		return readError(err)
	}
	if !json.Valid(body) {
		return &problem{slug: slugInvalid, Detail: `the body is not one JSON value, such as 21.5, "eco" or {"r":255}`}
	}
	p := d.params(r)
	expires := p.expiresIn()
	if p.err != nil {
		return p.err
	}
	for try := 1; ; try++ {
		s, err := d.engine.Shadow(r.Context(), key)
		if err != nil {
			return err
		}
		patch, merged, err := replacement(s, name, body)
		if err != nil {
			return err
		}
		at, guarded := version, conditional
		if merged && !conditional {
			at, guarded = s.Version, true
		}
		payload, err := updatePayload("desired", patch, at, guarded)
		if err != nil {
			return err
		}
		req, err := twin.ParseRequest(payload, d.opts.Limits)
		if err != nil {
			return err
		}
		err = d.change(w, r, twin.Update{Key: key, Request: req, ExpiresIn: expires}, body, guarded)
		var p *problem
		if guarded && !conditional && try < replaceTries && errors.As(err, &p) && p.slug == slugVersion {
			continue // somebody else was faster
		}
		return err
	}
}

// replacement is the merge patch that gives an attribute of desired a value. It depends on
// what is there, and merged is true, if both are objects.
func replacement(s *twin.Shadow, attribute string, value []byte) (patch []byte, merged bool, err error) {
	var v any
	dec := json.NewDecoder(strings.NewReader(string(value)))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, false, &problem{slug: slugInvalid, Detail: "the body is not one JSON value: " + err.Error()}
	}
	object, isObject := v.(map[string]any)
	if s.Exists() && isObject {
		if have := s.Desired.Member(attribute); have != nil && have.IsObject() {
			merged = true
			cover(object, have)
		}
	}
	if !merged {
		v = json.RawMessage(value) // as it was written: the order of members stays
	}
	patch, err = marshal(map[string]any{attribute: v})
	return patch, merged, err
}

// cover adds nulls for the members that are to go.
func cover(object map[string]any, have *twin.Node) {
	for i := range have.Len() {
		n := have.At(i)
		v, stays := object[n.Name()]
		if !stays {
			object[n.Name()] = nil
			continue
		}
		if inner, ok := v.(map[string]any); ok && n.IsObject() {
			cover(inner, n)
		}
	}
}
