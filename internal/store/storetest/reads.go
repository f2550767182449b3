package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

func testRecords(t *testing.T, s *subject) {
	put := func(kind twin.RecordKind, key, value string) twin.RecordWrite {
		return twin.RecordWrite{Kind: kind, Key: key, Value: []byte(value)}
	}
	s.commit(t,
		records(put(1, "b", "one"), put(1, "a", ""), put(2, "a", "other kind")),
		records(put(1, "b", "two"), put(1, "\xff\xff", "top"), put(1, "a/x", "below")),
		records(twin.RecordWrite{Kind: 1, Key: "never"}),
	)
	wantEqual(t, "head", first1(s.Head(t.Context())), store.Pos(3))
	r, ok := s.record(t, 1, "b")
	wantEqual(t, "record", r, twin.Record{Kind: 1, Key: "b", Value: []byte("two"), Revision: 2})
	if !ok {
		t.Fatal("the record is not there")
	}
	r, ok = s.record(t, 1, "a")
	if !ok || r.Value == nil || len(r.Value) != 0 {
		t.Fatalf("an empty value reads as %#v, %t; it is not a deletion", r.Value, ok)
	}
	list := func(r store.RecordRange) (keys []string) {
		rs, err := s.ListRecords(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			keys = append(keys, r.Key)
		}
		return keys
	}
	wantEqual(t, "all", list(store.RecordRange{Kind: 1, Limit: 9}), []string{"a", "a/x", "b", "\xff\xff"})
	wantEqual(t, "by prefix", list(store.RecordRange{Kind: 1, Prefix: "a", Limit: 9}), []string{"a", "a/x"})
	wantEqual(t, "prefix of 0xff", list(store.RecordRange{Kind: 1, Prefix: "\xff", Limit: 9}), []string{"\xff\xff"})
	wantEqual(t, "after", list(store.RecordRange{Kind: 1, After: "a", Limit: 2}), []string{"a/x", "b"})
	wantEqual(t, "after, before the prefix", list(store.RecordRange{Kind: 1, Prefix: "b", After: "a", Limit: 2}), []string{"b"})
	wantEqual(t, "after, behind the prefix", list(store.RecordRange{Kind: 1, Prefix: "a", After: "b", Limit: 2}), []string(nil))
	wantEqual(t, "another kind", list(store.RecordRange{Kind: 2, Limit: 9}), []string{"a"})
	wantEqual(t, "no such kind", list(store.RecordRange{Kind: 9, Limit: 9}), []string(nil))

	s.commit(t, records(twin.RecordWrite{Kind: 1, Key: "b"}))
	if _, ok := s.record(t, 1, "b"); ok {
		t.Fatal("a deleted record is there")
	}
	wantEqual(t, "after the delete", list(store.RecordRange{Kind: 1, Limit: 9}), []string{"a", "a/x", "\xff\xff"})
	if n := len(s.feed(t, 0)); n != 0 {
		t.Fatalf("records made %d entries in the feed", n)
	}
}

func first1[T any](v T, _ error) T { return v }

func testRecordExpectations(t *testing.T, s *subject) {
	write := func(value string, expect twin.Revision) store.Outcome {
		t.Helper()
		w := twin.RecordWrite{Kind: 1, Key: "k", Expect: expect}
		if value != "" {
			w.Value = []byte(value)
		}
		return s.commit(t, records(w))[0]
	}
	wantEqual(t, "exact, but absent", write("x", 5), store.Conflict)
	wantEqual(t, "absent", write("one", twin.RevisionAbsent), store.Committed)
	wantEqual(t, "absent, but there", write("x", twin.RevisionAbsent), store.Conflict)
	r, _ := s.record(t, 1, "k")
	wantEqual(t, "record", r, twin.Record{Kind: 1, Key: "k", Value: []byte("one"), Revision: 1})
	wantEqual(t, "exact", write("two", r.Revision), store.Committed)
	wantEqual(t, "stale", write("x", r.Revision), store.Conflict)
	wantEqual(t, "stale delete", write("", r.Revision), store.Conflict)
	wantEqual(t, "any", write("three", twin.RevisionAny), store.Committed)
	r, _ = s.record(t, 1, "k")
	wantEqual(t, "record", r, twin.Record{Kind: 1, Key: "k", Value: []byte("three"), Revision: 3})
	wantEqual(t, "exact delete", write("", r.Revision), store.Committed)
	wantEqual(t, "absent after the delete", write("four", twin.RevisionAbsent), store.Committed)

	// All of a mutation or nothing; the next one in the commit sees what it did.
	absent := twin.RecordWrite{Kind: 1, Key: "new", Value: []byte("v"), Expect: twin.RevisionAbsent}
	taken := twin.RecordWrite{Kind: 1, Key: "k", Value: []byte("x"), Expect: twin.RevisionAbsent}
	wantEqual(t, "outcomes", s.commit(t, records(absent, taken), records(absent), records(absent)),
		[]store.Outcome{store.Conflict, store.Committed, store.Conflict})
	del := twin.RecordWrite{Kind: 1, Key: "new"}
	wantEqual(t, "delete and put again", s.commit(t, records(del), records(absent)), []store.Outcome{1, 1})
}

func testRecordsWithEvents(t *testing.T, s *subject) {
	w := NewWorld(start)
	key := twin.ShadowKey{Thing: "lamp"}
	m := w.Mutation(key, `{}`, "one", true)
	m.Records = []twin.RecordWrite{{Kind: 3, Key: "q/1", Value: []byte("queued"), Expect: twin.RevisionAbsent}}
	s.mustCommit(t, w, m)
	r, _ := s.record(t, 3, "q/1")
	wantEqual(t, "record", r, twin.Record{Kind: 3, Key: "q/1", Value: []byte("queued"), Revision: 1})

	m = w.Mutation(key, `{}`, "two", true)
	m.Records = []twin.RecordWrite{
		{Kind: 3, Key: "q/2", Value: []byte("x")},
		{Kind: 3, Key: "q/1", Value: []byte("x"), Expect: twin.RevisionAbsent},
	}
	wantEqual(t, "outcome", s.commit(t, m), []store.Outcome{store.Conflict})
	if _, ok := s.record(t, 3, "q/2"); ok {
		t.Fatal("a record of a mutation in conflict was written")
	}
	wantEqual(t, "shadow", string(s.shadow(t, key).Doc), "one")

	stale := NewWorld(start).Mutation(key, `{}`, "stale", true)
	stale.Records = []twin.RecordWrite{{Kind: 3, Key: "q/3", Value: []byte("x")}}
	wantEqual(t, "outcome", s.commit(t, stale), []store.Outcome{store.Conflict})
	if _, ok := s.record(t, 3, "q/3"); ok {
		t.Fatal("a record of a mutation in conflict was written")
	}
}

func testPaging(t *testing.T, s *subject) {
	w := NewWorld(start)
	things := []twin.ThingName{"-", "1", "A", "A-", "A:", "AB", "_", "a", "a-b", "ab", "z"}
	shadows := []twin.ShadowName{"", "$a", "-", "A", "a", "a-", "ab"}
	var ms []store.Mutation
	for _, thing := range things {
		for _, shadow := range shadows {
			m := w.Mutation(twin.ShadowKey{Thing: thing, Shadow: shadow}, `{}`, "d", true)
			w.Accept(m)
			ms = append(ms, m)
		}
	}
	for i := range 20 { // more than a list steps over one by one
		m := w.Mutation(twin.ShadowKey{Thing: "A-", Shadow: twin.ShadowName(fmt.Sprint("many-", i))}, `{}`, "d", true)
		w.Accept(m)
		ms = append(ms, m)
	}
	s.commit(t, ms...)
	slices.Sort(things)
	for _, size := range []int{1, 2, 3, 100} {
		var got []twin.ThingName
		for after := twin.ThingName(""); ; after = got[len(got)-1] {
			page, err := s.Things(t.Context(), after, size)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) > size {
				t.Fatalf("got %d things, the limit is %d", len(page), size)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
		}
		wantEqual(t, fmt.Sprintf("things by %d", size), got, things)
		var names []twin.ShadowName
		for after := twin.ShadowName(""); ; after = names[len(names)-1] {
			page, err := s.ShadowNames(t.Context(), "AB", after, size)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			names = append(names, page...)
		}
		wantEqual(t, fmt.Sprintf("shadows by %d", size), names, shadows[1:])
		var keys []twin.ShadowName
		for after := (twin.ShadowKey{}); ; {
			page, err := s.NamedShadows(t.Context(), after, size)
			if err != nil || len(page) > size {
				t.Fatal(page, err)
			}
			if len(page) == 0 {
				break
			}
			for _, k := range page {
				if k.Thing == "AB" {
					keys = append(keys, k.Shadow)
				}
			}
			after = page[len(page)-1]
		}
		wantEqual(t, fmt.Sprintf("named shadows of all by %d", size), keys, shadows[1:])
	}
	between, err := s.Things(t.Context(), "AA", 2)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "after a name that is not there", between, []twin.ThingName{"AB", "_"})
}

func testTombstones(t *testing.T, s *subject) {
	w := NewWorld(start)
	classic, named := twin.ShadowKey{Thing: "a"}, twin.ShadowKey{Thing: "b", Shadow: "n"}
	s.mustCommit(t, w, w.Mutation(classic, `{}`, "a1", true), w.Mutation(named, `{}`, "b1", true))
	s.mustCommit(t, w, w.Mutation(classic, "", "a tombstone", false))
	things := func() []twin.ThingName { return first1(s.Things(t.Context(), "", 9)) }
	wantEqual(t, "things", things(), []twin.ThingName{"b"})
	wantEqual(t, "tombstone", string(s.shadow(t, classic).Doc), "a tombstone")
	wantEqual(t, "head", s.head(t, "a").Seq, twin.Seq(2))
	s.mustCommit(t, w, w.Mutation(twin.ShadowKey{Thing: "b"}, `{}`, "b classic", true))
	s.mustCommit(t, w, w.Mutation(named, "", "b tombstone", false))
	wantEqual(t, "things", things(), []twin.ThingName{"b"})
	wantEqual(t, "shadows", first1(s.ShadowNames(t.Context(), "b", "", 9)), []twin.ShadowName(nil))
	wantEqual(t, "named shadows", first1(s.NamedShadows(t.Context(), twin.ShadowKey{}, 9)), []twin.ShadowKey(nil))
	s.mustCommit(t, w, w.Mutation(classic, `{}`, "a again", true))
	wantEqual(t, "things", things(), []twin.ThingName{"a", "b"})
	wantEqual(t, "head", s.head(t, "a").Seq, twin.Seq(3))
}

func testEvents(t *testing.T, s *subject) {
	w := NewWorld(start)
	key, other := twin.ShadowKey{Thing: "a", Shadow: "x"}, twin.ShadowKey{Thing: "a", Shadow: "xx"}
	const hour = twin.Time(3600 * 1000)
	var all [][]byte
	for i := range 40 { // over three days and a gap of a hundred
		m := w.Mutation(key, fmt.Sprintf(`{"n":%d}`, i), "d", true)
		s.mustCommit(t, w, m)
		all = append(all, m.Event)
		for _, beside := range []twin.ShadowKey{other, {Thing: "a"}, {Thing: "0"}, {Thing: "b"}} {
			s.mustCommit(t, w, w.Mutation(beside, `{}`, "d", true))
		}
		w.Now += hour
		if i == 30 {
			w.Now += 100 * 24 * hour
		}
	}
	at := func(i int) twin.Time {
		e, err := twin.DecodeEvent(all[i])
		if err != nil {
			t.Fatal(err)
		}
		return e.Time
	}
	for name, test := range map[string]struct {
		r    store.EventRange
		want [][]byte
	}{
		"all":               {store.EventRange{Limit: 99}, all},
		"first":             {store.EventRange{Limit: 3}, all[:3]},
		"newest":            {store.EventRange{Limit: 3, Newest: true}, []([]byte){all[39], all[38], all[37]}},
		"from":              {store.EventRange{From: at(35), Limit: 99}, all[35:]},
		"to is excluded":    {store.EventRange{To: at(5), Limit: 99}, all[:5]},
		"within":            {store.EventRange{From: at(3) + 1, To: at(6) + 1, Limit: 99}, all[4:7]},
		"over the gap":      {store.EventRange{From: at(30), To: at(32), Limit: 99}, all[30:32]},
		"within the gap":    {store.EventRange{From: at(30) + 1, To: at(31), Limit: 99}, nil},
		"newest of a range": {store.EventRange{From: at(3), To: at(30), Newest: true, Limit: 2}, [][]byte{all[29], all[28]}},
		"backwards":         {store.EventRange{From: 9, To: 8, Limit: 2}, nil},
		"another shadow":    {store.EventRange{Key: twin.ShadowKey{Thing: "a", Shadow: "no"}, Limit: 2}, nil},
	} {
		if test.r.Key == (twin.ShadowKey{}) {
			test.r.Key = key
		}
		got, err := s.Events(t.Context(), test.r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantEqual(t, name, got, test.want)
	}
}

// An event of another class is in the feed, but not in the history of the shadow.
func testClasses(t *testing.T, s *subject) {
	w := NewWorld(start)
	key := twin.ShadowKey{Thing: "lamp"}
	history := w.Mutation(key, `{}`, "one", true)
	s.mustCommit(t, w, history)
	other := w.Mutation(key, `{}`, "two", true)
	other.Class = store.ClassLog
	s.mustCommit(t, w, other)
	events, err := s.Events(t.Context(), store.EventRange{Key: key, Limit: 9})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "history", events, [][]byte{history.Event})
	feed := s.feed(t, 0)
	if len(feed) != 2 || string(feed[1].Event) != string(other.Event) {
		t.Fatalf("the feed has %d entries, want both events", len(feed))
	}
	wantEqual(t, "head", s.head(t, "lamp"), other.Head)
}

func testFeed(t *testing.T, s *subject) {
	w := NewWorld(start)
	var want []store.FeedEntry
	pos := store.Pos(0)
	for i := range 30 {
		thing := twin.ThingName(fmt.Sprint("t", i%7))
		m := w.Mutation(twin.ShadowKey{Thing: thing}, `{}`, "d", true)
		s.mustCommit(t, w, m)
		pos++
		want = append(want, store.FeedEntry{Pos: pos, Event: m.Event})
		if i%5 == 0 { // takes a position, but is no entry
			s.commit(t, records(twin.RecordWrite{Kind: 1, Key: "k", Value: []byte("v")}))
			pos++
		}
		if i%11 == 10 {
			w.Now += 24 * 3600 * 1000
		}
		if i == 25 { // a thing whose clock is behind: the log goes on all the same
			w.Now -= 30 * 3600 * 1000
		}
	}
	for after := range pos + 3 {
		i := slices.IndexFunc(want, func(e store.FeedEntry) bool { return e.Pos > after })
		var rest []store.FeedEntry
		if i >= 0 {
			rest = want[i:]
		}
		wantEqual(t, fmt.Sprintf("feed after %d", after), s.feed(t, after), rest)
		page, err := s.Feed(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, fmt.Sprintf("two entries after %d", after), page, rest[:min(2, len(rest))])
	}
	wantEqual(t, "head", first1(s.Head(t.Context())), pos)
}

func testLimits(t *testing.T, s *subject) {
	for _, limit := range []int{0, -1} {
		ctx := t.Context()
		_, err := s.Things(ctx, "", limit)
		wantKind(t, "things", err, twin.KindInvalid)
		_, err = s.ShadowNames(ctx, "a", "", limit)
		wantKind(t, "shadow names", err, twin.KindInvalid)
		_, err = s.Events(ctx, store.EventRange{Limit: limit})
		wantKind(t, "events", err, twin.KindInvalid)
		_, err = s.Feed(ctx, 0, limit)
		wantKind(t, "feed", err, twin.KindInvalid)
		_, err = s.ListRecords(ctx, store.RecordRange{Limit: limit})
		wantKind(t, "list records", err, twin.KindInvalid)
	}
}
