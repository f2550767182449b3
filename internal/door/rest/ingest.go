package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twofold-iot/twofold/twin"
)

// Mirror takes documents of shadows that live in the cloud. It behaves as
// [Engine].Submit does.
type Mirror interface {
	Mirror(r twin.MirrorRequest, done func(twin.MirrorResult)) error
}

// Limits of what is ingested.
const (
	ingestBodyBytesMax = 4 << 20
	ingestItemsMax     = 1000
	// ingestAheadMax is how far the clock of the cloud may be ahead of ours.
	ingestAheadMax = time.Hour
)

// ingested is the answer to documents: what became of each, in their order.
type ingested struct {
	Results      []ingestResult `json:"results"`
	Confirmation *confirmation  `json:"confirmation,omitempty"` // of a destination
}

// What became of a document.
const (
	ingestApplied  = "applied"  // it is the current state now
	ingestRecorded = "recorded" // it is history: a newer state was there
	ingestKnown    = "known"    // it had come before; nothing was written
	ingestFailed   = "failed"   // problem says why
)

type ingestResult struct {
	DeviceID twin.ThingName  `json:"deviceId,omitempty"`
	Shadow   twin.ShadowName `json:"shadow,omitempty"`
	Version  twin.Version    `json:"version,omitempty"`
	Result   string          `json:"result"`
	Problem  *problem        `json:"problem,omitempty"`

	err error
}

func (d *door) ingestRoutes() []route {
	const (
		path    = "/api/v1/ingest/shadow-documents"
		summary = "Take update/documents messages of shadows that live in AWS IoT, one or an array: "
	)
	post := func(under, name, what string) route {
		return route{
			method: "POST", path: path + under, name: name, summary: summary + what, query: []string{"confirmationToken"},
			body: json.RawMessage{}, answer: ingested{}, handler: d.ingest, slash: true,
		}
	}
	return []route{
		post("", "ingestDocuments", "thing and shadow are fields of each"),
		post("/{id}", "ingestDocumentsOfThing", "of a thing; the classic shadow, if a field does not say which"),
		post("/{id}/{shadow}", "ingestDocumentsOfShadow", "of a named shadow"),
		{
			method: "GET", path: "/api/v1/ingest/confirmations", name: "listConfirmations",
			summary: "List the confirmations that AWS has asked for lately, with the address that gives each",
			answer:  confirmationList{}, handler: d.listConfirmations,
		},
	}
}

// ingest takes documents, or the confirmation of a destination.
func (d *door) ingest(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, ingestBodyBytesMax))
	if err != nil {
		return readError(err)
	}
	if !utf8.Valid(body) {
		return &problem{slug: slugEncoding, Detail: "the body is not UTF-8"}
	}
	body = bytes.TrimSpace(body)
	if isConfirmation(r, body) {
		return d.confirm(w, r, body)
	}
	key := twin.ShadowKey{Thing: twin.ThingName(r.PathValue("id")), Shadow: twin.ShadowName(r.PathValue("shadow"))}
	if key.Thing != "" && !key.Thing.Valid() {
		return invalidf("%q is no thing name: 1 to %d characters of a-z A-Z 0-9 : _ -", key.Thing, twin.ThingNameBytesMax)
	}
	if key.Shadow != "" && !key.Shadow.Valid() {
		return invalidf("%q is no shadow name: 1 to %d characters of a-z A-Z 0-9 $ : _ -", key.Shadow, twin.ShadowNameBytesMax)
	}
	if len(body) == 0 || body[0] != '[' {
		results := d.mirror(r, key, []json.RawMessage{body}, func(int) string { return "" })
		if results[0].err != nil {
			return results[0].err
		}
		return writeJSON(w, ingested{Results: results})
	}
	var items []json.RawMessage
	if err := json.Unmarshal(body, &items); err != nil {
		return badBody("#", "the body is not valid JSON: %v", err)
	}
	if len(items) == 0 || len(items) > ingestItemsMax {
		return badBody("#", "%d documents, want 1 to %d", len(items), ingestItemsMax)
	}
	results := d.mirror(r, key, items, func(i int) string { return "/" + strconv.Itoa(i) })
	for i := range results {
		p := results[i].Problem
		if p == nil {
			continue
		}
		if p.Status >= http.StatusInternalServerError {
			return results[i].err // sent again, all of them have one effect
		}
		p.Instance = r.URL.EscapedPath()
	}
	return writeJSON(w, ingested{Results: results})
}

// mirror submits documents in their order and waits for all. at is the JSON pointer of
// each in the body.
func (d *door) mirror(r *http.Request, key twin.ShadowKey, items []json.RawMessage, at func(int) string) []ingestResult {
	results := make([]ingestResult, len(items))
	waits := make([]chan twin.MirrorResult, len(items))
	for i, item := range items {
		req, err := d.document(key, item, at(i))
		results[i].DeviceID, results[i].Shadow = req.Key.Thing, req.Key.Shadow
		if err == nil {
			results[i].Version = req.Document.Current.Version
			req.Caller = caller(r)
			done := make(chan twin.MirrorResult, 1)
			if err = d.opts.Mirror.Mirror(req, func(res twin.MirrorResult) { done <- res }); err == nil {
				waits[i] = done
			}
		}
		results[i].err = err
	}
	for i, done := range waits {
		if done != nil {
			results[i].await(r.Context(), done, at(i))
		}
		if err := results[i].err; err != nil {
			results[i].Result, results[i].Problem = ingestFailed, problemOf(err)
		}
	}
	return results
}

// await waits for the outcome of one document. If the client goes away first, the document
// still takes its course.
func (i *ingestResult) await(ctx context.Context, done <-chan twin.MirrorResult, at string) {
	select {
	case res := <-done:
		i.err = pointed(res.Err, at)
		switch res.Outcome {
		case twin.MirrorApplied:
			i.Result = ingestApplied
		case twin.MirrorRecorded:
			i.Result = ingestRecorded
		case twin.MirrorRepeated:
			i.Result = ingestKnown
		}
	case <-ctx.Done():
		i.err = errNotKnown(ctx)
	}
}

// document parses one document and finds out of which shadow it is.
func (d *door) document(key twin.ShadowKey, item []byte, at string) (twin.MirrorRequest, error) {
	req := twin.MirrorRequest{Key: key}
	doc, err := twin.ParseMirrorDocument(item, d.opts.Limits)
	if err != nil {
		return req, pointed(err, at)
	}
	req.Document = doc
	switch {
	case key.Thing == "" && doc.Thing == "":
		return req, badBody("#"+at+"/thing", `thing: it is missing; name the thing in the address, or add it in the SQL of the rule: SELECT *, topic(3) AS thing`)
	case key.Thing == "":
		req.Key.Thing = doc.Thing
	case doc.Thing != "" && doc.Thing != key.Thing:
		return req, badBody("#"+at+"/thing", "thing: %s is not %s, which the address names", doc.Thing, key.Thing)
	}
	switch {
	case key.Shadow == "":
		req.Key.Shadow = doc.Shadow
	case doc.Shadow != "" && doc.Shadow != key.Shadow:
		return req, badBody("#"+at+"/shadow", "shadow: %s is not %s, which the address names", doc.Shadow, key.Shadow)
	}
	if now := d.opts.Now(); doc.Time.Std().Sub(now) > ingestAheadMax {
		return req, badBody("#"+at+"/timestamp", "timestamp: %s is in the future; it is %s now; it must be in seconds",
			doc.Time.Std().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return req, nil
}

// pointed points to the member of the body that the message of an error begins with.
func pointed(err error, at string) error {
	if err == nil {
		return nil
	}
	p := *problemOf(err)
	pointer, what, ok := strings.Cut(p.Detail, ": ")
	if !ok || pointer != "" && pointer[0] != '/' || strings.Contains(pointer, " ") {
		return err
	}
	p.Pointer = "#" + at + pointer
	if p.Detail = what; pointer != "" {
		p.Detail = fmt.Sprintf("%s: %s", strings.ReplaceAll(pointer[1:], "/", "."), what)
	}
	return &p
}
