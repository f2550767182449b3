package device

import (
	"context"
	"log/slog"
	"sync"

	"github.com/twofold-iot/twofold/twin"
)

// heardMax is how many things are remembered; above it some are forgotten, and so what
// is only remembered here: when their telemetry came last.
const heardMax = 1 << 20

// heardAgain is how long, in milliseconds, a twin may take to become known before that
// is tried again.
const heardAgain twin.Time = 10_000

// Twins is the part of the write path that makes twins known.
type Twins interface {
	Append(en twin.Entry, done func(twin.EntryResult)) error
	// Attributes returns the durable attributes of a thing, never nil and not to be altered.
	Attributes(thing twin.ThingName) *twin.Attributes
}

// Heard takes telemetry on its way from the doors and remembers of which things. The
// first of a thing makes its twin known: one event in its log, and attributes that say
// since when. So a device that sends nothing but telemetry is in the lists, its
// connections are events, and what it sends in vain is noted; a sample is never an event.
type Heard struct {
	log  *slog.Logger
	next Telemetry
	twin Twins

	mu     sync.Mutex
	things map[twin.ThingName]*heard
}

type heard struct {
	last  twin.Time // the newest sample
	asked twin.Time // when the twin was last made known
}

// NewHeard returns one that has heard of nothing; what it takes goes on to next.
func NewHeard(log *slog.Logger, t Twins, next Telemetry) *Heard {
	return &Heard{log: log, next: next, twin: t, things: make(map[twin.ThingName]*heard)}
}

// Ingest hands rows on; see [Telemetry].
func (h *Heard) Ingest(rows []twin.Row, durable bool, done func(error)) error {
	// The rows may be altered by whom they are handed to.
	var one [1]note
	notes := appendNotes(one[:0], rows)
	if err := h.next.Ingest(rows, durable, done); err != nil {
		return err
	}
	for _, n := range notes {
		if h.note(n) {
			h.makeKnown(n)
		}
	}
	return nil
}

// LastSeen returns the time of the newest sample of a thing; known is false if none has come
// since the server started and [Heard.Remember] has not told of one.
func (h *Heard) LastSeen(thing twin.ThingName) (last twin.Time, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.things[thing]; t != nil {
		return t.last, true
	}
	return 0, false
}

// Remember tells of the newest sample of a thing from before the server started, zero if
// there is none, and returns the newest that is known.
func (h *Heard) Remember(thing twin.ThingName, last twin.Time) twin.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.things[thing]
	if t == nil {
		t = &heard{}
		h.things[thing] = t
	}
	t.last = max(t.last, last)
	return t.last
}

// note is what is to be remembered of the rows of a thing.
type note struct {
	thing    twin.ThingName
	last, at twin.Time // the newest sample; the arrival
}

// appendNotes makes one note of all rows that follow each other and are of one thing.
func appendNotes(notes []note, rows []twin.Row) []note {
	for i := range rows {
		r := &rows[i]
		if n := len(notes); n == 0 || notes[n-1].thing != r.Thing {
			notes = append(notes, note{thing: r.Thing})
		}
		n := &notes[len(notes)-1]
		n.last, n.at = max(n.last, min(r.Time, r.Arrival)), r.Arrival
	}
	return notes
}

// note remembers, and reports whether the twin is to be made known.
func (h *Heard) note(n note) bool {
	known := !h.twin.Attributes(n.thing).Empty()
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.things[n.thing]
	if t == nil {
		for forgotten := range h.things {
			if len(h.things) < heardMax {
				break
			}
			delete(h.things, forgotten)
		}
		t = &heard{}
		h.things[twin.ThingName([]byte(n.thing))] = t // not a part of the topic's memory
	}
	t.last = max(t.last, n.last)
	if known || t.asked != 0 && n.at-t.asked < heardAgain {
		return false
	}
	t.asked = n.at
	return true
}

// makeKnown adds the first event of a twin. That is not waited for: if it fails, the
// telemetry to come will do it.
func (h *Heard) makeKnown(n note) {
	failed := func(err error) {
		h.log.LogAttrs(context.Background(), slog.LevelWarn, "twin is not made known by its telemetry",
			slog.String("thing", string(n.thing)), slog.String("error", err.Error()))
	}
	thing := twin.ThingName([]byte(n.thing))
	err := h.twin.Append(twin.Entry{
		Event: twin.Event{Thing: thing, Kind: twin.EventReported, Type: "telemetry", Message: "first telemetry"},
		Attributes: func(have *twin.Attributes) (twin.Attributes, error) {
			next := have.Clone()
			if !have.Empty() {
				return next, errKnown
			}
			next.Found = n.at
			return next, nil
		},
	}, func(r twin.EntryResult) {
		if r.Err != nil && twin.Kind(r.Err) != twin.KindConflict {
			failed(r.Err)
		}
	})
	if err != nil && twin.Kind(err) != twin.KindFull { // the queue is full: updates come first
		failed(err)
	}
}

// errKnown ends the attempt to make known what somebody else has made known just now.
var errKnown = twin.NewError(twin.KindConflict, "the twin is known")
