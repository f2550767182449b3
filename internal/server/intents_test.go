package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// asked returns the intents of a thing: each open one with its state, and the last.
func (r *running) asked(t *testing.T, thing, shadow string) string {
	t.Helper()
	path := "/api/v1/twins/" + thing + "/intents"
	if shadow != "" {
		path += "?shadow=" + shadow
	}
	status, body := r.call(t, "GET", path, "")
	var l struct {
		Open []struct {
			ID, State, Client string
			Sent              int
		}
		Last *struct{ ID, State, Reason string }
	}
	if err := json.Unmarshal([]byte(body), &l); err != nil || status != 200 {
		t.Fatal(status, body)
	}
	var parts []string
	for _, i := range l.Open {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %s %s %d", i.ID, i.State, i.Client, i.Sent)))
	}
	if l.Last != nil {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("last %s %s %s", l.Last.ID, l.Last.State, l.Last.Reason)))
	}
	return strings.Join(parts, "; ")
}

func (r *running) wants(t *testing.T, thing, shadow, want string) {
	t.Helper()
	got := ""
	defer func() {
		if t.Failed() {
			t.Logf("intents of %s: %s, want %s", thing, got, want)
		}
	}()
	until(t, want, func() bool { got = r.asked(t, thing, shadow); return got == want })
}

// What is asked of a device is pending until it takes the delta, and applied when it says so;
// a query sees each step when it is acknowledged.
func TestIntents_life(t *testing.T) {
	c := config(t)
	r := start(t, c)
	ask := func(path, body string) {
		t.Helper()
		if status, answer := r.call(t, "PATCH", path, body); status != 200 {
			t.Fatal(answer)
		}
	}
	ask("/api/v1/twins/lamp-1/desired", `{"level":80,"light":{"colour":"red"}}`)
	r.finds(t, `intentState == "pending" && now - intentSince < duration("1m") && intentCount == 1`, "lamp-1")
	r.wants(t, "lamp-1", "", "v1 pending  0")
	// One who only watches all deltas does not take them for the device.
	watcher := connectAs(t, "tcp://"+r.addr(t, "mqtt"), "watcher", nil)
	watcher.subscribe(t, "$aws/things/+/shadow/update/delta")
	ask("/api/v1/twins/lamp-1/desired", `{"level":81}`)
	r.wants(t, "lamp-1", "", "v1 pending  0; v2 pending  0")
	device := connectAs(t, "tcp://"+r.addr(t, "mqtt"), "lamp-1", nil)
	device.subscribe(t, "$aws/things/lamp-1/shadow/get/accepted")
	device.publish(t, "$aws/things/lamp-1/shadow/get", "")
	r.wants(t, "lamp-1", "", "v1 delivered lamp-1 0; v2 delivered lamp-1 0")
	device.subscribe(t, "$aws/things/lamp-1/shadow/update/delta")
	device.publish(t, "$aws/things/lamp-1/shadow/update", `{"state":{"reported":{"level":81}}}`)
	r.wants(t, "lamp-1", "", "v1 delivered lamp-1 1; last v2 applied")
	r.finds(t, `intentState == "delivered"`, "lamp-1")
	device.publish(t, "twins/lamp-1/intents/v1/status", `{"status":"rejected","message":"white only"}`)
	r.wants(t, "lamp-1", "", "last v1 rejected white only")
	r.finds(t, `intentState == "rejected"`, "lamp-1")
	// What comes too late, or makes no sense, is noted.
	device.publish(t, "twins/lamp-1/intents/v1/status", `{"status":"accepted"}`)
	ask("/api/v1/twins/lamp-2/desired", `{"level":80}`)
	device.publish(t, "twins/lamp-2/intents/v1/status", `{"status":"done"}`)
	until(t, "both are noted", func() bool {
		_, one := r.call(t, "GET", "/api/v1/twins/lamp-1/events?kind=rejected", "")
		_, two := r.call(t, "GET", "/api/v1/twins/lamp-2/events?kind=rejected", "")
		return strings.Contains(one, "No intent v1 is open") && strings.Contains(two, "none of accepted, in_progress, rejected")
	})
	_, body := r.call(t, "GET", "/api/v1/twins/lamp-1/events?kind=intent&limit=20", "")
	for _, want := range []string{`"type":"delivered"`, `"type":"applied"`, `"type":"rejected"`, `"correlationId":"v1"`, `"severity":"warning"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the log has no %s: %s", want, body)
		}
	}
	r.stop()
	r.wait(t)
}

// Intents survive a restart, also what they are waiting for: their time.
func TestIntents_expire(t *testing.T) {
	c := config(t)
	r := start(t, c)
	for path, body := range map[string]string{
		"/api/v1/twins/a/desired?expiresIn=400ms":            `{"level":80,"on":true}`,
		"/api/v1/twins/a/desired?shadow=conf&expiresIn=300s": `{"x":1}`,
		"/api/v1/twins/b/desired":                            `{"y":1}`,
	} {
		if status, answer := r.call(t, "PATCH", path, body); status != 200 {
			t.Fatal(answer)
		}
	}
	r.call(t, "PATCH", "/api/v1/twins/a/reported", `{"on":true}`)
	r.stop()
	r.wait(t)
	r = start(t, c)
	r.wants(t, "a", "", "last v1 expired its time is over")
	r.wants(t, "a", "conf", "v1 pending  0")
	if _, body := r.call(t, "GET", "/twins/a", ""); !strings.Contains(body, `"desiredState":{"on":true}`) {
		t.Errorf("after its time: %s", body)
	}
	r.finds(t, `intentState in ["pending", "expired"]`, "a", "b")
	for path, want := range map[string]int{
		"/api/v1/twins/b/intents/v1": 200, "/api/v1/twins/b/intents/v7": 404, "/api/v1/twins/b/intents/x": 400,
	} {
		if status, body := r.call(t, "DELETE", path, ""); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	r.wants(t, "b", "", "last v1 superseded withdrawn by 127.0.0.1")
	// A shadow that is deleted leaves nothing behind but the log.
	r.call(t, "PATCH", "/api/v1/twins/b", `{"tags":{"site":"hh1"}}`)
	r.call(t, "PATCH", "/api/v1/twins/b/desired", `{"y":2}`)
	r.finds(t, `intentState == "pending"`, "b")
	r.call(t, "DELETE", "/api/v1/twins/b", "")
	r.wants(t, "b", "", "")
	r.finds(t, `holds(intentState != "") || intentCount > 0`, "a")
	if status, body := r.call(t, "PATCH", "/api/v1/twins/b/desired?expiresIn=soon", `{}`); status != 400 || !strings.Contains(body, "expiresIn") {
		t.Error(status, body)
	}
	r.stop()
	r.wait(t)
}
