package pebblestore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// DayEvents implements [store.Past]. The keys of a day are in order of things, so one iterator
// goes forward through it.
func (s *Store) DayEvents(ctx context.Context, day uint32, things []twin.ThingName, limit int) ([][][]byte, error) {
	if err := store.CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	class := store.ClassOf(0, store.KindHistory)
	all := make([][][]byte, len(things))
	lower := appendHistoryDay(nil, class, day)
	err := s.iterate(lower, after(lower), func(iter *pebble.Iterator) error {
		var prefix []byte
		for i, thing := range things {
			key := twin.ShadowKey{Thing: thing}
			prefix = appendHistoryPrefix(prefix[:0], class, day, key)
			if !iter.Valid() || bytes.Compare(iter.Key(), prefix) < 0 || i > 0 && things[i-1] > thing {
				iter.SeekGE(prefix)
			}
			for ; iter.Valid() && bytes.HasPrefix(iter.Key(), prefix) && len(all[i]) < limit; iter.Next() {
				event, err := eventOn(iter, key, len(prefix), day)
				if err != nil {
					return err
				}
				all[i] = append(all[i], event)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the events of a day: %w", err)
	}
	return all, nil
}

// eventOn reads the event at the iterator, in memory of its own. Its key is that of a shadow on
// a day up to a prefix of so many bytes.
func eventOn(iter *pebble.Iterator, key twin.ShadowKey, prefix int, day uint32) ([]byte, error) {
	seq, rest, ok := ordered(iter.Key()[prefix:])
	if !ok || len(rest) > 0 {
		return nil, errDamaged(fmt.Sprintf("key %x", iter.Key()))
	}
	value, err := iter.ValueAndErr()
	if err != nil {
		return nil, errRead(err)
	}
	event, err := unpackEvent(key, twin.Seq(seq), day, value)
	if err != nil {
		return nil, fmt.Errorf("key %x: %w", iter.Key(), err)
	}
	return event, nil
}
