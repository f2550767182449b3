package job

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Create makes a job and returns it when it is durable. All its things must have a twin.
// An id that is taken is an error of kind KindConflict.
func (s *Service) Create(ctx context.Context, r *twin.JobRequest, origin twin.Origin) (Report, error) {
	if err := r.Check(); err != nil {
		return Report{}, err
	}
	missing, err := s.opts.Known(ctx, r.Things)
	if err != nil {
		return Report{}, fmt.Errorf("look up the things of a job: %w", err)
	}
	if len(missing) > 0 {
		return Report{}, twin.NewError(twin.KindNotFound, fmt.Sprintf(
			"things: %d of %d have no twin, the first is %s; its first update makes one, or POST /api/v1/twins", len(missing), len(r.Things), missing[0]))
	}
	if err := s.beginOp(ctx); err != nil {
		return Report{}, err
	}
	defer s.endOp()
	s.mu.Lock()
	taken, full := s.jobs[r.ID] != nil, len(s.jobs) >= s.opts.JobsMax
	gone := s.checkArtifacts(r)
	s.mu.Unlock()
	switch {
	case gone != nil:
		return Report{}, gone
	case taken:
		return Report{}, twin.NewError(twin.KindConflict, fmt.Sprintf("There is a job %s; take another id", r.ID))
	case full:
		return Report{}, &twin.Error{
			Kind: twin.KindFull, Message: fmt.Sprintf("There are %d jobs, that is the limit", s.opts.JobsMax), Hint: "delete jobs that have ended",
		}
	}
	d := twin.NewJob(r, origin.Session, s.now())
	ws, err := createRecords(&d, r.Things)
	if err != nil {
		return Report{}, err
	}
	if err := s.write(ctx, d.ID, ws); err != nil {
		return Report{}, err
	}
	j := newJob(d)
	j.todo, j.next = r.Things, s.opts.Now()
	j.counts.Waiting = len(r.Things)
	s.mu.Lock()
	s.jobs[d.ID] = j
	report := j.report()
	s.mu.Unlock()
	s.wakeUp()
	return report, nil
}

func createRecords(d *twin.Job, things []twin.ThingName) ([]twin.RecordWrite, error) {
	v, err := d.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	ws := []twin.RecordWrite{{Kind: twin.RecordJob, Key: string(d.ID), Value: v}}
	for n := 0; len(things) > 0; n++ {
		part := things[:min(len(things), twin.JobTargetsMax)]
		things = things[len(part):]
		v, err := twin.AppendJobTargets(nil, part)
		if err != nil {
			return nil, err
		}
		ws = append(ws, twin.RecordWrite{Kind: twin.RecordJobTargets, Key: twin.JobTargetsKey(d.ID, n), Value: v})
	}
	return ws, nil
}

// Pause stops a job from reaching further things, Resume lets it go on.
func (s *Service) Pause(ctx context.Context, id twin.JobID) (Report, error) {
	return s.setState(ctx, id, twin.JobPaused)
}

// Resume lets a paused job go on.
func (s *Service) Resume(ctx context.Context, id twin.JobID) (Report, error) {
	return s.setState(ctx, id, twin.JobRunning)
}

func (s *Service) setState(ctx context.Context, id twin.JobID, to twin.JobState) (Report, error) {
	return s.alterID(ctx, id, func(d *twin.Job, at twin.Time) error {
		if d.State.Final() {
			return twin.NewError(twin.KindConflict, fmt.Sprintf("The job %s is %s; it cannot become %s", id, d.State, to))
		}
		d.State, d.Changed = to, at
		return nil
	})
}

// Cancel ends a job: no further thing gets it, executions that are queued are canceled,
// and with force also those in progress. code and reason say why.
func (s *Service) Cancel(ctx context.Context, id twin.JobID, force bool, code, reason string) (Report, error) {
	return s.alterID(ctx, id, func(d *twin.Job, at twin.Time) error {
		switch {
		case d.State == twin.JobCompleted:
			return twin.NewError(twin.KindConflict, fmt.Sprintf("The job %s is completed", id))
		case d.State == twin.JobCanceled && (d.Force || !force || d.Counts != nil):
			return nil // it is as asked
		}
		cancelJob(d, at, force, code, reason)
		return nil
	})
}

// Delete removes a job and its executions; their events stay. One that has not ended is
// canceled first if force is set, else it is an error of kind KindConflict. It is gone some
// time after the return.
func (s *Service) Delete(ctx context.Context, id twin.JobID, force bool) error {
	_, err := s.alterID(ctx, id, func(d *twin.Job, at twin.Time) error {
		if !force && (!d.State.Final() || d.Counts == nil) {
			return twin.NewError(twin.KindConflict, fmt.Sprintf("The job %s or an execution of it has not ended; only force deletes it", id))
		}
		if d.Counts == nil && (d.State != twin.JobCanceled || !d.Force) {
			cancelJob(d, at, true, "deleted", "")
		}
		d.Deleting, d.Changed = true, at
		return nil
	})
	return err
}

// remove removes the records of a job that is settled.
func (s *Service) remove(ctx context.Context, j *job) time.Duration {
	err := s.removeRecords(ctx, j)
	if err == nil {
		s.mu.Lock()
		delete(s.jobs, j.ID)
		s.mu.Unlock()
		return 0
	}
	if ctx.Err() == nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "job not removed, trying again", slog.String("job", string(j.ID)), slog.String("error", err.Error()))
	}
	return retryAfter
}

// removeRecords removes the executions first, so that the job is there until they are not.
func (s *Service) removeRecords(ctx context.Context, j *job) error {
	if err := s.beginOp(ctx); err != nil {
		return err
	}
	defer s.endOp()
	prefix := twin.JobExecutionKeys(j.ID)
	for {
		page, err := s.engine.Records(ctx, twin.RecordExecution, prefix, "", loadPage)
		if err != nil {
			return fmt.Errorf("read the executions of a job: %w", err)
		}
		if len(page) == 0 {
			break
		}
		var ws []twin.RecordWrite
		for _, r := range page {
			e, err := twin.DecodeJobExecution(r.Value)
			if err != nil {
				return fmt.Errorf("read execution %q: %w", r.Key, err)
			}
			ws = append(ws, twin.RecordWrite{Kind: r.Kind, Key: r.Key},
				twin.RecordWrite{Kind: twin.RecordThingJob, Key: twin.ThingJobKey(e.Thing, e.Number, e.Job)})
		}
		if err := s.write(ctx, j.ID, ws); err != nil {
			return err
		}
	}
	ws := []twin.RecordWrite{{Kind: twin.RecordJob, Key: string(j.ID)}}
	for n := range (j.Things + twin.JobTargetsMax - 1) / twin.JobTargetsMax {
		ws = append(ws, twin.RecordWrite{Kind: twin.RecordJobTargets, Key: twin.JobTargetsKey(j.ID, n)})
	}
	return s.write(ctx, j.ID, ws)
}

// CancelExecution cancels a job on one thing; force also if it is in progress there.
func (s *Service) CancelExecution(name twin.ThingName, id twin.JobID, cancel twin.JobStep, origin twin.Origin, done func(*twin.JobAnswer, error)) {
	cancel.Status = twin.ExecutionCanceled
	if err := cancel.CheckDetails(); err != nil {
		done(nil, err)
		return
	}
	s.change(name, id, cancel, origin, done)
}

// Targets lists the first things that a job is for.
func (s *Service) Targets(ctx context.Context, id twin.JobID, limit int) ([]twin.ThingName, error) {
	rs, err := s.engine.Records(ctx, twin.RecordJobTargets, twin.JobExecutionKeys(id), "", (limit+twin.JobTargetsMax-1)/twin.JobTargetsMax)
	if err != nil {
		return nil, fmt.Errorf("read the things of a job: %w", err)
	}
	var all []twin.ThingName
	for _, r := range rs {
		things, err := twin.DecodeJobTargets(r.Value)
		if err != nil {
			return nil, err
		}
		all = append(all, things...)
	}
	return all[:min(len(all), limit)], nil
}

func cancelJob(d *twin.Job, at twin.Time, force bool, code, reason string) {
	d.State, d.Force, d.Code, d.Reason, d.Changed, d.Ended = twin.JobCanceled, force, code, reason, at, at
}

func abortReason(a *twin.JobAbort, c *twin.JobCounts) string {
	return fmt.Sprintf("aborted: of %d executions that ended, %g%% or more ended as %s (%d failed, %d timed out, %d were rejected)",
		c.Succeeded+c.Failed+c.TimedOut+c.Rejected, a.Percent, a.Failure, c.Failed, c.TimedOut, c.Rejected)
}

// beginOp takes the one place of those who change jobs.
func (s *Service) beginOp(ctx context.Context) error {
	select {
	case s.ops <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &twin.Error{Kind: twin.KindUnavailable, Message: "The request ended before it was its turn; nothing was changed", Err: ctx.Err()}
	}
}

func (s *Service) endOp() { <-s.ops }

// alterID is alter for a job that is asked for by its id.
func (s *Service) alterID(ctx context.Context, id twin.JobID, change func(*twin.Job, twin.Time) error) (Report, error) {
	s.mu.Lock()
	j := s.jobs[id]
	s.mu.Unlock()
	if j == nil {
		return Report{}, errNoJob(id)
	}
	if err := s.alter(ctx, j, change); err != nil {
		return Report{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return j.report(), nil
}

func errNoJob(id twin.JobID) error {
	return twin.NewError(twin.KindNotFound, fmt.Sprintf("There is no job %.80q", id))
}

// alter changes a job itself, durably. change is called with the lock held.
func (s *Service) alter(ctx context.Context, j *job, change func(*twin.Job, twin.Time) error) error {
	if err := s.beginOp(ctx); err != nil {
		return err
	}
	defer s.endOp()
	s.mu.Lock()
	d := j.Job
	err := change(&d, s.now())
	same := d.State == j.State && d.Force == j.Force && d.Counts == j.Counts && d.Deleting == j.Deleting
	gone := s.jobs[j.ID] != j
	s.mu.Unlock()
	switch {
	case gone:
		return errNoJob(j.ID)
	case err != nil || same:
		return err
	}
	v, err := d.AppendBinary(nil)
	if err != nil {
		return err
	}
	if err := s.write(ctx, d.ID, []twin.RecordWrite{{Kind: twin.RecordJob, Key: string(d.ID), Value: v}}); err != nil {
		return err
	}
	s.mu.Lock()
	canceled := d.State == twin.JobCanceled && (j.State != d.State || j.Force != d.Force)
	j.Job = d
	if canceled {
		j.sweep = j.sweep[:0]
		j.todo = nil
		j.resumeSweep()
	}
	if d.State == twin.JobRunning && j.Rate > 0 {
		j.next = s.opts.Now()
	}
	s.mu.Unlock()
	s.wakeUp()
	return nil
}

// write makes records durable. It waits for the outcome even if ctx ends: what is known
// of a job must be what is written.
func (s *Service) write(ctx context.Context, id twin.JobID, ws []twin.RecordWrite) error {
	return s.writeAs(ctx, string(id), ws)
}

func (s *Service) writeAs(_ context.Context, orderKey string, ws []twin.RecordWrite) error {
	outcome := make(chan error, 1)
	if err := s.engine.WriteRecords(orderKey, ws, func(err error) { outcome <- err }); err != nil {
		return err
	}
	return <-outcome
}
