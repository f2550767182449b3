package proof_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

var errSum = errors.New("damaged on disk: event: its checksum is wrong")

// kept is an event as a store keeps it: under a seq, which is not looked up in its
// bytes, and with a checksum.
type kept struct {
	place twin.Seq
	class store.Class
	event []byte
	spoil bool // its checksum is wrong
}

// world is a store whose past can be tampered with. The engine writes into the memory
// store inside; what it commits is also recorded here, and read from here.
type world struct {
	*store.Memory
	mu      sync.Mutex
	heads   map[twin.ThingName]twin.Head
	anchors map[twin.ThingName][]twin.Head
	events  map[twin.ThingName][]kept // by place
	bases   map[twin.ShadowKey][]byte
	docs    map[twin.ShadowKey]store.Shadow // overrides
	coarse  bool                            // a damaged event makes its whole day unreadable
}

func newWorld() *world {
	return &world{
		Memory: store.NewMemory(),
		heads:  make(map[twin.ThingName]twin.Head), anchors: make(map[twin.ThingName][]twin.Head),
		events: make(map[twin.ThingName][]kept), bases: make(map[twin.ShadowKey][]byte),
		docs: make(map[twin.ShadowKey]store.Shadow),
	}
}

func (w *world) Commit(ctx context.Context, ms []store.Mutation) ([]store.Outcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out, err := w.Memory.Commit(ctx, ms)
	for i := range out {
		m := &ms[i]
		if out[i] != store.Committed || m.Thing == "" {
			continue
		}
		w.heads[m.Thing] = m.Head
		if m.Anchor.Seq != 0 {
			w.anchors[m.Thing] = append(w.anchors[m.Thing], m.Anchor)
		}
		w.events[m.Thing] = append(w.events[m.Thing], kept{place: m.Head.Seq, class: m.Class, event: bytes.Clone(m.Event)})
	}
	return out, err
}

func (w *world) LoggedThings(_ context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []twin.ThingName
	for n := range w.heads {
		if n > after {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names[:min(limit, len(names))], nil
}

func (w *world) Heads(_ context.Context, things []twin.ThingName) ([]twin.Head, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	heads := make([]twin.Head, len(things))
	for i, t := range things {
		heads[i] = w.heads[t]
	}
	return heads, nil
}

func (w *world) Anchors(_ context.Context, t twin.ThingName) ([]twin.Head, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.anchors[t]), nil
}

func (w *world) ThingEvents(_ context.Context, r store.ThingRange) ([][]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.events[r.Thing]
	i, _ := slices.BinarySearchFunc(all, r.After+1, func(k kept, s twin.Seq) int { return int(k.place) - int(s) })
	var out [][]byte
	for _, k := range all[i:] {
		if len(out) == r.Limit {
			break
		}
		if len(r.Kinds) > 0 && !slices.Contains(r.Kinds, k.class.Kind()) {
			continue
		}
		if k.spoil || w.coarse && w.dayDamaged(all, k, r.From) != 0 {
			if w.coarse {
				k.place = w.dayDamaged(all, k, r.From)
			}
			return nil, fmt.Errorf("thing %s, event %d: %w", r.Thing, k.place, errSum)
		}
		out = append(out, k.event)
	}
	return out, nil
}

// dayDamaged returns the damaged event of the day of k, or of one before that is read
// too.
func (w *world) dayDamaged(all []kept, k kept, from twin.Time) twin.Seq {
	day := func(b []byte) uint32 {
		ev, err := twin.DecodeEvent(b)
		if err != nil {
			panic(err)
		}
		return ev.Time.Day()
	}
	for _, o := range all {
		if d := day(o.event); o.spoil && from.Day() <= d && d <= day(k.event) {
			return o.place
		}
	}
	return 0
}

func (w *world) Base(_ context.Context, key twin.ShadowKey) (store.Base, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, ok := w.bases[key]
	return store.Base{Event: b}, ok, nil
}

func (w *world) Shadows(ctx context.Context, keys []twin.ShadowKey) ([]store.Shadow, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out, err := w.Memory.Shadows(ctx, keys)
	for i, k := range keys {
		if s, ok := w.docs[k]; ok && err == nil {
			out[i] = s
		}
	}
	return out, err
}

// copyWorld returns a world that can be spoiled without harm to this one. Event bytes
// are shared: they are replaced, never written to.
func (w *world) copyWorld() *world {
	c := newWorld()
	c.Memory = w.Memory
	maps.Copy(c.heads, w.heads)
	for t, a := range w.anchors {
		c.anchors[t] = slices.Clone(a)
	}
	for t, e := range w.events {
		c.events[t] = slices.Clone(e)
	}
	maps.Copy(c.bases, w.bases)
	return c
}

// at returns where in the list the event of a place is.
func (w *world) at(t twin.ThingName, place twin.Seq) int {
	return slices.IndexFunc(w.events[t], func(k kept) bool { return k.place == place })
}

func (w *world) sort(t twin.ThingName) {
	slices.SortStableFunc(w.events[t], func(a, b kept) int { return int(a.place) - int(b.place) })
}

// expire drops the events of classes before days, as Expire does, leaving bases.
func (w *world) expire(t testing.TB, p store.Policy) {
	t.Helper()
	for thing, list := range w.events {
		var left []kept
		for _, k := range list {
			ev, err := twin.DecodeEvent(k.event)
			if err != nil {
				t.Fatal(err)
			}
			if ev.Time.Day() >= p[k.class] {
				left = append(left, k)
				continue
			}
			if k.class != store.ClassHistory || !(ev.Kind == twin.EventUpdated || ev.Kind == twin.EventDeleted) {
				continue
			}
			key := twin.ShadowKey{Thing: thing, Shadow: ev.Shadow}
			var state *twin.Shadow
			if b, ok := w.bases[key]; ok {
				be, err := twin.DecodeEvent(b)
				if err != nil {
					t.Fatal(err)
				}
				if state, err = twin.DecodeShadow(be.Snapshot); err != nil {
					t.Fatal(err)
				}
			}
			if state, err = twin.Fold(state, &ev); err != nil {
				t.Fatal(err)
			}
			ev.Snapshot = state.AppendBinary(nil)
			w.bases[key] = ev.AppendBinary(nil)
		}
		w.events[thing] = left
	}
}

// clock is a clock that a test sets; the zero value is at 1970.
type clock struct{ since atomic.Int64 }

func (c *clock) Now() time.Time { return time.Unix(0, c.since.Load()).UTC() }

func (c *clock) Add(d time.Duration) { c.since.Add(int64(d)) }

// life is a random history through the real engine.
type life struct {
	t     testing.TB
	rng   *rand.Rand
	now   clock
	eng   *engine.Engine
	world *world
}

func newLife(t testing.TB, seed uint64) *life {
	t.Helper()
	l := &life{t: t, rng: rand.New(rand.NewPCG(seed, 1)), world: newWorld()}
	l.now.Add(time.Date(2026, 11, 20, 22, 0, 0, 0, time.UTC).Sub(time.Unix(0, 0)))
	eng, err := engine.Open(slog.New(slog.NewTextHandler(io.Discard, nil)), l.world, engine.Options{
		Now: l.now.Now, Groups: map[string]store.Group{"pump": 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.eng = eng
	t.Cleanup(func() {
		if err := eng.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *life) update(key twin.ShadowKey, origin twin.Origin, body string) {
	l.t.Helper()
	req, err := twin.ParseRequest([]byte(body), twin.Limits{})
	if err != nil {
		l.t.Fatal(err)
	}
	l.wait(func(done func(error)) error {
		return l.eng.Submit(twin.Update{Key: key, Request: req, Origin: origin}, func(r twin.Result) { done(r.Err) })
	})
}

func (l *life) delete(key twin.ShadowKey) {
	req, err := twin.ParseToken(nil, twin.Limits{})
	if err != nil {
		l.t.Fatal(err)
	}
	l.wait(func(done func(error)) error {
		return l.eng.Submit(twin.Update{Key: key, Delete: true, Request: req}, func(r twin.Result) {
			if twin.Kind(r.Err) == twin.KindNotFound {
				r.Err = nil
			}
			done(r.Err)
		})
	})
}

func (l *life) entry(ev twin.Event) {
	l.wait(func(done func(error)) error {
		return l.eng.Append(twin.Entry{Event: ev}, func(r twin.EntryResult) { done(r.Err) })
	})
}

func (l *life) wait(f func(done func(error)) error) {
	l.t.Helper()
	ch := make(chan error, 1)
	if err := f(func(err error) { ch <- err }); err != nil {
		l.t.Fatal(err)
	}
	if err := <-ch; err != nil {
		l.t.Fatal(err)
	}
}

// live adds n random events of some things, over several days.
func (l *life) live(things, n int) *world {
	l.t.Helper()
	shadows := []twin.ShadowName{"", "", "config", "net"}
	for range n {
		l.now.Add(time.Duration(l.rng.Int64N(int64(20 * time.Minute))))
		thing := twin.ThingName(fmt.Sprintf("pump-%d", l.rng.IntN(things)))
		key := twin.ShadowKey{Thing: thing, Shadow: shadows[l.rng.IntN(len(shadows))]}
		device := twin.Origin{Door: twin.DoorMQTT, Session: string(thing)}
		switch l.rng.IntN(20) {
		case 0:
			l.entry(twin.Event{Thing: thing, Kind: twin.EventConnected, Origin: device})
		case 1:
			l.entry(twin.Event{Thing: thing, Kind: twin.EventReported, Type: "error", Severity: twin.SeverityError, Message: "pressure <low>", Data: []byte(`{"bar": 0.5}`)})
		case 2:
			l.delete(key)
		case 3:
			l.entry(twin.Event{Thing: thing, Shadow: key.Shadow, Kind: twin.EventRecorded, Version: 3, OriginTime: twin.TimeOf(l.now.Now().Add(-time.Hour)), Patch: []byte(`{"reported":{"late":true}}`)})
		case 4:
			l.update(key, device, fmt.Sprintf(`{"state":{"desired":{"setpoint":%d,"mode":"run"}},"clientToken":"t-%d"}`, l.rng.IntN(100), l.rng.IntN(9)))
		default:
			// Not from the device: a report that leaves the same delta again and again is noted
			// in the log after its answer, while the test may already look at the world.
			l.update(key, twin.Origin{Door: twin.DoorAWS}, fmt.Sprintf(`{"state":{"reported":{"temp":%.2f,"rpm":%d,"on":%v}}}`, l.rng.Float64()*90, l.rng.IntN(3000), l.rng.IntN(2) == 0))
		}
	}
	return l.world
}
