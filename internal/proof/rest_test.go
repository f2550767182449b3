package proof_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

func exportHeads(t testing.TB, src proof.Source) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, _, err := proof.WriteHeads(context.Background(), src, &b, proof.Options{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// rewriteFrom makes the chain of a thing anew from a seq on, with all its links, so that
// it agrees with itself.
func (w *world) rewriteFrom(t testing.TB, thing twin.ThingName, n twin.Seq, alter func(*twin.Event)) {
	t.Helper()
	var link twin.Hash
	var head twin.Head
	anchors := slices.Clone(w.anchors[thing])
	for i, k := range w.events[thing] {
		if k.place == n {
			ev, err := twin.DecodeEvent(k.event)
			if err != nil {
				t.Fatal(err)
			}
			alter(&ev)
			k.event = ev.AppendBinary(nil)
			w.events[thing][i] = k
		}
		s, err := twin.DecodeEvent(k.event)
		if err != nil {
			t.Fatal(err)
		}
		link = link.Next(k.event)
		head = twin.Head{Seq: k.place, Hash: link, Time: s.Time}
		for j := range anchors {
			if anchors[j].Seq == k.place {
				anchors[j].Hash = link
			}
		}
	}
	w.heads[thing] = head
	w.anchors[thing] = slices.DeleteFunc(anchors, func(a twin.Head) bool { return a.Seq >= head.Seq })
}

func checkHeads(t testing.TB, src proof.Source, exported []byte) proof.Report {
	t.Helper()
	r, err := proof.CheckHeads(context.Background(), src, bytes.NewReader(exported), proof.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func hasFault(r proof.Report, thing twin.ThingName, fault proof.Fault) bool {
	return slices.ContainsFunc(r.Findings, func(f proof.Finding) bool { return f.Thing == thing && f.Fault == fault })
}

func TestCheckHeads(t *testing.T) {
	l := newLife(t, 3)
	clean := l.live(4, 2000).copyWorld()
	exported := exportHeads(t, clean)
	l.live(4, 700) // life goes on after the export
	clean = l.world
	r := checkHeads(t, clean, exported)
	mustBeClean(t, r)
	if r.Things != 4 || r.Segments != 4 {
		t.Fatalf("compared too little: %+v", r)
	}
	t.Run("truncated with its head", func(t *testing.T) {
		w := clean.copyWorld()
		w.events["pump-1"] = w.events["pump-1"][:300]
		w.rewriteFrom(t, "pump-1", 0, nil)
		mustBeClean(t, mustVerify(t, w, proof.Options{})) // it agrees with itself
		if r := checkHeads(t, w, exported); len(r.Findings) != 1 || !hasFault(r, "pump-1", proof.FaultTruncated) || r.Findings[0].Event != 301 {
			t.Fatalf("found %v", r.Findings)
		}
	})
	t.Run("rewritten", func(t *testing.T) {
		w := clean.copyWorld()
		w.rewriteFrom(t, "pump-2", 57, func(e *twin.Event) { e.Correlation = "forged" })
		mustBeClean(t, mustVerify(t, w, proof.Options{}))
		if r := checkHeads(t, w, exported); len(r.Findings) != 1 || !hasFault(r, "pump-2", proof.FaultRewritten) {
			t.Fatalf("found %v", r.Findings)
		}
	})
	t.Run("thing gone", func(t *testing.T) {
		w := clean.copyWorld()
		delete(w.heads, "pump-3")
		if r := checkHeads(t, w, exported); len(r.Findings) != 1 || !hasFault(r, "pump-3", proof.FaultTruncated) {
			t.Fatalf("found %v", r.Findings)
		}
	})
	t.Run("file", func(t *testing.T) {
		for i := range len(exported) {
			if _, err := proof.CheckHeads(context.Background(), clean, bytes.NewReader(exported[:i]), proof.Options{}); twin.Kind(err) != twin.KindInvalid {
				t.Fatalf("cut at %d of %d: %v", i, len(exported), err)
			}
			bad := bytes.Clone(exported)
			bad[i] ^= 1
			r, err := proof.CheckHeads(context.Background(), clean, bytes.NewReader(bad), proof.Options{})
			if twin.Kind(err) != twin.KindInvalid {
				t.Fatalf("altered at %d: %v, %v", i, r.Findings, err)
			}
		}
	})
}

func mustRebuild(t testing.TB, src proof.ShadowSource, opts proof.Options) proof.Report {
	t.Helper()
	r, err := proof.Rebuild(context.Background(), src, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRebuild(t *testing.T) {
	l := newLife(t, 4)
	clean := l.live(4, 4000)
	r := mustRebuild(t, clean, proof.Options{})
	mustBeClean(t, r)
	if r.Shadows != 12 || r.Events < 3900 {
		t.Fatalf("compared too little: %+v", r)
	}
	day := uint32(l.now.Now().UnixMilli() / 86400000)
	for _, back := range []uint32{20, 3, 1} {
		w := clean.copyWorld()
		w.expire(t, store.Policy{store.ClassHistory: day - back, store.ClassLog: day - back})
		r := mustRebuild(t, w, proof.Options{})
		mustBeClean(t, r)
		if r.Shadows != 12 {
			t.Fatalf("compared too little: %+v", r)
		}
		w.bases = nil // the first event of a shadow on a day has a snapshot
		mustBeClean(t, mustRebuild(t, w, proof.Options{}))
	}
	w := clean.copyWorld()
	w.expire(t, store.Policy{store.ClassHistory: day + 1, store.ClassLog: day + 1})
	mustBeClean(t, mustRebuild(t, w, proof.Options{})) // bases alone
}

func TestRebuild_tamperedShadow(t *testing.T) {
	clean := newLife(t, 5).live(3, 2500)
	key := twin.ShadowKey{Thing: "pump-1", Shadow: "config"}
	find := func(t *testing.T, r proof.Report, fault proof.Fault) {
		t.Helper()
		if len(r.Findings) == 0 || !hasFault(r, key.Thing, fault) || r.Findings[0].Shadow != key.Shadow {
			t.Fatalf("want %s of %s, found %v", fault, key, r.Findings)
		}
	}
	stored := func(w *world) (store.Shadow, *twin.Shadow) {
		s, err := w.Shadows(context.Background(), []twin.ShadowKey{key})
		if err != nil {
			t.Fatal(err)
		}
		tree, err := twin.DecodeShadow(s[0].Doc)
		if err != nil {
			t.Fatal(err)
		}
		return s[0], tree
	}
	t.Run("stored shadow", func(t *testing.T) {
		w := clean.copyWorld()
		s, tree := stored(w)
		forged := *tree
		forged.Version++
		s.Doc = forged.AppendBinary(nil)
		w.docs[key] = s
		find(t, mustRebuild(t, w, proof.Options{}), proof.FaultShadow)
	})
	t.Run("stored shadow gone", func(t *testing.T) {
		w := clean.copyWorld()
		w.docs[key] = store.Shadow{}
		find(t, mustRebuild(t, w, proof.Options{}), proof.FaultShadow)
	})
	t.Run("stored shadow old", func(t *testing.T) {
		w := clean.copyWorld()
		s, _ := stored(w)
		s.Info.Seq--
		w.docs[key] = s
		find(t, mustRebuild(t, w, proof.Options{}), proof.FaultShadow)
	})
}

func TestRebuild_tamperedEvent(t *testing.T) {
	clean := newLife(t, 5).live(3, 2500)
	key := twin.ShadowKey{Thing: "pump-1", Shadow: "config"}
	find := func(t *testing.T, r proof.Report, fault proof.Fault) {
		t.Helper()
		if len(r.Findings) == 0 || !hasFault(r, key.Thing, fault) || r.Findings[0].Shadow != key.Shadow {
			t.Fatalf("want %s of %s, found %v", fault, key, r.Findings)
		}
	}
	// An altered patch leads to another snapshot or another shadow, an altered snapshot
	// is not what the events give.
	t.Run("patch", func(t *testing.T) {
		w := &tamperer{world: clean.copyWorld(), thing: key.Thing}
		n := w.pick(t, key, func(e *twin.Event) bool { return e.Kind == twin.EventUpdated && len(e.Snapshot) == 0 })
		w.rewrite(n, func(e *twin.Event) { e.Patch = []byte(`{"reported":{"forged":1}}`) })
		if r := mustRebuild(t, w, proof.Options{}); r.OK() {
			t.Fatal("not found")
		}
	})
	t.Run("snapshot", func(t *testing.T) {
		w := &tamperer{world: clean.copyWorld(), thing: key.Thing}
		n := w.pick(t, key, func(e *twin.Event) bool { return e.Kind == twin.EventUpdated && len(e.Snapshot) > 0 })
		w.rewrite(n, func(e *twin.Event) {
			s, err := twin.DecodeShadow(e.Snapshot)
			if err != nil {
				t.Fatal(err)
			}
			forged := *s
			forged.Desired = nil
			forged.Reported = nil
			e.Snapshot = forged.AppendBinary(nil)
		})
		r := mustRebuild(t, w, proof.Options{})
		find(t, r, proof.FaultSnapshot)
		if r.Findings[0].Event != n {
			t.Fatalf("want event %d, found %v", n, r.Findings)
		}
	})
	t.Run("dropped", func(t *testing.T) {
		w := &tamperer{world: clean.copyWorld(), thing: key.Thing}
		n := w.pick(t, key, func(e *twin.Event) bool { return e.Kind == twin.EventUpdated && len(e.Snapshot) == 0 })
		i := w.at(key.Thing, n)
		w.events[key.Thing] = slices.Delete(w.events[key.Thing], i, i+1)
		find(t, mustRebuild(t, w, proof.Options{}), proof.FaultFold)
	})
	t.Run("damaged", func(t *testing.T) {
		w := &tamperer{world: clean.copyWorld(), thing: key.Thing}
		n := w.pick(t, key, func(e *twin.Event) bool { return len(e.Snapshot) == 0 })
		w.kept(n).spoil = true
		r := mustRebuild(t, w, proof.Options{})
		if !slices.ContainsFunc(r.Findings, func(f proof.Finding) bool { return f.Fault == proof.FaultUnreadable && f.Event == n }) {
			t.Fatalf("want event %d, found %v", n, r.Findings)
		}
	})
}

// pick returns the seq of an event in the middle of a shadow's history.
func (w *tamperer) pick(t *testing.T, key twin.ShadowKey, want func(*twin.Event) bool) twin.Seq {
	t.Helper()
	for _, k := range w.events[key.Thing][len(w.events[key.Thing])/2:] {
		ev, err := twin.DecodeEvent(k.event)
		if err != nil {
			t.Fatal(err)
		}
		if ev.Shadow == key.Shadow && want(&ev) {
			return ev.Seq
		}
	}
	t.Fatal("no such event")
	return 0
}

func TestReplay(t *testing.T) {
	ctx := context.Background()
	l := newLife(t, 6)
	w := l.live(2, 1500)
	key := twin.ShadowKey{Thing: "pump-0"}
	replay := func(src proof.EventSource, to proof.ReplayTo) ([]proof.Step, error) {
		var steps []proof.Step
		err := proof.Replay(ctx, src, key, to, func(s proof.Step) error {
			steps = append(steps, s)
			return nil
		})
		return steps, err
	}
	all, err := replay(w, proof.ReplayTo{})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := w.Shadows(ctx, []twin.ShadowKey{key})
	if err != nil {
		t.Fatal(err)
	}
	last := all[len(all)-1]
	if got := last.After.AppendBinary(nil); !bytes.Equal(got, stored[0].Doc) {
		t.Fatal("the last step is not the shadow in the store")
	}
	for i, s := range all[1:] {
		if s.Before != all[i].After {
			t.Fatalf("step %d does not begin where the one before ended", i+1)
		}
	}
	mid := all[len(all)/2]
	to, err := replay(w, proof.ReplayTo{Time: mid.Event.Time})
	if err != nil || len(to) != len(all)/2+1 {
		t.Fatalf("to %d: %d steps, %v", mid.Event.Time, len(to), err)
	}
	to, err = replay(w, proof.ReplayTo{Version: 5})
	if err != nil || to[len(to)-1].After.Version != 5 {
		t.Fatalf("to version 5: %d steps, %v", len(to), err)
	}
	for name, end := range map[string]proof.ReplayTo{"version": {Version: 1 << 40}, "time": {Time: 1}} {
		if _, err := replay(w, end); twin.Kind(err) != twin.KindNotFound {
			t.Errorf("to an unknown %s: %v", name, err)
		}
	}
	stop := errors.New("enough")
	if err := proof.Replay(ctx, w, key, proof.ReplayTo{}, func(proof.Step) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of the caller: %v", err)
	}
	old := w.copyWorld()
	old.expire(t, store.Policy{store.ClassHistory: mid.Event.Time.Day()})
	short, err := replay(old, proof.ReplayTo{})
	if err != nil || !short[0].Begins || len(short) >= len(all) {
		t.Fatalf("after expiry: %d steps, %v", len(short), err)
	}
	if got := short[len(short)-1].After.AppendBinary(nil); !bytes.Equal(got, stored[0].Doc) {
		t.Fatal("after expiry the last step is not the shadow in the store")
	}
	if _, err := replay(old, proof.ReplayTo{Time: all[0].Event.Time}); twin.Kind(err) != twin.KindNotFound {
		t.Errorf("to an expired time: %v", err)
	}
}

func exportAudit(t testing.TB, src proof.Source, opts proof.Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, _, err := proof.ExportAudit(context.Background(), src, &b, opts); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCheckFile(t *testing.T) {
	l := newLife(t, 7)
	w := l.live(3, 700)
	now := time.Unix(1_800_000_000, 0)
	opts := proof.Options{Now: func() time.Time { return now }}
	file := exportAudit(t, w, opts)
	heads := exportHeads(t, w)
	check := func(b []byte) (proof.Report, error) {
		return proof.CheckFile(bytes.NewReader(b), proof.FileOptions{Heads: bytes.NewReader(heads)})
	}
	r, err := check(file)
	if err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, r)
	if r.Things != 3 || r.Events < 650 || r.Unproven != 0 {
		t.Fatalf("looked at too little: %+v", r)
	}
	lines := bytes.SplitAfter(file, []byte("\n"))
	lines = lines[:len(lines)-1]
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	join := func(ls [][]byte) []byte { return bytes.Join(ls, nil) }
	found := func(what string, b []byte, line int) {
		t.Helper()
		r, err := check(b)
		if twin.Kind(err) == twin.KindInvalid && strings.Contains(err.Error(), fmt.Sprintf("line %d:", line)) {
			return
		}
		if err != nil || !slices.ContainsFunc(r.Findings, func(f proof.Finding) bool { return f.Line == line || f.Line == line+1 && what == "dropped" }) {
			t.Fatalf("%s: line %d is not named: %v, %v", what, line, r.Findings, err)
		}
	}
	rounds := 30
	if raceEnabled {
		rounds = 6
	}
	for range rounds {
		i := rng.IntN(len(lines)-2) + 1
		ls := slices.Clone(lines)
		ls[i] = bytes.Clone(ls[i])
		at := rng.IntN(len(ls[i]) - 1)
		for was := ls[i][at]; ls[i][at] == was || ls[i][at] == '\n'; {
			ls[i][at] ^= 1 << rng.IntN(8)
		}
		found("altered", join(ls), i+1)
		found("dropped", join(slices.Delete(slices.Clone(lines), i, i+1)), i+1)
		found("twice", join(slices.Insert(slices.Clone(lines), i, lines[i])), i+2)
		j := rng.IntN(len(lines)-2) + 1
		if j != i {
			ls := slices.Clone(lines)
			ls[i], ls[j] = ls[j], ls[i]
			found("swapped", join(ls), min(i, j)+1)
		}
		cut := file[:rng.IntN(len(file))]
		if _, err := check(cut); twin.Kind(err) != twin.KindInvalid || !strings.Contains(err.Error(), "cut short") && len(cut) > len(lines[0]) {
			t.Fatalf("cut at %d: %v", len(cut), err)
		}
	}
}

// TestCheckFile_forged: a file as a whole.
func TestCheckFile_forged(t *testing.T) {
	w := newLife(t, 7).live(3, 700)
	opts := proof.Options{}
	file, heads := exportAudit(t, w, opts), exportHeads(t, w)
	check := func(b []byte) (proof.Report, error) {
		return proof.CheckFile(bytes.NewReader(b), proof.FileOptions{Heads: bytes.NewReader(heads)})
	}
	if _, err := check(append(bytes.Clone(file), "x\n"...)); twin.Kind(err) != twin.KindInvalid {
		t.Fatalf("something after the end: %v", err)
	}
	// A file forged as a whole agrees with itself, but not with exported heads.
	forged := w.copyWorld()
	forged.rewriteFrom(t, "pump-2", 7, func(e *twin.Event) { e.Correlation = "forged" })
	b := exportAudit(t, forged, opts)
	if r, err := proof.CheckFile(bytes.NewReader(b), proof.FileOptions{}); err != nil || !r.OK() {
		t.Fatalf("%v, %v", r.Findings, err)
	}
	if r, err := check(b); err != nil || !hasFault(r, "pump-2", proof.FaultRewritten) {
		t.Fatalf("forged: %v, %v", r.Findings, err)
	}
	if _, err := proof.CheckFile(bytes.NewReader(file), proof.FileOptions{Digest: "00"}); twin.Kind(err) != twin.KindInvalid {
		t.Fatalf("another digest: %v", err)
	}
}

// TestCheckFile_store: what is wrong in the store is wrong in the file.
func TestCheckFile_store(t *testing.T) {
	l := newLife(t, 8)
	clean := l.live(2, 1500)
	day := uint32(l.now.Now().UnixMilli() / 86400000)
	for _, p := range []store.Policy{
		{store.ClassHistory: day - 3, store.ClassLog: day - 3},
		{store.ClassHistory: day - 2, store.ClassLog: day - 8},
	} {
		w := clean.copyWorld()
		w.expire(t, p)
		r, err := proof.CheckFile(bytes.NewReader(exportAudit(t, w, proof.Options{Expired: p})), proof.FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		mustBeClean(t, r)
	}
	w := &tamperer{world: clean.copyWorld(), thing: "pump-1", n: 200}
	w.rewrite(200, func(e *twin.Event) { e.Correlation = "forged" })
	r, err := proof.CheckFile(bytes.NewReader(exportAudit(t, w, proof.Options{})), proof.FileOptions{})
	if err != nil || r.OK() {
		t.Fatalf("altered: %v, %v", r.Findings, err)
	}
	w = &tamperer{world: clean.copyWorld(), thing: "pump-1", n: 200}
	w.events["pump-1"] = slices.Delete(w.events["pump-1"], 199, 200)
	r, err = proof.CheckFile(bytes.NewReader(exportAudit(t, w, proof.Options{})), proof.FileOptions{})
	if err != nil || !slices.ContainsFunc(r.Findings, func(f proof.Finding) bool { return f.Fault == proof.FaultMissing && f.Event == 200 }) {
		t.Fatalf("dropped: %v, %v", r.Findings, err)
	}
}

// TestVerify_store reads through the contract alone, also a thing whose shadow is deleted.
func TestVerify_store(t *testing.T) {
	l := newLife(t, 9)
	w := l.live(3, 500)
	for _, s := range []twin.ShadowName{"", "config", "net"} {
		l.delete(twin.ShadowKey{Thing: "pump-1", Shadow: s})
	}
	src := proof.ShadowSource(w.Memory)
	r := mustVerify(t, src, proof.Options{})
	mustBeClean(t, r)
	rb := mustRebuild(t, src, proof.Options{})
	mustBeClean(t, rb)
	if r.Things != 3 || rb.Shadows != 9 {
		t.Fatalf("%+v %+v", r, rb)
	}
}
