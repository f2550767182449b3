package history

import (
	"context"
	"slices"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// MomentsMax is the most events that [Reader.Moments] reads.
const MomentsMax = 50_000

// Moment is a shadow from an instant on, until the next one.
type Moment struct {
	Time   twin.Time
	Shadow *twin.Shadow // may be nil or a tombstone; not to be altered
}

// Moments returns the states of a shadow between two times, in order of their instants,
// beginning with what was in force at from. Of more than limit events the newest count, and
// the first moment is later than from.
func (r *Reader) Moments(ctx context.Context, key twin.ShadowKey, from, to twin.Time, limit int) ([]Moment, error) {
	if limit < 1 || limit > MomentsMax {
		return nil, invalid("limit: %d is not 1 to %d", limit, MomentsMax)
	}
	l, _, _, err := r.held(ctx, key, from, to, limit)
	if err != nil {
		return nil, err
	}
	list := make([]Moment, len(l.moments))
	for i, m := range l.moments {
		list[i] = Moment{m.time, m.shadow}
	}
	return list, nil
}

// held reads what was in force between two times. states are its events, newest first; of
// more than limit there are the newest, and cut is true.
func (r *Reader) held(ctx context.Context, key twin.ShadowKey, from, to twin.Time, limit int) (l line, states []State, cut bool, err error) {
	states, err = newest(ctx, r, key, position{time: to - 1}, from, limit+1, ofState)
	if err != nil {
		return line{}, nil, false, err
	}
	cut = len(states) > limit
	states = states[:min(len(states), limit)]
	if err := r.fill(ctx, states, true); err != nil {
		return line{}, nil, false, err
	}
	// By effective time, beginning with what was in force.
	moments := make([]moment, 0, len(states)+1)
	for i := len(states) - 1; i >= 0; i-- {
		moments = append(moments, moment{when(&states[i].Event), &states[i].Event, states[i].Shadow})
	}
	if !cut {
		start, ev, err := r.ofTime(ctx, key, from)
		if err != nil {
			return line{}, nil, false, err
		}
		moments = slices.Insert(moments, 0, moment{from, ev, start})
	}
	l = line{moments: moments, until: to}
	l.sort()
	return l, states, cut, nil
}

// Since returns the events of the shadows of a thing after one, oldest first. from is at or
// before the time of that one, zero if that is not known.
func (r *Reader) Since(ctx context.Context, thing twin.ThingName, seq twin.Seq, from twin.Time, limit int) ([]twin.Event, error) {
	return r.thingEvents(ctx, store.ThingRange{Thing: thing, Kinds: []store.Kind{store.KindHistory}, From: from, After: seq, Limit: limit})
}
