package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

const alarming = `name: pump
alarms:
  hot: {when: reported.x > 90, severity: error, message: "{reported.x} degrees"}
  slow: {when: reported.y > 5, for: 5m}
`

// told lists the events of a thing but those of its shadow and administration.
func told(t *testing.T, e *engine.Engine, s store.Store, thing twin.ThingName) (texts []string) {
	t.Helper()
	barrier(t, e, thing)
	raw, err := s.ThingEvents(context.Background(), store.ThingRange{Thing: thing, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range raw {
		ev, err := twin.DecodeEvent(b)
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == twin.EventAlarm || ev.Kind == twin.EventBehaviour {
			texts = append(texts, strings.TrimSpace(fmt.Sprintf("%s %s %s", ev.Correlation, ev.Type, ev.Message)))
		}
	}
	return texts
}

// barrier waits for what is queued of a thing.
func barrier(t *testing.T, e *engine.Engine, thing twin.ThingName) {
	t.Helper()
	ch := make(chan error, 1)
	if err := e.WriteRecords(string(thing), nil, func(err error) { ch <- err }); err != nil {
		t.Fatal(err)
	}
	await(t, ch)
}

func expectTold(t *testing.T, e *engine.Engine, s store.Store, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, told(t, e, s, "p")); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
}

// eventuallyTold waits for what happens in the background.
func eventuallyTold(t *testing.T, e *engine.Engine, s store.Store, want ...string) {
	t.Helper()
	limit := time.After(patience)
	for !slices.Equal(told(t, e, s, "p"), want) {
		select {
		case <-limit:
			t.Fatalf("got %q, want %q", told(t, e, s, "p"), want)
		default:
		}
	}
}

func report(t *testing.T, e *engine.Engine, body string) {
	t.Helper()
	if r := do(t, e, update(t, "p", `{"state":{"reported":`+body+`}}`)); r.Err != nil {
		t.Fatal(r.Err)
	}
}

func pumpWorld(t *testing.T, s store.Store) (*engine.Engine, *catalogue, *clock) {
	t.Helper()
	models, now := &catalogue{}, newClock()
	models.set(t, alarming)
	e := openEngine(t, s, engine.Options{Models: models, Now: now.Now, Committers: 1})
	if r := appendEntry(t, e, ofModel("pump")); r.Err != nil {
		t.Fatal(r.Err)
	}
	return e, models, now
}

// What a model says of an update is in the log with it; time alone brings a model on, also
// after a restart.
func TestEngine_step(t *testing.T) {
	s := store.NewMemory()
	e, models, now := pumpWorld(t, s)
	report(t, e, `{"x":95}`)
	expectTold(t, e, s, "hot raised 95 degrees")
	report(t, e, `{"x":96,"y":6}`)
	now.Add(4 * time.Minute)
	report(t, e, `{"y":7}`)
	e.StepDue()
	expectTold(t, e, s, "hot raised 95 degrees")

	// A restart in the middle of the five minutes: they end when they would have.
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = openEngine(t, s, engine.Options{Models: models, Now: now.Now, Committers: 1})
	e.StepAll()
	barrier(t, e, "p")
	expectTold(t, e, s, "hot raised 95 degrees")
	now.Add(61 * time.Second)
	e.StepDue()
	eventuallyTold(t, e, s, "hot raised 95 degrees", "slow raised")
	if got := e.Memory("p").Alarms(); len(got) != 2 {
		t.Fatalf("it keeps %+v", got)
	}
	report(t, e, `{"x":1,"y":1}`)
	expectTold(t, e, s, "hot raised 95 degrees", "slow raised", "hot cleared 1 degrees", "slow cleared")
	if got := e.AllMemories(); len(got) != 0 {
		t.Errorf("it keeps %v of what is over", got)
	}
	rs, err := e.Records(context.Background(), twin.RecordMemory, "", "", 10)
	if err != nil || len(rs) != 0 {
		t.Errorf("records %v, %v", rs, err)
	}
}

// Another model, no model and another version make a step by themselves.
func TestEngine_step_ofModel(t *testing.T) {
	s := store.NewMemory()
	e, models, _ := pumpWorld(t, s)
	report(t, e, `{"x":95}`)
	models.set(t, "name: pump\nalarms:\n  cool: {when: reported.x < 100}\n")
	e.StepSoon([]twin.ThingName{"p"})
	e.StepDue()
	want := []string{"hot raised 95 degrees", "cool raised", "hot cleared the model does not have this alarm any more"}
	eventuallyTold(t, e, s, want...)
	if r := appendEntry(t, e, ofModel("valve")); r.Err != nil {
		t.Fatal(r.Err)
	}
	want = append(want, "cool cleared the model does not have this alarm any more")
	expectTold(t, e, s, want...)
	if r := appendEntry(t, e, ofModel("pump")); r.Err != nil {
		t.Fatal(r.Err)
	}
	expectTold(t, e, s, append(want, "cool raised")...)
}

func act(t *testing.T, e *engine.Engine, a model.Act) error {
	t.Helper()
	ch := make(chan error, 1)
	if err := e.Act("p", twin.Origin{Door: twin.DoorREST, Session: "ops"}, a, func(err error) { ch <- err }); err != nil {
		t.Fatal(err)
	}
	return await(t, ch)
}

func TestEngine_Act(t *testing.T) {
	s := store.NewMemory()
	e, _, now := pumpWorld(t, s)
	acknowledge := func(m *model.Model, mem *model.Memory, _ twin.Time) (*model.Memory, model.StepEvent, error) {
		return m.Acknowledge(mem, "hot", "ops")
	}
	if err := act(t, e, acknowledge); twin.Kind(err) != twin.KindConflict {
		t.Fatalf("an alarm that is not raised: %v", err)
	}
	report(t, e, `{"x":95}`)
	if err := act(t, e, acknowledge); err != nil {
		t.Fatal(err)
	}
	err := act(t, e, func(m *model.Model, mem *model.Memory, at twin.Time) (*model.Memory, model.StepEvent, error) {
		return m.Mute(mem, "hot", at+60_000, at)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"hot raised 95 degrees", "hot acknowledged", "hot muted"}
	expectTold(t, e, s, want...)
	if got := e.Memory("p").Alarms()[0]; got.State != model.AlarmAcked || got.By != "ops" {
		t.Fatalf("%+v", got)
	}
	now.Add(time.Hour)
	e.StepDue()
	eventuallyTold(t, e, s, append(want, "hot unmuted")...)
}

// What is beside the shadow is asked for, and a change of it makes a step that nobody hears
// of when it changes nothing.
func TestEngine_Changed(t *testing.T) {
	s := store.NewMemory()
	var mu sync.Mutex
	var steps int
	models := &catalogue{}
	models.set(t, alarming)
	e := openEngine(t, s, engine.Options{Models: models, Committers: 1, Settled: func(x *engine.Settled) {
		mu.Lock()
		defer mu.Unlock()
		if x.Change == nil && x.Attributes == nil {
			steps++
		}
	}})
	if r := appendEntry(t, e, ofModel("pump")); r.Err != nil {
		t.Fatal(r.Err)
	}
	if err := e.Changed("p", []expr.Path{{"telemetry", "x"}}, nil); err != nil {
		t.Fatal(err)
	}
	barrier(t, e, "p")
	mu.Lock()
	defer mu.Unlock()
	if steps != 1 || len(told(t, e, s, "p")) != 0 {
		t.Errorf("%d steps", steps)
	}
}

// An update and what the model says of it are in the store both or not at all, whatever
// becomes of the commit.
func TestEngine_step_unknownOutcome(t *testing.T) {
	for name, v := range map[string]verdict{"written": lostReply, "not written": lostRequest, "refused": {err: twin.NewError(twin.KindFull, "The disk is full")}} {
		t.Run(name, func(t *testing.T) {
			g := newGated(store.NewMemory())
			models := &catalogue{}
			models.set(t, alarming)
			e := openEngine(t, g, engine.Options{Models: models, Committers: 1})
			entry := make(chan twin.EntryResult, 1)
			if err := e.Append(ofModel("pump"), func(r twin.EntryResult) { entry <- r }); err != nil {
				t.Fatal(err)
			}
			g.one(t, pass)
			await(t, entry)
			first := submit(t, e, update(t, "p", `{"state":{"reported":{"x":95}}}`))
			await(t, g.arrived)
			second := submit(t, e, update(t, "p", `{"state":{"reported":{"x":97}}}`))
			g.decide(t, v)
			g.openGate(t)
			r := await(t, first)
			if (r.Err != nil) != (name == "refused") {
				t.Fatalf("first: %+v", r)
			}
			if r := await(t, second); r.Err != nil {
				t.Fatalf("second: %+v", r)
			}
			want := "hot raised 95 degrees"
			if name == "refused" {
				want = "hot raised 97 degrees"
			}
			if got := told(t, e, g, "p"); !slices.Equal(got, []string{want}) {
				t.Fatalf("got %q, want %q", got, want)
			}
			if got := e.Memory("p").Alarms(); len(got) != 1 {
				t.Fatalf("it keeps %+v", got)
			}
		})
	}
}

// A thousand steps that are due at once all are made, and updates find room between them.
func TestEngine_steps_many(t *testing.T) {
	const many = 1000
	s := store.NewMemory()
	models, now := &catalogue{}, newClock()
	models.set(t, "name: pump\nalarms:\n  slow: {when: reported.y > 5, for: 5m}\n")
	e := openEngine(t, s, engine.Options{Models: models, Now: now.Now, QueueLenMax: 600})
	for i := range many {
		thing := fmt.Sprintf("p%d", i)
		en := ofModel("pump")
		en.Event.Thing = twin.ThingName(thing)
		if r := appendEntry(t, e, en); r.Err != nil {
			t.Fatal(r.Err)
		}
		if r := do(t, e, update(t, thing, `{"state":{"reported":{"y":9}}}`)); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	now.Add(time.Hour)
	raised := func() (n int) {
		for _, m := range e.AllMemories() {
			if m.Alarms()[0].Raised() {
				n++
			}
		}
		return n
	}
	limit := time.After(patience)
	for raised() < many {
		e.StepDue()
		if r := do(t, e, update(t, "other", one)); r.Err != nil {
			t.Fatalf("an update beside them: %v", r.Err)
		}
		select {
		case <-limit:
			t.Fatalf("%d of %d alarms are raised", raised(), many)
		default:
		}
	}
}

// The same of a step of which there is only something to keep.
func TestEngine_step_kept_unknownOutcome(t *testing.T) {
	for name, v := range map[string]verdict{"written": lostReply, "not written": lostRequest} {
		t.Run(name, func(t *testing.T) {
			g := newGated(store.NewMemory())
			models := &catalogue{}
			models.set(t, "name: pump\n")
			e := openEngine(t, g, engine.Options{Models: models, Committers: 1})
			entry := make(chan twin.EntryResult, 1)
			if err := e.Append(ofModel("pump"), func(r twin.EntryResult) { entry <- r }); err != nil {
				t.Fatal(err)
			}
			g.one(t, pass)
			await(t, entry)
			first := submit(t, e, update(t, "p", `{"state":{"reported":{"y":9}}}`))
			g.one(t, pass)
			await(t, first)
			models.set(t, alarming)
			e.StepSoon([]twin.ThingName{"p"})
			await(t, g.arrived)
			second := submit(t, e, update(t, "p", `{"state":{"reported":{"z":1}}}`))
			g.decide(t, v)
			g.openGate(t)
			if r := await(t, second); r.Err != nil || r.Version != 2 {
				t.Fatalf("%+v", r)
			}
			rs, err := e.Records(context.Background(), twin.RecordMemory, "", "", 10)
			if err != nil || len(rs) != 1 || len(e.Memory("p").Alarms()) != 1 {
				t.Fatalf("records %v, %v, kept %+v", rs, err, e.Memory("p"))
			}
		})
	}
}
