package server

import (
	"io"
	"log/slog"
	"testing"

	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// A twin whose telemetry cannot be read neither stops the start nor is missing with its
// shadow.
func TestFleet_damagedTelemetry(t *testing.T) {
	c := Default()
	c.Data, c.HTTP.Listen, c.MQTT.Listen = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := Open(c, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, thing := range []twin.ThingName{"bad", "good"} {
		req, err := twin.ParseRequest([]byte(`{"state":{"reported":{"x":1}}}`), twin.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		if err := s.engine.Submit(twin.Update{Key: twin.ShadowKey{Thing: thing}, Request: req}, func(r twin.Result) { done <- r.Err }); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	now := s.engine.Now()
	if err := s.store.AppendRows(t.Context(), []store.SampleRow{{Thing: "bad", Time: now, Arrival: now, Values: []byte{0xff, 0xff, 0xff}}}, true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.telemetry.Reader().Series(t.Context(), "bad"); err == nil {
		t.Fatal("the telemetry can be read: the test damages nothing")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(c, log); err != nil {
		t.Fatalf("one damaged twin stops the start: %v", err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	page, err := s.fleet.Query(t.Context(), &fleet.Request{Where: "reported.x == 1"})
	if err != nil || page.Total != 2 {
		t.Errorf("%+v, %v: want both twins", page, err)
	}
}
