package history

import (
	"context"
	"fmt"
	"slices"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Form says how events are returned.
type Form uint8

// The forms.
const (
	States  Form = iota // the whole shadow after each event
	Patches             // what was sent
)

// Query selects events of one shadow, or of all shadows of a thing.
type Query struct {
	Key        twin.ShadowKey
	AllShadows bool // of Key.Thing; Key.Shadow is not looked at

	From, To twin.Time // from <= time < to; zero: no bound
	// FromVersion and ToVersion bound the versions, both inclusive; zero: no bound.
	// They are of the newest life of one shadow, see [Point].
	FromVersion, ToVersion twin.Version

	Newest bool   // newest first, else oldest first
	Limit  int    // 0: PageDefault; at most PageMax
	Cursor Cursor // of the page before
	Form   Form
}

// State is one event, and with [States] the shadow after it.
type State struct {
	Event twin.Event
	// Shadow is nil with [Patches]. After a delete it is a tombstone.
	Shadow *twin.Shadow
}

// Page is a part of an answer. Next is empty on the last one.
type Page struct {
	States []State
	Next   Cursor
}

// checkPage returns the length of a page.
func checkPage(limit int, from, to twin.Time) (int, error) {
	switch {
	case limit < 0:
		return 0, invalid("limit: %d is not positive", limit)
	case limit > PageMax:
		return 0, invalid("limit: %d is over the maximum of %d; ask for pages with a cursor", limit, PageMax)
	case from < 0 || to < 0:
		return 0, invalid("from and to: times before 1970 are not known")
	case to != 0 && from > to:
		return 0, invalid("from: %s is after to: %s", stamp(from), stamp(to))
	case limit == 0:
		return PageDefault, nil
	}
	return limit, nil
}

// question is what a cursor is bound to: everything but limit, cursor and form.
func (q *Query) question() []byte {
	return fmt.Appendf(nil, "states %q %q %t %d %d %d %d %t", q.Key.Thing, q.Key.Shadow, q.AllShadows,
		q.From, q.To, q.FromVersion, q.ToVersion, q.Newest)
}

// States returns a page of events with who, by which door, version and time, and the
// shadow after each. The order is that of commits.
func (r *Reader) States(ctx context.Context, q Query) (Page, error) {
	limit, err := checkPage(q.Limit, q.From, q.To)
	if err != nil {
		return Page{}, err
	}
	if q.ToVersion != 0 && q.FromVersion > q.ToVersion {
		return Page{}, invalid("version range: %d is after %d", q.FromVersion, q.ToVersion)
	}
	if q.AllShadows && (q.FromVersion != 0 || q.ToVersion != 0) {
		return Page{}, invalid("a range of versions needs one shadow, as each counts its own")
	}
	if q.AllShadows {
		q.Key.Shadow = ""
	}
	question := q.question()
	at, err := q.Cursor.parse(question)
	if err != nil {
		return Page{}, err
	}
	b, err := r.bounds(ctx, &q)
	if err != nil || b.empty {
		return Page{}, err
	}
	if at != nil {
		b.moveBehind(at, q.Newest)
	}
	var p Page
	if p.States, err = r.page(ctx, &q, b, limit+1); err != nil {
		return Page{}, err
	}
	more := len(p.States) > limit
	p.States = p.States[:min(len(p.States), limit)]
	if q.Form == States {
		if err := r.fill(ctx, p.States, q.Newest); err != nil {
			return Page{}, err
		}
	}
	if n := fitting(p.States); n < len(p.States) {
		p.States, more = p.States[:n], true
	}
	if more {
		last := &p.States[len(p.States)-1].Event
		p.Next = place{time: last.Time, seq: last.Seq}.cursor(question)
	}
	// Recorded states have come in any order of their versions.
	if q.FromVersion != 0 || q.ToVersion != 0 {
		p.States = slices.DeleteFunc(p.States, func(s State) bool {
			return s.Event.Version < q.FromVersion || q.ToVersion != 0 && s.Event.Version > q.ToVersion
		})
	}
	return p, nil
}

// fitting returns how many of the states fit into a page by their bytes.
func fitting(states []State) int {
	size := 0
	for i := range states {
		size += states[i].Shadow.JSONBytes() + len(states[i].Event.Patch) + len(states[i].Event.Computed)
		if size > PageBytesMax && i > 0 {
			return i
		}
	}
	return len(states)
}

// bounds is where a query reads: times, from inclusive and to exclusive, and seqs, both
// exclusive; zero is no bound.
type bounds struct {
	from, to     twin.Time
	above, below twin.Seq
	empty        bool
}

// moveBehind moves the bounds behind a place.
func (b *bounds) moveBehind(at *place, newest bool) {
	if newest {
		b.below = at.seq
		if b.to == 0 || b.to > at.time+1 {
			b.to = at.time + 1
		}
		return
	}
	b.above = at.seq
	b.from = max(b.from, at.time)
}

// bounds turns a range of versions into one of seqs.
func (r *Reader) bounds(ctx context.Context, q *Query) (bounds, error) {
	b := bounds{from: q.From, to: q.To}
	if q.FromVersion == 0 && q.ToVersion == 0 {
		return b, nil
	}
	if h, ok, err := r.mirrorHead(ctx, q.Key); err != nil || ok {
		// Its versions came in any order.
		b.above, b.from = max(h.Start, 1)-1, max(b.from, h.Begun)
		return b, err
	}
	last, err := r.lastBefore(ctx, q.Key, position{time: maxTime})
	if err != nil || last == nil {
		return bounds{empty: true}, err
	}
	if q.ToVersion != 0 && q.ToVersion < last.Version {
		if ev, err := r.findVersion(ctx, q.Key, q.ToVersion, last, false); err != nil {
			return bounds{}, err
		} else if ev != nil {
			last = ev
		}
	}
	b.below = last.Seq + 1
	b.to = earlier(b.to, last.Time+1)
	// Where that has expired, all that is kept of the life is within the range.
	first, err := r.findVersion(ctx, q.Key, max(q.FromVersion, 1), last, true)
	if err != nil {
		return bounds{}, err
	}
	if first != nil {
		b.above = first.Seq - 1
		b.from = max(b.from, first.Time)
	}
	return b, nil
}

// earlier returns the earlier of two ends, of which zero is none.
func earlier(a, b twin.Time) twin.Time {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func ofState(s *State) *twin.Event { return &s.Event }

// page reads up to limit events within bounds, in the order of the query, each without
// its shadow.
func (r *Reader) page(ctx context.Context, q *Query, b bounds, limit int) ([]State, error) {
	var list []State
	var err error
	switch {
	case b.to != 0 && b.to <= b.from:
		return nil, nil
	case q.AllShadows:
		tr := store.ThingRange{
			Thing: q.Key.Thing, Kinds: []store.Kind{store.KindHistory}, From: b.from, To: b.to,
			After: b.above, Newest: q.Newest, Limit: limit,
		}
		if q.Newest {
			tr.After = b.below
		}
		return readThing(ctx, r, tr, ofState)
	case q.Newest:
		p := position{time: maxTime, seq: b.below}
		if b.to != 0 {
			p.time = b.to - 1
		}
		list, err = newest(ctx, r, q.Key, p, b.from, limit, ofState)
	default:
		list, err = oldest(ctx, r, q.Key, b.from, b.to, b.above, limit, ofState)
	}
	if err != nil {
		return nil, err
	}
	if b.above == 0 && b.below == 0 {
		return list, nil
	}
	return slices.DeleteFunc(list, func(s State) bool {
		return s.Event.Seq <= b.above || b.below != 0 && s.Event.Seq >= b.below
	}), nil
}

// fill adds to events the shadow after each. They are of one thing and in order of
// their seq, forward or backward, without a gap within a shadow: so each shadow is
// folded once, from the state before its first event.
func (r *Reader) fill(ctx context.Context, states []State, backward bool) error {
	f := folder{reader: r, shadows: make(map[twin.ShadowKey]*following)}
	for i := range states {
		if backward {
			i = len(states) - 1 - i
		}
		var err error
		if states[i].Shadow, err = f.next(ctx, &states[i].Event); err != nil {
			return err
		}
	}
	return nil
}

// folder follows shadows from event to event.
type folder struct {
	reader  *Reader
	rules   twin.Folder
	shadows map[twin.ShadowKey]*following
	last    *following // of the event before
}

// following is a shadow that a folder follows.
type following struct {
	key    twin.ShadowKey
	known  bool
	shadow *twin.Shadow
}

// of returns the shadow of an event.
func (f *folder) of(ev *twin.Event) *following {
	key := twin.ShadowKey{Thing: ev.Thing, Shadow: ev.Shadow}
	if f.last != nil && f.last.key == key {
		return f.last
	}
	if f.last = f.shadows[key]; f.last == nil {
		f.last = &following{key: key}
		f.shadows[key] = f.last
	}
	return f.last
}

// next returns the shadow after an event that is the next of its shadow, or the first
// that the folder is given.
func (f *folder) next(ctx context.Context, ev *twin.Event) (s *twin.Shadow, err error) {
	if ev.Kind == twin.EventRecorded {
		return twin.RecordedState(ev)
	}
	at := f.of(ev)
	switch {
	case at.known || ev.Mirrored():
		s, err = f.rules.Fold(at.shadow, ev)
	case len(ev.Snapshot) > 0:
		s, err = snapshot(ev)
	default:
		if s, _, _, err = f.reader.foldUpTo(ctx, at.key, before(ev), false); err == nil {
			s, err = f.rules.Fold(s, ev)
		}
	}
	if err != nil {
		return nil, err
	}
	at.known, at.shadow = true, s
	return s, nil
}
