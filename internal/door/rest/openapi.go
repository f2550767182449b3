package rest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/wot"
	"github.com/twofold-iot/twofold/twin"
)

// openAPI is the description of all routes (OpenAPI 3.1), made of the table that also
// serves them and of the Go types of their bodies. Members are in the order in
// which they are written.
type openAPI struct {
	OpenAPI    string                           `json:"openapi"`
	Info       apiInfo                          `json:"info"`
	Paths      map[string]map[string]*operation `json:"paths"`
	Components struct {
		Schemas map[string]*schema `json:"schemas"`
	} `json:"components"`
}

type apiInfo struct {
	Title       string `json:"title"`
	Description string `json:"description"`
	Version     string `json:"version"`
}

type operation struct {
	OperationID string              `json:"operationId"`
	Summary     string              `json:"summary"`
	Parameters  []parameter         `json:"parameters,omitempty"`
	RequestBody *content            `json:"requestBody,omitempty"`
	Responses   map[string]*content `json:"responses"`
}

type parameter struct {
	Name        string  `json:"name"`
	In          string  `json:"in"`
	Description string  `json:"description"`
	Required    bool    `json:"required,omitempty"`
	Schema      *schema `json:"schema"`
}

// content is a body of a request or an answer.
type content struct {
	Description string               `json:"description,omitempty"`
	Required    bool                 `json:"required,omitempty"`
	Content     map[string]mediaType `json:"content,omitempty"`
}

type mediaType struct {
	Schema *schema `json:"schema"`
}

// schema is what is used of JSON Schema 2020-12.
type schema struct {
	Ref         string             `json:"$ref,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        any                `json:"type,omitempty"` // a string, or several
	Format      string             `json:"format,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	Minimum     *int               `json:"minimum,omitempty"`
	Maximum     *int               `json:"maximum,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Additional  any                `json:"additionalProperties,omitempty"` // false, or a schema
}

const problemMediaType = "application/problem+json"

// describe makes the description of the routes.
func describe(routes []route) *openAPI {
	doc := &openAPI{
		OpenAPI: "3.1.0",
		Info: apiInfo{
			Title:   "Twofold",
			Version: "v1",
			Description: "Digital twins: what things reported, what is asked of them, and everything that was. " +
				"Times are RFC 3339. Errors are problem documents (RFC 9457); their type leads to an explanation.",
		},
		Paths: map[string]map[string]*operation{},
	}
	doc.Components.Schemas = map[string]*schema{}
	for i := range routes {
		r := &routes[i]
		if doc.Paths[r.path] == nil {
			doc.Paths[r.path] = map[string]*operation{}
		}
		doc.Paths[r.path][strings.ToLower(r.method)] = doc.operation(r)
	}
	return doc
}

func (doc *openAPI) operation(r *route) *operation {
	op := &operation{OperationID: r.name, Summary: r.summary, Responses: map[string]*content{}}
	if strings.Contains(r.path, "{id}") {
		op.Parameters = append(op.Parameters, parameter{
			Name: "id", In: "path", Description: "name of the thing", Required: true, Schema: schemaOf(reflect.TypeFor[twin.ThingName](), nil),
		})
	}
	for _, name := range []string{"command", "shadow", "job", "artifact", "modelName", "alarm", "group", "property", "intent"} {
		if strings.Contains(r.path, "{"+name+"}") {
			p := doc.parameter(name, "path")
			p.Required = true
			op.Parameters = append(op.Parameters, p)
		}
	}
	for _, name := range r.query {
		op.Parameters = append(op.Parameters, doc.parameter(name, "query"))
	}
	for _, name := range r.headers {
		op.Parameters = append(op.Parameters, doc.parameter(name, "header"))
	}
	if r.body != nil {
		s := schemaOf(reflect.TypeOf(r.body), doc.Components.Schemas)
		types := []string{"application/json"}
		if r.method == http.MethodPatch {
			types = []string{"application/merge-patch+json", "application/json"}
		}
		if len(r.bodyTypes) > 0 {
			types = r.bodyTypes
		}
		op.RequestBody = &content{Required: true, Content: map[string]mediaType{}}
		for _, t := range types {
			if !strings.HasSuffix(t, "json") || t == typeNDJSON {
				op.RequestBody.Content[t] = mediaType{&schema{Type: "string"}}
				continue
			}
			op.RequestBody.Content[t] = mediaType{s}
		}
	}
	status := max(r.status, http.StatusOK)
	if r.status == 0 {
		status = http.StatusOK
	}
	success := &content{Description: http.StatusText(status), Content: map[string]mediaType{}}
	types := r.types
	if len(types) == 0 {
		types = []string{"application/json"}
	}
	for _, t := range types {
		s := &schema{Type: "string"}
		switch t {
		case wot.MediaType:
			s = &schema{Type: "object"}
		case "application/json":
			s = schemaOf(reflect.TypeOf(r.answer), doc.Components.Schemas)
		}
		success.Content[t] = mediaType{s}
	}
	op.Responses[strconv.Itoa(status)] = success
	if slices.Contains(r.headers, "If-None-Match") {
		op.Responses["304"] = &content{Description: http.StatusText(http.StatusNotModified)}
	}
	if slices.Contains(r.headers, "Range") {
		text := &schema{Type: "string"}
		op.Responses["206"] = &content{Description: http.StatusText(http.StatusPartialContent), Content: success.Content}
		op.Responses["416"] = &content{Description: http.StatusText(http.StatusRequestedRangeNotSatisfiable), Content: map[string]mediaType{"text/plain": {text}}}
	}
	op.Responses["default"] = &content{Description: "A problem", Content: map[string]mediaType{
		problemMediaType: {schemaOf(reflect.TypeFor[problem](), doc.Components.Schemas)},
	}}
	return op
}

// about says what a parameter means.
type about struct {
	text   string
	schema schema
}

func (doc *openAPI) parameter(name, in string) parameter {
	a, ok := parameters()[name]
	if !ok {
		panic("parameter without description: " + name) // found by the first test that makes a door
	}
	return parameter{Name: name, In: in, Description: a.text, Schema: &a.schema}
}

// parameters are all that routes have.
func parameters() map[string]about {
	all := parametersOfReads()
	maps.Copy(all, parametersOfParts())
	return all
}

func parametersOfReads() map[string]about {
	text, one := schema{Type: "string"}, 1
	when := schema{Type: "string", Format: "date-time"}
	number := schema{Type: "integer", Minimum: &one}
	boolean := schema{Type: "string", Enum: []string{"true", "false"}}
	return map[string]about{
		"shadow":          {"name of a named shadow; without it the classic one", text},
		"allShadows":      {"of all shadows of the thing", boolean},
		"whole":           {"delete all shadows, model and tags, not one shadow", boolean},
		"model":           {"only things that have this model", text},
		"thing":           {"only these things; may be repeated or hold several with commas", text},
		"limit":           {"at most so many entries", number},
		"cursor":          {"where the page before ended, as it said; with all else as it was", text},
		"at":              {"the state at this time", when},
		"version":         {"the state with this version; the newest, if versions started again", number},
		"history":         {"false leaves the history out", boolean},
		"from":            {"from this time on; for diff also a version such as v12", text},
		"to":              {"before this time; for diff the time itself, or a version such as v12", text},
		"fromVersion":     {"from this version on", number},
		"toVersion":       {"up to this version", number},
		"order":           {"newest or oldest first", schema{Type: "string", Enum: []string{"newest", "oldest"}}},
		"form":            {"the states, or the patches as they were sent", schema{Type: "string", Enum: []string{asStates, asPatches}}},
		"format":          {"of the answer", schema{Type: "string", Enum: []string{asJSON, asNDJSON, asCSV}}},
		"kind":            {"only these kinds of event: " + strings.Join(twin.EventKindNames(), ", ") + "; may be repeated or hold several with commas", text},
		"severity":        {"at least this severity", schema{Type: "string", Enum: []string{"info", "warning", "error", "critical"}}},
		"type":            {"only events of this type", text},
		"text":            {"only events with this text in them", text},
		"correlation":     {"only events with this correlation id", text},
		"path":            {"a value in the shadow, such as reported.temperature", text},
		"metric":          {"a metric of the telemetry, such as motor.speed; may be repeated", text},
		"window":          {"figures of the numbers in windows of this length, such as 1m, and not the numbers", text},
		"arrivals":        {"true: say of each point when it arrived", boolean},
		"fn":              {"figures of the windows, separated by commas: count, min, max, avg, sum, first, last, twa, delta, rate, p50, p95, p99, duration", text},
		"points":          {"a chart of so many columns of pixels: the first, lowest, highest and last number of each, and the changes of states", text},
		"names":           {"false: events without their kinds as names, as a client needs that takes only messages", boolean},
		"minInterval":     {"a shadow is sent at most once in this time, its newest event then; such as 500ms", text},
		"after":           {"begin after this event id; 0 is the oldest event that is kept", text},
		"If-Match":        {`the version that the shadow must have, such as "v3"`, text},
		"If-None-Match":   {"answer 304 if the shadow has this version still", text},
		"Idempotency-Key": {"a request that is repeated with the same key has one effect", text},
		"Last-Event-ID":   {"id of the last event that was received", text},
	}
}

// parametersOfParts are those of commands, jobs, models and the like.
func parametersOfParts() map[string]about {
	text, one := schema{Type: "string"}, 1
	number := schema{Type: "integer", Minimum: &one}
	boolean := schema{Type: "string", Enum: []string{"true", "false"}}
	return map[string]about{
		"command":           {"id of a command", text},
		"job":               {"id of a job", text},
		"webhook":           {"name of a webhook", text},
		"letter":            {"id of a dead letter: the webhook-id of its requests", text},
		"force":             {"also if it has not ended", boolean},
		"by":                {"who acknowledges; the address of the caller", text},
		"threshold":         {"surprise from which on a moment is told of; may be repeated or hold several with commas", text},
		"days":              {"how many days ahead", number},
		"for":               {"how long, such as 90s or 2h; 0s: no longer", text},
		"alarm":             {"name of an alarm of the model", text},
		"property":          {"name of a property, such as reported.level, desired.level, telemetry.flow, computed.efficiency, state", text},
		"intent":            {"an intent: v and the version of the update that asked, such as v12", text},
		"expiresIn":         {"how long it is asked for, such as 90s or 24h: what is not applied then is taken out of desired; without it for ever", text},
		"group":             {"name of a live group", text},
		"modelName":         {"name of a model", text},
		"modelVersion":      {"number of a version of the model; without it the one in force", number},
		"attribute":         {"name of a computed attribute of the model", text},
		"revise":            {"true: compute it anew by the model in force, and mark what differs from what was recorded", boolean},
		"of":                {"only these numbers, such as reported.temperature or telemetry.flow; may be repeated or hold several with commas", text},
		"zone":              {"time zone of the hours, such as Europe/Berlin; UTC", text},
		"every":             {"the distance of the points of an attribute that is over time or reads telemetry, such as 5m; a 200th of the window", text},
		"dryRun":            {"true: say what would change, and change nothing", boolean},
		"where":             {"condition that twins must meet, such as reported.temperature > 80 && tags.site == \"hh1\"; without it all", text},
		"select":            {"what of each twin, such as reported.temperature; may be repeated; without it id, model and what where reads", text},
		"sort":              {"by what the twins are sorted, with a leading - the greatest first; may be repeated; without it by id", text},
		"explain":           {"true: say how the answer was found", boolean},
		"artifact":          {"name of an artifact", text},
		"sha256":            {"the SHA-256 that the content must have, in hex; other content is refused", text},
		"Range":             {"a part of the content, such as bytes=0-65535", text},
		"status":            {"only executions in these statuses: queued, in_progress, succeeded, failed, timed_out, rejected, removed, canceled, or pending for the first two; may be repeated or hold several with commas", text},
		"state":             {"only commands in these states: queued, delivered, accepted, done, failed, rejected, expired, cancelled, or pending for the first three; may be repeated or hold several with commas", text},
		"wait":              {"answer when the command has ended, or after this time; such as 10s, up to 30s", text},
		"confirmationToken": {"ignored; AWS sends it with the confirmation of a destination", text},
	}
}

// schemaOf describes a type. Structs become components, to which it returns a reference.
func schemaOf(t reflect.Type, components map[string]*schema) *schema {
	zero := 0
	switch t {
	case reflect.TypeFor[json.RawMessage]():
		return &schema{} // any JSON
	case reflect.TypeFor[time.Time]():
		return &schema{Type: "string", Format: "date-time"}
	case reflect.TypeFor[json.Number]():
		return &schema{Type: "number"}
	case reflect.TypeFor[twin.ThingName]():
		return &schema{Type: "string", Pattern: fmt.Sprintf("^[a-zA-Z0-9:_-]{1,%d}$", twin.ThingNameBytesMax)}
	case reflect.TypeFor[object]():
		return &schema{Type: "object"}
	}
	switch t.Kind() { //nolint:exhaustive // the others are not used, and panic
	case reflect.Pointer:
		s := schemaOf(t.Elem(), components)
		if name, ok := s.Type.(string); ok && t.Elem().Kind() != reflect.Struct {
			s.Type = []string{name, "null"}
		}
		return s
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int, reflect.Uint32, reflect.Uint64:
		return &schema{Type: "integer", Minimum: &zero}
	case reflect.Float64:
		return &schema{Type: "number"}
	case reflect.Slice:
		return &schema{Type: "array", Items: schemaOf(t.Elem(), components)}
	case reflect.Map:
		return &schema{Type: "object", Additional: schemaOf(t.Elem(), components)}
	case reflect.Struct:
		return structSchema(t, components)
	}
	panic("no schema for " + t.String())
}

func structSchema(t reflect.Type, components map[string]*schema) *schema {
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	ref := &schema{Ref: "#/components/schemas/" + name}
	if components[name] != nil {
		return ref
	}
	s := &schema{Type: "object", Properties: map[string]*schema{}, Additional: false}
	components[name] = s
	for f := range t.Fields() {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || tag == "-" {
			continue
		}
		s.Properties[tag] = schemaOf(f.Type, components)
		if options == "" {
			s.Required = append(s.Required, tag)
		}
	}
	return ref
}
