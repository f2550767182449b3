package model

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

func (m *Model) parseBehaviour(n ast.Node, env *expr.Env) error {
	at := n.GetToken().Position
	b := &Behaviour{Severity: twin.SeverityWarning, line: at.Line, column: at.Column}
	err := fields(n, "behaviour", map[string]func(ast.Node) error{
		"attribute": func(n ast.Node) (err error) { b.Attribute, err = present(n, "behaviour.attribute", env); return err },
		"initial":   text(&b.Initial, StateBytesMax),
		"severity":  severity(&b.Severity, "behaviour.severity"),
		"states": func(n ast.Node) error {
			return each(n, "behaviour.states", func(name string, key, value ast.Node) error { return b.parseState(name, key, value, env) })
		},
	})
	if err != nil {
		return err
	}
	if len(b.States) == 0 {
		return fault(n, "behaviour needs states", "")
	}
	if err := b.check(); err != nil {
		return err
	}
	b.list()
	m.behaviour = b
	return b.checkForm()
}

func (b *Behaviour) parseState(name string, key, value ast.Node, env *expr.Env) error {
	what := "behaviour.states." + name
	switch {
	case len(b.States) == StatesMax:
		return fault(key, fmt.Sprintf("more than %d states", StatesMax), "")
	case name == "" || len(name) > StateBytesMax:
		return fault(key, fmt.Sprintf("the name of a state has 1 to %d bytes", StateBytesMax), "")
	}
	at := key.GetToken().Position
	s := State{Name: name, line: at.Line, column: at.Column}
	if value.Type() != ast.NullType {
		err := fields(value, what, map[string]func(ast.Node) error{
			"min":   span(&s.Min, what+".min"),
			"max":   span(&s.Max, what+".max"),
			"to":    func(n ast.Node) error { return s.parseWays(n, what+".to", env) },
			"enter": actions(&s.Enter, what+".enter", env),
			"leave": actions(&s.Leave, what+".leave", env),
		})
		if err != nil {
			return err
		}
	}
	if s.Max != 0 && s.Max <= s.Min {
		return fault(key, what+": max is not more than min", "")
	}
	b.States = append(b.States, s)
	return nil
}

// parseWays reads a list of states, or a mapping of states to conditions.
func (s *State) parseWays(n ast.Node, what string, env *expr.Env) error {
	if list, ok := n.(*ast.SequenceNode); ok {
		for _, v := range list.Values {
			var t Transition
			if err := text(&t.To, StateBytesMax)(v); err != nil {
				return err
			}
			s.To = append(s.To, t)
		}
	} else {
		err := each(n, what, func(name string, key, value ast.Node) error {
			t := Transition{To: name}
			at := what + "." + name
			switch value.Type() {
			case ast.NullType:
			case ast.MappingType, ast.MappingValueType:
				err := fields(value, at, map[string]func(ast.Node) error{
					"when": condition(&t.When, at+".when", env), "after": span(&t.After, at+".after"), "do": actions(&t.Do, at+".do", env),
				})
				if err != nil {
					return err
				}
			default:
				if err := condition(&t.When, at, env)(value); err != nil {
					return err
				}
			}
			s.To = append(s.To, t)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if len(s.To) > TransitionsMax {
		return fault(n, fmt.Sprintf("more than %d transitions", TransitionsMax), "")
	}
	return nil
}

// actions reads a list of events.
func actions(into *[]Action, what string, env *expr.Env) func(ast.Node) error {
	return func(n ast.Node) error {
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			return fault(n, what+" is a list of events", "write [{event: started, message: …}]")
		}
		if len(list.Values) > ActionsMax {
			return fault(n, fmt.Sprintf("%s has more than %d events", what, ActionsMax), "")
		}
		for i, v := range list.Values {
			a := Action{Severity: twin.SeverityInfo}
			at := fmt.Sprintf("%s[%d]", what, i)
			err := fields(v, at, map[string]func(ast.Node) error{
				"event":    text(&a.Type, StateBytesMax),
				"command":  func(n ast.Node) error { return a.parseCommand(n, at+".command") },
				"severity": severity(&a.Severity, at+".severity"),
				"message":  func(n ast.Node) (err error) { a.Message, a.parts, err = message(n, at+".message", env); return err },
			})
			if err != nil {
				return err
			}
			switch {
			case a.Command != nil && a.Type != "":
				return fault(v, at+" is an event and a command", "write two actions")
			case a.Command != nil:
				a.Type = BehaviourCommand
			}
			switch a.Type {
			case "":
				return fault(v, at+" has no type", "write event: started, or command: {name: flush}")
			case BehaviourCommand:
				if a.Command == nil {
					return fault(v, at+": command is what the behaviour itself tells", "write command: {name: flush}")
				}
			case BehaviourEntered, BehaviourIllegal, BehaviourEarly, BehaviourOverrun, BehaviourUnstable:
				return fault(v, fmt.Sprintf("%s: %s is what the behaviour itself tells", at, a.Type), "choose another type")
			}
			*into = append(*into, a)
		}
		return nil
	}
}

// checkForm refuses what goes only with the other of the two forms.
func (b *Behaviour) checkForm() error {
	for i := range b.States {
		s := &b.States[i]
		for _, t := range s.To {
			reason, hint := "", ""
			switch {
			case b.Attribute != nil && t.After != 0:
				reason, hint = "has after, but the attribute says when the state changes", "leave it out, or leave out behaviour.attribute"
			case b.Attribute == nil && t.When == nil && t.After == 0:
				reason, hint = "has neither a condition nor a time", "say when or after, or name the attribute that has the state in behaviour.attribute"
			default:
				continue
			}
			return &Error{Line: s.line, Column: s.column, Reason: fmt.Sprintf("behaviour.states.%s.to.%s %s", s.Name, t.To, reason), Hint: hint}
		}
	}
	return nil
}

// parseCommand reads the name of a command, or a mapping of all that it is.
func (a *Action) parseCommand(n ast.Node, what string) error {
	c := CommandAction{}
	var expires twin.Time
	if n.Type() == ast.MappingType || n.Type() == ast.MappingValueType {
		err := fields(n, what, map[string]func(ast.Node) error{
			"name": text(&c.Name, StateBytesMax),
			"parameters": func(n ast.Node) error {
				var v map[string]any
				if err := yaml.NodeToValue(n, &v); err != nil {
					return fault(n, what+".parameters is no object", "write {seconds: 30}")
				}
				b, err := json.Marshal(v)
				if err != nil {
					return fault(n, what+".parameters is no JSON: "+err.Error(), "")
				}
				c.Parameters = b
				return nil
			},
			"expiresIn": span(&expires, what+".expiresIn"),
		})
		if err != nil {
			return err
		}
	} else if err := text(&c.Name, StateBytesMax)(n); err != nil {
		return err
	}
	r := twin.CommandRequest{ID: "x", Name: c.Name, Parameters: c.Parameters, ExpiresIn: time.Duration(expires) * time.Millisecond}
	if err := r.Check(); err != nil {
		return fault(n, what+"."+twin.ErrorMessage(err), "")
	}
	if expires != 0 {
		c.ExpiresIn = r.ExpiresIn.String()
	}
	a.Command = &c
	return nil
}
