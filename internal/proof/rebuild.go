package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Rebuild folds the events of every shadow, from the oldest that is kept or the state
// that was left when older ones expired, and compares byte for byte with the shadow in
// the store and with each snapshot on the way. It takes the events as they are: [Verify]
// proves them.
func Rebuild(ctx context.Context, src ShadowSource, opts Options) (Report, error) {
	return run(ctx, src, opts, func(ctx context.Context, r *runner, t thing) (Report, error) {
		f := folder{src: src, tell: r.tell, name: t.name, shadows: make(map[twin.ShadowName]*folded)}
		err := f.check(ctx, t.head)
		return f.report, err
	})
}

// folder folds the events of one thing.
type folder struct {
	src     ShadowSource
	tell    func(events int, last bool)
	name    twin.ThingName
	report  Report
	pager   pager
	shadows map[twin.ShadowName]*folded
	time    twin.Time // of the newest event: where the store may begin to look
	buf     []byte
}

// folded is a shadow as its events give it.
type folded struct {
	state   *twin.Shadow // nil: there is none
	seq     twin.Seq     // of the newest event in it
	from    twin.Seq     // the state at this event was taken from a snapshot, and not folded
	unknown bool         // until the next snapshot: an event could not be applied

	// Of the shadow in the store, read after the events up to the head. If it is newer
	// it is compared when the fold arrives there.
	stored   store.Shadow
	compared bool
}

func (f *folder) add(fd Finding) {
	fd.Thing = f.name
	f.report.add(fd, thingFindingMax)
}

func (f *folder) check(ctx context.Context, head twin.Head) error {
	at, err := f.fold(ctx, 0, head.Seq)
	if err != nil {
		return err
	}
	newest, err := f.readStored(ctx)
	if err != nil {
		return err
	}
	// Commits go on: follow to where the shadows were when they were read.
	if newest > at {
		if _, err := f.fold(ctx, at, newest); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.shadows)) {
		if s := f.shadows[name]; !s.compared {
			f.compare(name, s)
		}
	}
	return nil
}

// fold applies the events after one seq up to another, and returns how far it came.
func (f *folder) fold(ctx context.Context, after, last twin.Seq) (twin.Seq, error) {
	for after < last {
		limit := int(min(last-after, twin.Seq(f.pager.events())))
		page, err := f.src.ThingEvents(ctx, store.ThingRange{Thing: f.name, From: dayStart(f.time), After: after, Limit: limit})
		if ctx.Err() != nil {
			return after, ctx.Err()
		}
		if err != nil && limit > 1 {
			page, after, err = f.upTo(ctx, after)
		}
		if err != nil {
			f.add(Finding{Fault: FaultUnreadable, First: after + 1, Last: last, Event: after + 1, Detail: "its events cannot be read from here on; verify tells more", Err: err})
			for _, s := range f.shadows {
				s.unknown = true
			}
			after++
			continue
		}
		f.pager.saw(page)
		f.tell(len(page), false)
		if len(page) == 0 {
			return last, nil
		}
		start := after
		if after, err = f.applyPage(ctx, page, after, last); err != nil {
			return after, err
		}
		if after == start { // nothing in the page is of use
			after++
		}
	}
	return after, nil
}

// applyPage applies the events of a page that are in order, up to last.
func (f *folder) applyPage(ctx context.Context, page [][]byte, after, last twin.Seq) (twin.Seq, error) {
	for _, b := range page {
		ev, err := twin.DecodeEvent(b)
		if err == nil && (ev.Thing != f.name || ev.Seq <= after) {
			err = fmt.Errorf("it says it is event %d of thing %.130q", ev.Seq, string(ev.Thing))
		}
		if err != nil {
			f.add(Finding{Fault: FaultFold, First: after + 1, Last: after + 1, Event: after + 1, Detail: "what comes here cannot be applied", Err: err})
			continue
		}
		if ev.Seq > last {
			return last, nil
		}
		after, f.time = ev.Seq, ev.Time
		f.report.Events++
		if err := f.apply(ctx, &ev); err != nil {
			return after, err
		}
	}
	return after, nil
}

// upTo reads what can be read after a seq, up to the event that cannot.
func (f *folder) upTo(ctx context.Context, after twin.Seq) ([][]byte, twin.Seq, error) {
	for limit := pageEventsFirst / 4; ; limit /= 4 {
		page, err := f.src.ThingEvents(ctx, store.ThingRange{Thing: f.name, From: dayStart(f.time), After: after, Limit: limit})
		if err == nil || limit <= 1 {
			if err != nil {
				err = fmt.Errorf("read event %d: %w", after+1, err)
			}
			return page, after, err
		}
	}
}

// apply folds one event and checks its snapshot.
func (f *folder) apply(ctx context.Context, ev *twin.Event) error {
	if ev.Kind != twin.EventUpdated && ev.Kind != twin.EventDeleted {
		return nil
	}
	s, err := f.shadow(ctx, ev.Shadow)
	if err != nil {
		return err
	}
	if ev.Seq <= s.seq { // the state left by expiry has it already
		return nil
	}
	s.seq = ev.Seq
	var next *twin.Shadow
	if !s.unknown {
		if next, err = twin.Fold(s.state, ev); err != nil {
			// If what was before has expired without a trace, it begins here.
			if s.state != nil || s.from != 0 || len(ev.Snapshot) == 0 {
				f.add(Finding{Fault: FaultFold, Shadow: ev.Shadow, First: s.from + 1, Last: ev.Seq, Event: ev.Seq, Err: err})
			}
			next, s.unknown = nil, true
		}
	}
	s.state = next
	if len(ev.Snapshot) > 0 {
		f.snapshot(s, ev)
	}
	f.compareIfThere(ev.Shadow, s)
	return nil
}

// snapshot compares the folded state with that in an event. After a difference the
// fold goes on from the snapshot, so that it is reported once.
func (f *folder) snapshot(s *folded, ev *twin.Event) {
	if !s.unknown {
		if f.buf = s.state.AppendBinary(f.buf[:0]); bytes.Equal(f.buf, ev.Snapshot) {
			s.from = ev.Seq
			return
		}
		f.add(Finding{
			Fault: FaultSnapshot, Shadow: ev.Shadow, First: s.from + 1, Last: ev.Seq, Event: ev.Seq,
			Detail: "the snapshot in it is not what the events of the shadow up to it give; " + difference(f.buf, ev.Snapshot),
		})
	}
	state, err := twin.DecodeShadow(ev.Snapshot)
	if err != nil {
		if s.unknown {
			f.add(Finding{Fault: FaultSnapshot, Shadow: ev.Shadow, First: s.from + 1, Last: ev.Seq, Event: ev.Seq, Err: err})
		}
		return
	}
	s.state, s.from, s.unknown = state, ev.Seq, false
}

// shadow returns the fold of a shadow, begun from what expiry left of it.
func (f *folder) shadow(ctx context.Context, name twin.ShadowName) (*folded, error) {
	if s := f.shadows[name]; s != nil {
		return s, nil
	}
	s := &folded{}
	f.shadows[name] = s
	key := twin.ShadowKey{Thing: f.name, Shadow: name}
	base, ok, err := baseOf(ctx, f.src, key)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil && ok {
		err = s.begin(key, base)
	}
	if err != nil {
		f.add(Finding{Fault: FaultSnapshot, Shadow: name, Detail: "the state left by what has expired", Err: err})
		s.unknown = true
	}
	return s, nil
}

func (s *folded) begin(key twin.ShadowKey, base store.Base) error {
	ev, err := twin.DecodeEvent(base.Event)
	if err != nil {
		return err
	}
	if ev.Thing != key.Thing || ev.Shadow != key.Shadow {
		return fmt.Errorf("it is of %s", twin.ShadowKey{Thing: ev.Thing, Shadow: ev.Shadow})
	}
	if len(ev.Snapshot) == 0 {
		return errors.New("it has no snapshot")
	}
	if s.state, err = twin.DecodeShadow(ev.Snapshot); err != nil {
		return err
	}
	s.seq, s.from = ev.Seq, ev.Seq
	return nil
}

// namesPage is how many shadows of a thing are listed at once.
const namesPage = 256

// readStored reads the stored shadows: those with events, and those alive without any.
// It returns the newest seq among them.
func (f *folder) readStored(ctx context.Context) (twin.Seq, error) {
	if _, err := f.shadow(ctx, ""); err != nil { // the list does not have the classic one
		return 0, err
	}
	for after := twin.ShadowName(""); ; {
		names, err := f.src.ShadowNames(ctx, f.name, after, namesPage)
		if err != nil {
			return 0, fmt.Errorf("list shadows: %w", err)
		}
		for _, name := range names {
			if _, err := f.shadow(ctx, name); err != nil {
				return 0, err
			}
			after = name
		}
		if len(names) < namesPage {
			break
		}
	}
	var newest twin.Seq
	for _, name := range slices.Sorted(maps.Keys(f.shadows)) {
		s := f.shadows[name]
		stored, err := f.src.Shadows(ctx, []twin.ShadowKey{{Thing: f.name, Shadow: name}})
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if err != nil {
			f.add(Finding{Fault: FaultUnreadable, Shadow: name, Detail: "the stored shadow", Err: err})
			s.compared = true
			continue
		}
		s.stored = stored[0]
		newest = max(newest, s.stored.Info.Seq)
		f.compareIfThere(name, s)
	}
	return newest, nil
}

// compareIfThere compares when the fold is where the stored shadow is.
func (f *folder) compareIfThere(name twin.ShadowName, s *folded) {
	if !s.compared && s.stored.Doc != nil && s.seq == s.stored.Info.Seq {
		f.compare(name, s)
	}
}

func (f *folder) compare(name twin.ShadowName, s *folded) {
	s.compared = true
	found := func(detail string) {
		f.add(Finding{Fault: FaultShadow, Shadow: name, First: s.from, Last: s.seq, Event: s.seq, Detail: detail})
	}
	switch {
	case s.unknown: // a finding already says why
		return
	case s.stored.Doc == nil && s.state == nil:
		return // of a thing without a classic shadow
	case s.stored.Doc == nil:
		found("its events give a shadow, the store has none")
	case s.state == nil:
		found("the store has a shadow, but no events of it are kept")
	case s.stored.Info.Seq != s.seq:
		found(fmt.Sprintf("its newest event is %d, the stored shadow is of event %d", s.seq, s.stored.Info.Seq))
	default:
		if f.buf = s.state.AppendBinary(f.buf[:0]); !bytes.Equal(f.buf, s.stored.Doc) {
			found("the stored shadow is not what its events give; " + difference(f.buf, s.stored.Doc))
		}
	}
	f.report.Shadows++
}

// difference says how two encodings of a shadow differ: want is folded.
func difference(want, got []byte) string {
	a, errA := twin.DecodeShadow(want)
	b, errB := twin.DecodeShadow(got)
	switch {
	case errA != nil || errB != nil:
		return fmt.Sprintf("it cannot be read: %v", errors.Join(errA, errB))
	case a.Version != b.Version:
		return fmt.Sprintf("it is of version %d, the events give %d", b.Version, a.Version)
	case a.DeletedAt != b.DeletedAt:
		return "one of them is deleted"
	}
	for i, pair := range [...][2]*twin.Node{{a.Desired, b.Desired}, {a.Reported, b.Reported}} {
		section := [...]string{"desired", "reported"}[i]
		if path, ok := differentLeaf(pair[0], pair[1]); ok {
			return "they differ at " + section + path
		}
	}
	return "they differ in their bytes only"
}

// differentLeaf returns the first path at which two sections differ in value or time.
func differentLeaf(a, b *twin.Node) (string, bool) {
	type leaf struct {
		value string
		stamp int64
	}
	collect := func(n *twin.Node) map[string]leaf {
		m := make(map[string]leaf)
		if n != nil {
			n.Leaves(func(path string, value []byte, stamp int64) { m[path] = leaf{string(value), stamp} })
		}
		return m
	}
	x, y := collect(a), collect(b)
	for _, m := range []map[string]leaf{x, y} {
		for _, path := range slices.Sorted(maps.Keys(m)) {
			if x[path] != y[path] {
				return "." + path, true
			}
		}
	}
	return "", (a == nil) != (b == nil)
}
