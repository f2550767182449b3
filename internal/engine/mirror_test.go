package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// cloud is an engine that publishes update/documents, as AWS does.
type cloud struct {
	*engine.Engine
	clock *clock
	docs  [][]byte // as published, in order
}

func (c *cloud) Stage(ch *twin.Change) twin.Outgoing {
	if doc := ch.AppendDocuments(nil); doc != nil {
		c.docs = append(c.docs, doc)
	}
	return nil
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{clock: newClock()}
	c.Engine = openEngine(t, store.NewMemory(), engine.Options{Now: c.clock.Now, Publisher: c, Committers: 1})
	return c
}

// live makes n random updates of a thing.
func (c *cloud) live(t *testing.T, rnd *rand.Rand, thing string, n int) {
	t.Helper()
	for range n {
		state := []string{
			fmt.Sprintf(`{"reported":{"t":%d.50,"ok":true,"list":[1,{"a":%d}]}}`, rnd.IntN(9), rnd.IntN(9)),
			fmt.Sprintf(`{"reported":{"pos":{"x":%d},"note":"\u00e4 \"%d\"","e":[]}}`, rnd.IntN(5), rnd.IntN(5)),
			fmt.Sprintf(`{"desired":{"mode":"m%d","o":{},"timestamp":{"timestamp":%d}}}`, rnd.IntN(3), rnd.IntN(3)),
			`{"reported":{"t":null,"pos":null}}`, `{"desired":null}`, `null`, `{}`,
		}[rnd.IntN(7)]
		c.clock.Add(time.Duration(rnd.IntN(4000)) * time.Millisecond)
		if r := do(t, c.Engine, update(t, thing, fmt.Sprintf(`{"state":%s,"clientToken":"c%d"}`, state, rnd.IntN(1000)))); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

func document(t testing.TB, raw []byte) *twin.MirrorDocument {
	t.Helper()
	d, err := twin.ParseMirrorDocument(raw, twin.Limits{})
	if err != nil {
		t.Fatalf("parse %s: %v", raw, err)
	}
	return d
}

func submitMirror(t testing.TB, e *engine.Engine, key twin.ShadowKey, raw []byte) <-chan twin.MirrorResult {
	t.Helper()
	ch := make(chan twin.MirrorResult, 1)
	r := twin.MirrorRequest{Key: key, Document: document(t, raw), Caller: "rule"}
	if err := e.Mirror(r, func(r twin.MirrorResult) { ch <- r }); err != nil {
		t.Fatal(err)
	}
	return ch
}

func mirror(t testing.TB, e *engine.Engine, key twin.ShadowKey, raw []byte) twin.MirrorResult {
	t.Helper()
	return await(t, submitMirror(t, e, key, raw))
}

func wantOutcome(t testing.TB, r twin.MirrorResult, want twin.MirrorOutcome) {
	t.Helper()
	if r.Err != nil || r.Outcome != want {
		t.Fatalf("version %d: outcome %d, %v; want %d", r.Version, r.Outcome, r.Err, want)
	}
}

// shown is a shadow as documents show it.
func shown(t testing.TB, s *twin.Shadow) string {
	t.Helper()
	if s == nil {
		return "none"
	}
	c := twin.Change{Kind: twin.EventUpdated, Current: s, Request: &twin.Request{}}
	var doc struct{ Current json.RawMessage }
	if err := json.Unmarshal(c.AppendDocuments(nil), &doc); err != nil {
		t.Fatal(err)
	}
	return string(doc.Current)
}

// currents returns what each version of published documents is.
func currents(t testing.TB, docs [][]byte) map[twin.Version]string {
	t.Helper()
	m := map[twin.Version]string{}
	for _, raw := range docs {
		d := document(t, raw)
		m[d.Current.Version] = shown(t, d.Current)
		if d.Previous != nil {
			m[d.Previous.Version] = shown(t, d.Previous)
		}
	}
	return m
}

// checkMirror holds the events and the shadow of a thing against what the cloud said.
func checkMirror(t *testing.T, e *engine.Engine, s store.Store, key twin.ShadowKey, want map[twin.Version]string) {
	t.Helper()
	newest := slices.Max(slices.Collect(maps.Keys(want)))
	state, err := e.Shadow(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	if got := shown(t, state); got != want[newest] {
		t.Errorf("the state is\n%s, want\n%s", got, want[newest])
	}
	found := map[twin.Version]string{}
	ats := map[twin.Version]twin.Time{}
	var folded *twin.Shadow
	for _, ev := range events(t, s, key) {
		if !ev.Mirrored() {
			t.Fatalf("event %+v is of no document", ev)
		}
		if _, twice := found[ev.Version]; twice {
			t.Errorf("version %d has two events", ev.Version)
		}
		whole, err := twin.MirroredState(&ev)
		if err != nil {
			t.Fatal(err)
		}
		found[ev.Version], ats[ev.Version] = shown(t, whole), ev.OriginTime
		if folded, err = twin.Fold(folded, &ev); err != nil {
			t.Fatal(err)
		}
		if len(ev.Snapshot) > 0 && !bytes.Equal(ev.Snapshot, folded.AppendBinary(nil)) {
			t.Errorf("the snapshot of event %d is not its fold", ev.Seq)
		}
	}
	if !bytes.Equal(folded.AppendBinary(nil), state.AppendBinary(nil)) {
		t.Error("the fold is not the state")
	}
	for v, doc := range want {
		if found[v] != doc {
			t.Errorf("version %d is\n%s, want\n%s", v, found[v], doc)
		}
	}
	if len(found) != len(want) {
		t.Errorf("%d versions, want %d", len(found), len(want))
	}
	var last twin.Time
	for _, v := range slices.Sorted(maps.Keys(ats)) {
		if ats[v] < last {
			t.Errorf("version %d is of %d, before the version before it", v, ats[v])
		}
		last = ats[v]
	}
}

func seeds(t *testing.T, n int, run func(t *testing.T, rnd *rand.Rand)) {
	t.Helper()
	first := rand.Uint64()
	for i := range uint64(n) {
		t.Run("", func(t *testing.T) {
			t.Logf("seed %d", first+i)
			run(t, rand.New(rand.NewPCG(first+i, 0)))
		})
	}
}

// Documents come shuffled, twice, or never; in the end the state is the newest that came,
// and history has each version that came as the cloud had it, once.
func TestMirror_stream(t *testing.T) {
	seeds(t, 12, func(t *testing.T, rnd *rand.Rand) {
		c := newCloud(t)
		c.live(t, rnd, "pump", 20+rnd.IntN(200))
		var sent [][]byte
		for _, doc := range c.docs {
			for range [...]int{1, 1, 1, 2, 0}[rnd.IntN(5)] {
				sent = append(sent, doc)
			}
		}
		shuffle(rnd, sent)
		s := store.NewMemory()
		// The clock here is not that of the cloud.
		here := newClock()
		here.Add(time.Duration(rnd.IntN(20)-10) * time.Second)
		e := openEngine(t, s, engine.Options{Now: here.Now})
		var waits []<-chan twin.MirrorResult
		for _, doc := range sent {
			here.Add(time.Duration(rnd.IntN(1000)) * time.Millisecond)
			if rnd.IntN(8) == 0 {
				wantNoError(t, mirror(t, e, classic("pump"), doc))
				continue
			}
			waits = append(waits, submitMirror(t, e, classic("pump"), doc))
		}
		for _, w := range waits {
			wantNoError(t, await(t, w))
		}
		checkMirror(t, e, s, classic("pump"), currents(t, sent))
		before := len(events(t, s, classic("pump")))
		for _, doc := range sent { // all of it again, to another engine
			e := e
			if rnd.IntN(10) == 0 {
				e = openEngine(t, s, engine.Options{Now: here.Now})
			}
			wantOutcome(t, mirror(t, e, classic("pump"), doc), twin.MirrorRepeated)
		}
		if n := len(events(t, s, classic("pump"))); n != before {
			t.Errorf("%d events after all came again, want %d", n, before)
		}
	})
}

func wantNoError(t testing.TB, r twin.MirrorResult) {
	t.Helper()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
}

// shuffle moves some documents, few of them far.
func shuffle(rnd *rand.Rand, docs [][]byte) {
	for range len(docs) {
		i := rnd.IntN(len(docs))
		j := min(len(docs)-1, i+rnd.IntN(1+rnd.IntN(40)))
		docs[i], docs[j] = docs[j], docs[i]
	}
}

func TestMirror_crash(t *testing.T) {
	for name, at := range map[string]engine.Failpoint{
		"before commit": engine.BeforeCommit, "after commit": engine.AfterCommit, "after answer": engine.AfterAnswer,
	} {
		t.Run(name, func(t *testing.T) {
			seeds(t, 3, func(t *testing.T, rnd *rand.Rand) { crashMirror(t, rnd, at) })
		})
	}
}

func crashMirror(t *testing.T, rnd *rand.Rand, at engine.Failpoint) {
	t.Helper()
	c := newCloud(t)
	c.live(t, rnd, "pump", 60)
	sent := slices.Clone(c.docs)
	shuffle(rnd, sent)
	sent = sent[:50]
	disk := vfs.NewCrashableMem()
	s, err := pebblestore.Open("data", pebblestore.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	var clone *vfs.MemFS
	hits, crashAt := 0, 1+rnd.IntN(30)
	o := engine.Options{Now: newClock().Now, Committers: 1}
	e, err := engine.OpenWithFailpoints(quiet, s, o, func(p engine.Failpoint) {
		if p == at {
			if hits++; hits == crashAt {
				clone = disk.CrashClone(vfs.CrashCloneCfg{})
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range sent {
		wantNoError(t, mirror(t, e, classic("pump"), doc))
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = pebblestore.Open("data", pebblestore.Options{FS: clone}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	e = openEngine(t, s, o)
	for _, doc := range sent { // the cloud sends again what was not answered, and more
		wantNoError(t, mirror(t, e, classic("pump"), doc))
	}
	checkMirror(t, e, s, classic("pump"), currents(t, sent))
}

// doc is a hand-made message: n is the only value, stamped as the message.
func doc(version, previous, at, n int) []byte {
	state := func(v, n, at int) string {
		return fmt.Sprintf(`{"state":{"reported":{"n":%d}},"metadata":{"reported":{"n":{"timestamp":%d}}},"version":%d}`, n, at, v)
	}
	before := "null"
	if previous != 0 {
		before = state(previous, previous, at-1)
	}
	return fmt.Appendf(nil, `{"previous":%s,"current":%s,"timestamp":%d}`, before, state(version, n, at), at)
}

const noon = 1795348800 // of the tests' clock

func TestMirror_conflict(t *testing.T) {
	s := store.NewMemory()
	e := openEngine(t, s, engine.Options{})
	key := classic("pump")
	wantOutcome(t, mirror(t, e, key, doc(5, 4, noon, 5)), twin.MirrorApplied)
	wantOutcome(t, mirror(t, e, key, doc(2, 0, noon-9, 2)), twin.MirrorRecorded)
	for _, d := range [][]byte{doc(5, 4, noon, 6), doc(2, 0, noon-9, 6), doc(4, 3, noon-1, 6), doc(5, 4, noon+1, 5)} {
		if r := mirror(t, e, key, d); twin.Kind(r.Err) != twin.KindConflict {
			t.Errorf("%s: %+v, want a conflict", d, r)
		}
	}
	if n := len(events(t, s, key)); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
}

func TestMirror_previous(t *testing.T) {
	s := store.NewMemory()
	e := openEngine(t, s, engine.Options{})
	key := classic("pump")
	wantOutcome(t, mirror(t, e, key, doc(1, 0, noon-60, 1)), twin.MirrorApplied)
	wantOutcome(t, mirror(t, e, key, doc(5, 4, noon-2, 5)), twin.MirrorApplied)
	evs := events(t, s, key)
	if len(evs) != 3 || evs[1].Kind != twin.EventRecorded || evs[1].Version != 4 || evs[1].OriginTime.Seconds() != noon-3 {
		t.Fatalf("events: %+v", evs)
	}
	// Its own document then is known, and so is what that says of the one before it.
	wantOutcome(t, mirror(t, e, key, doc(4, 0, noon-3, 4)), twin.MirrorRepeated)
	wantOutcome(t, mirror(t, e, key, doc(4, 3, noon-3, 4)), twin.MirrorRecorded)
	wantOutcome(t, mirror(t, e, key, doc(4, 3, noon-3, 4)), twin.MirrorRepeated)
	wantOutcome(t, mirror(t, e, key, doc(3, 0, noon-4, 3)), twin.MirrorRepeated)
	// Two blocks in one commit.
	wantOutcome(t, mirror(t, e, key, doc(twin.MirrorBlockLen, twin.MirrorBlockLen-1, noon, 5)), twin.MirrorApplied)
	e = openEngine(t, s, engine.Options{})
	wantOutcome(t, mirror(t, e, key, doc(twin.MirrorBlockLen-1, 0, noon-1, twin.MirrorBlockLen-1)), twin.MirrorRepeated)
	wantOutcome(t, mirror(t, e, key, doc(twin.MirrorBlockLen, 0, noon, 5)), twin.MirrorRepeated)
}

// A shadow that is deleted in the cloud and made again starts with a lower version.
func TestMirror_reborn(t *testing.T) {
	const days = 24 * 3600
	for name, again := range map[string][]byte{
		"first":              doc(1, 0, noon+3*days, 1),
		"out of order":       doc(2, 1, noon+3*days, 2),
		"same version":       doc(9, 8, noon+3*days, 9),
		"after a day":        doc(1, 0, noon+days, 1),
		"while it is known":  doc(11, 0, noon+days, 11),
		"while it was newer": doc(12, 11, noon+days, 12),
	} {
		t.Run(name, func(t *testing.T) {
			s, here := store.NewMemory(), newClock()
			e := openEngine(t, s, engine.Options{Now: here.Now})
			key := classic("pump")
			wantOutcome(t, mirror(t, e, key, doc(9, 0, noon-5, 9)), twin.MirrorApplied)
			here.Add(4 * days * time.Second)
			wantOutcome(t, mirror(t, e, key, again), twin.MirrorApplied)
			state, err := e.Shadow(context.Background(), key)
			if err != nil || shown(t, state) != shown(t, document(t, again).Current) {
				t.Fatalf("%s, %v", shown(t, state), err)
			}
			wantOutcome(t, mirror(t, e, key, again), twin.MirrorRepeated)
			// One of the life before is still late, and known when it comes again.
			late := doc(8, 0, noon-8, 8)
			wantOutcome(t, mirror(t, e, key, late), twin.MirrorRecorded)
			wantOutcome(t, mirror(t, e, key, late), twin.MirrorRepeated)
			wantOutcome(t, mirror(t, e, key, doc(9, 0, noon-5, 9)), twin.MirrorRepeated)
			wantOutcome(t, mirror(t, e, key, doc(20, 0, noon+4*days, 20)), twin.MirrorApplied)
		})
	}
	t.Run("late first", func(t *testing.T) {
		e := openEngine(t, store.NewMemory(), engine.Options{})
		wantOutcome(t, mirror(t, e, classic("pump"), doc(9, 8, noon, 9)), twin.MirrorApplied)
		wantOutcome(t, mirror(t, e, classic("pump"), doc(1, 0, noon, 1)), twin.MirrorRecorded)
		mustVersion(t, e, classic("pump"), 9)
	})
}

// A mirrored shadow that is changed here too: what is done here stands until the cloud's
// version is greater, and then the twin says what was replaced.
func TestMirror_changedHere(t *testing.T) {
	s := store.NewMemory()
	e := openEngine(t, s, engine.Options{})
	key := classic("pump")
	wantOutcome(t, mirror(t, e, key, doc(5, 0, noon, 5)), twin.MirrorApplied)
	for range 2 {
		if r := do(t, e, update(t, "pump", `{"state":{"desired":{"x":1}}}`)); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	mustVersion(t, e, key, 7)
	for v := 6; v <= 7; v++ {
		wantOutcome(t, mirror(t, e, key, doc(v, v-1, noon+v, v)), twin.MirrorRecorded)
		mustVersion(t, e, key, 7)
	}
	wantOutcome(t, mirror(t, e, key, doc(8, 7, noon+8, 8)), twin.MirrorApplied)
	wantOutcome(t, mirror(t, e, key, doc(9, 8, noon+9, 9)), twin.MirrorApplied)
	state, err := e.Shadow(context.Background(), key)
	if err != nil || state.Desired != nil || state.Version != 9 {
		t.Errorf("%s, %v", shown(t, state), err)
	}
	warned := map[twin.Version]bool{}
	for _, ev := range events(t, s, key) {
		if ev.Severity == twin.SeverityWarning && ev.Message != "" {
			warned[ev.Version] = true
		}
	}
	if want := map[twin.Version]bool{6: true, 7: true, 8: true}; !maps.Equal(warned, want) {
		t.Errorf("versions with a warning: %v, want %v", warned, want)
	}
}

// Subscribers hear of a document as of any update.
func TestMirror_published(t *testing.T) {
	var got []string
	e := openEngine(t, store.NewMemory(), engine.Options{Publisher: stager(func(c *twin.Change) {
		got = append(got, string(c.AppendAccepted(nil)), string(c.AppendDelta(nil)), string(c.AppendDocuments(nil)))
	})})
	const message = `{"previous":null,"current":{"state":{"desired":{"on":true},"reported":{"on":false}},"metadata":{"desired":{"on":{"timestamp":1795348790}},` +
		`"reported":{"on":{"timestamp":1795348700}}},"version":3},"timestamp":1795348795,"clientToken":"c1"}`
	wantOutcome(t, mirror(t, e, classic("lamp"), []byte(message)), twin.MirrorApplied)
	want := []string{
		`{"state":{"desired":{"on":true},"reported":{"on":false}},"metadata":{"desired":{"on":{"timestamp":1795348795}},"reported":{"on":{"timestamp":1795348795}}},"version":3,"timestamp":1795348795,"clientToken":"c1"}`,
		`{"version":3,"timestamp":1795348795,"state":{"on":true},"metadata":{"on":{"timestamp":1795348790}},"clientToken":"c1"}`,
		message,
	}
	if !slices.Equal(got, want) {
		t.Errorf("published\n%s\nwant\n%s", got, want)
	}
}

type stager func(*twin.Change)

func (s stager) Stage(c *twin.Change) twin.Outgoing { s(c); return nil }

// Versions so old that they are not told apart any more are refused, and what is
// remembered of them goes.
func TestMirror_tooOld(t *testing.T) {
	s := store.NewMemory()
	e := openEngine(t, s, engine.Options{})
	key := classic("pump")
	for _, v := range []int{1, 40, 200} {
		wantOutcome(t, mirror(t, e, key, doc(v, 0, noon+v, v)), twin.MirrorApplied)
	}
	wantOutcome(t, mirror(t, e, key, doc(100+twin.MirrorVersionsMax, 0, noon+300, 7)), twin.MirrorApplied)
	if r := mirror(t, e, key, doc(99, 0, noon+99, 9)); twin.Kind(r.Err) != twin.KindInvalid {
		t.Errorf("%+v", r)
	}
	wantOutcome(t, mirror(t, e, key, doc(101, 0, noon+101, 9)), twin.MirrorRecorded)
	records, err := s.ListRecords(context.Background(), store.RecordRange{Kind: twin.RecordMirror, Limit: 100})
	if err != nil || len(records) != 4 { // the head, and the blocks of 101, 200 and the newest
		t.Errorf("%d records, %v", len(records), err)
	}
}
