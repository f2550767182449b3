package model

import (
	"slices"
	"strings"

	"github.com/twofold-iot/twofold/internal/expr"
)

// linkPresent checks what the expressions of alarms and behaviour read: what is known in a
// step, of computed attributes those of the state.
func (m *Model) linkPresent() error {
	for i := range m.alarms {
		a := &m.alarms[i]
		for _, p := range append(a.programs(), valuesOf(a.parts)...) {
			if err := m.linkProgram(p, "alarms."+a.Name, a.line, a.column); err != nil {
				return err
			}
		}
	}
	if b := m.behaviour; b != nil {
		for _, p := range slices.Concat(b.decides, b.told()) {
			if err := m.linkProgram(p, "behaviour", b.line, b.column); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Model) linkProgram(p *expr.Program, what string, line, column int) error {
	for _, path := range p.Reads() {
		if beside(path) {
			m.beside = append(m.beside, path)
		}
		if path[0] != "computed" {
			continue
		}
		name := strings.Join(path[1:], ".")
		ofState, known := m.ofState(name)
		if ofState {
			continue
		}
		e := &Error{Line: line, Column: column, Reason: what + " reads computed." + name + ", which the model does not have"}
		if known {
			e.Reason = what + " reads computed." + name + ", which shadow and tags alone do not decide"
		} else if near := expr.Nearest(name, m.names()); near != "" {
			e.Hint = "did you mean computed." + near + "?"
		}
		return e
	}
	return nil
}

// ofState reports whether the model has a computed attribute, and it is one of the state.
func (m *Model) ofState(name string) (ofState, known bool) {
	for i := range m.computed {
		if m.computed[i].Name == name {
			return m.computed[i].OfState, true
		}
	}
	return false, false
}

func (m *Model) names() []string {
	var names []string
	for i := range m.computed {
		names = append(names, m.computed[i].Name)
	}
	return names
}
