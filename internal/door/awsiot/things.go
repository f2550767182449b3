package awsiot

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/twin"
)

// Registry keeps what is known of things beside their shadows.
type Registry interface {
	Append(en twin.Entry, done func(twin.EntryResult)) error
	Attributes(thing twin.ThingName) *twin.Attributes
	// Exists reports whether there is such a twin.
	Exists(ctx context.Context, thing twin.ThingName) (bool, error)
	// DeleteTwin deletes all shadows of a thing and its attributes; the past stays.
	DeleteTwin(ctx context.Context, thing twin.ThingName, o twin.Origin) error
	ThingTypes
}

// thingPayload is the body of CreateThing and UpdateThing. A thing type is a model here,
// and an attribute a tag.
//
// Source: the service model of iot.
type thingPayload struct {
	ThingTypeName    string `json:"thingTypeName"`
	RemoveThingType  bool   `json:"removeThingType"`
	AttributePayload *struct {
		Attributes map[string]string `json:"attributes"`
		Merge      bool              `json:"merge"`
	} `json:"attributePayload"`
	ExpectedVersion  *int64 `json:"expectedVersion"`
	BillingGroupName string `json:"billingGroupName"`
}

// thingRegistered is a thing as the registry shows it.
type thingRegistered struct {
	DefaultClientID twin.ThingName    `json:"defaultClientId,omitempty"`
	ThingName       twin.ThingName    `json:"thingName"`
	ThingID         twin.ThingName    `json:"thingId,omitempty"`
	ThingARN        string            `json:"thingArn"`
	ThingTypeName   string            `json:"thingTypeName,omitempty"`
	Attributes      map[string]string `json:"attributes"`
}

func (x *exchange) registered(thing twin.ThingName, a *twin.Attributes) thingRegistered {
	t := thingRegistered{ThingName: thing, ThingARN: x.arn("thing/" + string(thing)), ThingTypeName: a.Model, Attributes: a.Tags}
	if t.Attributes == nil {
		t.Attributes = map[string]string{}
	}
	return t
}

// things serves the registry.
func (x *exchange) things() {
	name, err := url.PathUnescape(strings.TrimPrefix(strings.TrimPrefix(x.r.URL.EscapedPath(), "/things"), "/"))
	thing := twin.ThingName(name)
	switch {
	case err != nil:
		x.fail(invalid("Invalid percent-encoding in the path"))
	case name == "" && x.r.Method == http.MethodGet:
		x.listThings()
	case name != "" && !thing.Valid():
		x.failIndex("InvalidRequestException", fmt.Sprintf("%.140q is no thing name: 1 to %d characters of a-z A-Z 0-9 : _ -", name, twin.ThingNameBytesMax))
	case name != "" && x.r.Method == http.MethodGet:
		x.describeThing(thing)
	case name != "" && x.r.Method == http.MethodPost:
		x.manageThing(thing, twin.ManagedCreated)
	case name != "" && x.r.Method == http.MethodPatch:
		x.manageThing(thing, twin.ManagedChanged)
	case name != "" && x.r.Method == http.MethodDelete:
		x.deleteThing(thing)
	default:
		x.fault(Status{http.StatusMethodNotAllowed, "MethodNotAllowedException"}, "Method "+x.r.Method+" is not allowed here")
	}
}

func (x *exchange) describeThing(thing twin.ThingName) {
	ok, err := x.door.registry.Exists(x.r.Context(), thing)
	switch {
	case err != nil:
		x.fail(err)
	case !ok:
		x.noThing(thing)
	default:
		t := x.registered(thing, x.door.registry.Attributes(thing))
		t.DefaultClientID, t.ThingID = thing, thing
		x.replyJSON(http.StatusOK, t)
	}
}

func (x *exchange) noThing(thing twin.ThingName) {
	x.fault(Status{http.StatusNotFound, "ResourceNotFoundException"}, "Thing "+string(thing)+" cannot be found.")
}

// manageThing creates a thing or changes it.
func (x *exchange) manageThing(thing twin.ThingName, act string) {
	var p thingPayload
	if err := x.jobBodyOf(&p); err != nil {
		x.failIndex("InvalidRequestException", twin.ErrorMessage(err))
		return
	}
	if p.ExpectedVersion != nil || p.BillingGroupName != "" {
		x.failIndex("InvalidRequestException", "expectedVersion and billingGroupName are not known here")
		return
	}
	if act == twin.ManagedChanged {
		if ok, err := x.door.registry.Exists(x.r.Context(), thing); err != nil || !ok {
			if err != nil {
				x.fail(err)
				return
			}
			x.noThing(thing)
			return
		}
	}
	if x.deprecated(p.ThingTypeName) {
		x.failIndex("InvalidRequestException", "Thing type "+p.ThingTypeName+" is deprecated: no more things can have it")
		return
	}
	said := map[string]any{}
	if p.ThingTypeName != "" || p.RemoveThingType {
		said["model"] = p.ThingTypeName
	}
	if p.AttributePayload != nil {
		said["tags"] = p.AttributePayload.Attributes
	}
	data, err := json.Marshal(said)
	if err != nil {
		x.fail(err)
		return
	}
	done := make(chan twin.EntryResult, 1)
	err = x.door.registry.Append(twin.Entry{
		Event: twin.Event{Thing: thing, Kind: twin.EventManaged, Type: act, Data: data, Origin: x.origin()},
		Attributes: func(have *twin.Attributes) (twin.Attributes, error) {
			return p.apply(thing, have, act == twin.ManagedCreated, x.door.registry.Now())
		},
	}, func(r twin.EntryResult) { done <- r })
	if err == nil {
		err = (<-done).Err // the engine always answers
	}
	switch {
	case twin.Kind(err) == twin.KindConflict:
		x.fault(Status{http.StatusConflict, "ResourceAlreadyExistsException"}, twin.ErrorMessage(err))
	case err != nil:
		x.fault(Status{StatusOf(twin.Kind(err)).Code, "InvalidRequestException"}, twin.ErrorMessage(err))
	case act == twin.ManagedCreated:
		x.replyJSON(http.StatusOK, map[string]any{"thingName": thing, "thingArn": x.arn("thing/" + string(thing)), "thingId": thing})
	default:
		x.replyJSON(http.StatusOK, struct{}{})
	}
}

// deleteThing deletes a twin. As on AWS it is no error if there is none. There the shadows
// stay; here a twin that has a shadow would still be one.
func (x *exchange) deleteThing(thing twin.ThingName) {
	if x.query.Get("expectedVersion") != "" {
		x.failIndex("InvalidRequestException", "expectedVersion is not known here")
		return
	}
	ok, err := x.door.registry.Exists(x.r.Context(), thing)
	if err == nil && ok {
		err = x.door.registry.DeleteTwin(x.r.Context(), thing, x.origin())
	}
	if err != nil {
		x.fail(err)
		return
	}
	x.replyJSON(http.StatusOK, struct{}{})
}

// apply returns what is kept of a thing after a request. As on AWS, a thing may be created
// again with what it has.
func (p *thingPayload) apply(thing twin.ThingName, have *twin.Attributes, create bool, now twin.Time) (twin.Attributes, error) {
	next := have.Clone()
	if p.ThingTypeName != "" {
		next.Model = p.ThingTypeName
	}
	if p.RemoveThingType {
		next.Model = ""
	}
	if a := p.AttributePayload; a != nil {
		if !a.Merge || next.Tags == nil {
			next.Tags = map[string]string{}
		}
		maps.Copy(next.Tags, a.Attributes)
		maps.DeleteFunc(next.Tags, func(_, v string) bool { return v == "" }) // an empty value removes
	}
	if create {
		same := have.Model == next.Model && maps.Equal(have.Tags, next.Tags)
		if have.Created != 0 && !same {
			return next, twin.NewError(twin.KindConflict, "Thing "+string(thing)+" already exists in account with different attributes")
		}
		if next.Created == 0 {
			next.Created = now
		}
	}
	return next, next.Check()
}

// listThings pages through things by name.
func (x *exchange) listThings() {
	limit := indexResultsDefault
	if text := x.query.Get("maxResults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > fleet.LimitMax {
			x.failIndex("InvalidRequestException", fmt.Sprintf("maxResults: %.20q is not 1 to %d", text, fleet.LimitMax))
			return
		}
		limit = n
	}
	where := []string{"true"}
	if name := x.query.Get("attributeName"); name != "" {
		path := expr.Path{"tags", name}.Expression()
		if value := x.query.Get("attributeValue"); x.query.Get("usePrefixAttributeValue") == "true" {
			where = append(where, path+".startsWith("+strconv.Quote(value)+")")
		} else {
			where = append(where, path+" == "+strconv.Quote(value))
		}
	}
	if model := x.query.Get("thingTypeName"); model != "" {
		where = append(where, "model == "+strconv.Quote(model))
	}
	page, err := x.door.fleet.Query(x.r.Context(), &fleet.Request{Where: strings.Join(where, " && "), Select: []string{"id"}, Limit: limit, Cursor: x.query.Get("nextToken")})
	if err != nil {
		x.failIndex("InvalidRequestException", err.Error())
		return
	}
	answer := struct {
		Things    []thingRegistered `json:"things"`
		NextToken string            `json:"nextToken,omitempty"`
	}{[]thingRegistered{}, page.Next}
	for _, row := range page.Rows {
		answer.Things = append(answer.Things, x.registered(row.ID, x.door.registry.Attributes(row.ID)))
	}
	x.replyJSON(http.StatusOK, answer)
}
