package model

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// Parse reads a model in YAML, or in JSON, which is YAML too, and checks it as a
// whole. The error is an [*Error].
func Parse(source []byte, env *expr.Env) (*Model, error) {
	if len(source) > SourceBytesMax {
		return nil, &Error{Line: 1, Column: 1, Reason: fmt.Sprintf("the model has %d bytes, the limit is %d", len(source), SourceBytesMax)}
	}
	file, err := parser.ParseBytes(source, 0)
	if err != nil {
		var se *yaml.SyntaxError
		if errors.As(err, &se) && se.Token != nil {
			return nil, &Error{Line: se.Token.Position.Line, Column: se.Token.Position.Column, Reason: se.Message}
		}
		return nil, &Error{Line: 1, Column: 1, Reason: err.Error()}
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, &Error{Line: 1, Column: 1, Reason: "one YAML document is expected"}
	}
	m := &Model{}
	body := file.Docs[0].Body
	err = fields(body, "a model", map[string]func(ast.Node) error{
		"name":        text(&m.Name, twin.ModelBytesMax),
		"version":     text(&m.Version, VersionBytesMax),
		"computed":    func(n ast.Node) error { return m.parseComputed(n, env) },
		"alarms":      func(n ast.Node) error { return m.parseAlarms(n, env) },
		"schema":      m.parseSchema,
		"annotations": func(n ast.Node) error { return m.parseAnnotations(n, env) },
		"behaviour":   func(n ast.Node) error { return m.parseBehaviour(n, env) },
		"monitors":    m.parseMonitors,
		"failure":     m.parseFailure,
		"dynamics":    m.parseDynamics,
	})
	if err != nil {
		return nil, err
	}
	if m.Name == "" {
		return nil, fault(body, "a model needs a name", "")
	}
	attributes := twin.Attributes{Model: m.Name}
	if err := attributes.Check(); err != nil {
		return nil, fault(body, twin.ErrorMessage(err), "")
	}
	if err := m.link(); err != nil {
		return nil, err
	}
	if err := m.linkDynamics(); err != nil {
		return nil, err
	}
	m.watchSchemas()
	if err := m.linkPresent(); err != nil {
		return nil, err
	}
	m.linkBeside()
	return m, nil
}

func (m *Model) parseComputed(n ast.Node, env *expr.Env) error {
	return each(n, "computed", func(name string, key, value ast.Node) error {
		if len(m.computed) == ComputedMax {
			return fault(key, fmt.Sprintf("more than %d computed attributes", ComputedMax), "")
		}
		if err := twin.MetricName(name).Check(); err != nil {
			return fault(key, twin.ErrorMessage(err), "")
		}
		at := key.GetToken().Position
		a := Attribute{Name: name, Type: expr.TypeAny, line: at.Line, column: at.Column}
		a.path = append(expr.Path{"computed"}, strings.Split(name, ".")...)
		var source, kind string
		from := value
		if value.Type() == ast.MappingType || value.Type() == ast.MappingValueType {
			err := fields(value, "computed."+name, map[string]func(ast.Node) error{
				"expression": func(n ast.Node) error { from = n; return text(&source, expr.SourceBytesMax)(n) },
				"unit":       text(&a.Unit, UnitBytesMax),
				"type":       text(&kind, UnitBytesMax),
			})
			if err != nil {
				return err
			}
		} else if err := text(&source, expr.SourceBytesMax)(value); err != nil {
			return err
		}
		if err := a.compile(source, kind, from, env); err != nil {
			return err
		}
		m.computed = append(m.computed, a)
		return nil
	})
}

func (a *Attribute) compile(source, kind string, from ast.Node, env *expr.Env) error {
	p, err := expr.Compile(source, env)
	var e *expr.Error
	if errors.As(err, &e) {
		return fault(from, fmt.Sprintf("computed.%s: at %d:%d of the expression: %s", a.Name, e.Line, e.Column, e.Reason), e.Hint)
	} else if err != nil {
		return err
	}
	a.Program = p
	scalars := []string{string(expr.TypeNumber), string(expr.TypeBool), string(expr.TypeText)}
	is := p.Type()
	switch is {
	case expr.TypeDuration:
		is = expr.TypeNumber // in seconds
	case expr.TypeTime:
		is = expr.TypeText
	case expr.TypeList, expr.TypeObject:
		return fault(from, fmt.Sprintf("computed.%s is a %s; it can be a %s", a.Name, is, strings.Join(scalars, ", ")), "")
	}
	a.Type = is
	if kind == "" {
		return nil
	}
	if !slices.Contains(scalars, kind) {
		return fault(from, fmt.Sprintf("computed.%s: there is no type %q; there are %s", a.Name, kind, strings.Join(scalars, ", ")), "")
	}
	if is != expr.TypeAny && string(is) != kind {
		return fault(from, fmt.Sprintf("computed.%s is a %s, not a %s", a.Name, is, kind), "")
	}
	a.Type = expr.Type(kind)
	return nil
}

// fields reads a mapping with known keys.
func fields(n ast.Node, what string, known map[string]func(ast.Node) error) error {
	return each(n, what, func(name string, key, value ast.Node) error {
		read := known[name]
		if read == nil {
			names := make([]string, 0, len(known))
			for k := range known {
				names = append(names, k)
			}
			slices.Sort(names)
			hint := "there are " + strings.Join(names, ", ")
			if near := expr.Nearest(name, names); near != "" {
				hint = "did you mean " + near + "?"
			}
			return fault(key, fmt.Sprintf("%s has no %s", what, name), hint)
		}
		return read(value)
	})
}

// each calls f for each entry of a mapping. The parser refuses a key that is there
// twice.
func each(n ast.Node, what string, f func(name string, key, value ast.Node) error) error {
	var entries []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	default:
		return fault(n, what+" is a mapping of names to values", "")
	}
	for _, e := range entries {
		if err := f(e.Key.GetToken().Value, e.Key, e.Value); err != nil {
			return err
		}
	}
	return nil
}

func text(into *string, bytesMax int) func(ast.Node) error {
	return func(n ast.Node) error {
		switch n := n.(type) {
		case *ast.StringNode:
			*into = n.Value
		case *ast.LiteralNode:
			*into = n.Value.Value
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
			*into = n.GetToken().Value
		default:
			return fault(n, "a text is expected", "")
		}
		if len(*into) > bytesMax {
			return fault(n, fmt.Sprintf("the text has %d bytes, the limit is %d", len(*into), bytesMax), "")
		}
		return nil
	}
}

func fault(n ast.Node, reason, hint string) *Error {
	at := n.GetToken().Position
	return &Error{Line: at.Line, Column: at.Column, Reason: reason, Hint: hint}
}
