package model_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/model/builtin"
	"github.com/twofold-iot/twofold/twin"
)

// player is a twin that a script brings on: lines of a time in seconds, what comes, and
// after => the computed values that changed and the events.
type player struct {
	scripted
	telemetry expr.Map
	sampled   map[string]twin.Time
	tags      map[string]string
	connected bool
}

func (p *player) line(t *testing.T, do string, first bool) string {
	t.Helper()
	at, what, _ := strings.Cut(do, " ")
	var now float64
	if _, err := fmt.Sscan(at, &now); err != nil {
		t.Fatalf("%s: %v", do, err)
	}
	p.clock = twin.Time(now * 1000)
	changed := p.take(t, what)
	if first {
		changed = nil
	}
	in := expr.Inputs{ID: "f", Shadow: p.shadow, Telemetry: p.telemetry, Sampled: p.sampled, Tags: p.tags, Connected: twin.BoolValue(p.connected), Now: twin.Time(now * 1000)}
	before := p.values
	out := p.model.Step(p.memory, in, changed, before)
	p.values = out.Computed
	if out.Memory != nil {
		p.memory = out.Memory
	}
	if out.Due != 0 && out.Due <= in.Now {
		t.Errorf("%s: the next step is due at %d, which is past", do, out.Due)
	}
	return told(p.values, before, out.Events)
}

// take lets come what a line says.
func (p *player) take(t *testing.T, what string) []expr.Path {
	t.Helper()
	part, value, _ := strings.Cut(what, " ")
	changed := []expr.Path{}
	switch part {
	case "wait":
	case "reported", "desired":
		changed = p.update(t, `{"`+part+`":`+value+`}`)
	case "connected":
		p.connected = value == "true"
		changed = append(changed, expr.Path{"connected"})
	case "tags":
		if err := json.Unmarshal([]byte(value), &p.tags); err != nil {
			t.Fatal(err)
		}
		changed = nil
	case "telemetry":
		var metrics map[string]any
		if err := json.Unmarshal([]byte(value), &metrics); err != nil {
			t.Fatal(err)
		}
		for name, v := range metrics {
			changed = append(changed, append(expr.Path{"telemetry"}, strings.Split(name, ".")...))
			p.sampled[name] = p.clock
			switch v := v.(type) {
			case float64:
				p.telemetry[name] = twin.NumberValue(v)
			case bool:
				p.telemetry[name] = twin.BoolValue(v)
			case string:
				p.telemetry[name] = twin.TextValue(v)
			}
		}
	default:
		t.Fatalf("there is no %q", part)
	}
	return changed
}

func told(values, before expr.Map, events []model.StepEvent) string {
	var parts []string
	names := map[string]bool{}
	for name := range values {
		names[name] = true
	}
	for name := range before {
		names[name] = true
	}
	for name := range names {
		v, has := values[name]
		old, had := before[name]
		switch {
		case !has:
			parts = append(parts, name+"=–")
		case !had || v != old:
			parts = append(parts, name+"="+shortNumber(v))
		}
	}
	slices.Sort(parts)
	for _, e := range events {
		parts = append(parts, fmt.Sprintf("%s %s %s %q", e.Type, e.Correlation, e.Severity, e.Message))
	}
	return strings.Join(parts, "; ")
}

func shortNumber(v twin.Value) string {
	if v.Type == twin.ValueNumber {
		return fmt.Sprintf("%.6g", v.Number)
	}
	return string(v.AppendJSON(nil))
}

func play(t *testing.T, m *model.Model, script string) {
	t.Helper()
	p := player{scripted: scripted{model: m}, telemetry: expr.Map{}, sampled: map[string]twin.Time{}, tags: map[string]string{}}
	lines := 0
	for line := range strings.Lines(script) {
		do, want, ok := strings.Cut(strings.TrimRight(line, "\n"), " =>")
		if !ok || line[0] == '#' {
			continue
		}
		got := p.line(t, do, lines == 0)
		if lines++; got != strings.TrimSpace(want) {
			t.Errorf("%s:\n got %s\nwant%s", do, got, want)
		}
		back, err := model.DecodeMemory(p.memory.AppendBinary(nil))
		if err != nil || string(back.AppendBinary(nil)) != string(p.memory.AppendBinary(nil)) {
			t.Fatalf("%s: the memory does not come back: %v", do, err)
		}
		p.memory = back
	}
	if lines < 5 {
		t.Errorf("the script has %d lines", lines)
	}
}

func TestModel_scripts(t *testing.T) {
	files, err := filepath.Glob("testdata/scripts/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			m, err := parse(t, string(source))
			if err != nil {
				t.Fatal(err)
			}
			script, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			play(t, m, string(script))
		})
	}
}

// The models that come with the program do what their scripts say.
func TestBuiltin(t *testing.T) {
	names := builtin.Names()
	if len(names) != 10 {
		t.Fatalf("there are %d models: %v", len(names), names)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			source, err := builtin.Source(name)
			if err != nil {
				t.Fatal(err)
			}
			m, err := parse(t, string(source))
			if err != nil {
				t.Fatal(err)
			}
			if m.Name != name || builtin.About(name) == "" {
				t.Errorf("model %q, about %q", m.Name, builtin.About(name))
			}
			script, err := os.ReadFile("builtin/testdata/" + name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			play(t, m, string(script))
		})
	}
}
