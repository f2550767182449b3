package pebblestore

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

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

// Groups implements [store.Past].
func (s *Store) Groups(ctx context.Context, thing twin.ThingName) (store.Groups, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	newest, groups, _, err := s.thingHead(thing)
	if err != nil {
		return nil, fmt.Errorf("read the groups of %s: %w", thing, err)
	}
	return groups, s.durable.wait(ctx, newest, s.fence)
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
