package storetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// testHistories runs random histories against the store and the reference: the same
// commits, some of them stale, must have the same outcomes, and everything that can be
// read must be the same, also after it was closed and opened again.
func testHistories(t *testing.T, s *subject) {
	seed := uint64(time.Now().UnixNano())
	histories := 12
	if testing.Short() {
		histories = 4
	}
	for i := range histories {
		history(t, s, seed+uint64(i), i == 0)
	}
}

// history uses the subject's store for the first history, then new ones.
func history(t *testing.T, s *subject, seed uint64, reuse bool) {
	t.Helper()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	real, dir := s.Store, s.dir
	if !reuse {
		dir = t.TempDir()
		real = s.open(t, dir)
		defer func() {
			if err := real.Close(); err != nil {
				t.Errorf("seed %d: close: %v", seed, err)
			}
		}()
	}
	reference := store.NewMemory()
	h := &historian{rng: rng, world: NewWorld(start), revisions: make(map[string]twin.Revision)}
	steps := 20 + rng.IntN(60)
	for step := range steps {
		ms := h.commit()
		want, err := reference.Commit(t.Context(), ms)
		if err != nil {
			t.Fatalf("seed %d, step %d: reference: %v", seed, step, err)
		}
		got, err := real.Commit(t.Context(), ms)
		if err != nil {
			t.Fatalf("seed %d, step %d: %v", seed, step, err)
		}
		wantEqual(t, fmt.Sprintf("seed %d, step %d: outcomes", seed, step), got, want)
		h.learn(t, reference, ms, want)
		if s.durable && !reuse && rng.IntN(20) == 0 {
			if err := real.Close(); err != nil {
				t.Fatalf("seed %d, step %d: close: %v", seed, step, err)
			}
			real = s.open(t, dir)
		}
		if rng.IntN(10) == 0 || step == steps-1 {
			same(t, fmt.Sprintf("seed %d, step %d", seed, step), real, reference)
		}
	}
}

func same(t *testing.T, what string, got, want store.Store) {
	t.Helper()
	g, err := Dump(t.Context(), got)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	w, err := Dump(t.Context(), want)
	if err != nil {
		t.Fatalf("%s: reference: %v", what, err)
	}
	wantEqual(t, what+": contents", g, w)
	if err := g.Check(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// historian makes up commits.
type historian struct {
	rng       *rand.Rand
	world     *World
	revisions map[string]twin.Revision // seen of records
}

func (h *historian) commit() []store.Mutation {
	ms := make([]store.Mutation, 1+h.rng.IntN(12))
	if h.rng.IntN(4) == 0 {
		h.world.Now += twin.Time(h.rng.IntN(8 * 3600 * 1000))
	}
	// Built on each other within the commit, but accepted only when committed.
	draft := NewWorld(h.world.Now)
	maps.Copy(draft.heads, h.world.heads)
	maps.Copy(draft.infos, h.world.infos)
	for i := range ms {
		if h.rng.IntN(5) == 0 {
			ms[i] = records(h.writes(1 + h.rng.IntN(3))...)
			continue
		}
		key := twin.ShadowKey{Thing: twin.ThingName(fmt.Sprint("thing-", h.rng.IntN(9)))}
		if h.rng.IntN(2) == 0 {
			key.Shadow = twin.ShadowName(fmt.Sprint("shadow-", h.rng.IntN(3)))
		}
		from := draft
		if h.rng.IntN(8) == 0 {
			from = h.world // stale if the thing is in this commit already
		}
		n := h.rng.Uint32()
		ms[i] = from.Mutation(key, fmt.Sprintf(`{"n":%d}`, n), fmt.Sprint("document ", n), h.rng.IntN(6) != 0)
		draft.Accept(ms[i])
		if h.rng.IntN(4) == 0 {
			ms[i].Records = h.writes(1)
		}
	}
	return ms
}

func (h *historian) writes(n int) []twin.RecordWrite {
	ws := make([]twin.RecordWrite, n)
	for i := range ws {
		w := twin.RecordWrite{Kind: twin.RecordKind(1 + h.rng.IntN(3)), Key: fmt.Sprint("key-", h.rng.IntN(6))}
		if h.rng.IntN(3) != 0 {
			w.Value = fmt.Append([]byte{}, "value ", h.rng.Uint32())
		}
		switch h.rng.IntN(6) {
		case 0:
			w.Expect = twin.RevisionAbsent
		case 1:
			w.Expect = h.revisions[fmt.Sprint(w.Kind, w.Key)]
		}
		ws[i] = w
	}
	return ws
}

// learn takes over what was committed.
func (h *historian) learn(t *testing.T, reference store.Store, ms []store.Mutation, outcomes []store.Outcome) {
	t.Helper()
	for i, m := range ms {
		if outcomes[i] != store.Committed {
			continue
		}
		h.world.Accept(m)
		for _, w := range m.Records {
			r, _, err := reference.Record(t.Context(), w.Kind, w.Key)
			if err != nil {
				t.Fatal(err)
			}
			h.revisions[fmt.Sprint(w.Kind, w.Key)] = r.Revision
		}
	}
}

// testReopen closes a store at many points and wants all of it back.
func testReopen(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	dir := t.TempDir()
	reference := store.NewMemory()
	h := &historian{rng: rand.New(rand.NewPCG(1, 2)), world: NewWorld(start), revisions: make(map[string]twin.Revision)}
	for round := range 10 { // enough for the counters to be stored in between
		s := open(t, dir)
		for range 1 + round*20 {
			ms := h.commit()
			want, err := reference.Commit(t.Context(), ms)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.Commit(t.Context(), ms)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "outcomes", got, want)
			h.learn(t, reference, ms, want)
		}
		same(t, fmt.Sprintf("round %d", round), s, reference)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
		same(t, fmt.Sprintf("round %d, opened again", round), s, reference)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
