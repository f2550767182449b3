package rest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// lastSeen is the time of the newest reported value that is still there; empty if
// there is none.
func lastSeen(s *twin.Shadow) string {
	if !s.Exists() {
		return ""
	}
	seconds := s.Reported.NewestStamp()
	if seconds == 0 {
		return ""
	}
	return time.Unix(seconds, 0).UTC().Format(time.RFC3339)
}

// seen is the later of a time, as it is shown, and that of the newest sample.
func (d *door) seen(text string, thing twin.ThingName) string {
	if d.opts.LastSeen == nil {
		return text
	}
	sample := d.opts.LastSeen(thing)
	if t, err := time.Parse(time.RFC3339, text); err == nil && twin.TimeOf(t) >= sample {
		return text
	}
	return timeText(sample)
}

// keyOf reads thing and shadow of a request.
func keyOf(r *http.Request) (twin.ShadowKey, error) {
	key := twin.ShadowKey{Thing: twin.ThingName(r.PathValue("id")), Shadow: twin.ShadowName(r.URL.Query().Get("shadow"))}
	if !key.Thing.Valid() {
		return key, &problem{slug: slugInvalid, Detail: fmt.Sprintf("%q is no thing name: 1 to %d characters of a-z A-Z 0-9 : _ -", key.Thing, twin.ThingNameBytesMax)}
	}
	if key.Shadow != "" && !key.Shadow.Valid() {
		return key, &problem{slug: slugInvalid, Detail: fmt.Sprintf("%q is no shadow name: 1 to %d characters of a-z A-Z 0-9 $ : _ -", key.Shadow, twin.ShadowNameBytesMax)}
	}
	return key, nil
}

func etag(v twin.Version) string { return `"v` + strconv.FormatUint(uint64(v), 10) + `"` }

// matchesAny compares an entity tag with those of If-None-Match: "*" or a list,
// compared weakly (RFC 9110 section 13.1.2).
func matchesAny(headers []string, tag string) bool {
	for _, h := range headers {
		for t := range strings.SplitSeq(h, ",") {
			t = strings.TrimPrefix(strings.TrimSpace(t), "W/")
			if t == tag || t == "*" {
				return true
			}
		}
	}
	return false
}

// twinPage is a page of the list of twins. A twin that has only named shadows is
// listed without a version.
type twinPage struct {
	Twins []summary `json:"twins"`
	Next  string    `json:"next,omitempty"` // cursor of the next page
}

// summary is a twin in a list. Version is left out of one that has no classic shadow.
type summary struct {
	DeviceID twin.ThingName    `json:"deviceId"`
	Model    string            `json:"model,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Version  twin.Version      `json:"version,omitempty"`
	LastSeen string            `json:"lastSeen,omitempty"`
	Delta    json.RawMessage   `json:"delta,omitempty"`
}

func (d *door) listTwins(w http.ResponseWriter, r *http.Request) error {
	limit, after, err := pageOf(r)
	if err != nil {
		return err
	}
	things, err := d.things(r, twin.ThingName(after), limit+1)
	if err != nil {
		return fmt.Errorf("list things: %w", err)
	}
	p := twinPage{Twins: []summary{}}
	if len(things) > limit {
		things = things[:limit]
		p.Next = cursorOf(string(things[limit-1]))
	}
	for _, thing := range things {
		s, err := d.engine.Shadow(r.Context(), twin.ShadowKey{Thing: thing})
		if err != nil {
			return err
		}
		a := d.attributes(thing)
		sum := summary{DeviceID: thing, Model: a.Model, Tags: a.Tags, LastSeen: d.seen(lastSeen(s), thing)}
		if s.Exists() {
			sum.Version = s.Version
			if delta := s.Delta(); delta != nil {
				sum.Delta = delta.AppendJSON(nil)
			}
		}
		p.Twins = append(p.Twins, sum)
	}
	linkNext(w, r, p.Next)
	return writeJSON(w, p)
}

// things lists things that have a live shadow or attributes; with ?model= those of a
// model.
func (d *door) things(r *http.Request, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	if model := r.URL.Query().Get("model"); model != "" {
		return d.opts.Twins.Managed(r.Context(), model, after, limit)
	}
	things, err := d.engine.Things(r.Context(), after, limit)
	if err != nil || d.opts.Twins == nil {
		return things, err
	}
	managed, err := d.opts.Twins.Managed(r.Context(), "", after, limit)
	if err != nil {
		return nil, err
	}
	things = append(things, managed...)
	slices.Sort(things)
	things = slices.Compact(things)
	return things[:min(len(things), limit)], nil
}

// shadowPage is a page of the shadows of a twin: whether it has the classic one,
// and the names of the others.
type shadowPage struct {
	DeviceID twin.ThingName    `json:"deviceId"`
	Classic  bool              `json:"classic"`
	Names    []twin.ShadowName `json:"names"`
	Next     string            `json:"next,omitempty"`
}

func (d *door) listShadows(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	limit, after, err := pageOf(r)
	if err != nil {
		return err
	}
	classic, err := d.engine.Shadow(r.Context(), twin.ShadowKey{Thing: key.Thing})
	if err != nil {
		return err
	}
	names, err := d.engine.ShadowNames(r.Context(), key.Thing, twin.ShadowName(after), limit+1)
	if err != nil {
		return fmt.Errorf("list shadows of %s: %w", key.Thing, err)
	}
	p := shadowPage{DeviceID: key.Thing, Classic: classic.Exists(), Names: names}
	if len(names) > limit {
		p.Names = names[:limit]
		p.Next = cursorOf(string(names[limit-1]))
	}
	if p.Names == nil {
		p.Names = []twin.ShadowName{}
	}
	if !p.Classic && len(p.Names) == 0 && after == "" {
		return &problem{slug: slugNotFound, Detail: fmt.Sprintf("%s has no shadow; its first update creates one", key.Thing)}
	}
	linkNext(w, r, p.Next)
	return writeJSON(w, p)
}

// cursorVersion is the first byte of a cursor, so that its content can change.
const cursorVersion = "1"

func cursorOf(after string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursorVersion + after))
}

// pageOf reads limit and cursor of a list.
func pageOf(r *http.Request) (limit int, after string, err error) {
	q := r.URL.Query()
	limit = pageDefault
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > pageMax {
			return 0, "", &problem{slug: slugInvalid, Detail: fmt.Sprintf("limit %q is not a whole number between 1 and %d", text, pageMax)}
		}
	}
	if text := q.Get("cursor"); text != "" {
		b, err := base64.RawURLEncoding.DecodeString(text)
		name, ok := strings.CutPrefix(string(b), cursorVersion)
		if err != nil || !ok || !twin.ThingName(name).Valid() && !twin.ShadowName(name).Valid() {
			return 0, "", &problem{slug: slugInvalid, Detail: "cursor is not one of this server; start again without it"}
		}
		after = name
	}
	return limit, after, nil
}

// linkNext adds the Link header of the next page (RFC 8288).
func linkNext(w http.ResponseWriter, r *http.Request, cursor string) {
	if cursor == "" {
		return
	}
	q := r.URL.Query()
	q.Set("cursor", cursor)
	w.Header().Set("Link", "<"+r.URL.EscapedPath()+"?"+q.Encode()+`>; rel="next"`)
}

func writeJSON(w http.ResponseWriter, v any) error { return writeStatus(w, http.StatusOK, v) }

func writeStatus(w http.ResponseWriter, status int, v any) error {
	b, err := marshal(v)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client may be gone
	return nil
}

// marshal writes raw values as they are: no escaping for HTML, which would alter
// the text of a device.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}
