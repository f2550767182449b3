// Package storetest is the suite that every [store.Store] passes, with what it takes
// to test the layers above a store: [World] makes mutations as the engine would,
// [Faulty] injects failures.
package storetest

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Run runs the suite. open returns an empty store; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	run(t, func(t *testing.T) *subject {
		return &subject{open: func(t *testing.T, _ string) store.Store { return open(t) }}
	})
}

// RunDurable runs the suite on a store that keeps what it has in a folder. It is
// closed and opened again in the middle of the tests.
func RunDurable(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	run(t, func(t *testing.T) *subject {
		return &subject{open: open, dir: t.TempDir(), durable: true}
	})
	t.Run("reopen keeps all", func(t *testing.T) { testReopen(t, open) })
}

func run(t *testing.T, subjectOf func(t *testing.T) *subject) {
	tests := []struct {
		name string
		test func(t *testing.T, s *subject)
	}{
		{"empty", testEmpty},
		{"one update", testOneUpdate},
		{"conflicts are per mutation", testConflicts},
		{"mutations of one thing chain", testChain},
		{"records", testRecords},
		{"record expectations", testRecordExpectations},
		{"records ride with events", testRecordsWithEvents},
		{"lists page", testPaging},
		{"tombstones", testTombstones},
		{"events by time", testEvents},
		{"classes", testClasses},
		{"the past of things", testPast},
		{"feed", testFeed},
		{"samples", testSamples},
		{"invalid mutations", testInvalid},
		{"invalid limits", testLimits},
		{"memory belongs to the caller", testOwnership},
		{"a caller who gave up", testCancelled},
		{"concurrent commits", testConcurrent},
		{"closed", testClosed},
		{"random histories", testHistories},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := subjectOf(t)
			s.Store = s.open(t, s.dir)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test.test(t, s)
		})
	}
}

// subject is the store under test with shorthands that fail the test on errors.
type subject struct {
	store.Store
	open    func(t *testing.T, dir string) store.Store
	dir     string
	durable bool
}

// start is when the suite's worlds begin, an hour before midnight UTC.
var start = twin.TimeOf(time.Date(2026, 11, 22, 23, 0, 0, 0, time.UTC))

func (s *subject) commit(t *testing.T, ms ...store.Mutation) []store.Outcome {
	t.Helper()
	outcomes, err := s.Commit(t.Context(), ms)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	if len(outcomes) != len(ms) {
		t.Fatalf("got %d outcomes of %d mutations", len(outcomes), len(ms))
	}
	return outcomes
}

// mustCommit commits and wants every mutation committed; w accepts them.
func (s *subject) mustCommit(t *testing.T, w *World, ms ...store.Mutation) {
	t.Helper()
	for i, o := range s.commit(t, ms...) {
		if o != store.Committed {
			t.Fatalf("mutation %d: got outcome %d, want Committed", i, o)
		}
		w.Accept(ms[i])
	}
}

func (s *subject) head(t *testing.T, thing twin.ThingName) twin.Head {
	t.Helper()
	heads, err := s.Heads(t.Context(), []twin.ThingName{thing})
	if err != nil {
		t.Fatalf("heads: %v", err)
	}
	return heads[0]
}

func (s *subject) shadow(t *testing.T, key twin.ShadowKey) store.Shadow {
	t.Helper()
	shadows, err := s.Shadows(t.Context(), []twin.ShadowKey{key})
	if err != nil {
		t.Fatalf("shadows: %v", err)
	}
	return shadows[0]
}

func (s *subject) feed(t *testing.T, after store.Pos) []store.FeedEntry {
	t.Helper()
	entries, err := s.Feed(t.Context(), after, 1<<20)
	if err != nil {
		t.Fatalf("feed: %v", err)
	}
	return entries
}

func (s *subject) record(t *testing.T, kind twin.RecordKind, key string) (twin.Record, bool) {
	t.Helper()
	r, ok, err := s.Record(t.Context(), kind, key)
	if err != nil {
		t.Fatalf("record: %v", err)
	}
	return r, ok
}

func wantKind(t *testing.T, what string, err error, want twin.ErrorKind) {
	t.Helper()
	if err == nil || twin.Kind(err) != want {
		t.Fatalf("%s: got error %v, want one of kind %d", what, err, want)
	}
}

func wantEqual(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) { // the difference takes long to find
		t.Fatalf("%s (-want +got):\n%s", what, cmp.Diff(want, got))
	}
}

func records(ws ...twin.RecordWrite) store.Mutation { return store.Mutation{Records: ws} }

// Dump returns all there is to read in a store, in a form that can be compared. It
// is for tests: everything is in memory at once.
func Dump(ctx context.Context, s store.Store) (*Contents, error) {
	c := &Contents{}
	var err error
	if c.Head, err = s.Head(ctx); err != nil {
		return nil, err
	}
	if c.Feed, err = s.Feed(ctx, 0, 1<<30); err != nil {
		return nil, err
	}
	if c.Things, err = s.Things(ctx, "", 1<<30); err != nil {
		return nil, err
	}
	things, keys, err := named(c.Feed)
	if err != nil {
		return nil, err
	}
	if c.Heads, err = s.Heads(ctx, things); err != nil {
		return nil, err
	}
	if c.Shadows, err = s.Shadows(ctx, keys); err != nil {
		return nil, err
	}
	for _, key := range keys {
		events, err := s.Events(ctx, store.EventRange{Key: key, Limit: 1 << 30})
		if err != nil {
			return nil, err
		}
		c.Events = append(c.Events, events)
	}
	for kind := range twin.RecordKind(8) {
		rs, err := s.ListRecords(ctx, store.RecordRange{Kind: kind, Limit: 1 << 30})
		if err != nil {
			return nil, err
		}
		c.Records = append(c.Records, rs...)
	}
	return c, nil
}

// Contents is what [Dump] found. Heads are in the order in which things first occur
// in the feed, shadows and their events likewise.
type Contents struct {
	Head    store.Pos
	Feed    []store.FeedEntry
	Things  []twin.ThingName
	Heads   []twin.Head
	Shadows []store.Shadow
	Events  [][][]byte
	Records []twin.Record
}

// named returns the things and shadows of the feed in the order of their first event.
func named(feed []store.FeedEntry) (things []twin.ThingName, keys []twin.ShadowKey, err error) {
	seenThing := make(map[twin.ThingName]bool)
	seenKey := make(map[twin.ShadowKey]bool)
	for _, entry := range feed {
		e, err := twin.DecodeEvent(entry.Event)
		if err != nil {
			return nil, nil, fmt.Errorf("event at %d: %w", entry.Pos, err)
		}
		key := twin.ShadowKey{Thing: e.Thing, Shadow: e.Shadow}
		if !seenThing[e.Thing] {
			seenThing[e.Thing] = true
			things = append(things, e.Thing)
		}
		if !seenKey[key] {
			seenKey[key] = true
			keys = append(keys, key)
		}
	}
	return things, keys, nil
}

// Check reports whether a store's contents agree with each other: the seqs of
// things have no gap, the hash chains hold, heads, shadows and histories
// say what the feed says.
func (c *Contents) Check() error {
	things, keys, err := named(c.Feed)
	if err != nil {
		return err
	}
	heads := make(map[twin.ThingName]twin.Head)
	newest := make(map[twin.ShadowKey]twin.Seq)
	events := make(map[twin.ShadowKey][][]byte)
	var last store.Pos
	for _, entry := range c.Feed {
		e, err := twin.DecodeEvent(entry.Event)
		if err != nil {
			return fmt.Errorf("event at %d: %w", entry.Pos, err)
		}
		h := heads[e.Thing]
		switch {
		case entry.Pos <= last || entry.Pos > c.Head:
			return fmt.Errorf("position %d after %d, the head is %d", entry.Pos, last, c.Head)
		case e.Seq != h.Seq+1:
			return fmt.Errorf("position %d: event %d of thing %s after %d", entry.Pos, e.Seq, e.Thing, h.Seq)
		}
		last = entry.Pos
		key := twin.ShadowKey{Thing: e.Thing, Shadow: e.Shadow}
		heads[e.Thing] = twin.Head{Seq: e.Seq, Hash: h.Hash.Next(entry.Event), Time: e.Time}
		newest[key] = e.Seq
		events[key] = append(events[key], entry.Event)
	}
	for i, thing := range things {
		if c.Heads[i] != heads[thing] {
			return fmt.Errorf("thing %s: head %v, the feed says %v", thing, c.Heads[i], heads[thing])
		}
	}
	for i, key := range keys {
		if c.Shadows[i].Info.Seq != newest[key] {
			return fmt.Errorf("shadow %s is of event %d, the feed says %d", key, c.Shadows[i].Info.Seq, newest[key])
		}
		if !reflect.DeepEqual(events[key], c.Events[i]) {
			return fmt.Errorf("history of %s (-feed +history):\n%s", key, cmp.Diff(events[key], c.Events[i]))
		}
	}
	return nil
}
