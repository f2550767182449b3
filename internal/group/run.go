package group

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/twofold-iot/twofold/internal/clock"
	"github.com/twofold-iot/twofold/twin"
)

// Brought tells of twins of which something has changed, which the index of the fleet has
// brought in. It does not wait.
func (s *Service) Brought(things func(yield func(twin.ThingName) bool)) {
	s.mu.RLock()
	none := len(s.groups) == 0
	s.mu.RUnlock()
	if none {
		return
	}
	s.waiting.Lock()
	for thing := range things {
		s.dirty[thing] = struct{}{}
	}
	some := len(s.dirty) > 0
	s.waiting.Unlock()
	if !some {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run looks at all members, and then at what changes, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	s.each(ctx, func(*live) bool { return true })
	timed := time.NewTicker(clock.Real(timedEvery, s.speed))
	defer timed.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timed.C:
			s.each(ctx, func(g *live) bool { return g.timed })
		case <-s.wake:
			s.changed(ctx)
		}
	}
}

// each looks at all members of some groups.
func (s *Service) each(ctx context.Context, which func(*live) bool) {
	s.working.Lock()
	defer s.working.Unlock()
	for _, g := range s.list() {
		if !which(g) {
			continue
		}
		if err := s.whole(ctx, g); err != nil {
			s.failed(ctx, g, err)
		}
	}
}

func (s *Service) list() []*live {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]*live, 0, len(s.groups))
	for _, g := range s.groups {
		list = append(list, g)
	}
	return list
}

func (s *Service) failed(ctx context.Context, g *live, err error) {
	if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		s.log.Error("the members of a group are not up to date", slog.String("group", g.Name), slog.String("error", err.Error()))
	}
}

// whole finds all members of a group, and tells what is different. working is held.
func (s *Service) whole(ctx context.Context, g *live) error {
	found, err := s.fleet.Find(ctx, g.Where)
	if err != nil {
		return err
	}
	is := make(map[twin.ThingName]struct{}, len(found))
	for _, thing := range found {
		is[thing] = struct{}{}
	}
	for _, thing := range g.sorted() {
		if _, ok := is[thing]; !ok {
			if err := s.move(ctx, g, thing, false); err != nil {
				return err
			}
		}
	}
	for _, thing := range found {
		if _, ok := g.members[thing]; !ok {
			if err := s.move(ctx, g, thing, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// changed looks at the twins of which something has changed.
func (s *Service) changed(ctx context.Context) {
	s.working.Lock()
	defer s.working.Unlock()
	s.waiting.Lock()
	dirty := s.dirty
	s.dirty = map[twin.ThingName]struct{}{}
	s.waiting.Unlock()
	things := make([]twin.ThingName, 0, len(dirty))
	for thing := range dirty {
		things = append(things, thing)
	}
	for _, g := range s.list() {
		holds := g.condition.HoldsEach(ctx, things)
		for i, thing := range things {
			if _, member := g.members[thing]; member == holds[i] {
				continue
			}
			if err := s.move(ctx, g, thing, holds[i]); err != nil {
				s.failed(ctx, g, err)
				s.again(things[i:])
				break
			}
		}
	}
}

// again has twins looked at once more.
func (s *Service) again(things []twin.ThingName) {
	time.AfterFunc(retryAfter, func() {
		s.Brought(func(yield func(twin.ThingName) bool) {
			for _, thing := range things {
				if !yield(thing) {
					return
				}
			}
		})
	})
}

// move makes a twin a member or ends that, with its event. It waits only while the engine has
// no room. working is held.
func (s *Service) move(ctx context.Context, g *live, thing twin.ThingName, in bool) error {
	w := twin.RecordWrite{Kind: twin.RecordMember, Key: g.Name + "/" + string(thing)}
	what := Left
	if in {
		what, w.Value = Entered, []byte{1}
	}
	en := twin.Entry{
		Event:   twin.Event{Thing: thing, Kind: twin.EventGroup, Type: what, Correlation: g.Name, Message: shorten(g.Where)},
		Records: func(*twin.Event) ([]twin.RecordWrite, error) { return []twin.RecordWrite{w}, nil },
	}
	for {
		err := s.engine.Append(en, func(res twin.EntryResult) {
			if res.Err != nil {
				s.undo(g, thing, in)
			}
		})
		if err == nil {
			break
		}
		if twin.Kind(err) != twin.KindFull {
			return err
		}
		if err := pause(ctx, retryAfter/20); err != nil {
			return err
		}
	}
	s.set(g, thing, in)
	return nil
}

func (s *Service) set(g *live, thing twin.ThingName, in bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in {
		g.members[thing] = struct{}{}
	} else {
		delete(g.members, thing)
	}
}

// undo takes back what is not on disk; it is looked at again.
func (s *Service) undo(g *live, thing twin.ThingName, in bool) {
	go func() { // the callback of an append must not wait
		s.working.Lock()
		s.set(g, thing, !in)
		s.working.Unlock()
		s.again([]twin.ThingName{thing})
	}()
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shorten cuts a condition to what the message of an event is to hold.
func shorten(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	n := most
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}
