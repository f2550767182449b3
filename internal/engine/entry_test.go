package engine_test

import (
	"context"
	"errors"
	"testing"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

func appendEntry(t testing.TB, e *engine.Engine, en twin.Entry) twin.EntryResult {
	t.Helper()
	ch := make(chan twin.EntryResult, 1)
	if err := e.Append(en, func(r twin.EntryResult) { ch <- r }); err != nil {
		t.Fatal(err)
	}
	return await(t, ch)
}

// Entries share seq and chain with the updates, and are no events of the shadow.
func TestEngine_Append(t *testing.T) {
	s := store.NewMemory()
	e := openEngine(t, s, engine.Options{})
	connect := twin.Entry{IfExists: true, Event: twin.Event{Thing: "a", Kind: twin.EventConnected}}
	if r := appendEntry(t, e, connect); r.Err != nil || r.Written {
		t.Fatalf("connect of an unknown thing: %+v, want nothing written", r)
	}
	do(t, e, update(t, "a", one))
	if r := appendEntry(t, e, connect); r.Err != nil || !r.Written || r.Event.Seq != 2 || r.Event.Time == 0 {
		t.Fatalf("connect: %+v", r)
	}
	broken := twin.Entry{Event: twin.Event{
		Thing: "a", Kind: twin.EventReported, Type: "error", Severity: twin.SeverityError, Message: "fan stuck", Data: []byte(`{"code":7}`),
	}}
	if r := appendEntry(t, e, broken); r.Event.Seq != 3 {
		t.Fatalf("error: %+v", r)
	}
	do(t, e, update(t, "a", two))
	evs := events(t, s, classic("a"))
	if len(evs) != 2 || evs[1].Seq != 4 || evs[1].Version != 2 {
		t.Fatalf("events of the shadow: %+v", evs)
	}
	feed, err := s.Feed(context.Background(), 0, 10)
	if err != nil || len(feed) != 4 {
		t.Fatalf("feed has %d entries, %v", len(feed), err)
	}
	var link twin.Hash
	for _, f := range feed {
		link = link.Next(f.Event)
	}
	heads, err := s.Heads(context.Background(), []twin.ThingName{"a"})
	if err != nil || heads[0].Hash != link || heads[0].Seq != 4 {
		t.Fatalf("head %+v, %v: want the link over all four", heads, err)
	}
}

func TestEngine_Append_refused(t *testing.T) {
	e := openEngine(t, store.NewMemory(), engine.Options{})
	for _, ev := range []twin.Event{
		{Thing: "a b", Kind: twin.EventReported},
		{Thing: "a"},
		{Thing: "a", Kind: twin.EventUpdated},
		{Thing: "a", Kind: twin.EventDeleted},
	} {
		if err := e.Append(twin.Entry{Event: ev}, nil); twin.Kind(err) != twin.KindInvalid {
			t.Errorf("%+v: %v", ev, err)
		}
	}
}

func TestEngine_attributes(t *testing.T) {
	s := store.NewMemory()
	e := openEngine(t, s, engine.Options{})
	manage := func(f func(*twin.Attributes) (twin.Attributes, error)) twin.EntryResult {
		return appendEntry(t, e, twin.Entry{
			Event: twin.Event{Thing: "pump-7", Kind: twin.EventManaged, Type: "model"}, Attributes: f,
		})
	}
	r := manage(func(old *twin.Attributes) (twin.Attributes, error) {
		a := old.Clone()
		a.Model, a.Tags = "pump", map[string]string{"site": "hh1"}
		return a, nil
	})
	if r.Err != nil || r.Event.Model != "pump" {
		t.Fatalf("%+v", r)
	}
	do(t, e, update(t, "pump-7", one))
	if evs := events(t, s, classic("pump-7")); evs[0].Model != "pump" {
		t.Errorf("the update's event has model %q", evs[0].Model)
	}
	refused := errors.New("no")
	if r := manage(func(*twin.Attributes) (twin.Attributes, error) { return twin.Attributes{}, refused }); !errors.Is(r.Err, refused) {
		t.Errorf("%+v", r)
	}
	if r := manage(func(*twin.Attributes) (twin.Attributes, error) { return twin.Attributes{Model: "no good"}, nil }); twin.Kind(r.Err) != twin.KindInvalid {
		t.Errorf("%+v", r)
	}
	again := openEngine(t, s, engine.Options{})
	if a := again.Attributes("pump-7"); a.Model != "pump" || a.Tags["site"] != "hh1" {
		t.Errorf("after a restart: %+v", a)
	}
	if a := again.Attributes("other"); !a.Empty() {
		t.Errorf("%+v", a)
	}
}
