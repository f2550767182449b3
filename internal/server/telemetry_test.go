package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// stored reads the rows of things from the store of a server that has ended.
func stored(t *testing.T, folder string, things ...twin.ThingName) []string {
	t.Helper()
	s, err := pebblestore.Open(folder, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var texts []string
	for _, thing := range things {
		rows, err := s.Rows(context.Background(), thing, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			text := string(thing)
			if r.Time != r.Arrival {
				text += " late"
			}
			err := twin.WalkValues(r.Values, func(metric []byte, v twin.RawValue) bool {
				text += fmt.Sprintf(" %s=%g%s", metric, v.Number, v.Text)
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
	}
	slices.Sort(texts)
	return texts
}

// Telemetry comes by every door and is on disk when it is acknowledged.
func TestTelemetry(t *testing.T) {
	c := config(t)
	c.Telemetry.Topics = []string{"dt/+/{thing}/#"}
	r := start(t, c)
	lamp := connect(t, "tcp://"+r.addr(t, "mqtt"), nil)
	lamp.publish(t, "twins/lamp-1/telemetry", `{"a":1,"b":{"c":"x"}}`)
	lamp.publish(t, "dt/hh1/lamp-1/motor/speed", `1480`)
	lamp.publish(t, "twins/lamp-1/telemetry", `hello`)
	lamp.wait(t, lamp.Publish("twins/lamp-1/telemetry", 0, false, `{"q0":true}`))
	for _, call := range []struct {
		path, body, want string
		status           int
	}{
		{"/api/v1/twins/lamp-2/telemetry", `{"a":2}`, `{"accepted":1,"rejected":0}`, 200},
		{"/api/v1/telemetry", `[{"thing":"lamp-3","a":3},{"thing":"lamp-3"}]`, `"accepted":1,"rejected":1`, 200},
		{"/api/v1/twins/lamp-2/telemetry", `{"a":2,"ts":"2106-02-07T06:28:16Z"}`, "ahead of the clock", 400},
	} {
		status, body := r.call(t, "POST", call.path, call.body)
		if status != call.status || !strings.Contains(body, call.want) {
			t.Errorf("%s: %d %s", call.path, status, body)
		}
	}
	until(t, "what is no telemetry is noted", func() bool {
		lamp.publish(t, "twins/lamp-1/telemetry", `hello`)
		status, body := r.call(t, "GET", "/api/v1/twins/lamp-1/events?kind=rejected", "")
		return status == 200 && strings.Contains(body, "Invalid telemetry: it is not valid JSON")
	})
	for _, path := range []string{"/api/v1/twins", "/api/v1/twins/lamp-1", "/api/v1/twins/lamp-2", "/api/v1/twins/lamp-3"} {
		status, body := r.call(t, "GET", path, "")
		if status != 200 || !strings.Contains(body, `"deviceId":"lamp-`) || !strings.Contains(body, `"lastSeen":"20`) {
			t.Errorf("a twin that has telemetry only: %s %d %s", path, status, body)
		}
	}
	if _, body := r.call(t, "GET", "/api/v1/twins/lamp-2/events", ""); strings.Count(body, `"seq"`) != 1 || !strings.Contains(body, "first telemetry") {
		t.Errorf("events: %s, want one", body)
	}
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	want := []string{"lamp-1 a=1 b.c=0x", "lamp-1 motor.speed=1480", "lamp-1 q0=1", "lamp-2 a=2", "lamp-3 a=3"}
	if got := stored(t, c.Data, "lamp-1", "lamp-2", "lamp-3"); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTelemetry_topics(t *testing.T) {
	c := config(t)
	c.Telemetry.Topics = []string{"dt/+/#"}
	if err := refusal(t, c); err == nil || !strings.Contains(err.Error(), `telemetry.topics: topic pattern "dt/+/#": {thing} is missing`) {
		t.Error(err)
	}
}

// When a thing was last seen is known after a restart too, also if it has sent samples only.
func TestTelemetry_lastSeen(t *testing.T) {
	c := config(t)
	r := start(t, c)
	lastSeen := func() string {
		t.Helper()
		_, body := r.call(t, "GET", "/api/v1/twins/lamp-2?history=false", "")
		_, rest, ok := strings.Cut(body, `"lastSeen":"`)
		if !ok {
			t.Fatalf("no lastSeen: %s", body)
		}
		text, _, _ := strings.Cut(rest, `"`)
		return text
	}
	send := func() { r.call(t, "POST", "/api/v1/twins/lamp-2/telemetry", `{"a":2}`) }
	until(t, "the twin", func() bool {
		send()
		status, _ := r.call(t, "GET", "/api/v1/twins/lamp-2", "")
		return status == 200
	})
	first := lastSeen()
	until(t, "a later sample", func() bool { send(); return lastSeen() != first })
	want := lastSeen()
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	r = start(t, c)
	if got := lastSeen(); got != want {
		t.Errorf("last seen %s after a restart, %s before it", got, want)
	}
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
}
