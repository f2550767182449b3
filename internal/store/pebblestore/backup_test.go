package pebblestore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/internal/store/storetest"
	"github.com/twofold-iot/twofold/twin"
)

// loader commits reports of its own things one after the other.
type loader struct {
	mu    sync.Mutex
	acked map[twin.ThingName]twin.Seq
	pause time.Duration // the longest commit
}

func (l *loader) run(s store.Store, lane int, stop <-chan struct{}) error {
	rng := rand.New(rand.NewPCG(uint64(lane), 7))
	w := storetest.NewWorld(1_790_000_000_000)
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		w.Now++
		m := w.Report(twin.ThingName(fmt.Sprintf("thing-%d-%d", lane, rng.IntN(20))), rng)
		start := time.Now()
		if _, err := s.Commit(context.Background(), []store.Mutation{m}); err != nil {
			return err
		}
		w.Accept(m)
		l.mu.Lock()
		l.acked[m.Thing] = m.Head.Seq
		l.pause = max(l.pause, time.Since(start))
		l.mu.Unlock()
	}
}

// TestBackup_underLoad takes backups of a store that is written to. In each must be all
// that was acknowledged before it began, in whole commits, in a store that goes on.
func TestBackup_underLoad(t *testing.T) {
	dir := t.TempDir()
	opts := pebblestore.Options{MemtableBytes: 128 << 10}
	s, err := pebblestore.Open(filepath.Join(dir, "data"), opts)
	if err != nil {
		t.Fatal(err)
	}
	l := &loader{acked: map[twin.ThingName]twin.Seq{}}
	stop, ended := make(chan struct{}), make(chan error, 4)
	for lane := range 4 {
		go func() { ended <- l.run(s, lane, stop) }()
	}
	for n := range 5 {
		waitHead(t, s, store.Pos(300*(n+1)))
		l.mu.Lock()
		before := maps.Clone(l.acked)
		l.mu.Unlock()
		var file bytes.Buffer
		if _, err := s.Backup(t.Context(), &file, pebblestore.BackupOptions{At: time.Unix(1, 0)}); err != nil {
			t.Fatal(err)
		}
		checkRestored(t, file.Bytes(), filepath.Join(dir, fmt.Sprint("restored-", n)), before)
	}
	close(stop)
	for range 4 {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d things, longest commit with backups %s", len(l.acked), l.pause)
	if _, err := os.Stat(filepath.Join(dir, "data", "backup.new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the checkpoint is left: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func waitHead(t *testing.T, s store.Store, pos store.Pos) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		head, err := s.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if head >= pos {
			return
		}
	}
}

func checkRestored(t *testing.T, file []byte, dir string, before map[twin.ThingName]twin.Seq) {
	t.Helper()
	r, err := pebblestore.Restore(t.Context(), bytes.NewReader(file), dir, pebblestore.RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := storetest.Dump(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Errorf("contents: %v", err)
	}
	if uint64(c.Head) != r.Position {
		t.Errorf("the store is at %d, the report says %d", c.Head, r.Position)
	}
	for thing, seq := range before {
		heads, err := s.Heads(t.Context(), []twin.ThingName{thing})
		if err != nil || heads[0].Seq < seq {
			t.Errorf("%s is at %d (%v), %d was acknowledged before the backup", thing, heads[0].Seq, err, seq)
		}
	}
	w := storetest.NewWorld(1_790_000_000_000)
	if _, err := s.Commit(t.Context(), []store.Mutation{w.Report("new", rand.New(rand.NewPCG(1, 1)))}); err != nil {
		t.Errorf("commit after the restore: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// someBackup returns a backup of a small store.
func someBackup(t *testing.T) []byte {
	t.Helper()
	s, err := pebblestore.Open(t.TempDir(), pebblestore.Options{MemtableBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	w, rng := storetest.NewWorld(1_790_000_000_000), rand.New(rand.NewPCG(1, 1))
	for n := range 200 {
		m := w.Report(twin.ThingName(fmt.Sprint("thing-", n%7)), rng)
		if _, err := s.Commit(t.Context(), []store.Mutation{m}); err != nil {
			t.Fatal(err)
		}
		w.Accept(m)
	}
	var file bytes.Buffer
	if _, err := s.Backup(t.Context(), &file, pebblestore.BackupOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// TestRestore_damaged cuts a backup and turns bits in it: it is always refused, with what
// is wrong and where, and nothing is left.
func TestRestore_damaged(t *testing.T) {
	file := someBackup(t)
	if _, err := pebblestore.VerifyBackup(t.Context(), bytes.NewReader(file), nil); err != nil {
		t.Fatal(err)
	}
	refused := func(what, want string, b []byte, restore bool) {
		t.Helper()
		_, err := pebblestore.VerifyBackup(t.Context(), bytes.NewReader(b), nil)
		if err == nil || !strings.Contains(err.Error(), want) || twin.Kind(err) != twin.KindInvalid {
			t.Fatalf("%s: got %v, want %q", what, err, want)
		}
		if !restore {
			return
		}
		dir := filepath.Join(t.TempDir(), "data")
		if _, err := pebblestore.Restore(t.Context(), bytes.NewReader(b), dir, pebblestore.RestoreOptions{}); err == nil {
			t.Fatalf("%s: it was restored", what)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("%s: something is left: %v", what, err)
		}
	}
	for n := 4096; n < len(file); n += 4096 {
		refused(fmt.Sprint("cut at ", n), fmt.Sprintf("cut short: it ends at byte %d", n), file[:n], n%(4096*8) == 0)
	}
	refused("cut by one byte", "cut short", file[:len(file)-1], true)
	refused("empty", "no backup: it has 0 bytes", nil, true)
	refused("another file", "no backup", bytes.Repeat([]byte("x"), 100), true)
	refused("newer", "unknown format", append([]byte("twofold backup 2\n"), file[17:]...), true)
	refused("longer", "something follows its end", append(bytes.Clone(file), 0), true)
	rng := rand.New(rand.NewPCG(seed(t), 0))
	for n := range 500 {
		b := bytes.Clone(file)
		at := rng.IntN(len(b))
		b[at] ^= 1 << rng.IntN(8)
		refused(fmt.Sprint("bit turned at ", at), "backup", b, n%50 == 0)
	}
}

// TestRestore_readError ends a restore at many places, as a crash of its source would.
func TestRestore_readError(t *testing.T) {
	file := someBackup(t)
	broken := errors.New("the source broke")
	for n := 0; n < len(file); n += 1 + len(file)/40 {
		dir := t.TempDir()
		_, err := pebblestore.Restore(t.Context(), io.MultiReader(bytes.NewReader(file[:n]), errReader{broken}), dir, pebblestore.RestoreOptions{})
		if !errors.Is(err, broken) {
			t.Fatalf("at %d: %v", n, err)
		}
		names, err := os.ReadDir(dir)
		if err != nil || len(names) != 0 {
			t.Fatalf("at %d: left %v, %v", n, names, err)
		}
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// TestRestore_notEmpty leaves a folder alone that holds something, and takes one that an
// interrupted restore has left.
func TestRestore_notEmpty(t *testing.T) {
	file := someBackup(t)
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := pebblestore.Restore(t.Context(), bytes.NewReader(file), dir, pebblestore.RestoreOptions{})
	if err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Fatal(err)
	}
	left := t.TempDir()
	for _, name := range []string{"restore.new", "log"} {
		if err := os.Mkdir(filepath.Join(left, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pebblestore.Open(left, pebblestore.Options{}); err == nil {
		t.Fatal("a restore that was cut off opens as a store")
	}
	checkRestored(t, file, left, nil)
}

// gate holds up whoever writes to it.
type gate struct{ reached, open chan struct{} }

func (g *gate) Write(p []byte) (int, error) {
	select {
	case g.reached <- struct{}{}:
	default:
	}
	<-g.open
	return len(p), nil
}

// A second backup beside one that is being written is refused, and harms neither it nor
// one after it.
func TestBackup_oneAtATime(t *testing.T) {
	s, err := pebblestore.Open(filepath.Join(t.TempDir(), "data"), pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{make(chan struct{}, 1), make(chan struct{})}
	first := make(chan error, 1)
	go func() {
		_, err := s.Backup(context.Background(), g, pebblestore.BackupOptions{})
		first <- err
	}()
	<-g.reached
	if _, err := s.Backup(t.Context(), io.Discard, pebblestore.BackupOptions{}); twin.Kind(err) != twin.KindConflict {
		t.Errorf("a second one: %v", err)
	}
	close(g.open)
	if err := <-first; err != nil {
		t.Errorf("the first one: %v", err)
	}
	if _, err := s.Backup(t.Context(), io.Discard, pebblestore.BackupOptions{}); err != nil {
		t.Errorf("one after it: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
