package history

import (
	"context"
	"fmt"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of what one call reads or returns.
const (
	// PageMax is the most events, states or points of one page.
	PageMax = 10_000
	// PageDefault is the length of a page when none is asked for.
	PageDefault = 100
	// PageBytesMax is where a page ends early: bytes of its states or patches. A page
	// has one entry at least.
	PageBytesMax = 16 << 20
	// LateMax is how late a recorded state may come to be found at its origin time.
	LateMax twin.Time = 60 * 60 * 1000
	// lateEventsMax is the most events that are looked through for late states.
	lateEventsMax = 4096
	// foldEventsMax is the most events that are read to find a snapshot: those of a
	// sound store are 256 at most, beside recorded ones, which a fold skips.
	foldEventsMax = 1 << 17
	// chunkLen is how many events are read at once where it is not known how many are
	// needed.
	chunkLen = 64
	// chunkMax is how many are read after that to find a snapshot: with the chunk before
	// as many as there are from one to the next.
	chunkMax = 192
)

// Store is what the past is read from; a [store.Store] with its [store.Past].
type Store interface {
	Events(ctx context.Context, r store.EventRange) ([][]byte, error)
	ThingEvents(ctx context.Context, r store.ThingRange) ([][]byte, error)
	Base(ctx context.Context, key twin.ShadowKey) (b store.Base, ok bool, err error)
}

// Models lists things by model.
type Models interface {
	// ThingsOfModel returns things of a model by name, greater than after.
	ThingsOfModel(ctx context.Context, model string, after twin.ThingName, limit int) ([]twin.ThingName, error)
}

// Reader reads the past. It may be used by several goroutines.
type Reader struct {
	store  Store
	models Models
}

// New returns a reader. models may be nil if [Reader.Fleet] is not used.
func New(s Store, models Models) *Reader { return &Reader{s, models} }

// Point is a point in the past of a shadow: an instant, a version, or the thing's
// seq. Exactly one is set.
type Point struct {
	Time    twin.Time
	Version twin.Version // the newest state that had it, as versions may start again
	Seq     twin.Seq
}

func (p Point) check() error {
	set := 0
	for _, is := range [...]bool{p.Time != 0, p.Version != 0, p.Seq != 0} {
		if is {
			set++
		}
	}
	if set != 1 {
		return invalid("A point in the past is a time, a version or a seq, exactly one of them")
	}
	if p.Time < 0 {
		return invalid("The time %s is before 1970", stamp(p.Time))
	}
	return nil
}

// At returns the shadow at a point in the past and the event that made it so. The
// state at an instant includes what happened in that very millisecond. A time in
// the future gives the newest state.
//
// It is [twin.KindNotFound] when the shadow did not exist then, had been deleted, or
// the events have expired; the message says which, and since when there is something.
func (r *Reader) At(ctx context.Context, key twin.ShadowKey, p Point) (*twin.Shadow, twin.Event, error) {
	s, ev, err := r.state(ctx, key, p)
	if err != nil {
		return nil, twin.Event{}, err
	}
	if s == nil {
		return nil, twin.Event{}, r.unknown(ctx, key, p)
	}
	if !s.Exists() {
		return nil, twin.Event{}, notFound("The shadow '%s' was deleted at %s", key, stamp(s.DeletedAt))
	}
	return s, *ev, nil
}

// state is [Reader.At] with a tombstone where the shadow was deleted and nil where
// nothing is known.
func (r *Reader) state(ctx context.Context, key twin.ShadowKey, p Point) (*twin.Shadow, *twin.Event, error) {
	if err := p.check(); err != nil {
		return nil, nil, err
	}
	switch {
	case p.Version != 0:
		return r.ofVersion(ctx, key, p.Version)
	case p.Seq != 0:
		return r.ofSeq(ctx, key, p.Seq)
	}
	return r.ofTime(ctx, key, p.Time)
}

func (r *Reader) ofTime(ctx context.Context, key twin.ShadowKey, t twin.Time) (*twin.Shadow, *twin.Event, error) {
	if h, ok, err := r.mirrorHead(ctx, key); err != nil || ok {
		if err != nil {
			return nil, nil, err
		}
		return r.mirroredOfTime(ctx, key, h, t)
	}
	s, ev, recorded, err := r.foldUpTo(ctx, key, position{time: t, seq: noSeq}, true)
	if err != nil {
		return nil, nil, err
	}
	late, err := r.late(ctx, key, t, recorded != nil)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range append(late, recorded) {
		if c != nil && when(c) <= t && (ev == nil || newer(c, ev)) {
			ev, s = c, nil
		}
	}
	if ev != nil && ev.Kind == twin.EventRecorded {
		s, err = twin.RecordedState(ev)
	}
	return s, ev, err
}

// late returns the recorded states that came after t but may have arisen before. A
// shadow that lives here has none, and then looking costs one short read.
func (r *Reader) late(ctx context.Context, key twin.ShadowKey, t twin.Time, seen bool) ([]*twin.Event, error) {
	if t >= maxTime-LateMax {
		return nil, nil
	}
	var late []*twin.Event
	limit := chunkLen
	for {
		evs, err := r.events(ctx, store.EventRange{Key: key, From: t + 1, To: t + 1 + LateMax, Limit: limit})
		if err != nil {
			return nil, err
		}
		late = late[:0]
		for i := range evs {
			if whole(&evs[i]) {
				late = append(late, &evs[i])
			}
		}
		if len(evs) < limit || limit >= lateEventsMax || len(late) == 0 && !seen {
			return late, nil
		}
		limit = min(8*limit, lateEventsMax)
	}
}

func (r *Reader) ofSeq(ctx context.Context, key twin.ShadowKey, seq twin.Seq) (*twin.Shadow, *twin.Event, error) {
	evs, err := r.thingEvents(ctx, store.ThingRange{Thing: key.Thing, After: after(seq), Newest: true, Limit: 1})
	if err != nil {
		return nil, nil, err
	}
	if len(evs) == 0 {
		return nil, nil, nil
	}
	s, ev, recorded, err := r.foldUpTo(ctx, key, position{time: evs[0].Time, seq: after(seq)}, true)
	if err != nil {
		return nil, nil, err
	}
	if recorded != nil && (ev == nil || newer(recorded, ev)) {
		ev = recorded
		s, err = twin.RecordedState(ev)
	}
	return s, ev, err
}

// after is the seq that follows, zero ("all") for the greatest.
func after(seq twin.Seq) twin.Seq { return seq + 1 }

// unknown is the error for a point of which no state is known.
func (r *Reader) unknown(ctx context.Context, key twin.ShadowKey, p Point) error {
	first, expired, err := r.first(ctx, key)
	if err != nil {
		return err
	}
	var at string
	switch {
	case first == nil:
		return notFound("No shadow exists with name: '%s', and none is in the history", key)
	case p.Version != 0:
		at = fmt.Sprintf("version %d", p.Version)
	case p.Seq != 0:
		at = fmt.Sprintf("seq %d", p.Seq)
	default:
		at = stamp(p.Time)
	}
	if expired {
		return notFound("No state of '%s' is kept for %s: older history has expired, the oldest known is of %s, version %d, seq %d",
			key, at, stamp(when(first)), first.Version, first.Seq)
	}
	return notFound("The shadow '%s' has no state for %s: the first is of %s, version %d, seq %d",
		key, at, stamp(when(first)), first.Version, first.Seq)
}

// first returns the oldest event of a shadow whose state is known, and whether there
// were older ones.
func (r *Reader) first(ctx context.Context, key twin.ShadowKey) (ev *twin.Event, expired bool, err error) {
	base, err := r.base(ctx, key)
	if err != nil || base != nil {
		return base, base != nil, err
	}
	evs, err := r.events(ctx, store.EventRange{Key: key, Limit: 1})
	if err != nil || len(evs) == 0 {
		return nil, false, err
	}
	return &evs[0], false, nil
}

// when is the instant of which an event tells.
func when(ev *twin.Event) twin.Time {
	if whole(ev) && ev.OriginTime != 0 {
		return ev.OriginTime
	}
	return ev.Time
}

// whole reports whether an event holds a whole state of an instant before it was
// committed.
func whole(ev *twin.Event) bool { return ev.Kind == twin.EventRecorded || ev.Mirrored() }

// newer orders what happened: by instant; within one by version, if one of the two came
// late, as a late state says nothing by its place in the log; else by seq.
func newer(a, b *twin.Event) bool {
	if x, y := when(a), when(b); x != y {
		return x > y
	}
	late := whole(a) || whole(b)
	if late && a.Version != b.Version {
		return a.Version > b.Version
	}
	return a.Seq > b.Seq
}

func stamp(t twin.Time) string { return t.Std().Format("2006-01-02T15:04:05.000Z") }

const day = twin.Time(24 * time.Hour / time.Millisecond)

func invalid(format string, args ...any) error {
	return twin.NewError(twin.KindInvalid, fmt.Sprintf(format, args...))
}

func notFound(format string, args ...any) error {
	return twin.NewError(twin.KindNotFound, fmt.Sprintf(format, args...))
}
