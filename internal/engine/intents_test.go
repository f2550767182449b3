package engine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/intent"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// What is asked of things, and each step of it in the log, is what the updates say that are
// there: also after the power has failed at any moment in the life of a group, as an intent is
// part of the commit that moves it.
func TestIntents_crash(t *testing.T) {
	for _, at := range []engine.Failpoint{engine.BeforeCommit, engine.AfterCommit, engine.BeforeAnswer, engine.AfterAnswer} {
		for range 5 {
			intentsOnce(t, at, rand.Uint64())
		}
	}
}

func intentsOnce(t *testing.T, at engine.Failpoint, seed uint64) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 3))
	disk := vfs.NewCrashableMem()
	o := engine.Options{Now: newClock().Now, GroupLenMax: 8, Intents: true}
	s, err := pebblestore.Open("data", pebblestore.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var clone *vfs.MemFS
	hits, crashAt := 0, 3+rnd.IntN(20)
	e, err := engine.OpenWithFailpoints(quiet, s, o, func(p engine.Failpoint) {
		mu.Lock()
		defer mu.Unlock()
		if p != at {
			return
		}
		if hits++; hits == crashAt {
			clone = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rnd.IntN(101), RNG: rnd})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	askAround(t, e, seed)
	replayed(t, s, e, seed)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if clone == nil {
		t.Fatalf("seed %d: the failpoint was hit %d times, wanted %d", seed, hits, crashAt)
	}
	if s, err = pebblestore.Open("data", pebblestore.Options{FS: clone}); err != nil {
		t.Fatal(err)
	}
	if e, err = engine.Open(quiet, s, o); err != nil {
		t.Fatal(err)
	}
	replayed(t, s, e, seed)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// askAround lets applications and devices change a few things at random.
func askAround(t *testing.T, e *engine.Engine, seed uint64) {
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(w)))
			for range 60 {
				thing := fmt.Sprintf("t%d", rnd.IntN(crashThings))
				u := update(t, thing, randomWish(rnd))
				u.Origin = twin.Origin{Door: twin.DoorREST, Session: "app"}
				if rnd.IntN(2) == 0 {
					u.Origin = twin.Origin{Door: twin.DoorMQTT, Session: thing}
				}
				if rnd.IntN(40) == 0 {
					u.Delete, u.Request = true, &twin.Request{}
				}
				if r := do(t, e, u); r.Err != nil && twin.Kind(r.Err) != twin.KindNotFound {
					t.Error(r.Err)
				}
			}
		})
	}
	wg.Wait()
}

func randomWish(rnd *rand.Rand) string {
	section := func() string {
		switch rnd.IntN(8) {
		case 0:
			return "null"
		case 1:
			return fmt.Sprintf(`{"a":null,"m":{"x":%d}}`, rnd.IntN(3))
		case 2:
			return fmt.Sprintf(`{"m":{"x":%d,"y":[%d]},"b":"%d"}`, rnd.IntN(2), rnd.IntN(2), rnd.IntN(2))
		}
		return fmt.Sprintf(`{"%c":%d}`, 'a'+rnd.IntN(3), rnd.IntN(3))
	}
	switch rnd.IntN(3) {
	case 0:
		return `{"state":{"desired":` + section() + `}}`
	case 1:
		return `{"state":{"reported":` + section() + `}}`
	}
	return `{"state":{"desired":` + section() + `,"reported":` + section() + `}}`
}

// replayed compares what is kept, and the log, with what the updates in the store say.
func replayed(t *testing.T, s store.Store, e *engine.Engine, seed uint64) {
	t.Helper()
	for i := range crashThings {
		key := classic(fmt.Sprintf("t%d", i))
		raw, err := s.ThingEvents(t.Context(), store.ThingRange{Thing: key.Thing, Limit: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		var shadow *twin.Shadow
		var list *intent.List
		var want, got []string
		for _, b := range raw {
			ev, err := twin.DecodeEvent(b)
			if err != nil {
				t.Fatal(err)
			}
			if ev.Kind == twin.EventIntent {
				got = append(got, ev.Type+" "+ev.Correlation+" "+ev.Message+" "+string(ev.Data))
				continue
			}
			if !ev.Kind.OfShadow() {
				continue // an echo loop, say
			}
			m := intent.Move{By: ev.Origin.Door.String() + " " + ev.Origin.Session, Device: ev.Origin.Door == twin.DoorMQTT}
			if ev.Kind == twin.EventDeleted {
				m.Change, err = twin.NewDelete(key, shadow, &twin.Request{}, ev.Time)
			} else {
				m.Change, err = twin.NewChange(key, shadow, parse(t, `{"state":`+string(ev.Patch)+`}`), ev.Time, twin.Limits{})
			}
			if err != nil {
				t.Fatal(err)
			}
			shadow = m.Change.Current
			m.Delta = shadow.Delta()
			next, events := list.Step(&m)
			list = next
			for _, x := range events {
				want = append(want, fmt.Sprintf("%s v%d %s %s", x.Type, x.Version, x.Message, x.Data))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("seed %d: the log of %s has %q, want %q", seed, key, got, want)
		}
		if have := e.Intents(key); have.Empty() != list.Empty() || !list.Empty() && string(have.Encode()) != string(list.Encode()) {
			t.Errorf("seed %d: kept of %s is %s, want %s", seed, key, have.Encode(), list.Encode())
		}
	}
}

// A delivery is noted once; what comes again is counted.
func TestIntents_delivered(t *testing.T) {
	e := openEngine(t, store.NewMemory(), engine.Options{Intents: true})
	key := classic("a")
	do(t, e, update(t, "a", `{"state":{"desired":{"x":1}}}`))
	taken := func(v twin.Version, delta bool) {
		t.Helper()
		ch := make(chan error, 1)
		if err := e.IntentDelivered(key, v, "a", delta, func(err error) { ch <- err }); err != nil {
			t.Fatal(err)
		}
		if err := await(t, ch); err != nil {
			t.Fatal(err)
		}
	}
	taken(1, true)
	taken(1, true)
	taken(1, false)
	if got := e.Intents(key).Oldest(); got.State() != intent.Delivered || got.Sent != 2 || got.Client != "a" {
		t.Errorf("%+v", got)
	}
	do(t, e, update(t, "a", `{"state":{"reported":{"x":1}}}`))
	if last := e.Intents(key).Last; last.State != intent.Applied || last.Sent != 2 {
		t.Errorf("%+v", last)
	}
	ch := make(chan error, 1)
	if err := e.IntentAnswered(key, 1, "rejected", "no", twin.Origin{}, func(err error) { ch <- err }); err != nil {
		t.Fatal(err)
	}
	if err := await(t, ch); twin.Kind(err) != twin.KindNotFound {
		t.Errorf("an answer that comes too late: %v", err)
	}
}

// A delta that is new for one intent comes again for those before it.
func TestIntents_sent(t *testing.T) {
	e := openEngine(t, store.NewMemory(), engine.Options{Intents: true})
	for v := range twin.Version(2) {
		do(t, e, update(t, "a", fmt.Sprintf(`{"state":{"desired":{"x%d":1}}}`, v)))
		ch := make(chan error, 1)
		if err := e.IntentDelivered(classic("a"), v+1, "a", true, func(err error) { ch <- err }); err != nil {
			t.Fatal(err)
		}
		if err := await(t, ch); err != nil {
			t.Fatal(err)
		}
	}
	if l := e.Intents(classic("a")); l.Open[0].Sent != 2 || l.Open[1].Sent != 1 {
		t.Errorf("%s", l.Encode())
	}
}

// What is asked for with an end is taken out of desired when its time is over, and nothing else.
func TestIntents_expire(t *testing.T) {
	c := newClock()
	e := openEngine(t, store.NewMemory(), engine.Options{Intents: true, Now: c.Now})
	u := update(t, "a", `{"state":{"desired":{"x":1,"y":{"z":2}}}}`)
	u.ExpiresIn = time.Hour
	do(t, e, u)
	do(t, e, update(t, "a", `{"state":{"reported":{"x":1},"desired":{"w":3}}}`))
	c.Add(2 * time.Hour)
	e.ExpireDue()
	// An update that comes after it is applied after it.
	do(t, e, update(t, "a", `{"state":{"reported":{"v":1}}}`))
	s, err := e.Shadow(t.Context(), classic("a"))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(s.Desired.AppendJSON(nil)); got != `{"x":1,"w":3}` {
		t.Errorf("desired is %s", got)
	}
	l := e.Intents(classic("a"))
	if l.Last.State != intent.Expired || len(l.Open) != 1 || l.Open[0].ID() != "v2" {
		t.Errorf("%s", l.Encode())
	}
}
