package command_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/command"
	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/twin"
)

func TestService_life(t *testing.T) {
	w := newWorld(t, nil)
	c := w.send(t, "a", time.Minute)
	if c.State != twin.CommandQueued || c.Expires-c.Created != 60_000 || c.By != "127.0.0.1" {
		t.Errorf("%+v", c)
	}
	m := w.device.next(t)
	m.taken("pump-7")
	w.until(t, "a", twin.CommandDelivered)
	m.taken("pump-7") // twice
	for _, to := range []twin.CommandState{twin.CommandAccepted, twin.CommandAccepted, twin.CommandDone, twin.CommandDone} {
		if err := w.answer("a", to); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
	for id, want := range map[string]twin.ErrorKind{"a": twin.KindConflict, "b": twin.KindNotFound, "no/id": twin.KindNotFound} {
		if err := w.answer(id, twin.CommandFailed); twin.Kind(err) != want {
			t.Errorf("answer to %s: %v", id, err)
		}
	}
	if got := fmt.Sprint(steps(t, w.store)["a"]); got != "[queued delivered accepted done]" {
		t.Errorf("events %s", got)
	}
	if _, err := w.Cancel(context.Background(), "pump-7", "a", rest); twin.Kind(err) != twin.KindConflict {
		t.Errorf("cancel after the end: %v", err)
	}
	if _, err := w.Cancel(context.Background(), "pump-7", "b", rest); twin.Kind(err) != twin.KindNotFound {
		t.Errorf("cancel of none: %v", err)
	}
}

// One id, one command: at the same time, later, after its end, after a restart.
func TestService_oneID(t *testing.T) {
	w := newWorld(t, nil)
	ctx := context.Background()
	same := func() *twin.CommandRequest {
		return &twin.CommandRequest{ID: "a", Name: "go", Parameters: []byte(`{"x": 1}`)}
	}
	var fresh atomic.Int32
	var race sync.WaitGroup
	for range 16 {
		race.Go(func() {
			c, existed, err := w.Send(ctx, "pump-7", same(), rest)
			if err != nil || c.ID != "a" {
				t.Errorf("%+v %v", c, err)
			}
			if !existed {
				fresh.Add(1)
			}
		})
	}
	race.Wait()
	check := func(when string) {
		t.Helper()
		if _, existed, err := w.Send(ctx, "pump-7", same(), rest); err != nil || !existed {
			t.Errorf("%s: existed %v, %v", when, existed, err)
		}
		other := same()
		other.Parameters = []byte(`{"x":2}`)
		if _, _, err := w.Send(ctx, "pump-7", other, rest); twin.Kind(err) != twin.KindConflict {
			t.Errorf("%s, another command: %v", when, err)
		}
		if n := len(steps(t, w.store)["a"]); n == 0 || steps(t, w.store)["a"][0] != "queued" || slices.Contains(steps(t, w.store)["a"][1:], "queued") {
			t.Errorf("%s: events %v", when, steps(t, w.store)["a"])
		}
	}
	if fresh.Load() != 1 {
		t.Errorf("%d were the first", fresh.Load())
	}
	check("open")
	if err := w.answer("a", twin.CommandDone); err != nil {
		t.Fatal(err)
	}
	check("ended")
	w.close()
	w.open(t, nil, nil)
	check("after a restart")
	if _, _, err := w.Send(ctx, "nobody", same(), rest); twin.Kind(err) != twin.KindNotFound {
		t.Errorf("a thing without a twin: %v", err)
	}
	if _, _, err := w.Send(ctx, "no/body", same(), rest); twin.Kind(err) != twin.KindInvalid {
		t.Errorf("no thing name: %v", err)
	}
}

// What is pending goes to a device that returns, in order, what it had acknowledged
// does not go again, and what has ended never.
func TestService_returns(t *testing.T) {
	w := newWorld(t, nil)
	w.device.is(false)
	for i := range 5 {
		w.send(t, fmt.Sprint(i), time.Hour)
	}
	if _, err := w.Cancel(context.Background(), "pump-7", "1", rest); err != nil {
		t.Fatal(err)
	}
	w.device.nothing(t)
	w.device.is(true)
	w.Arrived("pump-7")
	var got []string
	for range 4 {
		m := w.device.next(t)
		if got = append(got, string(m.ID)); m.ID == "0" {
			m.taken("pump-7")
		}
	}
	if fmt.Sprint(got) != "[0 2 3 4]" {
		t.Errorf("the order is %s", got)
	}
	w.until(t, "0", twin.CommandDelivered)
	w.close() // a restart, with 2, 3 and 4 not acknowledged
	w.device.is(true)
	w.open(t, nil, nil)
	for _, want := range []twin.CommandID{"2", "3", "4"} {
		if m := w.device.next(t); m.ID != want {
			t.Errorf("after a restart %s, want %s", m.ID, want)
		}
	}
	w.send(t, "5", time.Hour)
	if m := w.device.next(t); m.ID != "5" {
		t.Errorf("got %s", m.ID)
	}
	w.device.nothing(t)
}

// A command whose time is up expires, whatever its state, and is not sent any more; an
// answer that comes in the same moment is refused.
func TestService_expires(t *testing.T) {
	w := newWorld(t, nil)
	w.send(t, "a", time.Minute)
	w.send(t, "b", time.Minute)
	w.send(t, "c", time.Hour)
	a, b := w.device.next(t), w.device.next(t)
	w.device.next(t)
	b.taken("pump-7")
	w.until(t, "b", twin.CommandDelivered)
	w.clock.add(59_999 * time.Millisecond)
	if !a.still() {
		t.Error("a is withdrawn too early")
	}
	w.clock.add(time.Millisecond)
	if a.still() {
		t.Error("a would be sent still")
	}
	if err := w.answer("b", twin.CommandDone); twin.Kind(err) != twin.KindConflict || !strings.Contains(err.Error(), "is expired since") {
		t.Errorf("a late answer: %v", err)
	}
	w.ArrivedAll() // looks at the clock
	w.until(t, "a", twin.CommandExpired)
	w.until(t, "b", twin.CommandExpired)
	if w.state(t, "c") != twin.CommandQueued {
		t.Errorf("c is %s", w.state(t, "c"))
	}
	a.taken("pump-7") // the acknowledgement comes after
	w.device.is(true)
	w.Arrived("pump-7")
	if m := w.device.next(t); m.ID != "c" {
		t.Errorf("%s was sent", m.ID)
	}
	w.close()
	w.clock.add(2 * time.Hour)
	w.open(t, nil, nil)
	w.until(t, "c", twin.CommandExpired)
	if got := fmt.Sprint(steps(t, w.store)); got != "map[a:[queued expired] b:[queued delivered expired] c:[queued expired]]" {
		t.Errorf("events %s", got)
	}
	w.device.nothing(t)
}

// Answers, acknowledgements, cancels and expiries race; each command has one end, one
// of the calls is told that it made it, and the events say the same as the record.
func TestService_race(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, nil)
	const n = 60
	var race sync.WaitGroup
	var won [n]atomic.Int32
	for i := range n {
		id := fmt.Sprint(i)
		w.send(t, id, time.Minute)
		m := w.device.next(t)
		calls := []func(){
			func() { m.taken("pump-7") },
			func() { _ = w.answer(id, twin.CommandAccepted) },
		}
		for _, end := range []twin.CommandState{twin.CommandDone, twin.CommandFailed, twin.CommandRejected} {
			calls = append(calls, func() {
				if w.answer(id, end) == nil {
					won[i].Add(1)
				}
			})
		}
		calls = append(calls, func() {
			if _, err := w.Cancel(context.Background(), "pump-7", twin.CommandID(id), rest); err == nil {
				won[i].Add(1)
			}
		})
		rnd.Shuffle(len(calls), func(a, b int) { calls[a], calls[b] = calls[b], calls[a] })
		for _, call := range calls {
			race.Go(call)
		}
		if i == n/2 {
			w.clock.add(30 * time.Second)
		}
	}
	race.Go(func() { w.clock.add(31 * time.Second); w.ArrivedAll() }) // half of them expire
	race.Wait()
	for i := range n {
		id := fmt.Sprint(i)
		events := steps(t, w.store)[id]
		var ends []string
		for _, e := range events {
			if twin.CommandState(e).Final() {
				ends = append(ends, e)
			}
		}
		state := w.state(t, id)
		if len(ends) != 1 || string(state) != ends[0] || events[len(events)-1] != ends[0] {
			t.Errorf("seed %d: command %s is %s, events %v", seed, id, state, events)
		}
		if want := int32(1); state != twin.CommandExpired && won[i].Load() != want || state == twin.CommandExpired && won[i].Load() != 0 {
			t.Errorf("seed %d: command %s is %s, %d calls were told yes", seed, id, state, won[i].Load())
		}
	}
	if cs, err := w.List(context.Background(), "pump-7", command.Query{Limit: 1000}); err != nil || len(cs) != n {
		t.Errorf("%d listed, %v", len(cs), err)
	}
}

func TestService_limits(t *testing.T) {
	w := newWorld(t, func(o *command.Options) { o.PerThing, o.OpenMax = 2, 3 })
	w.twin(t, "pump-8")
	ctx := context.Background()
	try := func(thing twin.ThingName, id twin.CommandID) twin.ErrorKind {
		_, _, err := w.Send(ctx, thing, &twin.CommandRequest{ID: id, Name: "go"}, rest)
		if err == nil {
			return 255
		}
		return twin.Kind(err)
	}
	w.send(t, "a", 0)
	w.send(t, "b", 0)
	if k := try("pump-7", "c"); k != twin.KindThrottled {
		t.Errorf("a third of a thing: %s", k)
	}
	if k := try("pump-8", "a"); k != 255 {
		t.Errorf("another thing: %s", k)
	}
	if k := try("pump-8", "b"); k != twin.KindFull {
		t.Errorf("a fourth of all: %s", k)
	}
	if _, err := w.Cancel(ctx, "pump-7", "a", rest); err != nil {
		t.Fatal(err)
	}
	w.send(t, "c", 0)
}

func TestService_list(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 9 {
		w.send(t, fmt.Sprint(i), 0)
		if i%3 == 0 {
			if err := w.answer(fmt.Sprint(i), twin.CommandDone); err != nil {
				t.Fatal(err)
			}
		}
	}
	for want, q := range map[string]command.Query{
		"8 7 6 5 4 3 2 1 0": {},
		"6 3 0":             {States: []twin.CommandState{twin.CommandDone}},
		"8 7 5 4 2 1":       {States: []twin.CommandState{twin.CommandQueued, twin.CommandAccepted}},
		"":                  {States: []twin.CommandState{twin.CommandExpired}},
	} {
		for _, limit := range []int{1, 2, 100} {
			q.Limit, q.Before = limit, 0
			var got []string
			for {
				cs, err := w.List(context.Background(), "pump-7", q)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range cs {
					got = append(got, string(c.ID))
				}
				if len(cs) < limit {
					break
				}
				q.Before = cs[len(cs)-1].Number
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%v with pages of %d: %v, want %s", q.States, limit, got, want)
			}
		}
	}
}

func TestService_wait(t *testing.T) {
	w := newWorld(t, nil)
	w.send(t, "a", 0)
	if c, _, err := w.Wait(context.Background(), "pump-7", "a", time.Millisecond); err != nil || c.State.Final() {
		t.Errorf("%+v %v", c, err)
	}
	ended := make(chan twin.Command, 1)
	go func() {
		c, _, _ := w.Wait(context.Background(), "pump-7", "a", patience)
		ended <- c
	}()
	for _, to := range []twin.CommandState{twin.CommandAccepted, twin.CommandDone} {
		if err := w.answer("a", to); err != nil {
			t.Fatal(err)
		}
	}
	if c := <-ended; c.State != twin.CommandDone {
		t.Errorf("it waited until %s", c.State)
	}
	w.send(t, "b", 0)
	w.EndWaits()
	if c, _, err := w.Wait(context.Background(), "pump-7", "b", time.Hour); err != nil || c.State.Final() {
		t.Errorf("%+v %v", c, err)
	}
}

// What ended long ago is removed, and its id is free again; its events stay.
func TestService_sweep(t *testing.T) {
	w := newWorld(t, func(o *command.Options) { o.SweepEvery = time.Millisecond })
	w.send(t, "a", 0)
	w.send(t, "b", 0)
	if err := w.answer("a", twin.CommandDone); err != nil {
		t.Fatal(err)
	}
	w.clock.add(29 * 24 * time.Hour)
	w.ArrivedAll()
	w.until(t, "b", twin.CommandExpired)
	w.clock.add(24*time.Hour + time.Second)
	w.until(t, "a", "")
	if w.state(t, "b") != twin.CommandExpired {
		t.Error("b is gone too early")
	}
	if got := fmt.Sprint(steps(t, w.store)["a"]); got != "[queued done]" {
		t.Errorf("events %s", got)
	}
	w.send(t, "a", 0)
}

// failing is an engine some of whose commits fail.
type failing struct {
	*engine.Engine
	mu    sync.Mutex
	fails map[string]error // by what is refused: before, or after the commit
	n     int
}

func (f *failing) take(when string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n == 0 {
		return nil
	}
	if f.fails[when] != nil {
		f.n--
	}
	return f.fails[when]
}

func (f *failing) set(when string, n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails, f.n = map[string]error{when: err}, n
}

func (f *failing) Append(en twin.Entry, done func(twin.EntryResult)) error {
	if err := f.take("before"); err != nil {
		return err
	}
	if err := f.take("lost"); err != nil {
		go done(twin.EntryResult{Err: err})
		return nil
	}
	return f.Engine.Append(en, func(r twin.EntryResult) {
		if err := f.take("after"); err != nil {
			r = twin.EntryResult{Err: err}
		}
		done(r)
	})
}

// Steps of our own are tried again; steps of others are answered; a commit of unknown
// outcome is read back, so that memory and disk say the same.
func TestService_faults(t *testing.T) {
	full, unknown := twin.NewError(twin.KindFull, "full"), twin.NewError(twin.KindUnavailable, "unknown")
	w := newWorld(t, nil)
	w.close()
	var f *failing
	w.open(t, func(e *engine.Engine) command.Engine { f = &failing{Engine: e}; return f }, nil)
	ctx := context.Background()
	w.runs = true

	w.send(t, "a", time.Minute)
	m := w.device.next(t)
	f.set("before", 2, full)
	m.taken("pump-7")
	w.until(t, "a", twin.CommandDelivered)
	f.set("before", 1, full)
	if err := w.answer("a", twin.CommandDone); !errors.Is(err, full) {
		t.Errorf("an answer to a full queue: %v", err)
	}
	f.set("lost", 1, unknown)
	if err := w.answer("a", twin.CommandAccepted); !errors.Is(err, unknown) || w.state(t, "a") != twin.CommandDelivered {
		t.Errorf("a commit that was lost: %v, %s", err, w.state(t, "a"))
	}
	f.set("after", 1, unknown)
	if err := w.answer("a", twin.CommandAccepted); !errors.Is(err, unknown) || w.state(t, "a") != twin.CommandAccepted {
		t.Errorf("a commit that was not: %v, %s", err, w.state(t, "a"))
	}
	f.set("after", 1, unknown)
	if _, _, err := w.Send(ctx, "pump-7", &twin.CommandRequest{ID: "b", Name: "go"}, rest); !errors.Is(err, unknown) {
		t.Errorf("%v", err)
	}
	if m := w.device.next(t); m.ID != "b" || w.state(t, "b") != twin.CommandQueued {
		t.Errorf("%s was sent, b is %q", m.ID, w.state(t, "b"))
	}
	f.set("lost", 1, unknown)
	if _, _, err := w.Send(ctx, "pump-7", &twin.CommandRequest{ID: "c", Name: "go"}, rest); !errors.Is(err, unknown) {
		t.Errorf("%v", err)
	}
	w.send(t, "c", 0)
	f.set("before", 3, full)
	w.clock.add(time.Minute)
	w.ArrivedAll()
	w.until(t, "a", twin.CommandExpired)
	if got := fmt.Sprint(steps(t, w.store)); got != "map[a:[queued delivered accepted expired] b:[queued] c:[queued]]" {
		t.Errorf("events %s", got)
	}
}

// What waits when the service stops is answered.
func TestService_stops(t *testing.T) {
	w := newWorld(t, nil)
	w.send(t, "a", 0)
	w.close()
	if err := w.answer("a", twin.CommandDone); twin.Kind(err) != twin.KindUnavailable {
		t.Errorf("answer after the end: %v", err)
	}
	if err := w.answer("b", twin.CommandDone); err == nil {
		t.Error("an answer to no command is taken after the end")
	}
	if _, _, err := w.Send(context.Background(), "pump-7", &twin.CommandRequest{ID: "b", Name: "go"}, rest); twin.Kind(err) != twin.KindUnavailable {
		t.Errorf("send after the end: %v", err)
	}
}

// A client that has no room gets the next command when it has.
func TestService_crowded(t *testing.T) {
	w := newWorld(t, nil)
	w.runs = true
	w.device.mu.Lock()
	w.device.room = 1
	w.device.mu.Unlock()
	w.send(t, "a", time.Hour)
	w.send(t, "b", time.Hour)
	if m := w.device.next(t); m.ID != "a" {
		t.Fatalf("%s was sent", m.ID)
	}
	w.device.mu.Lock()
	w.device.room = 10
	w.device.mu.Unlock()
	go func() { // nobody but time tells the service
		m := <-w.device.got
		m.taken("pump-7")
	}()
	w.until(t, "b", twin.CommandDelivered)
	if w.state(t, "a") != twin.CommandQueued {
		t.Errorf("a is %s", w.state(t, "a"))
	}
}
