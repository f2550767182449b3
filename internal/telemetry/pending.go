package telemetry

import (
	"context"
	"sync"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// pending knows which things have rows that are not folded.
type pending struct {
	wake chan struct{} // holds a token when a thing is due

	mu     sync.Mutex
	things map[twin.ThingName]*waiting
	due    []twin.ThingName // those with enough rows, each once
}

type waiting struct {
	rows  int
	since twin.Time // when the first of them came
	due   bool
}

const findPage = 1000

// findPending lists the things that have rows from an earlier run.
func (t *Telemetry) findPending(ctx context.Context) error {
	now := twin.TimeOf(t.opts.Now())
	for after := twin.ThingName(""); ; {
		things, err := t.store.RowThings(ctx, after, findPage)
		if err != nil || len(things) == 0 {
			return err
		}
		for _, thing := range things {
			t.pending.things[thing] = &waiting{since: now}
		}
		after = things[len(things)-1]
	}
}

// note counts rows that are in the store.
func (p *pending) note(rows []store.SampleRow, now twin.Time, enough int) {
	p.mu.Lock()
	wake := false
	for i := range rows {
		w := p.things[rows[i].Thing]
		if w == nil {
			w = &waiting{since: now}
			p.things[rows[i].Thing] = w
		}
		w.rows++
		if w.rows >= enough && !w.due {
			w.due, wake = true, true
			p.due = append(p.due, rows[i].Thing)
		}
	}
	p.mu.Unlock()
	if wake {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// next returns a thing that has enough rows.
func (p *pending) next() (twin.ThingName, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.due) == 0 {
		return "", false
	}
	thing := p.due[0]
	p.due = p.due[1:]
	return thing, true
}

// old returns the things whose rows came before a time.
func (p *pending) old(before twin.Time) (things []twin.ThingName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for thing, w := range p.things {
		if w.since < before && !w.due {
			w.due = true
			things = append(things, thing)
		}
	}
	return things
}

// folded says that so many rows of a thing are folded. There may be more: a thing is
// forgotten only when there was none.
func (p *pending) folded(thing twin.ThingName, rows int, now twin.Time, enough int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.things[thing]
	if w == nil {
		return
	}
	w.rows = max(0, w.rows-rows) // those of an earlier run were not counted
	w.since, w.due = now, false
	switch {
	case rows == 0:
		delete(p.things, thing)
	case w.rows >= enough:
		w.due = true
		p.due = append(p.due, thing)
	}
}

// later says that the rows of a thing are to wait once more.
func (p *pending) later(thing twin.ThingName, now twin.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.things[thing]; w != nil {
		w.since, w.due = now, false
	}
}
