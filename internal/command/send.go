package command

import (
	"context"
	"fmt"

	"github.com/twofold-iot/twofold/twin"
)

// Send queues a command and returns it when that is durable. A request whose id is
// that of a command which asks for the same returns that one, and existed; one that asks
// for something else is an error of kind KindConflict. The thing must have a twin.
func (s *Service) Send(ctx context.Context, name twin.ThingName, r *twin.CommandRequest, origin twin.Origin) (c twin.Command, existed bool, err error) {
	if !name.Valid() {
		return c, false, twin.NewError(twin.KindInvalid, fmt.Sprintf("Invalid thing name: %q", name))
	}
	if err := r.Check(); err != nil {
		return c, false, err
	}
	for {
		e, wait, err := s.reserve(name, r)
		if err != nil {
			return c, false, err
		}
		if e == nil && wait == nil { // it is open
			c, found, err := s.Command(ctx, name, r.ID)
			switch {
			case err != nil:
				return c, false, err
			case found:
				return same(c, r)
			}
			continue
		}
		if e == nil {
			select {
			case <-wait: // somebody else has made it, or not
				continue
			case <-ctx.Done():
				return c, false, errNotKnown(ctx)
			}
		}
		c, found, err := s.named(ctx, name, r.ID)
		if err != nil || found {
			s.release(e)
			if err != nil {
				return c, false, err
			}
			return same(c, r)
		}
		return s.create(ctx, e, r, origin)
	}
}

func same(c twin.Command, r *twin.CommandRequest) (twin.Command, bool, error) {
	if !c.Asks(r) {
		return c, false, twin.NewError(twin.KindConflict, fmt.Sprintf("The command %s of %s asks for something else; take another id", c.ID, c.Thing))
	}
	return c, true, nil
}

func errNotKnown(ctx context.Context) error {
	return &twin.Error{Kind: twin.KindUnavailable, Message: "The request ended before its outcome was known", Err: ctx.Err()}
}

// reserve takes the id of a command that is to be made. Without an entry, the command
// is there, or is being made by somebody else until wait is closed.
func (s *Service) reserve(name twin.ThingName, r *twin.CommandRequest) (e *entry, wait <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, errStopping
	}
	if t := s.things[name]; t != nil {
		if have := t.byID[r.ID]; have != nil {
			if have.cmd.Number != 0 {
				return nil, nil, nil
			}
			return nil, have.change(), nil
		}
		if len(t.byID) >= s.opts.PerThing {
			return nil, nil, &twin.Error{
				Kind: twin.KindThrottled, Message: fmt.Sprintf("%d commands of %s have not ended, that is the limit", len(t.byID), name),
				Hint: "cancel some, or wait for their end or expiry",
			}
		}
	}
	if s.open >= s.opts.OpenMax || s.bytes >= s.opts.OpenBytes {
		return nil, nil, &twin.Error{
			Kind: twin.KindFull, Message: fmt.Sprintf("%d commands of %d bytes have not ended, that is the limit of the server", s.open, s.bytes),
		}
	}
	t := s.thingLocked(name)
	e = &entry{thing: t, cmd: twin.Command{ID: r.ID, Thing: name}}
	t.byID[r.ID] = e
	return e, nil, nil
}

// change returns a channel that is closed when the command has changed.
func (e *entry) change() <-chan struct{} {
	if e.changed == nil {
		e.changed = make(chan struct{})
	}
	return e.changed
}

func (e *entry) changedLocked() {
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

// release gives an id back for which no command was made.
func (s *Service) release(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveLocked(e)
	e.changedLocked()
}

type made struct {
	c   twin.Command
	err error
}

// create makes the command durable, and then sends it.
func (s *Service) create(ctx context.Context, e *entry, r *twin.CommandRequest, origin twin.Origin) (twin.Command, bool, error) {
	name := e.cmd.Thing
	var c twin.Command
	records := func(ev *twin.Event) ([]twin.RecordWrite, error) {
		c = twin.NewCommand(name, r, origin.Session, ev.Seq, ev.Time)
		if err := c.Describe(nil, nil, ev); err != nil {
			return nil, err
		}
		v, err := c.AppendBinary(nil)
		if err != nil {
			return nil, err
		}
		return []twin.RecordWrite{
			{Kind: twin.RecordCommand, Key: twin.CommandKey(name, c.Number), Value: v, Expect: twin.RevisionAbsent},
			{Kind: twin.RecordCommandID, Key: twin.CommandIDKey(name, c.ID), Value: twin.AppendCommandNumber(nil, c.Number), Expect: twin.RevisionAbsent},
		}, nil
	}
	results := make(chan made, 1)
	entry := twin.Entry{Event: twin.Event{Thing: name, Kind: twin.EventCommand, Origin: origin}, IfExists: true, Records: records}
	err := s.engine.Append(entry, func(res twin.EntryResult) {
		switch err := res.Err; {
		case err == nil && res.Written:
			s.enter(e, c)
			results <- made{c: c}
		case err == nil:
			s.release(e)
			results <- made{err: twin.NewError(twin.KindNotFound, fmt.Sprintf("There is no twin of %s; its first update makes one, or POST /api/v1/twins", name))}
		case unknown(err) && s.look(func(ctx context.Context) { s.recreate(ctx, e); results <- made{err: err} }):
		default:
			s.release(e)
			results <- made{err: err}
		}
	})
	if err != nil {
		s.release(e)
		return c, false, err
	}
	select {
	case m := <-results:
		return m.c, false, m.err
	case <-ctx.Done():
		return twin.Command{}, false, errNotKnown(ctx)
	}
}

func (s *Service) enter(e *entry, c twin.Command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.cmd = c
	s.enterLocked(e)
	e.changedLocked()
}

// recreate finds out whether a command was made though its commit came back unknown.
func (s *Service) recreate(ctx context.Context, e *entry) {
	for range attemptsMax {
		c, found, err := s.named(ctx, e.cmd.Thing, e.cmd.ID)
		if err == nil && found {
			s.enter(e, c)
			return
		}
		if err == nil || !pause(ctx, retryAfter) {
			break
		}
	}
	s.release(e)
}

// Cancel ends a command that has not ended. One that was cancelled before is returned
// as it is; one that has ended otherwise is an error of kind KindConflict.
func (s *Service) Cancel(ctx context.Context, name twin.ThingName, id twin.CommandID, origin twin.Origin) (twin.Command, error) {
	results := make(chan made, 1)
	cancel := &step{
		CommandStep: twin.CommandStep{State: twin.CommandCancelled}, origin: origin,
		done: func(c twin.Command, err error) { results <- made{c, err} },
	}
	e := s.find(name, id)
	if e == nil {
		c, found, err := s.named(ctx, name, id)
		if err == nil && !found {
			err = noCommand(name, id)
		}
		if err == nil {
			_, _, err = c.Next(&cancel.CommandStep, s.now())
		}
		return c, err
	}
	s.take(e, cancel)
	select {
	case m := <-results:
		return m.c, m.err
	case <-ctx.Done():
		return twin.Command{}, errNotKnown(ctx)
	}
}

func noCommand(name twin.ThingName, id twin.CommandID) error {
	return twin.NewError(twin.KindNotFound, fmt.Sprintf("%s has no command %.80q", name, id))
}

// Answer takes what a device says to a command. It never blocks. done is called exactly
// once, maybe before the return: when the step is durable, or with the reason why it was
// not taken, and changes nothing. A command that has ended, has expired or never was is
// an error of kind KindConflict or KindNotFound, and an event of the twin.
func (s *Service) Answer(name twin.ThingName, id twin.CommandID, answer twin.CommandStep, origin twin.Origin, done func(error)) {
	finish := func(_ twin.Command, err error) {
		switch twin.Kind(err) {
		case twin.KindConflict, twin.KindNotFound:
			s.engine.Reject(twin.ShadowKey{Thing: name}, origin, string(id), err)
		case twin.KindInternal, twin.KindInvalid, twin.KindUnauthenticated, twin.KindDenied, twin.KindTooLarge,
			twin.KindEncoding, twin.KindThrottled, twin.KindUnavailable, twin.KindFull:
		}
		done(err)
	}
	st := &step{CommandStep: answer, origin: origin, done: finish}
	if e := s.find(name, id); e != nil {
		s.take(e, st)
		return
	}
	if !id.Valid() {
		finish(twin.Command{}, noCommand(name, id))
		return
	}
	looked := s.look(func(ctx context.Context) {
		c, found, err := s.named(ctx, name, id)
		if err == nil && !found {
			err = noCommand(name, id)
		}
		if e := s.find(name, id); e != nil {
			s.take(e, st)
			return
		}
		if err == nil {
			_, _, err = c.Next(&answer, s.now())
		}
		finish(c, err)
	})
	if !looked {
		finish(twin.Command{}, twin.NewError(twin.KindFull, "Too many answers to commands that are not known are waiting"))
	}
}

// find returns an open command, nil if there is none.
func (s *Service) find(name twin.ThingName, id twin.CommandID) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.things[name]; t != nil {
		if e := t.byID[id]; e != nil && e.cmd.Number != 0 {
			return e
		}
	}
	return nil
}
