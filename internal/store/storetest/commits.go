package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

func testEmpty(t *testing.T, s *subject) {
	wantEqual(t, "head of a thing that never was", s.head(t, "lamp-1"), twin.Head{})
	wantEqual(t, "shadow that never was", s.shadow(t, twin.ShadowKey{Thing: "lamp-1"}), store.Shadow{})
	c, err := Dump(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if c.Head != 0 || len(c.Feed)+len(c.Things)+len(c.Records) != 0 {
		t.Fatalf("got %+v, want nothing", c)
	}
	if _, ok := s.record(t, twin.RecordSession, "x"); ok {
		t.Fatal("a record that never was is there")
	}
	if outcomes := s.commit(t); len(outcomes) != 0 {
		t.Fatalf("an empty commit has outcomes %v", outcomes)
	}
	select {
	case <-s.Fenced():
		t.Fatal("a new store is fenced")
	default:
	}
	if err := s.Fault(); err != nil {
		t.Fatalf("a new store has the fault %v", err)
	}
}

func testOneUpdate(t *testing.T, s *subject) {
	w := NewWorld(start)
	key := twin.ShadowKey{Thing: "lamp-1"}
	m := w.Mutation(key, `{"reported":{"on":true}}`, "document 1", true)
	s.mustCommit(t, w, m)
	wantEqual(t, "head", s.head(t, "lamp-1"), m.Head)
	wantEqual(t, "shadow", s.shadow(t, key), store.Shadow{Doc: []byte("document 1"), Info: m.Info})
	wantEqual(t, "feed", s.feed(t, 0), []store.FeedEntry{{Pos: 1, Event: m.Event}})
	events, err := s.Events(t.Context(), store.EventRange{Key: key, Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "events", events, [][]byte{m.Event})
	things, err := s.Things(t.Context(), "", 10)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "things", things, []twin.ThingName{"lamp-1"})
	pos, err := s.Head(t.Context())
	if err != nil || pos != 1 {
		t.Fatalf("got head %d, %v, want 1", pos, err)
	}
}

func testConflicts(t *testing.T, s *subject) {
	w := NewWorld(start)
	a, b := twin.ShadowKey{Thing: "a"}, twin.ShadowKey{Thing: "b"}
	s.mustCommit(t, w, w.Mutation(a, `{}`, "a1", true), w.Mutation(b, `{}`, "b1", true))

	stale := NewWorld(start) // believes that nothing has happened
	a2, b2 := stale.Mutation(a, `{"n":2}`, "a2 stale", true), w.Mutation(b, `{"n":2}`, "b2", true)
	wantEqual(t, "outcomes", s.commit(t, a2, b2), []store.Outcome{store.Conflict, store.Committed})
	w.Accept(b2)
	wantEqual(t, "shadow after the conflict", string(s.shadow(t, a).Doc), "a1")
	wantEqual(t, "shadow beside the conflict", string(s.shadow(t, b).Doc), "b2")
	wantEqual(t, "head after the conflict", s.head(t, "a"), w.Head("a"))

	ahead := w.Mutation(a, `{}`, "a ahead", true)
	ahead.Expect, ahead.Head.Seq = 7, 8
	wantEqual(t, "outcome of one that is ahead", s.commit(t, ahead), []store.Outcome{store.Conflict})
	if n := len(s.feed(t, 0)); n != 3 {
		t.Fatalf("the feed has %d entries, want 3", n)
	}
	pos, err := s.Head(t.Context())
	if err != nil || pos != 3 {
		t.Fatalf("got head %d, %v; conflicts take no position, want 3", pos, err)
	}
}

func testChain(t *testing.T, s *subject) {
	w, classic, named := NewWorld(start), twin.ShadowKey{Thing: "pump"}, twin.ShadowKey{Thing: "pump", Shadow: "config"}
	var ms []store.Mutation
	for i, key := range []twin.ShadowKey{classic, named, classic, classic, named} {
		m := w.Mutation(key, fmt.Sprintf(`{"n":%d}`, i), fmt.Sprint("document ", i), true)
		w.Accept(m)
		ms = append(ms, m)
	}
	wantEqual(t, "outcomes", s.commit(t, ms...), []store.Outcome{1, 1, 1, 1, 1})
	wantEqual(t, "head", s.head(t, "pump"), ms[4].Head)
	wantEqual(t, "classic shadow", s.shadow(t, classic), store.Shadow{Doc: []byte("document 3"), Info: ms[3].Info})
	wantEqual(t, "named shadow", s.shadow(t, named), store.Shadow{Doc: []byte("document 4"), Info: ms[4].Info})
	for i, e := range s.feed(t, 0) {
		if string(e.Event) != string(ms[i].Event) {
			t.Fatalf("feed entry %d is not event %d", i, i)
		}
	}

	// After a conflict of one, those built on it are conflicts, even when a
	// stranger's write has the sequence that they expect.
	stale := w.Mutation(classic, `{}`, "stale", true)
	stale.Expect, stale.Head.Seq = stale.Expect-1, stale.Head.Seq-1
	fits := w.Mutation(classic, `{}`, "fits", true)
	other := w.Mutation(twin.ShadowKey{Thing: "other"}, `{}`, "other", true)
	wantEqual(t, "outcomes", s.commit(t, stale, fits, other), []store.Outcome{store.Conflict, store.Conflict, store.Committed})
	wantEqual(t, "classic shadow", string(s.shadow(t, classic).Doc), "document 3")
}

func testInvalid(t *testing.T, s *subject) {
	w := NewWorld(start)
	good := w.Mutation(twin.ShadowKey{Thing: "good"}, `{}`, "good", true)
	break1 := func(f func(m *store.Mutation)) store.Mutation {
		m := w.Mutation(twin.ShadowKey{Thing: "bad", Shadow: "s"}, `{}`, "bad", true)
		f(&m)
		return m
	}
	long := make([]byte, store.RecordKeyBytesMax+1)
	for name, bad := range map[string]store.Mutation{
		"nothing":           {},
		"event, no thing":   break1(func(m *store.Mutation) { m.Thing = "" }),
		"thing with a NUL":  break1(func(m *store.Mutation) { m.Thing = "a\x00b" }),
		"shadow with a NUL": break1(func(m *store.Mutation) { m.Shadow = "a\x00b" }),
		"no event":          break1(func(m *store.Mutation) { m.Event = nil }),
		"no document":       break1(func(m *store.Mutation) { m.Doc = nil }),
		"head out of step":  break1(func(m *store.Mutation) { m.Head.Seq = 5 }),
		"unknown class":     break1(func(m *store.Mutation) { m.Class = 200 }),
		"anchor ahead":      break1(func(m *store.Mutation) { m.Anchor.Seq = 5 }),
		"time before 1970":  break1(func(m *store.Mutation) { m.Head.Time = -1 }),
		"empty record key":  records(twin.RecordWrite{Kind: twin.RecordSession, Value: []byte("v")}),
		"long record key":   records(twin.RecordWrite{Kind: twin.RecordSession, Key: string(long), Value: []byte("v")}),
	} {
		_, err := s.Commit(t.Context(), []store.Mutation{good, bad})
		wantKind(t, name, err, twin.KindInvalid)
	}
	_, err := s.Commit(t.Context(), make([]store.Mutation, store.CommitMutationsMax+1))
	wantKind(t, "too many", err, twin.KindInvalid)
	wantEqual(t, "head of the valid mutation beside", s.head(t, "good"), twin.Head{})
}

func testOwnership(t *testing.T, s *subject) {
	w := NewWorld(start)
	key := twin.ShadowKey{Thing: "lamp"}
	m := w.Mutation(key, `{}`, "document", true)
	m.Records = []twin.RecordWrite{{Kind: twin.RecordRetained, Key: "t", Value: []byte("value")}}
	event := string(m.Event)
	s.mustCommit(t, w, m)
	clear(m.Event)
	clear(m.Doc)
	clear(m.Records[0].Value)
	for range 2 {
		shadow, feed := s.shadow(t, key), s.feed(t, 0)
		r, _ := s.record(t, twin.RecordRetained, "t")
		if string(shadow.Doc) != "document" || string(feed[0].Event) != event || string(r.Value) != "value" {
			t.Fatalf("got %q, %q, %q", shadow.Doc, feed[0].Event, r.Value)
		}
		clear(shadow.Doc)
		clear(feed[0].Event)
		clear(r.Value)
	}
}

func testCancelled(t *testing.T, s *subject) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := NewWorld(start)
	m := w.Mutation(twin.ShadowKey{Thing: "lamp"}, `{}`, "document", true)
	if _, err := s.Commit(ctx, []store.Mutation{m}); err != nil {
		wantKind(t, "commit", err, twin.KindUnavailable)
	}
	clear(m.Event) // the memory is the caller's again
	_, err := s.Heads(ctx, []twin.ThingName{"lamp"})
	wantKind(t, "heads", err, twin.KindUnavailable)
	// Its fate is unknown, but it is one or the other.
	next := NewWorld(start).Mutation(twin.ShadowKey{Thing: "lamp"}, `{"n":2}`, "document 2", true)
	committed := s.commit(t, next)[0] == store.Committed
	feed := s.feed(t, 0)
	if len(feed) != 1 {
		t.Fatalf("the feed has %d entries, want 1", len(feed))
	}
	if committed != (string(feed[0].Event) == string(next.Event)) {
		t.Fatal("the outcome of the second commit and the feed do not agree")
	}
}

func testClosed(t *testing.T, s *subject) {
	w := NewWorld(start)
	m := w.Mutation(twin.ShadowKey{Thing: "lamp"}, `{}`, "document", true)
	s.mustCommit(t, w, m)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	_, err := s.Commit(t.Context(), []store.Mutation{w.Mutation(twin.ShadowKey{Thing: "lamp"}, `{}`, "d", true)})
	wantKind(t, "commit", err, twin.KindUnavailable)
	_, err = s.Heads(t.Context(), []twin.ThingName{"lamp"})
	wantKind(t, "heads", err, twin.KindUnavailable)
	_, err = s.Feed(t.Context(), 0, 1)
	wantKind(t, "feed", err, twin.KindUnavailable)
	_, err = s.ListRecords(t.Context(), store.RecordRange{Kind: 1, Limit: 1})
	wantKind(t, "list records", err, twin.KindUnavailable)
}

// testConcurrent lets several committers fight for the same things, while readers
// check that what they see is durable, whole, and never steps back.
func testConcurrent(t *testing.T, s *subject) {
	const committers, rounds, things = 4, 60, 6
	var wins [committers]int
	var group, readers sync.WaitGroup
	done := make(chan struct{})
	readers.Go(func() { watch(t, s, done) })
	for i := range committers {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 7))
			for range rounds {
				thing := twin.ThingName(fmt.Sprint("thing-", rng.IntN(things)))
				heads, err := s.Heads(t.Context(), []twin.ThingName{thing})
				if err != nil {
					t.Errorf("heads: %v", err)
					return
				}
				w := NewWorld(start)
				w.heads[thing] = heads[0]
				m := w.Mutation(twin.ShadowKey{Thing: thing}, fmt.Sprint(i), fmt.Sprint(heads[0].Seq+1), true)
				outcomes, err := s.Commit(t.Context(), []store.Mutation{m})
				if err != nil {
					t.Errorf("commit: %v", err)
					return
				}
				if outcomes[0] == store.Committed {
					wins[i]++
				}
			}
		})
	}
	group.Wait()
	close(done)
	readers.Wait()
	c, err := Dump(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, n := range wins {
		total += n
	}
	if total != len(c.Feed) || total < rounds {
		t.Fatalf("%d commits were acknowledged, the feed has %d events", total, len(c.Feed))
	}
}

// watch follows the feed and the shadows until done.
func watch(t *testing.T, s *subject, done chan struct{}) {
	var cursor store.Pos
	newest := make(map[twin.ThingName]twin.Seq)
	for {
		head, err := s.Head(t.Context())
		if err != nil {
			t.Errorf("head: %v", err)
			return
		}
		entries, err := s.Feed(t.Context(), cursor, 3)
		if err != nil {
			t.Errorf("feed: %v", err)
			return
		}
		for _, entry := range entries {
			if entry.Pos != cursor+1 {
				t.Errorf("feed goes from %d to %d", cursor, entry.Pos)
				return
			}
			cursor = entry.Pos
			e, err := twin.DecodeEvent(entry.Event)
			if err != nil {
				t.Errorf("event: %v", err)
				return
			}
			newest[e.Thing] = e.Seq
		}
		for thing, seq := range newest {
			shadow := s.shadow(t, twin.ShadowKey{Thing: thing})
			if shadow.Info.Seq < seq || string(shadow.Doc) != fmt.Sprint(shadow.Info.Seq) {
				t.Errorf("shadow of %s is %q of event %d; the feed had %d", thing, shadow.Doc, shadow.Info.Seq, seq)
				return
			}
		}
		if len(entries) == 0 && cursor < head {
			t.Errorf("the feed ends at %d, the head is %d", cursor, head)
			return
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
