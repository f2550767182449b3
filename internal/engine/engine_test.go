package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEngine_Submit(t *testing.T) {
	s := store.NewMemory()
	e := openEngine(t, s, engine.Options{})
	r := do(t, e, update(t, "lamp-1", `{"state":{"reported":{"on":true}},"clientToken":"t1"}`))
	if r.Err != nil || r.Version != 1 || r.Change == nil {
		t.Fatalf("result %+v", r)
	}
	r = do(t, e, update(t, "lamp-1", `{"state":{"desired":{"on":false}}}`))
	if r.Version != 2 || !r.Change.HasDelta() {
		t.Fatalf("result %+v", r)
	}
	mustVersion(t, e, classic("lamp-1"), 2)
	evs := events(t, s, classic("lamp-1"))
	if len(evs) != 2 || evs[0].Seq != 1 || evs[1].Seq != 2 {
		t.Fatalf("events %+v", evs)
	}
	if got := string(evs[0].Patch); got != `{"reported":{"on":true}}` {
		t.Errorf("patch %s", got)
	}
	if evs[0].Correlation != "t1" || evs[0].Snapshot == nil || evs[1].Snapshot != nil {
		t.Errorf("want token and snapshot on the first event only: %+v", evs)
	}
}

// Promise 1: nothing is said, and nothing is seen, before the commit is durable.
func TestEngine_Submit_durableFirst(t *testing.T) {
	g := newGated(store.NewMemory())
	e := openEngine(t, g, engine.Options{})
	first := submit(t, e, update(t, "a", `{"state":{"reported":{"n":1}}}`))
	await(t, g.arrived)
	mustVersion(t, e, classic("a"), 0)
	select {
	case r := <-first:
		t.Fatalf("answered before the commit returned: %+v", r)
	default:
	}
	// The next group forms while the first one syncs; a rejection that rests on it waits too.
	second := submit(t, e, update(t, "a", `{"state":{"reported":{"n":2}}}`))
	stale := submit(t, e, update(t, "a", `{"state":{"reported":{"n":3}},"version":1}`))
	g.decide(t, pass)
	if r := await(t, first); r.Version != 1 {
		t.Fatalf("first %+v", r)
	}
	await(t, g.arrived)
	mustVersion(t, e, classic("a"), 1)
	select {
	case r := <-stale:
		t.Fatalf("rejected on the word of an update that is not durable: %+v", r)
	default:
	}
	g.decide(t, pass)
	if r := await(t, second); r.Version != 2 {
		t.Fatalf("second %+v", r)
	}
	if r := await(t, stale); twin.Kind(r.Err) != twin.KindConflict {
		t.Fatalf("stale %+v", r)
	}
	mustVersion(t, e, classic("a"), 2)
}

func TestEngine_Submit_groups(t *testing.T) {
	g := newGated(store.NewMemory())
	e := openEngine(t, g, engine.Options{Committers: 1})
	plug := submit(t, e, update(t, "plug", `{"state":{}}`))
	await(t, g.arrived)
	var results []<-chan twin.Result
	for i := range 50 {
		results = append(results, submit(t, e, update(t, "a", fmt.Sprintf(`{"state":{"reported":{"n":%d}}}`, i))))
	}
	g.decide(t, pass)
	await(t, plug)
	if ms := g.one(t, pass); len(ms) != 50 {
		t.Fatalf("second commit has %d mutations, want all 50 that waited", len(ms))
	}
	for i, ch := range results {
		if r := await(t, ch); r.Err != nil || r.Version != twin.Version(i+1) {
			t.Fatalf("update %d: %+v", i, r)
		}
	}
}

func TestEngine_Submit_fullQueue(t *testing.T) {
	g := newGated(store.NewMemory())
	e := openEngine(t, g, engine.Options{Committers: 1, QueueLenMax: 4, GroupLenMax: 1})
	first := submit(t, e, update(t, "a", `{"state":{}}`))
	await(t, g.arrived)
	accepted := 0
	var err error
	for range 100 {
		if err = e.Submit(update(t, "a", `{"state":{}}`), func(twin.Result) {}); err != nil {
			break
		}
		accepted++
	}
	if twin.Kind(err) != twin.KindFull {
		t.Fatalf("after %d updates: %v, want KindFull", accepted, err)
	}
	g.decide(t, pass)
	g.openGate(t)
	await(t, first)
}

func TestEngine_Submit_badNames(t *testing.T) {
	e := openEngine(t, store.NewMemory(), engine.Options{})
	for _, key := range []twin.ShadowKey{
		{},
		{Thing: "a b"},
		{Thing: "a+"},
		{Thing: twin.ThingName(strings.Repeat("x", 129))},
		{Thing: "a", Shadow: "b/c"},
		{Thing: "a", Shadow: twin.ShadowName(strings.Repeat("x", 65))},
	} {
		err := e.Submit(twin.Update{Key: key, Request: parse(t, `{"state":{}}`)}, func(twin.Result) { t.Error("answered") })
		if twin.Kind(err) != twin.KindInvalid {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func TestEngine_Submit_delete(t *testing.T) {
	s := store.NewMemory()
	e := openEngine(t, s, engine.Options{})
	del := func() twin.Update {
		return twin.Update{Key: classic("a"), Delete: true, Request: &twin.Request{}}
	}
	if r := do(t, e, del()); twin.Kind(r.Err) != twin.KindNotFound {
		t.Fatalf("delete of nothing: %+v", r)
	}
	do(t, e, update(t, "a", `{"state":{"reported":{"n":1}}}`))
	if r := do(t, e, del()); r.Err != nil || r.Version != 1 {
		t.Fatalf("delete: %+v", r)
	}
	if r := do(t, e, update(t, "a", `{"state":{"reported":{"n":1}}}`)); r.Version != 3 {
		t.Fatalf("after delete: version %d, want 3", r.Version)
	}
	if evs := events(t, s, classic("a")); len(evs) != 3 || evs[2].Seq != 3 {
		t.Fatalf("events %+v", evs)
	}
}

// A shadow whose state lives in the store alone is read back; a tiny cache must
// not change any answer.
func TestEngine_cacheLimit(t *testing.T) {
	s := store.NewMemory()
	e := openEngine(t, s, engine.Options{CacheBytesMax: 4096})
	for round := range 5 {
		var rs []<-chan twin.Result
		for i := range 100 {
			rs = append(rs, submit(t, e, update(t, fmt.Sprintf("t%d", i), `{"state":{"reported":{"n":1}}}`)))
		}
		for i, ch := range rs {
			if r := await(t, ch); r.Err != nil || r.Version != twin.Version(round+1) {
				t.Fatalf("round %d thing %d: %+v", round, i, r)
			}
		}
	}
}

func TestEngine_time(t *testing.T) {
	s := store.NewMemory()
	c := newClock()
	e, err := engine.Open(quiet, s, engine.Options{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	start := twin.TimeOf(c.Now())
	do(t, e, update(t, "a", `{"state":{"reported":{"n":1}}}`))
	c.Add(-time.Hour)
	do(t, e, update(t, "a", `{"state":{"reported":{"n":2}}}`))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = openEngine(t, s, engine.Options{Now: c.Now})
	do(t, e, update(t, "b", `{"state":{"reported":{"n":3}}}`))
	for _, ev := range append(events(t, s, classic("a")), events(t, s, classic("b"))...) {
		if ev.Time != start {
			t.Errorf("event %d of %s at %d, want the newest time given out, %d", ev.Seq, ev.Thing, ev.Time, start)
		}
	}
}

func TestEngine_WriteRecords(t *testing.T) {
	s := store.NewMemory()
	e := openEngine(t, s, engine.Options{})
	write := func(w twin.RecordWrite) error {
		ch := make(chan error, 1)
		if err := e.WriteRecords("client-1", []twin.RecordWrite{w}, func(err error) { ch <- err }); err != nil {
			t.Fatal(err)
		}
		return await(t, ch)
	}
	w := twin.RecordWrite{Kind: twin.RecordSession, Key: "client-1", Value: []byte("x"), Expect: twin.RevisionAbsent}
	if err := write(w); err != nil {
		t.Fatal(err)
	}
	if err := write(w); twin.Kind(err) != twin.KindConflict {
		t.Fatalf("second create: %v, want a conflict", err)
	}
	got, err := e.Records(context.Background(), twin.RecordSession, "", "", 10)
	if err != nil || len(got) != 1 || string(got[0].Value) != "x" {
		t.Fatalf("records %v, %v", got, err)
	}
}

func TestEngine_Close(t *testing.T) {
	e := openEngine(t, store.NewMemory(), engine.Options{})
	ch := submit(t, e, update(t, "a", `{"state":{}}`))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if r := await(t, ch); r.Err != nil {
		t.Fatalf("what was queued before the stop: %+v", r)
	}
	if err := e.Submit(update(t, "a", `{"state":{}}`), nil); twin.Kind(err) != twin.KindUnavailable {
		t.Fatalf("after the stop: %v", err)
	}
}
