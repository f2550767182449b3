package pebblestore

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// scan reads events of a thing, or of one shadow of it, in order of seq. The history
// is by class, day, thing, shadow, seq, so it goes from day to day; on a day it reads
// each shadow in each class, from where the range begins and no further than the
// limit, and puts together what it found.
type scan struct {
	store.ThingRange
	oneShadow bool
	shadow    twin.ShadowName

	// Of a thing that has had events in several groups, what is before the newest that
	// has expired is passed over: store.Past says why.
	store    *Store // nil: all events are in one group
	classes  []store.Class
	logBegin uint32 // first day of the log
	bases    map[twin.ShadowName]twin.Seq

	events [][]byte
	key    []byte
	found  []thingEvent // on the day being read
	at     twin.Event   // at the iterator
}

type thingEvent struct {
	seq   twin.Seq
	bytes []byte
}

// begin tells the scan the groups of its thing.
func (c *scan) begin(s *Store, groups store.Groups) {
	all := groups.All()
	c.classes = make([]store.Class, 0, len(all)*len(c.Kinds))
	for _, g := range all {
		for _, kind := range c.Kinds {
			c.classes = append(c.classes, store.ClassOf(g, kind))
		}
	}
	if len(all) > 1 {
		c.store = s
		c.logBegin = groups.Begin(s.expired.load(), store.KindLog)
		c.bases = make(map[twin.ShadowName]twin.Seq)
	}
}

// floor returns the newest seq of a shadow on a day that is passed over.
func (c *scan) floor(kind store.Kind, day uint32, shadow twin.ShadowName) (twin.Seq, error) {
	if c.store == nil {
		return 0, nil
	}
	if kind == store.KindLog {
		if day < c.logBegin {
			return math.MaxUint64, nil
		}
		return 0, nil
	}
	base, known := c.bases[shadow]
	if !known {
		event, err := c.store.base(twin.ShadowKey{Thing: c.Thing, Shadow: shadow})
		if err != nil {
			return 0, err
		}
		if event != nil {
			e, err := twin.DecodeEvent(event)
			if err != nil {
				return 0, fmt.Errorf("base of %s: %w", c.Thing, err)
			}
			base = e.Seq
		}
		c.bases[shadow] = base
	}
	return base, nil
}

// run goes from day to day.
func (c *scan) run(iter *pebble.Iterator) error {
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
func (c *scan) nextDay(iter *pebble.Iterator, from uint32) (day uint32, ok bool, err error) {
	for _, class := range c.classes {
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
	return day, ok, errRead(iter.Error())
}

// previousDay returns the last day up to one on which any class has an event.
func (c *scan) previousDay(iter *pebble.Iterator, to uint32) (day uint32, ok bool, err error) {
	for _, class := range c.classes {
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
	return day, ok, errRead(iter.Error())
}

func inClass(key []byte, class store.Class) bool {
	return len(key) > 1 && key[0] == keyHistory && key[1] == byte(class)
}

// readDay adds the events of a day, as far as the limit goes.
func (c *scan) readDay(iter *pebble.Iterator, day uint32) error {
	c.found = c.found[:0]
	for _, class := range c.classes {
		if err := c.readClass(iter, class, day); err != nil {
			return err
		}
		if err := iter.Error(); err != nil {
			return errRead(err)
		}
	}
	slices.SortFunc(c.found, func(a, b thingEvent) int {
		if (a.seq < b.seq) != c.Newest {
			return -1
		}
		return 1
	})
	for _, e := range c.found[:min(len(c.found), c.Limit-len(c.events))] {
		c.events = append(c.events, e.bytes)
	}
	return nil
}

// readClass reads the shadow that is asked for, or one after the other.
func (c *scan) readClass(iter *pebble.Iterator, class store.Class, day uint32) error {
	if c.oneShadow {
		return c.readShadow(iter, class, day, c.shadow)
	}
	prefix := appendName(appendHistoryDay(nil, class, day), c.Thing)
	for ok := iter.SeekGE(prefix); ok && bytes.HasPrefix(iter.Key(), prefix); {
		_, _, key, _, valid := parseHistoryKey(iter.Key())
		if !valid {
			return errDamaged(fmt.Sprintf("key %x", iter.Key()))
		}
		if err := c.readShadow(iter, class, day, key.Shadow); err != nil {
			return err
		}
		ok = iter.SeekGE(after(appendHistoryPrefix(nil, class, day, key)))
	}
	return nil
}

// readShadow reads one shadow on one day in one class, at most as many events as
// are still wanted.
func (c *scan) readShadow(iter *pebble.Iterator, class store.Class, day uint32, shadow twin.ShadowName) error {
	prefix := appendHistoryPrefix(nil, class, day, twin.ShadowKey{Thing: c.Thing, Shadow: shadow})
	c.at.Thing, c.at.Shadow = c.Thing, shadow
	floor, err := c.floor(class.Kind(), day, shadow)
	if err != nil || floor == math.MaxUint64 {
		return err
	}
	ok, err := c.enter(iter, prefix, day, floor)
	step := iter.Next
	if c.Newest {
		step = iter.Prev
	}
	// A day that is in the range as a whole needs no look at the time of each event.
	begin := twin.Time(day) * dayMillis
	timed := c.From > begin || c.To != 0 && c.To < begin+dayMillis
	c.at.Time = begin
	for n := c.Limit - len(c.events); n > 0 && ok && err == nil && bytes.HasPrefix(iter.Key(), prefix); n-- {
		var event []byte
		var seq twin.Seq
		if seq, event, err = c.read(iter, len(prefix), day, shadow, timed); err != nil {
			return err
		}
		if seq <= floor || !c.Holds(seq, c.at.Time) { // the range has ended: time does not step back in a thing
			return nil
		}
		c.found = append(c.found, thingEvent{seq, event})
		ok = step()
	}
	return err
}

// read reads the event at the iterator, in memory of its own; and if its time is wanted, decodes
// it to c.at. Its key is that of a shadow on a day up to a prefix of so many bytes.
func (c *scan) read(iter *pebble.Iterator, prefix int, day uint32, shadow twin.ShadowName, timed bool) (twin.Seq, []byte, error) {
	seq, rest, ok := ordered(iter.Key()[prefix:])
	if !ok || len(rest) > 0 {
		return 0, nil, errDamaged(fmt.Sprintf("key %x", iter.Key()))
	}
	value, err := iter.ValueAndErr()
	if err != nil {
		return 0, nil, errRead(err)
	}
	event, err := unpackEvent(twin.ShadowKey{Thing: c.Thing, Shadow: shadow}, twin.Seq(seq), day, value)
	if err == nil && timed {
		err = c.at.Decode(event)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("key %x: %w", iter.Key(), err)
	}
	return twin.Seq(seq), event, nil
}

// enter goes to where the range begins among the events with a prefix.
func (c *scan) enter(iter *pebble.Iterator, prefix []byte, day uint32, floor twin.Seq) (ok bool, err error) {
	if c.Newest {
		end := after(prefix)
		if c.To != 0 && (c.To-1).Day() == day {
			if end, err = c.bisect(iter, prefix, c.To); err != nil {
				return false, err
			}
		}
		if c.After != 0 {
			if key := appendOrdered(bytes.Clone(prefix), uint64(c.After)); bytes.Compare(key, end) < 0 {
				end = key
			}
		}
		return iter.SeekLT(end), nil
	}
	start := prefix
	if c.From > 0 && c.From.Day() == day {
		if start, err = c.bisect(iter, prefix, c.From); err != nil {
			return false, err
		}
	}
	if least := max(c.After, floor); least != 0 {
		if key := appendOrdered(bytes.Clone(prefix), uint64(least)+1); bytes.Compare(key, start) > 0 {
			start = key
		}
	}
	return iter.SeekGE(start), nil
}

// bisect returns the key with a prefix from which on the events are of a time or
// later. A day may have many events; their times rise with their seqs.
func (c *scan) bisect(iter *pebble.Iterator, prefix []byte, t twin.Time) ([]byte, error) {
	end := after(prefix)
	if !iter.SeekLT(end) || !bytes.HasPrefix(iter.Key(), prefix) {
		return end, errRead(iter.Error())
	}
	var low, high uint64 // the answer is in low … high, as a seq
	_, _, _, last, ok := parseHistoryKey(iter.Key())
	if !ok {
		return nil, errDamaged(fmt.Sprintf("key %x", iter.Key()))
	}
	for high = uint64(last) + 1; low < high; {
		middle := low + (high-low)/2
		c.key = appendOrdered(append(c.key[:0], prefix...), middle)
		if !iter.SeekGE(c.key) || bytes.Compare(iter.Key(), end) >= 0 {
			if err := iter.Error(); err != nil {
				return nil, errRead(err)
			}
			high = middle // the last one is before it
			continue
		}
		_, e, err := decodeAt(iter)
		if err != nil {
			return nil, err
		}
		if e.Time < t {
			low = uint64(e.Seq) + 1
		} else {
			high = middle
		}
	}
	return appendOrdered(bytes.Clone(prefix), low), nil
}
