package rest_test

import (
	"strings"
	"testing"
	"time"
)

// A model that is not in force is tried on the past; its computed attributes are revised.
func TestPreview(t *testing.T) {
	w := newWorld(t)
	if res := w.call("POST", "/api/v1/twins", `{"deviceId":"pump-7","model":"pump"}`); res.Code != 201 {
		t.Fatal(res.Code, res.Body)
	}
	w.ok(t, "PUT", "/api/v1/models/pump", pumpModel)
	w.pump(t) // 40, 42 an hour later, 44.5 two hours later
	w.pass(time.Hour)
	var p struct {
		Twins, Replayed, Updates int
		Complete                 bool
		Alarms                   []struct {
			Name            string
			Count, Recorded int
			Held            float64
			Newest          []struct{ From, Message string }
		}
	}
	w.readJSON(t, w.ok(t, "POST", "/api/v1/models/pump/preview", pumpModel+strings.ReplaceAll(warmAlarm, "30", "41")).Body.Bytes(), &p)
	if p.Twins != 1 || p.Replayed != 1 || !p.Complete || p.Updates != 4 || len(p.Alarms) != 1 {
		t.Fatalf("%+v", p)
	}
	if a := p.Alarms[0]; a.Name != "warm" || a.Count != 1 || a.Recorded != 0 || a.Held != 3*3600+.001 || a.Newest[0].Message != "42 degrees" || a.Newest[0].From != "2026-11-22T13:00:00.000Z" {
		t.Errorf("%+v", a)
	}
	var h struct {
		Points []struct {
			Time    string
			Value   any
			Revised bool
		}
		Complete bool
	}
	w.read(t, "/api/v1/twins/pump-7/computed/history?attribute=mean&revise=true&from=2026-11-22T12:00:00Z&every=1h", &h)
	if len(h.Points) < 4 || h.Points[len(h.Points)-1].Value == nil || !h.Complete {
		t.Errorf("%+v", h)
	}
	h.Points = nil
	w.read(t, "/api/v1/twins/pump-7/computed/history?attribute=fahrenheit", &h)
	if len(h.Points) != 3 || h.Points[1].Value != 107.60000000000001 || h.Points[1].Revised {
		t.Errorf("%+v", h)
	}
	for _, row := range [][3]string{
		{"POST", "/api/v1/models/none/preview", "none"},
		{"POST", "/api/v1/models/pump/preview?thing=nobody", "nobody"},
		{"POST", "/api/v1/models/pump/preview?thing=a/b", "thing"},
		{"POST", "/api/v1/models/pump/preview?from=x", "from"},
		{"GET", "/api/v1/twins/pump-7/computed/history", "attribute"},
		{"GET", "/api/v1/twins/pump-7/computed/history?attribute=mean", "revise=true"},
		{"GET", "/api/v1/twins/pump-7/computed/history?attribute=nope&revise=true", "nope"},
		{"GET", "/api/v1/twins/pump-7/computed/history?attribute=mean&revise=true&every=1ms", "every"},
	} {
		if res := w.call(row[0], row[1], ""); res.Code < 400 || res.Code >= 500 || !strings.Contains(res.Body.String(), row[2]) {
			t.Errorf("%s: %d %s", row[1], res.Code, res.Body)
		}
	}
	if res := w.call("POST", "/api/v1/models/pump/preview", "name: pump\ncomputed:\n  x: reportd.y\n"); res.Code != 400 || !strings.Contains(res.Body.String(), `"line":3`) {
		t.Errorf("%d %s", res.Code, res.Body)
	}
}
