package model_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/twin"
)

func parse(t testing.TB, source string) (*model.Model, error) {
	t.Helper()
	env, err := expr.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	return model.Parse([]byte(source), env)
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestModel_Evaluate(t *testing.T) {
	m, err := parse(t, read(t, "pump.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var shadow *twin.Shadow
	values, n := expr.Map{}, 0
	for line := range strings.Lines(read(t, "pump.txt")) {
		patch, want, ok := strings.Cut(strings.TrimRight(line, "\n"), " => ")
		if !ok || line[0] == '#' {
			continue
		}
		n++
		req, err := twin.ParseRequest([]byte(`{"state":{"reported":`+patch+`}}`), twin.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := twin.NewChange(twin.ShadowKey{Thing: "p"}, shadow, req, 1000, twin.Limits{}.WithDefaults())
		if err != nil {
			t.Fatal(err)
		}
		var changed []expr.Path
		if shadow != nil {
			for name := range strings.SplitSeq(strings.Trim(patch, "{}"), ",") {
				changed = append(changed, expr.Path{"reported", strings.Split(name, `"`)[1]})
			}
		}
		shadow = c.Current
		var why map[string]model.Why
		values, why = m.Evaluate(expr.Inputs{ID: "p", Shadow: shadow}, changed, values)
		var got []string
		for _, name := range []string{"busy", "efficiency", "percent"} {
			text := name + "=absent"
			if v, ok := values[name]; ok {
				text = fmt.Sprintf("%s=%g", name, v.Number)
			}
			got = append(got, text)
		}
		text := strings.Join(got, " ") + "; " + strings.Join(slices.Sorted(maps.Keys(why)), " ")
		if text != want {
			t.Errorf("%s:\n got %s\nwant %s", patch, text, want)
		}
		if w := why["efficiency"]; patch == `{"power":0}` && w.Reason != "division by zero" {
			t.Errorf("why: %+v", w)
		}
		if w, ok := why["efficiency"]; ok && (len(w.Inputs) != 3 || w.Model != "pump" || w.Version != "3" || n == 1 && w.Reason != "there is no reported.power") {
			t.Errorf("why: %+v", w)
		}
	}
	if n == 0 {
		t.Fatal("no lines")
	}
}

func TestParse_refuses(t *testing.T) {
	for source, want := range map[string]string{
		"name: a\ncomputd: {}": "2:1: a model has no computd; did you mean computed?",
		"version: 1":           "1:8: a model needs a name",
		"name: a\ncomputed:\n  x: computed.y + 1\n  y: computed.z + 1\n  z: computed.x":     "3:3: computed.x needs itself: x → y → z → x",
		"name: a\ncomputed:\n  x: computed.x":                                               "3:3: computed.x needs itself: x → x",
		"name: a\ncomputed:\n  flow: reported.f\n  x: computed.flo":                         "4:3: computed.x reads computed.flo, which the model does not have; did you mean computed.flow?",
		"name: a\ncomputed:\n  x: p200(reported.f, '1h')":                                   "3:6: computed.x: at 1:5 of the expression: a percentile of 200 is not between 0 and 100",
		"name: a\ncomputed:\n  x: {expression: connected, type: number}":                    "3:19: computed.x is a boolean, not a number",
		"name: a\ncomputed:\n  x: '[1]'":                                                    "3:6: computed.x is a list; it can be a number, boolean, string",
		`{"name":"a","computed":{"x":"reprted.y"}}`:                                         "1:29: computed.x: at 1:1 of the expression: there is no reprted; did you mean reported?",
		"name: a\nschema:\n  reported:\n    check: maybe":                                   "4:12: schema.reported.check: there is no \"maybe\"; there are off, warn, reject",
		"name: a\nschema:\n  reportd: {}":                                                   "3:3: schema has no reportd; there are reported, desired, telemetry",
		"name: a\nschema:\n  reported:\n    properties:\n      x: {type: numbr}":            "5:17: schema.reported.properties.x.type is no JSON Schema: value must be one of 'array', 'boolean', 'integer', 'null', 'number', 'object', 'string'",
		"name: a\nschema: {reported: {$ref: 'http://a/b'}}":                                 "2:20: schema.reported: failing loading \"http://a/b\": http://a/b is not in the model, and nothing is loaded",
		"name: a\nschema:\n  desired: {properties: {x: {interval: 1s}}}":                    "3:30: schema.desired.x has an interval, but nothing is expected of desired",
		"name: a\nschema:\n  telemetry: {properties: {x: {interval: soon}}}":                "3:42: schema.telemetry.x.interval: \"soon\" is no time; write it as 90s, 5m or 7d",
		"name: a\nalarms: {schema.reported: {when: 'true'}}":                                "2:10: alarms.schema.reported has a name of an alarm that a schema makes; choose another name",
		"name: a\nannotations: [reported.x]":                                                "2:15: annotations: \"reported.x\" is no attribute of desired; write desired.note",
		"name: a\nbehaviour: {states: {x: {enter: [{command: 'a b'}]}}}":                    "2:44: behaviour.states.x.enter[0].command.name: \"a b\" is not 1 to 64 characters of a-z A-Z 0-9 . : _ -",
		"name: a\nbehaviour: {states: {x: {enter: [{command: flush, event: y}]}}}":          "2:34: behaviour.states.x.enter[0] is an event and a command; write two actions",
		"name: a\nbehaviour: {states: {x: {enter: [{event: command}]}}}":                    "2:34: behaviour.states.x.enter[0]: command is what the behaviour itself tells; write command: {name: flush}",
		"name: a\nbehaviour: {states: {x: {enter: [{command: {name: f, parameters: 3}}]}}}": "2:66: behaviour.states.x.enter[0].command.parameters is no object; write {seconds: 30}",
		"- a": "1:1: a model is a mapping of names to values",
	} {
		if _, err := parse(t, source); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", source, err, want)
		}
	}
	for _, source := range []string{"", "a: [", "name: a\nname: b", "name: a b", strings.Repeat("#", model.SourceBytesMax+1)} {
		if _, err := parse(t, source); err == nil {
			t.Errorf("%.20q is accepted", source)
		}
	}
}
