package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// changed is the answer to a change that is durable.
type changed struct {
	DeviceID twin.ThingName  `json:"deviceId"`
	Shadow   twin.ShadowName `json:"shadow,omitempty"`
	Version  twin.Version    `json:"version,omitempty"` // left out when the whole twin is deleted
	Deleted  bool            `json:"deleted,omitempty"`
}

// patch returns the handler that merges a body into a section of a shadow.
func (d *door) patch(section string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		key, err := keyOf(r)
		if err != nil {
			return err
		}
		if err := mergePatchType(r.Header.Get("Content-Type")); err != nil {
			w.Header().Set("Accept-Patch", "application/merge-patch+json") // RFC 5789 section 2.2
			return err
		}
		version, conditional, err := ifMatch(r)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, d.opts.BodyBytesMax))
		if err != nil {
			return readError(err)
		}
		payload, err := updatePayload(section, body, version, conditional)
		if err != nil {
			return err
		}
		req, err := twin.ParseRequest(payload, d.opts.Limits)
		if err != nil {
			return err
		}
		p := d.params(r)
		u := twin.Update{Key: key, Request: req, ExpiresIn: p.expiresIn()}
		if p.err != nil {
			return p.err
		}
		return d.change(w, r, u, body, conditional)
	}
}

// updatePayload wraps a merge patch into an update request. The patch is checked
// to be one JSON value first, so that it cannot reach outside its section.
func updatePayload(section string, body []byte, version twin.Version, conditional bool) ([]byte, error) {
	if !json.Valid(body) {
		var v any
		err := json.Unmarshal(body, &v)
		return nil, &problem{slug: slugInvalid, Detail: fmt.Sprintf("the body is not one JSON value: %v", err)}
	}
	trimmed := strings.TrimLeft(string(body), " \t\r\n")
	if trimmed[0] != '{' && !strings.HasPrefix(trimmed, "null") {
		return nil, &problem{slug: slugInvalid, Detail: `the body must be a JSON object such as {"level":80}, or null to clear ` + section}
	}
	payload := append([]byte(`{"state":{"`+section+`":`), body...)
	payload = append(payload, '}')
	if conditional {
		payload = append(payload, `,"version":`...)
		payload = strconv.AppendUint(payload, uint64(version), 10)
	}
	return append(payload, '}'), nil
}

// change submits an update and answers when it is durable.
func (d *door) change(w http.ResponseWriter, r *http.Request, u twin.Update, body []byte, conditional bool) error {
	u.IdempotencyKey = r.Header.Get("Idempotency-Key")
	if len(u.IdempotencyKey) > idempotencyKeyBytesMax {
		return &problem{slug: slugInvalid, Detail: fmt.Sprintf("Idempotency-Key is longer than %d bytes", idempotencyKeyBytesMax)}
	}
	u.Origin = twin.Origin{
		Door:        twin.DoorREST,
		Session:     caller(r),
		PayloadHash: twin.PayloadHash(r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("If-Match"), body),
	}
	res := d.submit(r.Context(), u)
	if res.Err != nil {
		if conditional && twin.Kind(res.Err) == twin.KindConflict {
			return d.versionConflict(r, u.Key)
		}
		return res.Err
	}
	if res.Duplicate {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	if !u.Delete {
		w.Header().Set("ETag", etag(res.Version))
	}
	return writeJSON(w, changed{DeviceID: u.Key.Thing, Shadow: u.Key.Shadow, Version: res.Version, Deleted: u.Delete})
}

// caller says who asks. Until there is authentication the address is all that is
// known.
func caller(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// submit waits for the outcome of an update. If the client goes away first, the
// update still takes its course.
func (d *door) submit(ctx context.Context, u twin.Update) twin.Result {
	results := make(chan twin.Result, 1)
	if err := d.engine.Submit(u, func(r twin.Result) { results <- r }); err != nil {
		return twin.Result{Err: err}
	}
	select {
	case r := <-results:
		return r
	case <-ctx.Done():
		return twin.Result{Err: errNotKnown(ctx)}
	}
}

// versionConflict says at which version the shadow is now.
func (d *door) versionConflict(r *http.Request, key twin.ShadowKey) error {
	s, err := d.engine.Shadow(r.Context(), key)
	if err != nil {
		return err
	}
	p := &problem{slug: slugVersion, Detail: fmt.Sprintf("You sent If-Match %s; %s does not exist.", r.Header.Get("If-Match"), key)}
	if s.Exists() {
		p.Detail = fmt.Sprintf("You sent If-Match %s; %s is at %s.", r.Header.Get("If-Match"), key, etag(s.Version))
		p.CurrentVersion = &s.Version
	}
	return p
}

// ifMatch reads the version a change is conditional on. Only one entity tag of ours
// is accepted; a precondition that is not understood must not be passed over.
func ifMatch(r *http.Request) (v twin.Version, conditional bool, err error) {
	if r.Header.Get("If-None-Match") != "" {
		return 0, false, &problem{slug: slugInvalid, Detail: "If-None-Match is not supported for changes; use If-Match"}
	}
	values := r.Header.Values("If-Match")
	if len(values) == 0 {
		return 0, false, nil
	}
	bad := &problem{slug: slugInvalid, Detail: fmt.Sprintf(`If-Match %s is not one entity tag such as "v3"`, strings.Join(values, ", "))}
	if len(values) > 1 {
		return 0, false, bad
	}
	digits, ok := strings.CutPrefix(strings.TrimSpace(values[0]), `"v`)
	digits, end := strings.CutSuffix(digits, `"`)
	n, perr := strconv.ParseUint(digits, 10, 63)
	if !ok || !end || perr != nil {
		return 0, false, bad
	}
	return twin.Version(n), true, nil
}

// mergePatchType checks the media type of a patch. No type at all is accepted, as
// for every client that does not care to say.
func mergePatchType(header string) error {
	if header == "" {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(header)
	if err == nil && (mediaType == "application/merge-patch+json" || mediaType == "application/json") {
		return nil
	}
	return &problem{slug: slugMediaType, Detail: fmt.Sprintf("Content-Type %q is not application/merge-patch+json or application/json", header)}
}

// readError turns a body that could not be read into the client's fault.
func readError(err error) error {
	if p := problemOf(err); p.slug == slugTooLarge {
		return p
	}
	return &problem{slug: slugInvalid, Detail: "the body could not be read: " + err.Error()}
}

func (d *door) deleteShadow(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	version, conditional, err := ifMatch(r)
	if err != nil {
		return err
	}
	req := &twin.Request{}
	if conditional {
		req = twin.ExpectVersion(version)
	}
	return d.change(w, r, twin.Update{Key: key, Delete: true, Request: req}, nil, conditional)
}
