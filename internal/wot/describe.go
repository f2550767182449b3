package wot

import (
	"net/url"
	"strings"
)

// MediaType is that of a Thing Description (section 10.2).
const MediaType = "application/td+json"

// Where says where a twin is served.
type Where struct {
	API      string // address of the API, such as http://host:8080/api/v1
	Model    string // name of the model; empty: none
	Created  string // RFC 3339; empty: not known
	Stream   bool   // events can be followed
	Commands bool   // commands can be sent
}

// Description is a Thing Description. What is in it is in the order of section 5.3.1.1.
type Description struct {
	Context     []string                  `json:"@context"`
	ID          string                    `json:"id"`
	Title       string                    `json:"title"`
	Description string                    `json:"description"`
	Created     string                    `json:"created,omitempty"`
	Definitions map[string]scheme         `json:"securityDefinitions"`
	Security    []string                  `json:"security"`
	Links       []link                    `json:"links,omitempty"`
	Properties  map[string]map[string]any `json:"properties"`
	Actions     map[string]map[string]any `json:"actions,omitempty"`
	Events      map[string]map[string]any `json:"events,omitempty"`
	Forms       []form                    `json:"forms"`
}

type scheme struct {
	Scheme string `json:"scheme"`
}

type link struct {
	HRef string `json:"href"`
	Rel  string `json:"rel"`
	Type string `json:"type"`
}

type form struct {
	HRef        string   `json:"href"`
	ContentType string   `json:"contentType"`
	Op          []string `json:"op"`
	Subprotocol string   `json:"subprotocol,omitempty"`
	Method      string   `json:"htv:methodName,omitempty"`
}

const typeJSON = "application/json"

// Describe writes the Thing Description of a twin.
//
// The names of its properties are those that expressions use, so what a device reports
// (reported.level, which is only read) and what is asked of it (desired.level, which is
// written and reads back as it was written) are two.
func Describe(t *Thing, w *Where) *Description {
	twinAt := w.API + "/twins/" + url.PathEscape(string(t.Name))
	d := &Description{
		Context: []string{"https://www.w3.org/2022/wot/td/v1.1"}, ID: twinAt, Title: string(t.Name),
		Description: "The digital twin of " + string(t.Name), Created: w.Created,
		// The server has no authentication of its own yet.
		Definitions: map[string]scheme{"nosec": {"nosec"}}, Security: []string{"nosec"},
		Properties: map[string]map[string]any{},
		Forms:      []form{{HRef: twinAt + "/properties", ContentType: typeJSON, Op: []string{"readallproperties"}, Method: "GET"}},
	}
	if w.Model != "" {
		d.Links = []link{{w.API + "/models/" + url.PathEscape(w.Model), "describedby", typeJSON}}
	}
	schemas := t.schemas()
	for _, name := range properties(schemas) {
		p := schemas[name]
		f := form{HRef: twinAt + "/properties/" + url.PathEscape(name), ContentType: typeJSON, Op: []string{"readproperty"}}
		if strings.HasPrefix(name, desired) {
			f.Op = append(f.Op, "writeproperty")
		} else {
			p["readOnly"] = true
		}
		p["forms"] = []form{f}
		d.Properties[name] = p
	}
	if w.Commands {
		d.Actions = map[string]map[string]any{"command": command(twinAt)}
	}
	if w.Stream {
		d.Events = map[string]map[string]any{}
		for _, kind := range [...][2]string{
			{"alarm", "an alarm was raised, acknowledged, cleared or muted"},
			{"behaviour", "a step of its state machine, or one that is not allowed"},
			{"connected", "a client that stands for the thing has connected"},
			{"disconnected", "it has disconnected"},
			{"reported", "an event that the device reported"},
			{"updated", "the state of a shadow has changed"},
		} {
			d.Events[kind[0]] = event(w.API, t, kind[0], kind[1])
		}
	}
	return d
}

// command is the action that sends a command.
func command(twinAt string) map[string]any {
	return map[string]any{
		"description": "Send a command to the device; it is delivered when the device is there",
		"input": map[string]any{
			"type": "object", "required": []string{"name"},
			"properties": map[string]any{
				"name":       map[string]any{"type": "string"},
				"parameters": map[string]any{"type": "object"},
				"expiresIn":  map[string]any{"type": "number", "unit": "s"},
			},
		},
		"output": map[string]any{
			"type": "object", "required": []string{"id", "state"},
			"properties": map[string]any{"id": map[string]any{"type": "string"}, "state": map[string]any{"type": "string"}},
		},
		"synchronous": false,
		"forms":       []form{{HRef: twinAt + "/commands", ContentType: typeJSON, Op: []string{"invokeaction"}, Method: "POST"}},
	}
}

// event is one kind of event of the stream. Its lines have no names, and the content type is
// that of their data, not text/event-stream: node-wot, the reference implementation, hears
// only messages, and decodes them by the content type of the form.
func event(api string, t *Thing, kind, about string) map[string]any {
	q := url.Values{"thing": {string(t.Name)}, "kind": {kind}, "names": {"false"}}
	return map[string]any{
		"description": about,
		"data": map[string]any{
			"type": "object", "required": []string{"kind", "time"},
			"properties": map[string]any{
				"kind": map[string]any{"type": "string"}, "type": map[string]any{"type": "string"},
				"time":     map[string]any{"type": "string", "format": "date-time"},
				"severity": map[string]any{"type": "string"}, "message": map[string]any{"type": "string"},
			},
		},
		"forms": []form{{
			HRef: api + "/stream?" + q.Encode(), ContentType: typeJSON, Subprotocol: "sse",
			Op: []string{"subscribeevent", "unsubscribeevent"},
		}},
	}
}
