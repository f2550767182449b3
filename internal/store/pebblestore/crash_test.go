package pebblestore_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/internal/store/storetest"
	"github.com/twofold-iot/twofold/twin"
)

var (
	cutsFlag = flag.Int("cuts", 0, "power cuts in TestPowerCuts; 0: 5,000, or 150 with -short or -race")
	seedFlag = flag.Uint64("seed", 0, "of the random tests; 0: by the clock")
)

func seed(t *testing.T) uint64 {
	s := *seedFlag
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", s)
	return s
}

// TestPowerCuts cuts the power at a random file operation, with several committers
// at work, also while the store is opened or closed, and opens what is left on the
// disk: everything acknowledged must be there, and whole.
func TestPowerCuts(t *testing.T) {
	cuts := *cutsFlag
	if cuts == 0 {
		cuts = 5000
		if testing.Short() || raceEnabled {
			cuts = 150
		}
	}
	r := powerCuts(t, seed(t), cuts, pebblestore.Options{})
	t.Log(r.String())
	if n := r.lost.Load() + r.failed.Load(); n != 0 {
		t.Fatalf("lost %d, failed to open %d, first: %v", r.lost.Load(), r.failed.Load(), r.first)
	}
	if r.acked.Load() == 0 {
		t.Fatal("nothing was acknowledged")
	}
}

// TestPowerCutsNoSync is the control: without sync the same cuts must lose something,
// or the test above cannot fail.
func TestPowerCutsNoSync(t *testing.T) {
	r := powerCuts(t, seed(t), 60, pebblestore.Options{NoSync: true})
	t.Log(r.String())
	if r.lost.Load() == 0 {
		t.Fatal("without sync nothing was lost: this test cannot see a loss")
	}
}

type cutResult struct {
	cuts, acked, lost, failed atomic.Int64
	mu                        sync.Mutex
	first                     error
	took                      time.Duration
}

func (r *cutResult) String() string {
	return fmt.Sprintf("%d power cuts in %s: %d updates acknowledged, %d lost, %d failed reopens",
		r.cuts.Load(), r.took.Round(time.Millisecond), r.acked.Load(), r.lost.Load(), r.failed.Load())
}

func (r *cutResult) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first == nil {
		r.first = err
	}
}

// livesPerDisk is after how many power cuts a new disk is taken, lest it fill up.
const livesPerDisk = 12

func powerCuts(t *testing.T, seed uint64, cuts int, opts pebblestore.Options) *cutResult {
	const workers = 2
	r := &cutResult{}
	start := time.Now()
	var disks atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for r.cuts.Load() < int64(cuts) && r.lost.Load()+r.failed.Load() < 50 {
				rng := rand.New(rand.NewPCG(seed, uint64(disks.Add(1))))
				disk(t, rng, opts, r)
			}
		})
	}
	group.Wait()
	r.took = time.Since(start)
	return r
}

// disk lives through several power cuts, each store working on what the cut before
// left.
func disk(t *testing.T, rng *rand.Rand, opts pebblestore.Options, r *cutResult) {
	truth := newTruth(rng)
	fs := vfs.NewCrashableMem()
	for range livesPerDisk {
		life := &life{truth: truth, rng: rng, opts: opts, disk: fs, result: r}
		fs = life.run(t)
		r.cuts.Add(1)
		err := truth.check(fs, opts)
		switch {
		case err == nil:
			continue
		case err.lost:
			r.lost.Add(1)
		default:
			r.failed.Add(1)
		}
		r.note(err)
		return
	}
}

// life is one run of a store that ends by a power cut.
type life struct {
	truth  *truth
	rng    *rand.Rand
	opts   pebblestore.Options
	disk   *vfs.MemFS
	result *cutResult

	ops atomic.Int64
	cut int64 // at this file operation
	cfg vfs.CrashCloneCfg
	mu  sync.Mutex
	now *vfs.MemFS // what the cut left
}

// MaybeError implements the injector of errorfs: it injects no error, but takes the
// picture of the disk.
func (l *life) MaybeError(errorfs.Op) error {
	if l.ops.Add(1) == l.cut {
		l.snap()
	}
	return nil
}

func (*life) String() string { return "power cut" }

func (l *life) snap() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == nil {
		l.truth.freeze() // before the picture: what was acknowledged by now must be on it
		l.now = l.disk.CrashClone(l.cfg)
	}
}

func (l *life) run(t *testing.T) *vfs.MemFS {
	l.cut = 1 + l.rng.Int64N(150)
	percents := []int{0, 0, 100, l.rng.IntN(101)}
	l.cfg = vfs.CrashCloneCfg{UnsyncedDataPercent: percents[l.rng.IntN(len(percents))], RNG: rand.New(rand.NewPCG(l.rng.Uint64(), 0))}
	opts := l.opts
	opts.FS, opts.MemtableBytes, opts.CacheBytes, opts.Interval = errorfs.Wrap(l.disk, l), 64<<10, 1<<20, time.Millisecond
	s, err := pebblestore.Open("/data", opts)
	if err != nil {
		t.Errorf("open: %v", err)
		l.snap()
		return l.now
	}
	l.truth.live(s, &l.result.acked)
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	l.snap() // if the cut has not come yet
	return l.now
}

// truth knows what was issued and what was acknowledged.
type truth struct {
	rng   *rand.Rand
	lanes []*lane

	mu     sync.Mutex
	frozen bool
}

// lane is what one committer does with things of its own.
type lane struct {
	rng    *rand.Rand
	world  *storetest.World
	things []twin.ThingName
	issued map[twin.ThingName][]store.Mutation
	acked  map[twin.ThingName]int // how many of them; kept under truth.mu
}

func newTruth(rng *rand.Rand) *truth {
	tr := &truth{rng: rng}
	for i := range 3 {
		l := &lane{
			rng: rand.New(rand.NewPCG(rng.Uint64(), 0)), issued: make(map[twin.ThingName][]store.Mutation),
			acked: make(map[twin.ThingName]int), world: storetest.NewWorld(1_790_000_000_000),
		}
		for n := range 3 {
			l.things = append(l.things, twin.ThingName(fmt.Sprintf("thing-%d-%d", i, n)))
		}
		tr.lanes = append(tr.lanes, l)
	}
	return tr
}

// freeze ends the counting of acknowledgements.
func (tr *truth) freeze() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.frozen = true
}

// live lets the committers work for a while.
func (tr *truth) live(s store.Store, acked *atomic.Int64) {
	commits := 1 + tr.rng.IntN(12)
	var group sync.WaitGroup
	for _, l := range tr.lanes {
		group.Go(func() {
			for range commits {
				ms := l.group()
				outcomes, err := s.Commit(context.Background(), ms)
				if err != nil {
					return
				}
				tr.mu.Lock()
				for i, m := range ms {
					if outcomes[i] == store.Committed && !tr.frozen {
						l.acked[m.Thing] = int(m.Head.Seq)
						acked.Add(1)
					}
				}
				tr.mu.Unlock()
			}
		})
	}
	group.Wait()
}

// group makes a commit of updates that build on each other. Each writes a record too,
// with the event's number.
func (l *lane) group() []store.Mutation {
	ms := make([]store.Mutation, 1+l.rng.IntN(6))
	l.world.Now += twin.Time(l.rng.IntN(3_600_000))
	for i := range ms {
		thing := l.things[l.rng.IntN(len(l.things))]
		key := twin.ShadowKey{Thing: thing}
		if l.rng.IntN(3) == 0 {
			key.Shadow = "named"
		}
		noise := make([]byte, l.rng.IntN(3000))
		for j := range noise {
			noise[j] = byte(l.rng.Uint32())
		}
		m := l.world.Mutation(key, fmt.Sprintf(`{"n":%d}`, l.rng.Uint32()), string(noise)+"document", l.rng.IntN(8) != 0)
		m.Records = []twin.RecordWrite{{Kind: twin.RecordQueued, Key: string(thing), Value: fmt.Append(nil, m.Head.Seq)}}
		l.world.Accept(m)
		l.issued[thing] = append(l.issued[thing], m)
		ms[i] = m
	}
	return ms
}

// cutError says what is wrong after a power cut.
type cutError struct {
	lost bool // acknowledged updates; else the store does not open or contradicts itself
	text string
}

func (e *cutError) Error() string { return e.text }

// check opens what a cut left, and goes on from what is there: having been read, it
// must survive the next cut.
func (tr *truth) check(fs *vfs.MemFS, opts pebblestore.Options) *cutError {
	opts.FS, opts.MemtableBytes, opts.CacheBytes = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}), 64<<10, 1<<20
	s, err := pebblestore.Open("/data", opts)
	if err != nil {
		return &cutError{text: fmt.Sprintf("open: %v", err)}
	}
	c, err := storetest.Dump(context.Background(), s)
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		return &cutError{text: fmt.Sprintf("contents: %v", err)}
	}
	tr.frozen = false
	for _, l := range tr.lanes {
		if err := l.check(s); err != nil {
			return err
		}
	}
	if err := s.Close(); err != nil {
		return &cutError{text: fmt.Sprintf("close: %v", err)}
	}
	return nil
}

func (l *lane) check(s store.Store) *cutError {
	ctx := context.Background()
	heads, err := s.Heads(ctx, l.things)
	if err != nil {
		return &cutError{text: err.Error()}
	}
	world := storetest.NewWorld(l.world.Now)
	for i, thing := range l.things {
		n := int(heads[i].Seq)
		issued := l.issued[thing]
		if n < l.acked[thing] {
			return &cutError{lost: true, text: fmt.Sprintf("%s is at %d, %d was acknowledged", thing, n, l.acked[thing])}
		}
		if n > len(issued) {
			return &cutError{text: fmt.Sprintf("%s is at %d, only %d were issued", thing, n, len(issued))}
		}
		l.issued[thing], l.acked[thing] = issued[:n], n
		if n == 0 {
			continue
		}
		docs := make(map[twin.ShadowKey][]byte)
		for _, m := range issued[:n] {
			world.Accept(m)
			docs[twin.ShadowKey{Thing: thing, Shadow: m.Shadow}] = m.Doc
		}
		if world.Head(thing) != heads[i] {
			return &cutError{text: fmt.Sprintf("head of %s is %v, want %v", thing, heads[i], world.Head(thing))}
		}
		for key, doc := range docs {
			shadows, err := s.Shadows(ctx, []twin.ShadowKey{key})
			if err != nil || string(shadows[0].Doc) != string(doc) {
				return &cutError{text: fmt.Sprintf("shadow %s is not that of event %d (%v)", key, n, err)}
			}
		}
		r, ok, err := s.Record(ctx, twin.RecordQueued, string(thing))
		if err != nil || !ok || string(r.Value) != fmt.Sprint(n) {
			return &cutError{text: fmt.Sprintf("record of %s is %q at event %d (%v)", thing, r.Value, n, err)}
		}
	}
	l.world = world
	return nil
}
