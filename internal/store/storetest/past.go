package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// testPast compares what is read of the past of things with the reference: several
// shadows, both kinds, several groups, several days with gaps, anchors, every kind of range.
func testPast(t *testing.T, s *subject) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	p := &pastTest{
		t: t, rnd: rand.New(rand.NewPCG(seed, 7)), store: s.Store, ref: store.NewMemory(),
		world: NewWorld(firstDay * day), things: []twin.ThingName{"a", "a-b", "b"},
	}
	p.fill()
	for range 300 {
		p.compareRange()
	}
	p.compareLists()
	p.compareDays()
	if _, err := s.ThingEvents(context.Background(), store.ThingRange{Thing: "a"}); twin.Kind(err) != twin.KindInvalid {
		t.Errorf("no limit: %v", err)
	}
}

const (
	day      = twin.Time(24 * 60 * 60 * 1000)
	firstDay = 20_000
)

type pastTest struct {
	t          *testing.T
	rnd        *rand.Rand
	store, ref store.Store
	world      *World
	things     []twin.ThingName
}

// fill commits the same to both stores.
func (p *pastTest) fill() {
	p.t.Helper()
	for i := range 400 {
		p.world.Now += twin.Time(p.rnd.Int64N(int64(day) / 20))
		if p.rnd.IntN(50) == 0 {
			p.world.Now += 3 * day
		}
		key := twin.ShadowKey{
			Thing:  p.things[p.rnd.IntN(len(p.things))],
			Shadow: []twin.ShadowName{"", "x", "$y"}[p.rnd.IntN(3)],
		}
		m := p.world.Mutation(key, fmt.Sprintf(`{"reported":{"n":%d}}`, i), "doc", true)
		if p.rnd.IntN(3) == 0 {
			m = asEntry(m)
		}
		if i > 100 { // before, all things have one group
			m.Class = store.ClassOf([]store.Group{0, 1, 7, store.GroupMax}[p.rnd.IntN(4)], m.Class.Kind())
		}
		if m.Expect > 0 && p.rnd.IntN(10) == 0 {
			m.Anchor = p.world.Head(key.Thing)
		}
		for _, to := range []store.Store{p.store, p.ref} {
			out, err := to.Commit(context.Background(), []store.Mutation{m})
			if err != nil || out[0] != store.Committed {
				p.t.Fatalf("commit %d: %v %v", i, out, err)
			}
		}
		p.world.heads[m.Thing] = m.Head
		if m.Doc != nil {
			p.world.Accept(m)
		}
	}
}

// compareRange reads a random range from both.
func (p *pastTest) compareRange() {
	p.t.Helper()
	r := store.ThingRange{Thing: p.things[p.rnd.IntN(len(p.things))], Limit: 1 + p.rnd.IntN(60), Newest: p.rnd.IntN(2) == 0}
	r.Kinds = [][]store.Kind{nil, {store.KindHistory}, {store.KindLog}}[p.rnd.IntN(3)]
	span := int64(p.world.Now - firstDay*day)
	if p.rnd.IntN(2) == 0 {
		r.From = firstDay*day + twin.Time(p.rnd.Int64N(span))
	}
	if p.rnd.IntN(2) == 0 {
		r.To = firstDay*day + twin.Time(p.rnd.Int64N(span))
	}
	if p.rnd.IntN(2) == 0 {
		r.After = twin.Seq(p.rnd.Uint64N(uint64(p.world.Head(r.Thing).Seq) + 2))
	}
	alike(p, fmt.Sprintf("%+v", r), func(s store.Store) ([][]byte, error) { return s.ThingEvents(context.Background(), r) })
}

// compareLists reads anchors and lists of things from both.
func (p *pastTest) compareLists() {
	p.t.Helper()
	for _, r := range []struct {
		after twin.ThingName
		limit int
	}{{"", 10}, {"", 2}, {"a", 10}, {"a-", 1}, {"b", 5}} {
		alike(p, fmt.Sprintf("things after %q", r.after), func(s store.Store) ([]twin.ThingName, error) {
			return s.LoggedThings(context.Background(), r.after, r.limit)
		})
	}
	for _, thing := range append(p.things, "never") {
		alike(p, fmt.Sprintf("anchors of %s", thing), func(s store.Store) ([]twin.Head, error) {
			return s.Anchors(context.Background(), thing)
		})
		alike(p, fmt.Sprintf("groups of %s", thing), func(s store.Store) ([]store.GroupDay, error) {
			return s.Groups(context.Background(), thing)
		})
	}
}

// compareDays reads days of many things from both.
func (p *pastTest) compareDays() {
	p.t.Helper()
	things := append(slices.Clone(p.things), "never")
	slices.Sort(things)
	if p.rnd.IntN(4) == 0 { // in any order too
		p.rnd.Shuffle(len(things), func(i, j int) { things[i], things[j] = things[j], things[i] })
	}
	for d := range uint32(12) {
		day, limit := firstDay+d-1, 1+p.rnd.IntN(6)
		alike(p, fmt.Sprintf("day %d of %v, %d", day, things, limit), func(s store.Store) ([][][]byte, error) {
			return s.DayEvents(context.Background(), day, things, limit)
		})
	}
}

// alike fails unless both stores answer alike.
func alike[T any](p *pastTest, what string, ask func(store.Store) ([]T, error)) {
	p.t.Helper()
	want, err := ask(p.ref)
	if err != nil {
		p.t.Fatal(err)
	}
	got, err := ask(p.store)
	if err != nil {
		p.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Fatalf("%s: want %d, got %d\n%s", what, len(want), len(got), diff)
	}
}

// asEntry makes a mutation one that changes no shadow.
func asEntry(m store.Mutation) store.Mutation {
	m.Class, m.Shadow, m.Doc, m.Live, m.Info = store.ClassLog, "", nil, false, store.ShadowInfo{}
	return m
}
