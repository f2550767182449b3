package history

import (
	"context"
	"fmt"
	"math"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// position is a place in the events of a thing: before the event with a seq, none of
// which is after an instant. Events of one thing have times that never step back,
// so time finds the neighbourhood and seq the place.
type position struct {
	time twin.Time // inclusive
	seq  twin.Seq  // exclusive
}

const (
	noSeq   twin.Seq  = 0 // of a position: time alone counts
	maxTime twin.Time = math.MaxInt64 / 2
)

func (p position) includes(ev *twin.Event) bool {
	return ev.Time <= p.time && (p.seq == noSeq || ev.Seq < p.seq)
}

// before is the position of everything before an event.
func before(ev *twin.Event) position { return position{ev.Time, ev.Seq} }

// foldUpTo returns the state of a shadow after the last event within p and that
// event; and the newest recorded event that was passed on the way, if any. All are
// nil if nothing is known. With orRecorded it stops when the recorded one is newer than
// any that a fold could find: of a shadow that lives elsewhere all are recorded.
func (r *Reader) foldUpTo(ctx context.Context, key twin.ShadowKey, p position, orRecorded bool) (s *twin.Shadow, ev, recorded *twin.Event, err error) {
	var tail []twin.Event // newest first, down to one with a snapshot
	at, chunk := p, chunkLen
	for found := false; !found; chunk = chunkMax {
		evs, err := r.newest(ctx, key, at, 0, chunk)
		if err != nil {
			return nil, nil, nil, err
		}
		for i := range evs {
			e := &evs[i]
			if e.Kind == twin.EventRecorded {
				if when(e) <= p.time && (recorded == nil || newer(e, recorded)) {
					recorded = e
				}
				continue
			}
			tail = append(tail, *e)
			if found = len(e.Snapshot) > 0 || e.Mirrored(); found {
				break
			}
		}
		if found {
			break
		}
		if orRecorded && len(tail) == 0 && recorded != nil && evs[len(evs)-1].Time < when(recorded) {
			return nil, nil, recorded, nil
		}
		if len(evs) < chunk {
			return r.foldFromBase(ctx, key, p, tail, recorded)
		}
		if len(tail) > foldEventsMax {
			return nil, nil, nil, fmt.Errorf("read the state of %s at seq %d: %d events and no snapshot", key, p.seq, len(tail))
		}
		at = before(&evs[len(evs)-1])
	}
	last := len(tail) - 1
	if s, err = snapshot(&tail[last]); err == nil {
		s, err = foldBack(s, tail[:last])
	}
	return s, &tail[0], recorded, err
}

// foldFromBase goes on from what the store keeps of expired events; without that
// the first event of all is the first there is.
func (r *Reader) foldFromBase(ctx context.Context, key twin.ShadowKey, p position, tail []twin.Event, recorded *twin.Event) (*twin.Shadow, *twin.Event, *twin.Event, error) {
	base, err := r.base(ctx, key)
	if err != nil {
		return nil, nil, nil, err
	}
	var s *twin.Shadow
	var ev *twin.Event
	if base != nil && p.includes(base) {
		if s, err = snapshot(base); err != nil {
			return nil, nil, nil, err
		}
		ev = base
	}
	if base != nil && ev == nil {
		// All up to the base has expired, even if some of it was there a moment ago.
		return nil, nil, recorded, nil
	}
	if len(tail) > 0 {
		ev = &tail[0]
	}
	s, err = foldBack(s, tail)
	return s, ev, recorded, err
}

// foldBack folds events that are newest first.
func foldBack(s *twin.Shadow, evs []twin.Event) (*twin.Shadow, error) {
	var err error
	var rules twin.Folder
	for i := len(evs) - 1; i >= 0; i-- {
		if s, err = rules.Fold(s, &evs[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// snapshot returns the shadow that an event carries; of a recorded event, what it
// records.
func snapshot(ev *twin.Event) (*twin.Shadow, error) {
	if len(ev.Snapshot) == 0 && whole(ev) {
		return twin.RecordedState(ev)
	}
	s, err := twin.DecodeShadow(ev.Snapshot)
	if err != nil {
		return nil, fmt.Errorf("read the snapshot of event %d of %s: %w", ev.Seq, ev.Thing, err)
	}
	return s, nil
}

// base returns the newest expired event of a shadow, nil if none has expired.
func (r *Reader) base(ctx context.Context, key twin.ShadowKey) (*twin.Event, error) {
	b, ok, err := r.store.Base(ctx, key)
	if err != nil || !ok {
		return nil, wrap(err, "read the base of %s", key)
	}
	ev, err := twin.DecodeEvent(b.Event)
	if err != nil {
		return nil, fmt.Errorf("read the base of %s: %w", key, err)
	}
	return &ev, nil
}

// newest returns up to limit events of a shadow within p and not before from, newest
// first.
func (r *Reader) newest(ctx context.Context, key twin.ShadowKey, p position, from twin.Time, limit int) ([]twin.Event, error) {
	return newest(ctx, r, key, p, from, limit, itself)
}

// newest is [Reader.newest] for whatever holds an event. Several events may have the
// millisecond of p, so it asks for more until it has enough or there are no more.
func newest[T any](ctx context.Context, r *Reader, key twin.ShadowKey, p position, from twin.Time, limit int, event func(*T) *twin.Event) ([]T, error) {
	ask := limit
	if p.seq != noSeq {
		ask++ // the event of the position itself
	}
	for ; ; ask *= 2 {
		q := store.EventRange{Key: key, From: from, Newest: true, Limit: ask}
		if p.time < maxTime {
			q.To = p.time + 1
		}
		evs, err := read(ctx, r, q, event)
		if err != nil {
			return nil, err
		}
		got := len(evs)
		for len(evs) > 0 && !p.includes(event(&evs[0])) {
			evs = evs[1:]
		}
		if len(evs) >= limit || got < ask {
			return evs[:min(len(evs), limit)], nil
		}
	}
}

// oldest returns up to limit events of a shadow after the event with a seq, at from
// or later and before to, oldest first.
func (r *Reader) oldest(ctx context.Context, key twin.ShadowKey, from, to twin.Time, seq twin.Seq, limit int) ([]twin.Event, error) {
	return oldest(ctx, r, key, from, to, seq, limit, itself)
}

func oldest[T any](ctx context.Context, r *Reader, key twin.ShadowKey, from, to twin.Time, seq twin.Seq, limit int, event func(*T) *twin.Event) ([]T, error) {
	ask := limit
	if seq != 0 {
		ask++
	}
	for ; ; ask *= 2 {
		evs, err := read(ctx, r, store.EventRange{Key: key, From: from, To: to, Limit: ask}, event)
		if err != nil {
			return nil, err
		}
		got := len(evs)
		for len(evs) > 0 && event(&evs[0]).Seq <= seq {
			evs = evs[1:]
		}
		if len(evs) >= limit || got < ask {
			return evs[:min(len(evs), limit)], nil
		}
	}
}

func itself(ev *twin.Event) *twin.Event { return ev }

func (r *Reader) events(ctx context.Context, q store.EventRange) ([]twin.Event, error) {
	return read(ctx, r, q, itself)
}

func read[T any](ctx context.Context, r *Reader, q store.EventRange, event func(*T) *twin.Event) ([]T, error) {
	raw, err := r.store.Events(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", q.Key, err)
	}
	return decode(raw, q.Key.Thing, event)
}

func (r *Reader) thingEvents(ctx context.Context, q store.ThingRange) ([]twin.Event, error) {
	return readThing(ctx, r, q, itself)
}

func readThing[T any](ctx context.Context, r *Reader, q store.ThingRange, event func(*T) *twin.Event) ([]T, error) {
	raw, err := r.store.ThingEvents(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("read the events of %s: %w", q.Thing, err)
	}
	return decode(raw, q.Thing, event)
}

// decode decodes events to where they are to be: an event is large, and copies of it
// are what a page of a thousand would mostly cost.
func decode[T any](raw [][]byte, thing twin.ThingName, event func(*T) *twin.Event) ([]T, error) {
	list := make([]T, len(raw))
	last := &twin.Event{Thing: thing}
	for i, b := range raw {
		ev := event(&list[i])
		ev.Thing, ev.Shadow, ev.Origin.Session, ev.Model = last.Thing, last.Shadow, last.Origin.Session, last.Model
		if err := ev.Decode(b); err != nil {
			return nil, fmt.Errorf("read an event of %s: %w", thing, err)
		}
		last = ev
	}
	return list, nil
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
