package job_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/job"
	"github.com/twofold-iot/twofold/twin"
)

func TestService_life(t *testing.T) {
	w := newWorld(t, 2, nil)
	w.create(t, twin.JobRequest{ID: "fw-2", Things: names(2)})
	w.counts(t, "fw-2", twin.JobCounts{Queued: 2})
	if o := w.start("nobody"); o.err != nil || o.Execution != nil {
		t.Fatalf("a thing without jobs: %+v, %v", o.Execution, o.err)
	}
	o := w.start(name(0))
	if o.err != nil || o.Execution.Job != "fw-2" || o.Execution.Status != twin.ExecutionInProgress || o.Execution.Version != 2 || string(o.Document) != `{"operation":"update","version":"2.1.0"}` {
		t.Fatalf("start: %+v, %v", o.Execution, o.err)
	}
	if o := w.start(name(0)); o.err != nil || o.Execution.Version != 2 {
		t.Fatalf("start again: %+v, %v", o.Execution, o.err)
	}
	if o := w.update(name(0), "fw-2", twin.JobStep{Status: twin.ExecutionInProgress, Details: map[string]string{"step": "download"}, ExpectedVersion: 2}); o.err != nil || o.Execution.Version != 3 {
		t.Fatalf("progress: %+v, %v", o.Execution, o.err)
	}
	o = w.update(name(0), "fw-2", twin.JobStep{Status: twin.ExecutionSucceeded, ExpectedVersion: 2})
	if refused := (*twin.JobError)(nil); !errors.As(o.err, &refused) || refused.Code != twin.JobVersionMismatch || refused.Execution.Version != 3 ||
		o.err.Error() != "Expected version 2 but found version 3" {
		t.Fatalf("a wrong version: %v", o.err)
	}
	if o := w.update(name(0), "fw-2", twin.JobStep{Status: twin.ExecutionSucceeded, ExpectedVersion: 3}); o.err != nil || o.Execution.Details["step"] != "download" {
		t.Fatalf("done: %+v, %v", o.Execution, o.err)
	}
	o = w.update(name(0), "fw-2", twin.JobStep{Status: twin.ExecutionInProgress})
	if refused := (*twin.JobError)(nil); !errors.As(o.err, &refused) || refused.Code != twin.JobInvalidTransition || refused.Execution.Status != twin.ExecutionSucceeded {
		t.Fatalf("after the end: %v", o.err)
	}
	if o := w.update(name(1), "other", twin.JobStep{Status: twin.ExecutionInProgress}); twin.Kind(o.err) != twin.KindNotFound {
		t.Fatalf("another job: %v", o.err)
	}
	for _, s := range []twin.ExecutionStatus{twin.ExecutionQueued, twin.ExecutionCanceled, twin.ExecutionTimedOut, "bored", ""} {
		if o := w.update(name(1), "fw-2", twin.JobStep{Status: s}); twin.Kind(o.err) != twin.KindInvalid {
			t.Errorf("a device says %q: %v", s, o.err)
		}
	}
	w.state(t, "fw-2", twin.JobRunning)
	if o := w.update(name(1), "fw-2", twin.JobStep{Status: twin.ExecutionRejected}); o.err != nil {
		t.Fatal(o.err)
	}
	w.state(t, "fw-2", twin.JobCompleted)
	w.counts(t, "fw-2", twin.JobCounts{Succeeded: 1, Rejected: 1})
	if got := fmt.Sprint(steps(t, w.store, name(0))); got != "map[fw-2:[queued in_progress progress succeeded]]" {
		t.Errorf("events: %s", got)
	}
	if o := w.describe(name(0), "fw-2"); o.err != nil || o.Execution.Status != twin.ExecutionSucceeded || o.Execution.Ended == 0 || len(o.Document) == 0 {
		t.Errorf("describe: %+v, %v", o.Execution, o.err)
	}
}

// The first execution is one in progress, else the one queued first; a device is told
// when the set changes, and when the first one does.
func TestService_next(t *testing.T) {
	w := newWorld(t, 1, nil)
	for _, id := range []twin.JobID{"a", "b", "c"} {
		w.create(t, twin.JobRequest{ID: id, Things: names(1)})
		w.counts(t, id, twin.JobCounts{Queued: 1})
	}
	notes := func(want ...string) {
		t.Helper()
		var got []string
		for _, c := range w.told.take() {
			text := ""
			for _, e := range c.Pending {
				text += string(e.Job)
			}
			if c.NextIsNew {
				text += "!"
			}
			got = append(got, text)
		}
		if !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	until(t, "told of all", func() bool { w.told.mu.Lock(); defer w.told.mu.Unlock(); return len(w.told.all) == 3 })
	notes("a!", "ab", "abc")
	if o := w.update(name(0), "b", twin.JobStep{Status: twin.ExecutionInProgress}); o.err != nil {
		t.Fatal(o.err)
	}
	until(t, "told", func() bool { w.told.mu.Lock(); defer w.told.mu.Unlock(); return len(w.told.all) == 1 })
	notes("bac!")
	if o := w.start(name(0)); o.err != nil || o.Execution.Job != "b" {
		t.Fatalf("start: %v", o.err)
	}
	w.update(name(0), "b", twin.JobStep{Status: twin.ExecutionSucceeded})
	until(t, "told", func() bool { w.told.mu.Lock(); defer w.told.mu.Unlock(); return len(w.told.all) == 1 })
	notes("ac!")
	if o := w.start(name(0)); o.err != nil || o.Execution.Job != "a" {
		t.Fatalf("start: %v", o.err)
	}
	if got := w.Next(name(0)); got.Execution.Job != "a" {
		t.Errorf("next is %s", got.Execution.Job)
	}
	notes()
}

func TestService_waves(t *testing.T) {
	w := newWorld(t, 10, nil)
	w.create(t, twin.JobRequest{ID: "w", Things: names(10), Waves: []twin.JobWave{{Size: 1, Pause: 60_000}, {Percent: 35, Pause: 120_000}}})
	w.counts(t, "w", twin.JobCounts{Waiting: 9, Queued: 1})
	pass := func(d time.Duration) {
		w.clock.add(d)
		w.Connect(w.told) // it looks again
	}
	pass(59 * time.Second)
	w.start(name(0))
	w.counts(t, "w", twin.JobCounts{Waiting: 9, InProgress: 1})
	pass(2 * time.Second)
	w.counts(t, "w", twin.JobCounts{Waiting: 5, Queued: 4, InProgress: 1})
	// A paused job goes no further, whatever the time.
	if _, err := w.Pause(context.Background(), "w"); err != nil {
		t.Fatal(err)
	}
	pass(time.Hour)
	w.update(name(0), "w", twin.JobStep{Status: twin.ExecutionFailed})
	w.counts(t, "w", twin.JobCounts{Waiting: 5, Queued: 4, Failed: 1})
	// Nor does it after a restart, and then it goes on where it was.
	w.close()
	w.open(t, nil, nil)
	w.counts(t, "w", twin.JobCounts{Waiting: 5, Queued: 4, Failed: 1})
	w.state(t, "w", twin.JobPaused)
	if _, err := w.Resume(context.Background(), "w"); err != nil {
		t.Fatal(err)
	}
	w.counts(t, "w", twin.JobCounts{Waiting: 1, Queued: 8, Failed: 1}) // the last wave repeats
	pass(119 * time.Second)
	w.start(name(1))
	w.counts(t, "w", twin.JobCounts{Waiting: 1, Queued: 7, InProgress: 1, Failed: 1})
	pass(2 * time.Second)
	w.counts(t, "w", twin.JobCounts{Queued: 8, InProgress: 1, Failed: 1})
}

func TestService_rate(t *testing.T) {
	w := newWorld(t, 5, nil)
	w.create(t, twin.JobRequest{ID: "r", Things: names(5), Rate: 2})
	for i := range 5 {
		w.counts(t, "r", twin.JobCounts{Waiting: 4 - i, Queued: 1 + i})
		w.clock.add(27 * time.Second) // a second is made up for, so not 29
		w.Connect(w.told)
		w.start("nobody")
		w.counts(t, "r", twin.JobCounts{Waiting: 4 - i, Queued: 1 + i})
		w.clock.add(4 * time.Second)
		w.Connect(w.told)
	}
}

func TestService_timeouts(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create(t, twin.JobRequest{ID: "t", Things: names(3), Timeout: 10})
	w.counts(t, "t", twin.JobCounts{Queued: 3})
	w.clock.add(24 * time.Hour) // what is queued does not time out
	w.start(name(0))
	wait(func(done func(*twin.JobAnswer, error)) { w.StartNext(name(1), nil, 2, device(name(1)), done) })
	w.start(name(2))
	w.clock.add(2 * time.Minute)
	w.Connect(w.told)
	w.counts(t, "t", twin.JobCounts{InProgress: 2, TimedOut: 1})
	// The step timer, set anew, moves; the time of the job does not.
	w.update(name(2), "t", twin.JobStep{Status: twin.ExecutionInProgress, StepMinutes: 100})
	w.update(name(0), "t", twin.JobStep{Status: twin.ExecutionInProgress, StepMinutes: 1})
	w.update(name(0), "t", twin.JobStep{Status: twin.ExecutionInProgress, StepMinutes: -1})
	w.close() // the clock runs on while the server is down
	w.clock.add(8*time.Minute - time.Millisecond)
	w.open(t, nil, nil)
	w.counts(t, "t", twin.JobCounts{InProgress: 2, TimedOut: 1})
	w.clock.add(time.Millisecond)
	w.Connect(w.told)
	w.counts(t, "t", twin.JobCounts{TimedOut: 3})
	w.state(t, "t", twin.JobCompleted)
	if o := w.describe(name(1), "t"); o.Execution.Reason != "the step timer of the device ran out" {
		t.Errorf("reason %q", o.Execution.Reason)
	}
	if o := w.describe(name(0), "t"); o.Execution.Reason != "the time that the job gives was up" {
		t.Errorf("reason %q", o.Execution.Reason)
	}
}

func TestService_cancel(t *testing.T) {
	w := newWorld(t, 4, nil)
	w.create(t, twin.JobRequest{ID: "c", Things: names(4), Waves: []twin.JobWave{{Size: 3, Pause: 60_000}}})
	w.counts(t, "c", twin.JobCounts{Waiting: 1, Queued: 3})
	w.start(name(0))
	if _, err := w.Cancel(context.Background(), "c", false, "", "wrong firmware"); err != nil {
		t.Fatal(err)
	}
	w.counts(t, "c", twin.JobCounts{Waiting: 1, InProgress: 1, Canceled: 2})
	w.clock.add(time.Hour)
	w.close()
	w.open(t, nil, nil)
	w.counts(t, "c", twin.JobCounts{Waiting: 1, InProgress: 1, Canceled: 2})
	if o := w.start(name(1)); o.err != nil || o.Execution != nil {
		t.Errorf("a canceled execution is handed out: %+v, %v", o.Execution, o.err)
	}
	if _, err := w.Cancel(context.Background(), "c", true, "", "still wrong"); err != nil {
		t.Fatal(err)
	}
	w.counts(t, "c", twin.JobCounts{Waiting: 1, Canceled: 3})
	if _, err := w.Resume(context.Background(), "c"); twin.Kind(err) != twin.KindConflict {
		t.Errorf("resume after cancel: %v", err)
	}
	if o := w.update(name(0), "c", twin.JobStep{Status: twin.ExecutionSucceeded}); twin.Kind(o.err) != twin.KindConflict {
		t.Errorf("update after cancel: %v", o.err)
	}
}

func TestService_abort(t *testing.T) {
	w := newWorld(t, 10, nil)
	w.create(t, twin.JobRequest{
		ID: "x", Things: names(10), Waves: []twin.JobWave{{Size: 5, Pause: 60_000}},
		Aborts: []twin.JobAbort{{Failure: "rejected", Percent: 10, MinEnded: 1}, {Failure: "all", Percent: 50, MinEnded: 4}},
	})
	w.counts(t, "x", twin.JobCounts{Waiting: 5, Queued: 5})
	for i, s := range []twin.ExecutionStatus{twin.ExecutionFailed, twin.ExecutionFailed, twin.ExecutionSucceeded} {
		w.update(name(i), "x", twin.JobStep{Status: s}) // 2 of 3, but too few have ended
	}
	w.counts(t, "x", twin.JobCounts{Waiting: 5, Queued: 2, Failed: 2, Succeeded: 1})
	w.state(t, "x", twin.JobRunning)
	w.update(name(3), "x", twin.JobStep{Status: twin.ExecutionSucceeded})
	w.state(t, "x", twin.JobCanceled)
	w.counts(t, "x", twin.JobCounts{Waiting: 5, Failed: 2, Succeeded: 2, Canceled: 1})
	if r, _ := w.Job("x"); r.Code != "aborted" || !strings.Contains(r.Reason, "50% or more") {
		t.Errorf("code %q, reason %q", r.Code, r.Reason)
	}
}

// A device that has other firmware than the job names fails, whatever it says.
func TestService_hash(t *testing.T) {
	w := newWorld(t, 2, nil)
	a, _, err := w.PutArtifact(context.Background(), "fw", strings.NewReader("new firmware"), "", admin)
	if err != nil {
		t.Fatal(err)
	}
	sum := a.SHA256
	r := twin.JobRequest{ID: "h", Things: names(2), Document: []byte(`{"firmware":"${artifact:fw}"}`)}
	if err := w.Expand(&r, "http://h"); err != nil {
		t.Fatal(err)
	}
	w.create(t, r)
	w.counts(t, "h", twin.JobCounts{Queued: 2})
	o := w.update(name(0), "h", twin.JobStep{Status: twin.ExecutionSucceeded, Details: map[string]string{"sha256": strings.Repeat("cd", 32)}})
	if o.err != nil || o.Execution.Status != twin.ExecutionFailed || !strings.HasPrefix(o.Execution.Reason, "hash mismatch: the device has cdcd") {
		t.Errorf("another hash: %+v, %v", o.Execution, o.err)
	}
	o = w.update(name(1), "h", twin.JobStep{Status: twin.ExecutionSucceeded, Details: map[string]string{"sha256": strings.ToUpper(sum)}})
	if o.err != nil || o.Execution.Status != twin.ExecutionSucceeded {
		t.Errorf("the right hash: %+v, %v", o.Execution, o.err)
	}
}

func TestService_limits(t *testing.T) {
	w := newWorld(t, 2, func(o *job.Options) { o.JobsMax, o.PerThing = 3, 1 })
	w.create(t, twin.JobRequest{ID: "a", Things: names(1)})
	w.counts(t, "a", twin.JobCounts{Queued: 1})
	w.create(t, twin.JobRequest{ID: "b", Things: names(2)}) // the thing that is full does not hold up the other
	w.counts(t, "b", twin.JobCounts{Waiting: 1, Queued: 1})
	w.update(name(0), "a", twin.JobStep{Status: twin.ExecutionSucceeded})
	w.clock.add(time.Second)
	w.Connect(w.told)
	w.counts(t, "b", twin.JobCounts{Queued: 2})
	w.create(t, twin.JobRequest{ID: "c", Things: names(1)})
	_, err := w.Create(context.Background(), &twin.JobRequest{ID: "d", Things: names(1), Document: []byte("{}")}, admin)
	if twin.Kind(err) != twin.KindFull {
		t.Errorf("one job too many: %v", err)
	}
	_, err = w.Create(context.Background(), &twin.JobRequest{ID: "a", Things: names(1), Document: []byte("{}")}, admin)
	if twin.Kind(err) != twin.KindConflict {
		t.Errorf("an id again: %v", err)
	}
}
