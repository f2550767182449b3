package proof_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

func mustVerify(t testing.TB, src proof.Source, opts proof.Options) proof.Report {
	t.Helper()
	r, err := proof.Verify(context.Background(), src, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustBeClean(t testing.TB, r proof.Report) {
	t.Helper()
	for _, f := range r.Findings {
		t.Errorf("found in a clean store: %s", f)
	}
	if t.Failed() {
		t.FailNow()
	}
}

func TestVerify_clean(t *testing.T) {
	w := newLife(t, 1).live(5, 4000)
	r := mustVerify(t, w, proof.Options{})
	mustBeClean(t, r)
	if r.Things != 5 || r.Events < 3900 || r.Segments < 15 || r.Unproven != 0 || r.Expired != 0 {
		t.Fatalf("looked at too little: %+v", r)
	}
}

func TestVerify_expired(t *testing.T) {
	l := newLife(t, 2)
	l.live(3, 3000)
	day := uint32(l.now.Now().UnixMilli() / 86400000)
	for name, p := range map[string]store.Policy{
		"both":    {store.ClassHistory: day - 5, store.ClassLog: day - 5},
		"history": {store.ClassHistory: day - 2, store.ClassLog: day - 10},
		"all":     {store.ClassHistory: day + 1, store.ClassLog: day + 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := l.world.copyWorld()
			w.expire(t, p)
			r := mustVerify(t, w, proof.Options{Expired: p})
			mustBeClean(t, r)
			if r.Expired == 0 || (name == "both" && r.Unproven != 0) || (name == "history" && r.Unproven == 0) {
				t.Fatalf("%+v", r)
			}
			if name == "both" {
				mustBeClean(t, mustVerify(t, w, proof.Options{}))
			}
		})
	}
}

// A store may read by days: then the day of a damaged event cannot be proved, all others
// are, and the store's words name the event.
func TestVerify_damagedDay(t *testing.T) {
	l := newLife(t, 11)
	w := l.live(1, 700).copyWorld()
	w.coarse = true
	const bad = 300
	w.events["pump-0"][bad-1].spoil = true
	ev, err := twin.DecodeEvent(w.events["pump-0"][bad-1].event)
	if err != nil {
		t.Fatal(err)
	}
	day, inDay := ev.Time.Day(), uint64(0)
	for _, k := range w.events["pump-0"] {
		if e, err := twin.DecodeEvent(k.event); err == nil && e.Time.Day() == day {
			inDay++
		}
	}
	r := mustVerify(t, w, proof.Options{})
	if len(r.Findings) == 0 || len(r.Findings) > 4 {
		t.Fatalf("found %v", r.Findings)
	}
	for _, f := range r.Findings {
		if f.Fault != proof.FaultDamaged || !strings.Contains(f.Err.Error(), "event 300") {
			t.Errorf("found %s", f)
		}
	}
	if proved := r.Events - r.Unproven; proved+inDay < 690 {
		t.Errorf("%d events are proved, %d are of the damaged day", proved, inDay)
	}
}

// broken is a source that fails where it is told to.
type broken struct {
	proof.ShadowSource
	list, head, anchors, groups bool
}

// Groups implements [proof.Grouped].
func (b broken) Groups(_ context.Context, thing twin.ThingName) (store.Groups, error) {
	if b.groups && thing == "pump-1" {
		return nil, errBroken
	}
	return nil, nil
}

var errBroken = errors.New("input/output error")

func (b broken) LoggedThings(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	if b.list {
		return nil, errBroken
	}
	return b.ShadowSource.LoggedThings(ctx, after, limit)
}

func (b broken) Heads(ctx context.Context, things []twin.ThingName) ([]twin.Head, error) {
	for _, n := range things {
		if b.head && n == "pump-1" {
			return nil, errBroken
		}
	}
	return b.ShadowSource.Heads(ctx, things)
}

func (b broken) Anchors(ctx context.Context, thing twin.ThingName) ([]twin.Head, error) {
	if b.anchors && thing == "pump-1" {
		return nil, errBroken
	}
	return b.ShadowSource.Anchors(ctx, thing)
}

func TestVerify_brokenStore(t *testing.T) {
	w := newLife(t, 12).live(3, 300)
	ctx := context.Background()
	if _, err := proof.Verify(ctx, broken{ShadowSource: w, list: true}, proof.Options{}); !errors.Is(err, errBroken) {
		t.Errorf("things cannot be listed: %v", err)
	}
	for name, src := range map[string]proof.ShadowSource{"head": broken{ShadowSource: w, head: true}, "anchors": broken{ShadowSource: w, anchors: true}, "groups": broken{ShadowSource: w, groups: true}} {
		r := mustVerify(t, src, proof.Options{Expired: store.Policy{store.ClassHistory: 1}})
		if r.Things != 3 || !hasFault(r, "pump-1", proof.FaultUnreadable) || hasFault(r, "pump-0", proof.FaultUnreadable) {
			t.Errorf("%s cannot be read: %+v", name, r)
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := proof.Verify(cancelled, w, proof.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for name, opts := range map[string]proof.Options{
		"unknown thing": {Thing: "nobody"}, "no thing name": {Thing: "a b"}, "progress without clock": {Progress: func(proof.Progress) {}},
	} {
		if _, err := proof.Verify(ctx, w, opts); err == nil || twin.Kind(err) == twin.KindInternal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerify_progress(t *testing.T) {
	w := newLife(t, 13).live(3, 600)
	now := time.Unix(0, 0)
	var told []proof.Progress
	r := mustVerify(t, w, proof.Options{
		Workers: 1, Progress: func(p proof.Progress) { told = append(told, p) },
		Now: func() time.Time { now = now.Add(time.Second); return now },
	})
	last := told[len(told)-1]
	if len(told) < 3 || last.Events != r.Events || last.Things != 3 || last.Rate() <= 0 {
		t.Fatalf("%+v of %+v", told, r)
	}
	var b strings.Builder
	if _, err := r.WriteTo(&b); err != nil || !strings.Contains(b.String(), "3 things, ") || !strings.HasSuffix(b.String(), "; 0 faults\n") {
		t.Fatalf("%q, %v", b.String(), err)
	}
}

// A chain whose links fit but whose time steps back was not made by a server that keeps
// its promises, or was written anew.
func TestVerify_timeStepsBack(t *testing.T) {
	w := newLife(t, 15).live(2, 600).copyWorld()
	var before, at twin.Event
	n := twin.Seq(100)
	for ; ; n++ { // two events of one day, so that the anchors stay where they are due
		for seq, ev := range map[twin.Seq]*twin.Event{n - 1: &before, n: &at} {
			var err error
			if *ev, err = twin.DecodeEvent(w.events["pump-1"][seq-1].event); err != nil {
				t.Fatal(err)
			}
		}
		if before.Time.Day() == at.Time.Day() && (before.Time-1).Day() == at.Time.Day() {
			break
		}
	}
	w.rewriteFrom(t, "pump-1", n, func(e *twin.Event) { e.Time = before.Time - 1 })
	r := mustVerify(t, w, proof.Options{})
	if !hasFault(r, "pump-1", proof.FaultTime) || r.Findings[0].Event != n {
		t.Fatalf("want event %d, found %v", n, r.Findings)
	}
}

// Commits may go on while the past is checked.
func TestVerify_live(t *testing.T) {
	l := newLife(t, 14)
	l.live(3, 200)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				l.live(3, 20)
			}
		}
	}()
	defer func() { close(stop); <-done }()
	for range 8 {
		mustBeClean(t, mustVerify(t, l.world, proof.Options{}))
		mustBeClean(t, mustRebuild(t, l.world, proof.Options{}))
	}
}
