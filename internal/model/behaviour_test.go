package model_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/model"
)

func TestParse_refusesBehaviour(t *testing.T) {
	for behaviour, want := range map[string]string{
		`{}`: "behaviour needs states",
		`{attribute: reported.mode, states: {a: {to: [b]}, b: {to: [c]}}}`:                    `behaviour.states.b goes to "c", which is no state`,
		`{attribute: reported.mode, states: {running: {to: [stoped]}, stopped: }}`:            "did you mean stopped?",
		`{attribute: reported.mode, states: {a: {to: [b]}, b: {to: [a]}, c: {to: [a]}}}`:      "no state goes to behaviour.states.c; let one, or make it the initial one",
		`{attribute: reported.mode, initial: z, states: {a: }}`:                               `behaviour.initial: there is no state "z"; there are a`,
		`{states: {a: {to: [b]}, b: }}`:                                                       "behaviour.states.a.to.b has neither a condition nor a time",
		`{attribute: reported.mode, states: {a: {to: {b: {after: 5s}}}, b: }}`:                "has after, but the attribute says",
		`{states: {a: {to: {b: reported.x + 1}}, b: }}`:                                       "behaviour.states.a.to.b is a number, not a boolean",
		`{states: {a: {to: {b: now > lastSeen}}, b: }}`:                                       "reads now or is over time",
		`{states: {a: {to: {b: computed.nothing > 1}}, b: }}`:                                 "behaviour reads computed.nothing, which the model does not have",
		`{states: {a: {min: 5s, max: 5s, to: {b: {after: 5s}}}, b: }}`:                        "behaviour.states.a: max is not more than min",
		`{states: {a: {mx: 5s}}}`:                                                             "behaviour.states.a has no mx; did you mean max?",
		`{states: {a: {enter: [{message: x}]}}}`:                                              "behaviour.states.a.enter[0] has no type; write event: started",
		`{states: {a: {enter: [{event: entered}]}}}`:                                          "entered is what the behaviour itself tells",
		`{states: {a: {enter: {event: x}}}}`:                                                  "behaviour.states.a.enter is a list of events",
		`{states: {a: {enter: [{event: x, severity: bad}]}}}`:                                 `there is no severity "bad"`,
		`{states: {a: {enter: [{event: x, message: "{reported.x"}]}}}`:                        "has a { without a }",
		`{states: {a: {enter: [` + strings.Repeat("{event: x},", 9) + `]}}}`:                  "has more than 8 events",
		`{states: {` + strings.Repeat("x", 65) + `: }}`:                                       "the name of a state has 1 to 64 bytes",
		`{attribute: reported.mode, severity: loud, states: {a: }}`:                           `there is no severity "loud"`,
		`{attribute: reported.mode +, states: {a: }}`:                                         "behaviour.attribute: at 1:16 of the expression",
		`{states: {a: {to: {b: {when: "reported.x.exists(k, true)", afer: 5s}}}, b: }}`:       "has no afer; did you mean after?",
		`{states: {a: {to: {b: {when: "true", after: 5s, do: [{event: x}, {evnt: y}]}}}, b: `: "",
	} {
		_, err := parse(t, "name: x\nbehaviour: "+behaviour)
		var at *model.Error
		if !errors.As(err, &at) || at.Line == 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", behaviour, err, want)
		}
	}
	if _, err := parse(t, "name: x\ncomputed: {c: 'state == \"a\"'}\nbehaviour: {attribute: reported.mode, states: {a: }}"); err == nil || !strings.Contains(err.Error(), "reads state, which is decided after it") {
		t.Errorf("got %v", err)
	}
}

// Conditions that hold in a circle end after some transitions, and are told.
func TestBehaviour_circle(t *testing.T) {
	m, err := parse(t, "name: x\nbehaviour: {states: {a: {to: {b: reported.on}}, b: {to: {a: reported.on}}}}")
	if err != nil {
		t.Fatal(err)
	}
	s := scripted{model: m}
	s.update(t, `{"reported":{"on":true}}`)
	out := s.step(1000, nil)
	if got := show(out.Events); strings.Count(got, "entered") != 9 || !strings.Contains(got, "unstable a warning") || out.Due != 0 {
		t.Errorf("%s due %d", got, out.Due)
	}
	if out := s.step(2000, s.update(t, `{"reported":{"other":1}}`)); len(out.Events) != 0 {
		t.Errorf("it goes on by itself: %s", show(out.Events))
	}
}

// A new version keeps the state if it has it still.
func TestBehaviour_version(t *testing.T) {
	m, err := parse(t, "name: x\nbehaviour: {states: {a: {to: {b: reported.on}}, b: {to: {a: '!reported.on'}}}}")
	if err != nil {
		t.Fatal(err)
	}
	s := scripted{model: m}
	s.update(t, `{"reported":{"on":true}}`)
	s.step(1000, nil)
	if got := s.memory.State().State; got != "b" {
		t.Fatalf("it is %q", got)
	}
	if s.model, err = parse(t, "name: x\nbehaviour: {initial: a, states: {a: {to: {b: {after: 5s}}}, b: {to: {a: {after: 9s}}}}}"); err != nil {
		t.Fatal(err)
	}
	if out := s.step(2000, nil); len(out.Events) != 0 || out.Due != 10_000 {
		t.Errorf("%s due %d", show(out.Events), out.Due)
	}
	if s.model, err = parse(t, "name: x\nbehaviour: {states: {z: }}"); err != nil {
		t.Fatal(err)
	}
	if got := show(s.step(3000, nil).Events); !strings.Contains(got, `entered z info "b → z"`) {
		t.Error(got)
	}
	if s.model, err = parse(t, "name: x"); err != nil {
		t.Fatal(err)
	}
	if out := s.step(4000, nil); out.Memory == nil || !out.Memory.Empty() {
		t.Errorf("a model without behaviour keeps %+v", out.Memory)
	}
}
