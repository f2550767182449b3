package model_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/twin"
)

// scripted is a twin that a script brings on.
type scripted struct {
	clock  twin.Time // of updates; 0: a second after 1970
	model  *model.Model
	shadow *twin.Shadow
	memory *model.Memory
	values expr.Map
}

func (s *scripted) update(t *testing.T, state string) []expr.Path {
	t.Helper()
	req, err := twin.ParseRequest([]byte(`{"state":`+state+`}`), twin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := twin.NewChange(twin.ShadowKey{Thing: "f"}, s.shadow, req, max(1000, s.clock), twin.Limits{}.WithDefaults())
	if err != nil {
		t.Fatal(err)
	}
	changed := []expr.Path{}
	req.Touches(func(section, name string) { changed = append(changed, expr.Path{section, name}) })
	s.shadow = c.Current
	return changed
}

func (s *scripted) step(now twin.Time, changed []expr.Path) model.Step {
	out := s.model.Step(s.memory, expr.Inputs{ID: "f", Shadow: s.shadow, Now: now}, changed, s.values)
	s.values = out.Computed
	if out.Memory != nil {
		s.memory = out.Memory
	}
	return out
}

func (s *scripted) act(now twin.Time, words []string) (e model.StepEvent, err error) {
	var m *model.Memory
	if words[0] == "ack" {
		m, e, err = s.model.Acknowledge(s.memory, words[1], words[2])
	} else {
		var until twin.Time
		if _, err := fmt.Sscan(words[3], &until); err != nil {
			return e, err
		}
		m, e, err = s.model.Mute(s.memory, words[1], until*1000, now)
	}
	if err == nil {
		s.memory = m
	}
	return e, err
}

func show(events []model.StepEvent) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, " %s %s %s %q %s;", e.Type, e.Correlation, e.Severity, e.Message, e.Data)
	}
	return b.String()
}

func TestModel_Step(t *testing.T) {
	m, err := parse(t, read(t, "alarms.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s := scripted{model: m}
	s.update(t, `{"desired":{"setpoint":-18}}`)
	lines := 0
	for line := range strings.Lines(read(t, "alarms.txt")) {
		do, want, ok := strings.Cut(strings.TrimRight(line, "\n"), " =>")
		if !ok || line[0] == '#' {
			continue
		}
		lines++
		at, what, _ := strings.Cut(do, " ")
		var now twin.Time
		if _, err := fmt.Sscan(at, &now); err != nil {
			t.Fatal(err)
		}
		now *= 1000
		var got string
		if what[0] == '{' {
			changed := []expr.Path{}
			if what != "{}" {
				changed = s.update(t, `{"reported":`+what+`}`)
			}
			if lines == 1 {
				changed = nil
			}
			out := s.step(now, changed)
			got = show(out.Events)
			if out.Due != 0 {
				got += fmt.Sprintf(" due %d", out.Due/1000)
			}
		} else if e, err := s.act(now, strings.Fields(what)); err != nil {
			got = " " + twin.Kind(err).String()
		} else {
			got = show([]model.StepEvent{e})
		}
		if got != want {
			t.Errorf("%s:\n got%s\nwant%s", do, got, want)
		}
		back, err := model.DecodeMemory(s.memory.AppendBinary(nil))
		if err != nil || string(back.AppendBinary(nil)) != string(s.memory.AppendBinary(nil)) {
			t.Fatalf("%s: the memory does not come back: %v", do, err)
		}
		s.memory = back
	}
	if lines < 20 {
		t.Fatalf("%d lines", lines)
	}
}

// A new version of the model that has an alarm no more clears it; one that it has still
// stands as before.
func TestModel_Step_version(t *testing.T) {
	m, err := parse(t, "name: a\nalarms: {x: {when: reported.on}, y: {when: reported.on}}")
	if err != nil {
		t.Fatal(err)
	}
	s := scripted{model: m}
	s.update(t, `{"reported":{"on":true}}`)
	if got := show(s.step(1, nil).Events); strings.Count(got, "raised") != 2 {
		t.Fatal(got)
	}
	if s.model, err = parse(t, "name: a\nalarms: {y: {when: reported.on}}"); err != nil {
		t.Fatal(err)
	}
	out := s.step(2, nil)
	if got, want := show(out.Events), ` cleared x info "the model does not have this alarm any more" {"raised":1};`; got != want {
		t.Fatalf("got %s want %s", got, want)
	}
	if got := s.memory.Alarms(); len(got) != 1 || got[0].Name != "y" || !got[0].Raised() {
		t.Fatalf("%+v", got)
	}
	if out := s.step(3, nil); out.Memory != nil || out.Events != nil {
		t.Fatalf("a step in which nothing happens gives %+v", out)
	}
}

func TestParse_refusesAlarms(t *testing.T) {
	for alarm, want := range map[string]string{
		"{}":                           "3:3: alarms.x needs a condition; add when: with an expression",
		"{when: reported.a + 1}":       "3:13: alarms.x.when is a number, not a boolean",
		"{wen: reported.a}":            "3:7: alarms.x has no wen; did you mean when?",
		"{when: lastSeen == lastSeen}": "3:13: alarms.x.when reads lastSeen, which no condition can; it can read reported, desired, delta, tags, computed, connected and metrics such as telemetry.temperature",
		"{when: now > lastSeen}":       "3:13: alarms.x.when reads now or is over time, which is not there yet",
		"{when: computed.of > 1}":      "3:3: alarms.x reads computed.of, which the model does not have; did you mean computed.off?",
		"{when: computed.avg > 1}":     "3:3: alarms.x reads computed.avg, which shadow and tags alone do not decide",
		"{when: connected, for: x}":    `3:29: alarms.x.for: "x" is no time; write it as 90s, 5m or 7d`,
		"{when: true, for: x}":         `3:24: alarms.x.for: "x" is no time; write it as 90s, 5m or 7d`,
		"{when: true, for: 367d}":      "3:24: alarms.x.for: 367d is not between 0 and 366d in whole milliseconds",
		"{when: true, severity: bad}": `3:29: alarms.x.severity: there is no severity "bad"; there are info, warning, ` +
			"error, critical",
		`{when: true, message: "{reported.a"}`: "3:28: alarms.x.message has a { without a }; write {reported.temperature}",
		`{when: true, message: "{reprted.a}"}`: "3:28: alarms.x.message: at 1:1 of the expression: there is no reprted; did you mean reported?",
	} {
		_, err := parse(t, "name: a\nalarms:\n  x: "+alarm+"\ncomputed: {off: reported.a, avg: 'avg(reported.a, \"1h\")'}")
		var e *model.Error
		if !errors.As(err, &e) || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", alarm, err, want)
		}
	}
}

func FuzzDecodeMemory(f *testing.F) {
	f.Add([]byte{1, 1, 1, 'x', 2, 9, 0, 1, 'y'})
	f.Add([]byte{1, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := model.DecodeMemory(b)
		if err != nil {
			return
		}
		if _, err := model.DecodeMemory(m.AppendBinary(nil)); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkModel_Step(b *testing.B) {
	env, err := expr.NewEnv()
	if err != nil {
		b.Fatal(err)
	}
	var src strings.Builder
	src.WriteString("name: a\ncomputed:\n")
	for i := range 10 {
		fmt.Fprintf(&src, "  c%d: reported.a%d * 2 + 1\n", i, i)
	}
	src.WriteString("alarms:\n")
	for i := range 5 {
		fmt.Fprintf(&src, "  l%d: {when: computed.c%d > 100}\n", i, i)
	}
	m, err := model.Parse([]byte(src.String()), env)
	if err != nil {
		b.Fatal(err)
	}
	req, err := twin.ParseRequest([]byte(`{"state":{"reported":{"a0":1,"a1":1,"a2":1,"a3":1,"a4":1,"a5":1}}}`), twin.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	c, err := twin.NewChange(twin.ShadowKey{Thing: "f"}, nil, req, 1000, twin.Limits{}.WithDefaults())
	if err != nil {
		b.Fatal(err)
	}
	in := expr.Inputs{ID: "f", Shadow: c.Current, Now: 1}
	out := m.Step(nil, in, nil, nil)
	before := expr.Map{"c0": twin.NumberValue(7)}
	for k, v := range out.Computed {
		if k != "c0" {
			before[k] = v
		}
	}
	changed := []expr.Path{{"reported", "a0"}}
	b.ReportAllocs()
	for b.Loop() {
		m.Step(nil, in, changed, before)
	}
}
