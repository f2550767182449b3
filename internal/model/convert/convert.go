// Package convert makes models of what other systems call a kind of thing: detector models of
// AWS IoT Events, WoT Thing Models and DTDL interfaces. What has no counterpart is told in
// notes, and never silently left out.
package convert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// SourceBytesMax bounds what is read.
const SourceBytesMax = 4 << 20

// Model is a definition that was made, as YAML, with what could not be taken over.
type Model struct {
	Name   string
	Source []byte
	Notes  []string
}

// Options choose what a document leaves open.
type Options struct {
	Name string // of the model; empty: as the document has it
	// Inputs is where the values of an AWS IoT Events input are: reported or telemetry; empty:
	// reported.
	Inputs string
	// Interface is the id of the DTDL interface; empty: the first.
	Interface string
}

// Formats are the formats that are known, by what they are called.
func Formats() []string { return []string{"iot-events", "wot", "dtdl"} }

// Detect says which format a document has; empty: none that is known.
func Detect(source []byte) string {
	var document any
	if json.Unmarshal(source, &document) != nil {
		return ""
	}
	if list, ok := document.([]any); ok && len(list) > 0 {
		document = list[0]
	}
	m, _ := document.(map[string]any)
	switch context := fmt.Sprint(m["@context"]); {
	case m["detectorModelDefinition"] != nil, m["detectorModel"] != nil, m["states"] != nil && m["initialStateName"] != nil:
		return "iot-events"
	case strings.Contains(context, "dtmi:dtdl:context"):
		return "dtdl"
	case strings.Contains(context, "www.w3.org") && (m["properties"] != nil || m["actions"] != nil || m["events"] != nil):
		return "wot"
	}
	return ""
}

// Convert makes a model of a document. An empty format is found out.
func Convert(source []byte, format string, o Options) (*Model, error) {
	if len(source) > SourceBytesMax {
		return nil, fmt.Errorf("the document has %d bytes, the limit is %d", len(source), SourceBytesMax)
	}
	if format == "" {
		if format = Detect(source); format == "" {
			return nil, fmt.Errorf("this is none of the formats that are known: %s", strings.Join(Formats(), ", "))
		}
	}
	var c converter
	var err error
	switch format {
	case "iot-events":
		err = c.iotEvents(source, o)
	case "wot":
		err = c.thingModel(source, o)
	case "dtdl":
		err = c.dtdl(source, o)
	default:
		return nil, fmt.Errorf("there is no format %q; there are %s", format, strings.Join(Formats(), ", "))
	}
	if err != nil {
		return nil, err
	}
	if o.Name != "" {
		c.name = o.Name
	}
	return c.model()
}

// converter is a model that is being made.
type converter struct {
	name  string
	about string
	body  yaml.MapSlice
	notes []string
}

func (c *converter) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(c.notes, text) {
		c.notes = append(c.notes, text)
	}
}

func (c *converter) add(key string, value any) {
	c.body = append(c.body, yaml.MapItem{Key: key, Value: value})
}

// model writes the definition, the notes as comments before it.
func (c *converter) model() (*Model, error) {
	c.name = nameOf(c.name)
	var b bytes.Buffer
	if c.about != "" {
		fmt.Fprintf(&b, "# %s\n", oneLine(c.about))
	}
	for _, n := range c.notes {
		fmt.Fprintf(&b, "# not taken over: %s\n", oneLine(n))
	}
	text, err := yaml.MarshalWithOptions(append(yaml.MapSlice{{Key: "name", Value: c.name}}, c.body...), yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("write the model: %w", err)
	}
	b.Write(text)
	return &Model{Name: c.name, Source: b.Bytes(), Notes: c.notes}, nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// nameOf makes a name of a model: letters, digits and : _ -.
func nameOf(s string) string {
	const most = 64
	var b strings.Builder
	for _, r := range strings.TrimSpace(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == ':', r == '_', r == '-':
			b.WriteRune(r)
		case r == ' ' || r == '.' || r == '/' || r == ';':
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	if len(name) > most {
		name = name[:most]
	}
	if name == "" {
		return "imported"
	}
	return name
}

// section adds what a section of the schema has, if anything.
func section(into *yaml.MapSlice, name string, properties yaml.MapSlice) {
	if len(properties) > 0 {
		*into = append(*into, yaml.MapItem{Key: name, Value: yaml.MapSlice{{Key: "properties", Value: properties}}})
	}
}

// ordered reads a JSON object with its members in order.
func ordered(raw json.RawMessage) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("an object is expected, not %.40s", raw)
	}
	var list []member
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		list = append(list, member{fmt.Sprint(key), value})
	}
	return list, nil
}

type member struct {
	name  string
	value json.RawMessage
}

// plain reads a JSON value; whole numbers stay whole.
func plain(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return numbers(v), nil
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}
