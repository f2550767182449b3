package rest_test

import (
	"fmt"
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
	if res := w.call("GET", "/api/v1/twins/pump-1/behaviour", ""); res.Code != 200 || strings.Contains(res.Body.String(), "declared") || !strings.Contains(res.Body.String(), `"of":"reported.mode"`) {
		t.Errorf("%d %s", res.Code, res.Body)
	}
}

// What a thing does by itself is learned with and without a model, from its shadow and its
// telemetry.
func TestLearned(t *testing.T) {
	w := newWorld(t)
	for _, mode := range []string{"idle", "running", "idle", "running", "fault", "idle"} {
		w.ok(t, "PATCH", "/api/v1/twins/press-1/reported", `{"mode":"`+mode+`","temperature":`+map[string]string{"idle": "20", "running": "60", "fault": "90"}[mode]+`,"serial":"X1"}`)
		w.pass(30 * time.Minute)
	}
	var doc struct {
		Model   string
		Learned struct {
			Complete   bool
			Attributes []struct {
				Of, State string
				States    []struct {
					State         string
					Share, Median float64
					Entered       int
				}
				Transitions []struct {
					From, To string
					Count    int
					Share    float64
				}
			}
		}
	}
	w.read(t, "/api/v1/twins/press-1/behaviour", &doc)
	l := doc.Learned
	if doc.Model != "" || !l.Complete || len(l.Attributes) != 1 || l.Attributes[0].Of != "reported.mode" || l.Attributes[0].State != "idle" {
		t.Fatalf("%+v", doc)
	}
	a := l.Attributes[0]
	if got := fmt.Sprintf("%+v %+v", a.States, a.Transitions); got != "[{State:fault Share:0.166667 Median:1800 Entered:1} {State:idle Share:0.5 Median:1800 Entered:3} {State:running Share:0.333333 Median:1800 Entered:2}] "+
		"[{From:fault To:idle Count:1 Share:1} {From:idle To:running Count:2 Share:1} {From:running To:fault Count:1 Share:0.5} {From:running To:idle Count:1 Share:0.5}]" {
		t.Error(got)
	}
	var p struct {
		Zone     string
		Complete bool
		Profiles []struct {
			Of    string
			Weeks []int
			Mean  []*float64
		}
	}
	// The clock of the test begins on a Sunday at noon.
	w.read(t, "/api/v1/twins/press-1/profile?zone=Europe/Berlin&of=reported.temperature", &p)
	if len(p.Profiles) != 1 || p.Profiles[0].Of != "reported.temperature" || len(p.Profiles[0].Mean) != 168 {
		t.Fatalf("%+v", p)
	}
	for hour, want := range map[int]float64{6*24 + 13: 40, 6*24 + 14: 40, 6*24 + 15: 55} {
		if got := p.Profiles[0].Mean[hour]; got == nil || *got != want || p.Profiles[0].Weeks[hour] != 1 {
			t.Errorf("hour %d: %v, not %g", hour, got, want)
		}
	}
	if p.Profiles[0].Mean[0] != nil {
		t.Error("Monday has a mean")
	}
	for path, status := range map[string]int{"profile?zone=Mars": 400, "profile?from=2020-01-01T00:00:00Z": 400, "profile?of=reported.none": 200} {
		if got := w.call("GET", "/api/v1/twins/press-1/"+path, ""); got.Code != status {
			t.Errorf("%s: %d %s", path, got.Code, got.Body)
		}
	}
}
