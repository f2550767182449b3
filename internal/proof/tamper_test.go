package proof_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/twin"
)

// expected is what must be found of an alteration: a finding of one of the faults
// that names the thing and one of the events, or, if in is set, the segment it is in.
type expected struct {
	faults []proof.Fault
	thing  twin.ThingName
	events []twin.Seq
	in     bool
}

func (e expected) met(r proof.Report) bool {
	for _, f := range r.Findings {
		if f.Thing != e.thing || (len(e.faults) > 0 && !slices.Contains(e.faults, f.Fault)) {
			continue
		}
		for _, n := range e.events {
			if f.Event == n || f.Other == n || (e.in && f.First <= n && n <= f.Last) {
				return true
			}
		}
	}
	return false
}

// tamperer alters a world at random places.
type tamperer struct {
	*world
	rng   *rand.Rand
	thing twin.ThingName
	n     twin.Seq // an event of it
}

func (w *tamperer) kept(n twin.Seq) *kept { return &w.events[w.thing][w.at(w.thing, n)] }

// other returns another seq of the thing.
func (w *tamperer) other() twin.Seq {
	for {
		if m := twin.Seq(w.rng.Uint64N(uint64(w.heads[w.thing].Seq)) + 1); m != w.n {
			return m
		}
	}
}

func (w *tamperer) foreign() kept {
	for t, list := range w.events {
		if t != w.thing {
			return list[w.rng.IntN(len(list))]
		}
	}
	panic("one thing only")
}

func (w *tamperer) flip(b []byte) []byte {
	b = bytes.Clone(b)
	b[w.rng.IntN(len(b))] ^= byte(1 << w.rng.IntN(8))
	return b
}

// rewrite alters an event by its fields.
func (w *tamperer) rewrite(n twin.Seq, f func(*twin.Event)) {
	ev, err := twin.DecodeEvent(w.kept(n).event)
	if err != nil {
		panic(err)
	}
	f(&ev)
	w.kept(n).event = ev.AppendBinary(nil)
}

func (w *tamperer) is(in bool, events []twin.Seq, faults ...proof.Fault) expected {
	return expected{faults: faults, thing: w.thing, events: events, in: in}
}

// alterations by name. Each alters and says what must be found; false: it does not
// apply here.
var alterations = map[string]func(w *tamperer) (expected, bool){
	"bit flipped, checksum wrong": func(w *tamperer) (expected, bool) {
		k := w.kept(w.n)
		k.event, k.spoil = w.flip(k.event), true
		return w.is(false, []twin.Seq{w.n}, proof.FaultDamaged), true
	},
	"bit flipped, checksum right": func(w *tamperer) (expected, bool) {
		k := w.kept(w.n)
		k.event = w.flip(k.event)
		return w.is(true, []twin.Seq{w.n}), true
	},
	"cut": func(w *tamperer) (expected, bool) {
		k := w.kept(w.n)
		k.event = k.event[:w.rng.IntN(len(k.event))]
		return w.is(true, []twin.Seq{w.n}), true
	},
	"patch altered": func(w *tamperer) (expected, bool) {
		w.rewrite(w.n, func(e *twin.Event) { e.Patch = []byte(`{"reported":{"temp":1}}`) })
		return w.is(true, []twin.Seq{w.n}, proof.FaultAltered), true
	},
	"session altered": func(w *tamperer) (expected, bool) {
		w.rewrite(w.n, func(e *twin.Event) { e.Origin.Session = "someone-else" })
		return w.is(true, []twin.Seq{w.n}, proof.FaultAltered), true
	},
	"time set back": func(w *tamperer) (expected, bool) {
		w.rewrite(w.n, func(e *twin.Event) { e.Time -= 3 * 86400000 })
		return w.is(true, []twin.Seq{w.n}, proof.FaultTime, proof.FaultAltered), true
	},
	"time set on": func(w *tamperer) (expected, bool) {
		w.rewrite(w.n, func(e *twin.Event) { e.Time += 30 * 86400000 })
		return w.is(true, []twin.Seq{w.n}, proof.FaultTime, proof.FaultAltered), true
	},
	"version altered": func(w *tamperer) (expected, bool) {
		w.rewrite(w.n, func(e *twin.Event) { e.Version += 5 })
		return w.is(true, []twin.Seq{w.n}, proof.FaultAltered), true
	},
	"shadow altered": func(w *tamperer) (expected, bool) {
		w.rewrite(w.n, func(e *twin.Event) { e.Shadow += "x" })
		return w.is(true, []twin.Seq{w.n}, proof.FaultAltered), true
	},
	"seq altered": func(w *tamperer) (expected, bool) {
		w.rewrite(w.n, func(e *twin.Event) { e.Seq += w.heads[w.thing].Seq })
		return w.is(false, []twin.Seq{w.n}, proof.FaultMisplaced), true
	},
	"dropped": func(w *tamperer) (expected, bool) {
		i := w.at(w.thing, w.n)
		w.events[w.thing] = slices.Delete(w.events[w.thing], i, i+1)
		return w.is(false, []twin.Seq{w.n}, proof.FaultMissing), true
	},
	"range dropped": func(w *tamperer) (expected, bool) {
		i := w.at(w.thing, w.n)
		w.events[w.thing] = slices.Delete(w.events[w.thing], i, min(i+1+w.rng.IntN(300), len(w.events[w.thing])))
		return w.is(false, []twin.Seq{w.n}, proof.FaultMissing), w.n > 1
	},
	"end dropped": func(w *tamperer) (expected, bool) {
		w.events[w.thing] = w.events[w.thing][:w.at(w.thing, w.n)]
		return w.is(false, []twin.Seq{w.n}, proof.FaultMissing), w.n > 1
	},
	"swapped": func(w *tamperer) (expected, bool) {
		m := w.other()
		a, b := w.kept(w.n), w.kept(m)
		a.event, b.event = b.event, a.event
		return w.is(false, []twin.Seq{min(w.n, m)}, proof.FaultSwapped), true
	},
	"neighbours swapped": func(w *tamperer) (expected, bool) {
		if w.n == 1 {
			return expected{}, false
		}
		a, b := w.kept(w.n), w.kept(w.n-1)
		a.event, b.event = b.event, a.event
		return w.is(false, []twin.Seq{w.n - 1}, proof.FaultSwapped), true
	},
	"duplicated": func(w *tamperer) (expected, bool) {
		w.events[w.thing] = append(w.events[w.thing], *w.kept(w.n))
		w.sort(w.thing)
		return w.is(false, []twin.Seq{w.n}, proof.FaultDuplicate), true
	},
	"duplicated over another": func(w *tamperer) (expected, bool) {
		m := w.other()
		w.kept(m).event = w.kept(w.n).event
		return w.is(false, []twin.Seq{w.n}, proof.FaultDuplicate), true
	},
	"duplicated beside another": func(w *tamperer) (expected, bool) {
		k := *w.kept(w.n)
		k.place = w.other()
		w.events[w.thing] = append(w.events[w.thing], k)
		w.sort(w.thing)
		return w.is(false, []twin.Seq{w.n}, proof.FaultDuplicate), true
	},
	"duplicated after the head": func(w *tamperer) (expected, bool) {
		k := *w.kept(w.n)
		k.place = w.heads[w.thing].Seq + 1
		w.events[w.thing] = append(w.events[w.thing], k)
		return w.is(false, []twin.Seq{w.n}, proof.FaultDuplicate), true
	},
	"another thing's in its place": func(w *tamperer) (expected, bool) {
		w.kept(w.n).event = w.foreign().event
		return w.is(false, []twin.Seq{w.n}, proof.FaultForeign), true
	},
	"another thing's beside it": func(w *tamperer) (expected, bool) {
		k := w.foreign()
		k.place = w.n
		w.events[w.thing] = append(w.events[w.thing], k)
		w.sort(w.thing)
		return w.is(false, []twin.Seq{w.n}, proof.FaultForeign), true
	},
	"another thing's after the head": func(w *tamperer) (expected, bool) {
		k := w.foreign()
		k.place = w.heads[w.thing].Seq + 1
		w.events[w.thing] = append(w.events[w.thing], k)
		return w.is(true, []twin.Seq{k.place}, proof.FaultForeign), true
	},
	"another thing's with its name": func(w *tamperer) (expected, bool) {
		ev, err := twin.DecodeEvent(w.foreign().event)
		if err != nil {
			panic(err)
		}
		own, err := twin.DecodeEvent(w.kept(w.n).event)
		if err != nil {
			panic(err)
		}
		ev.Thing, ev.Seq, ev.Time = own.Thing, own.Seq, own.Time
		b := ev.AppendBinary(nil)
		if bytes.Equal(b, w.kept(w.n).event) {
			return expected{}, false
		}
		w.kept(w.n).event = b
		return w.is(true, []twin.Seq{w.n}, proof.FaultAltered), true
	},
	"forged after the head": func(w *tamperer) (expected, bool) {
		head := w.heads[w.thing]
		ev := twin.Event{Thing: w.thing, Seq: head.Seq + 1, Kind: twin.EventUpdated, Time: head.Time, Patch: []byte(`{"reported":{}}`)}
		w.events[w.thing] = append(w.events[w.thing], kept{place: ev.Seq, event: ev.AppendBinary(nil)})
		return w.is(false, []twin.Seq{ev.Seq}, proof.FaultExtra), true
	},
	"anchor's hash altered": func(w *tamperer) (expected, bool) {
		as := w.anchors[w.thing]
		i := w.rng.IntN(len(as))
		as[i].Hash[w.rng.IntN(32)] ^= 1
		return w.is(false, []twin.Seq{as[i].Seq}, proof.FaultAnchor), true
	},
	"anchor's time altered": func(w *tamperer) (expected, bool) {
		as := w.anchors[w.thing]
		i := w.rng.IntN(len(as))
		as[i].Time++
		return w.is(false, []twin.Seq{as[i].Seq}, proof.FaultAnchor), true
	},
	"anchor dropped": func(w *tamperer) (expected, bool) {
		i := w.rng.IntN(len(w.anchors[w.thing]))
		seq := w.anchors[w.thing][i].Seq
		w.anchors[w.thing] = slices.Delete(w.anchors[w.thing], i, i+1)
		return w.is(false, []twin.Seq{seq}, proof.FaultAnchor), true
	},
	"anchor moved": func(w *tamperer) (expected, bool) {
		as := w.anchors[w.thing]
		i := w.rng.IntN(len(as))
		was := as[i].Seq
		as[i].Seq++
		return w.is(true, []twin.Seq{was}, proof.FaultAnchor, proof.FaultAltered), i+1 == len(as) || as[i+1].Seq > was+1
	},
	"head's hash altered": func(w *tamperer) (expected, bool) {
		h := w.heads[w.thing]
		h.Hash[w.rng.IntN(32)] ^= 1
		w.heads[w.thing] = h
		return w.is(true, []twin.Seq{h.Seq}, proof.FaultAltered), true
	},
	"head's time altered": func(w *tamperer) (expected, bool) {
		h := w.heads[w.thing]
		h.Time++
		w.heads[w.thing] = h
		return w.is(true, []twin.Seq{h.Seq}, proof.FaultAltered), true
	},
	"head set on": func(w *tamperer) (expected, bool) {
		h := w.heads[w.thing]
		h.Seq++
		w.heads[w.thing] = h
		return w.is(true, []twin.Seq{h.Seq}, proof.FaultMissing), true
	},
	"head set back": func(w *tamperer) (expected, bool) {
		h := w.heads[w.thing]
		h.Seq--
		w.heads[w.thing] = h
		return w.is(true, []twin.Seq{h.Seq, h.Seq + 1}, proof.FaultAltered, proof.FaultExtra, proof.FaultAnchor), true
	},
}

var alterationsFlag = flag.Int("alterations", 0, "alterations of TestVerify_tampered; 0: 4,000, fewer with -short or -race")

// TestVerify_tampered alters one thing at a time and wants it found each time, and
// named. Some alterations nothing but the links can show.
func TestVerify_tampered(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	clean := newLife(t, seed).live(3, 1500)
	mustBeClean(t, mustVerify(t, clean, proof.Options{}))
	var names []string
	for name := range alterations {
		names = append(names, name)
	}
	slices.Sort(names)
	rounds, byLinksAlone := 4000, 0
	switch {
	case *alterationsFlag > 0:
		rounds = *alterationsFlag
	case testing.Short() || raceEnabled:
		rounds = 800
	}
	done := make(map[string]int)
	for i := range rounds {
		name := names[i%len(names)]
		w := &tamperer{world: clean.copyWorld(), rng: rng}
		w.thing = twin.ThingName(fmt.Sprintf("pump-%d", rng.IntN(3)))
		w.n = twin.Seq(rng.Uint64N(uint64(w.heads[w.thing].Seq)) + 1)
		want, applies := alterations[name](w)
		if !applies {
			continue
		}
		done[name]++
		r := mustVerify(t, w.world, proof.Options{Thing: w.thing, Workers: 1})
		if !want.met(r) {
			t.Errorf("%s, %s event %d: want %v of %v, found:", name, w.thing, w.n, want.faults, want.events)
			for _, f := range r.Findings {
				t.Errorf("  %s", f)
			}
			if t.Failed() && len(done) > 0 {
				return
			}
		}
		if !slices.ContainsFunc(r.Findings, func(f proof.Finding) bool { return f.Fault != proof.FaultAltered }) {
			byLinksAlone++
		}
	}
	for _, name := range names {
		if done[name] == 0 {
			t.Errorf("%s was never tried", name)
		}
	}
	// The control: without the links these would have been missed.
	if byLinksAlone < rounds/20 {
		t.Errorf("only %d of %d alterations were found by the links alone", byLinksAlone, rounds)
	}
	t.Logf("%d alterations, %d of them found by the links alone", rounds, byLinksAlone)
}
