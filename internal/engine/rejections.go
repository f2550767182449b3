package engine

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// A rejected update is an event of its twin, so that an operator sees what a device
// tries in vain. A device that does so in a loop must not fill the log: the first
// rejection is written at once, those of the next seconds are counted, and the last of
// them is written with the count.

const (
	rejectionWindow   = 10 * time.Second
	rejectionsMax     = 10_000 // things with a rejection in the window; above it none is noted
	rejectionTextMax  = 256
	rejectionsFlushed = time.Second // between looks at what the windows hold
)

type rejections struct {
	mu sync.Mutex
	m  map[twin.ThingName]*rejected
}

type rejected struct {
	until   time.Time  // end of the window
	last    twin.Event // the newest that was not written
	skipped int
}

// Reject notes that a request about a thing was rejected. It is for doors that find
// the fault themselves; updates that the engine rejects are noted by it. It never
// blocks, and it never makes a twin.
func (e *Engine) Reject(key twin.ShadowKey, origin twin.Origin, token string, cause error) {
	if !key.Thing.Valid() {
		return
	}
	ev := twin.Event{
		Thing: key.Thing, Shadow: key.Shadow, Kind: twin.EventRejected, Origin: origin,
		Type: twin.Kind(cause).String(), Severity: twin.SeverityWarning,
		Message: cut(twin.ErrorMessage(cause)), Correlation: token,
	}
	if ev.Shadow != "" && !ev.Shadow.Valid() {
		ev.Shadow = ""
	}
	if e.rejections.note(ev, e.opts.Now()) {
		e.appendQuietly(ev)
	}
}

func cut(s string) string {
	if len(s) > rejectionTextMax {
		return s[:rejectionTextMax]
	}
	return s
}

// note reports whether the event is to be written now.
func (r *rejections) note(ev twin.Event, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seen := r.m[ev.Thing]; seen != nil {
		seen.last = ev
		seen.skipped++
		return false
	}
	if len(r.m) >= rejectionsMax {
		return false
	}
	r.m[ev.Thing] = &rejected{until: now.Add(rejectionWindow)}
	return true
}

// flush returns what the windows that have ended held back. all ends every window.
func (r *rejections) flush(now time.Time, all bool) []twin.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var evs []twin.Event
	for thing, seen := range r.m {
		if !all && now.Before(seen.until) {
			continue
		}
		if seen.skipped == 0 {
			delete(r.m, thing)
			continue
		}
		ev := seen.last
		ev.Data, _ = json.Marshal(map[string]int{"coalesced": seen.skipped}) // a number
		evs = append(evs, ev)
		*seen = rejected{until: now.Add(rejectionWindow)}
	}
	return evs
}

// tendRejections writes what was held back, from time to time, until ctx ends.
func (e *Engine) tendRejections(ctx context.Context) {
	tick := time.NewTicker(rejectionsFlushed)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			e.flushRejections(false)
		}
	}
}

func (e *Engine) flushRejections(all bool) {
	for _, ev := range e.rejections.flush(e.opts.Now(), all) {
		e.appendQuietly(ev)
	}
}

// appendQuietly appends an event that nobody waits for.
func (e *Engine) appendQuietly(ev twin.Event) {
	failed := func(err error) {
		e.log.LogAttrs(context.Background(), slog.LevelDebug, "event not noted",
			slog.String("thing", string(ev.Thing)), slog.String("error", err.Error()))
	}
	err := e.Append(twin.Entry{Event: ev, IfExists: true}, func(r twin.EntryResult) {
		if r.Err != nil {
			failed(r.Err)
		}
	})
	if err != nil {
		failed(err) // a full queue: the flood is the reason
	}
}
