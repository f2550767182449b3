package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// A commit whose outcome is unknown is read back: what is there is answered, what
// is not is applied again. Either way each update has one effect.
func TestEngine_unknownOutcome(t *testing.T) {
	for name, v := range map[string]verdict{"written": lostReply, "not written": lostRequest} {
		t.Run(name, func(t *testing.T) {
			g := newGated(store.NewMemory())
			e := openEngine(t, g, engine.Options{Committers: 1})
			do1 := submit(t, e, update(t, "a", `{"state":{"reported":{"n":1}}}`))
			await(t, g.arrived)
			do2 := submit(t, e, update(t, "a", `{"state":{"reported":{"n":2}}}`))
			other := submit(t, e, update(t, "b", `{"state":{"reported":{"n":3}}}`))
			g.decide(t, v)
			g.openGate(t)
			for i, ch := range []<-chan twin.Result{do1, do2} {
				if r := await(t, ch); r.Err != nil || r.Version != twin.Version(i+1) {
					t.Fatalf("update %d: %+v", i, r)
				}
			}
			if r := await(t, other); r.Err != nil || r.Version != 1 {
				t.Fatalf("other thing: %+v", r)
			}
			if evs := events(t, g, classic("a")); len(evs) != 2 {
				t.Fatalf("%d events, want 2", len(evs))
			}
			mustVersion(t, e, classic("a"), 2)
		})
	}
}

// A fenced store: nobody is told yes, everybody is told.
func TestEngine_fenced(t *testing.T) {
	g := newGated(store.NewMemory())
	e := openEngine(t, g, engine.Options{Committers: 1})
	first := submit(t, e, update(t, "a", `{"state":{}}`))
	await(t, g.arrived)
	second := submit(t, e, update(t, "a", `{"state":{}}`))
	fault := fmt.Errorf("write wal: input/output error")
	g.shutDown(fault)
	unavailable := verdict{err: &twin.Error{Kind: twin.KindUnavailable, Message: "The store has stopped", Err: fault}}
	g.decide(t, unavailable)
	if r := await(t, first); twin.Kind(r.Err) != twin.KindUnavailable {
		t.Fatalf("first: %+v", r)
	}
	g.one(t, unavailable)
	if r := await(t, second); twin.Kind(r.Err) != twin.KindUnavailable {
		t.Fatalf("second: %+v", r)
	}
}

// A store that refuses (disk full) has written nothing: the caller is told, and
// the next update is decided on what is really there.
func TestEngine_refused(t *testing.T) {
	g := newGated(store.NewMemory())
	e := openEngine(t, g, engine.Options{Committers: 1})
	full := verdict{err: twin.NewError(twin.KindFull, "The disk is full")}
	first := submit(t, e, update(t, "a", `{"state":{"reported":{"n":1}}}`))
	await(t, g.arrived)
	second := submit(t, e, update(t, "a", `{"state":{"reported":{"n":2}}}`))
	wrong := submit(t, e, update(t, "a", `{"state":{"reported":{"n":3}},"version":7}`))
	g.decide(t, full)
	if r := await(t, first); twin.Kind(r.Err) != twin.KindFull {
		t.Fatalf("first: %+v", r)
	}
	g.openGate(t)
	if r := await(t, second); r.Err != nil || r.Version != 1 {
		t.Fatalf("second: %+v, want version 1: the first was never written", r)
	}
	if r := await(t, wrong); twin.Kind(r.Err) != twin.KindConflict {
		t.Fatalf("wrong: %+v", r)
	}
}

// One mutation that the store finds invalid hurts nobody else in its group.
func TestEngine_poison(t *testing.T) {
	g := newGated(store.NewMemory())
	e := openEngine(t, g, engine.Options{Committers: 1})
	plug := submit(t, e, update(t, "plug", `{"state":{}}`))
	await(t, g.arrived)
	before := submit(t, e, update(t, "a", one))
	poison := make(chan error, 1)
	bad := []twin.RecordWrite{{Kind: twin.RecordSession, Key: ""}}
	if err := e.WriteRecords("x", bad, func(err error) { poison <- err }); err != nil {
		t.Fatal(err)
	}
	after := submit(t, e, update(t, "a", two))
	g.decide(t, pass)
	g.openGate(t)
	await(t, plug)
	if err := await(t, poison); twin.Kind(err) != twin.KindInvalid {
		t.Errorf("poison: %v", err)
	}
	if r := await(t, before); r.Err != nil || r.Version != 1 {
		t.Errorf("before: %+v", r)
	}
	if r := await(t, after); r.Err != nil || r.Version != 2 {
		t.Errorf("after: %+v", r)
	}
}

// A thing that cannot be read hurts nobody else, and no update of it is accepted.
func TestEngine_unreadable(t *testing.T) {
	g := newGated(&unreadable{Store: store.NewMemory(), thing: "bad"})
	e := openEngine(t, g, engine.Options{Committers: 1})
	plug := submit(t, e, update(t, "plug", `{"state":{}}`))
	await(t, g.arrived)
	good := submit(t, e, update(t, "good", one))
	bad := submit(t, e, update(t, "bad", one))
	g.openGate(t)
	await(t, plug)
	if r := await(t, good); r.Err != nil || r.Version != 1 {
		t.Errorf("good: %+v", r)
	}
	if r := await(t, bad); twin.Kind(r.Err) != twin.KindInternal || r.Err == nil {
		t.Errorf("bad: %+v", r)
	}
}

type unreadable struct {
	store.Store
	thing twin.ThingName
}

func (u *unreadable) Heads(ctx context.Context, things []twin.ThingName) ([]twin.Head, error) {
	if slices.Contains(things, u.thing) {
		return nil, fmt.Errorf("checksum of block 7 does not match")
	}
	return u.Store.Heads(ctx, things)
}

// Somebody else writes to the same store: the engine reads again and applies again.
func TestEngine_conflict(t *testing.T) {
	s := store.NewMemory()
	ours, theirs := openEngine(t, s, engine.Options{}), openEngine(t, s, engine.Options{})
	do(t, ours, update(t, "a", `{"state":{"reported":{"n":1}}}`))
	do(t, theirs, update(t, "a", `{"state":{"reported":{"m":1}}}`))
	r := do(t, ours, update(t, "a", `{"state":{"reported":{"n":2}}}`))
	if r.Err != nil || r.Version != 3 {
		t.Fatalf("%+v, want version 3", r)
	}
	if r := do(t, theirs, update(t, "a", `{"state":{"reported":{"n":2}},"version":2}`)); twin.Kind(r.Err) != twin.KindConflict {
		t.Fatalf("conditional update on an old version: %+v", r)
	}
}

// Two engines and a store that fails at random: every update has exactly one
// effect or was answered as unknown, versions and seqs have no gap.
func TestEngine_randomFaults(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	f := &flaky{Store: store.NewMemory(), rnd: rand.New(rand.NewPCG(seed, 1))}
	engines := []*engine.Engine{
		openEngine(t, f, engine.Options{GroupLenMax: 16}), openEngine(t, f, engine.Options{GroupLenMax: 16}),
	}
	const writers, each = 8, 150
	var mu sync.Mutex
	accepted := map[string]int{} // token → answers
	unknown := map[string]bool{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			e := engines[w%len(engines)]
			for i := range each {
				token := fmt.Sprintf("w%d-%d", w, i)
				thing := fmt.Sprintf("t%d", i%5)
				r := do(t, e, update(t, thing, fmt.Sprintf(`{"state":{"reported":{"w%d":%d}},"clientToken":%q}`, w, i, token)))
				mu.Lock()
				if r.Err == nil {
					accepted[token]++
				} else {
					unknown[token] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	seen := map[string]int{}
	for i := range 5 {
		for n, ev := range events(t, f, classic(fmt.Sprintf("t%d", i))) {
			seen[ev.Correlation]++
			if ev.Seq != twin.Seq(n+1) || ev.Version != twin.Version(n+1) {
				t.Fatalf("event %d of t%d has seq %d version %d", n, i, ev.Seq, ev.Version)
			}
		}
	}
	for token := range accepted {
		if seen[token] != 1 {
			t.Errorf("accepted %s has %d effects", token, seen[token])
		}
	}
	for token, n := range seen {
		if n != 1 {
			t.Errorf("%s has %d effects", token, n)
		}
	}
	t.Logf("%d accepted, %d unknown, %d commits failed", len(accepted), len(unknown), f.failed)
	if f.failed == 0 || len(accepted) < writers*each/2 {
		t.Errorf("the test did not test: %d commits failed, %d accepted", f.failed, len(accepted))
	}
}

// flaky is a store that loses a tenth of the requests and a tenth of the replies.
type flaky struct {
	store.Store
	mu     sync.Mutex
	rnd    *rand.Rand
	failed int
}

func (f *flaky) Commit(ctx context.Context, ms []store.Mutation) ([]store.Outcome, error) {
	f.mu.Lock()
	dice := f.rnd.IntN(10)
	if dice < 2 {
		f.failed++
	}
	f.mu.Unlock()
	if dice == 0 {
		return nil, lostRequest.err
	}
	out, err := f.Store.Commit(ctx, ms)
	if dice == 1 {
		return nil, lostReply.err
	}
	return out, err
}
