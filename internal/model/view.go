package model

import (
	"slices"
	"strings"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// View gives all computed attributes of a twin as it is at in.Now, those over time, of
// telemetry and of the connection too, and why each has its value or has none.
// in.Computed is not read.
func (m *Model) View(in expr.Inputs) (expr.Map, map[string]Why) {
	values, why := expr.Map{}, map[string]Why{}
	in.Computed = values
	for i := range m.computed {
		a := &m.computed[i]
		r := a.evaluate(&in)
		why[a.Name] = m.why(a, &in, &r)
		if r.Status == expr.Known {
			values[a.Name] = r.Value
		}
	}
	return values, why
}

// Remembers reports whether the model keeps anything of a twin between steps, so that time
// alone can bring it on.
func (m *Model) Remembers() bool { return len(m.alarms) > 0 || m.behaviour != nil }

// ReadsBeside reports whether a step reads telemetry or the connection.
func (m *Model) ReadsBeside() bool { return len(m.beside) > 0 }

// Metrics returns the metrics of telemetry that a step reads. The caller must not change it.
func (m *Model) Metrics() []twin.MetricName { return m.metrics }

// linkBeside lists the metrics.
func (m *Model) linkBeside() {
	for _, p := range m.beside {
		if name := twin.MetricName(strings.Join(p[1:], ".")); p[0] == "telemetry" && !slices.Contains(m.metrics, name) {
			m.metrics = append(m.metrics, name)
		}
	}
}

// Empty reports whether nothing is kept.
func (m *Memory) Empty() bool { return m == nil || m.equal(&Memory{}) }

// Act is what somebody does to what is kept of a twin, such as [Model.Acknowledge].
type Act = func(m *Model, mem *Memory, now twin.Time) (*Memory, StepEvent, error)

// Attribute returns the computed attribute with a name, nil if there is none.
func (m *Model) Attribute(name string) *Attribute {
	for i := range m.computed {
		if m.computed[i].Name == name {
			return &m.computed[i]
		}
	}
	return nil
}

// Only returns a model that has of this one a computed attribute and those that it needs.
func (m *Model) Only(name string) *Model {
	wanted := map[string]bool{name: true}
	for i := len(m.computed) - 1; i >= 0; i-- { // what it needs comes before it
		if a := &m.computed[i]; wanted[a.Name] {
			for _, need := range a.needs {
				wanted[need] = true
			}
		}
	}
	only := &Model{Name: m.Name, Version: m.Version}
	for i := range m.computed {
		if wanted[m.computed[i].Name] {
			only.computed = append(only.computed, m.computed[i])
		}
	}
	return only
}

// Reads lists the metrics whose last value a computed attribute reads, itself or through
// others.
func (m *Model) Reads(name string) []twin.MetricName {
	var list []twin.MetricName
	add := func(path expr.Path) {
		if metric := twin.MetricName(strings.Join(path[1:], ".")); metric != "" && path[0] == "telemetry" && !slices.Contains(list, metric) {
			list = append(list, metric)
		}
	}
	only := m.Only(name)
	for i := range only.computed {
		for _, path := range only.computed[i].Program.Reads() {
			add(path)
		}
		for _, c := range only.computed[i].Program.Calls() {
			if c.Function == "last" {
				add(c.Path)
			}
		}
	}
	return list
}
