package proof

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Source is what [Verify] reads.
type Source interface {
	// LoggedThings lists every thing that has a head, also one without a live shadow, by
	// name, greater than after.
	LoggedThings(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error)
	Heads(ctx context.Context, things []twin.ThingName) ([]twin.Head, error)
	// ThingEvents returns canonical events in the order of the seq they are kept under.
	// An event that fails the store's own checks makes it fail; one before or after
	// it can still be read.
	ThingEvents(ctx context.Context, r store.ThingRange) ([][]byte, error)
	Anchors(ctx context.Context, thing twin.ThingName) ([]twin.Head, error)
}

// ShadowSource is what [Rebuild] reads.
type ShadowSource interface {
	Source
	Shadows(ctx context.Context, keys []twin.ShadowKey) ([]store.Shadow, error)
	ShadowNames(ctx context.Context, thing twin.ThingName, after twin.ShadowName, limit int) ([]twin.ShadowName, error)
}

// EventSource is what [Replay] reads.
type EventSource interface {
	ThingEvents(ctx context.Context, r store.ThingRange) ([][]byte, error)
}

// Bases is what a source has besides if events of it can expire:
// the state that was left of a shadow.
type Bases interface {
	Base(ctx context.Context, key twin.ShadowKey) (b store.Base, ok bool, err error)
}

// baseOf reads the base of a shadow, if there is one.
func baseOf(ctx context.Context, src EventSource, key twin.ShadowKey) (store.Base, bool, error) {
	if b, ok := src.(Bases); ok {
		return b.Base(ctx, key)
	}
	return store.Base{}, false, nil
}

// Limits of what is held in memory at once.
const (
	batchThings     = 64 // things handed to a worker at once
	findingsMax     = 10_000
	thingFindingMax = 64 // findings kept per thing, so that one bad thing does not hide the others
	probesMax       = 64 // segments of one thing that are looked at place by place
)

// Options of a run; the zero value works.
type Options struct {
	// Thing, if not empty, is the only one looked at.
	Thing twin.ThingName
	// Workers check things side by side; GOMAXPROCS.
	Workers int
	// Expired says what has expired: the events of a class of days before a day. Without
	// it whole segments that are missing before the oldest kept one count as expired,
	// and every other hole is a finding.
	Expired store.Policy
	// Progress, if not nil, is told about once a ProgressEvery (1 s) how far it is, from
	// one goroutine at a time. It needs Now.
	Progress      func(Progress)
	ProgressEvery time.Duration
	Now           func() time.Time
}

func (o Options) withDefaults() (Options, error) {
	if o.Progress != nil && o.Now == nil {
		return o, twin.NewError(twin.KindInvalid, "proof options: Progress needs Now")
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.ProgressEvery <= 0 {
		o.ProgressEvery = time.Second
	}
	return o, nil
}

// Progress says how far a run is.
type Progress struct {
	Things, Events uint64
	Elapsed        time.Duration
}

// Rate is in events a second.
func (p Progress) Rate() float64 { return float64(p.Events) / max(p.Elapsed.Seconds(), 1e-9) }

// Fault says what is wrong.
type Fault string

// The faults.
const (
	FaultMissing    Fault = "missing"    // an event is not there
	FaultDuplicate  Fault = "duplicate"  // an event is there more than once
	FaultSwapped    Fault = "swapped"    // two events are in each other's place
	FaultMisplaced  Fault = "misplaced"  // an event is in the place of another one
	FaultForeign    Fault = "foreign"    // an event of another thing is in the chain
	FaultExtra      Fault = "extra"      // an event is there beyond the head
	FaultDamaged    Fault = "damaged"    // the store says so, or the event cannot be read
	FaultAltered    Fault = "altered"    // the links do not fit
	FaultTime       Fault = "time"       // time steps back
	FaultAnchor     Fault = "anchor"     // an anchor is missing or wrong
	FaultTruncated  Fault = "truncated"  // the log ends before an exported head
	FaultRewritten  Fault = "rewritten"  // the chain is not the one whose head was exported
	FaultShadow     Fault = "shadow"     // a stored shadow is not what its events give
	FaultSnapshot   Fault = "snapshot"   // a snapshot in an event is not what the events before it give
	FaultFold       Fault = "fold"       // an event cannot be applied
	FaultUnreadable Fault = "unreadable" // the store cannot be read here
)

// Finding is one thing that is wrong.
type Finding struct {
	Fault  Fault
	Thing  twin.ThingName
	Shadow twin.ShadowName // where known
	// First and Last are the seqs of the segment, or of the range of events, that is
	// concerned.
	First, Last twin.Seq
	// Event is the one event at fault, 0 if that is not known. Other is the second of a swap.
	Event, Other twin.Seq
	Line         int // of the file, if it is one that is checked
	Detail       string
	Err          error // what the store said
}

// String names the place and says what is wrong there.
func (f Finding) String() string {
	s := ""
	if f.Line != 0 {
		s = fmt.Sprintf("line %d: ", f.Line)
	}
	s += "thing " + twin.ShadowKey{Thing: f.Thing, Shadow: f.Shadow}.String()
	switch {
	case f.Event != 0 && f.Other != 0:
		s += fmt.Sprintf(", events %d and %d", f.Event, f.Other)
	case f.Event != 0:
		s += fmt.Sprintf(", event %d", f.Event)
	}
	if f.Last != 0 {
		s += fmt.Sprintf(", segment %d-%d", f.First, f.Last)
	}
	s += ": " + string(f.Fault)
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

// Report is the outcome of a run.
type Report struct {
	Things   uint64
	Events   uint64 // looked at
	Segments uint64 // whose links were checked
	Shadows  uint64 // compared, by [Rebuild]
	Expired  uint64 // events that are gone by age
	Unproven uint64 // events without their links, see the package comment
	// Findings by thing and seq; Omitted were found but not kept.
	Findings []Finding
	Omitted  uint64
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Findings) == 0 && r.Omitted == 0 }

// WriteTo prints the findings, one per line, and what was looked at.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	var b []byte
	for _, f := range r.Findings {
		b = append(append(b, f.String()...), '\n')
	}
	if r.Omitted > 0 {
		b = fmt.Appendf(b, "and %d more\n", r.Omitted)
	}
	b = fmt.Appendf(b, "%d things, %d events, %d segments", r.Things, r.Events, r.Segments)
	if r.Shadows > 0 {
		b = fmt.Appendf(b, ", %d shadows", r.Shadows)
	}
	if r.Expired > 0 || r.Unproven > 0 {
		b = fmt.Appendf(b, "; %d events have expired, %d are kept without their links", r.Expired, r.Unproven)
	}
	b = fmt.Appendf(b, "; %d faults\n", uint64(len(r.Findings))+r.Omitted)
	n, err := w.Write(b)
	if err != nil {
		return int64(n), fmt.Errorf("write report: %w", err)
	}
	return int64(n), nil
}

// add keeps a finding if there is room.
func (r *Report) add(f Finding, limit int) {
	if len(r.Findings) >= limit {
		r.Omitted++
		return
	}
	r.Findings = append(r.Findings, f)
}

// merge adds what was found of a thing.
func (r *Report) merge(o *Report) {
	r.Things += o.Things
	r.Events += o.Events
	r.Segments += o.Segments
	r.Shadows += o.Shadows
	r.Expired += o.Expired
	r.Unproven += o.Unproven
	r.Omitted += o.Omitted
	for _, f := range o.Findings {
		r.add(f, findingsMax)
	}
}

func (r *Report) sort() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Thing, b.Thing), cmp.Compare(a.First, b.First), cmp.Compare(a.Event, b.Event))
	})
}

// Grouped is what a source has besides if events of different things can expire at
// different ages. Without it all things are taken for those of the default group.
type Grouped interface {
	Groups(ctx context.Context, thing twin.ThingName) (store.Groups, error)
}

// firstWholeDay returns the first day on which nothing at all of a thing has expired.
func (o *Options) firstWholeDay(ctx context.Context, src any, thing twin.ThingName) (uint32, error) {
	if len(o.Expired) == 0 {
		return 0, nil
	}
	var groups store.Groups
	if g, ok := src.(Grouped); ok {
		var err error
		if groups, err = g.Groups(ctx, thing); err != nil {
			return 0, fmt.Errorf("read its retention groups: %w", err)
		}
	}
	return max(groups.Begin(o.Expired, store.KindHistory), groups.Begin(o.Expired, store.KindLog)), nil
}

// dayStart returns the first instant of the day of t.
func dayStart(t twin.Time) twin.Time {
	const day = 24 * 60 * 60 * 1000
	return max(0, t-t%day)
}

// dayEnd returns the first instant after the day of t.
func dayEnd(t twin.Time) twin.Time {
	const day = 24 * 60 * 60 * 1000
	if t > math.MaxInt64-day {
		return math.MaxInt64
	}
	return t - t%day + day
}
