package proof

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// chain checks one thing. It goes from anchor to anchor, reading events in pages and
// hashing them, and looks closer only where something does not fit. After each
// segment it goes on from the anchor, so that one fault does not spoil the rest.
type chain struct {
	src  Source
	opts *Options
	tell func(events int, last bool)
	name twin.ThingName
	head twin.Head

	whole  uint32 // first day on which nothing of the thing has expired
	report Report
	linker linker
	pager  pager
	page   [][]byte // read and not yet taken
	ended  bool     // there is nothing after the page
	time   twin.Time
	from   twin.Time // no event from here on is before it: where the store may begin to look
	seen   bool      // an event has been seen, so what is missing from here on has not expired
	probes int       // segments looked at closely
	placed twin.Seq  // newest event known to be in its place, after a hole
	judged twin.Seq  // newest place looked at closely

	// wrong is the segment before this one if its links led to computed and not to its
	// anchor. Whether an event or the anchor was altered shows at the next anchor.
	wrong    *Finding
	computed twin.Hash
}

// linker computes links without garbage.
type linker struct{ buf []byte }

// next is [twin.Hash.Next].
func (l *linker) next(before *twin.Hash, canonical []byte) twin.Hash {
	l.buf = append(append(l.buf[:0], before[:]...), canonical...)
	return sha256.Sum256(l.buf)
}

func (c *chain) check(ctx context.Context) (Report, error) {
	if c.head.Seq == 0 {
		return c.report, nil
	}
	anchors, err := c.src.Anchors(ctx, c.name)
	if err != nil {
		if ctx.Err() != nil {
			return c.report, err
		}
		c.add(Finding{Fault: FaultUnreadable, Detail: "its anchors", Err: err})
	}
	if c.whole, err = c.opts.firstWholeDay(ctx, c.src, c.name); err != nil {
		if ctx.Err() != nil {
			return c.report, err
		}
		c.add(Finding{Fault: FaultUnreadable, Detail: "what may have expired of it", Err: err})
	}
	lo := twin.Head{}
	for _, hi := range c.bounds(anchors) {
		if err := c.segment(ctx, lo, hi); err != nil {
			return c.report, err
		}
		lo = hi
	}
	if c.wrong != nil {
		c.wrong.Detail = "the links of these events do not lead to the head: one of them was altered, or the head"
		if err := c.resolve(ctx); err != nil {
			return c.report, err
		}
	}
	return c.report, c.beyond(ctx)
}

func (c *chain) add(f Finding) {
	f.Thing = c.name
	c.report.add(f, thingFindingMax)
}

// bounds returns the ends of the segments: the anchors that make sense, and the head.
func (c *chain) bounds(anchors []twin.Head) []twin.Head {
	bounds := make([]twin.Head, 0, len(anchors)+1)
	last := twin.Seq(0)
	for _, a := range anchors {
		switch {
		case a.Seq <= last:
			c.add(Finding{Fault: FaultAnchor, Event: a.Seq, Detail: fmt.Sprintf("the anchor at %d comes after that at %d", a.Seq, last)})
			continue
		case a.Seq > c.head.Seq:
			// Made after the head was read, or the head was set back: beyond tells.
			continue
		case a.Seq == c.head.Seq:
			if a.Hash != c.head.Hash {
				c.add(Finding{Fault: FaultAnchor, Event: a.Seq, Detail: "the anchor and the head do not agree"})
			}
			continue
		}
		last = a.Seq
		bounds = append(bounds, a)
	}
	return append(bounds, c.head)
}

// segment checks the events after lo up to hi. This is the fast path.
func (c *chain) segment(ctx context.Context, lo, hi twin.Head) error {
	c.from = dayStart(min(lo.Time, c.time))
	link, other := lo.Hash, c.computed
	holes := false
	mayExpire := c.mayExpire(hi)
	endOfDay := twin.Time(math.MaxInt64)
	anchorDue := twin.Seq(0)
	for n := lo.Seq + 1; n <= hi.Seq; n++ {
		b, err := c.next(ctx, n, hi)
		if err != nil {
			return err
		}
		s, ok := readStamp(b)
		ok = ok && string(s.thing) == string(c.name)
		if ok && s.seq > n && (mayExpire || (s.seq > hi.Seq && c.leading(hi))) && (s.seq <= hi.Seq || c.atHome(ctx, s.seq, b)) {
			gone := min(s.seq-1, hi.Seq) - n + 1
			c.report.Expired += uint64(gone)
			holes, n = true, n+gone
			c.time = max(c.time, lo.Time)
			if n > hi.Seq {
				c.push(b)
				break
			}
		}
		if !ok || s.seq != n || s.time < c.time {
			return c.examine(ctx, span{lo: lo, hi: hi, from: n, mayExpire: mayExpire})
		}
		c.seen, c.time = true, s.time
		c.report.Events++
		if holes {
			c.report.Unproven++
			continue
		}
		switch {
		case n == lo.Seq+1:
			endOfDay = dayEnd(s.time)
		case s.time >= endOfDay || (n-1)%twin.SegmentEvents == 0:
			if anchorDue == 0 {
				anchorDue = n - 1
			}
			endOfDay = dayEnd(s.time)
		}
		link = c.linker.next(&link, b)
		if c.wrong != nil {
			other = c.linker.next(&other, b)
		}
	}
	if holes {
		c.time = max(c.time, hi.Time)
		return c.resolve(ctx)
	}
	if anchorDue != 0 {
		c.add(Finding{Fault: FaultAnchor, First: lo.Seq + 1, Last: hi.Seq, Event: anchorDue, Detail: "there is no anchor after it"})
	}
	return c.close(ctx, lo, hi, link, other)
}

// close compares where the links of a segment led with its end.
func (c *chain) close(ctx context.Context, lo, hi twin.Head, link, other twin.Hash) error {
	c.report.Segments++
	fits := link == hi.Hash
	if c.wrong != nil {
		if !fits && other == hi.Hash {
			c.add(Finding{Fault: FaultAnchor, First: c.wrong.First, Last: c.wrong.Last, Event: lo.Seq, Detail: "the links before and after this anchor fit each other, but not it"})
			c.wrong, fits = nil, true
		} else if err := c.resolve(ctx); err != nil {
			return err
		}
	}
	if fits && c.time != hi.Time {
		fault, what := FaultAnchor, "anchor"
		if hi.Seq == c.head.Seq {
			fault, what = FaultAltered, "head"
		}
		c.add(Finding{Fault: fault, First: lo.Seq + 1, Last: hi.Seq, Event: hi.Seq, Detail: "the time in the " + what + " is not that of the event"})
	}
	if !fits {
		c.wrong = &Finding{Fault: FaultAltered, First: lo.Seq + 1, Last: hi.Seq, Detail: "the links of these events do not lead to the anchor after them"}
		c.computed = link
	}
	return nil
}

// resolve reports the wrong segment, now that its anchor is known not to be at fault, or
// cannot be told from it.
func (c *chain) resolve(ctx context.Context) error {
	if c.wrong == nil {
		return nil
	}
	f := *c.wrong
	c.wrong = nil
	if err := c.narrow(ctx, &f); err != nil {
		return err
	}
	c.add(f)
	return nil
}

// mayExpire reports whether events of the segment that ends at hi may be gone by age. A
// segment is within one day.
func (c *chain) mayExpire(hi twin.Head) bool { return hi.Time.Day() < c.whole }

// leading reports whether the segment that ends at hi, if it is missing as a whole,
// counts as expired although nobody told what has.
func (c *chain) leading(hi twin.Head) bool {
	return c.opts.Expired == nil && !c.seen && hi.Seq != c.head.Seq
}

// atHome reports whether an event that says it is seq is kept there, so that there is
// nothing before it.
func (c *chain) atHome(ctx context.Context, seq twin.Seq, b []byte) bool {
	if c.placed == seq {
		return true
	}
	ended := c.ended
	there, err := c.read(ctx, seq, 2)
	c.ended = ended
	// What follows must be the same too: b may be a copy, kept before.
	if err != nil || len(there) == 0 || !bytes.Equal(there[0], b) ||
		(len(c.page) > 0 && (len(there) < 2 || !bytes.Equal(there[1], c.page[0]))) {
		return false
	}
	c.placed = seq
	return true
}

// next returns the event kept under n, or whatever is read in its place; nil if
// nothing can be read.
func (c *chain) next(ctx context.Context, n twin.Seq, hi twin.Head) ([]byte, error) {
	if len(c.page) == 0 {
		var err error
		if c.page, err = c.read(ctx, n, c.pager.events()); err != nil {
			// The fault may be behind the segment, or before its day.
			c.from = max(c.from, dayStart(hi.Time))
			c.page, err = c.read(ctx, n, int(min(hi.Seq-n+1, pageEventsFirst)))
		}
		if ctx.Err() != nil {
			return nil, err
		}
		c.pager.saw(c.page)
		c.tell(len(c.page), false)
		if len(c.page) == 0 {
			return nil, nil
		}
	}
	b := c.page[0]
	c.page[0] = nil // not needed any more
	c.page = c.page[1:]
	return b, nil
}

// push takes back the event that next returned last.
func (c *chain) push(b []byte) { c.page = append([][]byte{b}, c.page...) }

// read reads the events kept under n and after it.
func (c *chain) read(ctx context.Context, n twin.Seq, limit int) ([][]byte, error) {
	page, err := c.src.ThingEvents(ctx, store.ThingRange{Thing: c.name, From: c.from, After: n - 1, Limit: limit})
	c.ended = err == nil && len(page) < limit
	if err != nil {
		return nil, fmt.Errorf("read events from %d: %w", n, err)
	}
	return page, nil
}
