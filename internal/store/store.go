// Package store is the contract between the write path and whatever keeps the
// bytes: the only seam between one machine and many. Nothing above it may know
// which store is below.
//
// [Store] is the contract; its suite is in storetest, and every implementation
// passes it. [NewMemory] is the reference: slow, obvious, not durable.
package store

import (
	"context"

	"github.com/twofold-iot/twofold/twin"
)

// Pos is the position of a mutation in the log of this store: it counts up by one
// with every mutation that is committed, and orders everything. It is also the
// [twin.Revision] of the records written with it. Clients see it only inside opaque cursors.
type Pos uint64

// Outcome is the fate of one mutation of a commit.
type Outcome uint8

// The outcomes.
const (
	Conflict  Outcome = iota // something was not at the revision expected: nothing of this mutation was written
	Committed                // durable
)

// Mutation is one change to be made durable as a whole: the event of one thing
// with the shadow after it, or records alone, or both.
type Mutation struct {
	// Thing is empty when only records are written.
	Thing twin.ThingName
	// Expect is the Seq of the thing's head on which this was built. Another value
	// in the store is a Conflict. Mutations of one thing in one commit chain: the
	// second expects what the first makes, and after a Conflict of one all later
	// ones of that thing in that commit are Conflicts too, even if a stranger's
	// write happens to have the Seq they expect: they were built on the one that
	// was not written.
	Expect twin.Seq
	// Event is the canonical encoding of the event; Head is the thing's head after
	// it, Head.Seq = Expect+1.
	Event []byte
	Head  twin.Head
	// Shadow is the name of the shadow changed, Doc its new encoding (opaque to
	// the store), Live whether it exists after the change (a tombstone does not).
	// Info rides with the document. An event that changes no shadow has no Doc.
	Shadow twin.ShadowName
	Doc    []byte
	Live   bool
	Info   ShadowInfo
	// Anchor, if its Seq is not 0, closes a segment of the thing's chain: the head
	// before this event, to be kept after the events it covers have expired.
	Anchor twin.Head
	// Class is the retention class of the event.
	Class Class
	// Records are written with the event, or alone.
	Records []twin.RecordWrite
}

// ShadowInfo is kept beside a shadow's document.
type ShadowInfo struct {
	Seq           twin.Seq // of the newest event of this shadow
	SinceSnapshot uint16   // events of this shadow since its last snapshot event
	SnapshotDay   uint32   // day of that snapshot
	// SnapshotGroup is its group. An event of another group than the last snapshot has
	// one itself, so that no fold goes over events of two groups.
	SnapshotGroup Group
}

// Shadow is a stored shadow. Doc is nil when there never was one.
type Shadow struct {
	Doc  []byte
	Info ShadowInfo
}

// FeedEntry is one entry of the log in commit order.
type FeedEntry struct {
	Pos   Pos
	Event []byte // canonical
}

// EventRange selects events of one shadow of one thing by commit time.
type EventRange struct {
	Key      twin.ShadowKey
	From, To twin.Time // from <= time < to; To zero: no end
	Newest   bool      // newest first, else oldest first
	Limit    int       // at most so many; must be positive
}

// ThingRange selects events of one thing over all its shadows, kinds and groups, in
// the order of their seq.
type ThingRange struct {
	Thing    twin.ThingName
	Kinds    []Kind    // none: all
	From, To twin.Time // From <= commit time < To; To zero: no end
	// After is the seq from which to go on, itself excluded: events with a greater
	// one, or with a smaller one when Newest is set. Zero: from the start.
	After  twin.Seq
	Newest bool // newest first, else oldest first
	Limit  int  // at most so many; must be positive
}

// Holds reports whether an event is in the range.
func (r *ThingRange) Holds(seq twin.Seq, t twin.Time) bool {
	switch {
	case t < r.From, r.To != 0 && t >= r.To:
		return false
	case r.After == 0:
		return true
	case r.Newest:
		return seq < r.After
	}
	return seq > r.After
}

// Past reads what the store keeps of a thing beyond single shadows. The past of a thing
// whose model changed has no holes, although its groups expire one by one: what is before
// the newest event of a shadow that has expired is not returned, nor are other events
// of days before the newest that has expired.
type Past interface {
	// ThingEvents returns canonical events.
	ThingEvents(ctx context.Context, r ThingRange) ([][]byte, error)
	// DayEvents returns for each thing the first so many canonical events of its classic shadow
	// on a UTC day since 1970, of retention group 0, in order of seq, whether durable or not.
	// It is fastest with the things in order of name.
	DayEvents(ctx context.Context, day uint32, things []twin.ThingName, limit int) ([][][]byte, error)
	// LoggedThings lists every thing that has an event, also one without a live
	// shadow, by name, greater than after.
	LoggedThings(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error)
	// Anchors returns the anchors of a thing's chain in order of seq.
	Anchors(ctx context.Context, thing twin.ThingName) ([]twin.Head, error)
	// Groups returns the retention groups of a thing.
	Groups(ctx context.Context, thing twin.ThingName) (Groups, error)
	// Base returns what expiry left of a shadow; ok is false if no event of it has
	// expired.
	Base(ctx context.Context, key twin.ShadowKey) (b Base, ok bool, err error)
}

// RecordRange selects records of a kind whose key starts with Prefix and is
// greater than After, in key order.
type RecordRange struct {
	Kind          twin.RecordKind
	Prefix, After string
	Limit         int // must be positive
}

// Space tells how much room the store has.
type Space struct {
	FreeBytes uint64 // of the file system the store is on
	UsedBytes uint64 // by the store
	ReadOnly  bool   // below the low-water mark: commits answer KindFull
}

// Writer makes changes durable.
type Writer interface {
	// Commit makes a group of mutations durable, in order, each whole or not at
	// all, and returns an outcome for each. It returns only when they are synced.
	// It may be called by several goroutines.
	//
	// An error means the fate of every mutation is UNKNOWN, never "no": the caller
	// must read again before it answers anybody. The exceptions are errors of kind
	// KindFull (see [Space]) and KindInvalid (see [Check]): nothing was written.
	// Once the store is fenced after an I/O error each call, reads too, fails with
	// KindUnavailable. When ctx ends first the error is of that kind too, and the
	// commit goes on by itself.
	//
	// Head.Time must not step back within a thing; that is the caller's duty.
	// The caller may reuse the mutations' memory after the return.
	Commit(ctx context.Context, ms []Mutation) ([]Outcome, error)
}

// Reader reads what is durable and nothing else: a value whose commit is still
// being synced is waited for, and lists stop before it or wait. The bytes
// returned belong to the caller.
type Reader interface {
	// Heads returns the head of each thing, zero for one that has no event.
	Heads(ctx context.Context, things []twin.ThingName) ([]twin.Head, error)
	// Shadows returns each shadow, tombstones too; zero for one that never was.
	Shadows(ctx context.Context, keys []twin.ShadowKey) ([]Shadow, error)
	// Things lists things that have a live shadow, by name, greater than after.
	Things(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error)
	// ShadowNames lists the live shadows of a thing by name, greater than after;
	// the classic shadow is the empty name and comes first (after "" skips it, so
	// ask for it by Shadows).
	ShadowNames(ctx context.Context, thing twin.ThingName, after twin.ShadowName, limit int) ([]twin.ShadowName, error)
	// NamedShadows lists the live named shadows of all things, by thing and name, greater than
	// after. The classic ones it passes over cost almost nothing.
	NamedShadows(ctx context.Context, after twin.ShadowKey, limit int) ([]twin.ShadowKey, error)
}

// Log reads the past.
type Log interface {
	// Events returns canonical events of one shadow, those of [KindHistory].
	Events(ctx context.Context, r EventRange) ([][]byte, error)
	// Feed returns the events after a position, in order; empty when there are none.
	Feed(ctx context.Context, after Pos, limit int) ([]FeedEntry, error)
	// Head returns the position of the newest durable mutation. Mutations that write
	// records alone take a position too but are no entries of the feed.
	Head(ctx context.Context) (Pos, error)
}

// Records reads small records.
type Records interface {
	Record(ctx context.Context, kind twin.RecordKind, key string) (r twin.Record, ok bool, err error)
	ListRecords(ctx context.Context, r RecordRange) ([]twin.Record, error)
}

// Store is the whole contract.
type Store interface {
	Writer
	Reader
	Log
	Past
	Records
	Samples
	Expirer
	// Space tells how much room there is; it is cheap enough to be asked often.
	Space() Space
	// Fenced is closed after an I/O error that stops all commits; Fault then says
	// what failed.
	Fenced() <-chan struct{}
	Fault() error
	// Close waits for what runs and releases everything. It may be called twice.
	// After a fence it waits for nothing and releases nothing: what an I/O error
	// left half done must not go on, so the process has to end.
	Close() error
}
