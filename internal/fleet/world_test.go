package fleet_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/twin"
)

const testNow twin.Time = 1_795_400_000_000

// plain is one twin as it really is, beside the index.
type plain struct {
	shadow     *twin.Shadow
	attributes twin.Attributes
	computed   expr.Map
	telemetry  expr.Map
	measured   map[string]twin.Time
	lastSample twin.Time
	alarms     map[string]bool
	state      fleet.State
	connected  bool
}

// world is an index and what ought to be in it.
type world struct {
	t      testing.TB
	rng    *rand.Rand
	now    twin.Time
	twins  map[twin.ThingName]*plain
	index  *fleet.Index
	engine *fleet.Engine
}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	env, err := expr.NewQueryEnv()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 7)), now: testNow - 3_600_000, twins: map[twin.ThingName]*plain{}}
	w.index = fleet.New(fleet.Options{
		Connected:  func(thing twin.ThingName) bool { return w.twins[thing].connected },
		Attributes: func(thing twin.ThingName) *twin.Attributes { return &w.twin(thing).attributes },
		Exists:     func(context.Context, twin.ThingName) (bool, error) { return false, nil },
	})
	w.engine = &fleet.Engine{Index: w.index, Env: env, Now: func() twin.Time { return testNow }}
	return w
}

func (w *world) twin(thing twin.ThingName) *plain {
	p := w.twins[thing]
	if p == nil {
		p = &plain{}
		w.twins[thing] = p
	}
	return p
}

// update merges a state into the shadow of a thing.
func (w *world) update(thing twin.ThingName, state string) {
	w.t.Helper()
	req, err := twin.ParseRequest([]byte(`{"state":`+state+`}`), twin.Limits{})
	if err != nil {
		w.t.Fatalf("%s: %v", state, err)
	}
	p := w.twin(thing)
	c, err := twin.NewChange(twin.ShadowKey{Thing: thing}, p.shadow, req, w.now, twin.Limits{}.WithDefaults())
	if err != nil {
		w.t.Fatal(err)
	}
	p.shadow = c.Current
	w.index.Settle(&fleet.Note{Thing: thing, Shadow: c.Current})
}

func (w *world) attribute(thing twin.ThingName, a twin.Attributes) {
	p := w.twin(thing)
	if p.attributes.Model != a.Model {
		p.computed = nil
	}
	p.attributes = a
	if a.Empty() && !p.shadow.Exists() { // gone
		*p = plain{}
		w.bring()
		defer w.bring()
	}
	w.index.Settle(&fleet.Note{Thing: thing, Attributes: &a, Computed: p.computed})
}

// bring lets the index have all that is noted: what follows then is not one with it.
func (w *world) bring() {
	w.t.Helper()
	if _, err := w.engine.Query(context.Background(), &fleet.Request{Limit: 1}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) sample(thing twin.ThingName, at twin.Time, values ...twin.Measurement) {
	p := w.twin(thing)
	if p.telemetry == nil {
		p.telemetry, p.measured = expr.Map{}, map[string]twin.Time{}
	}
	for _, v := range values {
		if p.measured[string(v.Metric)] <= at {
			p.measured[string(v.Metric)] = at
			p.telemetry[string(v.Metric)] = v.Value
		}
	}
	p.lastSample = max(p.lastSample, at)
	w.index.Sample([]twin.Row{{Thing: thing, Time: at, Arrival: at, Values: values}})
}

// inputs is a twin as an expression reads it.
func (w *world) inputs(thing twin.ThingName) *expr.Inputs {
	p := w.twins[thing]
	in := &expr.Inputs{
		ID: thing, Model: p.attributes.Model, Tags: p.attributes.Tags, Shadow: p.shadow, Computed: p.computed, Telemetry: p.telemetry,
		Connected: twin.BoolValue(p.connected), Now: testNow, LastSeen: p.lastSample, AlarmCount: len(p.alarms), State: p.state.Name, StateSince: p.state.Since,
	}
	raised := expr.Map{}
	for name, acknowledged := range p.alarms {
		raised[name] = twin.TextValue(map[bool]string{false: "raised", true: "acknowledged"}[acknowledged])
	}
	in.Alarms = raised
	if p.shadow.Exists() {
		in.Version = p.shadow.Version
		in.LastSeen = max(in.LastSeen, twin.Time(p.shadow.Reported.NewestStamp()*1000))
		in.DriftSince = twin.Time(p.shadow.Delta().OldestStamp() * 1000)
	}
	return in
}

func (w *world) thing() twin.ThingName { return twin.ThingName(fmt.Sprintf("t%d", w.rng.IntN(60))) }

func pick[T any](w *world, list ...T) T { return list[w.rng.IntN(len(list))] }

// change does something to a twin.
func (w *world) change() {
	w.now += twin.Time(w.rng.IntN(3000))
	thing := w.thing()
	p := w.twin(thing)
	switch w.rng.IntN(12) {
	case 0:
		w.attribute(thing, twin.Attributes{Model: pick(w, "pump", "motor", "", "x"), Tags: pick(w, nil, map[string]string{"site": "hh1"}, map[string]string{"site": "b2", "a b": "1"})})
	case 1, 2:
		w.sample(thing, w.now-twin.Time(w.rng.IntN(5000)), twin.Measurement{
			Metric: twin.MetricName(pick(w, "temp", "motor", "motor.speed", "motor.x.y", "a.b")), Value: pick(w, twin.NumberValue(float64(w.rng.IntN(5))), twin.TextValue("on"), twin.BoolValue(true)),
		})
	case 3:
		p.computed = pick(w, expr.Map{}, expr.Map{"eff": twin.NumberValue(float64(w.rng.IntN(4)))}, expr.Map{"eff": twin.TextValue("bad"), "flag": twin.BoolValue(true)})
		if p.shadow.Exists() || !p.attributes.Empty() {
			w.index.Settle(&fleet.Note{Thing: thing, Computed: p.computed})
		} else {
			p.computed = nil
		}
	case 4:
		if !p.shadow.Exists() {
			return
		}
		p.alarms = pick(w, map[string]bool{}, map[string]bool{"hot": false}, map[string]bool{"hot": true, "dry": false})
		p.state = pick(w, fleet.State{}, fleet.State{Name: "on", Since: w.now}, fleet.State{Name: "odd", Since: 5})
		w.index.Settle(&fleet.Note{Thing: thing, Alarms: p.alarms, State: &p.state})
	case 5:
		if !p.shadow.Exists() {
			return
		}
		p.connected = !p.connected
		w.index.Settle(&fleet.Note{Thing: thing, Presence: true})
	default:
		w.update(thing, fmt.Sprintf(`{%q:{%s}}`, pick(w, "reported", "reported", "desired"), strings.Join(w.members(2), ",")))
	}
}

// members are random members of an object, so deep.
func (w *world) members(depth int) []string {
	var list []string
	for _, name := range []string{"a", "b", "mode", "x.y", `q\"`, "list"} {
		if w.rng.IntN(3) == 0 {
			list = append(list, fmt.Sprintf(`"%s":%s`, name, w.json(depth)))
		}
	}
	return list
}

func (w *world) json(depth int) string {
	switch w.rng.IntN(11) {
	case 0, 1, 2:
		return fmt.Sprint(w.rng.IntN(4))
	case 3:
		return "1.50"
	case 4:
		return pick(w, "true", "false")
	case 5, 6:
		return pick(w, `"on"`, `"off"`, `"caf\u00e9"`, `"1"`, `""`)
	case 7:
		return "null"
	case 8:
		return pick(w, "[1,2]", `["on",{"a":1}]`, "[]")
	}
	if depth == 0 {
		return "3"
	}
	return "{" + strings.Join(w.members(depth-1), ",") + "}"
}

// expression writes a random condition.
func (w *world) condition(depth int) string {
	if depth > 0 && w.rng.IntN(2) == 0 {
		switch w.rng.IntN(6) {
		case 5:
			return "holds(" + w.condition(depth-1) + ")"
		case 0, 1:
			return "(" + w.condition(depth-1) + " && " + w.condition(depth-1) + ")"
		case 2:
			return "(" + w.condition(depth-1) + " || " + w.condition(depth-1) + ")"
		case 3:
			return "!(" + w.condition(depth-1) + ")"
		default:
			return "(" + w.condition(depth-1) + " ? " + w.condition(depth-1) + " : " + w.condition(depth-1) + ")"
		}
	}
	compare := pick(w, "==", "!=", "<", "<=", ">", ">=")
	switch w.rng.IntN(14) {
	case 0:
		return fmt.Sprintf("has(%s)", pick(w, "reported.a", "reported.a.b", "desired.b.a", "delta.mode", "delta.a.b.mode", "tags.site", "telemetry.motor", "telemetry.motor.speed", "telemetry.motor.x.y",
			"telemetry.a.b", "computed.eff", "alarms.hot", "reported.nothing", "reported.nothing.at"))
	case 1:
		return fmt.Sprintf("%s %s %s", pick(w, "now - lastSeen", "now - driftSince"), compare, pick(w, `duration("1h")`, `duration("50m")`, `duration("90s") + duration("1m")`))
	case 2:
		return fmt.Sprintf(`lastSeen %s timestamp("2026-11-23T%02d:%02d:00Z")`, compare, w.rng.IntN(24), w.rng.IntN(60))
	case 3:
		return fmt.Sprintf("%s.%s(%s)", pick(w, "reported.mode", "id", "model", "tags.site", "telemetry.temp"), pick(w, "startsWith", "endsWith", "contains"), pick(w, `"o"`, `"t1"`, `"p"`, `""`))
	case 4:
		return fmt.Sprintf("%s in [%s]", pick(w, "reported.a", "reported.mode", "id", "model", "telemetry.temp", "reported.list"), pick(w, `"on", 1`, `"t1", "t2", "pump"`, "true, 2, 3", `"nowhere"`))
	case 5:
		return pick(w, "connected", "reported.on", "reported.a", "computed.flag", "alarmCount > 1", `reported.mode.matches("^o.*")`, "alarms.hot == \"raised\"", "alarmCount == 0",
			`state == "on"`, `state != "on"`, `state in ["odd", "off"]`, `now - stateSince > duration("30m")`, `state == reported.mode`, `size(state) == 3`, "version > 2", "holds(version)", "!holds(reported.a > 1)")
	case 6:
		return pick(w, "size(reported.list) > 1", "1 in reported.list", "reported.list[0] == 1", "reported.exists(k, k == \"mode\")", "reported.a == desired.a", "reported.list == desired.list", "reported == desired",
			`string(reported.a) == "1"`, "size(delta) > 0", "reported.a + reported.b == reported.list")
	case 7:
		return fmt.Sprintf("%s %s %s", w.number(2), compare, w.number(2))
	default:
		return fmt.Sprintf("%s %s %s", w.path(), compare, pick(w, "1", "2", "1.5", `"on"`, `"nowhere"`, "true", w.path(), `"pump"`))
	}
}

func (w *world) path() string {
	return pick(w, "reported.a", "reported.b", "reported.mode", "reported.a.b", "reported.a.b.mode", `reported["x.y"]`, `reported["q\""]`, "desired.a", "desired.mode", "delta.a", "delta.b.a", "delta.mode", "reported.list",
		"tags.site", `tags["a b"]`, "telemetry.temp", "telemetry.motor", "telemetry.motor.speed", "telemetry.motor.x", "telemetry.motor.x.y", `telemetry["motor.speed"]`, "telemetry.a.b", "computed.eff", "computed.flag",
		"alarms.hot", "tags.site.x")
}

func (w *world) number(depth int) string {
	if depth > 0 && w.rng.IntN(2) == 0 {
		return fmt.Sprintf("(%s %s %s)", w.number(depth-1), pick(w, "+", "-", "*", "/", "%"), w.number(depth-1))
	}
	if w.rng.IntN(5) == 0 {
		return "-" + w.path()
	}
	return pick(w, "1", "2", "0.5", w.path(), w.path())
}

// explain logs what a twin has, for a test that failed.
func (w *world) explain(source string, thing twin.ThingName) {
	p := w.twins[thing]
	w.t.Logf("%s: %s\n  attributes %v computed %v telemetry %v alarms %v connected %v", source, thing, p.attributes, p.computed, p.telemetry, p.alarms, p.connected)
	if p.shadow.Exists() {
		w.t.Logf("  reported %s desired %s", p.shadow.Reported.AppendJSON(nil), p.shadow.Desired.AppendJSON(nil))
	}
}
