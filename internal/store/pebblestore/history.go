package pebblestore

import (
	"bytes"
	"context"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Events implements [store.Log]. The history is by day first, so it goes from day to
// day: a seek for the shadow, and one for the next day that has any event.
func (s *Store) Events(ctx context.Context, r store.EventRange) ([][]byte, error) {
	if err := store.CheckLimit(r.Limit); err != nil {
		return nil, err
	}
	if r.From < 0 {
		r.From = 0
	}
	if r.To != 0 && r.To <= r.From {
		return nil, nil
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	first, last := r.From.Day(), uint32(math.MaxUint32)
	if r.To != 0 {
		last = (r.To - 1).Day()
	}
	upper := []byte{keyHistory, byte(store.ClassHistory) + 1}
	if last < math.MaxUint32 {
		upper = appendHistoryDay(nil, store.ClassHistory, last+1)
	}
	c := &eventCollector{EventRange: r}
	err := s.iterate(appendHistoryDay(nil, store.ClassHistory, first), upper, func(iter *pebble.Iterator) error {
		if r.Newest {
			return c.backward(iter)
		}
		return c.forward(iter)
	})
	if err != nil {
		return nil, fmt.Errorf("read events of %s: %w", r.Key, err)
	}
	if err := s.durable.wait(ctx, c.newest, s.fence); err != nil {
		return nil, err
	}
	return c.events, nil
}

type eventCollector struct {
	store.EventRange
	events [][]byte
	newest store.Pos
	prefix []byte
}

func (c *eventCollector) full() bool { return len(c.events) >= c.Limit }

func (c *eventCollector) forward(iter *pebble.Iterator) error {
	for ok := iter.First(); ok; {
		day, valid := historyDay(iter.Key())
		if !valid {
			return errDamaged(fmt.Sprintf("key %x", iter.Key()))
		}
		c.prefix = appendHistoryPrefix(c.prefix[:0], store.ClassHistory, day, c.Key)
		for ok = iter.SeekGE(c.prefix); ok && bytes.HasPrefix(iter.Key(), c.prefix); ok = iter.Next() {
			if err := c.take(iter); err != nil {
				return err
			}
			if c.full() {
				return nil
			}
		}
		if ok { // at something else of this day, or already at a later one
			if next, valid := historyDay(iter.Key()); valid && next == day {
				ok = day < math.MaxUint32 && iter.SeekGE(appendHistoryDay(nil, store.ClassHistory, day+1))
			}
		}
	}
	return nil
}

func (c *eventCollector) backward(iter *pebble.Iterator) error {
	for ok := iter.Last(); ok; {
		day, valid := historyDay(iter.Key())
		if !valid {
			return errDamaged(fmt.Sprintf("key %x", iter.Key()))
		}
		c.prefix = appendHistoryPrefix(c.prefix[:0], store.ClassHistory, day, c.Key)
		for ok = iter.SeekLT(after(c.prefix)); ok && bytes.HasPrefix(iter.Key(), c.prefix); ok = iter.Prev() {
			if err := c.take(iter); err != nil {
				return err
			}
			if c.full() {
				return nil
			}
		}
		if ok {
			if next, valid := historyDay(iter.Key()); valid && next == day {
				ok = iter.SeekLT(appendHistoryDay(nil, store.ClassHistory, day))
			}
		}
	}
	return nil
}

// take keeps the event at the iterator if it is in the range of time.
func (c *eventCollector) take(iter *pebble.Iterator) error {
	pos, event, e, err := eventAt(iter)
	if err != nil {
		return err
	}
	if e.Time < c.From || (c.To != 0 && e.Time >= c.To) {
		return nil
	}
	c.newest = max(c.newest, pos)
	c.events = append(c.events, bytes.Clone(event))
	return nil
}

// eventAt reads the event at the iterator, with the position of its write. The bytes
// are the iterator's.
func eventAt(iter *pebble.Iterator) (pos store.Pos, event []byte, e twin.Event, err error) {
	value, err := iter.ValueAndErr()
	if err != nil {
		return 0, nil, e, errRead(err)
	}
	if pos, event, err = parseHistory(value); err == nil {
		e, err = twin.DecodeEvent(event)
	}
	if err != nil {
		return 0, nil, e, fmt.Errorf("key %x: %w", iter.Key(), err)
	}
	return pos, event, e, nil
}

// Feed implements [store.Log]. It ends at the durable position and never waits.
func (s *Store) Feed(ctx context.Context, after store.Pos, limit int) ([]store.FeedEntry, error) {
	if err := store.CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	end := s.durable.load()
	if after >= end {
		return nil, nil
	}
	var entries []store.FeedEntry
	var key []byte
	g := getter{db: s.db}
	defer g.close()
	lower := appendLogKey(nil, s.days.of(after+1), after+1)
	err := s.iterate(lower, []byte{keyLog + 1}, func(iter *pebble.Iterator) error {
		for ok := iter.First(); ok && len(entries) < limit; ok = iter.Next() {
			day, pos, valid := parseLogKey(iter.Key())
			if !valid {
				return errDamaged(fmt.Sprintf("key %x", iter.Key()))
			}
			if pos > end {
				return nil
			}
			value, err := iter.ValueAndErr()
			if err != nil {
				return errRead(err)
			}
			e, valid := parseLogEntry(value, day)
			if !valid {
				return errDamaged(fmt.Sprintf("log entry at position %d", pos))
			}
			if e.mark {
				continue
			}
			key = appendHistoryKey(key[:0], e.class, e.day, e.key, e.seq)
			event, err := g.event(key, pos)
			if err != nil {
				return err
			}
			entries = append(entries, store.FeedEntry{Pos: pos, Shard: e.key.Thing.Shard(), ShardSeq: e.shardSeq, Event: event})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read feed after %d: %w", after, err)
	}
	return entries, nil
}

// event reads the event that the log has at a position.
func (g *getter) event(key []byte, pos store.Pos) (event []byte, err error) {
	ok, err := g.get(key, func(value []byte) error {
		at, b, err := parseHistory(value)
		if err == nil && at != pos {
			err = errDamaged(fmt.Sprintf("event: it is of position %d", at))
		}
		event = bytes.Clone(b)
		return err
	})
	if err == nil && !ok {
		err = errDamaged("event: it is missing")
	}
	if err != nil {
		return nil, fmt.Errorf("event %x at position %d: %w", key, pos, err)
	}
	return event, nil
}

// Head implements [store.Log].
func (s *Store) Head(ctx context.Context) (store.Pos, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.exit()
	return s.durable.load(), nil
}
