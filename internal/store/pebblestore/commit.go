package pebblestore

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// commit is one call of [Store.Commit] on its way through the stages.
type commit struct {
	ms       []store.Mutation
	claimed  atomic.Bool   // by the apply goroutine, which will read ms, or by the caller, who gave up
	built    chan struct{} // closed when ms is read no more
	done     chan struct{} // closed when outcomes and err are final
	outcomes []store.Outcome
	err      error

	batch *pebble.Batch
	last  store.Pos // of the newest mutation in the batch
}

func (c *commit) finish(err error) {
	c.err = err
	close(c.done)
}

// Commit implements [store.Writer].
func (s *Store) Commit(ctx context.Context, ms []store.Mutation) ([]store.Outcome, error) {
	if err := store.Check(ms); err != nil {
		return nil, err
	}
	if err := s.fence.fault(); err != nil {
		return nil, err
	}
	if err := s.space.check(); err != nil {
		return nil, err
	}
	if len(ms) == 0 {
		return nil, nil
	}
	c := &commit{ms: ms, built: make(chan struct{}), done: make(chan struct{})}
	select {
	case s.applyQueue <- c:
	case <-s.fence.ch:
		return nil, s.fence.fault()
	case <-s.quit:
		return nil, errClosed()
	case <-ctx.Done():
		return nil, errGaveUp(ctx)
	}
	select {
	case <-c.done:
		return c.outcomes, c.err
	case <-s.fence.ch:
		return s.leave(c, s.fence.fault())
	case <-s.stopped: // queued when the store was just closed
		return s.leave(c, errClosed())
	case <-ctx.Done():
		return s.leave(c, errGaveUp(ctx))
	}
}

// leave gives up waiting for a commit, without taking back the memory of its
// mutations while they are read.
func (s *Store) leave(c *commit, err error) ([]store.Outcome, error) {
	if !c.claimed.CompareAndSwap(false, true) {
		<-c.built
	}
	select {
	case <-c.done: // it was decided meanwhile
		return c.outcomes, c.err
	default:
		return nil, err
	}
}

// apply is the first stage.
func (s *Store) apply() {
	defer close(s.syncQueue)
	for {
		select {
		case c := <-s.applyQueue:
			s.applyOne(c)
			continue
		default:
		}
		select {
		case c := <-s.applyQueue:
			s.applyOne(c)
		case <-s.quit:
			if len(s.applyQueue) == 0 {
				return
			}
		case <-s.fence.ch:
			return
		}
	}
}

func (s *Store) applyOne(c *commit) {
	if !c.claimed.CompareAndSwap(false, true) {
		return
	}
	if err := s.fence.fault(); err != nil {
		close(c.built)
		c.finish(err)
		return
	}
	err := s.build.run(c)
	close(c.built)
	if err != nil || c.batch == nil {
		c.finish(err)
		return
	}
	if s.opts.NoSync {
		err = s.db.Apply(c.batch, pebble.NoSync)
	} else {
		err = s.db.ApplyNoSyncWait(c.batch, pebble.Sync)
	}
	if err != nil {
		// The counters have moved past what is in the log: nothing may follow.
		s.fence.trip(fmt.Errorf("write a commit to the log: %w", err))
		c.finish(s.fence.fault())
		return
	}
	select {
	case s.syncQueue <- c:
	case <-s.fence.ch:
	}
}

// sync is the second stage. Commits come in the order of their positions, and
// the log is synced in that order.
func (s *Store) sync() {
	defer close(s.stopped)
	for c := range s.syncQueue {
		if !s.opts.NoSync {
			if err := c.batch.SyncWait(); err != nil {
				s.fence.trip(fmt.Errorf("sync the log: %w", err))
				c.finish(s.fence.fault())
				return
			}
		}
		s.durable.advance(c.last)
		c.finish(nil)
		// An error here would be about the batch's memory.
		_ = c.batch.Close()
	}
}

type recordKey struct {
	kind twin.RecordKind
	key  string
}

// lastOf is the last mutation of a thing in a commit, and the thing after it.
type lastOf struct {
	mutation int
	head     headState
}

type recordState struct {
	revision twin.Revision
	ok       bool
}

// builder turns commits into batches. Only the apply goroutine uses it.
type builder struct {
	db      *pebble.DB
	deletes *[256]atomic.Uint64 // see Store.deletes
	days    *days
	count   counters
	saved   store.Pos // of the newest stored counters
	heads   heads
	get     getter // for the commit at hand

	// What the mutations of the commit at hand do, for those after them.
	things  map[twin.ThingName]lastOf
	shadows map[twin.ShadowKey]int // the last mutation of the shadow
	records map[recordKey]recordState
	// Things with a conflict: later mutations of theirs were built on it.
	conflicted map[twin.ThingName]bool

	log        logGroup
	key, value []byte // reused
	pack       packer
}

// countersEvery is how many positions apart the counters are stored; at most so
// many log entries and one commit are read at [Open].
const countersEvery = 4096

// run checks c and builds its batch, which stays nil when all of it conflicts.
// After an error nothing has changed.
func (b *builder) run(c *commit) error {
	clear(b.things)
	clear(b.shadows)
	clear(b.records)
	clear(b.conflicted)
	b.get = getter{db: b.db}
	defer b.get.close()
	c.outcomes = make([]store.Outcome, len(c.ms))
	pos, size := b.count.pos, 0
	for i := range c.ms {
		m := &c.ms[i]
		if m.Thing != "" && b.conflicted[m.Thing] {
			continue
		}
		head, ok, err := b.expected(m)
		if err != nil {
			return err
		}
		if !ok {
			if m.Thing != "" {
				b.conflicted[m.Thing] = true
			}
			continue
		}
		pos++
		c.outcomes[i] = store.Committed
		b.note(i, m, head, pos)
		size += len(m.Event) + len(m.Doc) + 256
	}
	if pos == b.count.pos {
		return nil
	}
	c.batch = b.db.NewBatchWithSize(size)
	c.last = pos
	for i := range c.ms {
		if c.outcomes[i] == store.Committed {
			b.write(c.batch, i, &c.ms[i])
		}
	}
	b.endLog(c.batch)
	b.writeCounters(c.batch)
	return nil
}

// expected reports whether all that m expects is so, and the thing before it.
func (b *builder) expected(m *store.Mutation) (head headState, ok bool, err error) {
	if m.Thing != "" {
		if head, err = b.head(m.Thing); err != nil {
			return head, false, err
		}
		if head.seq != m.Expect {
			return head, false, nil
		}
	}
	for i := range m.Records {
		w := &m.Records[i]
		if w.Expect == twin.RevisionAny {
			continue
		}
		r, err := b.record(w)
		if err != nil {
			return head, false, err
		}
		if !store.Expected(w.Expect, r.revision, r.ok) {
			return head, false, nil
		}
	}
	return head, true, nil
}

// head returns where a thing stands, in this commit, in memory or on disk.
func (b *builder) head(thing twin.ThingName) (headState, error) {
	if last, ok := b.things[thing]; ok {
		return last.head, nil
	}
	if h, ok := b.heads.load(thing); ok {
		return h, nil
	}
	b.key = appendHeadKey(b.key[:0], thing)
	var h twin.Head
	var groups store.Groups
	_, err := b.get.get(b.key, func(value []byte) (err error) {
		_, h, groups, err = parseHeadGroups(value, thing)
		return err
	})
	if err != nil {
		return headState{}, fmt.Errorf("head of thing %s: %w", thing, err)
	}
	state := headState{seq: h.Seq, day: h.Time.Day()}
	if groups != nil {
		state.groups = &groups
	}
	b.heads.store(thing, state)
	return state, nil
}

func (b *builder) record(w *twin.RecordWrite) (recordState, error) {
	if r, ok := b.records[recordKey{w.Kind, w.Key}]; ok {
		return r, nil
	}
	b.key = appendRecordKey(b.key[:0], w.Kind, w.Key)
	var r recordState
	_, err := b.get.get(b.key, func(value []byte) error {
		f := fields{b: value}
		r = recordState{twin.Revision(f.uvarint()), true}
		if f.bad {
			return errDamaged("its revision")
		}
		return nil
	})
	if err != nil {
		return recordState{}, fmt.Errorf("record of kind %d: %w", w.Kind, err)
	}
	return r, nil
}

// note keeps what mutation i does to a thing, for the mutations after it.
func (b *builder) note(i int, m *store.Mutation, before headState, pos store.Pos) {
	if m.Thing != "" {
		b.things[m.Thing] = lastOf{i, before.after(m)}
		if m.Doc != nil {
			b.shadows[twin.ShadowKey{Thing: m.Thing, Shadow: m.Shadow}] = i
		}
	}
	for _, w := range m.Records {
		b.records[recordKey{w.Kind, w.Key}] = recordState{twin.Revision(pos), w.Value != nil}
	}
}

// write gives mutation i its position and puts it into the batch. The head of a
// thing and a shadow are written once, with the last mutation of theirs.
func (b *builder) write(batch *pebble.Batch, i int, m *store.Mutation) {
	b.count.pos++
	pos := b.count.pos
	if m.Thing == "" {
		b.writeLog(batch, &logEntry{mark: true})
	} else {
		b.writeEvent(batch, m)
		if last := b.things[m.Thing]; last.mutation == i {
			b.key = appendHeadKey(b.key[:0], m.Thing)
			b.value = appendGroups(appendHead(b.value[:0], pos, m.Head), last.head.list())
			b.set(batch)
			b.heads.store(m.Thing, last.head)
		}
		key := twin.ShadowKey{Thing: m.Thing, Shadow: m.Shadow}
		if m.Doc != nil && b.shadows[key] == i {
			b.key = appendShadowKey(b.key[:0], key)
			b.value = appendShadow(b.value[:0], pos, m)
			b.set(batch)
		}
		if m.Anchor.Seq != 0 {
			b.key = appendAnchorKey(b.key[:0], m.Thing, m.Anchor.Seq)
			b.value = appendHead(b.value[:0], pos, m.Anchor)
			b.set(batch)
		}
	}
	for _, w := range m.Records {
		b.key = appendRecordKey(b.key[:0], w.Kind, w.Key)
		if w.Value == nil {
			b.deletes[w.Kind].Store(uint64(pos))
			must(batch.Delete(b.key, nil))
			continue
		}
		b.value = appendRecord(b.value[:0], pos, w.Value)
		b.set(batch)
	}
}

// writeEvent puts the event into the log and the history.
func (b *builder) writeEvent(batch *pebble.Batch, m *store.Mutation) {
	day := m.Head.Time.Day()
	// The log is in the order of positions, so its day never steps back, although
	// the clocks of two shards may differ at midnight.
	b.count.day = max(b.count.day, day)
	e := logEntry{class: m.Class, day: day, key: twin.ShadowKey{Thing: m.Thing, Shadow: m.Shadow}, seq: m.Head.Seq}
	b.writeLog(batch, &e)
	b.key = appendHistoryKey(b.key[:0], e.class, day, e.key, e.seq)
	b.value = b.pack.append(b.value[:0], e.key, e.seq, day, m.Event)
	b.set(batch)
}

// writeLog gives the newest position its entry in the log.
func (b *builder) writeLog(batch *pebble.Batch, e *logEntry) {
	if b.log.count == logEntriesMax || b.log.day != b.count.day {
		b.endLog(batch)
	}
	if b.log.count == 0 {
		b.log.reset(b.count.day, b.count.pos)
		b.days.note(b.count.day, b.count.pos)
	}
	b.log.add(e)
}

// endLog writes the entries that are gathered.
func (b *builder) endLog(batch *pebble.Batch) {
	if b.log.count == 0 {
		return
	}
	b.key = appendLogKey(b.key[:0], b.log.day, b.log.first)
	b.value = b.log.append(b.value[:0])
	b.set(batch)
	b.log.count = 0
}

// writeCounters ends a batch, now and then with the counters.
func (b *builder) writeCounters(batch *pebble.Batch) {
	if b.count.pos-b.saved < countersEvery {
		return
	}
	b.key = append(b.key[:0], keyCounter)
	b.value = b.count.append(b.value[:0])
	b.set(batch)
	b.saved = b.count.pos
}

func (b *builder) set(batch *pebble.Batch) { must(batch.Set(b.key, b.value, nil)) }

// must is for operations on a batch in memory, which fail only if it is misused.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
