package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

func packet(t testing.TB, body string, id uint16) twin.Update {
	u := update(t, "a", body)
	u.Origin = twin.Origin{
		Door: twin.DoorMQTT, Session: "device", PacketID: id,
		PayloadHash: twin.PayloadHash("topic", []byte(body)),
	}
	return u
}

func resent(u twin.Update) twin.Update {
	u.Resent = true
	return u
}

const one, two = `{"state":{"reported":{"n":1}}}`, `{"state":{"reported":{"n":2}}}`

// Promise 3: a packet that is sent again moves the version once.
func TestEngine_resent(t *testing.T) {
	s := store.NewMemory()
	e := openEngine(t, s, engine.Options{})
	do(t, e, packet(t, one, 7))
	do(t, e, packet(t, two, 8))
	r := do(t, e, resent(packet(t, one, 7)))
	if r.Err != nil || !r.Duplicate || r.Version != 1 {
		t.Fatalf("resent: %+v", r)
	}
	for name, u := range map[string]twin.Update{
		"first copy was lost":    resent(packet(t, one, 9)),
		"id used again":          resent(packet(t, two, 7)),
		"not a resend":           packet(t, one, 7),
		"same id, other session": func() twin.Update { u := resent(packet(t, one, 7)); u.Origin.Session = "x"; return u }(),
	} {
		if r := do(t, e, u); r.Err != nil || r.Duplicate {
			t.Errorf("%s: %+v, want a new version", name, r)
		}
	}
	// After a restart the store alone knows.
	again := openEngine(t, s, engine.Options{})
	if r := do(t, again, resent(packet(t, two, 8))); !r.Duplicate || r.Version != 2 {
		t.Fatalf("resent after a restart: %+v", r)
	}
}

func TestEngine_resent_inFlight(t *testing.T) {
	g := newGated(store.NewMemory())
	e := openEngine(t, g, engine.Options{})
	first := submit(t, e, packet(t, one, 7))
	await(t, g.arrived)
	second := submit(t, e, resent(packet(t, one, 7)))
	third := submit(t, e, resent(packet(t, two, 8)))
	fourth := submit(t, e, resent(packet(t, two, 8)))
	g.decide(t, lostRequest) // the original has to be applied again, the copy stays a copy
	g.openGate(t)
	for i, want := range []struct {
		ch        <-chan twin.Result
		version   twin.Version
		duplicate bool
	}{{first, 1, false}, {second, 1, true}, {third, 2, false}, {fourth, 2, true}} {
		if r := await(t, want.ch); r.Err != nil || r.Version != want.version || r.Duplicate != want.duplicate {
			t.Errorf("copy %d: %+v", i, r)
		}
	}
}

func TestEngine_idempotencyKey(t *testing.T) {
	s := store.NewMemory()
	c := newClock()
	e := openEngine(t, s, engine.Options{Now: c.Now, IdempotencyTTL: time.Hour, Committers: 1})
	keyed := func(body, key string) twin.Update {
		u := update(t, "a", body)
		u.IdempotencyKey = key
		u.Origin.PayloadHash = twin.PayloadHash("POST", []byte(body))
		return u
	}
	first := do(t, e, keyed(one, "k1"))
	if first.Err != nil || first.Duplicate {
		t.Fatalf("%+v", first)
	}
	for range 2 {
		r := do(t, e, keyed(one, "k1"))
		if !r.Duplicate || r.Version != 1 || string(r.Answer) != string(first.Change.AppendAccepted(nil)) {
			t.Fatalf("repeat: %+v %s", r, r.Answer)
		}
		e = openEngine(t, s, engine.Options{Now: c.Now, IdempotencyTTL: time.Hour, Committers: 1})
	}
	if r := do(t, e, keyed(two, "k1")); twin.Kind(r.Err) != twin.KindInvalid {
		t.Fatalf("same key, other request: %+v", r)
	}
	if r := do(t, e, keyed(one, "k2")); r.Duplicate || r.Version != 2 {
		t.Fatalf("other key: %+v", r)
	}
	c.Add(2 * time.Hour)
	if err := engine.Sweep(e, context.Background()); err != nil {
		t.Fatal(err)
	}
	do(t, e, update(t, "a", one)) // same committer: the sweep is committed before it
	left, err := e.Records(context.Background(), twin.RecordIdempotency, "", "", 10)
	if err != nil || len(left) > 0 {
		t.Errorf("expired keys left: %v, %v", left, err)
	}
	if r := do(t, e, keyed(one, "k1")); r.Duplicate {
		t.Fatalf("expired key: %+v", r)
	}
}

// A rejected request left nothing behind, so its repeat is decided anew.
func TestEngine_idempotencyKey_rejected(t *testing.T) {
	e := openEngine(t, store.NewMemory(), engine.Options{})
	u := update(t, "a", `{"state":{"reported":{"n":1}},"version":1}`)
	u.IdempotencyKey = "k"
	do(t, e, update(t, "a", one))
	do(t, e, update(t, "a", one))
	if r := do(t, e, u); twin.Kind(r.Err) != twin.KindConflict {
		t.Fatalf("%+v", r)
	}
	if r := do(t, e, u); twin.Kind(r.Err) != twin.KindConflict {
		t.Fatalf("%+v", r)
	}
}
