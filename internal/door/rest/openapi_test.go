package rest_test

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// conformer holds what the API is said to be against what it answers.
type conformer struct {
	doc  map[string]any
	seen map[string]bool // "method path" that was answered with success
}

func newConformer(t *testing.T, h http.Handler) *conformer {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	c := &conformer{seen: map[string]bool{}}
	if err := json.Unmarshal(w.Body.Bytes(), &c.doc); err != nil {
		t.Fatalf("/openapi.json: %v: %.200s", err, w.Body)
	}
	return c
}

// check compares a request and its answer with the description.
func (c *conformer) check(r *http.Request, body string, w *httptest.ResponseRecorder) error {
	path, op := c.operation(r)
	if op == nil {
		if w.Code < 400 && !slices.Contains([]string{"/openapi.json", "/docs"}, r.URL.Path) && !strings.HasPrefix(r.URL.Path, "/problems/") {
			return fmt.Errorf("it was answered with %d but is not described", w.Code)
		}
		return nil
	}
	responses := op["responses"].(map[string]any)
	response, ok := responses[strconv.Itoa(w.Code)].(map[string]any)
	if !ok {
		if w.Code < 400 {
			return fmt.Errorf("status %d is not described", w.Code)
		}
		response = responses["default"].(map[string]any)
	}
	content, ok := response["content"].(map[string]any)
	if !ok || r.Method == http.MethodHead {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if err != nil {
		return err
	}
	media, ok := content[mediaType].(map[string]any)
	if !ok {
		return fmt.Errorf("media type %s of a %d is not described", mediaType, w.Code)
	}
	if strings.HasSuffix(mediaType, "json") && mediaType != "application/x-ndjson" {
		if err := c.valid(media["schema"], w.Body.Bytes()); err != nil {
			return fmt.Errorf("answer %w: %s", err, w.Body)
		}
	}
	if w.Code < 300 {
		c.seen[r.Method+" "+path] = true
		if request, ok := op["requestBody"].(map[string]any); ok {
			content := request["content"].(map[string]any)
			if content["application/octet-stream"] != nil {
				return nil // anything
			}
			if content["application/x-ndjson"] != nil {
				return nil // what is wrong with one line does not stop the others
			}
			for _, media := range content {
				if err := c.valid(media.(map[string]any)["schema"], []byte(body)); err != nil && strings.TrimSpace(body) != "null" {
					return fmt.Errorf("the request was taken, but %w: %s", err, body)
				}
			}
		}
	}
	return nil
}

func (c *conformer) operation(r *http.Request) (string, map[string]any) {
	method := strings.ToLower(r.Method)
	if method == "head" {
		method = "get"
	}
	for path, item := range c.doc["paths"].(map[string]any) {
		pattern := "^" + regexp.MustCompile(`\\\{\w+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "[^/]+") + "$"
		if regexp.MustCompile(pattern).MatchString(r.URL.EscapedPath()) {
			op, _ := item.(map[string]any)[method].(map[string]any)
			return path, op
		}
	}
	return "", nil
}

func (c *conformer) valid(s any, body []byte) error {
	var v any
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return err
	}
	return c.value("", s.(map[string]any), v)
}

// value checks one value against the part of JSON Schema that the description uses.
func (c *conformer) value(at string, s map[string]any, v any) error {
	if ref, ok := s["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		target, ok := c.doc["components"].(map[string]any)["schemas"].(map[string]any)[name].(map[string]any)
		if !ok {
			return fmt.Errorf("%s: there is no schema %s", at, name)
		}
		return c.value(at, target, v)
	}
	if err := typed(at, s, v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		if p, ok := s["pattern"].(string); ok && !regexp.MustCompile(p).MatchString(v) {
			return fmt.Errorf("%s: %q does not match %s", at, v, p)
		}
		if s["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339, v); err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
		}
	case []any:
		items, _ := s["items"].(map[string]any)
		for i, item := range v {
			if err := c.value(fmt.Sprintf("%s/%d", at, i), items, item); err != nil {
				return err
			}
		}
	case map[string]any:
		return c.members(at, s, v)
	}
	return nil
}

func (c *conformer) members(at string, s map[string]any, v map[string]any) error {
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			return fmt.Errorf("%s: %s is missing", at, name)
		}
	}
	properties, _ := s["properties"].(map[string]any)
	for name, value := range v {
		under, ok := properties[name].(map[string]any)
		if !ok {
			if s["additionalProperties"] == false {
				return fmt.Errorf("%s: %s is not described", at, name)
			}
			under, _ = s["additionalProperties"].(map[string]any)
		}
		if err := c.value(at+"/"+name, under, value); err != nil {
			return err
		}
	}
	return nil
}

func typed(at string, s map[string]any, v any) error {
	var want []string
	switch t := s["type"].(type) {
	case nil:
		return nil
	case string:
		want = []string{t}
	case []any:
		for _, x := range t {
			want = append(want, x.(string))
		}
	}
	is := map[string]bool{}
	switch v := v.(type) {
	case nil:
		is["null"] = true
	case bool:
		is["boolean"] = true
	case string:
		is["string"] = true
	case json.Number:
		is["number"] = true
		_, err := strconv.ParseUint(v.String(), 10, 64)
		is["integer"] = err == nil
	case []any:
		is["array"] = true
	case map[string]any:
		is["object"] = true
	}
	if !slices.ContainsFunc(want, func(w string) bool { return is[w] }) {
		return fmt.Errorf("%s: %v is not of type %v", at, v, want)
	}
	return nil
}

// TestOpenAPI_everyRoute calls each route that is described; every other test of this
// package checks its answers against the description too.
func TestOpenAPI_everyRoute(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	for _, call := range [][3]string{
		{"POST", "/api/v1/twins", `{"deviceId":"lamp-1","model":"lamp","tags":{"site":"hh1"}}`},
		{"PATCH", "/api/v1/twins/pump-7", `{"model":"pump"}`},
		{"GET", "/api/v1/twins", ""},
		{"POST", "/api/v1/twins:batchGet", `{"ids":["pump-7","nobody"]}`},
		{"GET", "/api/v1/twins/pump-7", ""},
		{"GET", "/twins/pump-7", ""},
		{"PATCH", "/api/v1/twins/pump-7/desired", `{"x":1}`},
		{"PATCH", "/api/v1/twins/pump-7/reported", `{"x":null}`},
		{"PATCH", "/api/v1/twins/pump-7/desired?expiresIn=10m", `{"asked":7}`},
		{"GET", "/api/v1/twins/pump-7/intents", ""},
		{"DELETE", "/api/v1/twins/pump-7/intents/v5", ""},
		{"GET", "/api/v1/twins/pump-7/properties", ""},
		{"PUT", "/api/v1/twins/pump-7/properties/desired.x", "2"},
		{"GET", "/api/v1/twins/pump-7/properties/desired.x", ""},
		{"GET", "/api/v1/twins/pump-7/shadows", ""},
		{"GET", "/api/v1/twins/pump-7/history", ""},
		{"POST", "/api/v1/twins/pump-7/events", `{"type":"ota","time":"2026-11-22T14:59:00Z","data":[1]}`},
		{"GET", "/api/v1/twins/pump-7/events", ""},
		{"GET", "/api/v1/twins/pump-7/diff?from=v1", ""},
		{"GET", "/api/v1/twins/pump-7/series?path=reported.temperature", ""},
		{"GET", "/api/v1/series?thing=pump-7&metric=t", ""},
		{"GET", "/api/v1/twins/pump-7/metrics", ""},
		{"GET", "/api/v1/history?model=pump", ""},
		{"POST", "/api/v1/twins/pump-7/commands", `{"id":"c1","name":"flush","parameters":{"seconds":30},"expiresIn":"10m"}`},
		{"GET", "/api/v1/twins/pump-7/commands", ""},
		{"GET", "/api/v1/twins/pump-7/commands/c1", ""},
		{"POST", "/api/v1/twins/pump-7/commands/c1/cancel", ""},
		{"PUT", "/api/v1/artifacts/pump-2.0.bin", "firmware"},
		{"GET", "/api/v1/artifacts", ""},
		{"GET", "/api/v1/artifacts/pump-2.0.bin", ""},
		{"DELETE", "/api/v1/artifacts/pump-2.0.bin", ""},
		{"POST", "/api/v1/jobs", `{"id":"fw-2","document":{"version":"2.0"},"things":["pump-7"],"waves":[{"percent":10.5,"pause":"10m"}],"abort":[{"failure":"all","percent":5,"minEnded":1}]}`},
		{"GET", "/api/v1/jobs", ""},
		{"GET", "/api/v1/jobs/fw-2", ""},
		{"POST", "/api/v1/jobs/fw-2/pause", ""},
		{"POST", "/api/v1/jobs/fw-2/resume", ""},
		{"GET", "/api/v1/jobs/fw-2/executions?status=pending", ""},
		{"GET", "/api/v1/twins/pump-7/jobs", ""},
		{"POST", "/api/v1/jobs/fw-2/cancel", `{"force":true,"reason":"wrong firmware"}`},
		{"DELETE", "/api/v1/jobs/fw-2?force=true", ""},
		{"POST", "/api/v1/ingest/shadow-documents", documentOf("m1", 1)},
		{"POST", "/api/v1/ingest/shadow-documents/m2", documentOf("", 1)},
		{"POST", "/api/v1/ingest/shadow-documents/m2/config", documentOf("", 1)},
		{"GET", "/api/v1/ingest/confirmations", ""},
		{"GET", "/api/v1/storage", ""},
		{"GET", "/api/v1/backup", ""},
		{"POST", "/api/v1/twins/pump-7/telemetry", `{"temperature":1}`},
		{"POST", "/api/v1/telemetry", `[{"thing":"pump-7","temperature":1}]`},
		{"POST", "/api/v1/webhooks", `{"name":"crm","url":"http://127.0.0.1:1","batch":1}`},
		{"GET", "/api/v1/webhooks", ""},
		{"GET", "/api/v1/webhooks/crm", ""},
		{"POST", "/api/v1/webhooks/crm/test", ""},
		{"PUT", "/api/v1/models/pump?dryRun=true", pumpModel},
		{"PUT", "/api/v1/models/pump", pumpModel},
		{"POST", "/api/v1/models", pumpModel + warmAlarm},
		{"GET", "/api/v1/models", ""},
		{"GET", "/api/v1/models/pump", ""},
		{"GET", "/api/v1/models/pump/versions", ""},
		{"GET", "/api/v1/twins/pump-7/computed", ""},
		{"PATCH", "/api/v1/twins/pump-7/reported", `{"temperature":50}`},
		{"GET", "/api/v1/alarms", ""},
		{"GET", "/api/v1/fleet?where=reported.temperature+%3E+1", ""},
		{"POST", "/api/v1/fleet/query", `{"select":["id"],"explain":true}`},
		{"POST", "/api/v1/fleet/act", `{"where":"id == 'pump-7'","desired":{"x":1}}`},
		{"POST", "/api/v1/fleet/act", `{"where":"id == 'pump-7'","tags":{"site":"hh1"},"expect":1}`},
		{"POST", "/api/v1/fleet/changes", `{"from":"2026-11-22T12:00:00Z","to":"2026-11-22T12:01:00Z"}`},
		{"POST", "/api/v1/fleet/aggregate", `{"figures":["count()"],"groupBy":["model"]}`},
		{"PUT", "/api/v1/groups/hot", `{"where":"reported.temperature > 40","about":"too hot"}`},
		{"GET", "/api/v1/groups", ""},
		{"GET", "/api/v1/groups/hot", ""},
		{"GET", "/api/v1/groups/hot/members", ""},
		{"DELETE", "/api/v1/groups/hot", ""},
		{"GET", "/api/v1/twins/pump-7/alarms", ""},
		{"PUT", "/api/v1/models/pump", pumpModel + warmAlarm + pumpStates},
		{"GET", "/api/v1/twins/pump-7/behaviour", ""},
		{"GET", "/api/v1/twins/pump-7/profile?zone=Europe/Berlin", ""},
		{"GET", "/api/v1/twins/pump-7/anomaly", ""},
		{"PATCH", "/api/v1/twins/pump-7/anomaly", `{"threshold":4,"muteFor":"2h"}`},
		{"POST", "/api/v1/twins/pump-7/anomaly/verdicts", `{"verdict":"maintenance done","episode":0}`},
		{"GET", "/api/v1/twins/pump-7/anomaly/preview?threshold=3", ""},
		{"GET", "/api/v1/twins/pump-7/prediction?days=14", ""},
		{"GET", "/api/v1/twins/pump-7/prediction/backtest", ""},
		{"GET", "/api/v1/maintenance?days=30", ""},
		{"POST", "/api/v1/models/pump/preview", ""},
		{"GET", "/api/v1/twins/pump-7/computed/history?attribute=fahrenheit&revise=true", ""},
		{"POST", "/api/v1/twins/pump-7/alarms/warm/acknowledge?by=ops", ""},
		{"POST", "/api/v1/twins/pump-7/alarms/warm/mute?for=2h", ""},
		{"DELETE", "/api/v1/models/pump", ""},
		{"DELETE", "/api/v1/twins/pump-7?whole=true", ""},
	} {
		if res := w.call(call[0], call[1], call[2]); res.Code >= 300 {
			t.Errorf("%s %s: %d %s", call[0], call[1], res.Code, res.Body)
		}
	}
	w.deadLetters(t)
	for path, item := range w.conform.doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if name := strings.ToUpper(method) + " " + path; !w.conform.seen[name] {
				t.Errorf("%s is described but was not answered by any call", name)
			}
		}
	}
}

func TestOpenAPI_conformerCanFail(t *testing.T) {
	a := newAPI(t)
	r := httptest.NewRequest(http.MethodGet, "/api/v1/twins", nil)
	for body, fault := range map[string]string{
		`{"twins":[{"deviceId":"a","mode":"x"}]}`: "mode is not described",
		`{"twins":[{}]}`:                               "deviceId is missing",
		`{"twins":[{"deviceId":"a/b"}]}`:               "does not match",
		`{"twins":[{"deviceId":"a","version":"1"}]}`:   "not of type",
		`{"twins":[{"deviceId":"a","version":-1.5}]}`:  "not of type",
		`{"twins":[{"deviceId":"a","tags":{"x":[]}}]}`: "not of type",
		`{"twins":{}}`:                                 "not of type",
	} {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.WriteString(body)
		if err := a.conform.check(r, "", w); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: %v, want %q", body, err, fault)
		}
	}
}

func TestDocs(t *testing.T) {
	w := newWorld(t)
	res := w.ok(t, "GET", "/docs", "")
	page := res.Body.String()
	for _, want := range []string{"<code>GET /api/v1/twins/{id}/history</code>", `href="/openapi.json"`, `href="#schema-Problem"`, "such as reported.temperature"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %s", want)
		}
	}
	for _, never := range []string{"<script", "http://", "https://", "src="} {
		if strings.Contains(page, never) {
			t.Errorf("the page is not offline: %s", never)
		}
	}
	if got := res.Header().Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'") {
		t.Errorf("Content-Security-Policy %q", got)
	}
}
