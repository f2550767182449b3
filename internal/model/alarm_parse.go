package model

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

func (m *Model) parseAlarms(n ast.Node, env *expr.Env) error {
	return each(n, "alarms", func(name string, key, value ast.Node) error {
		if len(m.alarms) == AlarmsMax {
			return fault(key, fmt.Sprintf("more than %d alarms", AlarmsMax), "")
		}
		if err := twin.MetricName(name).Check(); err != nil {
			return fault(key, twin.ErrorMessage(err), "")
		}
		if strings.HasPrefix(name, alarmOfSchema) || strings.HasPrefix(name, alarmOfInterval) {
			return fault(key, "alarms."+name+" has a name of an alarm that a schema makes", "choose another name")
		}
		at := key.GetToken().Position
		a := Alarm{Name: name, Severity: twin.SeverityWarning, line: at.Line, column: at.Column}
		what := "alarms." + name
		err := fields(value, what, map[string]func(ast.Node) error{
			"when":      condition(&a.When, what+".when", env),
			"clearWhen": condition(&a.ClearWhen, what+".clearWhen", env),
			"for":       span(&a.For, what+".for"),
			"severity":  severity(&a.Severity, what+".severity"),
			"message":   func(n ast.Node) (err error) { a.Message, a.parts, err = message(n, what+".message", env); return err },
		})
		if err != nil {
			return err
		}
		if a.When == nil {
			return fault(key, what+" needs a condition", "add when: with an expression")
		}
		m.alarms = append(m.alarms, a)
		return nil
	})
}

// condition reads an expression that is true or false of the present.
func condition(into **expr.Program, what string, env *expr.Env) func(ast.Node) error {
	return func(n ast.Node) error {
		p, err := present(n, what, env)
		if err != nil {
			return err
		}
		if p.Type() != expr.TypeBool && p.Type() != expr.TypeAny {
			return fault(n, fmt.Sprintf("%s is a %s, not a boolean", what, p.Type()), "")
		}
		*into = p
		return nil
	}
}

// present reads an expression that changes only when something that it reads does.
func present(n ast.Node, what string, env *expr.Env) (*expr.Program, error) {
	var source string
	if err := text(&source, expr.SourceBytesMax)(n); err != nil {
		return nil, err
	}
	return compilePresent(source, n, what, env)
}

func compilePresent(source string, n ast.Node, what string, env *expr.Env) (*expr.Program, error) {
	p, err := expr.Compile(source, env)
	var e *expr.Error
	if errors.As(err, &e) {
		return nil, fault(n, fmt.Sprintf("%s: at %d:%d of the expression: %s", what, e.Line, e.Column, e.Reason), e.Hint)
	} else if err != nil {
		return nil, err
	}
	if p.OnNow() {
		return nil, fault(n, what+" reads now or is over time, which is not there yet", "")
	}
	for _, path := range p.Reads() {
		if path[0] == "lastSeen" || path[0] == "telemetry" && len(path) == 1 {
			return nil, fault(n, fmt.Sprintf("%s reads %s, which no condition can", what, path), "it can read reported, desired, delta, tags, computed, connected and metrics such as telemetry.temperature")
		}
		if path[0] == "computed" && len(path) == 1 {
			return nil, fault(n, what+" reads computed as a whole", "name the attribute")
		}
	}
	return p, nil
}

// span reads a time such as 90s, 5m or 7d.
func span(into *twin.Time, what string) func(ast.Node) error {
	return func(n ast.Node) error {
		var s string
		if err := text(&s, VersionBytesMax)(n); err != nil {
			return err
		}
		source := s
		if days, ok := strings.CutSuffix(s, "d"); ok {
			if count, err := strconv.ParseUint(days, 10, 16); err == nil {
				source = strconv.FormatUint(24*count, 10) + "h"
			}
		}
		d, err := time.ParseDuration(source)
		switch {
		case err != nil:
			return fault(n, fmt.Sprintf("%s: %q is no time", what, s), "write it as 90s, 5m or 7d")
		case d < 0 || d > HoldMax || d%time.Millisecond != 0:
			return fault(n, fmt.Sprintf("%s: %s is not between 0 and 366d in whole milliseconds", what, s), "")
		}
		*into = twin.Time(d / time.Millisecond)
		return nil
	}
}

func severity(into *twin.Severity, what string) func(ast.Node) error {
	return func(n ast.Node) error {
		var s string
		if err := text(&s, VersionBytesMax)(n); err != nil {
			return err
		}
		v, ok := twin.ParseSeverity(s)
		if !ok || v == twin.SeverityNone {
			return fault(n, fmt.Sprintf("%s: there is no severity %q", what, s), "there are info, warning, error, critical")
		}
		*into = v
		return nil
	}
}

// message reads a text with expressions in braces.
func message(n ast.Node, what string, env *expr.Env) (source string, parts []part, err error) {
	if err := text(&source, MessageBytesMax)(n); err != nil {
		return "", nil, err
	}
	rest := source
	for rest != "" {
		before, after, open := strings.Cut(rest, "{")
		p := part{text: before}
		if open {
			value, tail, closed := strings.Cut(after, "}")
			if !closed {
				return "", nil, fault(n, what+" has a { without a }", "write {reported.temperature}")
			}
			if p.value, err = compilePresent(value, n, what, env); err != nil {
				return "", nil, err
			}
			after = tail
		}
		if parts, rest = append(parts, p), after; len(parts) > PlaceholdersMax+1 {
			return "", nil, fault(n, fmt.Sprintf("%s has more than %d values", what, PlaceholdersMax), "")
		}
	}
	return source, parts, nil
}
