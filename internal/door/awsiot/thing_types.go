package awsiot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// ThingTypes is where thing types are kept. A model that is in force is one too.
type ThingTypes interface {
	Records(ctx context.Context, kind twin.RecordKind, prefix, after string, limit int) ([]twin.Record, error)
	WriteRecords(orderKey string, ws []twin.RecordWrite, done func(error)) error
	// Models returns the models in force, with the time since when.
	Models() map[string]twin.Time
	// ThingsOf lists the things that have a model.
	ThingsOf(model string) []twin.ThingName
	Now() twin.Time
}

// Limits of thing types, those of AWS.
const (
	typeNameBytesMax        = 128
	typeDescriptionBytesMax = 2028
	searchableMax           = 3
	typesPage               = 250
	// typesMax bounds how many are kept.
	typesMax = 10_000
)

// thingType is what is kept of a thing type, see docs/format/thing-type.md.
type thingType struct {
	Description string    `json:"description,omitempty"`
	Searchable  []string  `json:"searchable,omitempty"`
	Created     twin.Time `json:"created"`
	Deprecated  twin.Time `json:"deprecated,omitempty"`
	model       bool      // there is a model of this name, and no record
}

// thingTypeRequest is the body of CreateThingType, UpdateThingType and DeprecateThingType.
//
// Source: the service model of iot.
type thingTypeRequest struct {
	Properties *struct {
		Description string          `json:"thingTypeDescription"`
		Searchable  []string        `json:"searchableAttributes"`
		MQTT5       json.RawMessage `json:"mqtt5Configuration"`
	} `json:"thingTypeProperties"`
	Tags json.RawMessage `json:"tags"`
	Undo bool            `json:"undoDeprecate"`
}

// thingTypeShown is a thing type as the registry shows it.
type thingTypeShown struct {
	Name       string `json:"thingTypeName"`
	ID         string `json:"thingTypeId,omitempty"`
	ARN        string `json:"thingTypeArn"`
	Properties struct {
		Description string   `json:"thingTypeDescription,omitempty"`
		Searchable  []string `json:"searchableAttributes"`
	} `json:"thingTypeProperties"`
	Metadata struct {
		Deprecated  bool    `json:"deprecated"`
		DeprecateAt float64 `json:"deprecationDate,omitempty"` // seconds since 1970
		Created     float64 `json:"creationDate"`
	} `json:"thingTypeMetadata"`
}

func (x *exchange) typeShown(name string, t *thingType) thingTypeShown {
	s := thingTypeShown{Name: name, ARN: x.arn("thingtype/" + name)}
	s.Properties.Description, s.Properties.Searchable = t.Description, t.Searchable
	if s.Properties.Searchable == nil {
		s.Properties.Searchable = []string{}
	}
	s.Metadata.Deprecated, s.Metadata.DeprecateAt, s.Metadata.Created = t.Deprecated != 0, float64(t.Deprecated)/1000, float64(t.Created)/1000
	return s
}

// typeFault is a refusal with its class on AWS.
type typeFault struct {
	status  Status
	message string
}

func (f *typeFault) Error() string { return f.message }

func typeInvalid(format string, args ...any) error {
	return &typeFault{Status{http.StatusBadRequest, "InvalidRequestException"}, fmt.Sprintf(format, args...)}
}

// thingTypes serves the thing types of the registry.
func (x *exchange) thingTypes() {
	path, err := url.PathUnescape(strings.TrimPrefix(strings.TrimPrefix(x.r.URL.EscapedPath(), "/thing-types"), "/"))
	name, verb, _ := strings.Cut(path, "/")
	op := map[string]func(string, *thingTypeRequest) (any, error){
		"GET":             x.describeThingType,
		"POST":            x.createThingType,
		"PATCH":           x.updateThingType,
		"DELETE":          x.deleteThingType,
		"POST /deprecate": x.deprecateThingType,
	}[strings.TrimSuffix(x.r.Method+" /"+verb, " /")]
	switch {
	case err != nil:
		x.fail(invalid("Invalid percent-encoding in the path"))
		return
	case path == "" && x.r.Method == http.MethodGet:
		op = func(string, *thingTypeRequest) (any, error) { return x.listThingTypes() }
	case op == nil || name == "":
		x.fault(Status{http.StatusMethodNotAllowed, "MethodNotAllowedException"}, "Method "+x.r.Method+" is not allowed here")
		return
	case len(name) > typeNameBytesMax || !twin.ThingName(name).Valid():
		x.failIndex("InvalidRequestException", fmt.Sprintf("%.140q is no name of a thing type: 1 to %d characters of a-z A-Z 0-9 : _ -", name, typeNameBytesMax))
		return
	}
	var q thingTypeRequest
	if err := x.jobBodyOf(&q); err != nil {
		x.failIndex("InvalidRequestException", twin.ErrorMessage(err))
		return
	}
	x.door.typing.Lock() // what is read is what is written over
	answer, err := op(name, &q)
	x.door.typing.Unlock()
	var fault *typeFault
	switch {
	case errors.As(err, &fault):
		x.fault(fault.status, fault.message)
	case err != nil:
		x.fail(err)
	default:
		x.replyJSON(http.StatusOK, answer)
	}
}

// allTypes returns all thing types: those that were made, and the models in force.
func (x *exchange) allTypes() (map[string]*thingType, error) {
	all := map[string]*thingType{}
	for name, since := range x.door.registry.Models() {
		all[name] = &thingType{Created: since, Description: "the model " + name, model: true}
	}
	for after := ""; ; {
		page, err := x.door.registry.Records(x.r.Context(), twin.RecordThingType, "", after, typesMax)
		if err != nil {
			return nil, fmt.Errorf("read the thing types: %w", err)
		}
		for i := range page {
			t := &thingType{}
			if err := json.Unmarshal(page[i].Value, t); err != nil {
				return nil, fmt.Errorf("read the thing type %s: %w", page[i].Key, err)
			}
			all[page[i].Key] = t
			after = page[i].Key
		}
		if len(page) < typesMax {
			return all, nil
		}
	}
}

func (x *exchange) typeOf(name string) (*thingType, error) {
	all, err := x.allTypes()
	if err != nil {
		return nil, err
	}
	if t := all[name]; t != nil {
		return t, nil
	}
	return nil, &typeFault{Status{http.StatusNotFound, "ResourceNotFoundException"}, "Thing type " + name + " cannot be found."}
}

// deprecated reports whether no more things can have a thing type.
func (x *exchange) deprecated(name string) bool {
	if name == "" {
		return false
	}
	t, err := x.typeOf(name)
	return err == nil && t.Deprecated != 0
}

func (x *exchange) describeThingType(name string, _ *thingTypeRequest) (any, error) {
	t, err := x.typeOf(name)
	if err != nil {
		return nil, err
	}
	s := x.typeShown(name, t)
	s.ID = name
	return s, nil
}

// properties sets what a request says of a thing type.
func (t *thingType) properties(q *thingTypeRequest) error {
	p := q.Properties
	if p == nil {
		return nil
	}
	switch {
	case p.MQTT5 != nil:
		return typeInvalid("mqtt5Configuration is not known here")
	case len(p.Description) > typeDescriptionBytesMax:
		return typeInvalid("thingTypeDescription is longer than %d bytes", typeDescriptionBytesMax)
	case len(p.Searchable) > searchableMax:
		return typeInvalid("searchableAttributes: %d attributes, at most %d", len(p.Searchable), searchableMax)
	}
	t.Description, t.Searchable = p.Description, p.Searchable
	return nil
}

func (x *exchange) createThingType(name string, q *thingTypeRequest) (any, error) {
	all, err := x.allTypes()
	if err != nil {
		return nil, err
	}
	t := &thingType{Created: x.door.registry.Now()}
	if err := t.properties(q); err != nil {
		return nil, err
	}
	have := all[name]
	switch {
	case have != nil && !have.model && (have.Description != t.Description || !slices.Equal(have.Searchable, t.Searchable) || have.Deprecated != 0):
		return nil, &typeFault{Status{http.StatusConflict, "ResourceAlreadyExistsException"}, "Thing type " + name + " already exists in account with different properties"}
	case have != nil && !have.model: // again with the same is no error
	case len(all) >= typesMax:
		return nil, &typeFault{Status{http.StatusBadRequest, "LimitExceededException"}, fmt.Sprintf("There are %d thing types", typesMax)}
	default:
		if err := x.writeType(name, t); err != nil {
			return nil, err
		}
	}
	return map[string]string{"thingTypeName": name, "thingTypeArn": x.arn("thingtype/" + name), "thingTypeId": name}, nil
}

// updateThingType changes the description. As on AWS, searchable attributes stay.
func (x *exchange) updateThingType(name string, q *thingTypeRequest) (any, error) {
	t, err := x.typeOf(name)
	if err != nil {
		return nil, err
	}
	if q.Properties != nil && q.Properties.Searchable == nil {
		q.Properties.Searchable = t.Searchable
	}
	if err := t.properties(q); err != nil {
		return nil, err
	}
	return struct{}{}, x.writeType(name, t)
}

func (x *exchange) deprecateThingType(name string, q *thingTypeRequest) (any, error) {
	t, err := x.typeOf(name)
	if err != nil {
		return nil, err
	}
	t.Deprecated = x.door.registry.Now()
	if q.Undo {
		t.Deprecated = 0
	}
	return struct{}{}, x.writeType(name, t)
}

// deleteThingType deletes a thing type that is deprecated and that no thing has. It does not
// touch a model. On AWS five minutes have to pass in between, for its caches; here none.
func (x *exchange) deleteThingType(name string, _ *thingTypeRequest) (any, error) {
	t, err := x.typeOf(name)
	if err != nil {
		return nil, err
	}
	_, inForce := x.door.registry.Models()[name]
	switch {
	case inForce:
		return nil, typeInvalid("%s is a model: it is removed with twofold model rm, or DELETE /api/v1/models/%s", name, name)
	case t.Deprecated == 0:
		return nil, typeInvalid("Cannot delete thing type %s: it is not deprecated", name)
	case len(x.door.registry.ThingsOf(name)) > 0:
		return nil, typeInvalid("Cannot delete thing type %s: %d things have it", name, len(x.door.registry.ThingsOf(name)))
	}
	return struct{}{}, x.writeRecord(twin.RecordWrite{Kind: twin.RecordThingType, Key: name})
}

func (x *exchange) writeType(name string, t *thingType) error {
	value, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("write the thing type: %w", err)
	}
	return x.writeRecord(twin.RecordWrite{Kind: twin.RecordThingType, Key: name, Value: value})
}

func (x *exchange) writeRecord(w twin.RecordWrite) error {
	done := make(chan error, 1)
	if err := x.door.registry.WriteRecords(w.Key, []twin.RecordWrite{w}, func(err error) { done <- err }); err != nil {
		return err
	}
	return <-done // the engine always answers
}

func (x *exchange) listThingTypes() (any, error) {
	limit := typesPage
	if text := x.query.Get("maxResults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > typesPage {
			return nil, typeInvalid("maxResults: %.20q is not 1 to %d", text, typesPage)
		}
		limit = n
	}
	all, err := x.allTypes()
	if err != nil {
		return nil, err
	}
	answer := struct {
		Types     []thingTypeShown `json:"thingTypes"`
		NextToken string           `json:"nextToken,omitempty"`
	}{Types: []thingTypeShown{}}
	only, after := x.query.Get("thingTypeName"), x.query.Get("nextToken")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name <= after || only != "" && name != only {
			continue
		}
		if len(answer.Types) == limit {
			answer.NextToken = answer.Types[limit-1].Name
			break
		}
		answer.Types = append(answer.Types, x.typeShown(name, all[name]))
	}
	return answer, nil
}
