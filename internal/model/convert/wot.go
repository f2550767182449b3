package convert

import (
	"encoding/json"
	"fmt"

	"github.com/goccy/go-yaml"

	"github.com/twofold-iot/twofold/internal/wot"
)

// WoT Thing Models, and Thing Descriptions as well.
//
// Source: W3C, "Web of Things (WoT) Thing Description 1.1", sections 5 and 10.

type thingModel struct {
	ID         string          `json:"id"`
	Title      string          `json:"title"`
	About      string          `json:"description"`
	Properties json.RawMessage `json:"properties"`
	Actions    json.RawMessage `json:"actions"`
	Events     json.RawMessage `json:"events"`
	Links      []struct {
		Rel  string `json:"rel"`
		HRef string `json:"href"`
	} `json:"links"`
}

func (c *converter) thingModel(source []byte, _ Options) error {
	var m thingModel
	if err := json.Unmarshal(source, &m); err != nil {
		return fmt.Errorf("the document is no Thing Model: %w", err)
	}
	if c.name = m.Title; c.name == "" {
		c.name = m.ID
	}
	c.about = m.About
	for _, l := range m.Links {
		if l.Rel == "tm:extends" || l.Rel == "tm:submodel" {
			c.note("the %s %s: import it too, and join the two", l.Rel, l.HRef)
		}
	}
	var reported, desired yaml.MapSlice
	if m.Properties != nil {
		list, err := ordered(m.Properties)
		if err != nil {
			return fmt.Errorf("properties: %w", err)
		}
		for _, p := range list {
			schema, err := c.dataSchema("properties."+p.name, p.value)
			if err != nil {
				return err
			}
			var flags struct {
				ReadOnly  bool `json:"readOnly"`
				WriteOnly bool `json:"writeOnly"`
			}
			if err := json.Unmarshal(p.value, &flags); err != nil {
				return fmt.Errorf("properties.%s: %w", p.name, err)
			}
			if !flags.WriteOnly {
				reported = append(reported, yaml.MapItem{Key: p.name, Value: schema})
			}
			if !flags.ReadOnly {
				desired = append(desired, yaml.MapItem{Key: p.name, Value: schema})
			}
		}
	}
	var schema yaml.MapSlice
	section(&schema, "reported", reported)
	section(&schema, "desired", desired)
	if len(schema) > 0 {
		c.add("schema", schema)
	}
	c.affordances("action", m.Actions, "send it as a command")
	c.affordances("event", m.Events, "devices send it to twins/{thing}/events")
	return nil
}

func (c *converter) affordances(what string, raw json.RawMessage, hint string) {
	if raw == nil {
		return
	}
	list, err := ordered(raw)
	if err != nil {
		c.note("the %ss, which cannot be read: %v", what, err)
		return
	}
	for _, m := range list {
		c.note("the %s %s: %s", what, m.name, hint)
	}
}

// dataSchema takes over what JSON Schema has too. Placeholders stay out.
func (c *converter) dataSchema(at string, raw json.RawMessage) (yaml.MapSlice, error) {
	list, err := ordered(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	out := yaml.MapSlice{}
	for _, m := range list {
		if !wot.IsTerm(m.name) {
			switch m.name {
			case "forms", "readOnly", "writeOnly", "observable", "titles", "descriptions", "@type", "uriVariables", "tm:ref":
				if m.name == "tm:ref" {
					c.note("%s: tm:ref %s", at, m.value)
				}
			default:
				c.note("%s: %s", at, m.name)
			}
			continue
		}
		var value any
		switch m.name {
		case "properties":
			kids, err := ordered(m.value)
			if err != nil {
				return nil, fmt.Errorf("%s.properties: %w", at, err)
			}
			all := yaml.MapSlice{}
			for _, k := range kids {
				schema, err := c.dataSchema(at+"."+k.name, k.value)
				if err != nil {
					return nil, err
				}
				all = append(all, yaml.MapItem{Key: k.name, Value: schema})
			}
			value = all
		case "items":
			if value, err = c.items(at, m.value); err != nil {
				return nil, err
			}
		default:
			if value, err = plain(m.value); err != nil {
				return nil, fmt.Errorf("%s.%s: %w", at, m.name, err)
			}
			if text, ok := value.(string); ok && len(text) > 4 && text[:2] == "{{" {
				c.note("%s.%s: the placeholder %s", at, m.name, text)
				continue
			}
		}
		out = append(out, yaml.MapItem{Key: m.name, Value: value})
	}
	return out, nil
}

// items are a schema, or in WoT also a list of such, one for each element.
func (c *converter) items(at string, raw json.RawMessage) (any, error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		c.note("%s.items: a schema for each element", at)
		return yaml.MapSlice{}, nil
	}
	return c.dataSchema(at+".items", raw)
}
