package command_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// crashing lets the power fail when the n-th command is about to be sent: its commit is
// durable and nobody has heard of it.
type crashing struct {
	*device
	disk  *vfs.MemFS
	rnd   *rand.Rand
	n     int
	calls int
	clone *vfs.MemFS
	at    twin.CommandID
	acked map[twin.CommandID]twin.CommandState // when the power failed
	now   func() map[twin.CommandID]twin.CommandState
}

func (c *crashing) SendCommand(cmd *twin.Command, still func() bool, taken func(string)) (n int, full bool) {
	if c.calls++; c.calls == c.n {
		c.acked = c.now()
		c.clone = c.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.rnd.IntN(101), RNG: c.rnd})
		c.at = cmd.ID
	}
	return c.device.SendCommand(cmd, still, taken)
}

// The power fails between the commit of a command and its publication, while others are
// under way. After the restart each command that was acknowledged is there, as far along
// as its device was told, and those that wait are sent; each has one effect.
func TestService_crash(t *testing.T) {
	for range 8 {
		seed := rand.Uint64()
		rnd := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t, nil)
		w.close()
		disk := vfs.NewCrashableMem()
		s, err := pebblestore.Open("data", pebblestore.Options{FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		w.store = s
		var mu sync.Mutex
		told := map[twin.CommandID]twin.CommandState{}
		tell := func(id twin.CommandID, s twin.CommandState) {
			mu.Lock()
			defer mu.Unlock()
			told[id] = s
		}
		crash := &crashing{device: w.device, disk: disk, rnd: rand.New(rand.NewPCG(seed, 4)), n: 1 + rnd.IntN(20), now: func() map[twin.CommandID]twin.CommandState {
			mu.Lock()
			defer mu.Unlock()
			all := map[twin.CommandID]twin.CommandState{}
			maps.Copy(all, told)
			return all
		}}
		w.to = crash
		w.open(t, nil, nil)
		w.twin(t, "pump-7")
		var load sync.WaitGroup
		for i := range 20 {
			id := fmt.Sprint(i)
			answers := rnd.IntN(3)
			load.Go(func() {
				w.send(t, id, 0)
				tell(twin.CommandID(id), twin.CommandQueued)
				if answers > 0 && w.answer(id, twin.CommandAccepted) == nil {
					tell(twin.CommandID(id), twin.CommandAccepted)
				}
				if answers > 1 && w.answer(id, twin.CommandDone) == nil {
					tell(twin.CommandID(id), twin.CommandDone)
				}
			})
		}
		load.Wait()
		w.close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if crash.clone == nil {
			t.Logf("seed %d: nothing was sent %d times", seed, crash.n)
			continue
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
	w.store, w.device = s, newDevice(true)
	w.to = w.device
	w.open(t, nil, nil)
	order := map[twin.CommandState]int{twin.CommandQueued: 1, twin.CommandDelivered: 2, twin.CommandAccepted: 3, twin.CommandDone: 4}
	for id, state := range crash.acked {
		if got := w.state(t, string(id)); order[got] < order[state] {
			t.Errorf("seed %d: %s was told to be %s and is %q", seed, id, state, got)
		}
	}
	if w.state(t, string(crash.at)) == "" {
		t.Errorf("seed %d: %s was about to be sent and is gone", seed, crash.at)
	}
	waits := 0
	for i := range 20 {
		if w.state(t, fmt.Sprint(i)) == twin.CommandQueued {
			waits++
		}
	}
	for range waits {
		m := w.device.next(t)
		m.taken("pump-7")
	}
	w.device.nothing(t)
	for i := range 20 { // the application asks again for all, and all are done
		id := twin.CommandID(fmt.Sprint(i))
		if _, _, err := w.Send(context.Background(), "pump-7", &twin.CommandRequest{ID: id, Name: "go"}, rest); err != nil {
			t.Errorf("seed %d: %s again: %v", seed, id, err)
		}
		if err := w.answer(string(id), twin.CommandDone); err != nil {
			t.Errorf("seed %d: %s is not done: %v", seed, id, err)
		}
	}
	for id, events := range steps(t, s) {
		queued, done := 0, 0
		for _, e := range events {
			switch twin.CommandState(e) {
			case twin.CommandQueued:
				queued++
			case twin.CommandDone:
				done++
			}
		}
		if queued != 1 || done != 1 || events[0] != "queued" || events[len(events)-1] != "done" {
			t.Errorf("seed %d: events of %s: %v", seed, id, events)
		}
	}
}
