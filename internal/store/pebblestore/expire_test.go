package pebblestore_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/storetest"
	"github.com/twofold-iot/twofold/twin"
)

// Around midnight the log of a day may hold an event of the day before. When that
// expires the feed goes on without it.
func TestExpire_midnight(t *testing.T) {
	const day = 24 * 3600 * 1000
	start := twin.Time(1_790_000_000_000)
	s := openOn(t, vfs.NewCrashableMem(), nil)
	defer s.Close()
	ahead, behind := storetest.NewWorld(start+day), storetest.NewWorld(start)
	for i, w := range []*storetest.World{ahead, behind, ahead} {
		ms := update(w, []twin.ThingName{"a", "b", "c"}[i], "doc")
		ms[0].Class = store.ClassLog
		if _, err := s.Commit(t.Context(), ms); err != nil {
			t.Fatal(err)
		}
		w.Accept(ms[0])
	}
	feed := func() (things []twin.ThingName) {
		entries, err := s.Feed(t.Context(), 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			ev, err := twin.DecodeEvent(e.Event)
			if err != nil {
				t.Fatal(err)
			}
			things = append(things, ev.Thing)
		}
		return things
	}
	if got := feed(); len(got) != 3 {
		t.Fatalf("the feed has %q", got)
	}
	r, err := s.Expire(t.Context(), store.Policy{store.ClassLog: (start + day).Day()})
	if err != nil || r.Days != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := feed(); len(got) != 2 || got[0] != "a" || got[1] != "c" {
		t.Fatalf("the feed has %q", got)
	}
}
