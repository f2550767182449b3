package pebblestore

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// ThingEvents implements [store.Past]. The history is by class, day, thing, shadow,
// seq, so the events of a thing on one day lie together in each class: a day is
// read, put in order of seq, and the next one follows, until the limit is reached.
func (s *Store) ThingEvents(ctx context.Context, r store.ThingRange) ([][]byte, error) {
	if err := store.CheckLimit(r.Limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	if len(r.Classes) == 0 {
		r.Classes = []store.Class{store.ClassHistory, store.ClassLog}
	}
	c := &thingCollector{ThingRange: r}
	if err := s.iterate([]byte{keyHistory}, []byte{keyHistory + 1}, c.collect); err != nil {
		return nil, fmt.Errorf("read events of %s: %w", r.Thing, err)
	}
	if err := s.durable.wait(ctx, c.newest, s.fence); err != nil {
		return nil, err
	}
	return c.events, nil
}

type thingCollector struct {
	store.ThingRange
	events [][]byte
	newest store.Pos
	key    []byte
	day    []thingEvent // of the day being read
}

type thingEvent struct {
	seq   twin.Seq
	bytes []byte
}

// collect goes from day to day.
func (c *thingCollector) collect(iter *pebble.Iterator) error {
	from, to := max(c.From, 0).Day(), uint32(math.MaxUint32)
	if c.To > 0 {
		to = (c.To - 1).Day()
	}
	for from <= to {
		step, at := c.nextDay, from
		if c.Newest {
			step, at = c.previousDay, to
		}
		day, ok, err := step(iter, at)
		if err != nil || !ok || day < from || day > to {
			return err
		}
		if err := c.readDay(iter, day); err != nil || len(c.events) >= c.Limit {
			return err
		}
		switch {
		case c.Newest && day == 0, !c.Newest && day == math.MaxUint32:
			return nil
		case c.Newest:
			to = day - 1
		default:
			from = day + 1
		}
	}
	return nil
}

// nextDay returns the first day from one on on which any class has an event.
func (c *thingCollector) nextDay(iter *pebble.Iterator, from uint32) (day uint32, ok bool, err error) {
	for _, class := range c.Classes {
		c.key = appendHistoryDay(c.key[:0], class, from)
		if !iter.SeekGE(c.key) || !inClass(iter.Key(), class) {
			continue
		}
		d, valid := historyDay(iter.Key())
		if !valid {
			return 0, false, errDamaged(fmt.Sprintf("key %x", iter.Key()))
		}
		if !ok || d < day {
			day, ok = d, true
		}
	}
	return day, ok, iter.Error()
}

// previousDay returns the last day up to one on which any class has an event.
func (c *thingCollector) previousDay(iter *pebble.Iterator, to uint32) (day uint32, ok bool, err error) {
	for _, class := range c.Classes {
		c.key = append(c.key[:0], keyHistory, byte(class)+1)
		if to < math.MaxUint32 {
			c.key = appendHistoryDay(c.key[:0], class, to+1)
		}
		if !iter.SeekLT(c.key) || !inClass(iter.Key(), class) {
			continue
		}
		d, valid := historyDay(iter.Key())
		if !valid {
			return 0, false, errDamaged(fmt.Sprintf("key %x", iter.Key()))
		}
		if !ok || d > day {
			day, ok = d, true
		}
	}
	return day, ok, iter.Error()
}

func inClass(key []byte, class store.Class) bool {
	return len(key) > 1 && key[0] == keyHistory && key[1] == byte(class)
}

// readDay adds the thing's events of a day, as far as the limit goes.
func (c *thingCollector) readDay(iter *pebble.Iterator, day uint32) error {
	c.day = c.day[:0]
	for _, class := range c.Classes {
		prefix := appendName(appendHistoryDay(nil, class, day), c.Thing)
		for ok := iter.SeekGE(prefix); ok && bytes.HasPrefix(iter.Key(), prefix); ok = iter.Next() {
			if err := c.take(iter); err != nil {
				return err
			}
		}
		if err := iter.Error(); err != nil {
			return errRead(err)
		}
	}
	sort.Slice(c.day, func(i, j int) bool { return c.day[i].seq < c.day[j].seq })
	if c.Newest {
		slices.Reverse(c.day)
	}
	for _, e := range c.day {
		if len(c.events) >= c.Limit {
			return nil
		}
		c.events = append(c.events, e.bytes)
	}
	return nil
}

// take keeps the event at the iterator if it is in the range.
func (c *thingCollector) take(iter *pebble.Iterator) error {
	pos, event, e, err := eventAt(iter)
	if err != nil {
		return err
	}
	if !c.Holds(e.Seq, e.Time) {
		return nil
	}
	c.newest = max(c.newest, pos)
	c.day = append(c.day, thingEvent{e.Seq, bytes.Clone(event)})
	return nil
}

// Anchors implements [store.Past].
func (s *Store) Anchors(ctx context.Context, thing twin.ThingName) ([]twin.Head, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	var anchors []twin.Head
	var newest store.Pos
	prefix := appendName([]byte{keyAnchor}, thing)
	err := s.iterate(prefix, after(prefix), func(iter *pebble.Iterator) error {
		for ok := iter.First(); ok; ok = iter.Next() {
			value, err := iter.ValueAndErr()
			if err != nil {
				return errRead(err)
			}
			pos, h, err := parseHead(value, thing)
			if err != nil {
				return fmt.Errorf("anchor: %w", err)
			}
			newest = max(newest, pos)
			anchors = append(anchors, h)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read anchors of %s: %w", thing, err)
	}
	return anchors, s.durable.wait(ctx, newest, s.fence)
}

// LoggedThings implements [store.Past].
func (s *Store) LoggedThings(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	if err := store.CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	var things []twin.ThingName
	var newest store.Pos
	lower := append(appendHeadKey(nil, after), 0) // the first name greater than after
	if after == "" {
		lower = []byte{keyHead}
	}
	err := s.iterate(lower, []byte{keyHead + 1}, func(iter *pebble.Iterator) error {
		for ok := iter.First(); ok && len(things) < limit; ok = iter.Next() {
			thing := twin.ThingName(iter.Key()[1:])
			value, err := iter.ValueAndErr()
			if err != nil {
				return errRead(err)
			}
			pos, _, err := parseHead(value, thing)
			if err != nil {
				return err
			}
			newest = max(newest, pos)
			things = append(things, thing)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list things: %w", err)
	}
	return things, s.durable.wait(ctx, newest, s.fence)
}
