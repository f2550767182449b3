package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/twofold-iot/twofold/twin"
)

// windowEvents is how many events are read to see what is kept under one seq.
const windowEvents = 4

// placesMax is the most places that are looked at one by one for one fault.
const placesMax = 4 * twin.SegmentEvents

// span is a part of a chain in which something is not in its place: the segment
// between lo and hi, from the event on at which it was noticed.
type span struct {
	lo, hi    twin.Head
	from      twin.Seq
	mayExpire bool
}

// places returns which ones to look at. It begins before the fault: a copy of the event
// before it, kept beside the one before that, is read in its place.
func (s *span) places() (first, last twin.Seq) {
	first = max(s.from, 3) - 2
	return first, min(s.hi.Seq, first+placesMax)
}

// place is what is kept under one seq.
type place struct {
	seq    twin.Seq
	events []stamp
	bad    int // events that cannot be read
	err    error
}

func placeOf(n twin.Seq, here, next window) place {
	p := place{seq: n, err: here.err}
	for _, b := range here.events[:occupants(here, next)] {
		st, ok := readStamp(b)
		if !ok {
			p.bad++
			continue
		}
		p.events = append(p.events, st)
	}
	return p
}

// own reports whether the event that belongs here is here.
func (p *place) own(name twin.ThingName) bool { return p.has(name, p.seq) }

func (p *place) has(name twin.ThingName, seq twin.Seq) bool {
	return slices.ContainsFunc(p.events, func(s stamp) bool { return s.seq == seq && string(s.thing) == string(name) })
}

// examine looks place by place at what does not fit and names it. The store orders
// events by the seq they are kept under, which may not be the one they say; so it
// compares what is there from one place on with what is there from the next.
func (c *chain) examine(ctx context.Context, s span) error {
	if err := c.resolve(ctx); err != nil {
		return err
	}
	c.page, c.ended = nil, false
	before := len(c.report.Findings) + int(c.report.Omitted)
	if c.probes++; c.probes > probesMax {
		c.add(Finding{Fault: FaultAltered, First: s.lo.Seq + 1, Last: s.hi.Seq, Event: s.from, Detail: "not looked at more closely, so much else is wrong"})
		c.time = max(c.time, s.hi.Time)
		return nil
	}
	places, err := c.places(ctx, s)
	if err != nil {
		return err
	}
	if err := c.classify(ctx, s, places); err != nil {
		return err
	}
	if !s.mayExpire && before == len(c.report.Findings)+int(c.report.Omitted) {
		c.add(Finding{Fault: FaultAltered, First: s.lo.Seq + 1, Last: s.hi.Seq, Event: s.from, Detail: "it was not as it should be when read, and then it was"})
	}
	c.time = s.hi.Time
	return nil
}

// places reads what is under each seq, from the one before the fault on; ranges
// where nothing is are left out.
func (c *chain) places(ctx context.Context, s span) ([]place, error) {
	first, last := s.places()
	here := c.window(ctx, first)
	var places []place
	for n := first; n <= last; {
		next := c.window(ctx, n+1)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		p := placeOf(n, here, next)
		if len(p.events) > 0 || p.bad > 0 || p.err != nil {
			places = append(places, p)
			n, here = n+1, next
			continue
		}
		n = c.skip(ctx, n, last, here)
		here = c.window(ctx, n)
	}
	return places, nil
}

// skip returns the first place after n, or the one after last, from which on
// something else is read than from n on, where nothing is.
func (c *chain) skip(ctx context.Context, n, last twin.Seq, here window) twin.Seq {
	if len(here.events) == 0 {
		return last + 1
	}
	gap := sort.Search(int(last-n), func(i int) bool {
		w := c.window(ctx, n+twin.Seq(i)+2)
		return w.err != nil || !samePrefix(here.events[:1], w.events)
	})
	return n + twin.Seq(gap) + 1
}

// window is what is read from one place on.
type window struct {
	events [][]byte
	whole  bool // as many as asked for; else one only, because a later one cannot be read
	err    error
}

func (c *chain) window(ctx context.Context, n twin.Seq) window {
	events, err := c.read(ctx, n, windowEvents)
	if err == nil {
		return window{events: events, whole: true}
	}
	events, err = c.read(ctx, n, 1)
	return window{events: events, err: err}
}

// occupants returns how many events of here, read from one place on, are not read
// from the next place on any more.
func occupants(here, next window) int {
	if next.err != nil || !here.whole || !next.whole { // a damaged one is near
		for k := range here.events {
			if len(next.events) > 0 && bytes.Equal(here.events[k], next.events[0]) {
				return k
			}
		}
		return min(len(here.events), 1)
	}
	for k := range here.events {
		if samePrefix(here.events[k:], next.events) { // next may be longer: commits go on
			return k
		}
	}
	return len(here.events)
}

// samePrefix reports whether next begins with all of here.
func samePrefix(here, next [][]byte) bool {
	return len(here) <= len(next) && slices.EqualFunc(here, next[:len(here)], bytes.Equal)
}

// classify says what is wrong with each place.
func (c *chain) classify(ctx context.Context, s span, places []place) error {
	want := max(s.from, s.lo.Seq+1)
	_, last := s.places()
	at := make(map[twin.Seq]*place, len(places))
	for i := range places {
		at[places[i].seq] = &places[i]
	}
	for i := range places {
		p := &places[i]
		if p.seq >= want {
			c.gone(s, want, p.seq-1)
			want = p.seq + 1
			c.report.Events++
			c.report.Unproven++
		}
		if p.seq <= c.judged {
			continue
		}
		if err := c.judge(ctx, s, p, at); err != nil {
			return err
		}
		c.judged = p.seq
	}
	c.gone(s, want, last)
	c.damaged(s, places)
	c.times(s, places)
	return nil
}

// damaged reports what the store could not read. A store may refuse a whole range
// because of one event in it; then there is one finding, and the store's words name it.
func (c *chain) damaged(s span, places []place) {
	for i := 0; i < len(places); {
		p := &places[i]
		if i++; p.err == nil {
			continue
		}
		f := Finding{Fault: FaultDamaged, First: s.lo.Seq + 1, Last: s.hi.Seq, Event: p.seq, Err: p.err}
		for ; i < len(places) && places[i].err != nil && cause(places[i].err) == cause(p.err); i++ {
			f.Event, f.First, f.Last = 0, max(p.seq, f.First), places[i].seq
		}
		c.add(f)
	}
}

// cause is what the store said, without from where on it was read.
func cause(err error) string {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	return err.Error()
}

// gone reports events from a to b that are not there.
func (c *chain) gone(s span, a, b twin.Seq) {
	if a > b {
		return
	}
	if s.mayExpire || (a == s.lo.Seq+1 && b == s.hi.Seq && c.leading(s.hi)) {
		c.report.Expired += uint64(b - a + 1)
		return
	}
	f := Finding{Fault: FaultMissing, First: s.lo.Seq + 1, Last: s.hi.Seq, Event: a}
	switch {
	case b == c.head.Seq && b > a:
		f.Detail = fmt.Sprintf("the events from %d to the head at %d are not there", a, b)
	case b == c.head.Seq:
		f.Detail = "the event at the head is not there"
	case b > a:
		f.Detail = fmt.Sprintf("the events from %d to %d are not there", a, b)
	default:
		f.Detail = "it is not there"
	}
	c.add(f)
}

// judge says what is wrong with one place.
func (c *chain) judge(ctx context.Context, s span, p *place, at map[twin.Seq]*place) error {
	found := func(fault Fault, event, other twin.Seq, detail string, err error) {
		c.add(Finding{Fault: fault, First: s.lo.Seq + 1, Last: s.hi.Seq, Event: event, Other: other, Detail: detail, Err: err})
	}
	if p.err != nil {
		return nil //nolint:nilerr // it is in the report, by damaged
	}
	if p.bad > 0 {
		found(FaultDamaged, p.seq, 0, "what is in its place is no event", nil)
	}
	own := 0
	for _, st := range p.events {
		switch {
		case string(st.thing) != string(c.name):
			found(FaultForeign, p.seq, 0, fmt.Sprintf("in its place is event %d of thing %.130q", st.seq, st.thing), nil)
			continue
		case st.seq == p.seq:
			if own++; own == 2 {
				found(FaultDuplicate, p.seq, 0, "it is there more than once", nil)
			}
			continue
		}
		home, err := c.home(ctx, st.seq, at)
		if err != nil {
			return err
		}
		switch {
		case home.has(c.name, p.seq) && p.seq < st.seq:
			found(FaultSwapped, p.seq, st.seq, "each is in the place of the other", nil)
		case home.has(c.name, p.seq): // said already, or will be in its segment
			if st.seq <= s.lo.Seq {
				found(FaultSwapped, st.seq, p.seq, "each is in the place of the other", nil)
			}
		case home.own(c.name):
			found(FaultDuplicate, st.seq, p.seq, fmt.Sprintf("it is in its place and in that of %d", p.seq), nil)
		default:
			found(FaultMisplaced, p.seq, st.seq, fmt.Sprintf("in its place is one that says it is event %d", st.seq), nil)
		}
	}
	return nil
}

// home returns the place of an event that is elsewhere.
func (c *chain) home(ctx context.Context, seq twin.Seq, at map[twin.Seq]*place) (*place, error) {
	if p := at[seq]; p != nil {
		return p, nil
	}
	if seq == 0 || seq > c.head.Seq {
		return &place{seq: seq}, nil
	}
	p := placeOf(seq, c.window(ctx, seq), c.window(ctx, seq+1))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	at[seq] = &p
	return &p, nil
}

// times reports events in their places whose times step back: the one that stands
// out from its neighbours.
func (c *chain) times(s span, places []place) {
	at := c.time // of the last event that was right
	var before stamp
	for i := range places {
		p := &places[i]
		if p.seq < s.from || !p.own(c.name) {
			continue
		}
		st := p.events[slices.IndexFunc(p.events, func(e stamp) bool { return e.seq == p.seq })]
		if st.time >= at {
			at, before = st.time, st
			continue
		}
		culprit := p.seq
		if before.time > s.hi.Time { // it is the one before that is out of the day
			culprit = before.seq
		}
		c.add(Finding{
			Fault: FaultTime, First: s.lo.Seq + 1, Last: s.hi.Seq, Event: culprit,
			Detail: fmt.Sprintf("%s comes after %s", timeText(st.time), timeText(at)),
		})
	}
}

// narrow looks for the one event of a segment that gives itself away.
func (c *chain) narrow(ctx context.Context, f *Finding) error {
	n := int(min(f.Last-f.First+1, pageEventsFirst))
	events, err := c.read(ctx, f.First, n)
	if ctx.Err() != nil {
		return err
	}
	c.ended = false
	suspects := make(map[twin.Seq]string)
	versions := make(map[twin.ShadowName][]twin.Event)
	var buf []byte
	for i, b := range events {
		ev, err := twin.DecodeEvent(b)
		if err != nil {
			suspects[f.First+twin.Seq(i)] = err.Error()
			continue
		}
		if buf = ev.AppendBinary(buf[:0]); !bytes.Equal(buf, b) {
			suspects[ev.Seq] = "it is not in canonical form"
		}
		if why := oddities(&ev); why != "" {
			suspects[ev.Seq] = why
		}
		if ev.Kind == twin.EventUpdated || ev.Kind == twin.EventDeleted {
			versions[ev.Shadow] = append(versions[ev.Shadow], ev)
		}
	}
	for _, evs := range versions {
		for i := 1; i+1 < len(evs); i++ {
			v := evs[i-1].Version
			if evs[i].Version != v+1 && evs[i+1].Version == v+2 {
				suspects[evs[i].Seq] = fmt.Sprintf("its version %d is between %d and %d", evs[i].Version, v, v+2)
			}
		}
	}
	if len(suspects) == 1 {
		for seq, why := range suspects {
			f.Event, f.Detail = seq, f.Detail+"; event "+fmt.Sprint(seq)+" gives itself away: "+why
		}
	}
	return nil
}

// oddities returns what an event has in it that the server never writes.
func oddities(ev *twin.Event) string {
	if ev.Kind == twin.EventUpdated {
		if _, err := twin.RecordedState(ev); err != nil {
			return "its patch cannot be applied: " + err.Error()
		}
	}
	if len(ev.Snapshot) > 0 {
		s, err := twin.DecodeShadow(ev.Snapshot)
		if err != nil {
			return "its snapshot cannot be read: " + err.Error()
		}
		if s.Version != ev.Version {
			return fmt.Sprintf("its snapshot is of version %d, it says %d", s.Version, ev.Version)
		}
	}
	return ""
}

// beyond looks at what is kept after the head.
func (c *chain) beyond(ctx context.Context) error {
	if c.ended && len(c.page) == 0 {
		return nil
	}
	from := max(c.head.Seq, 2) - 1
	here := c.window(ctx, from)
	at := make(map[twin.Seq]*place)
	for n := from; n <= c.head.Seq; n++ {
		after := c.window(ctx, n+1)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p := placeOf(n, here, after)
		at[n] = &p
		here = after
	}
	for n := max(from, c.judged+1); n <= c.head.Seq; n++ {
		if p := at[n]; len(p.events)+p.bad > 1 {
			if err := c.judge(ctx, span{lo: twin.Head{Seq: n - 1}, hi: c.head, from: n}, p, at); err != nil {
				return err
			}
		}
	}
	next, errNext := here.events, here.err
	if len(next) == 0 && errNext == nil {
		return nil
	}
	heads, err := c.src.Heads(ctx, []twin.ThingName{c.name})
	if err != nil {
		return fmt.Errorf("read head: %w", err)
	}
	if heads[0].Seq > c.head.Seq { // commits went on meanwhile
		return nil
	}
	f := Finding{Fault: FaultExtra, First: c.head.Seq + 1, Last: c.head.Seq + 1, Event: c.head.Seq + 1, Err: errNext}
	f.Detail = fmt.Sprintf("the head is at %d, but events are kept after it", c.head.Seq)
	if len(next) > 0 {
		if st, ok := readStamp(next[0]); ok {
			f.Event = st.seq
			if string(st.thing) != string(c.name) {
				f.Fault, f.Detail = FaultForeign, fmt.Sprintf("after the head is event %d of thing %.130q", st.seq, st.thing)
			} else if st.seq <= c.head.Seq {
				f.Fault, f.Detail = FaultDuplicate, "it is in its place and after the head"
			}
		}
	}
	c.add(f)
	return nil
}

func timeText(t twin.Time) string { return t.Std().Format("2006-01-02T15:04:05.000Z07:00") }
