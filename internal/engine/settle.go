package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// errUnknown is what a caller is told when nobody can say whether its update took
// effect: it has to ask again.
func errUnknown(cause error) error {
	return &twin.Error{
		Kind: twin.KindUnavailable, Message: "The outcome of the update is unknown",
		Hint: "read the shadow before repeating it", Err: cause,
	}
}

// settle decides the fate of each job of a group that came back from the store.
func (c *committer) settle(ctx context.Context, g *group) {
	switch {
	case g.err == nil:
		c.backoff = 0
		c.settleOutcomes(g)
	case refused(g.err):
		c.settleRefused(g)
	default:
		c.settleUnknown(ctx, g)
	}
}

// refused reports whether the store said that it wrote nothing.
func refused(err error) bool {
	k := twin.Kind(err)
	return k == twin.KindFull || k == twin.KindInvalid
}

// settleOutcomes finishes what was committed and applies again what met a
// conflict, with everything built on it.
func (c *committer) settleOutcomes(g *group) {
	stale := map[*thing]bool(nil)
	for _, j := range g.jobs {
		if j.mutation < 0 || g.outcomes[j.mutation] == store.Committed {
			continue
		}
		if j.thing == nil {
			j.result.Err = twin.NewError(twin.KindConflict, "A record was changed by somebody else")
			continue
		}
		if stale == nil {
			stale = make(map[*thing]bool)
		}
		stale[j.thing] = true
	}
	if stale == nil {
		c.finish(g.jobs)
		return
	}
	// The group being filled was applied to a state that is not true any more.
	next := c.unapplyNext()
	var done, again []*job
	for _, j := range g.jobs {
		conflict := j.mutation >= 0 && g.outcomes[j.mutation] == store.Conflict
		rejected := j.mutation < 0
		if stale[j.thing] && (conflict || rejected) {
			again = append(again, j)
		} else {
			done = append(done, j)
		}
	}
	c.finish(done)
	for t := range stale {
		c.cache.drop(t)
	}
	c.again(again, "conflict", nil)
	c.retry = append(c.retry, next...)
}

// settleRefused answers the updates of a group that the store did not take. What
// was rejected or repeated on top of them is decided anew. If the store found
// something wrong with one mutation the others must not suffer: each is tried
// alone.
func (c *committer) settleRefused(g *group) {
	next := c.unapplyNext()
	if twin.Kind(g.err) == twin.KindInvalid && len(g.mutations) > 1 {
		c.dropThings(g.jobs)
		c.alone = len(g.jobs)
		c.again(g.jobs, "refused", g.err)
		c.retry = append(c.retry, next...)
		return
	}
	var refusedJobs, again []*job
	for _, j := range g.jobs {
		if j.mutation >= 0 {
			refusedJobs = append(refusedJobs, j)
		} else {
			again = append(again, j)
		}
	}
	c.dropThings(g.jobs)
	c.fail(refusedJobs, g.err)
	c.unapply(again)
	c.retry = append(c.retry, append(again, next...)...)
}

// settleUnknown reads back what became of the group. What is there is answered;
// what is not is applied again; if the store cannot say, the callers are told so.
func (c *committer) settleUnknown(ctx context.Context, g *group) {
	next := c.unapplyNext()
	c.dropThings(g.jobs)
	committed, err := c.readBack(ctx, g)
	if err != nil {
		c.engine.log.LogAttrs(ctx, slog.LevelError, "outcome of a commit is unknown",
			slog.Int("updates", len(g.jobs)), slog.String("error", g.err.Error()))
		c.fail(g.jobs, errUnknown(g.err))
		c.retry = append(c.retry, next...)
		return
	}
	var done, again []*job
	for i, j := range g.jobs {
		if committed[i] {
			done = append(done, j)
		} else {
			again = append(again, j)
		}
	}
	c.finish(done)
	c.wait(ctx)
	c.again(again, "unknown outcome", g.err)
	c.retry = append(c.retry, next...)
}

// readBack finds which updates of a group with an unknown outcome are in the
// store. The chain proves it: a thing's head holds the hash of an event only if
// that event and all before it are there. Record writes without a twin are safe to
// repeat and so count as absent, rejections are decided anew.
func (c *committer) readBack(ctx context.Context, g *group) ([]bool, error) {
	select {
	case <-c.engine.store.Fenced():
		return nil, c.engine.store.Fault()
	default:
	}
	last := make(map[twin.ThingName]int) // job index of the newest event known to be there
	for _, j := range g.jobs {
		if j.chained() {
			last[j.thing.name] = -1
		}
	}
	names := make([]twin.ThingName, 0, len(last))
	for name := range last {
		names = append(names, name)
	}
	heads, err := c.engine.store.Heads(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("read back heads: %w", err)
	}
	byName := make(map[twin.ThingName]twin.Head, len(names))
	for i, name := range names {
		byName[name] = heads[i]
	}
	for i, j := range g.jobs {
		if !j.chained() {
			continue
		}
		there, err := c.isThere(ctx, j, &g.mutations[j.mutation], byName[j.thing.name])
		if err != nil {
			return nil, err
		}
		if there {
			last[j.thing.name] = i
		}
	}
	committed := make([]bool, len(g.jobs))
	for i, j := range g.jobs {
		if j.chained() {
			committed[i] = i <= last[j.thing.name]
		}
	}
	return committed, nil
}

// isThere reports whether the event of a mutation is in the store, given the
// thing's head.
func (c *committer) isThere(ctx context.Context, j *job, m *store.Mutation, head twin.Head) (bool, error) {
	if head.Seq < m.Head.Seq {
		return false, nil
	}
	if head.Seq == m.Head.Seq {
		return head.Hash == m.Head.Hash, nil
	}
	at := m.Head.Time
	events, err := c.engine.store.ThingEvents(ctx, store.ThingRange{
		Thing: j.thing.name, From: at, To: at + 1, After: m.Head.Seq - 1, Limit: 1,
	})
	if err != nil {
		return false, fmt.Errorf("read back event: %w", err)
	}
	return len(events) == 1 && string(events[0]) == string(m.Event), nil
}

// again queues jobs to be applied once more, before everything else; those that
// have been tried too often are answered.
func (c *committer) again(jobs []*job, why string, cause error) {
	c.unapply(jobs)
	for _, j := range jobs {
		j.attempts++
		if j.attempts >= attemptsMax {
			j.result.Err = errUnknown(errors.Join(fmt.Errorf("gave up after %d attempts: %s", j.attempts, why), cause))
			j.answer()
			continue
		}
		c.retry = append(c.retry, j)
	}
}

// unapplyNext takes the group being filled apart and returns its jobs. It must be
// called before the retry list grows.
func (c *committer) unapplyNext() []*job {
	jobs := append([]*job(nil), c.next.jobs...)
	jobs = append(jobs, c.retry...)
	c.retry = nil
	c.dropThings(c.next.jobs)
	c.unapply(c.next.jobs)
	c.next.reset()
	return jobs
}

// dropThings forgets the state of all things that jobs have touched.
func (c *committer) dropThings(jobs []*job) {
	for _, j := range jobs {
		if j.thing != nil {
			c.cache.drop(j.thing)
		}
	}
}

func (c *committer) unapply(jobs []*job) {
	for _, j := range jobs {
		c.release(j)
		j.reset()
	}
}

// wait pauses before the next attempt, twice as long each time.
func (c *committer) wait(ctx context.Context) {
	c.backoff = min(max(backoffFirst, 2*c.backoff), backoffMax)
	t := time.NewTimer(c.backoff)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
