package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
)

// Interfaces of the Digital Twins Definition Language, versions 2 to 4.
//
// Source: Azure opendigitaltwins-dtdl, "DTDL.v2.md", "DTDL.v3.md", "DTDL.v4.md".

type dtInterface struct {
	ID       string            `json:"@id"`
	Type     any               `json:"@type"`
	Title    json.RawMessage   `json:"displayName"`
	About    json.RawMessage   `json:"description"`
	Contents []dtContent       `json:"contents"`
	Extends  json.RawMessage   `json:"extends"`
	Schemas  []json.RawMessage `json:"schemas"`
}

type dtContent struct {
	Type     any             `json:"@type"`
	Name     string          `json:"name"`
	Title    json.RawMessage `json:"displayName"`
	Schema   json.RawMessage `json:"schema"`
	Unit     string          `json:"unit"`
	Writable bool            `json:"writable"`
}

// dtd are the interfaces of a document.
type dtd struct {
	*converter
	byID    map[string]*dtInterface
	schemas map[string]json.RawMessage // by id, of the interface and of those that it extends

	reported, desired, telemetry yaml.MapSlice
}

const dtDepthMax = 10 // of extends and components, as the language has it

func (c *converter) dtdl(source []byte, o Options) error {
	var list []*dtInterface
	if err := json.Unmarshal(source, &list); err != nil {
		one := &dtInterface{}
		if err := json.Unmarshal(source, one); err != nil {
			return fmt.Errorf("the document is no DTDL: %w", err)
		}
		list = []*dtInterface{one}
	}
	if len(list) == 0 {
		return errors.New("the document has no interface")
	}
	x := &dtd{converter: c, byID: map[string]*dtInterface{}, schemas: map[string]json.RawMessage{}}
	for _, i := range list {
		x.byID[i.ID] = i
	}
	top := list[0]
	if o.Interface != "" {
		if top = x.byID[o.Interface]; top == nil {
			return fmt.Errorf("the document has no interface %s", o.Interface)
		}
	}
	if !is(top.Type, "Interface") {
		return fmt.Errorf("%s is no Interface", top.ID)
	}
	id, _, _ := strings.Cut(top.ID, ";")
	c.name = id[strings.LastIndex(id, ":")+1:]
	c.about = localized(top.About)
	if c.about == "" {
		c.about = localized(top.Title)
	}
	if err := x.take(top, "", 0); err != nil {
		return err
	}
	var schema yaml.MapSlice
	section(&schema, "reported", x.reported)
	section(&schema, "desired", x.desired)
	section(&schema, "telemetry", x.telemetry)
	if len(schema) > 0 {
		c.add("schema", schema)
	}
	return nil
}

// is reports whether a type is, or has among others, a name.
func is(kind any, name string) bool {
	switch kind := kind.(type) {
	case string:
		return kind == name
	case []any:
		for _, k := range kind {
			if k == name {
				return true
			}
		}
	}
	return false
}

// localized is a text, or the English one of several.
func localized(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var by map[string]string
	if json.Unmarshal(raw, &by) == nil {
		return by["en"]
	}
	return ""
}

// take takes over the contents of an interface; prefix is the component that they are of.
func (x *dtd) take(i *dtInterface, prefix string, depth int) error {
	if depth > dtDepthMax {
		return fmt.Errorf("%s: interfaces are nested more than %d deep, or in a ring", i.ID, dtDepthMax)
	}
	for _, raw := range i.Schemas {
		var named struct {
			ID string `json:"@id"`
		}
		if json.Unmarshal(raw, &named) == nil {
			x.schemas[named.ID] = raw
		}
	}
	for _, id := range references(i.Extends) {
		if base := x.byID[id]; base == nil {
			x.note("%s extends %s, which the document does not have", i.ID, id)
		} else if err := x.take(base, prefix, depth+1); err != nil {
			return err
		}
	}
	for k := range i.Contents {
		if err := x.content(&i.Contents[k], prefix, depth); err != nil {
			return err
		}
	}
	return nil
}

// references are the ids of an extends: one, several, or interfaces in place.
func references(raw json.RawMessage) []string {
	var one string
	if json.Unmarshal(raw, &one) == nil && one != "" {
		return []string{one}
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	var ids []string
	for _, x := range list {
		if json.Unmarshal(x, &one) == nil {
			ids = append(ids, one)
		}
	}
	return ids
}

func (x *dtd) content(c *dtContent, prefix string, depth int) error {
	at := prefix + c.Name
	switch {
	case is(c.Type, "Telemetry"):
		s, err := x.schema(at, c.Schema, 0)
		if err != nil {
			return err
		}
		x.metrics(at, described(s, c))
	case is(c.Type, "Property"):
		s, err := x.schema(at, c.Schema, 0)
		if err != nil {
			return err
		}
		s = described(s, c)
		put(&x.reported, prefix, c.Name, s)
		if c.Writable {
			put(&x.desired, prefix, c.Name, s)
		}
	case is(c.Type, "Component"):
		id := strings.Trim(string(c.Schema), `"`)
		if x.byID[id] == nil {
			x.note("the component %s: its interface %s is not in the document", at, c.Schema)
			return nil
		}
		if prefix != "" {
			x.note("the component %s: components of components", at)
			return nil
		}
		return x.take(x.byID[id], at+".", depth+1)
	case is(c.Type, "Command"):
		x.note("the command %s: send it as a command", at)
	case is(c.Type, "Relationship"):
		x.note("the relationship %s: a tag can hold the name of the other thing", at)
	default:
		x.note("%s of type %v", at, c.Type)
	}
	return nil
}

// metrics adds a telemetry: of an object each field is a metric.
func (x *dtd) metrics(at string, s yaml.MapSlice) {
	kind := any(nil)
	for _, item := range s {
		switch item.Key {
		case "type":
			kind = item.Value
		case "properties":
			fields, _ := item.Value.(yaml.MapSlice)
			for _, f := range fields {
				if inner, ok := f.Value.(yaml.MapSlice); ok {
					x.metrics(at+"."+fmt.Sprint(f.Key), inner)
				}
			}
			return
		}
	}
	if kind == "array" || kind == "object" {
		x.note("the telemetry %s: its elements are metrics with numbers or names of their own", at)
		return
	}
	x.telemetry = append(x.telemetry, yaml.MapItem{Key: at, Value: s})
}

// put adds a property, in an object if it is of a component.
func put(into *yaml.MapSlice, prefix, name string, schema yaml.MapSlice) {
	if prefix == "" {
		*into = append(*into, yaml.MapItem{Key: name, Value: schema})
		return
	}
	component := strings.TrimSuffix(prefix, ".")
	for i := range *into {
		if (*into)[i].Key != component {
			continue
		}
		if of, ok := (*into)[i].Value.(yaml.MapSlice); ok && len(of) == 2 {
			if all, ok := of[1].Value.(yaml.MapSlice); ok {
				of[1].Value = append(all, yaml.MapItem{Key: name, Value: schema})
				return
			}
		}
	}
	*into = append(*into, yaml.MapItem{Key: component, Value: yaml.MapSlice{
		{Key: "type", Value: "object"}, {Key: "properties", Value: yaml.MapSlice{{Key: name, Value: schema}}},
	}})
}

// described adds title and unit.
func described(s yaml.MapSlice, c *dtContent) yaml.MapSlice {
	s = append(yaml.MapSlice{}, s...)
	if title := localized(c.Title); title != "" {
		s = append(s, yaml.MapItem{Key: "title", Value: title})
	}
	if c.Unit != "" {
		s = append(s, yaml.MapItem{Key: "unit", Value: c.Unit})
	}
	return s
}

// primitives of all versions as JSON Schema.
var primitives = map[string]yaml.MapSlice{
	"boolean": {{Key: "type", Value: "boolean"}},
	"byte":    {{Key: "type", Value: "integer"}, {Key: "minimum", Value: -128}, {Key: "maximum", Value: 127}},
	"short":   {{Key: "type", Value: "integer"}, {Key: "minimum", Value: -32768}, {Key: "maximum", Value: 32767}},
	"integer": {{Key: "type", Value: "integer"}, {Key: "minimum", Value: -2147483648}, {Key: "maximum", Value: 2147483647}},
	"long":    {{Key: "type", Value: "integer"}},

	"unsignedByte":    {{Key: "type", Value: "integer"}, {Key: "minimum", Value: 0}, {Key: "maximum", Value: 255}},
	"unsignedShort":   {{Key: "type", Value: "integer"}, {Key: "minimum", Value: 0}, {Key: "maximum", Value: 65535}},
	"unsignedInteger": {{Key: "type", Value: "integer"}, {Key: "minimum", Value: 0}, {Key: "maximum", Value: 4294967295}},
	"unsignedLong":    {{Key: "type", Value: "integer"}, {Key: "minimum", Value: 0}},

	"float":    {{Key: "type", Value: "number"}},
	"double":   {{Key: "type", Value: "number"}},
	"decimal":  {{Key: "type", Value: "number"}},
	"string":   {{Key: "type", Value: "string"}},
	"bytes":    {{Key: "type", Value: "string"}, {Key: "contentEncoding", Value: "base64"}},
	"date":     {{Key: "type", Value: "string"}, {Key: "format", Value: "date"}},
	"dateTime": {{Key: "type", Value: "string"}, {Key: "format", Value: "date-time"}},
	"time":     {{Key: "type", Value: "string"}, {Key: "format", Value: "time"}},
	"duration": {{Key: "type", Value: "string"}, {Key: "format", Value: "duration"}},
	"uuid":     {{Key: "type", Value: "string"}, {Key: "format", Value: "uuid"}},
}

// schema converts a schema: a primitive, a reference, or a complex one.
func (x *dtd) schema(at string, raw json.RawMessage, depth int) (yaml.MapSlice, error) {
	if depth > dtDepthMax {
		return nil, fmt.Errorf("%s: the schema is nested more than %d deep", at, dtDepthMax)
	}
	var name string
	if json.Unmarshal(raw, &name) == nil {
		if s, ok := primitives[name]; ok {
			return s, nil
		}
		if raw, ok := x.schemas[name]; ok {
			return x.schema(at, raw, depth+1)
		}
		x.note("%s: the schema %s", at, name)
		return yaml.MapSlice{}, nil
	}
	var s struct {
		Type   any `json:"@type"`
		Fields []struct {
			Name   string          `json:"name"`
			Schema json.RawMessage `json:"schema"`
		} `json:"fields"`
		Values []struct {
			Name  string          `json:"name"`
			Value json.RawMessage `json:"enumValue"`
		} `json:"enumValues"`
		Element json.RawMessage `json:"elementSchema"`
		Value   struct {
			Schema json.RawMessage `json:"schema"`
		} `json:"mapValue"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("%s: the schema cannot be read: %w", at, err)
	}
	switch {
	case is(s.Type, "Enum"):
		values := []any{}
		for _, v := range s.Values {
			value, err := plain(v.Value)
			if err != nil {
				return nil, fmt.Errorf("%s: the value %s: %w", at, v.Name, err)
			}
			values = append(values, value)
		}
		return yaml.MapSlice{{Key: "enum", Value: values}}, nil
	case is(s.Type, "Object"):
		fields := yaml.MapSlice{}
		for _, f := range s.Fields {
			inner, err := x.schema(at+"."+f.Name, f.Schema, depth+1)
			if err != nil {
				return nil, err
			}
			fields = append(fields, yaml.MapItem{Key: f.Name, Value: inner})
		}
		return yaml.MapSlice{{Key: "type", Value: "object"}, {Key: "properties", Value: fields}}, nil
	case is(s.Type, "Array"):
		inner, err := x.schema(at+"[]", s.Element, depth+1)
		return yaml.MapSlice{{Key: "type", Value: "array"}, {Key: "items", Value: inner}}, err
	case is(s.Type, "Map"):
		inner, err := x.schema(at+".*", s.Value.Schema, depth+1)
		return yaml.MapSlice{{Key: "type", Value: "object"}, {Key: "additionalProperties", Value: inner}}, err
	}
	x.note("%s: a schema of type %v", at, s.Type)
	return yaml.MapSlice{}, nil
}
