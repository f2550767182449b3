package job_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/job"
	"github.com/twofold-iot/twofold/twin"
)

// A device that starts many times at once starts once.
func TestService_concurrent(t *testing.T) {
	w := newWorld(t, 1, nil)
	w.create(t, twin.JobRequest{ID: "a", Things: names(1)})
	w.counts(t, "a", twin.JobCounts{Queued: 1})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if o := w.start(name(0)); o.err != nil || o.Execution.Version != 2 {
				t.Errorf("start: %+v, %v", o.JobAnswer, o.err)
			}
		})
	}
	group.Wait()
}

// The second of two updates is judged on what the first one made durable.
func TestService_inTurn(t *testing.T) {
	w, f := newFaulty(t, 1)
	w.create(t, twin.JobRequest{ID: "a", Things: names(1)})
	w.counts(t, "a", twin.JobCounts{Queued: 1})
	hold := make(chan struct{})
	f.hold.Store(&hold)
	got := make(chan error, 2)
	for range 2 {
		go w.Update(name(0), "a", twin.JobStep{Status: twin.ExecutionInProgress, ExpectedVersion: 1}, device(name(0)), func(_ *twin.JobAnswer, err error) { got <- err })
	}
	until(t, "an update is with the engine", func() bool { return f.calls.Load() > 1 })
	f.hold.Store(nil)
	close(hold)
	var taken int
	for range 2 {
		if err := <-got; err == nil {
			taken++
		} else if err.Error() != "Expected version 1 but found version 2" {
			t.Error(err)
		}
	}
	if taken != 1 {
		t.Errorf("%d of 2 updates that expect version 1 were taken, want 1", taken)
	}
}

// faulty is an engine that takes entries of jobs or not, and says so or not.
type faulty struct {
	job.Engine
	full atomic.Bool // takes none
	lost atomic.Bool // takes them, and says that it does not know
	// hold is closed when the outcome of entries may be told.
	hold  atomic.Pointer[chan struct{}]
	calls atomic.Int64
}

func (f *faulty) Append(en twin.Entry, done func(twin.EntryResult)) error {
	if f.full.Load() {
		return twin.NewError(twin.KindFull, "full")
	}
	f.calls.Add(1)
	lost, hold := f.lost.Load(), f.hold.Load()
	return f.Engine.Append(en, func(r twin.EntryResult) {
		if lost && r.Err == nil {
			r.Err = twin.NewError(twin.KindUnavailable, "unknown")
		}
		if hold == nil {
			done(r)
			return
		}
		go func() {
			<-*hold
			done(r)
		}()
	})
}

func newFaulty(t *testing.T, things int) (*world, *faulty) {
	w := newWorld(t, things, nil)
	w.close()
	f := &faulty{}
	w.open(t, func(e *engine.Engine) job.Engine { f.Engine = e; return f }, nil)
	return w, f
}

// A job that is canceled when nothing can be written is canceled after a restart.
func TestService_cancel_afterRestart(t *testing.T) {
	w, f := newFaulty(t, 3)
	w.create(t, twin.JobRequest{ID: "c", Things: names(3)})
	w.counts(t, "c", twin.JobCounts{Queued: 3})
	f.full.Store(true)
	if _, err := w.Cancel(context.Background(), "c", false, "", ""); err != nil {
		t.Fatal(err)
	}
	w.counts(t, "c", twin.JobCounts{Queued: 3})
	w.close()
	w.open(t, nil, nil)
	w.counts(t, "c", twin.JobCounts{Canceled: 3})
}

// What the engine could not take is tried again: things get the job, each once.
func TestService_tryAgain(t *testing.T) {
	w, f := newFaulty(t, 50)
	f.full.Store(true)
	w.create(t, twin.JobRequest{ID: "j", Things: names(50)})
	w.counts(t, "j", twin.JobCounts{Waiting: 50})
	f.full.Store(false)
	until(t, "all have it", func() bool {
		w.clock.add(retry)
		w.Connect(w.told)
		r, _ := w.Job("j")
		return r.Counts.Queued == 50
	})
}

const retry = 200_000_000 // ns, that of the service

// A step of which nobody knows whether it was taken is looked up, and counts once.
func TestService_unknownOutcome(t *testing.T) {
	w, f := newFaulty(t, 5)
	f.lost.Store(true)
	w.create(t, twin.JobRequest{ID: "u", Things: names(5)})
	w.counts(t, "u", twin.JobCounts{Queued: 5})
	if o := w.start(name(0)); o.err != nil || o.Execution.Version != 2 {
		t.Errorf("start: %+v, %v", o.JobAnswer, o.err)
	}
	if o := w.update(name(0), "u", twin.JobStep{Status: twin.ExecutionSucceeded, ExpectedVersion: 2}); o.err != nil {
		t.Error(o.err)
	}
	w.counts(t, "u", twin.JobCounts{Queued: 4, Succeeded: 1})
}

func TestService_delete(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create(t, twin.JobRequest{ID: "d", Things: names(3)})
	w.counts(t, "d", twin.JobCounts{Queued: 3})
	w.start(name(0))
	if err := w.Delete(context.Background(), "d", false); twin.Kind(err) != twin.KindConflict {
		t.Errorf("delete what runs: %v", err)
	}
	if err := w.Delete(context.Background(), "d", true); err != nil {
		t.Fatal(err)
	}
	until(t, "gone", func() bool { _, there := w.Job("d"); return !there })
	for _, kind := range []twin.RecordKind{twin.RecordJob, twin.RecordExecution, twin.RecordThingJob, twin.RecordJobTargets} {
		if n := w.records(t, kind); n != 0 {
			t.Errorf("%d records of kind %d are left", n, kind)
		}
	}
	w.create(t, twin.JobRequest{ID: "d", Things: names(3)}) // the id is free
	w.counts(t, "d", twin.JobCounts{Queued: 3})
}
