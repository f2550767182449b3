package pebblestore_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/internal/store/storetest"
	"github.com/twofold-iot/twofold/twin"
)

// filled makes a store with some commits in the log, closed.
func filled(t *testing.T, rng *rand.Rand, memtable uint64) (*vfs.MemFS, *storetest.Contents) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	s := openOn(t, fs, func(o *pebblestore.Options) { o.MemtableBytes = memtable })
	w := storetest.NewWorld(1_790_000_000_000)
	for range 40 {
		m := w.Report(twin.ThingName(fmt.Sprint("thing-", rng.IntN(5))), rng)
		m.Records = []twin.RecordWrite{{Kind: 1, Key: fmt.Sprint(rng.IntN(9)), Value: []byte("value")}}
		if _, err := s.Commit(t.Context(), []store.Mutation{m}); err != nil {
			t.Fatal(err)
		}
		w.Accept(m)
	}
	c, err := storetest.Dump(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, c
}

func clone(fs *vfs.MemFS) *vfs.MemFS { return fs.CrashClone(vfs.CrashCloneCfg{}) }

func readFile(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, fs vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// files lists the files of a store's log folder with an ending.
func files(t *testing.T, fs vfs.FS, suffix string) (paths []string) {
	t.Helper()
	names, err := fs.List("/data/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, suffix) {
			paths = append(paths, "/data/log/"+n)
		}
	}
	return paths
}

// refusedOrSame opens a damaged store. It must be refused, or an answer must be an
// error, or all answers are those before the damage; a wrong answer is the only fault.
func refusedOrSame(t *testing.T, what string, fs vfs.FS, want *storetest.Contents) (refused bool) {
	t.Helper()
	s, err := pebblestore.Open("/data", pebblestore.Options{FS: fs, MemtableBytes: 64 << 10, CacheBytes: 1 << 20})
	if err != nil {
		if !strings.Contains(err.Error(), "damaged") {
			t.Fatalf("%s: the refusal does not say that something is damaged: %v", what, err)
		}
		return true
	}
	got, err := storetest.Dump(t.Context(), s)
	closing := s.Close()
	if err != nil {
		return true
	}
	if closing != nil {
		t.Fatalf("%s: close: %v", what, closing)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s: wrong answers (-before +after):\n%.2000s", what, diff)
	}
	return false
}

func TestDamagedLog_bitFlips(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 0))
	fs, want := filled(t, rng, 4<<20)
	wal := files(t, fs, ".log")
	if len(wal) != 1 {
		t.Fatalf("got the logs %v, want one", wal)
	}
	whole := readFile(t, fs, wal[0])
	if len(whole) < 20_000 {
		t.Fatalf("the log has only %d bytes", len(whole))
	}
	flips, refused := 300, 0
	if testing.Short() || raceEnabled {
		flips = 60
	}
	for range flips {
		damaged, at := clone(fs), rng.IntN(len(whole))
		b := append([]byte{}, whole...)
		b[at] ^= 1 << rng.IntN(8)
		writeFile(t, damaged, wal[0], b)
		if refusedOrSame(t, fmt.Sprintf("bit flip at %d", at), damaged, want) {
			refused++
		}
	}
	t.Logf("%d of %d flips were refused, the others changed nothing", refused, flips)
	if refused < flips/2 {
		t.Fatal("most flips hit what was committed; too few were refused")
	}
}

func TestDamagedLog_truncated(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 0))
	fs, want := filled(t, rng, 4<<20)
	wal := files(t, fs, ".log")[0]
	whole := readFile(t, fs, wal)
	for range 60 {
		damaged, n := clone(fs), rng.IntN(len(whole)-100)
		writeFile(t, damaged, wal, whole[:n])
		if !refusedOrSame(t, fmt.Sprintf("cut to %d of %d", n, len(whole)), damaged, want) {
			t.Fatalf("a log cut to %d of %d bytes was accepted", n, len(whole))
		}
	}
	damaged := clone(fs)
	if err := damaged.Remove(wal); err != nil {
		t.Fatal(err)
	}
	if !refusedOrSame(t, "log removed", damaged, want) {
		t.Fatal("a store without its log was accepted")
	}
}

func TestDamagedTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 0))
	fs, want := filled(t, rng, 64<<10)
	// Opening flushes what is in the log to a table.
	s := openOn(t, fs, nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tables := files(t, fs, ".sst")
	if len(tables) == 0 {
		t.Fatal("there is no table")
	}
	for range 60 {
		damaged, table := clone(fs), tables[rng.IntN(len(tables))]
		b := readFile(t, damaged, table)
		at := rng.IntN(len(b))
		b[at] ^= 1 << rng.IntN(8)
		writeFile(t, damaged, table, b)
		refusedOrSame(t, fmt.Sprintf("bit flip at %d of %s", at, table), damaged, want)
	}
	for _, manifest := range files(t, fs, "") {
		if !strings.Contains(manifest, "MANIFEST") && !strings.Contains(manifest, "marker") {
			continue
		}
		damaged := clone(fs)
		if err := damaged.Remove(manifest); err != nil {
			t.Fatal(err)
		}
		refusedOrSame(t, "without "+manifest, damaged, want)
	}
}

func TestDamagedHead(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 0))
	fs, want := filled(t, rng, 4<<20)
	head := readFile(t, fs, "/data/HEAD")
	for bit := range len(head) * 8 {
		damaged, b := clone(fs), append([]byte{}, head...)
		b[bit/8] ^= 1 << (bit % 8)
		writeFile(t, damaged, "/data/HEAD", b)
		if !refusedOrSame(t, fmt.Sprintf("bit %d of the head file", bit), damaged, want) {
			t.Fatalf("a head file with bit %d turned was accepted", bit)
		}
	}
	damaged := clone(fs)
	if err := damaged.Remove("/data/HEAD"); err != nil {
		t.Fatal(err)
	}
	if !refusedOrSame(t, "no head file", damaged, want) {
		t.Fatal("a store without a head file was accepted")
	}
}

// The head file follows the commits while the store is open, and is never ahead: a
// store whose process was killed is refused when its log was cut.
func TestHead_renewed(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := openOn(t, fs, nil)
	w := storetest.NewWorld(1_790_000_000_000)
	before := string(readFile(t, fs, "/data/HEAD"))
	commitOne(t, s, w, "lamp", "one")
	await(t, func() bool { return string(readFile(t, fs, "/data/HEAD")) != before })
	killed := clone(fs)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, wal := range files(t, killed, ".log") {
		writeFile(t, killed, wal, nil)
	}
	_, err := pebblestore.Open("/data", pebblestore.Options{FS: killed})
	if err == nil || !strings.Contains(err.Error(), "log is damaged") || !strings.Contains(err.Error(), "position 1 was durable") {
		t.Fatalf("got %v, want the log to be refused as damaged", err)
	}
}

func TestOpen_refusals(t *testing.T) {
	wantError := func(t *testing.T, dir string, parts ...string) {
		t.Helper()
		s, err := pebblestore.Open(dir, pebblestore.Options{})
		if err == nil {
			t.Fatalf("opened %s, want an error with %q (%v)", dir, parts, s.Close())
		}
		for _, p := range parts {
			if !strings.Contains(err.Error(), p) {
				t.Fatalf("got %v, want it to say %q", err, p)
			}
		}
	}
	t.Run("unknown format", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "FORMAT"), "twofold store 99\n")
		wantError(t, dir, "unknown format", "twofold store 99", "use the version")
	})
	t.Run("folder of somebody else", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "thesis.txt"), "precious")
		wantError(t, dir, "thesis.txt", "choose an empty or new folder")
		if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) > 2 { // and LOCK
			t.Fatalf("the folder was written to: %v", names)
		}
	})
	t.Run("not a folder", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		write(t, file, "")
		wantError(t, file, file, "choose another data folder")
	})
	t.Run("unwritable", func(t *testing.T) {
		_, err := pebblestore.Open("/data", pebblestore.Options{FS: lockedOut{vfs.NewMem()}})
		if err == nil || !strings.Contains(err.Error(), "write to data folder /data; choose another data folder") {
			t.Fatalf("got %v, want it to say which folder and what to do", err)
		}
	})
	t.Run("in use", func(t *testing.T) {
		dir := t.TempDir()
		s, err := pebblestore.Open(dir, pebblestore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, dir, "in use by another server", "stop that server")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("options", func(t *testing.T) {
		_, err := pebblestore.Open(t.TempDir(), pebblestore.Options{CacheBytes: -1, MemtableBytes: 5})
		if err == nil || !strings.Contains(err.Error(), "CacheBytes") || !strings.Contains(err.Error(), "MemtableBytes") {
			t.Fatalf("got %v, want both faults named", err)
		}
	})
}

// lockedOut is a file system on which no file can be made.
type lockedOut struct{ vfs.FS }

func (lockedOut) Lock(name string) (io.Closer, error) {
	return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EACCES}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A store of 100,000 things opens without reading them all.
func TestOpen_quick(t *testing.T) {
	things := 100_000
	if testing.Short() || raceEnabled {
		things = 10_000
	}
	dir := t.TempDir()
	s, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, rng := storetest.NewWorld(1_790_000_000_000), rand.New(rand.NewPCG(1, 1))
	for i := 0; i < things; i += 1000 {
		ms := make([]store.Mutation, 1000)
		for j := range ms {
			ms[j] = w.Report(twin.ThingName(fmt.Sprintf("thing-%06d", i+j)), rng)
		}
		if _, err := s.Commit(t.Context(), ms); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	s, err = pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("opened %d things in %s", things, took.Round(time.Millisecond))
	if took > 3*time.Second { // half a second on two cores that do nothing else
		t.Errorf("opening took %s", took)
	}
	list, err := s.Things(t.Context(), "", things+1)
	if err != nil || len(list) != things {
		t.Errorf("%d things are there (%v), want %d", len(list), err, things)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
