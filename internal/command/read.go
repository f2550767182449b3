package command

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Command returns a command as it is durable.
func (s *Service) Command(ctx context.Context, name twin.ThingName, id twin.CommandID) (c twin.Command, found bool, err error) {
	if e := s.find(name, id); e != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return e.cmd, true, nil
	}
	return s.named(ctx, name, id)
}

// EndWaits lets all who wait for the end of a command go, now and later, since the server
// stops.
func (s *Service) EndWaits() { s.endWaits.Do(func() { close(s.waits) }) }

// Wait returns a command when it has ended, or as it is after some time.
func (s *Service) Wait(ctx context.Context, name twin.ThingName, id twin.CommandID, limit time.Duration) (c twin.Command, found bool, err error) {
	e := s.find(name, id)
	if e == nil {
		return s.named(ctx, name, id)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		s.mu.Lock()
		c := e.cmd
		changed := e.change()
		s.mu.Unlock()
		if c.State.Final() {
			return c, true, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return c, true, nil
		case <-s.waits:
			return c, true, nil
		case <-ctx.Done():
			return c, true, nil
		}
	}
}

// named reads a command by its id.
func (s *Service) named(ctx context.Context, name twin.ThingName, id twin.CommandID) (c twin.Command, found bool, err error) {
	number, found, err := s.record(ctx, twin.RecordCommandID, twin.CommandIDKey(name, id))
	if err != nil || !found {
		return c, false, err
	}
	n, err := twin.DecodeCommandNumber(number)
	if err != nil {
		return c, false, fmt.Errorf("read command %s of %s: %w", id, name, err)
	}
	return s.stored(ctx, name, n)
}

// stored reads a command by its number.
func (s *Service) stored(ctx context.Context, name twin.ThingName, number twin.Seq) (c twin.Command, found bool, err error) {
	key := twin.CommandKey(name, number)
	for _, kind := range []twin.RecordKind{twin.RecordCommand, twin.RecordCommandPast} { // it goes from one to the other
		v, found, err := s.record(ctx, kind, key)
		if err != nil {
			return c, false, err
		}
		if found {
			c, err := twin.DecodeCommand(v)
			return c, err == nil, err
		}
	}
	return c, false, nil
}

func (s *Service) record(ctx context.Context, kind twin.RecordKind, key string) ([]byte, bool, error) {
	rs, err := s.engine.Records(ctx, kind, key, "", 1)
	if err != nil {
		return nil, false, fmt.Errorf("read a command: %w", err)
	}
	if len(rs) == 0 || rs[0].Key != key {
		return nil, false, nil
	}
	return rs[0].Value, true, nil
}

// Query selects commands of a thing.
type Query struct {
	States []twin.CommandState // none: all
	Before twin.Seq            // only those with a smaller number; 0: all
	Limit  int                 // must be positive
}

func (q *Query) wants(c *twin.Command) bool {
	return len(q.States) == 0 || slices.Contains(q.States, c.State)
}

// List returns commands of a thing, those queued last first.
func (s *Service) List(ctx context.Context, name twin.ThingName, q Query) ([]twin.Command, error) {
	var all []twin.Command
	// A command that ends meanwhile is in both, and the second is the newer.
	for _, kind := range []twin.RecordKind{twin.RecordCommand, twin.RecordCommandPast} {
		cs, err := s.list(ctx, kind, name, &q)
		if err != nil {
			return nil, err
		}
		all = append(cs, all...)
	}
	slices.SortStableFunc(all, func(a, b twin.Command) int { return cmp.Compare(b.Number, a.Number) })
	all = slices.CompactFunc(all, func(a, b twin.Command) bool { return a.Number == b.Number })
	return all[:min(len(all), q.Limit)], nil
}

func (s *Service) list(ctx context.Context, kind twin.RecordKind, name twin.ThingName, q *Query) ([]twin.Command, error) {
	var cs []twin.Command
	after := ""
	if q.Before != 0 {
		after = twin.CommandKey(name, q.Before)
	}
	for {
		page, err := s.engine.Records(ctx, kind, twin.CommandKeys(name), after, loadPage)
		if err != nil {
			return nil, fmt.Errorf("list commands: %w", err)
		}
		for _, r := range page {
			c, err := twin.DecodeCommand(r.Value)
			if err != nil {
				return nil, fmt.Errorf("read command %q: %w", r.Key, err)
			}
			after = r.Key
			if !q.wants(&c) {
				continue
			}
			if cs = append(cs, c); len(cs) == q.Limit {
				return cs, nil
			}
		}
		if len(page) < loadPage {
			return cs, nil
		}
	}
}
