package job

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/internal/clock"
	"github.com/twofold-iot/twofold/twin"
)

// Run rolls jobs out, ends them, and lets executions time out, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	var group sync.WaitGroup
	for range lookers {
		group.Go(func() { s.lookUps(ctx) })
	}
	for ctx.Err() == nil {
		s.tryAgain()
		s.timeOut()
		wait := s.lead(ctx)
		s.rest(ctx, wait)
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
	all := make([]*thing, 0, len(s.things))
	for _, t := range s.things {
		all = append(all, t)
	}
	s.mu.Unlock()
	ended, end := context.WithCancel(context.Background())
	end()
	for len(s.lookups) > 0 { // nothing is added any more
		(<-s.lookups)(ended)
	}
	for _, t := range all {
		s.proceed(t)
	}
}

// restMax bounds a rest, as a clock that is set on does not end a timer.
const restMax = time.Minute

// lead brings every job on that can go on, and returns how long nothing else is to do.
func (s *Service) lead(ctx context.Context) time.Duration {
	s.mu.Lock()
	active := make([]*job, 0, len(s.jobs))
	for _, j := range s.jobs {
		if j.Counts == nil || j.Deleting {
			active = append(active, j)
		}
	}
	s.mu.Unlock()
	wait := restMax
	for _, j := range active {
		wait = min(wait, s.leadOne(ctx, j))
	}
	return wait
}

// leadOne brings a job on: it gives it to the next things, cancels executions, or writes
// that it has ended.
func (s *Service) leadOne(ctx context.Context, j *job) time.Duration {
	for skipped := 0; ctx.Err() == nil; {
		s.mu.Lock()
		var name twin.ThingName
		st := &step{job: j, own: true, fly: j}
		var wait time.Duration
		switch {
		case j.Counts != nil:
			s.mu.Unlock()
			return s.remove(ctx, j)
		case j.abort != nil && j.State != twin.JobCanceled, j.over():
			s.mu.Unlock()
			return s.settle(ctx, j)
		case j.flying >= s.opts.FlyingMax:
			s.mu.Unlock()
			return restMax // until one lands
		case len(j.sweep) > 0:
			name = j.sweep[0]
			j.sweep = j.sweep[1:]
			st.JobStep, st.id = twin.JobStep{Status: twin.ExecutionCanceled, Force: j.Force, Reason: j.Reason}, j.ID
			st.job = nil
		default:
			if name, wait = j.due(s.opts.Now()); name != "" && s.open >= s.opts.OpenMax {
				name, wait = "", time.Second // until some have ended
			}
			if name == "" {
				s.mu.Unlock()
				return wait
			}
			if t := s.things[name]; t != nil && len(t.queue) >= s.opts.PerThing {
				j.todo = append(j.todo[1:], name) // its turn comes when its device has done some
				skipped++
				full := skipped >= len(j.todo)
				s.mu.Unlock()
				if full {
					return time.Second
				}
				continue
			}
			j.released(s.opts.Now())
			st.new, st.JobStep.Status = true, twin.ExecutionQueued
		}
		j.flying++
		s.mu.Unlock()
		s.take(name, st)
	}
	return restMax
}

// over reports whether nothing of a job can change any more, though that is not written.
func (j *job) over() bool {
	return len(j.open) == 0 && j.flying == 0 && len(j.sweep) == 0 && (len(j.todo) == 0 && j.counts.Waiting == 0 || j.State == twin.JobCanceled)
}

// settle writes that a job is to be aborted or is over.
func (s *Service) settle(ctx context.Context, j *job) time.Duration {
	err := s.alter(ctx, j, func(d *twin.Job, at twin.Time) error {
		if a := j.abort; a != nil && d.State != twin.JobCanceled {
			cancelJob(d, at, false, "aborted", abortReason(a, &j.counts))
			return nil
		}
		if d.State != twin.JobCanceled {
			d.State = twin.JobCompleted
			d.Ended = at
		}
		c := j.counts
		d.Counts, d.Changed = &c, at
		return nil
	})
	if err != nil {
		if ctx.Err() == nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "state of a job not written, trying again", slog.String("job", string(j.ID)), slog.String("error", err.Error()))
		}
		return retryAfter
	}
	return 0
}

// due returns the next thing that gets a job, or how long there is none.
func (j *job) due(now time.Time) (twin.ThingName, time.Duration) {
	if len(j.todo) == 0 || j.State != twin.JobRunning {
		return "", restMax
	}
	out := j.Things - len(j.todo)
	if _, pause := j.WaveEnd(out); pause > 0 && out > 0 {
		if j.flying > 0 {
			return "", restMax // the wave is not out
		}
		if wait := j.newest.Std().Add(pause).Sub(now); wait > 0 {
			return "", wait
		}
	}
	if j.Rate > 0 {
		if wait := j.next.Sub(now); wait > 0 {
			return "", wait
		}
	}
	return j.todo[0], 0
}

// rateSlack is how much a job with a rate makes up for if it was late.
const rateSlack = time.Second

// released takes the thing out that gets the job now.
func (j *job) released(now time.Time) {
	j.todo = j.todo[1:]
	if j.Rate == 0 {
		return
	}
	if earliest := now.Add(-rateSlack); j.next.Before(earliest) {
		j.next = earliest
	}
	j.next = j.next.Add(j.interval())
}

func (j *job) interval() time.Duration { return time.Minute / time.Duration(j.Rate) }

// timeOut ends the executions whose time is up.
func (s *Service) timeOut() {
	for {
		s.mu.Lock()
		if len(s.times) == 0 || s.times[0].Deadline() > s.now() {
			s.mu.Unlock()
			return
		}
		e := s.times[0]
		s.times.remove(e)
		reason := "the step timer of the device ran out"
		if e.TimesOut != 0 && e.TimesOut == e.Deadline() {
			reason = "the time that the job gives was up"
		}
		st := &step{JobStep: twin.JobStep{Status: twin.ExecutionTimedOut, Reason: reason}, id: e.Job, own: true}
		s.mu.Unlock()
		s.take(e.thing.name, st)
	}
}

// tryAgain goes on with things that have stalled.
func (s *Service) tryAgain() {
	now := s.opts.Now()
	s.mu.Lock()
	var due []*thing
	kept := s.again[:0]
	for _, r := range s.again {
		if now.Before(r.at) {
			kept = append(kept, r)
			continue
		}
		r.t.stalled = false
		due = append(due, r.t)
	}
	s.again = kept
	s.mu.Unlock()
	for _, t := range due {
		s.proceed(t)
	}
}

// rest waits until there is something to do.
func (s *Service) rest(ctx context.Context, wait time.Duration) {
	s.mu.Lock()
	if len(s.times) > 0 {
		wait = min(wait, s.times[0].Deadline().Std().Sub(s.opts.Now()))
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

// timeHeap is executions by the time at which they time out; each is in it once at most,
// and those that never do are not.
type timeHeap []*execution

func (h timeHeap) Len() int           { return len(h) }
func (h timeHeap) Less(i, j int) bool { return h[i].Deadline() < h[j].Deadline() }
func (h timeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push implements [heap.Interface].
func (h *timeHeap) Push(x any) {
	e := x.(*execution)
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

func (h *timeHeap) add(e *execution) {
	if e.Deadline() != 0 {
		heap.Push(h, e)
	}
}

func (h *timeHeap) remove(e *execution) {
	if e.place != 0 {
		heap.Remove(h, e.place-1)
	}
}
