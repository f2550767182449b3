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
			Thing: r.Key.Thing, Classes: []store.Class{store.ClassHistory},
			From: r.From, To: r.To, Newest: r.Newest, Limit: r.Limit,
		},
	}
	return s.scan(ctx, c)
}

// ThingEvents implements [store.Past].
func (s *Store) ThingEvents(ctx context.Context, r store.ThingRange) ([][]byte, error) {
	if len(r.Classes) == 0 {
		r.Classes = []store.Class{store.ClassHistory, store.ClassLog}
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
	if err := s.iterate([]byte{keyHistory}, []byte{keyHistory + 1}, c.run); err != nil {
		return nil, fmt.Errorf("read events of %s: %w", c.Thing, err)
	}
	if len(c.events) == 0 {
		return nil, nil
	}
	if err := s.waitThing(ctx, c.Thing); err != nil {
		return nil, err
	}
	return c.events, nil
}

// waitThing returns when all events of a thing that an iterator opened before has
// seen are durable: the head is written with the last of them, or after it.
func (s *Store) waitThing(ctx context.Context, thing twin.ThingName) error {
	g := getter{db: s.db}
	defer g.close()
	var newest store.Pos
	ok, err := g.get(appendHeadKey(nil, thing), func(value []byte) (err error) {
		newest, _, err = parseHead(value, thing)
		return err
	})
	if err == nil && !ok {
		err = errDamaged(fmt.Sprintf("head of thing %s: it is missing", thing))
	}
	if err != nil {
		return err
	}
	return s.durable.wait(ctx, newest, s.fence)
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
