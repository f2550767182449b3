package job_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// crashing lets the power fail when devices are told something for the n-th time: the
// commit is durable and nobody has heard of it.
type crashing struct {
	*told
	disk *vfs.MemFS
	rnd  *rand.Rand
	now  func() map[twin.ThingName]uint64

	mu    sync.Mutex
	left  int
	clone *vfs.MemFS
	acked map[twin.ThingName]uint64 // versions that devices knew when the power failed
}

// JobsChanged implements [job.Notifier].
func (c *crashing) JobsChanged(change *twin.JobChange) {
	c.told.JobsChanged(change)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left == 0 {
		c.acked = c.now()
		c.clone = c.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.rnd.IntN(101), RNG: c.rnd})
	}
}

const crashThings = 60

// The power fails somewhere in a job: in the middle of a wave, while devices start and end
// it. After the restart each execution is as far as its device was told, counts are exact,
// and in the end each thing had the job once.
func TestService_crash(t *testing.T) {
	for range 8 {
		seed := rand.Uint64()
		rnd := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t, 0, nil)
		w.close()
		disk := vfs.NewCrashableMem()
		s, err := pebblestore.Open("data", pebblestore.Options{FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		w.store = s
		w.open(t, nil, nil)
		for i := range crashThings {
			w.twin(t, name(i))
		}
		var mu sync.Mutex
		known := map[twin.ThingName]uint64{}
		crash := &crashing{told: w.told, disk: disk, rnd: rand.New(rand.NewPCG(seed, 4)), left: 1 + rnd.IntN(2*crashThings), now: func() map[twin.ThingName]uint64 {
			mu.Lock()
			defer mu.Unlock()
			return maps.Clone(known)
		}}
		w.Connect(crash)
		w.create(t, twin.JobRequest{ID: "fw", Things: names(crashThings), Waves: []twin.JobWave{{Size: 7}}})
		var load sync.WaitGroup
		for i := range crashThings {
			load.Go(func() {
				until(t, "queued", func() bool { return len(w.Pending(name(i))) == 1 })
				if o := w.start(name(i)); o.err == nil && o.Execution != nil {
					mu.Lock()
					known[name(i)] = o.Execution.Version
					mu.Unlock()
				}
				if o := w.update(name(i), "fw", twin.JobStep{Status: twin.ExecutionSucceeded}); o.err == nil {
					mu.Lock()
					known[name(i)] = o.Execution.Version
					mu.Unlock()
				}
			})
		}
		load.Wait()
		w.state(t, "fw", twin.JobCompleted)
		w.close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if crash.clone == nil {
			t.Fatalf("seed %d: devices were told less than %d times", seed, 2*crashThings)
		}
		afterCrash(t, seed, w, crash)
	}
}

func afterCrash(t *testing.T, seed uint64, w *world, crash *crashing) {
	s, err := pebblestore.Open("data", pebblestore.Options{FS: crash.clone})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		w.close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	w.store = s
	w.open(t, nil, nil)
	for thing, version := range crash.acked {
		o := w.describe(thing, "fw")
		if o.err != nil || o.Execution.Version < version {
			t.Errorf("seed %d: %s was told version %d and is %+v, %v", seed, thing, version, o.JobAnswer, o.err)
		}
	}
	until(t, "all things have it", func() bool { r, _ := w.Job("fw"); return r.Counts.Waiting == 0 })
	for i := range crashThings {
		if o := w.start(name(i)); o.err == nil && o.Execution != nil {
			if o := w.update(name(i), "fw", twin.JobStep{Status: twin.ExecutionSucceeded}); o.err != nil {
				t.Errorf("seed %d: %s cannot end it: %v", seed, name(i), o.err)
			}
		}
	}
	w.state(t, "fw", twin.JobCompleted)
	w.counts(t, "fw", twin.JobCounts{Succeeded: crashThings})
	for i := range crashThings {
		if got := fmt.Sprint(steps(t, s, name(i))); got != "map[fw:[queued in_progress succeeded]]" {
			t.Errorf("seed %d: events of %s: %s", seed, name(i), got)
		}
	}
}
