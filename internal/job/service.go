package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Engine is the write path and the durable reads of records.
type Engine interface {
	// Append queues an entry and never blocks; see [twin.Entry]. Unless it returns an
	// error, done is called exactly once, when the outcome is known.
	Append(en twin.Entry, done func(twin.EntryResult)) error
	WriteRecords(orderKey string, ws []twin.RecordWrite, done func(error)) error
	Records(ctx context.Context, kind twin.RecordKind, prefix, after string, limit int) ([]twin.Record, error)
}

// Notifier tells devices what has changed. It must not block and not call the service.
type Notifier interface{ JobsChanged(c *twin.JobChange) }

// Options tune a Service; the zero value works but for Now and Known.
type Options struct {
	Now   func() time.Time // the clock; nil is an error
	Speed float64          // of Now against the clock of the machine; 1
	// Known returns those of some things of which there is no twin; nil is an error.
	Known     func(context.Context, []twin.ThingName) (missing []twin.ThingName, err error)
	JobsMax   int // jobs that are kept, ended ones too; 1,000
	PerThing  int // executions of one thing that have not ended; 100
	OpenMax   int // of all things; 500,000
	StepsMax  int // steps of one thing that wait for each other; 64
	FlyingMax int // steps of ours under way for one job; 256
}

func (o Options) withDefaults() (Options, error) {
	if o.Now == nil || o.Known == nil {
		return o, errors.New("job options: Now or Known is not set")
	}
	setDefault(&o.JobsMax, 1000)
	setDefault(&o.PerThing, 100)
	setDefault(&o.OpenMax, 500_000)
	setDefault(&o.StepsMax, 64)
	setDefault(&o.FlyingMax, 256)
	return o, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Limits that are no options.
const (
	loadPage    = 1000
	lookupsMax  = 4096 // reads for devices that wait
	lookers     = 2
	retryAfter  = 200 * time.Millisecond // when a step of our own was not taken
	attemptsMax = 8                      // of reading back after a commit of unknown outcome
)

// Service brings jobs to things. Make one with [Open], run it with [Service.Run].
type Service struct {
	log    *slog.Logger
	engine Engine
	opts   Options

	notifier atomic.Pointer[notifierBox]
	lookups  chan func(context.Context)
	wake     chan struct{} // holds a token when there is something to do
	ops      chan struct{} // holds a token while somebody changes a job itself

	mu     sync.Mutex // a leaf: nothing is called under it but pure functions
	jobs   map[twin.JobID]*job
	things map[twin.ThingName]*thing
	open   int
	times  timeHeap
	// artifacts that are there, on their way in, or out.
	artifacts map[twin.ArtifactName]twin.Artifact
	again     []retry
	closed    bool // Run has ended
}

type notifierBox struct{ Notifier }

// job is a job with what is not in its record.
type job struct {
	twin.Job
	made   *twin.Job // as it was made or read; nobody writes to it
	counts twin.JobCounts
	open   map[twin.ThingName]*execution // executions that have not ended
	todo   []twin.ThingName              // that have not got it
	sweep  []twin.ThingName              // whose executions are to be canceled
	flying int                           // steps of ours under way
	newest twin.Time                     // when the newest execution was queued
	next   time.Time                     // with a rate: when the next may be
	abort  *twin.JobAbort                // a rule that is broken: the job is to be canceled
}

// thing is a thing with executions that have not ended, or with steps under way.
type thing struct {
	name    twin.ThingName
	queue   []*execution // those that are durable, in the order in which they were queued
	busy    bool         // a step is with the engine
	stalled bool         // see retry
	steps   []*step
}

// execution is one that has not ended.
type execution struct {
	twin.JobExecution
	job   *job
	thing *thing
	place int // in the heap, from 1; 0: not in it
}

// retry is a thing that stalls because a step of ours was not taken.
type retry struct {
	at time.Time
	t  *thing
}

// Open makes a service and reads the jobs and the executions that have not ended. Nothing
// runs before [Service.Run].
func Open(log *slog.Logger, e Engine, opts Options) (*Service, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{
		log: log, engine: e, opts: opts, jobs: make(map[twin.JobID]*job), things: make(map[twin.ThingName]*thing),
		lookups: make(chan func(context.Context), lookupsMax), wake: make(chan struct{}, 1), ops: make(chan struct{}, 1),
		artifacts: make(map[twin.ArtifactName]twin.Artifact),
	}
	if err := s.loadArtifacts(context.Background()); err != nil {
		return nil, err
	}
	if err := s.load(context.Background()); err != nil {
		return nil, err
	}
	return s, nil
}

// Connect gives the service what it tells devices by. Before, nothing is told.
func (s *Service) Connect(to Notifier) {
	s.notifier.Store(&notifierBox{to})
	s.wakeUp()
}

// load reads all jobs, and of those that can still change their executions.
func (s *Service) load(ctx context.Context) error {
	return s.scan(ctx, twin.RecordJob, "", func(r *twin.Record) error {
		d, err := twin.DecodeJob(r.Value)
		if err != nil {
			return err
		}
		j, err := s.loadJob(ctx, d)
		if err != nil {
			return fmt.Errorf("job %s: %w", d.ID, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.jobs[j.ID] = j
		return nil
	})
}

func newJob(d twin.Job) *job {
	return &job{Job: d, made: &d, open: make(map[twin.ThingName]*execution)}
}

// loadJob makes a job of its record and those of its executions: what is there is what
// has happened.
func (s *Service) loadJob(ctx context.Context, d twin.Job) (*job, error) {
	j := newJob(d)
	if d.Counts != nil {
		j.counts = *d.Counts
		return j, nil
	}
	have := make(map[twin.ThingName]bool)
	err := s.scan(ctx, twin.RecordExecution, twin.JobExecutionKeys(d.ID), func(r *twin.Record) error {
		e, err := twin.DecodeJobExecution(r.Value)
		if err != nil {
			return err
		}
		have[e.Thing] = true
		*j.counts.Of(e.Status)++
		j.newest = max(j.newest, e.Queued)
		if !e.Status.Final() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.enterLocked(j, s.thingLocked(e.Thing), &e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = s.scan(ctx, twin.RecordJobTargets, twin.JobExecutionKeys(d.ID), func(r *twin.Record) error {
		things, err := twin.DecodeJobTargets(r.Value)
		for _, name := range things {
			if !have[name] {
				j.todo = append(j.todo, name)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	j.counts.Waiting = len(j.todo)
	j.next = j.newest.Std()
	if j.Rate > 0 {
		j.next = j.next.Add(j.interval())
	}
	j.resumeSweep()
	if a := j.Exceeds(&j.counts); a != nil && !j.State.Final() && j.counts.Waiting+len(j.open) > 0 {
		j.abort = a
	}
	return j, nil
}

// resumeSweep notes the executions of a canceled job that are still to be canceled.
func (j *job) resumeSweep() {
	if j.State != twin.JobCanceled {
		return
	}
	for name, e := range j.open {
		if e.Status == twin.ExecutionQueued || j.Force {
			j.sweep = append(j.sweep, name)
		}
	}
}

// scan calls f for each record whose key begins so.
func (s *Service) scan(ctx context.Context, kind twin.RecordKind, prefix string, f func(*twin.Record) error) error {
	for after := ""; ; {
		page, err := s.engine.Records(ctx, kind, prefix, after, loadPage)
		if err != nil {
			return fmt.Errorf("read jobs: %w", err)
		}
		for i := range page {
			if err := f(&page[i]); err != nil {
				return fmt.Errorf("read record %q: %w", page[i].Key, err)
			}
			after = page[i].Key
		}
		if len(page) < loadPage {
			return nil
		}
	}
}

func (s *Service) thingLocked(name twin.ThingName) *thing {
	t := s.things[name]
	if t == nil {
		t = &thing{name: name}
		s.things[name] = t
	}
	return t
}

// tidyLocked forgets a thing of which there is nothing to know.
func (s *Service) tidyLocked(t *thing) {
	if len(t.queue) == 0 && len(t.steps) == 0 && !t.busy && !t.stalled && s.things[t.name] == t {
		delete(s.things, t.name)
	}
}

func (s *Service) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Service) now() twin.Time { return twin.TimeOf(s.opts.Now()) }
