package device

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// thingsMax is the most things one client stands for; a gateway with more is still
// served, the others just do not count as connected.
const thingsMax = 10_000

// notesMax is how many events may be on their way to the log at once. A gateway that
// goes takes thousands of things with it, and they must not fill the queue of the
// updates.
const notesMax = 256

// Connection events are written at a steady pace, so that a gateway with thousands of
// things, or a fleet that comes back all at once, leaves the disk to the updates. What
// comes and goes in the meantime leaves no trace; what is written late says when it was.
const (
	paceEvery  = 10 * time.Millisecond
	paceEvents = 10 // in that time: 1,000 a second
	lateAfter  = time.Second
	drainMax   = 3 * time.Second // at the end, for those that are left
)

// Tracker follows which things are connected: those with a client whose id is the
// thing's name, or that uses the thing's own topics. When a thing comes or goes it is
// an event of its twin. The events of a thing that comes and goes faster than they
// can be written are left out in pairs, so a flapping link does not flood the log.
type Tracker struct {
	log    *slog.Logger
	engine Engine
	room   chan struct{} // holds a token for each event on its way
	wake   chan struct{}
	now    func() time.Time
	// patterns are the topics that carry telemetry by configuration.
	patterns patterns

	mu     sync.Mutex
	things map[twin.ThingName]*present
	dirty  []twin.ThingName // whose state differs from what was written, in order
}

// present is a thing that is connected, or whose last event is still to be written.
type present struct {
	clients []string // that stand for it
	written bool     // the log says that it is connected
	queued  bool     // it is in dirty
	client  string
	reason  string
	at      time.Time // of the last change
}

// NewTracker returns a tracker in which nobody is connected. Its events are written
// while [Tracker.Run] runs. A client that uses a topic of one of the patterns stands
// for the thing it names, too.
func NewTracker(log *slog.Logger, e Engine, now func() time.Time, patterns ...Pattern) *Tracker {
	return &Tracker{
		log: log, now: now, patterns: patterns, engine: e, things: make(map[twin.ThingName]*present),
		room: make(chan struct{}, notesMax), wake: make(chan struct{}, 1),
	}
}

// Run writes the events until ctx ends, and then for a while those that are left. An
// event that waits for room when ctx ends is one of them: a connect that is dropped
// would leave its disconnect alone in the log.
func (t *Tracker) Run(ctx context.Context) {
	drain, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(drainMax, cancel) })()
	for ctx.Err() == nil {
		n := 0
		for n < paceEvents && t.writeNext(drain) {
			n++
		}
		if n == paceEvents {
			pause(ctx, paceEvery)
			continue
		}
		select {
		case <-t.wake:
		case <-ctx.Done():
		}
	}
	for drain.Err() == nil && t.writeNext(drain) {
	}
	for range notesMax { // wait for those on their way
		t.room <- struct{}{}
	}
}

// writeNext writes the next event, if there is one, and waits for room before.
func (t *Tracker) writeNext(ctx context.Context) bool {
	t.mu.Lock()
	if len(t.dirty) == 0 {
		t.dirty = nil
		t.mu.Unlock()
		return false
	}
	thing := t.dirty[0]
	t.dirty = t.dirty[1:]
	p := t.things[thing]
	p.queued = false
	connected := len(p.clients) > 0
	changed := connected != p.written
	p.written = connected
	ev := p.event(thing, connected)
	if t.now().Sub(p.at) > lateAfter {
		ev.OriginTime = twin.TimeOf(p.at)
	}
	if !connected {
		delete(t.things, thing)
	}
	t.mu.Unlock()
	if changed {
		t.note(ctx, ev)
	}
	return true
}

func (p *present) event(thing twin.ThingName, connected bool) twin.Event {
	ev := twin.Event{
		Thing: thing, Kind: twin.EventDisconnected, Message: p.reason,
		Origin: twin.Origin{Door: twin.DoorMQTT, Session: p.client},
	}
	if connected {
		ev.Kind, ev.Message = twin.EventConnected, ""
	}
	return ev
}

// changedLocked puts a thing into the list of those to be written.
func (t *Tracker) changedLocked(thing twin.ThingName, p *present) {
	p.at = t.now()
	if p.queued {
		return
	}
	p.queued = true
	t.dirty = append(t.dirty, thing)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Connected reports whether a thing is connected.
func (t *Tracker) Connected(thing twin.ThingName) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.things[thing]
	return p != nil && len(p.clients) > 0
}

// StandsFor reports whether a client that is connected stands for a thing.
func (t *Tracker) StandsFor(client string, thing twin.ThingName) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.things[thing]
	return p != nil && slices.Contains(p.clients, client)
}

// Visit is one connection of a client. It belongs to the connection's goroutine.
type Visit struct {
	tracker *Tracker
	client  string
	things  map[twin.ThingName]struct{}
}

// Begin begins the visit of a client.
func (t *Tracker) Begin(client string) *Visit {
	v := &Visit{tracker: t, client: client}
	if thing := twin.ThingName(client); thing.Valid() {
		v.standFor(thing)
	}
	return v
}

// Uses says that the client uses a topic or filter.
func (v *Visit) Uses(topic string) {
	thing, ok := ThingOf(topic)
	if !ok {
		thing, _, ok = v.tracker.patterns.match(topic)
	}
	if !ok {
		return
	}
	if _, known := v.things[thing]; !known {
		v.standFor(twin.ThingName([]byte(thing))) // not a part of the topic's memory
	}
}

func (v *Visit) standFor(thing twin.ThingName) {
	if len(v.things) >= thingsMax {
		return
	}
	if v.things == nil {
		v.things = make(map[twin.ThingName]struct{}, 1)
	}
	v.things[thing] = struct{}{}
	t := v.tracker
	t.mu.Lock()
	p := t.things[thing]
	if p == nil {
		p = &present{}
		t.things[thing] = p
	}
	if p.clients = append(p.clients, v.client); len(p.clients) == 1 {
		p.client = v.client
		t.changedLocked(thing, p)
	}
	t.mu.Unlock()
}

// Ended ends the visit.
func (v *Visit) Ended(reason string) {
	t := v.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	for thing := range v.things {
		p := t.things[thing]
		if i := slices.Index(p.clients, v.client); i >= 0 {
			p.clients = slices.Delete(p.clients, i, i+1)
		}
		if len(p.clients) == 0 {
			p.client, p.reason = v.client, reason
			t.changedLocked(thing, p)
		}
	}
	v.things = nil
}

// note writes an event that makes no twin. While the queue of the updates is full it
// tries again and again, until ctx ends: updates come first.
func (t *Tracker) note(ctx context.Context, ev twin.Event) {
	t.room <- struct{}{}
	done := func(r twin.EntryResult) {
		<-t.room
		t.report(ev, r.Err)
	}
	for {
		err := t.engine.Append(twin.Entry{Event: ev, IfExists: true}, done)
		if err == nil {
			return
		}
		if twin.Kind(err) != twin.KindFull || !pause(ctx, retryAfter) {
			done(twin.EntryResult{Err: err})
			return
		}
	}
}

const retryAfter = 20 * time.Millisecond

// pause waits and reports whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *Tracker) report(ev twin.Event, err error) {
	if err == nil {
		return
	}
	t.log.LogAttrs(context.Background(), slog.LevelWarn, "connection event not written",
		slog.String("thing", string(ev.Thing)), slog.String("kind", ev.Kind.String()), slog.String("error", err.Error()))
}
