package job

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

var (
	errStopping = twin.NewError(twin.KindUnavailable, "The server is stopping; try again")
	errSteps    = twin.NewError(twin.KindThrottled, "Too many requests about the jobs of this thing are under way; try again")
	errNoNext   = errors.New("nothing is pending")
)

// step is a step of an execution that waits for its turn.
type step struct {
	twin.JobStep
	origin twin.Origin
	// job is the one whose execution it is; nil: the next that is pending.
	job *job
	id  twin.JobID // the same, as it was asked for
	new bool       // the execution is to be made
	own bool       // ours: it is tried again when it is not taken
	fly *job       // whose count of steps under way it is in; may be nil
	// done gets the execution after the step, or as it is; nil: nobody waits.
	done func(*twin.JobAnswer, error)
}

func (st *step) answer(a *twin.JobAnswer, err error) {
	if st.done != nil {
		st.done(a, err)
	}
}

// land takes a step out of those under way. Service.mu is held.
func (st *step) land() {
	if st.fly != nil {
		st.fly.flying--
	}
}

// take gives a thing a step, which is done when those before it are.
func (s *Service) take(name twin.ThingName, st *step) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		st.answer(nil, errStopping)
		return
	}
	t := s.thingLocked(name)
	if !st.own && len(t.steps) >= s.opts.StepsMax {
		s.mu.Unlock()
		st.answer(nil, errSteps)
		return
	}
	t.steps = append(t.steps, st)
	s.mu.Unlock()
	s.proceed(t)
}

// proceed does the next steps of a thing until one is with the engine.
func (s *Service) proceed(t *thing) {
	for {
		s.mu.Lock()
		if t.busy || len(t.steps) == 0 || t.stalled && !s.closed {
			s.tidyLocked(t)
			s.mu.Unlock()
			return
		}
		st := t.steps[0]
		t.steps = t.steps[1:]
		if s.closed {
			s.mu.Unlock()
			st.answer(nil, errStopping)
			continue
		}
		e, a, err := s.planLocked(t, st)
		if e == nil && !st.new || err != nil {
			st.land()
			s.mu.Unlock()
			st.answer(a, err)
			continue
		}
		t.busy = true
		s.mu.Unlock()
		s.commit(t, e, st)
		return
	}
}

// planLocked finds the execution that a step is about, and checks whether it can be
// taken. Without an execution and an error, a says all.
func (s *Service) planLocked(t *thing, st *step) (e *execution, a *twin.JobAnswer, err error) {
	if st.new {
		if j := st.job; j.open[t.name] != nil || j.State.Final() || j.abort != nil {
			return nil, nil, errNoNext // it is there, or is not wanted any more
		}
		return nil, nil, nil
	}
	if st.id == "" {
		e = t.first()
		if e == nil {
			return nil, &twin.JobAnswer{At: s.now()}, nil
		}
		if e.Status == twin.ExecutionInProgress { // it was started before, and its details stay
			if st.Details = nil; st.StepMinutes == 0 {
				return nil, e.answer(s.now()), nil
			}
		}
	} else if e = t.find(st.id); e == nil {
		return nil, nil, errEnded
	}
	if _, err := e.Next(&e.job.Job, &st.JobStep, s.now()); err != nil {
		return nil, e.answer(s.now()), err
	}
	return e, nil, nil
}

// errEnded is internal: an execution is not in memory, so it has ended or never was.
var errEnded = errors.New("the execution has ended or never was")

func (e *execution) answer(at twin.Time) *twin.JobAnswer {
	c := e.JobExecution
	return &twin.JobAnswer{Execution: &c, Document: e.job.Document, At: at}
}

// first returns the execution that is next: one that is in progress, or else queued.
func (t *thing) first() *execution {
	for _, e := range t.queue {
		if e.Status == twin.ExecutionInProgress {
			return e
		}
	}
	if len(t.queue) == 0 {
		return nil
	}
	return t.queue[0]
}

func (t *thing) find(id twin.JobID) *execution {
	for _, e := range t.queue {
		if e.Job == id {
			return e
		}
	}
	return nil
}

// commit makes a step durable; e is nil if the execution is new.
func (s *Service) commit(t *thing, e *execution, st *step) {
	var before *twin.JobExecution
	j := st.job
	if e != nil {
		c := e.JobExecution
		before, j = &c, e.job
	}
	d := j.made
	var next twin.JobExecution
	records := func(ev *twin.Event) ([]twin.RecordWrite, error) {
		w := twin.RecordWrite{Kind: twin.RecordExecution, Key: twin.JobExecutionKey(d.ID, t.name)}
		var err error
		if before == nil {
			next = d.NewExecution(t.name, ev.Seq, ev.Time)
			w.Expect = twin.RevisionAbsent // a thing gets a job once
		} else if next, err = before.Next(d, &st.JobStep, ev.Time); err != nil {
			return nil, err
		}
		if err := next.Describe(before, ev); err != nil {
			return nil, err
		}
		if w.Value, err = next.AppendBinary(nil); err != nil {
			return nil, err
		}
		if before != nil {
			return []twin.RecordWrite{w}, nil
		}
		return []twin.RecordWrite{w, {Kind: twin.RecordThingJob, Key: twin.ThingJobKey(t.name, next.Number, d.ID), Value: []byte{recordFormat}}}, nil
	}
	entry := twin.Entry{Event: twin.Event{Thing: t.name, Kind: twin.EventJob, Origin: st.origin}, Records: records}
	err := s.engine.Append(entry, func(r twin.EntryResult) {
		switch {
		case r.Err == nil:
			s.settled(t, e, j, st, &next, nil)
		case unknown(r.Err) && s.look(func(ctx context.Context) { s.reread(ctx, t, e, j, st, r.Err) }):
		default:
			s.settled(t, e, j, st, nil, r.Err)
		}
	})
	if err != nil {
		s.settled(t, e, j, st, nil, err)
	}
}

// recordFormat is the value of a record that has all it says in its key.
const recordFormat = 1

// unknown reports whether a step may have been taken although there was an error.
func unknown(err error) bool {
	k := twin.Kind(err)
	return k == twin.KindUnavailable || k == twin.KindInternal
}

// reread finds out what became of a step whose commit came back unknown.
func (s *Service) reread(ctx context.Context, t *thing, e *execution, j *job, st *step, cause error) {
	for range attemptsMax {
		c, found, err := s.stored(ctx, j.ID, t.name)
		if err == nil {
			if !found || e != nil && c.Version == e.Version {
				break // it was not taken
			}
			s.settled(t, e, j, st, &c, nil)
			return
		}
		if !pause(ctx, retryAfter) {
			break
		}
	}
	s.settled(t, e, j, st, nil, cause)
}

// settled makes the outcome of a step visible, and goes on with the next one. next is
// nil if the step was not taken.
func (s *Service) settled(t *thing, e *execution, j *job, st *step, next *twin.JobExecution, err error) {
	s.mu.Lock()
	t.busy = false
	var change *twin.JobChange
	var a *twin.JobAnswer
	if next != nil {
		first := t.firstJob()
		members := len(t.queue)
		s.applyLocked(t, e, j, next)
		a = &twin.JobAnswer{Execution: next, Document: j.Document, At: next.Updated}
		change = s.changeLocked(t, first, members, next.Updated)
	} else if e != nil {
		a = e.answer(s.now())
	}
	failed := err != nil && st.own && twin.Kind(err) != twin.KindConflict
	if failed { // nobody else will try again; what waits behind it has to wait
		t.stalled = true
		t.steps = slices.Insert(t.steps, 0, st)
		s.again = append(s.again, retry{at: s.opts.Now().Add(retryAfter), t: t})
	} else {
		st.land()
	}
	s.mu.Unlock()
	s.wakeUp()
	if failed {
		if twin.Kind(err) != twin.KindFull {
			s.log.LogAttrs(context.Background(), slog.LevelWarn, "step of a job not written, trying again",
				slog.String("thing", string(t.name)), slog.String("job", string(j.ID)), slog.String("error", err.Error()))
		}
	} else {
		st.answer(a, err)
	}
	if to := s.notifier.Load(); change != nil && to != nil {
		to.JobsChanged(change)
	}
	s.proceed(t)
}

func (t *thing) firstJob() twin.JobID {
	if e := t.first(); e != nil {
		return e.Job
	}
	return ""
}

// changeLocked says what is new in what is pending, nil if the same executions are and
// the same one is the first. A thing that starts its first execution is told nothing, as
// by AWS.
func (s *Service) changeLocked(t *thing, first twin.JobID, members int, at twin.Time) *twin.JobChange {
	e := t.first()
	isNew := first != t.firstJob()
	if !isNew && len(t.queue) == members || s.notifier.Load() == nil {
		return nil
	}
	c := &twin.JobChange{Thing: t.name, At: at, NextIsNew: isNew, Pending: t.pending()}
	if e != nil {
		c.Document = e.job.Document
	}
	return c
}

// pending lists the executions that have not ended, those in progress first.
func (t *thing) pending() []twin.JobExecution {
	list := make([]twin.JobExecution, 0, len(t.queue))
	for _, status := range []twin.ExecutionStatus{twin.ExecutionInProgress, twin.ExecutionQueued} {
		for _, e := range t.queue {
			if e.Status == status {
				list = append(list, e.JobExecution)
			}
		}
	}
	return list
}

// applyLocked takes an execution as it is durable now; e is what it was, nil if it is new.
func (s *Service) applyLocked(t *thing, e *execution, j *job, next *twin.JobExecution) {
	var was twin.ExecutionStatus
	if e != nil {
		was = e.Status
	}
	*j.counts.Of(was)--
	*j.counts.Of(next.Status)++
	j.newest = max(j.newest, next.Queued)
	switch {
	case e == nil:
		s.enterLocked(j, t, next)
		if j.State == twin.JobCanceled { // meanwhile
			j.sweep = append(j.sweep, t.name)
		}
	case next.Status.Final():
		s.leaveLocked(e)
		if a := j.Exceeds(&j.counts); a != nil && !j.State.Final() && j.counts.Waiting+len(j.open) > 0 {
			j.abort = a
		}
	default:
		s.times.remove(e)
		e.JobExecution = *next
		s.times.add(e)
	}
}

// enterLocked takes an execution among those that have not ended.
func (s *Service) enterLocked(j *job, t *thing, c *twin.JobExecution) {
	e := &execution{JobExecution: *c, job: j, thing: t}
	at, _ := slices.BinarySearchFunc(t.queue, c.Number, func(e *execution, n twin.Seq) int { return cmp.Compare(e.Number, n) })
	t.queue = slices.Insert(t.queue, at, e)
	j.open[t.name] = e
	s.open++
	s.times.add(e)
}

func (s *Service) leaveLocked(e *execution) {
	t := e.thing
	t.queue = slices.DeleteFunc(t.queue, func(x *execution) bool { return x == e })
	delete(e.job.open, t.name)
	s.open--
	s.times.remove(e)
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
