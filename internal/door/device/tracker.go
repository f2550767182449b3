package device

import (
	"context"
	"log/slog"
	"sync"

	"github.com/twofold-iot/twofold/twin"
)

// thingsMax is the most things one client stands for; a gateway with more is still
// served, the others just do not count as connected.
const thingsMax = 10_000

// Tracker follows which things are connected: those with a client whose id is the
// thing's name, or that uses the thing's own topics. When a thing comes or goes it is
// an event of its twin.
type Tracker struct {
	log    *slog.Logger
	engine Engine

	mu     sync.Mutex
	things map[twin.ThingName]*present
}

// present is a thing with at least one client.
type present struct {
	clients int
}

// NewTracker returns a tracker in which nobody is connected.
func NewTracker(log *slog.Logger, e Engine) *Tracker {
	return &Tracker{log: log, engine: e, things: make(map[twin.ThingName]*present)}
}

// Connected reports whether a thing is connected.
func (t *Tracker) Connected(thing twin.ThingName) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.things[thing] != nil
}

// Count returns how many things are connected.
func (t *Tracker) Count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.things)
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
	p.clients++
	first := p.clients == 1
	t.mu.Unlock()
	if first {
		t.note(twin.Event{Thing: thing, Kind: twin.EventConnected, Origin: twin.Origin{Door: twin.DoorMQTT, Session: v.client}})
	}
}

// Ended ends the visit.
func (v *Visit) Ended(reason string) {
	t := v.tracker
	var gone []twin.ThingName
	t.mu.Lock()
	for thing := range v.things {
		p := t.things[thing]
		if p.clients--; p.clients == 0 {
			delete(t.things, thing)
			gone = append(gone, thing)
		}
	}
	t.mu.Unlock()
	v.things = nil
	for _, thing := range gone {
		t.note(twin.Event{
			Thing: thing, Kind: twin.EventDisconnected, Message: reason,
			Origin: twin.Origin{Door: twin.DoorMQTT, Session: v.client},
		})
	}
}

// note writes an event that makes no twin and that nobody waits for.
func (t *Tracker) note(ev twin.Event) {
	failed := func(err error) {
		t.log.LogAttrs(context.Background(), slog.LevelWarn, "connection event not written",
			slog.String("thing", string(ev.Thing)), slog.String("kind", ev.Kind.String()), slog.String("error", err.Error()))
	}
	err := t.engine.Append(twin.Entry{Event: ev, IfExists: true}, func(r twin.EntryResult) {
		if r.Err != nil {
			failed(r.Err)
		}
	})
	if err != nil {
		failed(err)
	}
}
