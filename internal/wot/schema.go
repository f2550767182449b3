package wot

import (
	"encoding/json"
	"slices"

	"github.com/twofold-iot/twofold/twin"
)

// terms are those of a data schema (section 5.3.2) that JSON Schema has too.
var terms = []string{ //nolint:gochecknoglobals // read only
	"type", "title", "description", "const", "enum", "oneOf", "format", "unit", "default",
	"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
	"minLength", "maxLength", "pattern", "contentEncoding", "contentMediaType",
	"items", "minItems", "maxItems", "properties", "required",
}

// IsTerm reports whether a term means the same in a data schema and in a JSON Schema.
func IsTerm(name string) bool { return slices.Contains(terms, name) }

// dataSchema is a JSON Schema as a data schema: what only the former can say is left out,
// so the result may allow more, never less.
func dataSchema(raw any) map[string]any {
	out := map[string]any{}
	in, ok := raw.(map[string]any)
	if !ok { // true or false
		return out
	}
	for name, value := range in {
		if !IsTerm(name) {
			continue
		}
		switch name {
		case "type":
			types, several := value.([]any)
			if several {
				// One type is all that a data schema can name.
				value = oneOf(types)
				name = "oneOf"
				if in[name] != nil {
					continue
				}
			}
		case "properties":
			members, _ := value.(map[string]any)
			all := make(map[string]any, len(members))
			for m, s := range members {
				all[m] = dataSchema(s)
			}
			value = all
		case "items":
			value = dataSchema(value)
		case "oneOf":
			list, _ := value.([]any)
			all := make([]any, len(list))
			for i, s := range list {
				all[i] = dataSchema(s)
			}
			value = all
		}
		out[name] = value
	}
	return out
}

func oneOf(types []any) []any {
	all := make([]any, len(types))
	for i, t := range types {
		all[i] = map[string]any{"type": t}
	}
	return all
}

// propertiesOf returns the data schemas of the members that a JSON Schema names.
func propertiesOf(source json.RawMessage) map[string]map[string]any {
	var document struct {
		Properties map[string]any `json:"properties"`
	}
	if json.Unmarshal(source, &document) != nil { // a model in force has a schema that can be read
		return nil
	}
	all := make(map[string]map[string]any, len(document.Properties))
	for name, s := range document.Properties {
		all[name] = dataSchema(s)
	}
	return all
}

// typeOf is the data schema of a value that nothing is declared of.
func typeOf(n *twin.Node) map[string]any {
	if n.IsArray() {
		return map[string]any{"type": "array"}
	}
	if n.IsObject() {
		return map[string]any{"type": "object"}
	}
	v, ok := n.Value()
	if !ok {
		return map[string]any{}
	}
	return typeOfValue(v)
}

func typeOfValue(v twin.Value) map[string]any {
	switch v.Type {
	case twin.ValueNumber:
		return map[string]any{"type": "number"}
	case twin.ValueBool:
		return map[string]any{"type": "boolean"}
	case twin.ValueText:
		return map[string]any{"type": "string"}
	}
	return map[string]any{}
}
