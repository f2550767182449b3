package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// PropertiesMax bounds the attributes and metrics that a schema describes.
const PropertiesMax = 1000

// sections of a twin that can have a schema.
var sections = []string{"reported", "desired", "telemetry"} //nolint:gochecknoglobals // read only

func (m *Model) parseSchema(n ast.Node) error {
	return each(n, "schema", func(name string, key, value ast.Node) error {
		if !slices.Contains(sections, name) {
			return fault(key, "schema has no "+name, "there are "+strings.Join(sections, ", "))
		}
		s, err := parseSection(name, value)
		if err != nil {
			return err
		}
		m.schemas = append(m.schemas, s)
		return nil
	})
}

// own are the keys of a section that are not of JSON Schema.
var own = []string{"check", "severity"} //nolint:gochecknoglobals // read only

func parseSection(name string, n ast.Node) (*Schema, error) {
	at := n.GetToken().Position
	what := "schema." + name
	s := &Schema{Section: name, Check: CheckWarn, Severity: twin.SeverityWarning, line: at.Line, column: at.Column}
	var document map[string]any
	if err := yaml.NodeToValue(n, &document); err != nil {
		return nil, fault(n, what+" is no JSON Schema: "+yaml.FormatError(err, false, false), "")
	}
	err := each(n, what, func(key string, k, value ast.Node) error {
		switch key {
		case "check":
			return s.parseCheck(value, what)
		case "severity":
			return severity(&s.Severity, what+".severity")(value)
		case "$id", "$schema":
			return fault(k, what+" has "+key, "a schema here is always JSON Schema 2020-12, without a name")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, key := range own {
		delete(document, key)
	}
	if s.Source, err = json.Marshal(document); err != nil {
		return nil, fault(n, what+" is no JSON: "+err.Error(), "")
	}
	if err := s.compile(n, what); err != nil {
		return nil, err
	}
	return s, s.describe(n, document, expr.Path{name})
}

func (s *Schema) parseCheck(n ast.Node, what string) error {
	var word string
	if err := text(&word, UnitBytesMax)(n); err != nil {
		return err
	}
	// YAML 1.1 reads off as false, and so do people's tools.
	if word == "false" {
		word = "off"
	}
	i := slices.Index(checks, word)
	if i < 0 {
		return fault(n, fmt.Sprintf("%s.check: there is no %q", what, word), "there are "+strings.Join(checks, ", "))
	}
	s.Check = Check(i + 1)
	return nil
}

// closed loads nothing: a schema is whole in its model.
type closed struct{}

func (closed) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is not in the model, and nothing is loaded", url)
}

const schemaURL = "twofold:schema"

func (s *Schema) compile(n ast.Node, what string) error {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(s.Source))
	if err != nil {
		return fault(n, what+" is no JSON: "+err.Error(), "")
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(closed{})
	if err := c.AddResource(schemaURL, document); err != nil {
		return fault(n, what+": "+err.Error(), "")
	}
	if s.compiled, err = c.Compile(schemaURL); err == nil {
		return nil
	}
	var mismatch *jsonschema.SchemaValidationError
	var inner *jsonschema.ValidationError
	if errors.As(err, &mismatch) && errors.As(mismatch.Err, &inner) {
		leaf := inner
		for len(leaf.Causes) > 0 {
			leaf = leaf.Causes[0]
		}
		at := find(n, leaf.InstanceLocation)
		return fault(at, strings.Join(append([]string{what}, leaf.InstanceLocation...), ".")+" is no JSON Schema: "+leaf.ErrorKind.LocalizedString(english()), "")
	}
	return fault(n, what+": "+strings.ReplaceAll(err.Error(), schemaURL, ""), "")
}

// find returns the node at a place, or the last on the way to it.
func find(n ast.Node, path []string) ast.Node {
	for _, name := range path {
		next := ast.Node(nil)
		if list, ok := n.(*ast.SequenceNode); ok {
			if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(list.Values) {
				next = list.Values[i]
			}
		}
		_ = each(n, "", func(key string, _, value ast.Node) error {
			if key == name {
				next = value
			}
			return nil
		})
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// describe lists the properties. Those of an object are properties too, but not in
// telemetry, where a metric is one name.
func (s *Schema) describe(n ast.Node, document map[string]any, path expr.Path) error {
	all, _ := document["properties"].(map[string]any)
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		node := find(n, []string{"properties", name})
		if len(s.Properties) == PropertiesMax {
			return fault(node, fmt.Sprintf("schema.%s describes more than %d properties", s.Section, PropertiesMax), "")
		}
		of, _ := all[name].(map[string]any)
		parts := []string{name}
		if s.Section == "telemetry" {
			if err := twin.MetricName(name).Check(); err != nil {
				return fault(node, "schema.telemetry.properties: "+twin.ErrorMessage(err), "")
			}
			parts = strings.Split(name, ".")
		}
		p := Property{Path: append(slices.Clone(path), parts...), Min: number(of["minimum"]), Max: number(of["maximum"])}
		p.Type, _ = of["type"].(string)
		p.Title, _ = of["title"].(string)
		if enum, ok := of["enum"].([]any); ok {
			for _, v := range enum {
				b, _ := json.Marshal(v) //nolint:errchkjson // it was JSON
				p.Enum = append(p.Enum, string(b))
			}
		}
		if err := s.annotate(node, &p); err != nil {
			return err
		}
		s.Properties = append(s.Properties, p)
		if s.Section != "telemetry" {
			if err := s.describe(node, of, p.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

// annotate reads unit and interval.
func (s *Schema) annotate(n ast.Node, p *Property) error {
	if n.Type() != ast.MappingType && n.Type() != ast.MappingValueType {
		return nil // true or false
	}
	what := "schema." + p.Path.String()
	return each(n, what, func(key string, k, value ast.Node) error {
		switch key {
		case "unit":
			return text(&p.Unit, UnitBytesMax)(value)
		case "interval":
			if s.Section == "desired" {
				return fault(k, what+" has an interval, but nothing is expected of desired", "")
			}
			if err := span(&p.Interval, what+".interval")(value); err != nil {
				return err
			}
			if p.Interval == 0 {
				return fault(value, what+".interval is no time", "write it as 90s, 5m or 7d")
			}
		}
		return nil
	})
}

func number(v any) *float64 {
	var f float64
	switch v := v.(type) {
	case float64:
		f = v
	case uint64:
		f = float64(v)
	case int64:
		f = float64(v)
	case int:
		f = float64(v)
	default:
		return nil
	}
	return &f
}
