package model

import (
	"fmt"
	"strings"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// Alarms that nobody writes: for what a schema that warns does not allow, and for a value
// that is expected and does not come.
const (
	alarmOfSchema   = "schema."
	alarmOfInterval = "stale."
)

// staleAfter is how many expected intervals may pass without a value.
const staleAfter = 3

// watchSchemas adds the alarms of the schemas.
func (m *Model) watchSchemas() {
	for _, s := range m.schemas {
		if s.Check == CheckWarn {
			m.alarms = append(m.alarms, Alarm{Name: alarmOfSchema + s.Section, Severity: s.Severity, schema: s, line: s.line, column: s.column})
		}
		for i := range s.Properties {
			p := &s.Properties[i]
			if p.Interval != 0 {
				m.alarms = append(m.alarms, Alarm{Name: alarmOfInterval + p.Path.String(), Severity: s.Severity, stale: p, line: s.line, column: s.column})
			}
			if s.Section == "telemetry" && (s.Check == CheckWarn || p.Interval != 0) {
				m.beside = append(m.beside, p.Path)
			}
		}
	}
}

// Stale returns how long after its last value a metric is stale; 0: never.
func (m *Model) Stale(metric twin.MetricName) twin.Time {
	if s := m.Schema("telemetry"); s != nil {
		for i := range s.Properties {
			if p := &s.Properties[i]; strings.Join(p.Path[1:], ".") == string(metric) {
				return p.Interval * staleAfter
			}
		}
	}
	return 0
}

// StaleAlarm is the name of the alarm that says that a metric has had no value for too long.
func StaleAlarm(metric twin.MetricName) string {
	return alarmOfInterval + "telemetry." + string(metric)
}

// watch brings an alarm of an interval on. Of what never came nothing is expected.
func (a *Alarm) watch(mem AlarmMemory, in *expr.Inputs, out *Step) AlarmMemory {
	last := a.stale.last(in)
	end := last + a.stale.Interval*staleAfter
	switch stale := last != 0 && in.Now >= end; {
	case mem.Raised() && !stale:
		mem = a.clear(mem, "", out)
	case !mem.Raised() && stale:
		mem.Since = last
		mem = a.raise(mem, fmt.Sprintf("%s has had no value for %s, one is expected every %s", a.stale.Path, length(in.Now-last), length(a.stale.Interval)), in, out)
	}
	if last != 0 && in.Now < end {
		out.due(end)
	}
	return mem
}

// last returns the time of the last value; 0: there is none.
func (p *Property) last(in *expr.Inputs) twin.Time {
	if p.Path[0] == "telemetry" {
		return in.Sampled[strings.Join(p.Path[1:], ".")]
	}
	if !in.Shadow.Exists() {
		return 0
	}
	n := in.Shadow.Reported
	for _, name := range p.Path[1:] {
		if n == nil || !n.IsObject() {
			return 0
		}
		n = n.Member(name)
	}
	if n == nil {
		return 0
	}
	return twin.Time(n.NewestStamp()) * 1000
}
