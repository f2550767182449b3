package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	textmessage "golang.org/x/text/message"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// Check says what happens to what a schema does not allow.
type Check uint8

// The checks.
const (
	CheckOff    Check = iota + 1 // nothing: the schema only describes
	CheckWarn                    // an alarm
	CheckReject                  // it is refused, and nothing of it is stored
)

var checks = []string{"off", "warn", "reject"} //nolint:gochecknoglobals // read only

// String returns the check as it is written in a model.
func (c Check) String() string { return checks[c-1] }

// Schema says what a section of a twin may hold, as JSON Schema 2020-12 with a unit and an
// expected interval beside.
type Schema struct {
	Section    string // reported, desired or telemetry
	Check      Check
	Severity   twin.Severity // of its alarms
	Source     json.RawMessage
	Properties []Property
	compiled   *jsonschema.Schema
	line       int
	column     int
}

// Property is what a schema says of one attribute or metric.
type Property struct {
	Path     expr.Path // with the section
	Type     string    // number, integer, boolean, string, object, array; empty: any
	Title    string
	Unit     string
	Min, Max *float64
	Enum     []string  // as JSON
	Interval twin.Time // in which a value is expected; 0: none is
}

// Schemas returns what the model says of its sections. The caller must not change it.
func (m *Model) Schemas() []*Schema { return m.schemas }

// Schema returns that of a section, nil if there is none.
func (m *Model) Schema(section string) *Schema {
	for _, s := range m.schemas {
		if s.Section == section {
			return s
		}
	}
	return nil
}

// faultsMax is how much of what is wrong is told.
const faultsMax = 3

// english writes what is wrong; the printers of the library are not safe to share.
func english() *textmessage.Printer { return textmessage.NewPrinter(language.English) }

// faults says what of a value a schema does not allow; empty: nothing.
func (s *Schema) faults(v any) string {
	err := s.compiled.Validate(v)
	if err == nil {
		return ""
	}
	var fault *jsonschema.ValidationError
	if !errors.As(err, &fault) {
		return err.Error()
	}
	var list []string
	collect(fault, s.Section, &list)
	slices.Sort(list)
	list = slices.Compact(list)
	if n := len(list); n > faultsMax {
		list = append(list[:faultsMax], fmt.Sprintf("and %d more", n-faultsMax))
	}
	return strings.Join(list, "; ")
}

// collect lists the innermost faults.
func collect(fault *jsonschema.ValidationError, section string, list *[]string) {
	if len(fault.Causes) == 0 {
		path := strings.Join(append([]string{section}, fault.InstanceLocation...), ".")
		*list = append(*list, shortenTo(path+": "+reason(fault.ErrorKind), MessageBytesMax/2))
		return
	}
	for _, cause := range fault.Causes {
		collect(cause, section, list)
	}
}

// grouped is a number with commas between its thousands.
var grouped = regexp.MustCompile(`\b\d{1,3}(,\d{3})+\b`)

// reason says what a fault is, with numbers as they are written in JSON.
func reason(k jsonschema.ErrorKind) string {
	text := k.LocalizedString(english())
	switch k.(type) {
	case *kind.Minimum, *kind.Maximum, *kind.ExclusiveMinimum, *kind.ExclusiveMaximum, *kind.MultipleOf:
		return grouped.ReplaceAllStringFunc(text, func(n string) string { return strings.ReplaceAll(n, ",", "") })
	}
	return text
}

// section returns the part of a twin that a schema is about; false: it is not there.
func (s *Schema) section(in *expr.Inputs) (any, bool) {
	switch s.Section {
	case "telemetry":
		all := map[string]any{}
		for i := range s.Properties {
			name := strings.Join(s.Properties[i].Path[1:], ".")
			if in.Telemetry == nil {
				break
			}
			if v, ok := in.Telemetry.Value(name); ok {
				all[name] = plainValue(v)
			}
		}
		return all, len(all) > 0
	case "desired":
		return plainSection(in.Shadow, func(s *twin.Shadow) *twin.Node { return s.Desired })
	}
	return plainSection(in.Shadow, func(s *twin.Shadow) *twin.Node { return s.Reported })
}

func plainSection(s *twin.Shadow, of func(*twin.Shadow) *twin.Node) (any, bool) {
	if !s.Exists() || of(s) == nil {
		return nil, false
	}
	return plain(of(s)), true
}

// plain is a value as the library of schemas knows it.
func plain(n *twin.Node) any {
	switch {
	case n.IsObject():
		m := make(map[string]any, n.Len())
		for i := range n.Len() {
			m[n.At(i).Name()] = plain(n.At(i))
		}
		return m
	case n.IsArray():
		list := make([]any, n.Len())
		for i := range list {
			list[i] = plain(n.At(i))
		}
		return list
	}
	if v, ok := n.Value(); ok {
		return plainValue(v)
	}
	if text := string(n.AppendJSON(nil)); text != "null" {
		return json.Number(text) // beyond float64
	}
	return nil
}

func plainValue(v twin.Value) any {
	switch v.Type {
	case twin.ValueBool:
		return v.Number != 0
	case twin.ValueText:
		return v.Text
	}
	return v.Number
}

// Admit refuses a state that a section which a request touches may not have: the error is
// of kind KindInvalid and says what is wrong.
func (m *Model) Admit(s *twin.Shadow, req *twin.Request) error {
	for _, schema := range m.schemas {
		if schema.Check != CheckReject || schema.Section == "telemetry" {
			continue
		}
		touched := false
		if !req.Touches(func(section, _ string) { touched = touched || section == schema.Section }) {
			touched = true
		}
		if !touched {
			continue
		}
		if v, ok := schema.section(&expr.Inputs{Shadow: s}); ok {
			if faults := schema.faults(v); faults != "" {
				return m.refusal(faults)
			}
		}
	}
	return nil
}

// AdmitRow is [Model.Admit] for telemetry.
func (m *Model) AdmitRow(row *twin.Row) error {
	schema := m.Schema("telemetry")
	if schema == nil || schema.Check != CheckReject {
		return nil
	}
	all := make(map[string]any, len(row.Values))
	for i := range row.Values {
		all[string(row.Values[i].Metric)] = plainValue(row.Values[i].Value)
	}
	if faults := schema.faults(all); faults != "" {
		return m.refusal(faults)
	}
	return nil
}

// Rejects returns what of the state of a twin the model would refuse; empty: nothing.
func (m *Model) Rejects(in *expr.Inputs) string {
	for _, schema := range m.schemas {
		if schema.Check != CheckReject {
			continue
		}
		if v, ok := schema.section(in); ok {
			if faults := schema.faults(v); faults != "" {
				return faults
			}
		}
	}
	return ""
}

// WouldRefuse says that the schema is not put into force, as it would refuse what twins have.
func (m *Model) WouldRefuse(twins int, first string) error {
	e := &Error{Line: 1, Column: 1, Hint: "check: warn tells of them by an alarm"}
	for _, s := range m.schemas {
		if s.Check == CheckReject {
			e.Line, e.Column = s.line, s.column
			break
		}
	}
	e.Reason = fmt.Sprintf("the schema would refuse what %d twins have now, as of %s", twins, first)
	if twins == 1 {
		e.Reason = "the schema would refuse what a twin has now: " + first
	}
	return e
}

func (m *Model) refusal(faults string) error {
	return &twin.Error{Kind: twin.KindInvalid, Message: fmt.Sprintf("the schema of model %s does not allow %s", m.Name, faults)}
}
