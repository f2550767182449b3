package server_test

import (
	"strings"
	"testing"
)

const valve = `name: valve
schema:
  reported:
    check: reject
    properties: {position: {type: number, minimum: 0, maximum: 100, unit: "%"}}
  desired:
    properties: {position: {type: number, maximum: 90}}
  telemetry:
    check: reject
    properties: {pressure: {type: number, maximum: 16, unit: bar}}
annotations: [desired.note]
`

// What a schema refuses is not stored by any door, what it warns of is; a model that would
// refuse what twins have is not put into force.
func TestSchema(t *testing.T) {
	r := start(t, config(t))
	for _, call := range [][2]string{
		{"/api/v1/twins", `{"deviceId":"valve-1","model":"valve"}`}, {"/api/v1/twins", `{"deviceId":"valve-2","model":"valve"}`},
	} {
		if status, body := r.call(t, "POST", call[0], call[1]); status != 201 {
			t.Fatal(body)
		}
	}
	r.call(t, "PATCH", "/api/v1/twins/valve-2/reported", `{"position":120}`)
	status, body := r.call(t, "POST", "/api/v1/models", valve)
	if status != 400 || !strings.Contains(body, `"line":4`) || !strings.Contains(body, "the schema would refuse what a twin has now: valve-2: reported.position: maximum: got 120, want 100; check: warn tells") {
		t.Fatalf("%d %s", status, body)
	}
	r.call(t, "PATCH", "/api/v1/twins/valve-2/reported", `{"position":100}`)
	if status, body := r.call(t, "POST", "/api/v1/models", valve); status != 200 {
		t.Fatal(body)
	}
	refuse := func(method, path, body, want string) {
		t.Helper()
		if status, answer := r.call(t, method, path, body); status != 400 && status != 207 && !strings.Contains(answer, `"rejected":1`) || !strings.Contains(answer, want) {
			t.Errorf("%s %s: %d %s", path, body, status, answer)
		}
	}
	const faultOfPosition = "the schema of model valve does not allow reported.position: maximum: got 101, want 100"
	refuse("PATCH", "/api/v1/twins/valve-1/reported", `{"position":101}`, faultOfPosition)
	refuse("POST", "/things/valve-1/shadow", `{"state":{"reported":{"position":101}}}`, faultOfPosition)
	refuse("POST", "/api/v1/twins/valve-1/telemetry", `{"pressure":17}`, "telemetry.pressure: maximum: got 17, want 16")
	refuse("POST", "/api/v1/telemetry", `[{"thing":"valve-1","pressure":17},{"thing":"valve-1","pressure":16}]`, `"accepted":1,"rejected":1`)
	if status, answer := r.callType(t, "POST", "/api/v1/telemetry", "thing,pressure\nvalve-1,18\nvalve-1,15\n", "text/csv"); !strings.Contains(answer, `"accepted":1,"rejected":1`) {
		t.Errorf("%d %s", status, answer)
	}
	device := connectAs(t, "tcp://"+r.addr(t, "mqtt"), "valve-1", nil)
	device.publish(t, "$aws/things/valve-1/shadow/update", `{"state":{"reported":{"position":101}}}`)
	device.publish(t, "twins/valve-1/telemetry", `{"pressure":99}`)
	until(t, "rejections are noted", func() bool {
		_, body := r.call(t, "GET", "/api/v1/twins/valve-1/events?kind=rejected", "")
		return strings.Contains(body, "reported.position: maximum: got 101")
	})
	_, body = r.call(t, "GET", "/api/v1/twins/valve-1/history", "")
	if strings.Contains(body, `"position":101`) {
		t.Errorf("the history has %s", body)
	}
	_, body = r.call(t, "GET", "/api/v1/series?thing=valve-1&metric=pressure", "")
	if _, values, _ := strings.Cut(body, `"values":`); strings.Contains(values, "99") || !strings.Contains(values, "15") {
		t.Errorf("samples %s", body)
	}
	// desired is only warned of.
	if status, body := r.call(t, "PATCH", "/api/v1/twins/valve-1/desired", `{"position":95,"note":"spare"}`); status != 200 {
		t.Fatal(body)
	}
	if got := r.alarms(t, "valve-1"); got != "schema.desired raised" {
		t.Errorf("alarms %s", got)
	}
}

// An annotation is part of the delta, but it is no drift; also after another version.
func TestSchema_annotations(t *testing.T) {
	r := start(t, config(t))
	r.call(t, "POST", "/api/v1/twins", `{"deviceId":"valve-1","model":"valve"}`)
	r.call(t, "PATCH", "/api/v1/twins/valve-1/desired", `{"note":"spare"}`)
	drifting := func() bool {
		_, body := r.call(t, "GET", "/api/v1/fleet?where=holds(driftSince+%3C%3D+now)", "")
		return strings.Contains(body, "valve-1")
	}
	if !drifting() {
		t.Error("without a model it drifts not")
	}
	if status, body := r.call(t, "POST", "/api/v1/models", valve); status != 200 {
		t.Fatal(body)
	}
	until(t, "no drift", func() bool { return !drifting() })
	r.call(t, "PATCH", "/api/v1/twins/valve-1/desired", `{"position":5}`)
	if !drifting() {
		t.Error("a position that is asked for is drift")
	}
	r.call(t, "PATCH", "/api/v1/twins/valve-1/reported", `{"position":5}`)
	if drifting() {
		t.Error("an annotation is drift")
	}
	device := connectAs(t, "tcp://"+r.addr(t, "mqtt"), "valve-1", nil)
	for range 5 {
		device.publish(t, "$aws/things/valve-1/shadow/update", `{"state":{"reported":{"position":5}}}`)
	}
	if _, body := r.call(t, "GET", "/api/v1/twins/valve-1/events?type=echo-loop", ""); !strings.Contains(body, `"events":[]`) {
		t.Errorf("an annotation is an echo: %s", body)
	}
	if _, body := r.call(t, "GET", "/api/v1/twins/valve-1", ""); !strings.Contains(body, `"delta":{"note":"spare"}`) {
		t.Errorf("the delta is as on AWS: %s", body)
	}
	r.call(t, "DELETE", "/api/v1/models/valve", "")
	until(t, "drift again", drifting)
}
