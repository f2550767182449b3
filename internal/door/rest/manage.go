package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// twinEntry is what is said of a twin beside its shadows.
type twinEntry struct {
	DeviceID twin.ThingName    `json:"deviceId"`
	Model    string            `json:"model,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Created  string            `json:"created,omitempty"`
}

func newTwinEntry(thing twin.ThingName, a *twin.Attributes) twinEntry {
	return twinEntry{thing, a.Model, a.Tags, timeText(a.Created)}
}

// newTwin is a request to create a twin.
type newTwin struct {
	DeviceID twin.ThingName    `json:"deviceId"`
	Model    string            `json:"model,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
}

// createTwin makes a twin before its device says anything, or takes over one that only
// its device made. A second create is a conflict.
func (d *door) createTwin(w http.ResponseWriter, r *http.Request) error {
	var n newTwin
	if err := d.decode(w, r, &n); err != nil {
		return err
	}
	if !n.DeviceID.Valid() {
		return badBody("#/deviceId", "deviceId: %.140q is no thing name: 1 to %d characters of a-z A-Z 0-9 : _ -", n.DeviceID, twin.ThingNameBytesMax)
	}
	next := twin.Attributes{Model: n.Model, Tags: n.Tags, Created: twin.TimeOf(d.opts.Now())}
	if err := next.Check(); err != nil {
		return attributeError(err)
	}
	data, err := managedData(n.Model, n.Tags)
	if err != nil {
		return err
	}
	res := d.append(r.Context(), twin.Entry{
		Event: twin.Event{Thing: n.DeviceID, Kind: twin.EventManaged, Type: twin.ManagedCreated, Data: data, Origin: origin(r)},
		Attributes: func(have *twin.Attributes) (twin.Attributes, error) {
			if have.Created != 0 {
				return twin.Attributes{}, twin.NewError(twin.KindConflict, fmt.Sprintf("%s was created before, at %s; PATCH changes it", n.DeviceID, timeText(have.Created)))
			}
			return next, nil
		},
	})
	if res.Err != nil {
		return res.Err
	}
	w.Header().Set("Location", "/api/v1/twins/"+string(n.DeviceID))
	return writeStatus(w, http.StatusCreated, newTwinEntry(n.DeviceID, &next))
}

// managedData is what an administrative event says in its data.
func managedData(model string, tags map[string]string) ([]byte, error) {
	b, err := marshal(struct {
		Model string            `json:"model,omitempty"`
		Tags  map[string]string `json:"tags,omitempty"`
	}{model, tags})
	return bytes.TrimSpace(b), err
}

// attributeError points to the member of the body that a check names.
func attributeError(err error) error {
	message := twin.ErrorMessage(err)
	if name, _, ok := strings.Cut(message, ":"); ok && twin.Kind(err) == twin.KindInvalid {
		return badBody("#/"+name, "%s", message)
	}
	return err
}

// twinPatch is a merge patch of model and tags. A pointer that is nil after a null has
// to be told from one that was not there, hence raw.
type twinPatch struct {
	Model json.RawMessage `json:"model,omitempty"`
	Tags  json.RawMessage `json:"tags,omitempty"`
}

// apply returns what attributes become.
func (p *twinPatch) apply(have *twin.Attributes) (twin.Attributes, error) {
	next := have.Clone()
	if p.Model != nil {
		next.Model = ""
		if !isNull(p.Model) {
			if err := json.Unmarshal(p.Model, &next.Model); err != nil {
				return next, badBody("#/model", "model: %s is no string", p.Model)
			}
		}
	}
	if p.Tags == nil {
		return next, next.Check()
	}
	if isNull(p.Tags) {
		next.Tags = nil
		return next, next.Check()
	}
	var tags map[string]*string
	if err := json.Unmarshal(p.Tags, &tags); err != nil {
		return next, badBody("#/tags", "tags: %.80s is not an object of strings, or null for a tag to remove", p.Tags)
	}
	if next.Tags == nil {
		next.Tags = map[string]string{}
	}
	for k, v := range tags {
		if v == nil {
			delete(next.Tags, k)
			continue
		}
		next.Tags[k] = *v
	}
	return next, next.Check()
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// patchTwin merges a patch into model and tags of a twin that exists.
func (d *door) patchTwin(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	if r.Header.Get("If-Match") != "" {
		return &problem{slug: slugInvalid, Detail: "If-Match is about the version of a shadow; model and tags have none"}
	}
	body, err := d.members(w, r, "model", "tags")
	if err != nil {
		return err
	}
	patch := twinPatch{Model: body["model"], Tags: body["tags"]}
	if _, err := patch.apply(&twin.Attributes{}); err != nil {
		return attributeError(err)
	}
	if exists, err := d.exists(r, key.Thing); err != nil || !exists {
		return orNoTwin(err, key.Thing)
	}
	data, err := marshal(patch)
	if err != nil {
		return fmt.Errorf("write the patch of %s: %w", key.Thing, err)
	}
	var next twin.Attributes
	res := d.append(r.Context(), twin.Entry{
		Event: twin.Event{
			Thing: key.Thing, Kind: twin.EventManaged, Type: twin.ManagedChanged, Data: bytes.TrimSpace(data), Origin: origin(r),
		},
		IfExists: true,
		Attributes: func(have *twin.Attributes) (a twin.Attributes, err error) {
			next, err = patch.apply(have)
			return next, err
		},
	})
	switch {
	case res.Err != nil:
		return attributeError(res.Err)
	case !res.Written:
		return noTwin(key.Thing)
	}
	return writeJSON(w, newTwinEntry(key.Thing, &next))
}

func orNoTwin(err error, thing twin.ThingName) error {
	if err != nil {
		return err
	}
	return noTwin(thing)
}

// members reads a JSON object with raw members of the given names: unlike a struct,
// a map tells null from absent.
func (d *door) members(w http.ResponseWriter, r *http.Request, names ...string) (map[string]json.RawMessage, error) {
	var body map[string]json.RawMessage
	if err := d.decode(w, r, &body); err != nil {
		return nil, err
	}
	if body == nil {
		return nil, badBody("#", "the body is not a JSON object")
	}
	for _, have := range slices.Sorted(maps.Keys(body)) {
		if !slices.Contains(names, have) {
			return nil, badBody("#/"+have, "%.80s: there is no such member; there are %s", have, strings.Join(names, ", "))
		}
	}
	return body, nil
}

// exists reports whether a thing has a live shadow or attributes.
func (d *door) exists(r *http.Request, thing twin.ThingName) (bool, error) {
	if !d.opts.Twins.Attributes(thing).Empty() {
		return true, nil
	}
	s, err := d.engine.Shadow(r.Context(), twin.ShadowKey{Thing: thing})
	if err != nil || s.Exists() {
		return true, err
	}
	names, err := d.engine.ShadowNames(r.Context(), thing, "", 1)
	return len(names) > 0, err
}

// deleteTwin deletes a shadow; or with whole=true all shadows of the thing, its model
// and its tags. If that is interrupted, the same request goes on. History and event log stay until they expire.
func (d *door) deleteTwin(w http.ResponseWriter, r *http.Request) error {
	p := d.params(r)
	whole := p.choice("whole", "false", "true") == "true"
	if whole && p.text("shadow") != "" {
		p.bad("whole", "whole deletes all shadows; leave shadow out")
	}
	if p.err != nil {
		return p.err
	}
	if !whole {
		return d.deleteShadow(w, r)
	}
	for _, header := range []string{"If-Match", "Idempotency-Key"} {
		if r.Header.Get(header) != "" {
			return &problem{slug: slugInvalid, Detail: header + " is about one shadow; it cannot be used to delete the whole twin"}
		}
	}
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	if exists, err := d.exists(r, key.Thing); err != nil || !exists {
		return orNoTwin(err, key.Thing)
	}
	if err := d.opts.Twins.DeleteTwin(r.Context(), key.Thing, origin(r)); err != nil {
		return err
	}
	return writeJSON(w, changed{DeviceID: key.Thing, Deleted: true})
}

// batchMax is the most twins of one batch read.
const batchMax = 1000

type batchRequest struct {
	IDs []twin.ThingName `json:"ids"`
}

type batchAnswer struct {
	Twins   []*document      `json:"twins"` // in the order asked for, without history and computed
	Missing []twin.ThingName `json:"missing"`
}

// batchGet reads many twins as they are.
func (d *door) batchGet(w http.ResponseWriter, r *http.Request) error {
	var q batchRequest
	if err := d.decode(w, r, &q); err != nil {
		return err
	}
	if len(q.IDs) == 0 || len(q.IDs) > batchMax {
		return badBody("#/ids", "ids: %d ids, want 1 to %d", len(q.IDs), batchMax)
	}
	for i, thing := range q.IDs {
		if !thing.Valid() {
			return badBody(fmt.Sprintf("#/ids/%d", i), "%.140q is no thing name", thing)
		}
	}
	a := batchAnswer{Twins: []*document{}, Missing: []twin.ThingName{}}
	for _, thing := range q.IDs {
		s, err := d.engine.Shadow(r.Context(), twin.ShadowKey{Thing: thing})
		if err != nil {
			return err
		}
		attributes := d.attributes(thing)
		if !s.Exists() && attributes.Empty() {
			a.Missing = append(a.Missing, thing)
			continue
		}
		a.Twins = append(a.Twins, d.present(twin.ShadowKey{Thing: thing}, s, attributes))
	}
	return writeJSON(w, a)
}
