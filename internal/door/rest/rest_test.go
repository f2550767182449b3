package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/twin"
)

// fake is an engine without a store: the real rules on a map.
type fake struct {
	shadows map[twin.ShadowKey]*twin.Shadow
	keys    map[string]twin.Result
	last    twin.Update
	refuse  error // of Submit
	fail    error // of everything else
	silent  bool  // never answers
	now     twin.Time
}

func newFake() *fake {
	now := twin.TimeOf(time.Date(2026, 11, 22, 20, 25, 31, 0, time.UTC))
	return &fake{shadows: map[twin.ShadowKey]*twin.Shadow{}, keys: map[string]twin.Result{}, now: now}
}

func (f *fake) Submit(u twin.Update, done func(twin.Result)) error {
	f.last = u
	if f.refuse != nil {
		return f.refuse
	}
	if f.silent {
		return nil
	}
	if r, ok := f.keys[u.IdempotencyKey]; ok && u.IdempotencyKey != "" {
		done(twin.Result{Duplicate: true, Version: r.Version, Answer: r.Change.AppendAccepted(nil)})
		return nil
	}
	var c *twin.Change
	var err error
	if u.Delete {
		c, err = twin.NewDelete(u.Key, f.shadows[u.Key], u.Request, f.now)
	} else {
		c, err = twin.NewChange(u.Key, f.shadows[u.Key], u.Request, f.now, twin.Limits{})
	}
	if err != nil {
		done(twin.Result{Err: err})
		return nil
	}
	f.shadows[u.Key] = c.Current
	r := twin.Result{Change: c, Version: c.Version}
	f.keys[u.IdempotencyKey] = r
	done(r)
	return nil
}

func (f *fake) Shadow(_ context.Context, key twin.ShadowKey) (*twin.Shadow, error) {
	return f.shadows[key], f.fail
}

func (f *fake) Things(_ context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	var names []twin.ThingName
	for k, s := range f.shadows {
		if k.Thing > after && s.Exists() && !slices.Contains(names, k.Thing) {
			names = append(names, k.Thing)
		}
	}
	slices.Sort(names)
	return names[:min(len(names), limit)], f.fail
}

func (f *fake) ShadowNames(_ context.Context, thing twin.ThingName, after twin.ShadowName, limit int) ([]twin.ShadowName, error) {
	var names []twin.ShadowName
	for k, s := range f.shadows {
		if k.Thing == thing && k.Shadow > after && s.Exists() {
			names = append(names, k.Shadow)
		}
	}
	slices.Sort(names)
	return names[:min(len(names), limit)], f.fail
}

// api is the door on a fake engine.
type api struct {
	*fake
	t       *testing.T
	handler http.Handler
	log     *bytes.Buffer
	conform *conformer
}

func newAPI(t *testing.T) *api {
	f, log := newFake(), &bytes.Buffer{}
	h := rest.New(slog.New(slog.NewTextHandler(log, nil)), f, rest.Options{NewID: func() string { return "01ID" }})
	return &api{f, t, h, log, newConformer(t, h)}
}

// call makes a request; header is "Name: value" lines.
func (a *api) call(method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/merge-patch+json")
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	if err := a.conform.check(r, body, w); err != nil {
		a.t.Errorf("%s %s is not as /openapi.json says: %v", method, target, err)
	}
	return w
}

// ok makes a request that must succeed.
func (a *api) ok(t *testing.T, method, target, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	w := a.call(method, target, body, header...)
	if w.Code != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
	}
	return w
}

func want(t *testing.T, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("status %d, want %d", w.Code, status)
	}
	if d := cmp.Diff(body, strings.TrimSuffix(w.Body.String(), "\n")); d != "" {
		t.Errorf("body (-want +got):\n%s", d)
	}
}

func TestGet_document(t *testing.T) {
	a := newAPI(t)
	a.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"temperature":41.50,"serial":9007199254740993,"tag":"<a&b>","mode":"running"}`)
	a.now += 7000
	a.ok(t, "PATCH", "/api/v1/twins/pump-7/desired", `{"tempSetpoint":1e2,"mode":"running"}`)
	for _, path := range []string{"/api/v1/twins/pump-7", "/twins/pump-7"} {
		w := a.call("GET", path, "")
		// Numbers, and characters that HTML would escape, stay as they were sent.
		want(t, w, 200, `{"deviceId":"pump-7","version":2,"lastSeen":"2026-11-22T20:25:31Z",`+
			`"currentState":{"temperature":41.50,"serial":9007199254740993,"tag":"<a&b>","mode":"running"},`+
			`"desiredState":{"tempSetpoint":1e2,"mode":"running"},"delta":{"tempSetpoint":1e2},`+
			`"metadata":{"reported":{"temperature":{"timestamp":1795379131},"serial":{"timestamp":1795379131},"tag":{"timestamp":1795379131},"mode":{"timestamp":1795379131}},`+
			`"desired":{"tempSetpoint":{"timestamp":1795379138},"mode":{"timestamp":1795379138}}}}`)
		for name, value := range map[string]string{"ETag": `"v2"`, "Content-Type": "application/json", "X-Request-Id": "01ID", "X-Content-Type-Options": "nosniff"} {
			if got := w.Header().Get(name); got != value {
				t.Errorf("%s: %q, want %q", name, got, value)
			}
		}
	}
}

// What is not known is left out, not made up.
func TestGet_absentFields(t *testing.T) {
	a := newAPI(t)
	a.ok(t, "PATCH", "/api/v1/twins/a/desired", `{}`)
	want(t, a.call("GET", "/twins/a", ""), 200, `{"deviceId":"a","version":1}`)
	a.ok(t, "PATCH", "/api/v1/twins/a/desired", `{"x":[1,{"y":2}]}`)
	want(t, a.call("GET", "/twins/a", ""), 200, `{"deviceId":"a","version":2,"desiredState":{"x":[1,{"y":2}]},"delta":{"x":[1,{"y":2}]},`+
		`"metadata":{"desired":{"x":[{"timestamp":1795379131},{"y":{"timestamp":1795379131}}]}}}`)
}

func TestGet_conditional(t *testing.T) {
	a := newAPI(t)
	a.ok(t, "PATCH", "/api/v1/twins/a/desired", `{"x":1}`)
	for header, status := range map[string]int{`"v1"`: 304, `W/"v1"`: 304, `"v9", "v1"`: 304, `*`: 304, `"v2"`: 200, `v1`: 200, `"v11"`: 200} {
		w := a.call("GET", "/twins/a", "", "If-None-Match: "+header)
		if w.Code != status || w.Header().Get("ETag") != `"v1"` {
			t.Errorf("If-None-Match %s: %d %s, want %d", header, w.Code, w.Header(), status)
		}
		if status == 304 && w.Body.Len() != 0 {
			t.Errorf("If-None-Match %s: 304 with a body: %s", header, w.Body)
		}
	}
}

func TestGet_namedShadow(t *testing.T) {
	a := newAPI(t)
	a.ok(t, "PATCH", "/api/v1/twins/a/reported?shadow=net", `{"rssi":-40}`)
	if w := a.call("GET", "/twins/a?shadow=net", ""); w.Code != 200 || !strings.HasPrefix(w.Body.String(), `{"deviceId":"a","shadow":"net","version":1,`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	want(t, a.call("GET", "/api/v1/twins/a", ""), 404,
		`{"type":"/problems/not-found","title":"Not found","status":404,"detail":"No shadow exists with name: 'a'","instance":"/api/v1/twins/a","requestId":"01ID"}`)
	want(t, a.call("GET", "/api/v1/twins/a/shadows", ""), 200, `{"deviceId":"a","classic":false,"names":["net"]}`)
	want(t, a.call("GET", "/api/v1/twins", ""), 200, `{"twins":[{"deviceId":"a"}]}`)
}

func TestPatch_merge(t *testing.T) {
	a := newAPI(t)
	want(t, a.call("PATCH", "/api/v1/twins/a/desired", ` {"x":{"y":1,"z":2}}`), 200, `{"deviceId":"a","version":1}`)
	w := a.ok(t, "PATCH", "/api/v1/twins/a/desired", `{"x":{"y":null}}`, "Content-Type: application/json; charset=utf-8")
	if w.Header().Get("ETag") != `"v2"` {
		t.Errorf("ETag %s", w.Header().Get("ETag"))
	}
	if got := string(a.shadows[twin.ShadowKey{Thing: "a"}].Desired.AppendJSON(nil)); got != `{"x":{"z":2}}` {
		t.Errorf("desired is %s", got)
	}
	a.ok(t, "PATCH", "/api/v1/twins/a/desired", `null`)
	if a.shadows[twin.ShadowKey{Thing: "a"}].Desired != nil {
		t.Error("null does not clear the section")
	}
	if got := a.last.Origin; got.Door != twin.DoorREST || got.Session == "" {
		t.Errorf("origin %+v does not say who by which door", got)
	}
}

func TestPatch_ifMatch(t *testing.T) {
	a := newAPI(t)
	a.ok(t, "PATCH", "/api/v1/twins/lamp-1/desired", `{"level":80}`)
	a.ok(t, "PATCH", "/api/v1/twins/lamp-1/desired", `{"level":85}`, `If-Match: "v1"`)
	want(t, a.call("PATCH", "/api/v1/twins/lamp-1/desired", `{"level":90}`, `If-Match: "v1"`), 412,
		`{"type":"/problems/version-conflict","title":"Twin has changed","status":412,"detail":"You sent If-Match \"v1\"; lamp-1 is at \"v2\".",`+
			`"instance":"/api/v1/twins/lamp-1/desired","requestId":"01ID","currentVersion":2}`)
	if w := a.call("PATCH", "/api/v1/twins/new/desired", `{"level":90}`, `If-Match: "v3"`); w.Code != 412 || !strings.Contains(w.Body.String(), "new does not exist") || strings.Contains(w.Body.String(), "currentVersion") {
		t.Errorf("a shadow that does not exist: %d %s", w.Code, w.Body)
	}
	// A precondition that is not understood is refused, never passed over.
	for _, header := range []string{"If-Match: *", `If-Match: "v1", "v2"`, `If-Match: W/"v2"`, "If-Match: v2", `If-Match: "2"`, `If-Match: "v-1"`, `If-Match: ""`, "If-None-Match: *"} {
		w := a.call("PATCH", "/api/v1/twins/lamp-1/desired", `{"level":1}`, header)
		if w.Code != 400 || !strings.Contains(w.Body.String(), "If-") {
			t.Errorf("%s: %d %s", header, w.Code, w.Body)
		}
	}
	if got := a.shadows[twin.ShadowKey{Thing: "lamp-1"}].Version; got != 2 {
		t.Errorf("a refused change took effect: version %d", got)
	}
}

func TestPatch_idempotencyKey(t *testing.T) {
	a := newAPI(t)
	first := a.ok(t, "PATCH", "/api/v1/twins/a/desired", `{"x":1}`, "Idempotency-Key: k1")
	hash := a.last.Origin.PayloadHash
	a.ok(t, "PATCH", "/api/v1/twins/a/desired", `{"x":2}`)
	again := a.ok(t, "PATCH", "/api/v1/twins/a/desired", `{"x":1}`, "Idempotency-Key: k1")
	if again.Body.String() != first.Body.String() || again.Header().Get("ETag") != `"v1"` || again.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("replayed %s %s, want %s", again.Header(), again.Body, first.Body)
	}
	if first.Header().Get("Idempotency-Replayed") != "" {
		t.Error("the first request is marked as replayed")
	}
	if a.last.Origin.PayloadHash != hash {
		t.Error("the same request has another hash")
	}
	for name, send := range map[string]func(){
		"other body":      func() { a.call("PATCH", "/api/v1/twins/a/desired", `{"x":3}`, "Idempotency-Key: k1") },
		"other path":      func() { a.call("PATCH", "/api/v1/twins/a/reported", `{"x":1}`, "Idempotency-Key: k1") },
		"other condition": func() { a.call("PATCH", "/api/v1/twins/a/desired", `{"x":1}`, "Idempotency-Key: k1", `If-Match: "v1"`) },
		"other method":    func() { a.call("DELETE", "/api/v1/twins/a", ``, "Idempotency-Key: k1") },
	} {
		if send(); a.last.Origin.PayloadHash == hash {
			t.Errorf("%s: the same hash as another request under the key", name)
		}
	}
	if w := a.call("PATCH", "/api/v1/twins/a/desired", `{}`, "Idempotency-Key: "+strings.Repeat("k", 129)); w.Code != 400 {
		t.Errorf("a key of 129 bytes: %d", w.Code)
	}
}

// A patch stays in its section, whatever it holds.
func TestPatch_cannotReachOut(t *testing.T) {
	a := newAPI(t)
	for _, body := range []string{
		`{"x":1},"reported":{"y":1}`, `{"x":1}},"version":7,"z":{"a":1}`, `{} {}`, `{"x":1}}`, `{"x":1`, ``, ` `, `{"x":NaN}`, `{'x':1}`,
	} {
		w := a.call("PATCH", "/api/v1/twins/a/desired", body)
		if w.Code != 400 || !strings.Contains(w.Body.String(), "not one JSON value") {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	}
	for _, body := range []string{`1`, `"a"`, `[1]`, `true`} {
		if w := a.call("PATCH", "/api/v1/twins/a/desired", body); w.Code != 400 || !strings.Contains(w.Body.String(), "must be a JSON object") {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	}
	if len(a.shadows) != 0 {
		t.Errorf("something was stored: %v", a.shadows)
	}
}

func TestPatch_badInput(t *testing.T) {
	a := newAPI(t)
	for name, c := range map[string]struct {
		body, header string
		status       int
		slug         string
	}{
		"duplicate keys":  {`{"x":1,"x":2}`, "", 400, "invalid-request"},
		"bad UTF-8":       {"{\"x\":\"\xff\"}", "", 415, "not-utf-8"},
		"number too big":  {`{"x":1e400}`, "", 400, "invalid-request"},
		"null in array":   {`{"x":[null]}`, "", 400, "invalid-request"},
		"depth":           {strings.Repeat(`{"x":`, 9) + "1" + strings.Repeat("}", 9), "", 400, "invalid-request"},
		"shadow too big":  {`{"x":"` + strings.Repeat("a", 8192) + `"}`, "", 413, "too-large"},
		"body too long":   {`{"x":"` + strings.Repeat("a", 65536) + `"}`, "", 413, "too-large"},
		"form":            {`{"x":1}`, "Content-Type: application/x-www-form-urlencoded", 415, "unsupported-media-type"},
		"text":            {`{"x":1}`, "Content-Type: text/plain", 415, "unsupported-media-type"},
		"broken type":     {`{"x":1}`, "Content-Type: /", 415, "unsupported-media-type"},
		"JSON patch type": {`[{"op":"add"}]`, "Content-Type: application/json-patch+json", 415, "unsupported-media-type"},
	} {
		t.Run(name, func(t *testing.T) {
			var header []string
			if c.header != "" {
				header = []string{c.header}
			}
			w := a.call("PATCH", "/api/v1/twins/a/desired", c.body, header...)
			if w.Code != c.status || !strings.Contains(w.Body.String(), `"type":"/problems/`+c.slug+`"`) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, c.status, c.slug)
			}
			if len(a.shadows) != 0 {
				t.Error("something was stored")
			}
		})
	}
}

func TestNames_illegal(t *testing.T) {
	a := newAPI(t)
	long := strings.Repeat("n", 129)
	for _, target := range []string{"/twins/a%2Fb", "/twins/a%20b", "/twins/" + long, "/twins/%00", "/twins/a%23", "/twins/caf%C3%A9", "/twins/a?shadow=b%2Fc", "/twins/a?shadow=" + long, "/api/v1/twins/a+b"} {
		w := a.call("GET", target, "")
		if w.Code != 400 || !strings.Contains(w.Body.String(), " name: 1 to ") {
			t.Errorf("GET %s: %d %s", target, w.Code, w.Body)
		}
	}
	a.ok(t, "PATCH", "/api/v1/twins/urn:a_b-1/desired?shadow=%24package", `{}`)
	a.ok(t, "GET", "/twins/urn%3Aa_b-1?shadow=$package", "")
}

func TestDelete(t *testing.T) {
	a := newAPI(t)
	a.ok(t, "PATCH", "/api/v1/twins/a/desired", `{"x":1}`)
	if w := a.call("DELETE", "/api/v1/twins/a", "", `If-Match: "v2"`); w.Code != 412 || !a.shadows[twin.ShadowKey{Thing: "a"}].Exists() {
		t.Errorf("another version than the one expected was deleted: %d %s", w.Code, w.Body)
	}
	want(t, a.call("DELETE", "/api/v1/twins/a", "", `If-Match: "v1"`), 200, `{"deviceId":"a","version":1,"deleted":true}`)
	for _, target := range []string{"/twins/a", "/api/v1/twins/a/shadows"} {
		if w := a.call("GET", target, ""); w.Code != 404 {
			t.Errorf("GET %s after the delete: %d", target, w.Code)
		}
	}
	if w := a.call("DELETE", "/api/v1/twins/a", ""); w.Code != 404 {
		t.Errorf("deleted twice: %d", w.Code)
	}
	want(t, a.call("GET", "/api/v1/twins", ""), 200, `{"twins":[]}`)
}

func TestList_pages(t *testing.T) {
	a := newAPI(t)
	var all []string
	for i := range 7 {
		name := fmt.Sprintf("t-%d", i)
		all = append(all, name)
		a.ok(t, "PATCH", "/api/v1/twins/"+name+"/reported", `{"x":1}`)
		a.ok(t, "PATCH", "/api/v1/twins/t-0/reported?shadow="+name, `{"x":1}`)
	}
	for limit := 1; limit <= 8; limit++ {
		var twins, shadows []string
		for _, list := range []struct {
			path string
			read func(map[string]json.RawMessage)
		}{
			{"/api/v1/twins", func(page map[string]json.RawMessage) {
				var ts []struct{ DeviceID string }
				_ = json.Unmarshal(page["twins"], &ts)
				for _, x := range ts {
					twins = append(twins, x.DeviceID)
				}
			}},
			{"/api/v1/twins/t-0/shadows", func(page map[string]json.RawMessage) {
				var names []string
				_ = json.Unmarshal(page["names"], &names)
				shadows = append(shadows, names...)
			}},
		} {
			next := fmt.Sprintf("%s?limit=%d", list.path, limit)
			for pages := 0; next != ""; pages++ {
				if pages > 8 {
					t.Fatal("the list does not end")
				}
				w := a.ok(t, "GET", next, "")
				var page map[string]json.RawMessage
				if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
					t.Fatal(err)
				}
				list.read(page)
				link := w.Header().Get("Link")
				if (link != "") != (page["next"] != nil) {
					t.Errorf("Link %q and next %s do not agree", link, page["next"])
				}
				next = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
			}
		}
		if !slices.Equal(twins, all) || !slices.Equal(shadows, all) {
			t.Errorf("limit %d: twins %v, shadows %v, want %v", limit, twins, shadows, all)
		}
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "cursor=%21", "cursor=MXg%3D", "cursor=Mng", "cursor=MS8"} {
		if w := a.call("GET", "/api/v1/twins?"+query, ""); w.Code != 400 {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

func TestErrors_kinds(t *testing.T) {
	for kind, c := range map[twin.ErrorKind]struct {
		status int
		slug   string
	}{
		twin.KindInternal: {500, "internal-error"}, twin.KindInvalid: {400, "invalid-request"}, twin.KindUnauthenticated: {401, "unauthenticated"},
		twin.KindDenied: {403, "denied"}, twin.KindNotFound: {404, "not-found"}, twin.KindConflict: {409, "conflict"},
		twin.KindTooLarge: {413, "too-large"}, twin.KindEncoding: {415, "not-utf-8"}, twin.KindThrottled: {429, "too-many-requests"},
		twin.KindUnavailable: {503, "unavailable"}, twin.KindFull: {507, "full"},
	} {
		a := newAPI(t)
		a.refuse = fmt.Errorf("wrapped: %w", twin.NewError(kind, "what happened"))
		w := a.call("PATCH", "/api/v1/twins/a/desired", `{}`)
		var p struct {
			Type, Title, Detail, RequestID string
			Status                         int
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if w.Code != c.status || p.Status != c.status || p.Type != "/problems/"+c.slug || p.Title == "" || p.RequestID != "01ID" || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("kind %d: %d %s %s, want %d %s", kind, w.Code, w.Header(), w.Body, c.status, c.slug)
		}
		if retry := w.Header().Get("Retry-After") != ""; retry != (c.status == 429 || c.status == 503 || c.status == 507) {
			t.Errorf("kind %d: Retry-After is %v", kind, retry)
		}
		page := a.call("GET", p.Type, "")
		if page.Code != 200 || !strings.Contains(page.Body.String(), p.Title) {
			t.Errorf("%s has no page: %d %s", p.Type, page.Code, page.Body)
		}
	}
}

// The text of an unexpected error is for the log, not for the client.
func TestErrors_internal(t *testing.T) {
	a := newAPI(t)
	a.fail = errors.New("secret path /var/lib")
	for _, target := range []string{"/twins/a", "/api/v1/twins", "/api/v1/twins/a/shadows"} {
		a.log.Reset()
		w := a.call("GET", target, "")
		if w.Code != 500 || strings.Contains(w.Body.String(), "secret") || !strings.Contains(w.Body.String(), "01ID") {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
		if log := a.log.String(); !strings.Contains(log, "secret path") || !strings.Contains(log, "request_id=01ID") || strings.Count(log, "\n") != 1 {
			t.Errorf("%s: the log says %q", target, log)
		}
	}
	a.fail, a.refuse = nil, twin.NewError(twin.KindFull, "full")
	a.log.Reset()
	if a.call("PATCH", "/api/v1/twins/a/desired", `{}`); a.log.Len() != 0 {
		t.Errorf("a refusal is logged: %s", a.log)
	}
}

func TestErrors_clientGone(t *testing.T) {
	a := newAPI(t)
	a.silent = true
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "DELETE", "/api/v1/twins/a", nil)
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	if w.Code != 503 || !strings.Contains(w.Body.String(), "before its outcome was known") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestRoutes_unknown(t *testing.T) {
	a := newAPI(t)
	for _, c := range []struct {
		method, target string
		status         int
		allow, slug    string
	}{
		{"POST", "/api/v1/twins", 405, "GET, HEAD", "method-not-allowed"},
		{"PUT", "/api/v1/twins/a", 405, "GET, HEAD, DELETE", "method-not-allowed"},
		{"DELETE", "/api/v1/twins/a/desired", 405, "PATCH", "method-not-allowed"},
		{"DELETE", "/twins/a", 405, "GET, HEAD", "method-not-allowed"},
		{"GET", "/api/v1/nothing", 404, "", "no-such-route"},
		{"GET", "/", 404, "", "no-such-route"},
		{"GET", "/api/v2/twins", 404, "", "no-such-route"},
	} {
		w := a.call(c.method, c.target, "")
		if w.Code != c.status || w.Header().Get("Allow") != c.allow || !strings.Contains(w.Body.String(), c.slug) {
			t.Errorf("%s %s: %d %s %s", c.method, c.target, w.Code, w.Header(), w.Body)
		}
	}
	if w := a.call("GET", "/problems/nonsense", ""); w.Code != 404 {
		t.Errorf("a problem that there is not: %d", w.Code)
	}
	a.ok(t, "PATCH", "/api/v1/twins/a/desired", `{}`)
	if w := a.call("HEAD", "/twins/a", ""); w.Code != 200 || w.Header().Get("ETag") != `"v1"` {
		t.Errorf("HEAD: %d %s", w.Code, w.Header())
	}
}
