package history

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of a question about a fleet.
const (
	// FleetThingsMax is the most things that one question goes over.
	FleetThingsMax = 100_000
	// FleetPageMax is the most events of a page.
	FleetPageMax = 1000
	// fleetChunkLen is how many things are listed at once, and how many events of a thing
	// are read at once.
	fleetThingsLen = 1000
	fleetChunkLen  = 32
)

// FleetQuery selects events of all shadows of all things that have a model now,
// whatever they had when the event was.
type FleetQuery struct {
	Model    string
	From, To twin.Time // from <= time < to; zero: no bound
	Newest   bool      // newest first, else oldest first
	Limit    int       // 0: PageDefault; at most FleetPageMax
	Cursor   Cursor
	Form     Form
}

// Fleet returns a page of the history of all things of a model, in order of time, then
// thing, then seq. It goes over the things once and keeps the first Limit events it
// finds, so memory is bounded by the page, and each thing costs one short read.
func (r *Reader) Fleet(ctx context.Context, q FleetQuery) (Page, error) {
	limit, err := checkPage(q.Limit, q.From, q.To)
	if err != nil {
		return Page{}, err
	}
	switch {
	case limit > FleetPageMax:
		return Page{}, invalid("limit: %d is over the maximum of %d; ask for pages with a cursor", limit, FleetPageMax)
	case q.Model == "":
		return Page{}, invalid("model: the history of a fleet needs one")
	}
	question := fmt.Appendf(nil, "fleet %q %d %d %t", q.Model, q.From, q.To, q.Newest)
	at, err := q.Cursor.parse(question)
	if err != nil {
		return Page{}, err
	}
	if q.To != 0 && q.From == q.To {
		return Page{}, nil
	}
	m := merge{FleetQuery: q, at: at, limit: limit + 1}
	if err := r.eachOfModel(ctx, q.Model, func(thing twin.ThingName) error { return r.mergeThing(ctx, &m, thing) }); err != nil {
		return Page{}, err
	}
	m.cut()
	return r.fleetPage(ctx, &m, limit, question)
}

func (r *Reader) eachOfModel(ctx context.Context, model string, visit func(twin.ThingName) error) error {
	var last twin.ThingName
	for count := 0; ; {
		things, err := r.models.ThingsOfModel(ctx, model, last, fleetThingsLen)
		if err != nil {
			return fmt.Errorf("list the things of model %s: %w", model, err)
		}
		if count += len(things); count > FleetThingsMax {
			return invalid("model: more than %d things have the model %s; ask for the history of single things", FleetThingsMax, model)
		}
		for _, thing := range things {
			if err := visit(thing); err != nil {
				return err
			}
			last = thing
		}
		if len(things) < fleetThingsLen {
			return nil
		}
	}
}

// merge keeps the first events of many things.
type merge struct {
	FleetQuery
	at    *place
	limit int
	kept  []twin.Event // the first ones in order, then new ones; at most about twice limit
	last  *twin.Event  // the limit-th so far: nothing after it matters
}

// compare orders two events as the page does.
func (m *merge) compare(a, b *twin.Event) int {
	c := cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Thing, b.Thing), cmp.Compare(a.Seq, b.Seq))
	if m.Newest {
		return -c
	}
	return c
}

// cut drops what is behind the limit.
func (m *merge) cut() {
	slices.SortFunc(m.kept, func(a, b twin.Event) int { return m.compare(&a, &b) })
	if len(m.kept) >= m.limit {
		clear(m.kept[m.limit:])
		m.kept = m.kept[:m.limit]
		last := m.kept[m.limit-1]
		m.last = &last
	}
}

// span is the range of a thing that can still be part of the page.
func (m *merge) span(thing twin.ThingName) store.ThingRange {
	tr := store.ThingRange{
		Thing: thing, Kinds: []store.Kind{store.KindHistory}, From: m.From, To: m.To,
		Newest: m.Newest, Limit: min(m.limit, fleetChunkLen),
	}
	first, last := m.From, m.To
	if m.Newest {
		if m.at != nil {
			last = earlier(last, m.at.time+1)
		}
		if m.last != nil {
			first = max(first, m.last.Time)
		}
	} else {
		if m.at != nil {
			first = max(first, m.at.time)
		}
		if m.last != nil {
			last = earlier(last, m.last.Time+1)
		}
	}
	tr.From, tr.To = first, last
	return tr
}

func (r *Reader) mergeThing(ctx context.Context, m *merge, thing twin.ThingName) error {
	tr := m.span(thing)
	for tr.To == 0 || tr.From < tr.To {
		evs, err := r.thingEvents(ctx, tr)
		if err != nil {
			return err
		}
		for i := range evs {
			ev := &evs[i]
			if m.at != nil && m.compare(ev, &twin.Event{Time: m.at.time, Thing: m.at.thing, Seq: m.at.seq}) <= 0 {
				continue
			}
			if m.last != nil && m.compare(ev, m.last) >= 0 {
				return nil
			}
			m.kept = append(m.kept, *ev)
		}
		if len(m.kept) >= 2*m.limit {
			m.cut()
		}
		if len(evs) < tr.Limit {
			return nil
		}
		after := evs[len(evs)-1].Seq
		tr = m.span(thing)
		tr.After = after
	}
	return nil
}

// fleetPage adds the states. Each thing's events are a part of its own order.
func (r *Reader) fleetPage(ctx context.Context, m *merge, limit int, question []byte) (Page, error) {
	more := len(m.kept) > limit
	evs := m.kept[:min(len(m.kept), limit)]
	p := Page{States: make([]State, len(evs))}
	f := folder{reader: r, shadows: make(map[twin.ShadowKey]*following)}
	for i := range evs {
		if m.Newest {
			i = len(evs) - 1 - i
		}
		p.States[i].Event = evs[i]
		if m.Form == Patches {
			continue
		}
		var err error
		if p.States[i].Shadow, err = f.next(ctx, &evs[i]); err != nil {
			return Page{}, err
		}
	}
	if n := fitting(p.States); n < len(p.States) {
		p.States, more = p.States[:n], true
	}
	if more {
		last := &p.States[len(p.States)-1].Event
		p.Next = place{last.Time, last.Seq, last.Thing}.cursor(question)
	}
	return p, nil
}
