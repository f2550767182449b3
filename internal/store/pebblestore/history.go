package pebblestore

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Events implements [store.Log].
func (s *Store) Events(ctx context.Context, r store.EventRange) ([][]byte, error) {
	c := &scan{
		oneShadow: true, shadow: r.Key.Shadow,
		ThingRange: store.ThingRange{
			Thing: r.Key.Thing, Kinds: []store.Kind{store.KindHistory},
			From: r.From, To: r.To, Newest: r.Newest, Limit: r.Limit,
		},
	}
	return s.scan(ctx, c)
}

// ThingEvents implements [store.Past].
func (s *Store) ThingEvents(ctx context.Context, r store.ThingRange) ([][]byte, error) {
	if len(r.Kinds) == 0 {
		r.Kinds = []store.Kind{store.KindHistory, store.KindLog}
	}
	return s.scan(ctx, &scan{ThingRange: r})
}

func (s *Store) scan(ctx context.Context, c *scan) ([][]byte, error) {
	if err := store.CheckLimit(c.Limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	var newest store.Pos
	err := s.iterate([]byte{keyHistory}, []byte{keyHistory + 1}, func(iter *pebble.Iterator) (err error) {
		// After the iterator, so that the head has every group that it can see.
		var groups store.Groups
		var ok bool
		if newest, groups, ok, err = s.thingHead(c.Thing); err != nil {
			return err
		}
		c.begin(s, groups)
		if err := c.run(iter); err != nil {
			return err
		}
		if !ok && len(c.events) > 0 {
			return errDamaged(fmt.Sprintf("head of thing %s: it is missing", c.Thing))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read events of %s: %w", c.Thing, err)
	}
	if len(c.events) == 0 {
		return nil, nil
	}
	return c.events, s.durable.wait(ctx, newest, s.fence)
}

// thingHead reads the position of a thing's head, which is written with its newest event,
// and its groups; ok is false if it has none.
func (s *Store) thingHead(thing twin.ThingName) (newest store.Pos, groups store.Groups, ok bool, err error) {
	g := getter{db: s.db}
	defer g.close()
	ok, err = g.get(appendHeadKey(nil, thing), func(value []byte) (err error) {
		newest, _, groups, err = parseHeadGroups(value, thing)
		return err
	})
	return newest, groups, ok, err
}

// decodeAt reads the event at the iterator, in memory of its own.
func decodeAt(iter *pebble.Iterator) (event []byte, e twin.Event, err error) {
	value, err := iter.ValueAndErr()
	if err != nil {
		return nil, e, errRead(err)
	}
	if event, err = eventAt(iter.Key(), value); err == nil {
		e, err = twin.DecodeEvent(event)
	}
	if err != nil {
		return nil, e, fmt.Errorf("key %x: %w", iter.Key(), err)
	}
	return event, e, nil
}
