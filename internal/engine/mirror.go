package engine

import (
	"context"
	"fmt"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// A shadow that lives in the cloud is mirrored from the documents that the cloud publishes
// after each update. The rule that places a document is [twin.MirrorHead.Judge]. What
// is here makes it one commit: the events, the shadow, and two small records that say
// which versions are known, so that a document has one effect however often and
// however late it comes.

// Mirror queues a document of a shadow that lives in the cloud. It behaves as [Engine.Submit]
// does. The same version with another content is an error of kind KindConflict.
func (e *Engine) Mirror(r twin.MirrorRequest, done func(twin.MirrorResult)) error {
	if err := checkKey(r.Key); err != nil {
		return err
	}
	d := r.Document
	j := &job{mirror: &mirrorJob{document: d}, mutation: -1}
	j.update = twin.Update{Key: r.Key, Request: d.Request(), Origin: twin.Origin{Door: twin.DoorCloud, Session: r.Caller}}
	j.done = func(res twin.Result) {
		done(twin.MirrorResult{Outcome: j.mirror.outcome, Version: d.Current.Version, Err: res.Err})
	}
	return e.committer(r.Key.Thing.Shard()).queue.put(j)
}

type mirrorJob struct {
	document *twin.MirrorDocument
	outcome  twin.MirrorOutcome
}

// mirrored is what the committer knows of a mirrored shadow, working like the shadow's
// document: it runs ahead of what is durable.
type mirrored struct {
	head   twin.MirrorHead
	blocks map[string]*twin.MirrorBlock // by their record's key
	// fresh holds the states of versions whose events may not be durable yet.
	fresh map[mirrorVersion]*twin.Shadow
}

type mirrorVersion struct {
	life    uint64
	version twin.Version
}

const (
	// mirrorBytes is about what a mirrored shadow takes in the cache.
	mirrorBytes = 6 << 10
	// mirrorBlocksKept is how many blocks stay in the cache when nothing is in flight.
	mirrorBlocksKept = 4
	// mirrorNear is how many blocks are looked through on either side of a late version
	// for its neighbours.
	mirrorNear = 64
	// mirrorSwept is how many records of versions too old to be told apart are deleted
	// when a block is begun.
	mirrorSwept = 64
)

// mirror applies a document.
func (c *committer) mirror(g *group, j *job, s *shadow) {
	j.mirror.outcome = 0
	if err := c.place(g, j, s); err != nil {
		j.result.Err = err
	}
}

// place finds out what a document is, and only then writes.
func (c *committer) place(g *group, j *job, s *shadow) error {
	d, key := j.mirror.document, j.update.Key
	local, err := s.decoded(key)
	if err != nil {
		return err
	}
	m, err := c.mirrorOf(j.thing, s, key)
	if err != nil {
		return err
	}
	now := c.engine.commitTime()
	w := mirrorWrite{committer: c, group: g, job: j, shadow: s, mirrored: m, now: now}
	w.verdict = m.head.Judge(d, local, now)
	version := d.Current.Version
	known, err := w.known(version)
	if err != nil {
		return err
	}
	if known.Seq != 0 {
		if err := w.compare(known); err != nil {
			return err
		}
	} else if w.verdict.Life == m.head.Life && version+twin.MirrorVersionsMax <= m.head.Version {
		return twin.NewError(twin.KindInvalid, fmt.Sprintf(
			"/current/version: %d is too old: the newest known is %d, and only the last %d versions are told apart",
			version, m.head.Version, twin.MirrorVersionsMax))
	}
	previous, err := w.wantsPrevious(local)
	if err != nil {
		return err
	}
	if known.Seq != 0 && !previous {
		j.mirror.outcome = twin.MirrorRepeated
		j.result = twin.Result{Duplicate: true, Version: version}
		return nil
	}
	if err := w.prepare(previous); err != nil {
		return err
	}
	// One that is known only as the previous of a later one may still bring its own previous.
	w.write(previous, known.Seq == 0, local)
	return nil
}

// decoded returns the working shadow, nil if there never was one.
func (s *shadow) decoded(key twin.ShadowKey) (*twin.Shadow, error) {
	if s.tree == nil && s.doc != nil {
		tree, err := twin.DecodeShadow(s.doc)
		if err != nil {
			return nil, fmt.Errorf("read shadow %s: %w", key, err)
		}
		s.tree = tree
	}
	return s.tree, nil
}

// mirrorOf returns what is known of a mirrored shadow, reading it if it is not cached.
func (c *committer) mirrorOf(t *thing, s *shadow, key twin.ShadowKey) (*mirrored, error) {
	if m := s.mirror; m != nil {
		if t.pending == 1 { // this job alone: all else is durable
			clear(m.fresh)
			if len(m.blocks) > mirrorBlocksKept {
				clear(m.blocks)
			}
		}
		return m, nil
	}
	r, ok, err := c.engine.store.Record(context.Background(), twin.RecordMirror, twin.MirrorHeadKey(key))
	if err != nil {
		return nil, fmt.Errorf("read what is mirrored of %s: %w", key, err)
	}
	m := &mirrored{blocks: make(map[string]*twin.MirrorBlock), fresh: make(map[mirrorVersion]*twin.Shadow)}
	if ok {
		if m.head, err = twin.DecodeMirrorHead(r.Value); err != nil {
			return nil, fmt.Errorf("read what is mirrored of %s: %w", key, err)
		}
	}
	s.mirror = m
	c.cache.grow(t, mirrorBytes)
	return m, nil
}

// block returns the block of a version, an empty one if there is none.
func (c *committer) block(m *mirrored, key twin.ShadowKey, life uint64, v twin.Version) (*twin.MirrorBlock, error) {
	at := twin.MirrorBlockKey(key, life, v)
	if b := m.blocks[at]; b != nil {
		return b, nil
	}
	r, ok, err := c.engine.store.Record(context.Background(), twin.RecordMirror, at)
	b := &twin.MirrorBlock{}
	if err == nil && ok {
		b, err = twin.DecodeMirrorBlock(r.Value)
	}
	if err != nil {
		return nil, fmt.Errorf("read what is mirrored of %s: %w", key, err)
	}
	m.blocks[at] = b
	return b, nil
}

// mirrorWrite is the work on one document.
type mirrorWrite struct {
	*committer
	group    *group
	job      *job
	shadow   *shadow
	mirrored *mirrored
	verdict  twin.MirrorVerdict
	now      twin.Time
	changed  []twin.Version // whose blocks are to be written
	swept    []twin.RecordWrite
	// The instants at which the document and its previous became the state.
	at, previousAt twin.Time
}

func (w *mirrorWrite) known(v twin.Version) (twin.MirrorKnown, error) {
	b, err := w.block(w.mirrored, w.job.update.Key, w.verdict.Life, v)
	if err != nil {
		return twin.MirrorKnown{}, err
	}
	return b[v%twin.MirrorBlockLen], nil
}

// compare checks that a document says what the one that came before with its version
// said. What has expired cannot be compared and passes.
func (w *mirrorWrite) compare(known twin.MirrorKnown) error {
	d, key := w.job.mirror.document, w.job.update.Key
	before := w.mirrored.fresh[mirrorVersion{w.verdict.Life, d.Current.Version}]
	if before == nil {
		raw, err := w.engine.store.ThingEvents(context.Background(), store.ThingRange{
			Thing: key.Thing, From: known.Time, To: known.Time + 1, After: known.Seq - 1, Limit: 1,
		})
		if err != nil {
			return fmt.Errorf("read version %d of %s: %w", d.Current.Version, key, err)
		}
		if len(raw) == 0 {
			return nil
		}
		ev, err := twin.DecodeEvent(raw[0])
		if err == nil && ev.Seq != known.Seq {
			return nil // expired; what came after is there
		}
		if err == nil {
			before, err = twin.MirroredState(&ev)
		}
		if err != nil {
			return fmt.Errorf("read version %d of %s: %w", d.Current.Version, key, err)
		}
	}
	if !twin.SameDocument(before, d.Current) {
		return twin.NewError(twin.KindConflict, fmt.Sprintf(
			"/current/version: version %d of %s came before with another content; it is event %d", d.Current.Version, key, known.Seq))
	}
	return nil
}

// wantsPrevious reports whether the state before the document is to be recorded, because
// its own document did not come.
func (w *mirrorWrite) wantsPrevious(local *twin.Shadow) (bool, error) {
	p := w.job.mirror.document.Previous
	if p == nil || w.mirrored.head.Life == 0 && local != nil && local.Version >= p.Version {
		return false, nil
	}
	if w.verdict.Life == w.mirrored.head.Life && p.Version+twin.MirrorVersionsMax <= w.mirrored.head.Version {
		return false, nil
	}
	known, err := w.known(p.Version)
	return known.Seq == 0, err
}

// prepare reads what the write needs, so that it cannot fail half way.
func (w *mirrorWrite) prepare(previous bool) error {
	d := w.job.mirror.document
	var err error
	if w.at, err = w.between(d.Current.Version, d.Time); err != nil {
		return err
	}
	if previous {
		at := max(d.Previous.Desired.NewestStamp(), d.Previous.Reported.NewestStamp()) * 1000
		if at == 0 || twin.Time(at) > d.Time {
			at = int64(d.Time)
		}
		if w.previousAt, err = w.between(d.Previous.Version, twin.Time(at)); err != nil {
			return err
		}
		w.previousAt = min(w.previousAt, w.at)
	}
	return w.sweep()
}

// between moves the instant of a version so that it is neither before that of the version
// known before it nor after that of the one known after it: clocks differ, timestamps
// are whole seconds, and the order of versions is what is true.
func (w *mirrorWrite) between(v twin.Version, at twin.Time) (twin.Time, error) {
	at = min(at, w.now)
	lower, err := w.neighbour(v, false)
	if err != nil {
		return 0, err
	}
	if lower.Seq != 0 {
		at = max(at, lower.At)
	}
	upper, err := w.neighbour(v, true)
	if err == nil && upper.Seq == 0 && w.verdict.Life == w.mirrored.head.Life && v < w.mirrored.head.Version {
		upper, err = w.known(w.mirrored.head.Version)
	}
	if err == nil && upper.Seq != 0 {
		at = min(at, upper.At)
	}
	return at, err
}

// neighbour returns the nearest known version on one side, if it is near.
func (w *mirrorWrite) neighbour(v twin.Version, up bool) (twin.MirrorKnown, error) {
	h := &w.mirrored.head
	if w.verdict.Life > h.Life {
		return twin.MirrorKnown{}, nil // a new life knows nothing
	}
	for n := range mirrorNear + 1 {
		distance := twin.Version(n * twin.MirrorBlockLen)
		next := v + distance
		if !up {
			if distance > v {
				break
			}
			next = v - distance
		}
		first := next - next%twin.MirrorBlockLen
		if up && w.verdict.Life == h.Life && first > h.Version {
			break
		}
		b, err := w.block(w.mirrored, w.job.update.Key, w.verdict.Life, next)
		if err != nil {
			return twin.MirrorKnown{}, err
		}
		for i := range b {
			at := i
			if !up {
				at = len(b) - 1 - i
			}
			have := first + twin.Version(at)
			if b[at].Seq != 0 && (up && have > v || !up && have < v) {
				return b[at], nil
			}
		}
	}
	return twin.MirrorKnown{}, nil
}

// sweep finds records to delete when a block is begun: those of versions too old to be told
// apart, and of lives before the last.
func (w *mirrorWrite) sweep() error {
	next, last := w.verdict.Next, w.mirrored.head
	if next.Life == last.Life && next.Version/twin.MirrorBlockLen == last.Version/twin.MirrorBlockLen {
		return nil
	}
	key := w.job.update.Key
	records, err := w.engine.store.ListRecords(context.Background(), store.RecordRange{
		Kind: twin.RecordMirror, Prefix: twin.MirrorBlocksKey(key), Limit: mirrorSwept,
	})
	if err != nil {
		return fmt.Errorf("read what is mirrored of %s: %w", key, err)
	}
	for _, r := range records {
		life, first, ok := twin.ParseMirrorBlockKey(key, r.Key)
		old := life+1 < next.Life || life == next.Life && first+twin.MirrorBlockLen+twin.MirrorVersionsMax <= next.Version
		if ok && old {
			w.swept = append(w.swept, twin.RecordWrite{Kind: twin.RecordMirror, Key: r.Key})
			delete(w.mirrored.blocks, r.Key)
		}
	}
	return nil
}

// write adds the events and records of a document to the group.
func (w *mirrorWrite) write(previous, current bool, local *twin.Shadow) {
	d, j := w.job.mirror.document, w.job
	first := j.thing.head.Seq + 1
	j.mirror.outcome = twin.MirrorRecorded
	if previous {
		w.recordPast(d.Previous, w.previousAt, 0, "")
	}
	switch {
	case !current:
	case w.verdict.Current:
		ev := w.event(d.Current, d.Time)
		ev.Kind, ev.OriginTime = twin.EventUpdated, w.at
		if w.verdict.Local != 0 {
			what := "was made here"
			if !local.Exists() {
				what = "was a delete made here"
			}
			ev.Severity = twin.SeverityWarning
			ev.Message = fmt.Sprintf("The cloud's version %d has replaced version %d, which %s", d.Current.Version, w.verdict.Local, what)
		}
		change := twin.NewMirrored(j.update.Key, local, d)
		w.keep(w.group, j, w.shadow, change, &ev)
		w.remember(d.Current, twin.MirrorKnown{Seq: ev.Seq, Time: ev.Time, At: w.at})
		j.mirror.outcome = twin.MirrorApplied
	default:
		var warning string
		if w.verdict.Local != 0 {
			warning = fmt.Sprintf("The cloud's version %d is only recorded: the shadow was changed here and is at version %d", d.Current.Version, w.verdict.Local)
		}
		w.recordPast(d.Current, w.at, d.Time, warning)
	}
	head := w.verdict.Next
	if head.Life != w.mirrored.head.Life {
		head.Start, head.Begun = first, w.now
	}
	w.mirrored.head = head
	m := &w.group.mutations[j.mutation]
	records := append(w.swept, twin.RecordWrite{
		Kind: twin.RecordMirror, Key: twin.MirrorHeadKey(j.update.Key), Value: head.AppendBinary(nil),
	})
	for i, v := range w.changed {
		at := twin.MirrorBlockKey(j.update.Key, w.verdict.Life, v)
		if i == 0 || at != twin.MirrorBlockKey(j.update.Key, w.verdict.Life, w.changed[i-1]) {
			records = append(records, twin.RecordWrite{Kind: twin.RecordMirror, Key: at, Value: w.mirrored.blocks[at].AppendBinary(nil)})
		}
	}
	m.Records = append(m.Records, records...)
	w.group.bytes += recordsBytes(records)
	j.result.Version = d.Current.Version
}

// event is what all events of a document have.
func (w *mirrorWrite) event(s *twin.Shadow, documentTime twin.Time) twin.Event {
	t, u := w.job.thing, &w.job.update
	ev := twin.Event{
		Thing: t.name, Shadow: u.Key.Shadow, Seq: t.head.Seq + 1, Time: w.now, Origin: u.Origin, Model: t.attributes.Model,
	}
	ev.Origin.PayloadHash = 0
	if documentTime != 0 {
		ev.Correlation = u.Request.ClientToken
	}
	ev.SetMirrored(s, documentTime)
	return ev
}

// recordPast adds the event of a state that is not the current one.
func (w *mirrorWrite) recordPast(s *twin.Shadow, at, documentTime twin.Time, warning string) {
	ev := w.event(s, documentTime)
	ev.Kind, ev.OriginTime = twin.EventRecorded, at
	if warning != "" {
		ev.Severity, ev.Message = twin.SeverityWarning, warning
	}
	m := w.link(w.group, w.job, &ev)
	m.Shadow = ev.Shadow
	w.group.bytes += len(m.Event)
	w.remember(s, twin.MirrorKnown{Seq: ev.Seq, Time: ev.Time, At: at})
}

// remember notes where the event of a version is. Its block was read before.
func (w *mirrorWrite) remember(s *twin.Shadow, known twin.MirrorKnown) {
	b := w.mirrored.blocks[twin.MirrorBlockKey(w.job.update.Key, w.verdict.Life, s.Version)]
	b[s.Version%twin.MirrorBlockLen] = known
	w.mirrored.fresh[mirrorVersion{w.verdict.Life, s.Version}] = s
	w.changed = append(w.changed, s.Version)
}
