package history_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

const (
	second twin.Time = 1000
	hour             = 3600 * second
	day              = 24 * hour
	start  twin.Time = 20_000 * day
)

// past is a store some of whose days have expired.
type past struct {
	store.Store
	own   bool      // the store reads the events of a thing itself
	cut   twin.Time // events before this have expired
	bases map[twin.ShadowKey]twin.Event
	reads int // events returned
}

func (p *past) Events(ctx context.Context, r store.EventRange) ([][]byte, error) {
	r.From = max(r.From, p.cut)
	if r.To != 0 && r.To <= r.From {
		return nil, nil
	}
	evs, err := p.Store.Events(ctx, r)
	p.reads += len(evs)
	return evs, err
}

func (p *past) ThingEvents(ctx context.Context, r store.ThingRange) ([][]byte, error) {
	if p.own {
		return p.Store.ThingEvents(ctx, r)
	}
	entries, err := p.Feed(ctx, 0, 1<<30)
	if err != nil {
		return nil, err
	}
	var evs [][]byte
	for _, e := range entries {
		ev, err := twin.DecodeEvent(e.Event)
		if err != nil {
			return nil, err
		}
		class := store.ClassLog
		if ev.Kind.OfShadow() {
			class = store.ClassHistory
		}
		from := r.From
		if class == store.ClassHistory {
			from = max(from, p.cut)
		}
		in := ev.Thing == r.Thing && (len(r.Kinds) == 0 || slices.Contains(r.Kinds, class.Kind())) &&
			ev.Time >= from && (r.To == 0 || ev.Time < r.To) &&
			(r.After == 0 || !r.Newest && ev.Seq > r.After || r.Newest && ev.Seq < r.After)
		if in {
			evs = append(evs, e.Event)
		}
	}
	if r.Newest {
		slices.Reverse(evs)
	}
	return evs[:min(len(evs), r.Limit)], nil
}

func (p *past) Base(_ context.Context, key twin.ShadowKey) (store.Base, bool, error) {
	ev, ok := p.bases[key]
	if !ok {
		return store.Base{}, false, nil
	}
	return store.Base{Event: ev.AppendBinary(nil)}, true, nil
}

// fact is an event and the shadow after it: the naive model of history.
type fact struct {
	ev    twin.Event
	after *twin.Shadow
}

type living struct {
	shadow *twin.Shadow
	since  int
	day    uint32
}

// world writes events as the engine does and remembers them all.
type world struct {
	t       testing.TB
	past    *past
	now     twin.Time
	heads   map[twin.ThingName]twin.Head
	shadows map[twin.ShadowKey]*living
	facts   []fact
}

func newWorld(t testing.TB) *world {
	return &world{
		t: t, now: start, past: &past{Store: store.NewMemory(), bases: make(map[twin.ShadowKey]twin.Event)},
		heads: make(map[twin.ThingName]twin.Head), shadows: make(map[twin.ShadowKey]*living),
	}
}

func (w *world) reader() *history.Reader { return history.New(w.past, w) }

// ThingsOfModel says that all things have every model.
func (w *world) ThingsOfModel(_ context.Context, _ string, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	var names []twin.ThingName
	for name := range w.heads {
		if name > after {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(limit, len(names))], nil
}

func (w *world) commit(ev twin.Event, doc []byte, live bool) twin.Event {
	w.t.Helper()
	head := w.heads[ev.Thing]
	ev.Seq, ev.Time = head.Seq+1, w.now
	if ev.Origin.Session == "" {
		ev.Origin = twin.Origin{Door: twin.DoorMQTT, Session: string(ev.Thing)}
	}
	b := ev.AppendBinary(nil)
	next := twin.Head{Seq: ev.Seq, Hash: head.Hash.Next(b), Time: ev.Time}
	m := store.Mutation{Thing: ev.Thing, Expect: head.Seq, Event: b, Head: next, Shadow: ev.Shadow, Doc: doc, Live: live, Class: store.ClassLog}
	if ev.Kind.OfShadow() {
		m.Class = store.ClassHistory
	}
	out, err := w.past.Commit(context.Background(), []store.Mutation{m})
	if err != nil || out[0] != store.Committed {
		w.t.Fatalf("commit: %v, %v", out, err)
	}
	w.heads[ev.Thing] = next
	return ev
}

// update applies a state, or deletes with an empty one. It reports whether it could.
func (w *world) update(key twin.ShadowKey, state string) bool {
	w.t.Helper()
	s := w.shadows[key]
	if s == nil {
		s = &living{}
		w.shadows[key] = s
	}
	var c *twin.Change
	var err error
	if state == "" {
		c, err = twin.NewDelete(key, s.shadow, &twin.Request{}, w.now)
	} else {
		var req *twin.Request
		if req, err = twin.ParseRequest([]byte(`{"state":`+state+`}`), twin.Limits{}); err == nil {
			c, err = twin.NewChange(key, s.shadow, req, w.now, twin.Limits{})
		}
	}
	if twin.Kind(err) == twin.KindNotFound {
		return false
	}
	if err != nil {
		w.t.Fatalf("update %s with %s: %v", key, state, err)
	}
	ev := twin.Event{Thing: key.Thing, Shadow: key.Shadow, Kind: c.Kind, Version: c.Current.Version, Patch: slices.Clone(c.Patch())}
	doc := c.Current.AppendBinary(nil)
	s.since++
	if s.shadow == nil || s.day != w.now.Day() || s.since >= 256 {
		ev.Snapshot, s.since, s.day = doc, 0, w.now.Day()
	}
	s.shadow = c.Current
	w.facts = append(w.facts, fact{w.commit(ev, doc, c.Current.Exists()), c.Current})
	return true
}

// record adds a late state.
func (w *world) record(key twin.ShadowKey, state string, v twin.Version, origin twin.Time) {
	w.t.Helper()
	ev := twin.Event{Thing: key.Thing, Shadow: key.Shadow, Kind: twin.EventRecorded, Version: v, OriginTime: origin, Patch: []byte(state)}
	ev = w.commit(ev, nil, false)
	s, err := twin.RecordedState(&ev)
	if err != nil {
		w.t.Fatal(err)
	}
	w.facts = append(w.facts, fact{ev, s})
}

func (w *world) log(ev twin.Event) {
	w.t.Helper()
	w.facts = append(w.facts, fact{w.commit(ev, nil, false), nil})
}

// of returns the facts of one shadow in order.
func (w *world) of(key twin.ShadowKey) []fact {
	var fs []fact
	for _, f := range w.facts {
		if f.ev.Thing == key.Thing && f.ev.Shadow == key.Shadow && f.ev.Kind.OfShadow() {
			fs = append(fs, f)
		}
	}
	return fs
}

// expire drops all before a day as the store does: the newest state is the base.
func (w *world) expire(before twin.Time) {
	w.past.cut = before
	for key := range w.shadows {
		for _, f := range w.of(key) {
			if f.ev.Time < before {
				base := f.ev
				base.Snapshot = f.after.AppendBinary(nil)
				w.past.bases[key] = base
			}
		}
	}
}

// live lives n random events.
func (w *world) live(rng *rand.Rand, n int, keys []twin.ShadowKey, late bool) {
	w.t.Helper()
	states := []func() string{
		func() string { return fmt.Sprintf(`{"reported":{"t":%d,"ok":true}}`, rng.IntN(100)) },
		func() string {
			return fmt.Sprintf(`{"reported":{"t":%d.%d,"pos":{"x":%d}}}`, rng.IntN(9), rng.IntN(9), rng.IntN(5))
		},
		func() string {
			return fmt.Sprintf(`{"desired":{"mode":"m%d","list":[1,%d]}}`, rng.IntN(3), rng.IntN(3))
		},
		func() string { return `{"reported":{"t":null}}` },
		func() string { return `{"reported":{"pos":null,"note":"a \"b\" <c>"},"desired":{"a.b":1}}` },
		func() string { return `{"desired":null}` },
		func() string { return `{"reported":{"t":"broken"}}` },
	}
	for range n {
		key := keys[rng.IntN(len(keys))]
		switch d := rng.IntN(400); {
		case d < 120: // the same millisecond
		case d < 380:
			w.now += twin.Time(1 + rng.IntN(90_000))
		case d < 396:
			w.now += twin.Time(rng.Int64N(int64(10 * hour)))
		default:
			w.now += 50 * hour
		}
		switch d := rng.IntN(100); {
		case d < 3:
			if w.update(key, "") && rng.IntN(3) == 0 {
				w.now += 50 * hour // versions start again
			}
		case d < 8:
			kinds := []twin.EventKind{twin.EventConnected, twin.EventDisconnected, twin.EventReported, twin.EventRejected, twin.EventManaged}
			w.log(twin.Event{
				Thing: key.Thing, Kind: kinds[rng.IntN(len(kinds))], Type: "note", Severity: twin.Severity(rng.IntN(5)),
				Message: fmt.Sprintf("Number %d", rng.IntN(20)), Correlation: fmt.Sprint("c", rng.IntN(4)),
			})
		case d < 20 && late:
			w.record(key, states[rng.IntN(3)](), twin.Version(1+rng.IntN(500)), w.now-twin.Time(rng.Int64N(int64(history.LateMax))))
		default:
			w.update(key, states[rng.IntN(len(states))]())
		}
	}
}

func seeded(t *testing.T, run func(t *testing.T, rng *rand.Rand)) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	for i := range uint64(3) {
		t.Run("", func(t *testing.T) {
			t.Logf("seed %d", seed+i)
			run(t, rand.New(rand.NewPCG(seed+i, 0)))
		})
	}
}

var keys = []twin.ShadowKey{{Thing: "pump"}, {Thing: "pump", Shadow: "config"}}

func encoding(s *twin.Shadow) string {
	if s == nil {
		return ""
	}
	return string(s.AppendBinary(nil))
}
