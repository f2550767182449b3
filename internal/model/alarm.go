package model

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of alarms.
const (
	AlarmsMax       = 50
	MessageBytesMax = 256
	PlaceholdersMax = 8
	HoldMax         = 366 * 24 * time.Hour // the longest "for"
	AckBytesMax     = 128                  // of the name of who acknowledges

	placeholderBytesMax = 64 // of a value in a message
)

// The types of the events of an alarm.
const (
	AlarmRaised       = "raised"
	AlarmCleared      = "cleared"
	AlarmAcknowledged = "acknowledged"
	AlarmMuted        = "muted"
	AlarmUnmuted      = "unmuted"
)

// Alarm is a condition that someone should know of. It is raised when its condition has
// held for as long as For says. It is cleared when the condition is false, or when
// ClearWhen is true and the condition is not.
type Alarm struct {
	Name      string
	When      *expr.Program
	ClearWhen *expr.Program // nil: the condition is false
	For       twin.Time     // a span
	Severity  twin.Severity
	Message   string
	parts     []part // of Message
	schema    *Schema
	stale     *Property
	line      int
	column    int
}

// Source says where an alarm comes from that the model does not name: "schema" or
// "interval"; empty for those that it does.
func (a *Alarm) Source() string {
	switch {
	case a.schema != nil:
		return "schema"
	case a.stale != nil:
		return "interval"
	}
	return ""
}

// Alarms returns the alarms in the order of the model. The caller must not change it.
func (m *Model) Alarms() []Alarm { return m.alarms }

// part is text of a message, and a value that follows it unless it is nil.
type part struct {
	text  string
	value *expr.Program
}

// programs are the expressions that decide the alarm.
func (a *Alarm) programs() []*expr.Program {
	switch {
	case a.When == nil:
		return nil
	case a.ClearWhen == nil:
		return []*expr.Program{a.When}
	}
	return []*expr.Program{a.When, a.ClearWhen}
}

// affected reports whether the alarm reads what has changed.
func (a *Alarm) affected(moved []expr.Path) bool {
	if a.schema != nil {
		return slices.ContainsFunc(moved, func(p expr.Path) bool { return p[0] == a.schema.Section })
	}
	return anyAffected(a.programs(), moved)
}

// step brings one alarm on. fresh says that its inputs may have changed.
func (a *Alarm) step(mem AlarmMemory, in *expr.Inputs, fresh bool, out *Step) AlarmMemory {
	if mem.MutedUntil != 0 && in.Now >= mem.MutedUntil {
		mem.MutedUntil = 0
		out.Events = append(out.Events, a.event(AlarmUnmuted, "", map[string]any{"raised": mem.Raised()}))
	}
	if a.stale != nil {
		mem = a.watch(mem, in, out)
	}
	// What held until now held for the whole time, also if the timer comes late.
	if mem.State == AlarmPending && in.Now >= mem.Since+a.For {
		mem = a.raise(mem, a.text(in), in, out)
	}
	if fresh && a.stale == nil {
		mem = a.decide(mem, in, out)
	}
	if mem.State == AlarmPending {
		out.due(mem.Since + a.For)
	}
	if mem.MutedUntil != 0 {
		out.due(mem.MutedUntil)
	}
	return mem
}

// decide asks the conditions. One that is absent or fails neither raises nor clears, but
// it ends the time for which the condition has held.
func (a *Alarm) decide(mem AlarmMemory, in *expr.Inputs, out *Step) AlarmMemory {
	when, message := a.condition(in)
	switch {
	case mem.Raised():
		clearing := when.Status == expr.Known && !when.Holds()
		if a.ClearWhen != nil && !when.Holds() {
			r := a.ClearWhen.Evaluate(in)
			clearing = r.Holds()
		}
		if clearing {
			mem = a.clear(mem, message(), out)
		}
	case !when.Holds():
		mem.State, mem.Since = AlarmIdle, 0
	case mem.State == AlarmIdle:
		mem.State, mem.Since = AlarmPending, in.Now
		if a.For == 0 {
			mem = a.raise(mem, message(), in, out)
		}
	}
	return mem
}

// condition says whether the alarm is to be raised, and what it tells.
func (a *Alarm) condition(in *expr.Inputs) (when expr.Result, text func() string) {
	if a.schema == nil {
		return a.When.Evaluate(in), func() string { return a.text(in) }
	}
	faults := ""
	if v, ok := a.schema.section(in); ok {
		faults = a.schema.faults(v)
	}
	return expr.Result{Status: expr.Known, Value: twin.BoolValue(faults != "")}, func() string { return faults }
}

func (a *Alarm) clear(mem AlarmMemory, message string, out *Step) AlarmMemory {
	out.Events = append(out.Events, a.event(AlarmCleared, message, mem.data("raised")))
	return AlarmMemory{Name: a.Name, MutedUntil: mem.MutedUntil}
}

func (a *Alarm) raise(mem AlarmMemory, message string, in *expr.Inputs, out *Step) AlarmMemory {
	out.Events = append(out.Events, a.event(AlarmRaised, message, mem.data("since")))
	mem.State, mem.Since = AlarmActive, in.Now
	return mem
}

func (a *Alarm) event(state, message string, data map[string]any) StepEvent {
	e := StepEvent{Kind: twin.EventAlarm, Type: state, Message: message, Correlation: a.Name, Data: encode(data)}
	if e.Severity = twin.SeverityInfo; state == AlarmRaised {
		e.Severity = a.Severity
	}
	return e
}

// encode never fails: the values are numbers, texts and booleans.
func encode(data map[string]any) []byte {
	b, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	return b
}

// text is the message with the values of now.
func (a *Alarm) text(in *expr.Inputs) string { return fill(a.parts, in) }

func fill(parts []part, in *expr.Inputs) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.text)
		if p.value == nil {
			continue
		}
		r := p.value.Evaluate(in)
		switch {
		case r.Status != expr.Known:
			b.WriteString("(absent)")
		case r.Value.Type == twin.ValueText:
			b.WriteString(shorten(r.Value.Text))
		case r.Value.Type == twin.ValueBool:
			b.WriteString(strconv.FormatBool(r.Value.Number != 0))
		default:
			b.WriteString(strconv.FormatFloat(r.Value.Number, 'g', 6, 64))
		}
	}
	return b.String()
}

// shorten cuts a value to what a message has room for.
func shorten(s string) string { return shortenTo(s, placeholderBytesMax) }

func shortenTo(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// valuesOf are the expressions of a message.
func valuesOf(parts []part) []*expr.Program {
	var list []*expr.Program
	for _, p := range parts {
		if p.value != nil {
			list = append(list, p.value)
		}
	}
	return list
}

// alarm returns the alarm with a name, nil if there is none.
func (m *Model) alarm(name string) *Alarm {
	i := slices.IndexFunc(m.alarms, func(a Alarm) bool { return a.Name == name })
	if i < 0 {
		return nil
	}
	return &m.alarms[i]
}
