package engine

import (
	"bytes"
	"context"
	"fmt"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// apply adds a job to a group: it works out the new shadow and its event from the
// working state, which the job then alters. Rejections wait in the group too,
// because they may rest on updates that are not durable yet.
func (c *committer) apply(g *group, j *job) {
	g.jobs = append(g.jobs, j)
	if j.result.Err != nil { // its state could not be read
		return
	}
	if !j.ofThing() && len(j.records) == 0 {
		return // a barrier: it is answered when all before it is
	}
	if !j.ofThing() {
		j.mutation = len(g.mutations)
		g.mutations = append(g.mutations, store.Mutation{Records: j.records})
		g.bytes += recordsBytes(j.records)
		return
	}
	c.pin(j)
	if j.step != nil {
		c.step(g, j)
		return
	}
	if j.mark != nil {
		c.mark(g, j)
		return
	}
	if j.entry != nil {
		c.append(g, j)
		c.derive(g, j)
		return
	}
	s := j.thing.find(j.update.Key.Shadow)
	if j.mirror != nil {
		c.mirror(g, j, s)
		c.derive(g, j)
		return
	}
	if c.repeated(g, j) {
		return
	}
	change, err := c.change(j, s)
	if err != nil {
		j.result.Err = err
		return
	}
	if err := c.admit(j, change); err != nil {
		j.result.Err = err
		return
	}
	c.record(g, j, s, change)
	c.follow(g, j, s, change)
	c.derive(g, j)
}

// admit asks the schema of the model whether the new state may be.
func (c *committer) admit(j *job, change *twin.Change) error {
	if j.update.Delete || j.update.Withdraw != nil || j.update.Key.Shadow != "" || j.thing.attributes.Model == "" {
		return nil
	}
	if m, _ := c.modelOf(j.thing); m != nil {
		return m.Admit(change.Current, change.Request)
	}
	return nil
}

// pin keeps the thing of a job in the cache until the job is answered.
func (c *committer) pin(j *job) {
	t := c.cache.things[j.update.Key.Thing]
	c.cache.use(t)
	t.pending++
	j.thing = t
}

// change applies the request to the working shadow.
func (c *committer) change(j *job, s *shadow) (*twin.Change, error) {
	if _, err := s.decoded(j.update.Key); err != nil {
		return nil, err
	}
	u := &j.update
	now := c.engine.commitTime()
	if u.Withdraw != nil {
		if err := withdrawal(u, s); err != nil {
			return nil, err
		}
	}
	if u.Delete {
		return twin.NewDelete(u.Key, s.tree, u.Request, now)
	}
	return twin.NewChange(u.Key, s.tree, u.Request, now, c.engine.opts.Limits)
}

// record turns an accepted change into a mutation and makes it the working state.
func (c *committer) record(g *group, j *job, s *shadow, change *twin.Change) {
	t := j.thing
	ev := twin.Event{
		Thing: t.name, Shadow: s.name, Seq: t.head.Seq + 1, Kind: change.Kind,
		Version: change.Current.Version, Time: change.Time,
		Origin: j.update.Origin, Patch: change.Patch(), Model: t.attributes.Model,
		Correlation: j.update.Request.ClientToken,
	}
	c.listen(j, s, change)
	m := c.keep(g, j, s, change, &ev)
	if j.update.IdempotencyKey != "" {
		w := c.remember(j, change)
		m.Records = append(m.Records, w)
		g.bytes += len(w.Key) + len(w.Value)
	}
}

// keep adds the mutation of a change with its event, and makes it the working state.
func (c *committer) keep(g *group, j *job, s *shadow, change *twin.Change, ev *twin.Event) *store.Mutation {
	c.scratch = change.Current.AppendBinary(c.scratch[:0])
	doc := bytes.Clone(c.scratch) // of its exact size: it stays in the cache
	day := ev.Time.Day()
	group := c.engine.opts.Groups[ev.Model]
	info := s.info
	info.Seq, info.SinceSnapshot = ev.Seq, s.info.SinceSnapshot+1
	if s.info.Seq == 0 || day != info.SnapshotDay || group != info.SnapshotGroup || info.SinceSnapshot >= snapshotEvery {
		ev.Snapshot = doc
		info.SinceSnapshot, info.SnapshotDay, info.SnapshotGroup = 0, day, group
	}
	c.compute(j, s, change, ev)
	m := c.link(g, j, ev)
	m.Shadow, m.Doc, m.Live, m.Info = s.name, doc, change.Current.Exists(), info
	if p := c.engine.opts.Publisher; p != nil {
		if j.outgoing = p.Stage(change); j.outgoing != nil {
			m.Records = j.outgoing.Records()
		}
	}
	g.bytes += len(m.Event) + len(doc) + recordsBytes(m.Records)
	j.shadow, j.doc = s, doc
	j.result = twin.Result{Change: change, Version: change.Version}
	c.cache.grow(j.thing, int64(len(doc)-len(s.doc)))
	s.doc, s.info, s.tree = doc, info, change.Current
	return m
}

// link adds the mutation of an event to a group and the event to its thing's chain.
func (c *committer) link(g *group, j *job, ev *twin.Event) *store.Mutation {
	t := j.thing
	start := len(g.events)
	g.events = ev.AppendBinary(g.events)
	event := g.events[start:len(g.events):len(g.events)]
	head := twin.Head{Seq: ev.Seq, Hash: t.head.Hash.Next(event), Time: ev.Time}
	j.mutation = len(g.mutations)
	kind := store.KindLog
	if ev.Kind.OfShadow() {
		kind = store.KindHistory
	}
	g.mutations = append(g.mutations, store.Mutation{
		Thing: t.name, Expect: t.head.Seq, Event: event, Head: head, Anchor: anchorBefore(t.head, head),
		Class: store.ClassOf(c.engine.opts.Groups[ev.Model], kind),
	})
	t.head = head
	return &g.mutations[j.mutation]
}

func recordsBytes(ws []twin.RecordWrite) int {
	n := 0
	for _, w := range ws {
		n += len(w.Key) + len(w.Value)
	}
	return n
}

// snapshotEvery is the most events of a shadow from one snapshot to the next.
const snapshotEvery = 256

// anchorBefore returns the head that closes a segment, zero if none closes: after
// every 256th event, and at the end of a day, so that whole days can expire.
func anchorBefore(before, after twin.Head) twin.Head {
	full := before.Seq%twin.SegmentEvents == 0
	dayEnds := before.Time.Day() != after.Time.Day()
	if before.Seq != 0 && (full || dayEnds) {
		return before
	}
	return twin.Head{}
}

// loader collects what a batch of jobs needs from the store, so that it is read in
// two calls.
type loader struct {
	things  []twin.ThingName
	shadows []twin.ShadowKey
}

func (l *loader) empty() bool { return len(l.things) == 0 && len(l.shadows) == 0 }

// prefetch reads the things and shadows of jobs that are not cached. If that fails
// each job is tried alone, so that a thing that cannot be read hurts nobody else.
func (c *committer) prefetch(jobs []*job) {
	c.collect(jobs...)
	if c.load.empty() || c.read() == nil {
		return
	}
	for _, j := range jobs {
		c.collect(j)
		if !c.load.empty() {
			j.result.Err = c.read()
		}
	}
}

// collect fills the loader with what jobs need and the cache does not have.
func (c *committer) collect(jobs ...*job) {
	c.load.things, c.load.shadows = c.load.things[:0], c.load.shadows[:0]
	for _, j := range jobs {
		if !j.ofThing() {
			continue
		}
		t := c.cache.things[j.update.Key.Thing]
		if t == nil {
			c.load.things = append(c.load.things, j.update.Key.Thing)
		}
		if c.wantsShadow(j) && (t == nil || t.find(j.update.Key.Shadow) == nil) {
			c.load.shadows = append(c.load.shadows, j.update.Key)
		}
	}
}

// wantsShadow reports whether a job needs the shadow of its key: of an entry the classic
// one, if a model is to see the new attributes or that the thing has come or gone.
func (c *committer) wantsShadow(j *job) bool {
	if j.entry == nil || c.engine.opts.Models == nil {
		return j.isUpdate() || j.step != nil || j.mark != nil
	}
	switch j.entry.Event.Kind {
	case twin.EventConnected, twin.EventDisconnected:
		m, _ := c.engine.opts.Models.Model(c.engine.attributes.of(j.update.Key.Thing).Model)
		return m != nil && m.ReadsBeside()
	}
	return j.entry.Attributes != nil
}

func (c *committer) read() error {
	ctx := context.Background() // a read is bounded by the store, and the answer is owed
	heads, err := c.engine.store.Heads(ctx, c.load.things)
	if err != nil {
		return fmt.Errorf("read heads: %w", err)
	}
	for i, name := range c.load.things {
		if c.cache.things[name] == nil { // may be listed twice
			c.cache.addThing(name, heads[i], c.engine.attributes.of(name)).memory = c.engine.memories.of(name)
		}
	}
	// A thing without events has no shadows either: nothing to read.
	unread := c.load.shadows[:0]
	for _, key := range c.load.shadows {
		t := c.cache.things[key.Thing]
		switch {
		case t.head.Seq != 0:
			unread = append(unread, key)
		case t.find(key.Shadow) == nil:
			c.cache.addShadow(t, key.Shadow, store.Shadow{}).intents = c.engine.intents.of(key)
		}
	}
	if len(unread) == 0 {
		return nil
	}
	shadows, err := c.engine.store.Shadows(ctx, unread)
	if err != nil {
		return fmt.Errorf("read shadows: %w", err)
	}
	for i, key := range unread {
		if t := c.cache.things[key.Thing]; t.find(key.Shadow) == nil {
			c.cache.addShadow(t, key.Shadow, shadows[i]).intents = c.engine.intents.of(key)
		}
	}
	return nil
}
