package rest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

const lampModel = `name: lamp
schema:
  reported:
    properties:
      level: {type: integer, minimum: 0, maximum: 100, unit: percent, interval: 60s}
      colour: {type: [string, "null"]}
  desired:
    properties:
      level: {type: integer, minimum: 0, maximum: 100, unit: percent}
computed:
  half: {expression: reported.level / 2, unit: percent}
behaviour:
  attribute: reported.mode
  initial: "off"
  states: {"off": {to: ["on"]}, "on": {to: ["off"]}}
`

func (w *world) lamp(t *testing.T) {
	t.Helper()
	w.ok(t, "PUT", "/api/v1/models/lamp", lampModel)
	w.ok(t, "PATCH", "/api/v1/twins/lamp-1/reported", `{"level":40,"mode":"off","odd name/é":{"x":1}}`)
	w.ok(t, "PATCH", "/api/v1/twins/lamp-1", `{"model":"lamp"}`)
}

// The description says of a twin what can be read, written, done and followed, and what the
// model says of the values.
func TestDescription(t *testing.T) {
	w := newWorld(t)
	w.lamp(t)
	got := w.ok(t, "GET", "http://twins.example/api/v1/twins/lamp-1", "", "Accept: application/td+json")
	if got.Header().Get("Content-Type") != "application/td+json" {
		t.Fatalf("%d %s: %s", got.Code, got.Header(), got.Body)
	}
	var td struct {
		ID         string
		Security   []string
		Properties map[string]map[string]json.RawMessage
		Actions    map[string]json.RawMessage
		Links      []struct{ HRef string }
	}
	w.readJSON(t, got.Body.Bytes(), &td)
	if td.ID != "http://twins.example/api/v1/twins/lamp-1" || len(td.Security) != 1 || td.Actions["command"] == nil ||
		len(td.Links) != 1 || td.Links[0].HRef != "http://twins.example/api/v1/models/lamp" {
		t.Errorf("%+v", td)
	}
	at := "http://twins.example/api/v1/twins/lamp-1/properties/"
	for name, want := range map[string]map[string]string{
		"reported.level":      {"type": `"integer"`, "maximum": "100", "unit": `"percent"`, "interval": "", "readOnly": "true"},
		"desired.level":       {"type": `"integer"`, "readOnly": "", "forms": `[{"href":"` + at + `desired.level","contentType":"application/json","op":["readproperty","writeproperty"]}]`},
		"reported.colour":     {"type": "", "oneOf": `[{"type":"string"},{"type":"null"}]`},
		"reported.odd name/é": {"type": `"object"`, "forms": `[{"href":"` + at + `reported.odd%20name%2F%C3%A9","contentType":"application/json","op":["readproperty"]}]`},
		"computed.half":       {"type": `"number"`, "unit": `"percent"`, "readOnly": "true"},
		"state":               {"enum": `["off","on"]`},
		"connected":           {"type": `"boolean"`},
	} {
		have, ok := td.Properties[name]
		if !ok {
			t.Errorf("there is no %s", name)
		}
		for key, value := range want {
			if string(have[key]) != value {
				t.Errorf("%s.%s is %s, not %s", name, key, have[key], value)
			}
		}
	}
}

// Properties are what the description says: each can be read, and a wish that is written is
// read back as it was.
func TestProperties(t *testing.T) {
	w := newWorld(t)
	w.lamp(t)
	base := "/api/v1/twins/lamp-1/properties"
	if got := w.ok(t, "GET", base, "").Body.String(); got != `{"computed.half":20,"connected":false,"lastSeen":"2026-11-22T12:00:00Z","reported.level":40,"reported.mode":"off","reported.odd name/é":{"x":1},"state":"off"}`+"\n" {
		t.Errorf("all: %s", got)
	}
	for name, want := range map[string]string{"reported.level": "40", "computed.half": "20", "state": `"off"`, "reported.odd%20name%2F%C3%A9": `{"x":1}`} {
		if got := strings.TrimSpace(w.ok(t, "GET", base+"/"+name, "").Body.String()); got != want {
			t.Errorf("%s is %s, not %s", name, got, want)
		}
	}
	for _, body := range []string{`7`, `{"r":1,"g":{"a":1,"b":2}}`, `{"g":{"b":3}}`, `[1,{"b":2}]`, `{"g":{"b":3}}`, `"text <&>"`} {
		w.ok(t, "PUT", base+"/desired.colour", body)
		if got := strings.TrimSpace(w.ok(t, "GET", base+"/desired.colour", "").Body.String()); got != body {
			t.Errorf("wrote %s, read %s", body, got)
		}
	}
	w.ok(t, "PUT", base+"/desired.colour", "null")
	for path, status := range map[string]int{"GET " + base + "/desired.colour": 404, "GET /api/v1/twins/none/properties": 404, "GET " + base + "/other": 404} {
		method, path, _ := strings.Cut(path, " ")
		if got := w.call(method, path, ""); got.Code != status {
			t.Errorf("%s: %d", path, got.Code)
		}
	}
	for _, bad := range [][2]string{{"reported.level", "1"}, {"desired.level", "{"}, {"desired.", "1"}} {
		if got := w.call("PUT", base+"/"+bad[0], bad[1]); got.Code != http.StatusBadRequest {
			t.Errorf("%s := %s: %d %s", bad[0], bad[1], got.Code, got.Body)
		}
	}
}
