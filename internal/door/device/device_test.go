package device_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/device"
	"github.com/twofold-iot/twofold/twin"
)

// fake is an engine that writes down what it is asked.
type fake struct {
	mu       sync.Mutex
	entries  []twin.Entry
	rejected []error
	full     bool
}

func (f *fake) Append(en twin.Entry, done func(twin.EntryResult)) error {
	f.mu.Lock()
	if f.full {
		f.mu.Unlock()
		return twin.NewError(twin.KindFull, "full")
	}
	f.entries = append(f.entries, en)
	f.mu.Unlock()
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
	f := &fake{}
	d := device.New(quiet, f)
	if taken, err := publish(d, "twins/pump-7/events", `{"type":"error","message":"hot"}`); !taken || err != nil {
		t.Fatalf("%v %v", taken, err)
	}
	if f.entries[0].IfExists || f.entries[0].Event.Kind != twin.EventReported {
		t.Errorf("%+v: a device's own event makes its twin", f.entries[0])
	}
	for _, topic := range []string{"twins/pump-7", "twins/a/b/events", "twin/a/events", "twins/a/events/x", "plain"} {
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

func TestTracker(t *testing.T) {
	f := &fake{}
	tr := device.NewTracker(quiet, f)
	check := func(what string, want ...string) {
		t.Helper()
		if got := f.said(); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	own := tr.Begin("pump-7")
	check("a client with the thing's name", "pump-7 connected by pump-7 ")
	own.Uses("$aws/things/pump-7/shadow/update")
	check("its own topic says nothing new")
	gateway := tr.Begin("gate way") // no thing name
	check("a client with another name")
	for _, topic := range []string{"$aws/things/pump-7/shadow/update", "twins/pump-8/events", "$aws/things/+/shadow/#", "$aws/things/pump-9", "plain/topic"} {
		gateway.Uses(topic)
		gateway.Uses(topic)
	}
	check("a gateway", "pump-8 connected by gate way ")
	if !tr.Connected("pump-7") || !tr.Connected("pump-8") || tr.Connected("pump-9") || tr.Count() != 2 {
		t.Error("wrong about who is connected")
	}
	own.Ended("connection lost")
	check("the gateway still stands for it")
	gateway.Ended("keep-alive timeout")
	check("the last one goes",
		"pump-7 disconnected by gate way keep-alive timeout", "pump-8 disconnected by gate way keep-alive timeout")
	if tr.Count() != 0 {
		t.Errorf("%d things left", tr.Count())
	}
}

func TestTracker_concurrent(t *testing.T) {
	f := &fake{}
	tr := device.NewTracker(quiet, f)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			v := tr.Begin(fmt.Sprintf("c%d", i%5))
			v.Uses("twins/shared/events")
			v.Ended("client disconnected")
		})
	}
	wg.Wait()
	if tr.Count() != 0 {
		t.Errorf("%d things left", tr.Count())
	}
	connects, disconnects := 0, 0
	for _, en := range f.entries {
		if en.Event.Kind == twin.EventConnected {
			connects++
		} else {
			disconnects++
		}
	}
	if connects != disconnects || connects < 6 {
		t.Errorf("%d connects, %d disconnects", connects, disconnects)
	}
}
