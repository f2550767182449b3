package awsiot_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/twin"
)

func TestDoor_get_errors(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	r.engine.readErr = errors.New("the disk is gone")
	err := receive(t, r.publish(lamp+"get", `{"clientToken":"t"}`))
	if !errors.Is(err, r.engine.readErr) {
		t.Fatalf("done(%v)", err)
	}
	r.want(lamp+"get/rejected", `{"code":500,"message":"Internal service failure","clientToken":"t"}`)
	if !strings.Contains(r.log.String(), "the disk is gone") {
		t.Fatalf("not logged: %s", r.log)
	}
}

// TestDoor_get_sees_updates_before_it: a device that publishes update and get
// without waiting reads what it wrote, and is not held up by what comes later.
func TestDoor_get_sees_updates_before_it(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	r.broker.all = false
	r.broker.topics[lamp+"get/accepted"] = true
	r.broker.topics["$aws/things/other/shadow/get/rejected"] = true
	r.engine.hold = true
	r.publish(lamp+"update", `{"state":{"reported":{"n":1}}}`)
	r.publish(lamp+"update", `{"state":{"reported":{"n":2}}}`)
	first := r.publish(lamp+"get", `{"clientToken":"first"}`)
	r.publish(lamp+"update", `{"state":{"reported":{"n":3}}}`)
	second := r.publish(lamp+"get", `{"clientToken":"second"}`)
	r.publish(lamp+"update", `{"state":{"reported":{"n":4}}}`)

	// Another thing is not held up.
	r.must("$aws/things/other/shadow/get", "")
	r.want("$aws/things/other/shadow/get/rejected", `{"code":404,"message":"No shadow exists with name: 'other'"}`)

	r.engine.settle(1)
	r.quiet()
	r.engine.settle(1)
	wantGet := func(acked <-chan error, token string, n int) {
		t.Helper()
		if err := receive(t, acked); err != nil {
			t.Fatal(err)
		}
		m := string(r.next().Payload)
		if !strings.Contains(m, fmt.Sprintf(`"reported":{"n":%d}`, n)) || !strings.Contains(m, `"clientToken":"`+token+`"`) {
			t.Fatalf("get %s answered %s, want n = %d", token, m, n)
		}
	}
	wantGet(first, "first", 2)
	r.quiet()
	r.engine.settle(1)
	wantGet(second, "second", 3)
	r.engine.settle(1)
	third := r.publish(lamp+"get", `{"clientToken":"third"}`)
	wantGet(third, "third", 4)
}

// TestDoor_get_counts_only_updates_before_it: an update that came after the get and
// has its outcome first does not count for one that came before.
func TestDoor_get_counts_only_updates_before_it(t *testing.T) {
	r := newRig(t, awsiot.Options{GetWorkers: 1})
	r.engine.hold = true
	r.publish(lamp+"update", `{"state":{"reported":{"n":1}}}`)
	acked := r.publish(lamp+"get", `{"clientToken":"g"}`)
	r.publish(lamp+"update", `{"state":{"reported":{"n":2}},"version":99}`)
	r.engine.mu.Lock()
	r.engine.held[0], r.engine.held[1] = r.engine.held[1], r.engine.held[0]
	r.engine.mu.Unlock()
	r.engine.settle(1) // the later one is rejected first
	r.want(lamp+"update/rejected", `{"code":409,"message":"Version conflict"}`)
	// The one worker answers in order: had the get been released, its answer would
	// come before this one.
	r.must("$aws/things/other/shadow/get", "")
	r.want("$aws/things/other/shadow/get/rejected", `{"code":404,"message":"No shadow exists with name: 'other'"}`)
	select {
	case err := <-acked:
		t.Fatalf("get answered (%v) before the update ahead of it", err)
	default:
	}
	r.engine.settle(1)
	if err := receive(t, acked); err != nil {
		t.Fatal(err)
	}
	for m := r.next(); ; m = r.next() {
		if m.Topic == lamp+"get/accepted" {
			return
		}
		if !strings.HasPrefix(m.Topic, lamp+"update/") {
			t.Fatalf("sent %s %s", m.Topic, m.Payload)
		}
	}
}

// TestDoor_gets_in_order: the answers to the gets of a thing come in the order of
// the gets, however many workers there are.
func TestDoor_gets_in_order(t *testing.T) {
	r := newRig(t, awsiot.Options{GetWorkers: 8})
	const things, gets = 20, 50
	for g := range gets {
		for i := range things {
			r.publish(fmt.Sprintf("$aws/things/t%d/shadow/get", i), fmt.Sprintf(`{"clientToken":"%d"}`, g))
		}
	}
	next := make(map[string]int)
	for range things * gets {
		m := r.next()
		if want := fmt.Sprintf(`"clientToken":"%d"}`, next[m.Topic]); !strings.HasSuffix(string(m.Payload), want) {
			t.Fatalf("%s: %s, want %s", m.Topic, m.Payload, want)
		}
		next[m.Topic]++
	}
}

func TestDoor_get_queue_full(t *testing.T) {
	r := newRig(t, awsiot.Options{GetQueueLenMax: 3})
	r.engine.readGate = make(chan struct{})
	var acks []<-chan error
	for range 3 {
		acks = append(acks, r.publish(lamp+"get", ""))
	}
	err := receive(t, r.publish(lamp+"get", `{"clientToken":"4"}`))
	if twin.Kind(err) != twin.KindFull {
		t.Fatalf("fourth get: done(%v), want full", err)
	}
	r.want(lamp+"get/rejected", `{"code":503,"message":"Too many get requests wait for an answer; try again","clientToken":"4"}`)
	close(r.engine.readGate)
	for _, a := range acks {
		if err := receive(t, a); err != nil {
			t.Fatal(err)
		}
		r.want(lamp+"get/rejected", `{"code":404,"message":"No shadow exists with name: 'lamp-1'"}`)
	}
	// The queue has room again, and the count did not leak.
	for range 10 {
		r.must(lamp+"get", "")
		r.next()
	}
}

// TestDoor_Close answers what waits: in the read, in the queue and parked.
func TestDoor_Close(t *testing.T) {
	r := newRig(t, awsiot.Options{GetWorkers: 1})
	r.engine.readGate = make(chan struct{})
	r.engine.hold = true
	update := r.publish("$aws/things/busy/shadow/update", `{"state":{}}`)
	acks := []<-chan error{
		r.publish(lamp+"get", ""), r.publish(lamp+"get", ""), r.publish("$aws/things/busy/shadow/get", ""),
	}
	r.door.Close()
	for _, a := range acks {
		if err := receive(t, a); twin.Kind(err) != twin.KindUnavailable {
			t.Fatalf("done(%v), want unavailable", err)
		}
	}
	if err := receive(t, r.publish(lamp+"get", "")); twin.Kind(err) != twin.KindUnavailable {
		t.Fatalf("after Close: done(%v), want unavailable", err)
	}
	for range 4 {
		if m := r.next(); !strings.HasPrefix(string(m.Payload), `{"code":503,`) {
			t.Fatalf("sent %s %s", m.Topic, m.Payload)
		}
	}
	r.engine.settle(1) // an update that ends after Close is still answered
	if err := receive(t, update); err != nil {
		t.Fatal(err)
	}
	r.door.Close()
}
