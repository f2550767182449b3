// Package engine is the write path: the one way by which a twin changes.
//
// An update is queued at the committer that owns the shard of its thing. The
// committer takes what has queued, applies it in order to the cached shadows,
// commits the group once, and calls back when it is durable; the next group is
// prepared while the last one syncs. See [Engine.Submit] for what a caller may
// rely on, and committer.go for how.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Publisher turns accepted changes into messages. Stage is called by a committer
// before the commit, once per attempt; it must not block. nil means nobody wants
// to hear of the change.
type Publisher interface {
	Stage(c *twin.Change) twin.Outgoing
}

// Options tune an Engine; the zero value works.
type Options struct {
	Limits         twin.Limits      // of shadows
	Committers     int              // goroutines that commit; 2
	QueueLenMax    int              // jobs waiting per committer; 16384
	GroupLenMax    int              // jobs in one commit; 2048
	CacheBytesMax  int64            // memory of cached shadows; 64 MiB
	IdempotencyTTL time.Duration    // how long an Idempotency-Key is remembered; 24 h
	Now            func() time.Time // the clock; nil is an error
	Speed          float64          // of Now against the clock of the machine; 1
	Publisher      Publisher        // may be nil
	Models         Models           // may be nil
	// Beside fills in what is known of a thing beside its shadow: Telemetry, Connected and
	// LastSeen. It is called by committers for models that read that, and must not block.
	// May be nil.
	Beside func(in *expr.Inputs)
	// Intents: follow the life of what is asked of things; see package intent.
	Intents bool
	// Settled is called by a committer for each change and entry when it is durable and
	// before who asked for it is answered, in order for one thing. It must not block, nor
	// keep what it is given. May be nil.
	Settled func(*Settled)
	// Groups are the retention groups of models that have one.
	Groups map[string]store.Group
	// Committed is called after each group, when what it made is visible; it must
	// not block. May be nil.
	Committed func()
}

func (o Options) withDefaults() (Options, error) {
	if o.Now == nil {
		return o, errors.New("engine options: Now is not set")
	}
	setDefault(&o.Committers, 2)
	setDefault(&o.QueueLenMax, 16<<10)
	setDefault(&o.GroupLenMax, 2<<10)
	setDefault(&o.CacheBytesMax, 64<<20)
	setDefault(&o.IdempotencyTTL, 24*time.Hour)
	if o.Committers < 1 || o.Committers > twin.ShardCount {
		return o, fmt.Errorf("engine options: %d committers, want 1 to %d", o.Committers, twin.ShardCount)
	}
	return o, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Engine owns the write path.
type Engine struct {
	log        *slog.Logger
	store      store.Store
	opts       Options
	committers []*committer
	attributes attributeTable
	memories   memoryTable
	intents    *intentTable
	timers     *timers
	rejections rejections
	lastTime   atomic.Int64 // newest commit time given out

	stop     context.CancelFunc
	running  sync.WaitGroup
	failures failpoints // tests only
}

// Open starts an engine on a store. Close it before the store.
func Open(log *slog.Logger, s store.Store, opts Options) (*Engine, error) {
	return open(log, s, opts, failpoints{})
}

func open(log *slog.Logger, s store.Store, opts Options, fp failpoints) (*Engine, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{log: log, store: s, opts: opts, failures: fp, timers: newTimers(), intents: newIntentTable()}
	e.rejections.m = make(map[twin.ThingName]*rejected)
	if err := e.readLastTime(); err != nil {
		return nil, err
	}
	if err := e.loadAttributes(); err != nil {
		return nil, err
	}
	if err := e.loadMemories(); err != nil {
		return nil, err
	}
	if opts.Intents {
		if err := e.loadIntents(); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	for range opts.Committers {
		e.committers = append(e.committers, newCommitter(e))
	}
	for _, c := range e.committers {
		e.running.Go(func() { c.run(ctx) })
	}
	e.running.Go(func() { e.sweepIdempotency(ctx) })
	e.running.Go(func() { e.tendRejections(ctx) })
	if opts.Models != nil {
		e.running.Go(func() { e.runTimers(ctx) })
	}
	if opts.Intents {
		e.running.Go(func() { e.runExpiry(ctx) })
	}
	return e, nil
}

// readLastTime finds the newest commit time in the log, so that time goes on from
// there even if the clock was set back while the server was down. Committers
// interleave, so the last few groups are looked at.
func (e *Engine) readLastTime() error {
	ctx := context.Background()
	head, err := e.store.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the head of the log: %w", err)
	}
	back := store.Pos(2 * e.opts.GroupLenMax * e.opts.Committers)
	after := head - min(head, back)
	entries, err := e.store.Feed(ctx, after, int(back))
	if err != nil {
		return fmt.Errorf("read the end of the log: %w", err)
	}
	for _, entry := range entries {
		ev, err := twin.DecodeEvent(entry.Event)
		if err != nil {
			return fmt.Errorf("read the end of the log at %d: %w", entry.Pos, err)
		}
		if int64(ev.Time) > e.lastTime.Load() {
			e.lastTime.Store(int64(ev.Time))
		}
	}
	return nil
}

// commitTime returns the clock's time, or the newest time given out before if the
// clock stepped back.
func (e *Engine) commitTime() twin.Time {
	now := int64(twin.TimeOf(e.opts.Now()))
	for {
		last := e.lastTime.Load()
		if now <= last {
			return twin.Time(last)
		}
		if e.lastTime.CompareAndSwap(last, now) {
			return twin.Time(now)
		}
	}
}

// Submit queues an update. It never blocks: a full queue is an error of kind
// KindFull and done is not called. Otherwise done is called exactly once, by a
// committer, in version order within a shadow, after the change is durable and
// before its messages are delivered; it must not block.
func (e *Engine) Submit(u twin.Update, done func(twin.Result)) error {
	if err := checkKey(u.Key); err != nil {
		return err
	}
	j := &job{update: u, done: done, mutation: -1}
	return e.committer(u.Key.Thing.Shard()).queue.put(j)
}

func checkKey(key twin.ShadowKey) error {
	if !key.Thing.Valid() {
		return twin.NewError(twin.KindInvalid, fmt.Sprintf("Invalid thing name: %q", key.Thing))
	}
	if key.Shadow != "" && !key.Shadow.Valid() {
		return twin.NewError(twin.KindInvalid, fmt.Sprintf("Invalid shadow name: %q", key.Shadow))
	}
	return nil
}

// WriteRecords queues record writes that belong to no twin (a retained message, a
// session). Writes with the same orderKey are committed in the order of the
// calls, and after the updates of the thing of that name that were queued before.
// Without any write it is a barrier: done is called when those are settled. done is called as for Submit; a conflict is an error of kind
// KindConflict.
func (e *Engine) WriteRecords(orderKey string, ws []twin.RecordWrite, done func(error)) error {
	j := &job{records: ws, recordsDone: done, mutation: -1}
	return e.committer(twin.ShardOf(orderKey)).queue.put(j)
}

func (e *Engine) committer(s twin.Shard) *committer {
	return e.committers[int(s)%len(e.committers)]
}

// Now returns the time of an answer: the clock, never before the newest commit.
func (e *Engine) Now() twin.Time {
	return max(twin.TimeOf(e.opts.Now()), twin.Time(e.lastTime.Load()))
}

// Limits returns the limits of shadows that it was opened with.
func (e *Engine) Limits() twin.Limits { return e.opts.Limits }

// Close answers what is queued, waits for the committers, and returns. It may be
// called twice.
func (e *Engine) Close() error {
	e.flushRejections(true)
	for _, c := range e.committers {
		c.queue.close()
	}
	for _, c := range e.committers {
		<-c.finished
	}
	e.stop()
	e.running.Wait()
	return nil
}
