package engine

import (
	"context"
	"time"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// committer writes for the shards it owns. One goroutine (run) owns the working
// state: it applies jobs to the next group, and settles the group that came back.
// A second one (commit) does nothing but wait for the store, so the next group
// grows while the last one syncs. At most one group is with the store at a time,
// so what follows can be thrown away whole when a commit comes back unknown.
//
//	queue ─▶ apply ─▶ next ─▶ commits ─▶ store.Commit ─▶ returned ─▶ settle ─▶ done, Deliver
//	           ▲                                                        │
//	           └──────────────────────── retry ◀────────────────────────┘
type committer struct {
	engine *Engine
	queue  *queue
	cache  *cache

	commits  chan *group
	returned chan *group
	finished chan struct{}

	next   *group // being filled
	flying *group // with the store, nil: none
	spare  *group // settled, its memory to be used again
	retry  []*job // to be applied before anything from the queue, in order
	taken  []*job // scratch
	load   loader // scratch

	scratch []byte      // for encoding
	paths   []expr.Path // for what an update touches

	alone   int           // so many jobs are each a group of their own
	backoff time.Duration // before the next attempt after an unknown outcome
}

// group is what one commit makes durable.
type group struct {
	jobs      []*job
	mutations []store.Mutation
	events    []byte // memory of the mutations' events
	bytes     int    // of events, documents and records

	outcomes []store.Outcome
	err      error
}

func (g *group) reset() {
	clear(g.jobs)
	clear(g.mutations)
	g.jobs, g.mutations, g.events = g.jobs[:0], g.mutations[:0], g.events[:0]
	g.outcomes, g.err, g.bytes = nil, nil, 0
}

const (
	// groupBytesMax is the size from which a group takes no more jobs. One fill may
	// exceed it by what the queue held; the store's own limit is far above.
	groupBytesMax = 16 << 20

	attemptsMax  = 8 // of one job, after conflicts or unknown outcomes
	backoffFirst = 20 * time.Millisecond
	backoffMax   = 500 * time.Millisecond
)

func newCommitter(e *Engine) *committer {
	return &committer{
		engine:   e,
		queue:    newQueue(e.opts.QueueLenMax),
		cache:    newCache(e.opts.CacheBytesMax / int64(e.opts.Committers)),
		commits:  make(chan *group),
		returned: make(chan *group, 1),
		finished: make(chan struct{}),
		next:     &group{},
	}
}

func (c *committer) run(ctx context.Context) {
	defer close(c.finished)
	defer close(c.commits)
	c.engine.running.Go(func() { c.commit(ctx) })
	for {
		c.fill()
		if c.flying == nil && len(c.next.jobs) > 0 {
			c.launch()
			continue
		}
		if c.flying == nil && c.queue.drained() {
			return
		}
		ready := c.queue.ready
		if c.room() <= 0 {
			ready = nil // the group is full: wait for the store
		}
		select {
		case <-ready:
		case g := <-c.returned:
			c.flying = nil
			c.settle(ctx, g)
			c.recycle(g)
		}
	}
}

// commit is the goroutine that waits for the store.
func (c *committer) commit(ctx context.Context) {
	for g := range c.commits {
		c.engine.failures.hit(beforeCommit)
		g.outcomes, g.err = c.engine.store.Commit(ctx, g.mutations)
		c.engine.failures.hit(afterCommit)
		c.returned <- g
	}
}

// fill applies what waits to the next group.
func (c *committer) fill() {
	room := c.room()
	if room <= 0 {
		return
	}
	n := min(room, len(c.retry))
	c.taken = append(c.taken[:0], c.retry[:n]...)
	c.retry = c.retry[n:]
	c.taken = c.queue.take(c.taken, room-n)
	if len(c.taken) == 0 {
		return
	}
	c.prefetch(c.taken)
	for _, j := range c.taken {
		c.apply(c.next, j)
	}
	clear(c.taken)
}

// room is how many more jobs the next group takes.
func (c *committer) room() int {
	switch {
	case c.alone > 0:
		return 1 - len(c.next.jobs)
	case c.next.bytes >= groupBytesMax:
		return 0
	}
	return c.engine.opts.GroupLenMax - len(c.next.jobs)
}

// launch hands the next group to the store. A group of rejections alone needs no
// commit.
func (c *committer) launch() {
	g := c.next
	c.alone = max(0, c.alone-1)
	c.next, c.spare = c.spare, nil
	if c.next == nil {
		c.next = &group{}
	}
	if len(g.mutations) == 0 {
		c.finish(g.jobs)
		c.recycle(g)
		return
	}
	c.flying = g
	c.commits <- g
}

func (c *committer) recycle(g *group) {
	g.reset()
	c.spare = g
	c.cache.shrink()
}

// finish makes the jobs' effects visible, then answers and delivers, in order.
func (c *committer) finish(jobs []*job) {
	c.cache.mu.Lock()
	for _, j := range jobs {
		if j.shadow != nil {
			j.shadow.durable = j.doc
			j.shadow.tree = nil // it holds on to the requests it was made of
		}
	}
	c.cache.mu.Unlock()
	for _, j := range jobs {
		if j.attributes != nil {
			c.engine.attributes.set(j.update.Key.Thing, j.attributes)
		}
		c.stepSettled(j)
		if j.intents != nil {
			c.engine.intents.set(j.update.Key, j.intents)
		}
		c.release(j)
		if o := j.original; o != nil {
			j.result = repeatOf(o.result)
		}
		if j.isUpdate() && j.result.Err != nil {
			c.note(j)
		}
		c.engine.tell(j)
		c.engine.failures.hit(beforeAnswer)
		j.answer()
		c.engine.failures.hit(afterAnswer)
		if j.outgoing != nil {
			j.outgoing.Deliver()
		}
		if j.note != nil {
			c.engine.appendQuietly(*j.note)
		}
	}
	if f := c.engine.opts.Committed; f != nil && len(jobs) > 0 {
		f()
	}
}

// note puts a rejection into the event log of its twin.
func (c *committer) note(j *job) {
	switch twin.Kind(j.result.Err) {
	case twin.KindInvalid, twin.KindConflict, twin.KindTooLarge, twin.KindEncoding:
		c.engine.Reject(j.update.Key, j.update.Origin, j.update.Request.ClientToken, j.result.Err)
	}
}

// release unpins the thing of a job.
func (c *committer) release(j *job) {
	if j.thing != nil {
		j.thing.pending--
	}
}

// fail answers jobs with an error.
func (c *committer) fail(jobs []*job, err error) {
	for _, j := range jobs {
		c.release(j)
		j.result = twin.Result{Err: err}
		j.answer()
	}
}
