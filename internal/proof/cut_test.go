package proof_test

import (
	"slices"
	"testing"

	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// cut drops the events of a thing for which gone holds, and returns how many.
func (w *world) cut(t *testing.T, thing twin.ThingName, gone func(ev *twin.Event) bool) int {
	t.Helper()
	before := len(w.events[thing])
	w.events[thing] = slices.DeleteFunc(w.events[thing], func(k kept) bool {
		ev, err := twin.DecodeEvent(k.event)
		if err != nil {
			t.Fatal(err)
		}
		return gone(&ev)
	})
	return before - len(w.events[thing])
}

// cutFound wants a missing event of a thing to be found, and nothing of others.
func cutFound(t *testing.T, w *world, thing twin.ThingName, p store.Policy) {
	t.Helper()
	r := mustVerify(t, w, proof.Options{Expired: p})
	if !hasFault(r, thing, proof.FaultMissing) {
		t.Errorf("not found: %+v", r)
	}
	for _, f := range r.Findings {
		if f.Thing != thing {
			t.Errorf("nothing was done to %s, but found: %s", f.Thing, f)
		}
	}
}

// What the store says has expired excuses the days before, and nothing else: a cut from the
// first kept day on is found wherever it is and however it is aligned.
func TestVerify_cutElsewhere(t *testing.T) {
	l := newLife(t, 21)
	l.live(3, 3000)
	first := uint32(l.now.Now().UnixMilli()/86400000) - 6
	p := store.Policy{store.ClassHistory: first, store.ClassLog: first}
	clean := l.world.copyWorld()
	clean.expire(t, p)
	if r := mustVerify(t, clean, proof.Options{Expired: p}); !r.OK() || r.Expired == 0 {
		t.Fatalf("%+v", r)
	}
	oldest, err := twin.DecodeEvent(clean.events["pump-1"][0].event)
	if err != nil {
		t.Fatal(err)
	}
	head := clean.heads["pump-1"].Seq
	for name, gone := range map[string]func(ev *twin.Event) bool{
		"the oldest kept":           func(ev *twin.Event) bool { return ev.Seq == oldest.Seq },
		"the first kept day":        func(ev *twin.Event) bool { return ev.Time.Day() == first },
		"the first two days":        func(ev *twin.Event) bool { return ev.Time.Day() <= first+1 },
		"a day in the middle":       func(ev *twin.Event) bool { return ev.Time.Day() == first+3 },
		"one in the middle":         func(ev *twin.Event) bool { return ev.Seq == (oldest.Seq+head)/2 },
		"all but the newest":        func(ev *twin.Event) bool { return ev.Seq < head },
		"the newest":                func(ev *twin.Event) bool { return ev.Seq == head },
		"all":                       func(*twin.Event) bool { return true },
		"the log of the first day":  func(ev *twin.Event) bool { return ev.Time.Day() == first && !ev.Kind.OfShadow() },
		"one shadow of the 3rd day": func(ev *twin.Event) bool { return ev.Time.Day() == first+2 && ev.Shadow == "config" },
	} {
		t.Run(name, func(t *testing.T) {
			w := clean.copyWorld()
			if w.cut(t, "pump-1", gone) == 0 {
				t.Fatal("nothing was cut")
			}
			cutFound(t, w, "pump-1", p)
		})
	}
}

// The ages of one model excuse nothing in a thing that never had it, and after a thing
// has lost it nothing from that day on.
func TestVerify_cutInOtherGroup(t *testing.T) {
	l := newLife(t, 22)
	model := func(thing twin.ThingName, name string) {
		l.wait(func(done func(error)) error {
			return l.eng.Append(twin.Entry{
				Event:      twin.Event{Thing: thing, Kind: twin.EventManaged},
				Attributes: func(a *twin.Attributes) (twin.Attributes, error) { n := a.Clone(); n.Model = name; return n, nil },
			}, func(r twin.EntryResult) { done(r.Err) })
		})
	}
	model("pump-1", "pump")
	model("pump-2", "pump")
	l.live(3, 800)
	model("pump-2", "")
	changed := uint32(l.now.Now().UnixMilli() / 86400000)
	l.live(3, 1500)
	newest := uint32(l.now.Now().UnixMilli() / 86400000)
	p := store.Policy{store.ClassOf(1, store.KindHistory): newest - 1, store.ClassOf(1, store.KindLog): newest - 1}
	clean := l.world.copyWorld()
	clean.expire(t, p)
	r := mustVerify(t, clean, proof.Options{Expired: p})
	mustBeClean(t, r)
	if r.Expired == 0 {
		t.Fatalf("nothing has expired: %+v", r)
	}
	day := func(d uint32) func(*twin.Event) bool {
		return func(ev *twin.Event) bool { return ev.Time.Day() == d }
	}
	for name, c := range map[string]struct {
		thing twin.ThingName
		day   uint32
	}{"never had it": {"pump-0", changed - 2}, "has lost it": {"pump-2", changed + 2}} {
		t.Run(name, func(t *testing.T) {
			w := clean.copyWorld()
			if w.cut(t, c.thing, day(c.day)) == 0 {
				t.Fatal("nothing was cut")
			}
			cutFound(t, w, c.thing, p)
		})
	}
}
