package rest_test

import (
	"strings"
	"testing"
	"time"
)

const pumpBehaviour = `name: pump
behaviour:
  attribute: reported.mode
  severity: error
  states:
    idle: {to: [running]}
    running: {max: 1h, to: {idle: reported.pressure < 1}}
`

// pumpStates is a behaviour of the pump of other tests.
const pumpStates = "behaviour: {states: {cold: {to: {warm: reported.temperature > 40}}, warm: {to: {cold: reported.temperature < 30}}}}\n"

// A twin's state, what is declared and what was seen, side by side.
func TestBehaviour(t *testing.T) {
	w := newWorld(t)
	w.call("POST", "/api/v1/twins", `{"deviceId":"pump-1","model":"pump"}`)
	w.ok(t, "PUT", "/api/v1/models/pump", pumpBehaviour)
	for _, x := range []struct {
		after time.Duration
		state string
	}{{0, `{"mode":"idle","pressure":0}`}, {10 * time.Second, `{"mode":"running","pressure":5}`}, {20 * time.Second, `{"mode":"idle"}`}, {30 * time.Second, `{"mode":"running","pressure":0}`}, {50 * time.Second, `{"mode":"idle"}`}} {
		w.pass(x.after)
		w.ok(t, "PATCH", "/api/v1/twins/pump-1/reported", x.state)
	}
	w.pass(time.Minute)
	var b struct {
		State, Since string
		Overrun      bool
		Declared     struct {
			Attribute, Initial string
			States             []struct {
				State string
				Max   float64
				To    []struct{ To, When string }
			}
		}
		Observed struct {
			Complete bool
			Illegal  int
			States   []struct {
				State                string
				Entered, Left        int
				Median, P95, Longest float64
			}
			Transitions []struct {
				From, To string
				Count    int
				Illegal  int
				Share    float64
			}
		}
	}
	w.read(t, "/api/v1/twins/pump-1/behaviour", &b)
	if b.State != "idle" || b.Since == "" || b.Declared.Attribute != "reported.mode" || b.Declared.States[1].Max != 3600 || b.Declared.States[1].To[0].When != "reported.pressure < 1" {
		t.Errorf("%+v", b)
	}
	if got := w.ok(t, "GET", "/twins/pump-1?history=false", "").Body.String(); !strings.Contains(got, `"state":"idle","stateSince":"2026-11-22T12:01:50.000Z"`) {
		t.Error(got)
	}
	o := b.Observed
	if !o.Complete || o.Illegal != 1 || len(o.States) != 2 || o.States[0].Entered != 3 || o.States[1].State != "running" || o.States[1].Left != 2 || o.States[1].Median != 20 || o.States[1].Longest != 50 {
		t.Errorf("%+v", o)
	}
	if len(o.Transitions) != 2 || o.Transitions[0].From != "idle" || o.Transitions[0].Count != 2 || o.Transitions[0].Share != 1 || o.Transitions[0].Illegal != 0 || o.Transitions[1].Illegal != 1 {
		t.Errorf("%+v", o.Transitions)
	}
	if got := w.ok(t, "GET", "/api/v1/twins/pump-1/events?kind=behaviour&severity=error", "").Body.String(); !strings.Contains(got, "running → idle is allowed only if reported.pressure") {
		t.Error(got)
	}
	if w.read(t, "/api/v1/twins/pump-1/behaviour?from=2026-11-22T12:02:00Z", &b); len(b.Observed.States) != 0 || b.State != "idle" {
		t.Errorf("in a window of its own: %+v", b.Observed)
	}
	for path, want := range map[string]string{
		"/api/v1/twins/nobody/behaviour": "nobody", "/api/v1/twins/pump-1/behaviour?from=x": "from",
	} {
		if res := w.call("GET", path, ""); res.Code < 400 || !strings.Contains(res.Body.String(), want) {
			t.Errorf("%s: %d %s", path, res.Code, res.Body)
		}
	}
	w.ok(t, "DELETE", "/api/v1/models/pump", "")
	if res := w.call("GET", "/api/v1/twins/pump-1/behaviour", ""); res.Code != 404 || !strings.Contains(res.Body.String(), "not in force") {
		t.Errorf("%d %s", res.Code, res.Body)
	}
}
