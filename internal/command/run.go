package command

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/internal/clock"
	"github.com/twofold-iot/twofold/twin"
)

// Arrived says that a client is there to which commands of a thing go: it has
// subscribed, or has come back. What is pending is sent to it.
func (s *Service) Arrived(name twin.ThingName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.things[name]; t != nil {
		s.arrivedLocked(t)
	}
}

// ArrivedAll says that there may be clients for all things.
func (s *Service) ArrivedAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.things {
		s.arrivedLocked(t)
	}
}

func (s *Service) arrivedLocked(t *thing) {
	t.next = 0
	t.visits++
	s.dirtyLocked(t)
}

// Run sends commands, lets them expire and removes old ones, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	var group sync.WaitGroup
	for range lookers {
		group.Go(func() { s.lookUps(ctx) })
	}
	group.Go(func() { s.sweeps(ctx) })
	for ctx.Err() == nil {
		s.sendDirty()
		s.expire()
		s.tryAgain()
		s.rest(ctx)
	}
	group.Wait()
	s.close()
}

func (s *Service) lookUps(ctx context.Context) {
	for {
		select {
		case f := <-s.lookups:
			f(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// close answers what waits.
func (s *Service) close() {
	s.mu.Lock()
	s.closed = true
	var all []*entry
	for _, t := range s.things {
		all = append(all, t.queue...)
	}
	s.mu.Unlock()
	ended, end := context.WithCancel(context.Background())
	end()
	for len(s.lookups) > 0 { // nothing is added any more
		(<-s.lookups)(ended)
	}
	for _, e := range all {
		s.proceed(e)
	}
}

// sendDirty sends what can be sent to things that have something new.
func (s *Service) sendDirty() {
	to := s.sender.Load()
	if to == nil {
		return
	}
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = nil
	for _, t := range dirty {
		t.dirty = false
	}
	s.mu.Unlock()
	for _, t := range dirty {
		s.send(to, t)
	}
}

// send sends the queued commands of a thing, in order, until one finds nobody.
func (s *Service) send(to Sender, t *thing) {
	for {
		s.mu.Lock()
		e := t.sendable()
		if e == nil {
			s.mu.Unlock()
			return
		}
		c, visits := e.cmd, t.visits
		s.mu.Unlock()
		still := func() bool { return !e.over.Load() && !e.taken.Load() && s.now() < c.Expires }
		n, full := to.SendCommand(&c, still, func(client string) { s.taken(e, client) })
		s.mu.Lock()
		if n == 0 {
			if full && !t.crowded {
				t.crowded = true
				s.again = append(s.again, retry{at: s.opts.Now().Add(retryAfter), t: t})
			}
			s.mu.Unlock()
			return
		}
		if t.visits == visits { // else it begins anew
			t.next = c.Number + 1
		}
		s.mu.Unlock()
	}
}

// sendable returns the next command to be sent. Service.mu is held.
func (t *thing) sendable() *entry {
	at, _ := t.find(t.next)
	for _, e := range t.queue[at:] {
		if e.cmd.State == twin.CommandQueued && !e.taken.Load() && !e.over.Load() {
			return e
		}
	}
	return nil
}

// taken notes that a client has acknowledged a command.
func (s *Service) taken(e *entry, client string) {
	if e.taken.Swap(true) {
		return
	}
	s.take(e, &step{
		CommandStep: twin.CommandStep{State: twin.CommandDelivered}, own: true,
		origin: twin.Origin{Door: twin.DoorMQTT, Session: client},
	})
}

// expire ends the commands whose time is up.
func (s *Service) expire() {
	for {
		s.mu.Lock()
		if len(s.times) == 0 || s.times[0].cmd.Expires > s.now() {
			s.mu.Unlock()
			return
		}
		e := s.times[0]
		s.times.remove(e)
		s.mu.Unlock()
		s.take(e, &step{CommandStep: twin.CommandStep{State: twin.CommandExpired}, own: true})
	}
}

// tryAgain goes on with commands that have stalled.
func (s *Service) tryAgain() {
	now := s.opts.Now()
	s.mu.Lock()
	var due []*entry
	kept := s.again[:0]
	for _, r := range s.again {
		if now.Before(r.at) {
			kept = append(kept, r)
			continue
		}
		if r.t != nil {
			r.t.crowded = false
			s.dirtyLocked(r.t)
			continue
		}
		r.e.stalled = false
		due = append(due, r.e)
	}
	s.again = kept
	s.mu.Unlock()
	for _, e := range due {
		s.proceed(e)
	}
}

// restMax bounds a rest, as a clock that is set on does not end a timer.
const restMax = time.Minute

// rest waits until there is something to do.
func (s *Service) rest(ctx context.Context) {
	s.mu.Lock()
	wait := restMax
	if len(s.times) > 0 {
		wait = min(wait, s.times[0].cmd.Expires.Std().Sub(s.opts.Now()))
	}
	if len(s.again) > 0 {
		wait = min(wait, s.again[0].at.Sub(s.opts.Now()))
	}
	s.mu.Unlock()
	timer := time.NewTimer(clock.Real(max(wait, 0), s.opts.Speed))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.wake:
	case <-ctx.Done():
	}
}

// sweeps removes commands that ended long ago, from time to time, until ctx ends.
func (s *Service) sweeps(ctx context.Context) {
	for pause(ctx, s.opts.SweepEvery) {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "old commands not removed", slog.String("error", err.Error()))
		}
	}
}

// sweep removes the records of commands that ended before the time for which they are
// kept; their events stay as long as the log.
func (s *Service) sweep(ctx context.Context) error {
	limit := twin.TimeOf(s.opts.Now().Add(-s.opts.PastKept))
	for after := ""; ; {
		page, err := s.engine.Records(ctx, twin.RecordCommandPast, "", after, loadPage)
		if err != nil {
			return err
		}
		for _, r := range page {
			after = r.Key
			c, err := twin.DecodeCommand(r.Value)
			if err != nil {
				return err
			}
			if c.Ended >= limit {
				continue
			}
			removed := make(chan error, 1)
			ws := []twin.RecordWrite{
				{Kind: twin.RecordCommandPast, Key: r.Key, Expect: r.Revision},
				{Kind: twin.RecordCommandID, Key: twin.CommandIDKey(c.Thing, c.ID)},
			}
			if err := s.engine.WriteRecords(string(c.Thing), ws, func(err error) { removed <- err }); err != nil {
				return err
			}
			if err := <-removed; err != nil {
				return err
			}
		}
		if len(page) < loadPage {
			return nil
		}
	}
}

// timeHeap is open commands by their expiry; each is in it once at most.
type timeHeap []*entry

func (h timeHeap) Len() int           { return len(h) }
func (h timeHeap) Less(i, j int) bool { return h[i].cmd.Expires < h[j].cmd.Expires }
func (h timeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push implements [heap.Interface].
func (h *timeHeap) Push(x any) {
	e := x.(*entry)
	*h = append(*h, e)
	e.place = len(*h)
}

// Pop implements [heap.Interface].
func (h *timeHeap) Pop() any {
	old := *h
	n := len(old) - 1
	e := old[n]
	old[n] = nil
	*h = old[:n]
	e.place = 0
	return e
}

func (h *timeHeap) add(e *entry) { heap.Push(h, e) }

func (h *timeHeap) remove(e *entry) {
	if e.place != 0 {
		heap.Remove(h, e.place-1)
	}
}
