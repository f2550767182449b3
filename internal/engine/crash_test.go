package engine_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// The power fails at each moment in the life of a group. What was acknowledged is
// there; what was not is absent, or there once however often it is sent again.
func TestEngine_crash(t *testing.T) {
	for name, at := range map[string]engine.Failpoint{
		"before commit": engine.BeforeCommit, "after commit": engine.AfterCommit,
		"before answer": engine.BeforeAnswer, "after answer": engine.AfterAnswer,
	} {
		t.Run(name, func(t *testing.T) {
			for range 5 {
				crashOnce(t, at, rand.Uint64())
			}
		})
	}
}

func crashOnce(t *testing.T, at engine.Failpoint, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("seed %d: "+format, append([]any{seed}, args...)...)
	}
	disk := vfs.NewCrashableMem()
	o := engine.Options{Now: newClock().Now, GroupLenMax: 8}
	s, err := pebblestore.Open("data", pebblestore.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	w := &crashWorld{sent: map[string]twin.Update{}, acked: map[string]bool{}}
	hits, crashAt := 0, 5+rnd.IntN(40)
	e, err := engine.OpenWithFailpoints(quiet, s, o, func(p engine.Failpoint) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if p == at {
			if hits++; hits == crashAt {
				w.crash(disk, rnd)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, e, 6, 40)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if w.clone == nil {
		fail("the failpoint was hit %d times, wanted %d", hits, crashAt)
		return
	}

	s, err = pebblestore.Open("data", pebblestore.Options{FS: w.clone})
	if err != nil {
		t.Fatalf("seed %d: reopen: %v", seed, err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for token, n := range effects(t, s) {
		if n != 1 {
			fail("%s has %d effects after the crash", token, n)
		}
	}
	found := effects(t, s)
	for token := range w.ackedThen {
		if found[token] == 0 {
			fail("%s was acknowledged and is gone", token)
		}
	}
	e, err = engine.Open(quiet, s, o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for token, u := range w.sentThen {
		if !w.ackedThen[token] {
			if r := do(t, e, resent(u)); r.Err != nil {
				fail("resend %s: %v", token, r.Err)
			}
		}
	}
	found = effects(t, s)
	for token := range w.sentThen {
		if found[token] != 1 {
			fail("%s has %d effects after all was sent again", token, found[token])
		}
	}
}

const crashThings = 3

// effects counts the events of each token and checks that seqs have no gap.
func effects(t *testing.T, s *pebblestore.Store) map[string]int {
	t.Helper()
	n := map[string]int{}
	for i := range crashThings {
		for j, ev := range events(t, s, classic(fmt.Sprintf("t%d", i))) {
			n[ev.Correlation]++
			if ev.Seq != twin.Seq(j+1) {
				t.Errorf("event %d of %s has seq %d", j, ev.Thing, ev.Seq)
			}
		}
	}
	return n
}

// crashWorld is what the clients know, and what they knew when the power failed.
type crashWorld struct {
	mu    sync.Mutex
	sent  map[string]twin.Update
	acked map[string]bool

	clone     *vfs.MemFS
	sentThen  map[string]twin.Update
	ackedThen map[string]bool
}

func (w *crashWorld) crash(disk *vfs.MemFS, rnd *rand.Rand) {
	w.ackedThen, w.sentThen = maps.Clone(w.acked), maps.Clone(w.sent)
	w.clone = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rnd.IntN(101), RNG: rnd})
}

// write lets some writers send a number of packets each, one at a time.
func (w *crashWorld) write(t *testing.T, e *engine.Engine, writers, each int) {
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := range each {
				token := fmt.Sprintf("w%d-%d", i, n)
				body := fmt.Sprintf(`{"state":{"reported":{"w%d":%d,"pad":%q}},"clientToken":%q}`, i, n, strings.Repeat("x", n), token)
				u := packet(t, body, uint16(n+1))
				u.Key = classic(fmt.Sprintf("t%d", n%crashThings))
				u.Origin.Session = fmt.Sprintf("device-%d", i)
				w.mu.Lock()
				w.sent[token] = u
				w.mu.Unlock()
				ch := make(chan error, 1)
				if err := e.Submit(u, func(r twin.Result) {
					w.mu.Lock() // the acknowledgement leaves here
					w.acked[token] = r.Err == nil
					w.mu.Unlock()
					ch <- r.Err
				}); err != nil {
					t.Error(err)
					return
				}
				if err := await(t, ch); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
