package engine_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// catalogue is [engine.Models] that a test changes.
type catalogue struct {
	mu      sync.Mutex
	model   *model.Model
	version uint32
}

func (c *catalogue) Model(name string) (*model.Model, uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.model == nil || c.model.Name != name {
		return nil, 0
	}
	return c.model, c.version
}

func (c *catalogue) set(t *testing.T, source string) {
	t.Helper()
	env, err := expr.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Parse([]byte(source), env)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.model, c.version = m, c.version+1
}

func ofModel(name string) twin.Entry {
	return twin.Entry{
		Event:      twin.Event{Thing: "p", Kind: twin.EventManaged},
		Attributes: func(*twin.Attributes) (twin.Attributes, error) { return twin.Attributes{Model: name}, nil },
	}
}

// An event has what it changed of the computed attributes, and all of them when nothing is
// known of before.
func TestEngine_computed(t *testing.T) {
	s, models := store.NewMemory(), &catalogue{}
	models.set(t, "name: pump\ncomputed:\n  double: reported.x * 2\n  high: computed.double > 5\n  far: avg(reported.x, '1h')\n")
	var mu sync.Mutex
	var told []engine.Settled
	o := engine.Options{Models: models, Settled: func(x *engine.Settled) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, *x)
	}}
	e := openEngine(t, s, o)
	if r := appendEntry(t, e, ofModel("pump")); r.Err != nil {
		t.Fatal(r.Err)
	}
	bodies := []string{
		`{"state":{"reported":{"x":1}}}`, `{"state":{"reported":{"x":2}}}`, `{"state":{"reported":{"y":2}}}`,
		`{"state":{"reported":{"x":3}}}`, `{"state":{"reported":{"x":null}}}`, `{"state":null}`,
	}
	want := []string{
		`{"double":2,"high":false}`, `{"double":4}`, ``, `{"double":6,"high":true}`, `{"double":null,"high":null}`, ``,
	}
	for _, body := range bodies {
		if r := do(t, e, update(t, "p", body)); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	models.set(t, "name: pump\ncomputed:\n  half: reported.x / 2\n")
	do(t, e, update(t, "p", `{"state":{"reported":{"x":8}}}`))
	want = append(want, `{"half":4}`)
	for i, ev := range events(t, s, classic("p")) {
		if got := string(ev.Computed); got != want[i] {
			t.Errorf("event %d: computed %q, want %q", i, got, want[i])
		}
		if version := uint32(1 + i/6); ev.ModelVersion != version {
			t.Errorf("event %d: model version %d, want %d", i, ev.ModelVersion, version)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 8 || told[0].Attributes == nil || told[0].Attributes.Model != "pump" || told[1].Change == nil {
		t.Fatalf("%d told: %+v", len(told), told)
	}
	if got := told[4].Computed["double"]; got != twin.NumberValue(6) {
		t.Errorf("told %v", got)
	}
}

// What is told is told before who asked is answered.
func TestEngine_Settled_first(t *testing.T) {
	var last sync.Map
	e := openEngine(t, store.NewMemory(), engine.Options{Settled: func(s *engine.Settled) { last.Store(s.Thing, s.Change.Version) }})
	for i := range 50 {
		ok := make(chan bool, 1)
		err := e.Submit(update(t, "p", one), func(r twin.Result) {
			v, _ := last.Load(twin.ThingName("p"))
			ok <- v == r.Version
		})
		if err != nil {
			t.Fatal(err)
		}
		if !await(t, ok) {
			t.Fatalf("update %d was answered before it was told", i)
		}
	}
}

// A device that reports and never confirms what is asked is in the log, once.
func TestEngine_echoLoop(t *testing.T) {
	s := store.NewMemory()
	e := openEngine(t, s, engine.Options{})
	report := func(body string) {
		u := update(t, "p", body)
		u.Origin = twin.Origin{Door: twin.DoorMQTT, Session: "p", PacketID: 7}
		if r := do(t, e, u); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	echoes := func() (texts []string) {
		ch := make(chan error, 1)
		if err := e.WriteRecords("p", nil, func(err error) { ch <- err }); err != nil { // after what is queued
			t.Fatal(err)
		}
		await(t, ch)
		raw, err := s.ThingEvents(context.Background(), store.ThingRange{Thing: "p", Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range raw {
			if ev, err := twin.DecodeEvent(b); err == nil && ev.Type == "echo-loop" && ev.Severity == twin.SeverityWarning {
				texts = append(texts, ev.Message)
			}
		}
		return texts
	}
	do(t, e, update(t, "p", `{"state":{"desired":{"t":21,"updatedBy":"ops"}}}`))
	report(`{"state":{"reported":{"t":20}}}`) // a delta, then another
	report(`{"state":{"reported":{"t":21}}}`)
	report(`{"state":{"reported":{"t":21}}}`)
	if got := echoes(); got != nil {
		t.Fatalf("after two: %q", got)
	}
	for range 5 {
		report(`{"state":{"reported":{"t":21}}}`)
	}
	if got := echoes(); len(got) != 1 || !strings.Contains(got[0], "updatedBy") || strings.Contains(got[0], " t ") {
		t.Fatalf("got %q, want one that names updatedBy", got)
	}
	for range 5 {
		report(`{"state":{"reported":{"t":21,"updatedBy":"ops"}}}`)
	}
	if got := echoes(); len(got) != 1 {
		t.Errorf("a device that confirms: %q", got)
	}
}
