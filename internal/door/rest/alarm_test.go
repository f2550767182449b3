package rest_test

import (
	"strings"
	"testing"
	"time"
)

// An alarm is raised by an update, seen by somebody, muted and cleared; the log tells it.
func TestAlarms(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7", `{"model":"pump"}`)
	w.ok(t, "PUT", "/api/v1/models/pump", pumpModel+warmAlarm)
	w.pass(time.Minute)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"temperature":50}`)
	var list struct {
		Total  int
		Alarms []struct{ DeviceID, Model, Name, State, Severity, Since, AcknowledgedBy, MutedUntil string }
	}
	w.read(t, "/api/v1/alarms?severity=error&model=pump", &list)
	if list.Total != 1 || list.Alarms[0].DeviceID != "pump-7" || list.Alarms[0].State != "raised" || list.Alarms[0].Severity != "error" || list.Alarms[0].Since == "" {
		t.Fatalf("%+v", list)
	}
	if w.read(t, "/api/v1/alarms?severity=critical", &list); list.Total != 0 {
		t.Fatalf("%+v", list)
	}
	w.ok(t, "POST", "/api/v1/twins/pump-7/alarms/warm/acknowledge", "")
	if got := w.ok(t, "POST", "/api/v1/twins/pump-7/alarms/warm/mute?for=2h", "").Body.String(); !strings.Contains(got, `"state":"acknowledged"`) ||
		!strings.Contains(got, `"acknowledgedBy":"192.0.2.1"`) || !strings.Contains(got, `"mutedUntil":"2026-11-22T`) {
		t.Fatal(got)
	}
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"temperature":20}`)
	if got := w.ok(t, "GET", "/api/v1/twins/pump-7/alarms", "").Body.String(); !strings.Contains(got, `"state":"idle"`) {
		t.Fatal(got)
	}
	var events struct {
		Events []struct{ Type, Severity, Message, CorrelationID, By string }
	}
	w.read(t, "/api/v1/twins/pump-7/events?kind=alarm&order=oldest", &events)
	var types []string
	for _, e := range events.Events {
		types = append(types, e.Type)
	}
	if got := strings.Join(types, " "); got != "raised acknowledged muted cleared" {
		t.Fatalf("%s: %+v", got, events)
	}
	if e := events.Events[0]; e.Severity != "error" || !strings.HasSuffix(e.Message, " degrees") || e.CorrelationID != "warm" {
		t.Fatalf("%+v", e)
	}
	if e := events.Events[1]; e.By != "192.0.2.1" {
		t.Fatalf("%+v", e)
	}
}

func TestAlarms_badInput(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7", `{"model":"pump"}`)
	if res := w.call("GET", "/api/v1/twins/pump-7/alarms", ""); res.Code != 404 || !strings.Contains(res.Body.String(), "not in force") {
		t.Errorf("without its model: %d %s", res.Code, res.Body)
	}
	if res := w.call("POST", "/api/v1/twins/pump-7/alarms/warm/acknowledge", ""); res.Code != 404 || !strings.Contains(res.Body.String(), "no model") {
		t.Errorf("without its model: %d %s", res.Code, res.Body)
	}
	w.ok(t, "PUT", "/api/v1/models/pump", warmAlarm+"name: pump\n")
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"temperature":1}`)
	for _, row := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/api/v1/twins/pump-7/alarms/warm/acknowledge", "", 409, "is not raised"},
		{"POST", "/api/v1/twins/pump-7/alarms/wram/acknowledge", "", 404, "no alarm"},
		{"POST", "/api/v1/twins/pump-7/alarms/warm/acknowledge?who=x", "", 400, "who"},
		{"POST", "/api/v1/twins/pump-7/alarms/warm/mute?for=soon", "", 400, "no duration"},
		{"POST", "/api/v1/twins/pump-7/alarms/warm/mute?for=-2h", "", 400, "no duration"},
		{"POST", "/api/v1/twins/pump-7/alarms/warm/mute", "", 400, "no duration"},
		{"POST", "/api/v1/twins/pump-7/alarms/warm/mute?for=0s", "", 400, "not in the future"},
		{"GET", "/api/v1/twins/nobody/alarms", "", 404, "nobody"},
		{"GET", "/api/v1/alarms?severity=bad", "", 400, "severity"},
		{"GET", "/api/v1/alarms?limit=100000", "", 400, "limit"},
	} {
		if res := w.call(row.method, row.path, row.body); res.Code != row.status || !strings.Contains(res.Body.String(), row.want) {
			t.Errorf("%s %s %s: %d %s, want %d with %s", row.method, row.path, row.body, res.Code, res.Body, row.status, row.want)
		}
	}
}
