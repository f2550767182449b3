package proof

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Verify checks the chain of every thing. What is wrong with the data is in the
// report; an error means that the run could not be finished. Commits may go on
// meanwhile: it checks what was there when it came by.
func Verify(ctx context.Context, src Source, opts Options) (Report, error) {
	return run(ctx, src, opts, func(ctx context.Context, r *runner, t thing) (Report, error) {
		c := chain{src: src, opts: &r.opts, tell: r.tell, name: t.name, head: t.head}
		return c.check(ctx)
	})
}

// thing is one to be looked at.
type thing struct {
	name twin.ThingName
	head twin.Head
}

// runner looks at things side by side: one goroutine lists them, the others take
// them in batches.
type runner struct {
	opts  Options
	start time.Time

	things, events atomic.Uint64

	mu     sync.Mutex
	told   time.Time
	report Report
}

type inspector func(ctx context.Context, r *runner, t thing) (Report, error)

func run(ctx context.Context, src Source, opts Options, look inspector) (Report, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return Report{}, err
	}
	r := &runner{opts: opts}
	if opts.Now != nil {
		r.start = opts.Now()
		r.told = r.start
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	batches := make(chan []thing)
	var workers sync.WaitGroup
	workers.Go(func() {
		defer close(batches)
		if err := r.list(ctx, src, batches); err != nil {
			cancel(err)
		}
	})
	for range opts.Workers {
		workers.Go(func() {
			for batch := range batches {
				if err := r.batch(ctx, batch, look); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	r.report.sort()
	if ctx.Err() != nil {
		return r.report, fmt.Errorf("check: %w", context.Cause(ctx))
	}
	r.tell(0, true)
	return r.report, nil
}

// list hands out all things that have events.
func (r *runner) list(ctx context.Context, src Source, batches chan<- []thing) error {
	var after twin.ThingName
	for {
		names := []twin.ThingName{r.opts.Thing}
		if r.opts.Thing == "" {
			var err error
			if names, err = src.LoggedThings(ctx, after, batchThings); err != nil {
				return fmt.Errorf("list things after %q: %w", after, err)
			}
		}
		if len(names) == 0 {
			return nil
		}
		batch, err := r.heads(ctx, src, names)
		if err != nil {
			return err
		}
		select {
		case batches <- batch:
		case <-ctx.Done():
			return nil
		}
		if after = names[len(names)-1]; r.opts.Thing != "" {
			return nil
		}
	}
}

// heads reads the heads of things; a head that cannot be read is a finding and hides
// no other.
func (r *runner) heads(ctx context.Context, src Source, names []twin.ThingName) ([]thing, error) {
	if r.opts.Thing != "" && !r.opts.Thing.Valid() {
		return nil, twin.NewError(twin.KindInvalid, fmt.Sprintf("%.140q is no thing name", string(r.opts.Thing)))
	}
	heads, err := src.Heads(ctx, names)
	batch := make([]thing, 0, len(names))
	for i, name := range names {
		var head twin.Head
		if err == nil {
			head = heads[i]
		} else { // one that cannot be read must not hide the others
			one, oneErr := src.Heads(ctx, []twin.ThingName{name})
			if oneErr != nil && ctx.Err() != nil {
				return nil, oneErr
			}
			if oneErr != nil {
				r.merge(&Report{Things: 1, Findings: []Finding{{Fault: FaultUnreadable, Thing: name, Detail: "its head", Err: oneErr}}})
				continue
			}
			head = one[0]
		}
		if r.opts.Thing != "" && head.Seq == 0 {
			return nil, twin.NewError(twin.KindNotFound, fmt.Sprintf("thing %s has no events", name))
		}
		batch = append(batch, thing{name, head})
	}
	return batch, nil
}

func (r *runner) batch(ctx context.Context, batch []thing, look inspector) error {
	for _, t := range batch {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the caller looks at ctx itself
		}
		rep, err := look(ctx, r, t)
		if err != nil {
			return fmt.Errorf("thing %s: %w", t.name, err)
		}
		rep.Things = 1
		r.things.Add(1)
		r.merge(&rep)
	}
	return nil
}

func (r *runner) merge(rep *Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.merge(rep)
}

// tell counts events and reports progress when it is time.
func (r *runner) tell(events int, last bool) {
	r.events.Add(uint64(events))
	if r.opts.Progress == nil {
		return
	}
	now := r.opts.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !last && now.Sub(r.told) < r.opts.ProgressEvery {
		return
	}
	r.told = now
	r.opts.Progress(Progress{Things: r.things.Load(), Events: r.events.Load(), Elapsed: now.Sub(r.start)})
}
