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
	var found []seqEvent
	for key, events := range m.events {
		if key.key.Thing != r.Thing || len(r.Classes) > 0 && !slices.Contains(r.Classes, key.class) {
			continue
		}
		for _, e := range events {
			ev, err := twin.DecodeEvent(e.bytes)
			if err != nil {
				return nil, err
			}
			if r.Holds(ev.Seq, ev.Time) {
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
	for _, e := range first(found, r.Limit) {
		out = append(out, bytes.Clone(e.bytes))
	}
	return out, nil
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
