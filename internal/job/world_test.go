package job_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/job"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

const patience = 10 * time.Second

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// told keeps what devices were told.
type told struct {
	mu  sync.Mutex
	all []twin.JobChange
}

// JobsChanged implements [job.Notifier].
func (n *told) JobsChanged(c *twin.JobChange) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, *c)
}

func (n *told) take() []twin.JobChange {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.all
	n.all = nil
	return all
}

// world is a service on an engine and a store.
type world struct {
	*job.Service
	engine *engine.Engine
	store  store.Store
	clock  *clock
	told   *told
	close  func()
}

func newWorld(t *testing.T, things int, change func(*job.Options)) *world {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	w := &world{store: store.NewMemory(), clock: newClock(), told: &told{}}
	w.open(t, nil, change)
	for i := range things {
		w.twin(t, name(i))
	}
	return w
}

func name(i int) twin.ThingName { return twin.ThingName(fmt.Sprintf("pump-%d", i)) }

func names(n int) []twin.ThingName {
	all := make([]twin.ThingName, n)
	for i := range all {
		all[i] = name(i)
	}
	return all
}

// open starts engine and service on the store; wrap may stand between them.
func (w *world) open(t *testing.T, wrap func(*engine.Engine) job.Engine, change func(*job.Options)) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	e, err := engine.Open(log, w.store, engine.Options{Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	w.engine = e
	opts := job.Options{Now: w.clock.Now, Known: w.missing}
	if change != nil {
		change(&opts)
	}
	var to job.Engine = e
	if wrap != nil {
		to = wrap(e)
	}
	s, err := job.Open(log, to, opts)
	if err != nil {
		t.Fatal(err)
	}
	w.Service = s
	s.Connect(w.told)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	var once sync.Once
	w.close = func() {
		once.Do(func() {
			stop()
			running.Wait()
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(w.close)
}

func (w *world) missing(ctx context.Context, things []twin.ThingName) (missing []twin.ThingName, err error) {
	heads, err := w.store.Heads(ctx, things)
	for i := range heads {
		if heads[i].Seq == 0 {
			missing = append(missing, things[i])
		}
	}
	return missing, err
}

func (w *world) twin(t *testing.T, thing twin.ThingName) {
	t.Helper()
	done := make(chan twin.EntryResult, 1)
	en := twin.Entry{Event: twin.Event{Thing: thing, Kind: twin.EventManaged, Type: "created"}}
	if err := w.engine.Append(en, func(r twin.EntryResult) { done <- r }); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.Err != nil {
		t.Fatal(r.Err)
	}
}

var admin = twin.Origin{Door: twin.DoorREST, Session: "127.0.0.1"}

func (w *world) create(t *testing.T, r twin.JobRequest) {
	t.Helper()
	if r.Document == nil {
		r.Document = []byte(`{"operation":"update","version":"2.1.0"}`)
	}
	if _, err := w.Create(context.Background(), &r, admin); err != nil {
		t.Fatalf("create %s: %v", r.ID, err)
	}
}

type outcome struct {
	*twin.JobAnswer
	err error
}

func wait(start func(done func(*twin.JobAnswer, error))) outcome {
	got := make(chan outcome, 1)
	start(func(a *twin.JobAnswer, err error) { got <- outcome{a, err} })
	select {
	case o := <-got:
		return o
	case <-time.After(patience):
		return outcome{err: fmt.Errorf("no answer after %s", patience)}
	}
}

func device(thing twin.ThingName) twin.Origin {
	return twin.Origin{Door: twin.DoorMQTT, Session: string(thing)}
}

func (w *world) start(thing twin.ThingName) outcome {
	return wait(func(done func(*twin.JobAnswer, error)) { w.StartNext(thing, nil, 0, device(thing), done) })
}

func (w *world) update(thing twin.ThingName, id twin.JobID, s twin.JobStep) outcome {
	return wait(func(done func(*twin.JobAnswer, error)) { w.Update(thing, id, s, device(thing), done) })
}

func (w *world) describe(thing twin.ThingName, id twin.JobID) outcome {
	return wait(func(done func(*twin.JobAnswer, error)) { w.Describe(thing, id, done) })
}

// until waits until something is so; the clock stands still meanwhile.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !so(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not after %s: %s", patience, what)
		}
	}
}

// counts waits until a job counts so.
func (w *world) counts(t *testing.T, id twin.JobID, want twin.JobCounts) {
	t.Helper()
	var got twin.JobCounts
	defer func() {
		if t.Failed() {
			t.Logf("counts of %s: %+v, want %+v", id, got, want)
		}
	}()
	until(t, "counts", func() bool {
		r, _ := w.Job(id)
		got = r.Counts
		return got == want
	})
}

func (w *world) state(t *testing.T, id twin.JobID, want twin.JobState) {
	t.Helper()
	until(t, "state "+string(want), func() bool {
		r, _ := w.Job(id)
		return r.State == want
	})
}

// steps returns the types of the job events of a thing, by job.
func steps(t *testing.T, s store.Store, thing twin.ThingName) map[string][]string {
	t.Helper()
	raw, err := s.ThingEvents(context.Background(), store.ThingRange{Thing: thing, Limit: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, b := range raw {
		ev, err := twin.DecodeEvent(b)
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == twin.EventJob {
			all[ev.Correlation] = append(all[ev.Correlation], ev.Type)
		}
	}
	return all
}
