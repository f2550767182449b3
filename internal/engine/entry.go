package engine

import (
	"fmt"

	"github.com/twofold-iot/twofold/twin"
)

// Append queues an entry. It behaves as [Engine.Submit] does, and is ordered with it.
func (e *Engine) Append(en twin.Entry, done func(twin.EntryResult)) error {
	ev := &en.Event
	if !ev.Thing.Valid() && !ev.Thing.IsModelLog() {
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
	if en.Records != nil {
		ws, err := en.Records(&ev)
		if err != nil {
			j.result.Err = err
			return
		}
		records = ws
	}
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
		c.stepEntry(j, &ev)
	}
	if ev.Kind == twin.EventConnected || ev.Kind == twin.EventDisconnected {
		c.stepConnection(j, &ev)
	}
	m := c.link(g, j, &ev)
	m.Records = records
	if ev.Kind.OfShadow() {
		m.Shadow = ev.Shadow
	}
	g.bytes += len(m.Event) + recordsBytes(records)
	j.appended = ev
}
