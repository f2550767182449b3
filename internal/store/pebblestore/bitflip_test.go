package pebblestore_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/internal/store/storetest"
	"github.com/twofold-iot/twofold/twin"
)

var flipsFlag = flag.Int("flips", 0, "bits flipped by TestBitFlips; 0: 120, fewer with -short or -race")

// past is all that a store answers, by every way to ask for it that reads other keys.
type past struct {
	Contents *storetest.Contents
	Newest   [][][]byte // events of each thing's classic shadow, newest first
	Things   [][][]byte // events of each thing over both classes
	Anchors  [][]twin.Head
	Logged   []twin.ThingName
}

func readPast(ctx context.Context, s store.Store) (p past, err error) {
	if p.Contents, err = storetest.Dump(ctx, s); err != nil {
		return p, err
	}
	if p.Logged, err = s.LoggedThings(ctx, "", 1<<20); err != nil {
		return p, err
	}
	for _, thing := range p.Logged {
		newest, err := s.Events(ctx, store.EventRange{Key: twin.ShadowKey{Thing: thing}, Newest: true, Limit: 1 << 20})
		if err != nil {
			return p, err
		}
		all, err := s.ThingEvents(ctx, store.ThingRange{Thing: thing, Limit: 1 << 20})
		if err != nil {
			return p, err
		}
		anchors, err := s.Anchors(ctx, thing)
		if err != nil {
			return p, err
		}
		p.Newest, p.Things, p.Anchors = append(p.Newest, newest), append(p.Things, all), append(p.Anchors, anchors)
	}
	return p, nil
}

// threeDays makes a closed store with the past of some things over three days, most of
// it in tables and the newest in the log alone; one thing has events of the log class.
func threeDays(t *testing.T, rng *rand.Rand) (*vfs.MemFS, past) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	s := openOn(t, fs, nil)
	w := storetest.NewWorld(1_790_000_000_000)
	const groups, group = 160, 25
	for g := range groups {
		w.Now += 3 * 86_400_000 / groups
		ms := make([]store.Mutation, group)
		for i := range ms {
			ms[i] = w.Report(twin.ThingName(fmt.Sprint("thing-", rng.IntN(7))), rng)
			if i == 1 {
				ms[i] = logged(w)
			}
			if g%3 == 0 { // its things are read over two retention groups
				ms[i].Class = store.ClassOf(2, ms[i].Class.Kind())
			}
			w.Accept(ms[i])
		}
		ms[0].Records = []twin.RecordWrite{{Kind: 1, Key: fmt.Sprint(rng.IntN(40)), Value: fmt.Append(nil, "value ", g)}}
		if _, err := s.Commit(t.Context(), ms); err != nil {
			t.Fatal(err)
		}
	}
	want, err := readPast(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(want.Contents.Feed); n != groups*group {
		t.Fatalf("the feed has %d events, want %d", n, groups*group)
	}
	return fs, want
}

// logged is an event that changes no shadow.
func logged(w *storetest.World) store.Mutation {
	m := w.Mutation(twin.ShadowKey{Thing: "gateway"}, `{"message":"door open"}`, "", true)
	m.Class, m.Doc, m.Live, m.Info = store.ClassLog, nil, false, store.ShadowInfo{}
	return m
}

// storeFiles are all files of a store that have a byte.
func storeFiles(t *testing.T, fs vfs.FS) (paths []string) {
	t.Helper()
	for _, dir := range []string{"/data", "/data/log"} {
		names, err := fs.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			p := path.Join(dir, n)
			if info, err := fs.Stat(p); err != nil {
				t.Fatal(err)
			} else if !info.IsDir() && info.Size() > 0 {
				paths = append(paths, p)
			}
		}
	}
	slices.Sort(paths)
	return paths
}

// fileKind is what a file is for, for the summary.
func fileKind(p string) string {
	switch name := path.Base(p); {
	case path.Ext(name) != "":
		return "*" + path.Ext(name)
	default:
		kind, _, _ := strings.Cut(name, "-")
		return kind
	}
}

// identifies reports whether an error leads to the file that is damaged: by its path,
// or, as the messages of the store do, the two small files by what they are.
func identifies(err error, file string) bool {
	name, text := path.Base(file), err.Error()
	switch fileKind(file) {
	case "*.sst":
		return strings.Contains(text, "file "+file+" is damaged")
	case "HEAD":
		return strings.Contains(text, "head file")
	case "FORMAT":
		return strings.Contains(text, "data folder /data has the unknown format")
	}
	return strings.Contains(text, name)
}

// refusalSuffices tells of which files damage may show as a refusal to open that says
// the log is damaged without saying in which file: Pebble does not tell of these.
func refusalSuffices(err error, file string) bool {
	return slices.Contains([]string{"*.log", "MANIFEST", "OPTIONS"}, fileKind(file)) &&
		strings.Contains(err.Error(), "log is damaged")
}

// openAndRead opens a store and reads all of it.
func openAndRead(ctx context.Context, fs vfs.FS) (p past, err error) {
	s, err := pebblestore.Open("/data", pebblestore.Options{FS: fs, MemtableBytes: 64 << 10, CacheBytes: 1 << 20})
	if err != nil {
		return past{}, err
	}
	p, err = readPast(ctx, s)
	return p, errors.Join(err, s.Close())
}

// differences says in short which answers changed. A diff of them all takes minutes.
func differences(want, got past) string {
	var changed []string
	for _, c := range []struct {
		what      string
		want, got any
	}{
		{"head", want.Contents.Head, got.Contents.Head},
		{"feed", want.Contents.Feed, got.Contents.Feed},
		{"things", want.Contents.Things, got.Contents.Things},
		{"heads of things", want.Contents.Heads, got.Contents.Heads},
		{"shadows", want.Contents.Shadows, got.Contents.Shadows},
		{"events of shadows", want.Contents.Events, got.Contents.Events},
		{"records", want.Contents.Records, got.Contents.Records},
		{"events of shadows, newest first", want.Newest, got.Newest},
		{"events of things", want.Things, got.Things},
		{"anchors", want.Anchors, got.Anchors},
		{"things with events", want.Logged, got.Logged},
	} {
		if !reflect.DeepEqual(c.want, c.got) {
			changed = append(changed, c.what)
		}
	}
	return fmt.Sprintf("head %d in place of %d, %d events in place of %d; changed: %s",
		got.Contents.Head, want.Contents.Head, len(got.Contents.Feed), len(want.Contents.Feed), strings.Join(changed, ", "))
}

// tally counts what came of flips in one kind of file.
type tally struct{ same, named, refused, faults int }

// A bit turned anywhere in the files of a store changes no answer: either all is as it
// was, or there is an error that leads to the file, or the store is refused as damaged.
// Nothing is left out silently.
func TestBitFlips(t *testing.T) {
	flips := *flipsFlag
	if flips == 0 {
		flips = 120
		if testing.Short() || raceEnabled {
			flips = 30
		}
	}
	rng := rand.New(rand.NewPCG(seed(t), 0))
	fs, want := threeDays(t, rng)
	files := storeFiles(t, fs)
	kinds := map[string]*tally{}
	for i := range flips {
		// Each file in turn, for by size alone the small ones would hardly be hit.
		file := files[i%len(files)]
		k := kinds[fileKind(file)]
		if k == nil {
			k = &tally{}
			kinds[fileKind(file)] = k
		}
		damaged := clone(fs)
		b := readFile(t, damaged, file)
		at, bit := rng.IntN(len(b)), rng.IntN(8)
		b[at] ^= 1 << bit
		writeFile(t, damaged, file, b)
		got, err := openAndRead(t.Context(), damaged)
		what := fmt.Sprintf("bit %d of byte %d of %d of %s", bit, at, len(b), file)
		switch {
		case err != nil && identifies(err, file):
			k.named++
		case err != nil && refusalSuffices(err, file):
			k.refused++
		case err != nil:
			k.faults++
			t.Errorf("%s: the error does not lead to the file: %v", what, err)
		case reflect.DeepEqual(want, got):
			k.same++
		default:
			k.faults++
			t.Errorf("%s: wrong answers, and no error: %s", what, differences(want, got))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		k := kinds[name]
		t.Logf("%-9s same answers %3d, error that leads to the file %3d, refused as damaged %3d, faults %d", name, k.same, k.named, k.refused, k.faults)
	}
	// Every byte of these is under a checksum or compared; a flip that shows as nothing
	// would mean that the test does not read what it damages.
	for _, name := range []string{"*.sst", "HEAD", "FORMAT"} {
		if k := kinds[name]; k == nil || k.named == 0 {
			t.Errorf("no flip of %s was found", name)
		}
	}
}
