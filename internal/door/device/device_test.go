package device_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/door/device"
	"github.com/twofold-iot/twofold/twin"
)

// fake is an engine that writes down what it is asked.
type fake struct {
	mu       sync.Mutex
	entries  []twin.Entry
	rejected []error
	full     bool
	busy     int // every so many calls the queue is full
	calls    int
	told     chan struct{}
}

func newFake() *fake { return &fake{told: make(chan struct{}, 1)} }

func (f *fake) Append(en twin.Entry, done func(twin.EntryResult)) error {
	f.mu.Lock()
	f.calls++
	if f.full || f.busy > 0 && f.calls%100 < f.busy {
		f.mu.Unlock()
		return twin.NewError(twin.KindFull, "full")
	}
	f.entries = append(f.entries, en)
	f.mu.Unlock()
	select {
	case f.told <- struct{}{}:
	default:
	}
	done(twin.EntryResult{Event: en.Event, Written: true})
	return nil
}

func (f *fake) Reject(_ twin.ShadowKey, _ twin.Origin, _ string, cause error) {
	f.rejected = append(f.rejected, cause)
}

func (f *fake) said() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, en := range f.entries {
		ev := en.Event
		out = append(out, fmt.Sprintf("%s %s by %s %s", ev.Thing, ev.Kind, ev.Origin.Session, ev.Message))
	}
	f.entries = nil
	slices.Sort(out)
	return out
}

var quiet = slog.New(slog.DiscardHandler)

func publish(d *device.Door, topic, payload string) (taken bool, err error) {
	err = errors.New("done was not called")
	taken = d.Publish(&twin.Publish{Message: twin.Message{Topic: topic, Payload: []byte(payload), QoS: 1}}, func(e error) { err = e })
	return taken, err
}

func TestDoor(t *testing.T) {
	f := newFake()
	d := device.New(quiet, f, device.Options{})
	if taken, err := publish(d, "twins/pump-7/events", `{"type":"error","message":"hot"}`); !taken || err != nil {
		t.Fatalf("%v %v", taken, err)
	}
	if f.entries[0].IfExists || f.entries[0].Event.Kind != twin.EventReported {
		t.Errorf("%+v: a device's own event makes its twin", f.entries[0])
	}
	for _, topic := range []string{"twins/pump-7", "twins/a/b/events", "twin/a/events", "twins/a/events/x", "twins/a/telemetry", "plain"} {
		if taken, _ := publish(d, topic, `{}`); taken {
			t.Errorf("took %s", topic)
		}
	}
	if taken, err := publish(d, "twins/pump-7/events", `{"type":`); !taken || err != nil || len(f.rejected) != 1 {
		t.Errorf("no event: %v %v, %d noted; want it acknowledged and noted", taken, err, len(f.rejected))
	}
	if taken, err := publish(d, "twins/bad name/events", `{"type":"x"}`); !taken || twin.Kind(err) != twin.KindInvalid {
		t.Errorf("bad name: %v %v", taken, err)
	}
	f.full = true
	if taken, err := publish(d, "twins/pump-7/events", `{"type":"x"}`); !taken || twin.Kind(err) != twin.KindFull {
		t.Errorf("full: %v %v, want no acknowledgement", taken, err)
	}
}

// track returns a running tracker and a function that ends it with all written.
func track(t *testing.T, f *fake) (*device.Tracker, func()) {
	t.Helper()
	tr := device.NewTracker(quiet, f, time.Now)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); tr.Run(ctx) }()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return tr, stop
}

// eventually waits until the engine was told exactly this.
func (f *fake) eventually(t *testing.T, what string, want ...string) {
	t.Helper()
	var got []string
	deadline := time.After(10 * time.Second)
	for len(got) < len(want) {
		select {
		case <-deadline:
			t.Fatalf("%s: got %q, want %q", what, got, want)
		case <-f.told:
			got = append(got, f.said()...)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestTracker(t *testing.T) {
	f := newFake()
	tr, stop := track(t, f)
	own := tr.Begin("pump-7")
	f.eventually(t, "a client with the thing's name", "pump-7 connected by pump-7 ")
	own.Uses("$aws/things/pump-7/shadow/update") // nothing new
	gateway := tr.Begin("gate way")              // no thing name
	for _, topic := range []string{"$aws/things/pump-7/shadow/update", "twins/pump-8/events", "$aws/things/+/shadow/#", "$aws/things/pump-9", "plain/topic"} {
		gateway.Uses(topic)
		gateway.Uses(topic)
	}
	f.eventually(t, "a gateway", "pump-8 connected by gate way ")
	if !tr.Connected("pump-7") || !tr.Connected("pump-8") || tr.Connected("pump-9") {
		t.Error("wrong about who is connected")
	}
	own.Ended("connection lost") // the gateway still stands for it
	gateway.Ended("keep-alive timeout")
	f.eventually(t, "the last one goes",
		"pump-7 disconnected by gate way keep-alive timeout", "pump-8 disconnected by gate way keep-alive timeout")
	if tr.Connected("pump-7") {
		t.Error("still connected")
	}
	stop()
	if left := f.said(); len(left) > 0 {
		t.Errorf("said %q beside", left)
	}
}

// A gateway with thousands of things comes and goes: each is written once, no more
// than some at a time, also while the queue of the updates is full now and then.
func TestTracker_gateway(t *testing.T) {
	f := newFake()
	f.busy = 3
	tr, stop := track(t, f)
	const things = 3000
	v := tr.Begin("gate way")
	for i := range things {
		v.Uses(fmt.Sprintf("twins/t%d/events", i))
	}
	for i := range 50 { // flapping while that is written
		flap := tr.Begin(fmt.Sprintf("f%d", i%2))
		flap.Ended("connection lost")
	}
	v.Ended("server stopped")
	stop()
	state := map[twin.ThingName]int{}
	for _, en := range f.entries {
		switch en.Event.Kind {
		case twin.EventConnected:
			state[en.Event.Thing]++
		case twin.EventDisconnected:
			state[en.Event.Thing]--
		}
		if n := state[en.Event.Thing]; n != 0 && n != 1 {
			t.Fatalf("%s: two events of a kind in a row", en.Event.Thing)
		}
	}
	for thing, n := range state {
		if n != 0 {
			t.Errorf("%s ends as connected", thing)
		}
	}
	if len(f.entries) > 2*things+100 {
		t.Errorf("%d events", len(f.entries))
	}
}
