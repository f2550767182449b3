package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// testPast compares what is read of the past of things with the reference: several
// shadows, both classes, several days with gaps, anchors, every kind of range.
func testPast(t *testing.T, s *subject) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 7))
	ref := store.NewMemory()
	w := NewWorld(twin.Time(20_000) * day)
	things := []twin.ThingName{"a", "a-b", "b"}
	for i := range 400 {
		w.Now += twin.Time(rnd.Int64N(int64(day) / 20))
		if rnd.IntN(50) == 0 {
			w.Now += 3 * day
		}
		key := twin.ShadowKey{Thing: things[rnd.IntN(len(things))], Shadow: []twin.ShadowName{"", "x", "$y"}[rnd.IntN(3)]}
		m := w.Mutation(key, fmt.Sprintf(`{"reported":{"n":%d}}`, i), "doc", true)
		if rnd.IntN(3) == 0 {
			m = asEntry(m)
		}
		if m.Expect > 0 && rnd.IntN(10) == 0 {
			m.Anchor = w.Head(key.Thing)
		}
		for _, to := range []store.Store{s.Store, ref} {
			out, err := to.Commit(context.Background(), []store.Mutation{m})
			if err != nil || out[0] != store.Committed {
				t.Fatalf("commit %d: %v %v", i, out, err)
			}
		}
		w.heads[m.Thing] = m.Head
		if m.Doc != nil {
			w.Accept(m)
		}
	}
	for range 300 {
		r := store.ThingRange{Thing: things[rnd.IntN(len(things))], Limit: 1 + rnd.IntN(60), Newest: rnd.IntN(2) == 0}
		r.Classes = [][]store.Class{nil, {store.ClassHistory}, {store.ClassLog}}[rnd.IntN(3)]
		span := int64(w.Now - 20_000*day)
		if rnd.IntN(2) == 0 {
			r.From = 20_000*day + twin.Time(rnd.Int64N(span))
		}
		if rnd.IntN(2) == 0 {
			r.To = 20_000*day + twin.Time(rnd.Int64N(span))
		}
		if rnd.IntN(2) == 0 {
			r.After = twin.Seq(rnd.Uint64N(uint64(w.Head(r.Thing).Seq) + 2))
		}
		got, err := s.ThingEvents(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		want, err := ref.ThingEvents(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%+v: want %d events, got %d\n%s", r, len(want), len(got), diff)
		}
	}
	for _, r := range []struct {
		after twin.ThingName
		limit int
	}{{"", 10}, {"", 2}, {"a", 10}, {"a-", 1}, {"b", 5}} {
		got, err := s.LoggedThings(context.Background(), r.after, r.limit)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := ref.LoggedThings(context.Background(), r.after, r.limit) // it cannot fail
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("things after %q: %s", r.after, diff)
		}
	}
	for _, thing := range append(things, "never") {
		got, err := s.Anchors(context.Background(), thing)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := ref.Anchors(context.Background(), thing) // it cannot fail
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("anchors of %s: %s", thing, diff)
		}
	}
	if _, err := s.ThingEvents(context.Background(), store.ThingRange{Thing: "a"}); twin.Kind(err) != twin.KindInvalid {
		t.Errorf("no limit: %v", err)
	}
}

const day = twin.Time(24 * 60 * 60 * 1000)

// asEntry makes a mutation one that changes no shadow.
func asEntry(m store.Mutation) store.Mutation {
	m.Class, m.Shadow, m.Doc, m.Live, m.Info = store.ClassLog, "", nil, false, store.ShadowInfo{}
	return m
}
