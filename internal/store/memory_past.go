package store

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/twofold-iot/twofold/twin"
)

// ThingEvents implements [Past].
func (m *Memory) ThingEvents(ctx context.Context, r ThingRange) ([][]byte, error) {
	if err := CheckLimit(r.Limit); err != nil {
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	found, err := m.find(&r, nil)
	if err != nil {
		return nil, err
	}
	return first(found, r.Limit), nil
}

// find returns the events of a range, limit apart; of one shadow if that is given.
func (m *Memory) find(r *ThingRange, shadow *twin.ShadowName) ([][]byte, error) {
	begin := m.groups[r.Thing].Begin(m.expired.cuts, KindLog)
	var found []seqEvent
	for key, events := range m.events {
		kind := key.class.Kind()
		if key.key.Thing != r.Thing || len(r.Kinds) > 0 && !slices.Contains(r.Kinds, kind) || shadow != nil && *shadow != key.key.Shadow {
			continue
		}
		base, err := m.baseSeq(key.key)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			ev, err := twin.DecodeEvent(e.bytes)
			if err != nil {
				return nil, err
			}
			hidden := kind == KindHistory && ev.Seq <= base || kind == KindLog && ev.Time.Day() < begin
			if !hidden && r.Holds(ev.Seq, ev.Time) {
				found = append(found, seqEvent{ev.Seq, e.bytes})
			}
		}
	}
	slices.SortFunc(found, func(a, b seqEvent) int {
		if r.Newest {
			a, b = b, a
		}
		return cmp.Compare(a.seq, b.seq)
	})
	var out [][]byte
	for _, e := range found {
		out = append(out, bytes.Clone(e.bytes))
	}
	return out, nil
}

// baseSeq returns the seq of the base of a shadow, 0 if it has none.
func (m *Memory) baseSeq(key twin.ShadowKey) (twin.Seq, error) {
	b, ok := m.expired.bases[key]
	if !ok {
		return 0, nil
	}
	ev, err := twin.DecodeEvent(b)
	return ev.Seq, err
}

// Groups implements [Past].
func (m *Memory) Groups(ctx context.Context, thing twin.ThingName) (Groups, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	return m.groups[thing], nil
}

type seqEvent struct {
	seq   twin.Seq
	bytes []byte
}

// Anchors implements [Past].
func (m *Memory) Anchors(ctx context.Context, thing twin.ThingName) ([]twin.Head, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	return slices.Clone(m.anchors[thing]), nil
}

// DayEvents implements [Past].
func (m *Memory) DayEvents(ctx context.Context, day uint32, things []twin.ThingName, limit int) ([][][]byte, error) {
	if err := CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	all := make([][][]byte, len(things))
	for i, thing := range things {
		for key, events := range m.events {
			if key.key != (twin.ShadowKey{Thing: thing}) || key.class != ClassOf(0, KindHistory) {
				continue
			}
			for _, e := range events {
				ev, err := twin.DecodeEvent(e.bytes)
				if err != nil {
					return nil, err
				}
				if ev.Time.Day() == day && len(all[i]) < limit {
					all[i] = append(all[i], bytes.Clone(e.bytes))
				}
			}
		}
	}
	return all, nil
}

// LoggedThings implements [Past].
func (m *Memory) LoggedThings(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	if err := CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var things []twin.ThingName
	for t := range m.heads {
		if t > after {
			things = append(things, t)
		}
	}
	slices.Sort(things)
	return first(things, limit), nil
}
