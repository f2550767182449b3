package server

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// leaf is a scalar, or a list of scalars, of a YAML file.
type leaf struct {
	key   string // dotted
	line  int    // from 1
	text  string // as written, without quotes; list items joined by commas
	list  bool
	fault string // why the value cannot be one of a setting
}

// parseYAML flattens a file of nested mappings. Text is kept as written: there is
// no expansion of variables and no guessing of types. An error starts with the
// line.
func parseYAML(data []byte) ([]leaf, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		var se *yaml.SyntaxError
		if errors.As(err, &se) && se.Token != nil {
			return nil, fmt.Errorf("%d: %s", se.Token.Position.Line, se.Message)
		}
		return nil, fmt.Errorf("1: %w", err)
	}
	if len(file.Docs) > 1 {
		return nil, fmt.Errorf("%d: one YAML document is expected", file.Docs[1].GetToken().Position.Line)
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil, nil
	}
	body := file.Docs[0].Body
	switch body.Type() {
	case ast.NullType, ast.CommentType:
		return nil, nil
	case ast.MappingType, ast.MappingValueType:
		return flatten(nil, "", body), nil
	}
	return nil, fmt.Errorf("%d: a mapping of settings is expected, such as data: ./twofold-data", body.GetToken().Position.Line)
}

func flatten(leaves []leaf, prefix string, node ast.Node) []leaf {
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			leaves = flatten(leaves, prefix, v)
		}
		return leaves
	case *ast.MappingValueNode:
		key := prefix + n.Key.GetToken().Value
		switch n.Value.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			return flatten(leaves, key+".", n.Value)
		}
		l := leaf{key: key, line: n.Key.GetToken().Position.Line}
		l.text, l.list, l.fault = scalar(n.Value)
		return append(leaves, l)
	}
	return leaves
}

func scalar(node ast.Node) (text string, list bool, fault string) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, false, ""
	case *ast.LiteralNode:
		return n.Value.Value, false, ""
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return node.GetToken().Value, false, ""
	case *ast.NullNode:
		return "", false, "has no value; leave the key out to keep the default"
	case *ast.SequenceNode:
		var items []string
		for _, v := range n.Values {
			item, inner, fault := scalar(v)
			if inner || fault != "" || strings.Contains(item, ",") {
				return "", true, "takes a list of plain values"
			}
			items = append(items, item)
		}
		return strings.Join(items, ","), true, ""
	}
	return "", false, "takes a plain value (anchors, aliases and tags are not supported)"
}
