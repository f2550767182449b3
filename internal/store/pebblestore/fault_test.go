package pebblestore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/internal/store/storetest"
	"github.com/twofold-iot/twofold/twin"
)

var errDisk = errors.New("injected disk error")

// failing injects an error into the n-th file operation that it counts, and into all
// after it if sticky.
type failing struct {
	at     int64 // 0: never
	sticky bool
	err    error
	counts func(op errorfs.Op) bool
	ops    atomic.Int64
	hit    atomic.Bool
}

func (f *failing) MaybeError(op errorfs.Op) error {
	if f.counts != nil && !f.counts(op) {
		return nil
	}
	n := f.ops.Add(1)
	if f.at == 0 || n < f.at || n > f.at && !f.sticky {
		return nil
	}
	f.hit.Store(true)
	return fmt.Errorf("%s: %w", op.Path, f.err)
}

func (f *failing) String() string { return fmt.Sprintf("error at operation %d", f.at) }

func writes(op errorfs.Op) bool {
	return op.Kind.ReadOrWrite() == errorfs.OpIsWrite
}

func walWrites(op errorfs.Op) bool {
	return writes(op) && strings.HasSuffix(op.Path, ".log")
}

// TestIOErrors makes every n-th file operation fail, once or from then on, while a
// store is opened, written until it flushes and merges, and closed. Nothing may be
// acknowledged that a power cut then loses, and what is left must open again.
func TestIOErrors(t *testing.T) {
	total := ioErrors(t, &failing{}, 1)
	if total < 100 {
		t.Fatalf("only %d file operations without errors", total)
	}
	step := int64(1)
	switch { // a fenced store leaves its parked goroutines and their memory behind
	case testing.Short(), raceEnabled:
		step = 1 + total/25
	case total > 250:
		step = 1 + total/250
	}
	cases := 0
	for _, sticky := range []bool{false, true} {
		for at := int64(1); at <= total; at += step {
			f := &failing{at: at, sticky: sticky, err: errDisk}
			ioErrors(t, f, uint64(at))
			if f.hit.Load() {
				cases++
			}
		}
	}
	t.Logf("%d of %d file operations failed, once or for good", cases, total)
	if cases == 0 {
		t.Fatal("no error was ever injected")
	}
}

func ioErrors(t *testing.T, f *failing, seed uint64) (ops int64) {
	t.Helper()
	disk := vfs.NewCrashableMem()
	truth := newTruth(rand.New(rand.NewPCG(seed, 3)))
	var acked atomic.Int64
	opts := pebblestore.Options{FS: errorfs.Wrap(disk, f), MemtableBytes: 64 << 10, CacheBytes: 1 << 20, Interval: 5 * time.Millisecond}
	s, err := pebblestore.Open("/data", opts)
	if err == nil {
		truth.live(s, &acked)
		truth.live(s, &acked)
		err = errors.Join(s.Fault(), s.Close())
	}
	if err == nil && f.at == 0 && acked.Load() == 0 {
		t.Fatal("nothing was acknowledged")
	}
	ops = f.ops.Load()
	truth.freeze()
	left := disk.CrashClone(vfs.CrashCloneCfg{})
	if wrong := truth.check(left, pebblestore.Options{}); wrong != nil {
		t.Fatalf("%s (sticky: %t), the store said %v; then: %v", f, f.sticky, err, wrong)
	}
	return ops
}

// openOn opens a store in a memory file system.
func openOn(t *testing.T, fs vfs.FS, change func(*pebblestore.Options)) *pebblestore.Store {
	t.Helper()
	opts := pebblestore.Options{FS: fs, MemtableBytes: 64 << 10, CacheBytes: 1 << 20, Interval: time.Millisecond}
	if change != nil {
		change(&opts)
	}
	s, err := pebblestore.Open("/data", opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func update(w *storetest.World, thing twin.ThingName, doc string) []store.Mutation {
	return []store.Mutation{w.Mutation(twin.ShadowKey{Thing: thing}, `{"n":1}`, doc, true)}
}

func commitOne(t *testing.T, s store.Store, w *storetest.World, thing twin.ThingName, doc string) {
	t.Helper()
	ms := update(w, thing, doc)
	outcomes, err := s.Commit(t.Context(), ms)
	if err != nil || outcomes[0] != store.Committed {
		t.Fatalf("commit: %v, %v", outcomes, err)
	}
	w.Accept(ms[0])
}

// A failed write of the log fences the store: the commit is told at once, every later
// call too, and a restart has what was acknowledged.
func TestFence(t *testing.T) {
	disk := vfs.NewCrashableMem()
	inject := &failing{err: errDisk, sticky: true, counts: walWrites}
	s := openOn(t, errorfs.Wrap(disk, inject), nil)
	w := storetest.NewWorld(1_790_000_000_000)
	commitOne(t, s, w, "lamp", "one")

	inject.at = inject.ops.Load() + 1
	_, err := s.Commit(t.Context(), update(w, "lamp", "two"))
	if twin.Kind(err) != twin.KindUnavailable || !errors.Is(err, errDisk) {
		t.Fatalf("got %v, want an error of kind KindUnavailable that says %v", err, errDisk)
	}
	<-s.Fenced()
	if err := s.Fault(); !errors.Is(err, errDisk) {
		t.Fatalf("got fault %v, want %v", err, errDisk)
	}
	inject.at = 1 << 40 // the disk works again: that must not matter
	for range 3 {
		if _, err := s.Commit(t.Context(), update(w, "other", "x")); twin.Kind(err) != twin.KindUnavailable {
			t.Fatalf("a commit after the fence: %v", err)
		}
	}
	_, err = s.Shadows(t.Context(), []twin.ShadowKey{{Thing: "lamp"}})
	if twin.Kind(err) != twin.KindUnavailable {
		t.Fatalf("a read after the fence: %v", err)
	}
	if err := s.Close(); !errors.Is(err, errDisk) {
		t.Fatalf("close: got %v, want %v", err, errDisk)
	}
	again := openOn(t, disk.CrashClone(vfs.CrashCloneCfg{}), nil)
	heads, err := again.Heads(t.Context(), []twin.ThingName{"lamp"})
	if err != nil || heads[0] != w.Head("lamp") {
		t.Fatalf("after a restart the head is %v (%v), want %v", heads[0], err, w.Head("lamp"))
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// A commit that waits for a sync when the disk fails is told at once, also when the
// sync itself never returns.
func TestFence_wakesWaiting(t *testing.T) {
	disk := vfs.NewCrashableMem()
	stuck := &stall{entered: make(chan struct{}), release: make(chan struct{}), fail: make(chan struct{})}
	defer close(stuck.release)
	s := openOn(t, errorfs.Wrap(disk, stuck), nil)
	w := storetest.NewWorld(1_790_000_000_000)
	stuck.head.Store(true)
	first := update(w, "lamp", "one")
	first[0].Records = []twin.RecordWrite{{Kind: twin.RecordQueued, Key: "k", Value: []byte("v")}}
	if _, err := s.Commit(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	w.Accept(first[0])
	stuck.log.Store(true)
	waiting := make(chan error, 1)
	go func() {
		second := update(w, "lamp", "two")
		second[0].Records = []twin.RecordWrite{{Kind: twin.RecordQueued, Key: "k"}}
		_, err := s.Commit(context.Background(), second)
		waiting <- err
	}()
	<-stuck.entered
	// A reader sees the value, or the delete, but must wait for its sync.
	for what, read := range map[string]func(ctx context.Context) error{
		"head": func(ctx context.Context) error { _, err := s.Heads(ctx, []twin.ThingName{"lamp"}); return err },
		"shadow": func(ctx context.Context) error {
			_, err := s.Shadows(ctx, []twin.ShadowKey{{Thing: "lamp"}})
			return err
		},
		"things": func(ctx context.Context) error { _, err := s.Things(ctx, "", 9); return err },
		"event": func(ctx context.Context) error {
			_, err := s.Events(ctx, store.EventRange{Key: twin.ShadowKey{Thing: "lamp"}, Limit: 9})
			return err
		},
		"record": func(ctx context.Context) error { _, _, err := s.Record(ctx, twin.RecordQueued, "k"); return err },
		"records": func(ctx context.Context) error {
			_, err := s.ListRecords(ctx, store.RecordRange{Kind: twin.RecordQueued, Limit: 9})
			return err
		},
	} {
		// The log is written to before the value can be seen, so it may be a moment.
		for deadline := time.Now().Add(10 * time.Second); ; {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			err := read(ctx)
			cancel()
			if twin.Kind(err) == twin.KindUnavailable {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: it was read although it is not durable: %v", what, err)
			}
		}
	}
	if _, ok, err := s.Record(t.Context(), twin.RecordSession, "other"); ok || err != nil {
		t.Fatalf("a record of another kind that never was: %t, %v", ok, err)
	}
	if pos, err := s.Head(t.Context()); err != nil || pos != 1 {
		t.Fatalf("head is %d (%v), want 1", pos, err)
	}
	if entries, err := s.Feed(t.Context(), 0, 9); err != nil || len(entries) != 1 {
		t.Fatalf("the feed has %d entries (%v), want 1", len(entries), err)
	}
	close(stuck.fail)
	if err := <-waiting; twin.Kind(err) != twin.KindUnavailable {
		t.Fatalf("got %v, want an error of kind KindUnavailable", err)
	}
	if err := s.Close(); err == nil {
		t.Fatal("a fenced store closed without an error")
	}
}

// stall holds up the writes of the log, and those of the head file until they fail.
type stall struct {
	log, head              atomic.Bool
	once                   sync.Once
	entered, release, fail chan struct{}
}

func (s *stall) MaybeError(op errorfs.Op) error {
	switch {
	case walWrites(op) && s.log.Load():
		s.once.Do(func() { close(s.entered) })
		<-s.release
	case writes(op) && strings.Contains(op.Path, "HEAD") && s.head.Load():
		<-s.fail
		return errDisk
	}
	return nil
}

func (*stall) String() string { return "stall" }

// A caller who gives up gets its memory back; the commit goes on.
func TestCommit_cancelled(t *testing.T) {
	stuck := &stall{entered: make(chan struct{}), release: make(chan struct{})}
	s := openOn(t, errorfs.Wrap(vfs.NewCrashableMem(), stuck), nil)
	w := storetest.NewWorld(1_790_000_000_000)
	stuck.log.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	ms := update(w, "lamp", "one")
	go func() {
		_, err := s.Commit(ctx, ms)
		waiting <- err
	}()
	<-stuck.entered
	cancel()
	if err := <-waiting; twin.Kind(err) != twin.KindUnavailable {
		t.Fatalf("got %v, want an error of kind KindUnavailable", err)
	}
	clear(ms[0].Doc)
	close(stuck.release)
	await(t, func() bool { // seen a little later, as nobody waits for it
		shadows, err := s.Shadows(t.Context(), []twin.ShadowKey{{Thing: "lamp"}})
		return err == nil && string(shadows[0].Doc) == "one"
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestReadOnly(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 30)
	s := openOn(t, vfs.NewMem(), func(o *pebblestore.Options) {
		o.LowWaterBytes = 64 << 20
		o.FreeSpace = func() (uint64, error) { return free.Load(), nil }
	})
	w := storetest.NewWorld(1_790_000_000_000)
	commitOne(t, s, w, "lamp", "one")
	free.Store(63 << 20)
	await(t, func() bool { return s.Space().ReadOnly })
	_, err := s.Commit(t.Context(), update(w, "lamp", "two"))
	if twin.Kind(err) != twin.KindFull || !strings.Contains(err.Error(), "63 MiB are free") || !strings.Contains(err.Error(), "free some space") {
		t.Fatalf("got %v, want an error of kind KindFull that says how much is free and what to do", err)
	}
	shadows, err := s.Shadows(t.Context(), []twin.ShadowKey{{Thing: "lamp"}})
	if err != nil || string(shadows[0].Doc) != "one" {
		t.Fatalf("a read of the read-only store: %q, %v", shadows[0].Doc, err)
	}
	free.Store(65 << 20) // a little more is not enough, lest it flutter
	looked := free.Load()
	await(t, func() bool { return s.Space().FreeBytes == looked })
	if !s.Space().ReadOnly {
		t.Fatal("the store flutters at the low-water mark")
	}
	free.Store(1 << 30)
	await(t, func() bool { return !s.Space().ReadOnly })
	commitOne(t, s, w, "lamp", "two")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// await polls, for the store looks at the free space by the clock.
func await(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not happen within 10 s")
		}
	}
}

// When the disk is full all the same, the store is fenced and says so.
func TestDiskFull(t *testing.T) {
	disk := vfs.NewCrashableMem()
	inject := &failing{err: syscall.ENOSPC, sticky: true, counts: walWrites}
	s := openOn(t, errorfs.Wrap(disk, inject), nil)
	w := storetest.NewWorld(1_790_000_000_000)
	commitOne(t, s, w, "lamp", "one")
	inject.at = inject.ops.Load() + 1
	_, err := s.Commit(t.Context(), update(w, "lamp", "two"))
	if twin.Kind(err) != twin.KindUnavailable || !strings.Contains(err.Error(), "free some space") {
		t.Fatalf("got %v, want an error of kind KindUnavailable that says what to do", err)
	}
	again := openOn(t, disk.CrashClone(vfs.CrashCloneCfg{}), nil)
	commitOne(t, again, w, "lamp", "two")
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
