package models_test

import (
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/models"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// world is an engine with models over a store that outlives it.
type world struct {
	t        *testing.T
	store    *store.Memory
	engine   *engine.Engine
	registry *models.Registry
	now      atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: store.NewMemory()}
	w.now.Store(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).UnixMilli())
	w.open()
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	if w.registry, err = models.NewRegistry(); err != nil {
		w.t.Fatal(err)
	}
	w.engine, err = engine.Open(slog.New(slog.NewTextHandler(io.Discard, nil)), w.store, engine.Options{
		Now: func() time.Time { return time.UnixMilli(w.now.Load()) }, Models: w.registry,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.registry.Load(w.t.Context(), w.engine); err != nil {
		w.t.Fatal(err)
	}
	w.engine.StepAll()
}

func (w *world) close() {
	w.t.Helper()
	if err := w.engine.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) update(thing twin.ThingName, state string) {
	w.t.Helper()
	req, err := twin.ParseRequest([]byte(`{"state":{"reported":`+state+`}}`), twin.Limits{})
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	if err := w.engine.Submit(twin.Update{Key: twin.ShadowKey{Thing: thing}, Request: req}, func(r twin.Result) { done <- r.Err }); err != nil {
		w.t.Fatal(err)
	}
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pump(thing twin.ThingName) {
	w.t.Helper()
	done := make(chan error, 1)
	err := w.engine.Append(twin.Entry{
		Event:      twin.Event{Thing: thing, Kind: twin.EventManaged, Type: "created"},
		Attributes: func(*twin.Attributes) (twin.Attributes, error) { return twin.Attributes{Model: "pump"}, nil },
	}, func(r twin.EntryResult) { done <- r.Err })
	if err == nil {
		err = <-done
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) apply(source string) models.Applied {
	w.t.Helper()
	a, err := w.registry.Apply(w.t.Context(), models.Change{Source: []byte(source)})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

const pump = "name: pump\ncomputed: {double: reported.x * 2}\n"

// Versions count up, also over a removal and a restart; each can be read.
func TestRegistry_versions(t *testing.T) {
	w := newWorld(t)
	w.pump("pump-1")
	w.update("pump-1", `{"x":4}`)
	if a := w.apply(pump); a.Version.Number != 1 || a.Trial.Twins != 1 || a.Trial.Changed != 1 {
		t.Errorf("%+v", a)
	}
	if a := w.apply(pump); !a.Unchanged || a.Version.Number != 1 {
		t.Errorf("the same again: %+v", a)
	}
	if a := w.apply(pump + "version: b\n"); a.Version.Number != 2 || a.Trial.Changed != 0 {
		t.Errorf("%+v", a)
	}
	if _, err := w.registry.Remove("pump", models.Change{}); err != nil {
		t.Fatal(err)
	}
	if m, _ := w.registry.Model("pump"); m != nil {
		t.Error("a model that was removed is in force")
	}
	if _, err := w.registry.Remove("pump", models.Change{}); twin.Kind(err) != twin.KindNotFound {
		t.Errorf("removed twice: %v", err)
	}
	w.close()
	w.open()
	defer func() { w.close() }()
	if len(w.registry.List()) != 0 {
		t.Errorf("after a restart there are %v", w.registry.List())
	}
	if a := w.apply(pump); a.Version.Number != 4 {
		t.Errorf("%+v, want number 4", a)
	}
	list, err := w.registry.Versions(t.Context(), "pump", 0, 10)
	if err != nil || len(list) != 4 || list[0].Number != 4 || !list[1].Removed() || !strings.Contains(string(list[2].Source), "version: b") {
		t.Errorf("%+v, %v", list, err)
	}
	if v, err := w.registry.Version(t.Context(), "pump", 2); err != nil || v.Number != 2 || v.Time == 0 {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := w.registry.Version(t.Context(), "pump", 9); twin.Kind(err) != twin.KindNotFound {
		t.Errorf("a version that is not there: %v", err)
	}
}

// A trial says which alarms would be raised, at once or when they have held for long enough;
// those that are raised already are not among them.
func TestRegistry_trialOfAlarms(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	for thing, state := range map[twin.ThingName]string{"pump-1": `{"x":4}`, "pump-2": `{"x":9}`, "pump-3": `{"x":12}`} {
		w.pump(thing)
		w.update(thing, state)
	}
	const source = "name: pump\nalarms:\n  high: {when: reported.x > 10}\n  long: {when: reported.x > 5, for: 1h}\n  none: {when: reported.x > 99}\n"
	a, err := w.registry.Apply(t.Context(), models.Change{Source: []byte(source), DryRun: true})
	if err != nil || len(a.Trial.Alarms) != 2 || a.Trial.Alarms["high"] != 1 || a.Trial.Alarms["long"] != 2 {
		t.Errorf("%v, %v", a.Trial.Alarms, err)
	}
	w.apply(source)
	w.update("pump-3", `{"y":1}`)
	a, err = w.registry.Apply(t.Context(), models.Change{Source: []byte(source + "version: b\n"), DryRun: true})
	if err != nil || a.Trial.Alarms["high"] != 0 {
		t.Errorf("%v, %v: high is raised already", a.Trial.Alarms, err)
	}
}

// What is refused changes nothing: the model stays in force.
func TestRegistry_refused(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	w.apply(pump)
	one := uint32(1)
	zero := uint32(0)
	for want, c := range map[string]models.Change{
		"there is no reportd":        {Source: []byte("name: pump\ncomputed: {x: reportd.x}\n")},
		`The model is named "pump"`:  {Name: "valve", Source: []byte(pump)},
		"The version in force is 1":  {Source: []byte(pump + "version: c\n"), Expect: &zero},
		"needs itself":               {Source: []byte("name: pump\ncomputed: {a: computed.b, b: computed.a}\n"), Expect: &one},
		"a model needs a name":       {Source: []byte("computed: {a: reported.x}\n")},
		"no state goes to behaviour": {Source: []byte("name: pump\nbehaviour: {attribute: reported.m, states: {a: {to: [b]}, b: , c: }}\n")},
	} {
		if _, err := w.registry.Apply(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	if a, err := w.registry.Apply(t.Context(), models.Change{Source: []byte(pump + "version: c\n"), DryRun: true}); err != nil || a.Version.Number != 0 {
		t.Errorf("a dry run: %+v, %v", a, err)
	}
	if m, number := w.registry.Model("pump"); m == nil || number != 1 || m.Version != "" {
		t.Errorf("in force is version %d", number)
	}
}

// The states of a twin are kept over a restart, and what it did is counted from its events.
func TestViewer_Behaviour(t *testing.T) {
	w := newWorld(t)
	w.pump("pump-1")
	w.apply("name: pump\nbehaviour: {states: {low: {to: {high: reported.x > 5}}, high: {max: 1m, to: {low: reported.x < 3}}}}\n")
	for _, x := range []string{`{"x":1}`, `{"x":9}`, `{"x":2}`, `{"x":7}`} {
		w.now.Add(10_000)
		w.update("pump-1", x)
	}
	w.close()
	w.open()
	defer func() { w.close() }()
	v := models.Viewer{
		Registry: w.registry, Samples: telemetry.NewReader(w.store), History: history.New(w.store, nil), Connected: func(twin.ThingName) bool { return false },
		LastSeen: func(twin.ThingName) twin.Time { return 0 }, Now: w.engine.Now,
	}
	b, err := v.Behaviour(t.Context(), "pump-1", 1, w.engine.Now()+1)
	if err != nil || b == nil {
		t.Fatalf("%+v, %v", b, err)
	}
	if b.State.State != "high" || b.Version != 1 || len(b.Declared.States) != 2 {
		t.Errorf("%+v", b)
	}
	o := b.Observed
	if !o.Complete || len(o.States) != 2 || o.States[0].Name != "high" || o.States[0].Entered != 2 || o.States[0].Left != 1 || o.States[0].Median != 10_000 || len(o.Transitions) != 2 {
		t.Errorf("%+v", o)
	}
	if b, err := v.Behaviour(t.Context(), "other", 1, 2); b != nil || err != nil {
		t.Errorf("a twin without a model has %+v, %v", b, err)
	}
}
