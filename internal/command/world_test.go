package command_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twofold-iot/twofold/internal/command"
	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

const patience = 10 * time.Second

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// sent is a command on its way to the device.
type sent struct {
	twin.Command
	still func() bool
	taken func(string)
}

// device is a sender to a device that is there or not.
type device struct {
	mu    sync.Mutex
	there bool
	room  int                     // for so many more
	holds map[twin.CommandID]bool // not acknowledged
	got   chan sent
}

func newDevice(there bool) *device {
	return &device{there: there, room: 1 << 20, holds: map[twin.CommandID]bool{}, got: make(chan sent, 10_000)}
}

// SendCommand implements [command.Sender].
func (d *device) SendCommand(c *twin.Command, still func() bool, taken func(string)) (n int, full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !d.there:
		return 0, false
	case d.room == 0:
		return 0, true
	case !d.holds[c.ID] && still():
		d.holds[c.ID] = true
		d.room--
		d.got <- sent{*c, still, taken}
	}
	return 1, false
}

// comes and goes set whether the device is there; what it had not acknowledged is lost
// to it.
func (d *device) is(there bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.there = there
	clear(d.holds)
}

func (d *device) next(t *testing.T) sent {
	t.Helper()
	select {
	case m := <-d.got:
		return m
	case <-time.After(patience):
		t.Fatal("no command comes")
		return sent{}
	}
}

func (d *device) nothing(t *testing.T) {
	t.Helper()
	select {
	case m := <-d.got:
		t.Fatalf("%s %s was sent", m.ID, m.State)
	default:
	}
}

// world is a service on an engine, with a device.
type world struct {
	*command.Service
	engine *engine.Engine
	store  store.Store
	device *device
	clock  *clock
	close  func()
	to     command.Sender
	runs   bool // the clock runs while the test waits
}

func newWorld(t *testing.T, change func(*command.Options)) *world {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	w := &world{store: store.NewMemory(), clock: newClock(), device: newDevice(true)}
	w.open(t, nil, change)
	w.twin(t, "pump-7")
	return w
}

// open starts engine and service on the store; wrap may stand between them.
func (w *world) open(t *testing.T, wrap func(*engine.Engine) command.Engine, change func(*command.Options)) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	e, err := engine.Open(log, w.store, engine.Options{Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	w.engine = e
	opts := command.Options{Now: w.clock.Now}
	if change != nil {
		change(&opts)
	}
	var to command.Engine = e
	if wrap != nil {
		to = wrap(e)
	}
	s, err := command.Open(log, to, opts)
	if err != nil {
		t.Fatal(err)
	}
	w.Service = s
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	if w.to == nil {
		w.to = w.device
	}
	s.Connect(w.to)
	var once sync.Once
	w.close = func() {
		once.Do(func() {
			stop()
			running.Wait()
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(w.close)
}

func (w *world) twin(t *testing.T, thing twin.ThingName) {
	t.Helper()
	done := make(chan twin.EntryResult, 1)
	en := twin.Entry{Event: twin.Event{Thing: thing, Kind: twin.EventManaged, Type: "created"}}
	if err := w.engine.Append(en, func(r twin.EntryResult) { done <- r }); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.Err != nil {
		t.Fatal(r.Err)
	}
}

var rest = twin.Origin{Door: twin.DoorREST, Session: "127.0.0.1"}

func (w *world) send(t *testing.T, id string, in time.Duration) twin.Command {
	t.Helper()
	c, existed, err := w.Send(context.Background(), "pump-7", &twin.CommandRequest{ID: twin.CommandID(id), Name: "go", ExpiresIn: in}, rest)
	if err != nil || existed {
		t.Fatalf("send %s: existed %v, %v", id, existed, err)
	}
	return c
}

func (w *world) answer(id string, state twin.CommandState) error {
	done := make(chan error, 1)
	w.Answer("pump-7", twin.CommandID(id), twin.CommandStep{State: state}, twin.Origin{Door: twin.DoorMQTT, Session: "pump-7"}, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return fmt.Errorf("no answer for the answer to %s", id)
	}
}

func (w *world) state(t *testing.T, id string) twin.CommandState {
	t.Helper()
	c, found, err := w.Command(context.Background(), "pump-7", twin.CommandID(id))
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		return ""
	}
	return c.State
}

// until waits until a command is in a state.
func (w *world) until(t *testing.T, id string, want twin.CommandState) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); w.state(t, id) != want; {
		select {
		case <-tick.C:
			if w.runs {
				w.clock.add(time.Millisecond)
			}
		case <-deadline:
			t.Fatalf("command %s is %s, want %s", id, w.state(t, id), want)
		}
	}
}

// steps returns the events of commands of pump-7, by id.
func steps(t *testing.T, s store.Store) map[string][]string {
	t.Helper()
	raw, err := s.ThingEvents(context.Background(), store.ThingRange{Thing: "pump-7", Limit: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, b := range raw {
		ev, err := twin.DecodeEvent(b)
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == twin.EventCommand {
			all[ev.Correlation] = append(all[ev.Correlation], ev.Type)
		}
	}
	return all
}
