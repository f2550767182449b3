package engine_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// patience is how long a test waits for what must happen soon.
const patience = 20 * time.Second

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// clock is a clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func openEngine(t *testing.T, s store.Store, o engine.Options) *engine.Engine {
	t.Helper()
	if o.Now == nil {
		o.Now = newClock().Now
	}
	e, err := engine.Open(quiet, s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if g, ok := s.(*gated); ok {
			g.openGate(t) // what is still to be committed must not wait for the test
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func parse(t testing.TB, body string) *twin.Request {
	t.Helper()
	req, err := twin.ParseRequest([]byte(body), twin.Limits{})
	if err != nil {
		t.Fatalf("parse %s: %v", body, err)
	}
	return req
}

func classic(thing string) twin.ShadowKey { return twin.ShadowKey{Thing: twin.ThingName(thing)} }

func update(t testing.TB, thing, body string) twin.Update {
	t.Helper()
	return twin.Update{Key: classic(thing), Request: parse(t, body), Origin: twin.Origin{Door: twin.DoorREST}}
}

// submit queues an update and returns where its result will be.
func submit(t testing.TB, e *engine.Engine, u twin.Update) <-chan twin.Result {
	t.Helper()
	ch := make(chan twin.Result, 1)
	if err := e.Submit(u, func(r twin.Result) { ch <- r }); err != nil {
		t.Fatalf("submit: %v", err)
	}
	return ch
}

func await[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("waited too long")
		panic("unreachable")
	}
}

// do submits an update and waits for its result.
func do(t testing.TB, e *engine.Engine, u twin.Update) twin.Result {
	t.Helper()
	return await(t, submit(t, e, u))
}

func mustVersion(t testing.TB, e *engine.Engine, key twin.ShadowKey, want twin.Version) {
	t.Helper()
	s, err := e.Shadow(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	var got twin.Version
	if s != nil {
		got = s.Version
	}
	if got != want {
		t.Fatalf("%s is at version %d, want %d", key, got, want)
	}
}

// events returns the decoded events of a shadow, oldest first.
func events(t testing.TB, s store.Store, key twin.ShadowKey) []twin.Event {
	t.Helper()
	raw, err := s.Events(context.Background(), store.EventRange{Key: key, Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var evs []twin.Event
	for _, b := range raw {
		ev, err := twin.DecodeEvent(b)
		if err != nil {
			t.Fatal(err)
		}
		evs = append(evs, ev)
	}
	return evs
}

// gated is a store whose commits wait for the test, and may be made to fail.
type gated struct {
	store.Store
	arrived chan []store.Mutation // a commit has come
	verdict chan verdict          // what becomes of it
	free    chan struct{}         // closed: all pass
	opened  sync.Once

	fence sync.Once
	fault error
	shut  chan struct{}
}

type verdict struct {
	write bool  // do commit it
	err   error // answer this
}

var (
	pass        = verdict{write: true}
	lostReply   = verdict{write: true, err: fmt.Errorf("connection reset")}
	lostRequest = verdict{err: fmt.Errorf("connection refused")}
)

func newGated(s store.Store) *gated {
	return &gated{
		Store: s, arrived: make(chan []store.Mutation, 64), verdict: make(chan verdict),
		free: make(chan struct{}), shut: make(chan struct{}),
	}
}

func (g *gated) Commit(ctx context.Context, ms []store.Mutation) ([]store.Outcome, error) {
	v := pass
	select {
	case <-g.free:
	case g.arrived <- append([]store.Mutation(nil), ms...):
		select {
		case <-g.free:
		case v = <-g.verdict:
		}
	}
	var out []store.Outcome
	var err error
	if v.write {
		out, err = g.Store.Commit(ctx, ms)
	}
	if v.err != nil {
		return nil, v.err
	}
	return out, err
}

func (g *gated) Fenced() <-chan struct{} { return g.shut }

func (g *gated) Fault() error { return g.fault }

func (g *gated) shutDown(err error) {
	g.fence.Do(func() {
		g.fault = err
		close(g.shut)
	})
}

// one lets exactly one commit through with a verdict and returns its mutations.
func (g *gated) one(t testing.TB, v verdict) []store.Mutation {
	t.Helper()
	ms := await(t, g.arrived)
	g.decide(t, v)
	return ms
}

func (g *gated) decide(t testing.TB, v verdict) {
	t.Helper()
	select {
	case g.verdict <- v:
	case <-time.After(patience):
		t.Fatal("no commit took the verdict")
	}
}

// openGate lets all commits pass from now on.
func (g *gated) openGate(testing.TB) { g.opened.Do(func() { close(g.free) }) }
