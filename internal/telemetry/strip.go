package telemetry

import (
	"context"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Strip is the states of a metric of one type: when it came to have which.
type Strip struct {
	Type   twin.ValueType // a truth value or a text
	Before *Point         // the newest sample before From, if there is one
	// Changes are the samples whose state is not that of the one before.
	Changes  []Point
	Until    twin.Time
	Complete bool // if not, go on with Until as From
}

// Strips returns the states of a metric, of each type that it has. A strip ends early
// after Limit changes.
func (r *Reader) Strips(ctx context.Context, q Query) ([]Strip, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	v, err := r.look(ctx, q.Thing, q.Metric, q.To)
	if err != nil {
		return nil, err
	}
	defer v.close()
	var strips []Strip
	for _, kind := range []twin.ValueType{twin.ValueBool, twin.ValueText} {
		s, err := v.strip(ctx, &q, kind)
		if err != nil {
			return nil, err
		}
		if s.Before != nil || len(s.Changes) > 0 {
			strips = append(strips, s)
		}
	}
	return strips, nil
}

func (v *view) strip(ctx context.Context, q *Query, kind twin.ValueType) (Strip, error) {
	s := Strip{Type: kind, Until: q.To, Complete: true}
	before, err := v.stateBefore(ctx, kind, q.From)
	if err != nil {
		return s, err
	}
	last, known := "", before != nil
	if known {
		last = before.Value
		s.Before = &Point{before.Time, valueOf(kind, before.Value)}
	}
	for at := q.From; at < q.To; {
		list, until, err := some(ctx, v, &states, kind, v.states[kind], at, q.To, chunkMax)
		if err != nil {
			return s, err
		}
		for _, x := range list {
			if known && x.Value == last {
				continue
			}
			if len(s.Changes) == q.Limit {
				s.Until, s.Complete = x.Time, false
				return s, nil
			}
			known, last = true, x.Value
			s.Changes = append(s.Changes, Point{x.Time, valueOf(kind, x.Value)})
		}
		at = until
	}
	return s, nil
}

// stateBefore returns the newest state before a time, nil if there is none.
func (v *view) stateBefore(ctx context.Context, kind twin.ValueType, t twin.Time) (*series.State, error) {
	var newest *series.State
	if info := v.kept[kind]; info != nil {
		for start := series.StartOf(min(t-1, info.Last), day); newest == nil && start+day > info.First; start -= day {
			cols, err := columns(ctx, v.store, v.thing, v.of(kind), store.LevelSamples, start, min(start+day, t))
			if err != nil {
				return nil, err
			}
			list, err := states.read(nil, cols[max(0, len(cols)-1):], 0, t, 1)
			if err != nil {
				return nil, err
			}
			if n := len(list); n > 0 {
				newest = &list[n-1]
			}
		}
	}
	rows := v.states[kind]
	if n := states.search(rows, t); n > 0 && (newest == nil || rows[n-1].Time >= newest.Time) {
		newest = &rows[n-1]
	}
	return newest, nil
}

// Stay is how long a state held in a window, in milliseconds.
type Stay struct {
	Start twin.Time // of the window
	State twin.Value
	Held  twin.Time
}

// Stays returns how long each state held in windows of a length between two times, by window
// and then in the order in which the states came. A state holds until the next one,
// and the last until to.
func (s *Strip) Stays(from, to, length twin.Time) []Stay {
	to = min(to, s.Until)
	var list []Stay
	first := 0 // of the stays of the last window
	hold := func(state twin.Value, from, to twin.Time) {
		for from < to {
			start := series.StartOf(from, length)
			end := min(to, start+length)
			if first == len(list) || list[first].Start != start {
				first = len(list)
			}
			i := first
			for i < len(list) && list[i].State != state {
				i++
			}
			if i == len(list) {
				list = append(list, Stay{Start: start, State: state})
			}
			list[i].Held += end - from
			from = end
		}
	}
	at := s.Before
	for i := range s.Changes {
		if at != nil {
			hold(at.Value, max(at.Time, from), s.Changes[i].Time)
		}
		at = &s.Changes[i]
	}
	if at != nil {
		hold(at.Value, max(at.Time, from), to)
	}
	return list
}
