package store

import (
	"bytes"
	"context"
	"maps"

	"github.com/twofold-iot/twofold/twin"
)

// memoryExpired is what has expired of a [Memory].
type memoryExpired struct {
	cuts  Policy
	bases map[twin.ShadowKey][]byte
	feed  Pos
	days  []memoryDay // beside Memory.feed
	day   uint32      // of the log: it never steps back
}

type memoryDay struct {
	class    Class
	day, log uint32
}

// note keeps the day of the newest entry of the feed.
func (m *Memory) note(class Class, day uint32) {
	m.expired.day = max(m.expired.day, day)
	m.expired.days = append(m.expired.days, memoryDay{class, day, m.expired.day})
}

// Expire implements [Expirer].
func (m *Memory) Expire(ctx context.Context, p Policy) (r ExpireReport, err error) {
	if err := m.enter(ctx); err != nil {
		return r, err
	}
	defer m.mu.Unlock()
	x := &m.expired
	if x.cuts == nil {
		x.cuts, x.bases = make(Policy), make(map[twin.ShadowKey][]byte)
	}
	first := uint32(0)
	for class, day := range p {
		x.cuts[class] = max(x.cuts[class], min(day, x.day))
	}
	for _, day := range x.cuts {
		first = max(first, day)
	}
	days := make(map[memoryDay]bool)
	for key, events := range m.events {
		cut := x.cuts[key.class]
		n := 0
		var gone [][]byte
		for ; n < len(events) && events[n].time.Day() < cut; n++ {
			gone = append(gone, events[n].bytes)
			days[memoryDay{class: key.class, day: events[n].time.Day()}] = true
		}
		m.events[key] = events[n:]
		if n == 0 || key.class.Kind() != KindHistory {
			continue
		}
		base, err := FoldBase(x.bases[key.key], gone)
		if err != nil {
			return r, err
		}
		if base != nil {
			x.bases[key.key] = base
			r.Bases++
		}
	}
	r.Days = len(days)
	m.expireFeed(first)
	return r, nil
}

// expireFeed drops the feed up to a day, and what it points to no more.
func (m *Memory) expireFeed(first uint32) {
	x := &m.expired
	n := 0
	for ; n < len(x.days) && x.days[n].log < first; n++ {
		x.feed = m.feed[n].Pos
	}
	m.feed, x.days = m.feed[n:], x.days[n:]
	gone := func(i int) bool { return x.days[i].day < x.cuts[x.days[i].class] }
	kept, days := m.feed[:0], x.days[:0]
	for i := range m.feed {
		if !gone(i) {
			kept, days = append(kept, m.feed[i]), append(days, x.days[i])
		}
	}
	m.feed, x.days = kept, days
}

// Expired implements [Expirer].
func (m *Memory) Expired(ctx context.Context) (Policy, Pos, error) {
	if err := m.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer m.mu.Unlock()
	p := make(Policy)
	maps.Copy(p, m.expired.cuts)
	return p, m.expired.feed, nil
}

// Base implements [Past].
func (m *Memory) Base(ctx context.Context, key twin.ShadowKey) (Base, bool, error) {
	if err := m.enter(ctx); err != nil {
		return Base{}, false, err
	}
	defer m.mu.Unlock()
	b, ok := m.expired.bases[key]
	return Base{Event: bytes.Clone(b)}, ok, nil
}
