package engine_test

import (
	"context"
	"testing"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// A flood of rejections leaves two events: the first, and the last with the count.
func TestEngine_rejections(t *testing.T) {
	s := store.NewMemory()
	e, err := engine.Open(quiet, s, engine.Options{Now: newClock().Now})
	if err != nil {
		t.Fatal(err)
	}
	stale := `{"state":{"reported":{"n":1}},"version":7,"clientToken":"t"}`
	do(t, e, update(t, "nobody", stale)) // makes no twin
	do(t, e, update(t, "a", one))
	for range 500 {
		if r := do(t, e, update(t, "a", stale)); twin.Kind(r.Err) != twin.KindConflict {
			t.Fatalf("%+v", r)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var rejected []twin.Event
	feed, err := s.Feed(context.Background(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range feed {
		ev, err := twin.DecodeEvent(f.Event)
		if err != nil {
			t.Fatal(err)
		}
		if ev.Thing == "nobody" {
			t.Error("a rejection made a twin")
		}
		if ev.Kind == twin.EventRejected {
			rejected = append(rejected, ev)
		}
	}
	if len(rejected) != 2 {
		t.Fatalf("%d events for 500 rejections, want the first and the last", len(rejected))
	}
	if got := rejected[0]; got.Type != "conflict" || got.Message != "Version conflict" || got.Correlation != "t" || got.Data != nil {
		t.Errorf("first %+v", got)
	}
	if got := string(rejected[1].Data); got != `{"coalesced":499}` {
		t.Errorf("last: data %s", got)
	}
}
