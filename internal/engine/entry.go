package engine

import (
	"fmt"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Entry is a request to add to a twin's event log something that changes none of
// its shadows: a connect, an error the device reports, an administrative act, a past
// state that comes late.
type Entry struct {
	// Event says what happened. Seq, Time and Model are given by the engine.
	Event twin.Event
	// IfExists: nothing is written for a thing that has no events yet.
	IfExists bool
	// Attributes, if not nil, returns what the twin's attributes become; an error
	// rejects the entry. It is called by a committer, maybe more than once, and must
	// not alter what it is given.
	Attributes func(*twin.Attributes) (twin.Attributes, error)
}

// EntryResult is the outcome of an [Entry].
type EntryResult struct {
	Event   twin.Event // with its seq and time
	Written bool       // false: the thing does not exist, see [Entry]
	Err     error
}

// Append queues an entry. It behaves as [Engine.Submit] does, and is ordered with it.
func (e *Engine) Append(en Entry, done func(EntryResult)) error {
	ev := &en.Event
	if !ev.Thing.Valid() {
		return twin.NewError(twin.KindInvalid, fmt.Sprintf("Invalid thing name: %q", ev.Thing))
	}
	if ev.Kind == twin.EventUpdated || ev.Kind == twin.EventDeleted || ev.Kind == 0 {
		return twin.NewError(twin.KindInvalid, fmt.Sprintf("An event of kind %s is made by an update only", ev.Kind))
	}
	j := &job{update: twin.Update{Key: twin.ShadowKey{Thing: ev.Thing}}, entry: &en, entryDone: done, mutation: -1}
	return e.committer(ev.Thing.Shard()).queue.put(j)
}

// append works out the event of an entry.
func (c *committer) append(g *group, j *job) {
	t, en := j.thing, j.entry
	if en.IfExists && t.head.Seq == 0 {
		return
	}
	ev := en.Event
	ev.Seq, ev.Time, ev.Model = t.head.Seq+1, c.engine.commitTime(), t.attributes.Model
	var records []twin.RecordWrite
	if en.Attributes != nil {
		next, err := en.Attributes(t.attributes)
		if err == nil {
			err = next.Check()
		}
		var w twin.RecordWrite
		if err == nil {
			w, err = attributesRecord(t.name, &next)
		}
		if err != nil {
			j.result.Err = err
			return
		}
		records = append(records, w)
		t.attributes, j.attributes = &next, &next
		ev.Model = next.Model
	}
	m := c.link(g, j, &ev)
	m.Records = records
	m.Class = store.ClassLog
	if ev.Kind.OfShadow() {
		m.Class, m.Shadow = store.ClassHistory, ev.Shadow
	}
	g.bytes += len(m.Event) + recordsBytes(records)
	j.appended = ev
}
