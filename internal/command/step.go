package command

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

var errStopping = twin.NewError(twin.KindUnavailable, "The server is stopping")

var errBusy = &twin.Error{
	Kind: twin.KindThrottled, Message: "Too many answers to this command are waiting",
	Hint: "wait for one to be acknowledged before the next is sent",
}

// take adds a step to those of a command; done of the step is called exactly once,
// maybe before the return.
func (s *Service) take(e *entry, st *step) {
	s.mu.Lock()
	if !st.own && len(e.steps) >= s.opts.StepsMax {
		c := e.cmd
		s.mu.Unlock()
		st.answer(c, errBusy)
		return
	}
	e.steps = append(e.steps, st)
	s.mu.Unlock()
	s.proceed(e)
}

func (st *step) answer(c twin.Command, err error) {
	if st.done != nil {
		st.done(c, err)
	}
}

// proceed begins the next step of a command unless one is under way. Steps that need
// no commit are answered on the way.
func (s *Service) proceed(e *entry) {
	for {
		s.mu.Lock()
		if e.busy || len(e.steps) == 0 || e.stalled && !s.closed {
			s.mu.Unlock()
			return
		}
		st := e.steps[0]
		if s.closed {
			e.steps = e.steps[1:]
			c := e.cmd
			s.mu.Unlock()
			st.answer(c, errStopping)
			continue
		}
		if now := s.now(); !e.cmd.State.Final() && now >= e.cmd.Expires && st.State != twin.CommandExpired {
			st = &step{CommandStep: twin.CommandStep{State: twin.CommandExpired}, own: true}
		} else {
			e.steps = slices.Delete(e.steps, 0, 1)
		}
		before := e.cmd
		_, changes, err := before.Next(&st.CommandStep, s.now())
		if changes {
			e.busy = true
			s.mu.Unlock()
			s.commit(e, st, before)
			return
		}
		s.mu.Unlock()
		st.answer(before, err)
	}
}

// commit makes a step durable.
func (s *Service) commit(e *entry, st *step, before twin.Command) {
	if st.State != twin.CommandDelivered && st.State != twin.CommandAccepted {
		e.over.Store(true) // what is about to end is not sent any more
	}
	var next twin.Command
	records := func(ev *twin.Event) ([]twin.RecordWrite, error) {
		var err error
		if next, _, err = before.Next(&st.CommandStep, ev.Time); err != nil {
			return nil, err
		}
		if err := next.Describe(&before, &st.CommandStep, ev); err != nil {
			return nil, err
		}
		v, err := next.AppendBinary(nil)
		if err != nil {
			return nil, err
		}
		key := twin.CommandKey(next.Thing, next.Number)
		if !next.State.Final() {
			return []twin.RecordWrite{{Kind: twin.RecordCommand, Key: key, Value: v}}, nil
		}
		return []twin.RecordWrite{
			{Kind: twin.RecordCommand, Key: key},
			{Kind: twin.RecordCommandPast, Key: key, Value: v, Expect: twin.RevisionAbsent},
		}, nil
	}
	entry := twin.Entry{Event: twin.Event{Thing: before.Thing, Kind: twin.EventCommand, Origin: st.origin}, Records: records}
	err := s.engine.Append(entry, func(r twin.EntryResult) { s.committed(e, st, next, r.Err) })
	if err != nil {
		s.settled(e, st, nil, err)
	}
}

// committed takes the outcome of a step.
func (s *Service) committed(e *entry, st *step, next twin.Command, err error) {
	switch {
	case err == nil:
		s.settled(e, st, &next, nil)
	case unknown(err) && s.look(func(ctx context.Context) { s.reread(ctx, e, st, err) }):
	default:
		s.settled(e, st, nil, err)
	}
}

// settled makes the outcome of a step visible, and goes on with the next one. next is
// nil if the step was not taken.
func (s *Service) settled(e *entry, st *step, next *twin.Command, err error) {
	s.mu.Lock()
	e.busy = false
	if next != nil {
		e.cmd = *next
		s.weighLocked(e)
		e.changedLocked()
		if next.State.Final() {
			s.leaveLocked(e)
		}
		s.dirtyLocked(e.thing) // there may be room for the next one
	} else {
		e.over.Store(e.cmd.State.Final())
	}
	c := e.cmd
	failed := err != nil && st.own && twin.Kind(err) != twin.KindConflict
	if failed {
		// Nobody else will try again; what waits behind it has to wait.
		e.stalled = true
		e.steps = slices.Insert(e.steps, 0, st)
		s.again = append(s.again, retry{at: s.opts.Now().Add(retryAfter), e: e})
		s.wakeUp()
	}
	s.mu.Unlock()
	if !failed {
		st.answer(c, err)
	} else if twin.Kind(err) != twin.KindFull {
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "step of a command not written, trying again",
			slog.String("thing", string(c.Thing)), slog.String("command", string(c.ID)),
			slog.String("state", string(st.State)), slog.String("error", err.Error()))
	}
	s.proceed(e)
}

// unknown reports whether a step may have been taken although there was an error.
func unknown(err error) bool {
	switch twin.Kind(err) {
	case twin.KindUnavailable, twin.KindInternal:
		return true
	case twin.KindInvalid, twin.KindUnauthenticated, twin.KindDenied, twin.KindNotFound, twin.KindConflict,
		twin.KindTooLarge, twin.KindEncoding, twin.KindThrottled, twin.KindFull:
	}
	return false
}

// reread finds out what became of a step whose commit came back unknown.
func (s *Service) reread(ctx context.Context, e *entry, st *step, cause error) {
	for range attemptsMax {
		c, found, err := s.stored(ctx, e.cmd.Thing, e.cmd.Number)
		if err == nil && found {
			s.settled(e, st, &c, cause)
			return
		}
		if !pause(ctx, retryAfter) {
			break
		}
	}
	s.settled(e, st, nil, cause)
}

// pause waits and reports whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// look runs f soon, where it may wait for the disk; false if there is no room.
func (s *Service) look(f func(context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	select {
	case s.lookups <- f:
		return true
	default:
		return false
	}
}
