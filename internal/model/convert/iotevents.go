package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Detector models of AWS IoT Events, as DescribeDetectorModel and exports give them.
//
// Source: AWS IoT Events API Reference, "DetectorModelDefinition"; Developer Guide,
// "Expressions to filter, transform, and process event data".

type detectorModel struct {
	Name       string `json:"detectorModelName"`
	Definition struct {
		Initial string          `json:"initialStateName"`
		States  []detectorState `json:"states"`
	} `json:"detectorModelDefinition"`
	Configuration *struct {
		Name string `json:"detectorModelName"`
	} `json:"detectorModelConfiguration"`
	About string `json:"detectorModelDescription"`
	Key   string `json:"key"`
}

type detectorState struct {
	Name  string         `json:"stateName"`
	Enter detectorEvents `json:"onEnter"`
	Input detectorEvents `json:"onInput"`
	Exit  detectorEvents `json:"onExit"`
}

type detectorEvents struct {
	Events      []detectorEvent `json:"events"`
	Transitions []detectorEvent `json:"transitionEvents"`
}

type detectorEvent struct {
	Name      string            `json:"eventName"`
	Condition string            `json:"condition"`
	Actions   []json.RawMessage `json:"actions"`
	Next      string            `json:"nextState"`
}

func (c *converter) iotEvents(source []byte, o Options) error {
	m, err := readDetector(source)
	if err != nil {
		return err
	}
	c.name, c.about = m.Name, m.About
	if m.Configuration != nil && c.name == "" {
		c.name = m.Configuration.Name
	}
	if len(m.Definition.States) == 0 {
		return errors.New("the detector model has no states")
	}
	inputs := o.Inputs
	if inputs == "" {
		inputs = "reported"
	}
	if inputs != "reported" && inputs != "telemetry" {
		return fmt.Errorf("inputs are in reported or telemetry, not in %q", inputs)
	}
	x := &detector{converter: c, inputs: inputs}
	states := yaml.MapSlice{}
	for i := range m.Definition.States {
		s := &m.Definition.States[i]
		states = append(states, yaml.MapItem{Key: s.Name, Value: x.state(s)})
	}
	behaviour := yaml.MapSlice{}
	if m.Definition.Initial != "" {
		behaviour = append(behaviour, yaml.MapItem{Key: "initial", Value: m.Definition.Initial})
	}
	c.add("behaviour", append(behaviour, yaml.MapItem{Key: "states", Value: states}))
	if m.Key != "" {
		c.note("the key %s: a detector is a twin, and the values of its inputs are its own", m.Key)
	}
	return nil
}

// readDetector reads what the API answers, what it takes, or the definition alone.
func readDetector(source []byte) (*detectorModel, error) {
	var wrapped struct {
		Model json.RawMessage `json:"detectorModel"`
	}
	if err := json.Unmarshal(source, &wrapped); err != nil {
		return nil, fmt.Errorf("the document is no JSON: %w", err)
	}
	if wrapped.Model != nil {
		source = wrapped.Model
	}
	m := &detectorModel{}
	if err := json.Unmarshal(source, m); err != nil {
		return nil, fmt.Errorf("the document is no detector model: %w", err)
	}
	if m.Definition.States == nil {
		if err := json.Unmarshal(source, &m.Definition); err != nil {
			return nil, fmt.Errorf("the document is no detector model: %w", err)
		}
	}
	return m, nil
}

// detector converts the states of one detector model.
type detector struct {
	*converter
	inputs string
	timers map[string]int // in seconds, those that the state sets when it is entered
}

func (x *detector) state(s *detectorState) yaml.MapSlice {
	x.timers = map[string]int{}
	enter := x.actions(s, "onEnter", s.Enter.Events)
	leave := x.actions(s, "onExit", s.Exit.Events)
	for _, e := range s.Input.Events {
		x.note("state %s, onInput event %s: an action while the state lasts%s", s.Name, e.Name, ofCondition(e.Condition))
	}
	to := yaml.MapSlice{}
	for _, t := range s.Input.Transitions {
		item, ok := x.transition(s, &t)
		if !ok {
			continue
		}
		if slices.ContainsFunc(to, func(m yaml.MapItem) bool { return m.Key == item.Key }) {
			x.note("state %s, transition %s: a second way to %s%s", s.Name, t.Name, t.Next, ofCondition(t.Condition))
			continue
		}
		to = append(to, item)
	}
	out := yaml.MapSlice{}
	for _, part := range []yaml.MapItem{{Key: "to", Value: to}} {
		if len(to) > 0 {
			out = append(out, part)
		}
	}
	if len(enter) > 0 {
		out = append(out, yaml.MapItem{Key: "enter", Value: enter})
	}
	if len(leave) > 0 {
		out = append(out, yaml.MapItem{Key: "leave", Value: leave})
	}
	return out
}

func ofCondition(condition string) string {
	if condition == "" {
		return ""
	}
	return ", if " + condition
}

var timeout = regexp.MustCompile(`timeout\(\s*["']([^"']+)["']\s*\)`)

func (x *detector) transition(s *detectorState, t *detectorEvent) (yaml.MapItem, bool) {
	body := yaml.MapSlice{}
	condition := t.Condition
	if m := timeout.FindStringSubmatch(condition); m != nil {
		seconds, ok := x.timers[m[1]]
		if !ok {
			x.note("state %s, transition %s: the timer %s is not set where the state is entered", s.Name, t.Name, m[1])
			return yaml.MapItem{}, false
		}
		body = append(body, yaml.MapItem{Key: "after", Value: fmt.Sprintf("%ds", seconds)})
		condition = strings.Trim(strings.TrimSpace(timeout.ReplaceAllString(condition, "true")), " ")
	}
	when, ok := x.expression(condition)
	if !ok {
		x.note("state %s, transition %s: the condition %s", s.Name, t.Name, t.Condition)
		return yaml.MapItem{}, false
	}
	if when != "" && when != "true" || len(body) == 0 {
		if when == "" {
			when = "true"
		}
		body = append(yaml.MapSlice{{Key: "when", Value: when}}, body...)
	}
	if do := x.does(s, "transition "+t.Name, []detectorEvent{*t}, false); len(do) > 0 {
		body = append(body, yaml.MapItem{Key: "do", Value: do})
	}
	if len(body) == 1 && body[0].Key == "when" {
		return yaml.MapItem{Key: t.Next, Value: body[0].Value}, true
	}
	return yaml.MapItem{Key: t.Next, Value: body}, true
}

// actions are those of onEnter and onExit; timers that are set are noted.
func (x *detector) actions(s *detectorState, where string, events []detectorEvent) []yaml.MapSlice {
	return x.does(s, where, events, where == "onEnter")
}

const actionsMax = 8

func (x *detector) does(s *detectorState, where string, events []detectorEvent, timers bool) []yaml.MapSlice {
	var list []yaml.MapSlice
	for _, e := range events {
		at := fmt.Sprintf("state %s, %s, event %s", s.Name, where, e.Name)
		if c, ok := x.expression(e.Condition); e.Condition != "" && (!ok || c != "true") && e.Next == "" {
			x.note("%s: its condition %s; its actions are done each time", at, e.Condition)
		}
		for _, raw := range e.Actions {
			var action map[string]json.RawMessage
			if json.Unmarshal(raw, &action) != nil {
				continue
			}
			for kind, body := range action {
				if kind == "setTimer" && timers && x.timer(body) {
					continue
				}
				if kind == "setTimer" || kind == "clearTimer" || kind == "resetTimer" || kind == "setVariable" {
					x.note("%s: %s %s", at, kind, body)
					continue
				}
				x.note("%s: %s; a webhook for events of kind behaviour can do it: %s", at, kind, body)
				if len(list) < actionsMax && e.Name != "" {
					list = append(list, yaml.MapSlice{{Key: "event", Value: clip(e.Name)}, {Key: "message", Value: "was " + kind + " on AWS"}})
				}
			}
		}
	}
	return list
}

// clip cuts a name to what the type of an event may have.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most]
	}
	return s
}

// timer notes a timer that is set when the state is entered.
func (x *detector) timer(body json.RawMessage) bool {
	var t struct {
		Name     string `json:"timerName"`
		Seconds  int    `json:"seconds"`
		Duration string `json:"durationExpression"`
	}
	if json.Unmarshal(body, &t) != nil {
		return false
	}
	if t.Seconds == 0 {
		if _, err := fmt.Sscanf(t.Duration, "%d", &t.Seconds); err != nil || t.Duration != fmt.Sprint(t.Seconds) {
			return false
		}
	}
	x.timers[t.Name] = t.Seconds
	return true
}

var (
	inputPath   = regexp.MustCompile(`\$input\.[A-Za-z0-9_]+\.`)
	currentOne  = regexp.MustCompile(`currentInput\(\s*["'][^"']*["']\s*\)|triggerType\(\s*["'](?i:message)["']\s*\)`)
	timerRun    = regexp.MustCompile(`triggerType\(\s*["'](?i:timer)["']\s*\)`)
	doubleTrue  = regexp.MustCompile(`\(?\btrue\b\)?\s*&&\s*|\s*&&\s*\(?\btrue\b\)?`)
	cannotBeSet = []string{"$variable.", "isUndefined", "triggerType", "timeout(", "bitand", "bitor", "evaluate(", "convert(", "toMinutes"}
)

// expression turns an expression of AWS IoT Events into one of a model; false: it cannot.
func (x *detector) expression(source string) (string, bool) {
	s := strings.TrimSpace(source)
	s = currentOne.ReplaceAllString(s, "true")
	s = timerRun.ReplaceAllString(s, "false")
	for _, name := range cannotBeSet {
		if strings.Contains(s, name) {
			return "", false
		}
	}
	s = inputPath.ReplaceAllString(s, x.inputs+".")
	for doubleTrue.MatchString(s) {
		s = doubleTrue.ReplaceAllString(s, "")
	}
	if strings.Contains(s, "$") {
		return "", false
	}
	return s, true
}
