package job

import (
	"context"
	"errors"
	"fmt"

	"github.com/twofold-iot/twofold/twin"
)

// Pending lists the executions of a thing that have not ended, as they are durable:
// those in progress first, each part in the order in which they were queued.
func (s *Service) Pending(name twin.ThingName) []twin.JobExecution {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.things[name]; t != nil {
		return t.pending()
	}
	return nil
}

// Next returns the execution of a thing that is next, without starting it.
func (s *Service) Next(name twin.ThingName) *twin.JobAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.things[name]; t != nil {
		if e := t.first(); e != nil {
			return e.answer(s.now())
		}
	}
	return &twin.JobAnswer{At: s.now()}
}

// StartNext starts the execution of a thing that is next, unless it is in progress. It
// never blocks; done is called exactly once, maybe before the return.
func (s *Service) StartNext(name twin.ThingName, details map[string]string, stepMinutes int, origin twin.Origin, done func(*twin.JobAnswer, error)) {
	st := &step{
		JobStep: twin.JobStep{Status: twin.ExecutionInProgress, Details: details, StepMinutes: stepMinutes},
		origin:  origin, done: done,
	}
	if err := st.CheckDetails(); err != nil {
		done(nil, err)
		return
	}
	s.take(name, st)
}

// Update takes what a device says of an execution. It never blocks; done is called
// exactly once, maybe before the return. A refusal may be a [twin.JobError].
func (s *Service) Update(name twin.ThingName, id twin.JobID, update twin.JobStep, origin twin.Origin, done func(*twin.JobAnswer, error)) {
	if err := update.Check(); err != nil {
		done(nil, err)
		return
	}
	s.change(name, id, update, origin, done)
}

// change takes a step of an execution that is known by its job.
func (s *Service) change(name twin.ThingName, id twin.JobID, by twin.JobStep, origin twin.Origin, done func(*twin.JobAnswer, error)) {
	s.take(name, &step{JobStep: by, id: id, origin: origin, done: func(a *twin.JobAnswer, err error) {
		if !errors.Is(err, errEnded) {
			done(a, err)
			return
		}
		s.ended(name, id, func(a *twin.JobAnswer, err error) {
			if err == nil {
				_, err = a.Execution.Next(&twin.Job{}, &by, a.At) // it says why not
			}
			done(a, err)
		}, done)
	}})
}

// Describe reads an execution of a thing. It never blocks; done is called exactly once,
// maybe before the return.
func (s *Service) Describe(name twin.ThingName, id twin.JobID, done func(*twin.JobAnswer, error)) {
	s.mu.Lock()
	if t := s.things[name]; t != nil {
		if e := t.find(id); e != nil {
			a := e.answer(s.now())
			s.mu.Unlock()
			done(a, nil)
			return
		}
	}
	s.mu.Unlock()
	s.ended(name, id, done, done)
}

// ended looks up an execution that is not open.
func (s *Service) ended(name twin.ThingName, id twin.JobID, found, failed func(*twin.JobAnswer, error)) {
	ok := s.look(func(ctx context.Context) {
		e, there, err := s.stored(ctx, id, name)
		switch {
		case err != nil:
			failed(nil, err)
		case !there:
			failed(nil, errNoExecution(name, id))
		default:
			found(&twin.JobAnswer{Execution: &e, Document: s.document(id), At: s.now()}, nil)
		}
	})
	if !ok {
		failed(nil, errSteps)
	}
}

func errNoExecution(name twin.ThingName, id twin.JobID) error {
	return twin.NewError(twin.KindNotFound, fmt.Sprintf("%s has no execution of the job %.80q", name, id))
}

func (s *Service) document(id twin.JobID) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		return j.Document
	}
	return nil
}

// stored reads the record of an execution.
func (s *Service) stored(ctx context.Context, id twin.JobID, name twin.ThingName) (e twin.JobExecution, found bool, err error) {
	key := twin.JobExecutionKey(id, name)
	rs, err := s.engine.Records(ctx, twin.RecordExecution, key, "", 1)
	if err != nil {
		return e, false, fmt.Errorf("read an execution: %w", err)
	}
	if len(rs) == 0 || rs[0].Key != key {
		return e, false, nil
	}
	e, err = twin.DecodeJobExecution(rs[0].Value)
	return e, err == nil, err
}
