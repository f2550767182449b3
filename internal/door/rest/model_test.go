package rest_test

import (
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const pumpModel = `name: pump
computed:
  fahrenheit:
    expression: reported.temperature * 1.8 + 32
    unit: °F
  hot: computed.fahrenheit > 110
  mean: avg(reported.temperature, "24h")
  load: reported.power / reported.rated
`

const warmAlarm = `alarms:
  warm: {when: reported.temperature > 30, severity: error, message: "{reported.temperature} degrees"}
`

// A model is tried, applied, read back, changed and removed; the twin shows what it computes
// and why.
func TestModels(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7", `{"model":"pump"}`)
	if got := w.ok(t, "PUT", "/api/v1/models/pump?dryRun=true", pumpModel).Body.String(); got != `{"name":"pump","dryRun":true,"twins":1,"changed":1,"failing":0,"examples":[`+
		`{"deviceId":"pump-7","attribute":"fahrenheit","before":null,"after":112.10000000000001},{"deviceId":"pump-7","attribute":"hot","before":null,"after":true}]}`+"\n" {
		t.Fatalf("dry run: %s", got)
	}
	if got := w.ok(t, "GET", "/api/v1/models", "").Body.String(); got != `{"models":[]}`+"\n" {
		t.Fatalf("after a dry run there is %s", got)
	}
	applied := w.ok(t, "PUT", "/api/v1/models/pump", pumpModel)
	if tag := applied.Header().Get("ETag"); tag != `"v1"` {
		t.Fatalf("ETag %s", tag)
	}
	computed, why := w.computed(t)
	if computed["fahrenheit"] != 112.10000000000001 || computed["hot"] != true || computed["mean"] == nil || computed["load"] != nil ||
		why["load"] != "there is no reported.power, no reported.rated" {
		t.Fatalf("computed %v, why %v", computed, why)
	}
	var doc struct {
		ModelVersion uint32
		Computed     []struct {
			Name, Expression, Unit string
			Inputs                 []struct{ Path string }
		}
	}
	w.read(t, "/api/v1/twins/pump-7/computed", &doc)
	if doc.ModelVersion != 1 || len(doc.Computed) != 4 || doc.Computed[0].Unit != "°F" || doc.Computed[0].Inputs[0].Path != "reported.temperature" {
		t.Fatalf("%+v", doc)
	}
	w.pass(time.Minute)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"temperature":50,"power":3,"rated":0}`)
	if computed, why = w.computed(t); computed["fahrenheit"] != 122.0 || why["load"] != "division by zero" {
		t.Fatalf("computed %v, why %v", computed, why)
	}
	if got := w.ok(t, "PUT", "/api/v1/models/pump", pumpModel).Body.String(); !strings.Contains(got, `"unchanged":true`) {
		t.Fatalf("the same again: %s", got)
	}
	w.ok(t, "PUT", "/api/v1/models/pump", pumpModel+"  twice: reported.temperature * 2\n")
	if got := w.ok(t, "GET", "/api/v1/models/pump/versions?limit=1", "").Body.String(); !strings.Contains(got, `"version":2`) || !strings.Contains(got, `"next"`) {
		t.Fatalf("versions: %s", got)
	}
	if got := w.ok(t, "GET", "/api/v1/models/pump?modelVersion=1", "").Body.String(); strings.Contains(got, "twice") {
		t.Fatalf("version 1: %s", got)
	}
	w.ok(t, "DELETE", "/api/v1/models/pump", "")
	if computed, _ = w.computed(t); computed["fahrenheit"] != nil {
		t.Fatalf("after the model was removed: %v", computed)
	}
}

func (w *world) read(t *testing.T, path string, into any) {
	t.Helper()
	w.readJSON(t, w.ok(t, "GET", path, "").Body.Bytes(), into)
}

func (w *world) readJSON(t *testing.T, body []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatal(err)
	}
}

func (w *world) computed(t *testing.T) (computed map[string]any, why map[string]string) {
	t.Helper()
	var doc struct {
		Computed map[string]any
		Why      map[string]string
	}
	w.read(t, "/api/v1/twins/pump-7", &doc)
	return doc.Computed, doc.Why
}

func TestModels_badInput(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "PUT", "/api/v1/models/pump", pumpModel)
	for _, row := range []struct {
		method, path, body, ifMatch string
		status                      int
		want                        string
	}{
		{"PUT", "/api/v1/models/pump", "name: pump\ncomputed:\n  x: reportd.y\n", "", 400, `"line":3,"column":6`},
		{"PUT", "/api/v1/models/pump", "name: pump\ncomputed:\n  x: reportd.y\n", "", 400, "did you mean reported?"},
		{"PUT", "/api/v1/models/pump", "name: pump\ncompute: {}\n", "", 400, "compute"},
		{"PUT", "/api/v1/models/pump", "name: pump\ncomputed:\n  a: computed.b\n  b: computed.a\n", "", 400, "needs itself"},
		{"PUT", "/api/v1/models/pump", "name: valve\n", "", 400, "is for"},
		{"PUT", "/api/v1/models/pump", pumpModel + "#", `"v7"`, 412, "The version in force is 1, not 7"},
		{"PUT", "/api/v1/models/pump", strings.Repeat("#", 300<<10), "", 413, "longer than"},
		{"PUT", "/api/v1/models/pump?dryRun=maybe", pumpModel, "", 400, "dryRun"},
		{"DELETE", "/api/v1/models/pump", "", `"v7"`, 412, "not 7"},
		{"DELETE", "/api/v1/models/valve", "", "", 404, "no model"},
		{"GET", "/api/v1/models/valve", "", "", 404, "no model"},
		{"GET", "/api/v1/models/pump?modelVersion=9", "", "", 404, "no version 9"},
		{"GET", "/api/v1/models/pump?modelVersion=x", "", "", 400, "modelVersion"},
		{"GET", "/api/v1/models/pump/versions?cursor=MWFi", "", "", 400, "cursor"},
		{"GET", "/api/v1/models/valve/versions", "", "", 404, "never was"},
		{"GET", "/api/v1/twins/nobody/computed", "", "", 404, "nobody"},
	} {
		headers := []string{}
		if row.ifMatch != "" {
			headers = append(headers, "If-Match: "+row.ifMatch)
		}
		res := w.call(row.method, row.path, row.body, headers...)
		if res.Code != row.status || !strings.Contains(res.Body.String(), row.want) {
			t.Errorf("%s %s %.40q: %d %s, want %d with %s", row.method, row.path, row.body, res.Code, res.Body, row.status, row.want)
		}
	}
	if got := w.ok(t, "GET", "/api/v1/models/pump", "").Header().Get("ETag"); got != `"v1"` {
		t.Errorf("what was refused made %s", got)
	}
	if res := w.call("POST", "/api/v1/twins", `{"deviceId":"lamp-1"}`); res.Code != 201 {
		t.Fatal(res.Body)
	}
	if res := w.call(http.MethodGet, "/api/v1/twins/lamp-1/computed", ""); res.Code != 404 || !strings.Contains(res.Body.String(), "has no model") {
		t.Errorf("without a model: %d %s", res.Code, res.Body)
	}
}

// Functions over time of what is reported go by how long each value held.
func TestModels_reportedOverTime(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "PUT", "/api/v1/models/fan", `name: fan
computed:
  high: p95(reported.speed, "1h")
  middle: p50(reported.speed, "1h")
  smooth: ewma(reported.speed, "10m")
  newest: last(reported.speed)
  runs: duration(reported.mode == "on", "1h")
  known: duration(reported.mode, "1h")
  onFor: since(reported.mode == "on")
  sameFor: since(reported.mode)
  other: since(reported.mode == "off")
`)
	for _, body := range []string{`{"mode":"off","speed":0}`, `{"mode":"on","speed":100}`, `{"speed":300}`, `{"speed":300}`, `{"mode":"on","speed":null}`} {
		w.ok(t, "PATCH", "/api/v1/twins/fan-1/reported", body)
		w.pass(10 * time.Minute)
	}
	w.ok(t, "PATCH", "/api/v1/twins/fan-1", `{"model":"fan"}`)
	var doc struct {
		Computed []struct {
			Name  string
			Value *float64
		}
	}
	w.read(t, "/api/v1/twins/fan-1/computed", &doc)
	got := map[string]any{}
	for _, c := range doc.Computed {
		if got[c.Name] = nil; c.Value != nil {
			got[c.Name] = math.Round(*c.Value*100) / 100
		}
	}
	// 10 minutes of 0, 10 of 100, 20 of 300, then 10 without a speed.
	e := math.Exp
	smooth := (100*(e(-3)-e(-4)) + 300*(e(-1)-e(-3))) / (e(-1) - e(-5))
	want := map[string]any{
		"high": 300.0, "middle": 100.0, "smooth": math.Round(smooth*100) / 100, "newest": 300.0,
		"runs": 2400.0, "known": 3000.0, "onFor": 2400.0, "sameFor": 2400.0, "other": nil,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
