package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/models"
	"github.com/twofold-iot/twofold/twin"
)

// Models are the models and their versions.
type Models interface {
	List() []models.Version // in force, by name
	Twins() map[string]int  // how many twins name each model
	// Version returns a version of a model; 0: the one in force.
	Version(ctx context.Context, name string, number uint32) (models.Version, error)
	// Model returns the model in force with a name, nil if there is none.
	Model(name string) (*model.Model, uint32)
	ModelChanges
}

// ModelChanges are how models come and go.
type ModelChanges interface {
	// Versions lists versions, newest first, below a number; 0: all.
	Versions(ctx context.Context, name string, below uint32, limit int) ([]models.Version, error)
	Apply(ctx context.Context, c models.Change) (models.Applied, error)
	Remove(name string, c models.Change) (models.Version, error)
}

// Computed gives the computed attributes of twins.
type Computed interface {
	// View returns false for a twin without a model in force.
	View(ctx context.Context, thing twin.ThingName) (models.View, bool, error)
	// Revise gives the past of a computed attribute, Preview what a model would have told.
	Revise(ctx context.Context, q models.Line) (*models.Revision, error)
	Preview(ctx context.Context, q models.Ask) (*models.Preview, error)
}

// modelDocument is a version of a model as this door shows it.
type modelDocument struct {
	Name    string  `json:"name"`
	Version uint32  `json:"version"`
	Applied string  `json:"appliedAt"`
	By      string  `json:"by,omitempty"`
	Removed bool    `json:"removed,omitempty"`
	Twins   *int    `json:"twins,omitempty"`  // in the list of models
	Source  *string `json:"source,omitempty"` // of one
}

func newModelDocument(v *models.Version) modelDocument {
	return modelDocument{Name: v.Name, Version: v.Number, Applied: timeText(v.Time), By: v.Origin.Session, Removed: v.Removed()}
}

type modelList struct {
	Models []modelDocument `json:"models"`
}

type modelVersions struct {
	Name     string          `json:"name"`
	Versions []modelDocument `json:"versions"`
	Next     string          `json:"next,omitempty"`
}

// modelApplied is what a model does, or in a dry run would do, to its twins.
type modelApplied struct {
	Name      string         `json:"name"`
	Version   uint32         `json:"version,omitempty"` // left out in a dry run
	DryRun    bool           `json:"dryRun,omitempty"`
	Unchanged bool           `json:"unchanged,omitempty"`
	Twins     int            `json:"twins"`
	Changed   int            `json:"changed"`
	Failing   int            `json:"failing"`
	Examples  []modelExample `json:"examples,omitempty"`
	Alarms    map[string]int `json:"alarms,omitempty"` // on how many twins each would be raised that is not now, at once or in time
}

type modelExample struct {
	DeviceID  twin.ThingName  `json:"deviceId"`
	Attribute string          `json:"attribute"`
	Before    json.RawMessage `json:"before"` // null: none
	After     json.RawMessage `json:"after"`
	Reason    string          `json:"reason,omitempty"`
}

type modelRemoved struct {
	Name    string `json:"name"`
	Version uint32 `json:"version"`
	Removed bool   `json:"removed"`
}

// computedDocument is the computed attributes of a twin with why each is what it is.
type computedDocument struct {
	DeviceID     twin.ThingName      `json:"deviceId"`
	Model        string              `json:"model"`
	ModelVersion uint32              `json:"modelVersion"`
	Time         string              `json:"time"`
	Computed     []computedAttribute `json:"computed"`
}

type computedAttribute struct {
	Name       string          `json:"name"`
	Value      json.RawMessage `json:"value"` // null: none
	Unit       string          `json:"unit,omitempty"`
	Expression string          `json:"expression"`
	Stored     bool            `json:"stored"` // in the events too: shadow and tags alone decide it
	Inputs     []computedInput `json:"inputs"`
	Reason     string          `json:"reason,omitempty"` // why there is no value
}

type computedInput struct {
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"` // null: not there, an object or an array
	There bool            `json:"there"`
}

const typeYAML = "application/yaml" // RFC 9512; JSON is YAML

func (d *door) modelRoutes() []route {
	list := []route{
		{
			method: "GET", path: "/api/v1/models", name: "listModels", summary: "List the models in force",
			answer: modelList{}, handler: d.listModels,
		}, {
			method: "POST", path: "/api/v1/models", name: "applyModel", summary: "Put a model into force, its definition as YAML or JSON; or say what that would do",
			query: []string{"dryRun"}, headers: []string{"If-Match"}, body: "", bodyTypes: []string{typeYAML, typeOctets}, answer: modelApplied{}, handler: d.applyModel,
		}, {
			method: "PUT", path: "/api/v1/models/{modelName}", name: "putModel", summary: "The same for a model of this name",
			query: []string{"dryRun"}, headers: []string{"If-Match"}, body: "", bodyTypes: []string{typeYAML, typeOctets}, answer: modelApplied{}, handler: d.applyModel,
		}, {
			method: "GET", path: "/api/v1/models/{modelName}", name: "getModel", summary: "Read the definition of a model",
			query: []string{"modelVersion"}, answer: modelDocument{}, handler: d.getModel,
		}, {
			method: "DELETE", path: "/api/v1/models/{modelName}", name: "removeModel", summary: "Take a model out of force; its versions and its twins stay",
			headers: []string{"If-Match"}, answer: modelRemoved{}, handler: d.removeModel,
		}, {
			method: "GET", path: "/api/v1/models/{modelName}/versions", name: "listModelVersions", summary: "List the versions of a model, newest first",
			query: []string{"limit", "cursor"}, answer: modelVersions{}, handler: d.listModelVersions,
		},
	}
	if d.opts.Computed != nil {
		list = append(list, route{
			method: "GET", path: "/api/v1/twins/{id}/computed", name: "getComputed", summary: "Read the computed attributes of a thing, and why each has its value or none",
			answer: computedDocument{}, handler: d.getComputed,
		})
		list = append(list, d.previewRoutes()...)
	}
	return list
}

func (d *door) listModels(w http.ResponseWriter, _ *http.Request) error {
	list := modelList{Models: []modelDocument{}}
	twins := d.opts.Models.Twins()
	for _, v := range d.opts.Models.List() {
		doc, n := newModelDocument(&v), twins[v.Name]
		doc.Twins = &n
		list.Models = append(list.Models, doc)
	}
	return writeJSON(w, list)
}

func (d *door) getModel(w http.ResponseWriter, r *http.Request) error {
	p := d.params(r)
	number := p.number("modelVersion", models.VersionsMax)
	if p.err != nil {
		return p.err
	}
	v, err := d.opts.Models.Version(r.Context(), r.PathValue("modelName"), uint32(number))
	if err != nil {
		return err
	}
	doc := newModelDocument(&v)
	if !v.Removed() {
		text := string(v.Source)
		doc.Source = &text
	}
	w.Header().Set("ETag", etag(twin.Version(v.Number)))
	return writeJSON(w, doc)
}

func (d *door) applyModel(w http.ResponseWriter, r *http.Request) error {
	p := d.params(r)
	dry := p.choice("dryRun", "false", "true") == "true"
	if p.err != nil {
		return p.err
	}
	c, err := modelChange(r)
	if err != nil {
		return err
	}
	c.DryRun, c.Name = dry, r.PathValue("modelName")
	if c.Source, err = io.ReadAll(http.MaxBytesReader(w, r.Body, model.SourceBytesMax+1)); err != nil {
		return readError(err)
	}
	a, err := d.opts.Models.Apply(r.Context(), c)
	if err != nil {
		return modelError(err, &c)
	}
	answer := modelApplied{
		Name: a.Version.Name, Version: a.Version.Number, DryRun: dry, Unchanged: a.Unchanged,
		Twins: a.Trial.Twins, Changed: a.Trial.Changed, Failing: a.Trial.Failing, Alarms: a.Trial.Alarms,
	}
	for _, x := range a.Trial.Examples {
		answer.Examples = append(answer.Examples, modelExample{x.Thing, x.Attribute, x.Before.AppendJSON(nil), x.After.AppendJSON(nil), x.Reason})
	}
	if a.Version.Number != 0 {
		w.Header().Set("ETag", etag(twin.Version(a.Version.Number)))
	}
	return writeJSON(w, answer)
}

// modelChange reads who changes a model, and the version that must be in force.
func modelChange(r *http.Request) (models.Change, error) {
	c := models.Change{Origin: origin(r)}
	version, conditional, err := ifMatch(r)
	if conditional && version < versionMax>>31 {
		number := uint32(version)
		c.Expect = &number
	}
	return c, err
}

// modelError says where in a model something is wrong, or that another version is in force.
func modelError(err error, c *models.Change) error {
	var at *model.Error
	if errors.As(err, &at) {
		return &problem{slug: slugInvalid, Detail: at.Error(), Line: at.Line, Column: at.Column}
	}
	if c.Expect != nil && twin.Kind(err) == twin.KindConflict {
		return &problem{slug: slugVersion, Detail: twin.ErrorMessage(err)}
	}
	return err
}

func (d *door) removeModel(w http.ResponseWriter, r *http.Request) error {
	c, err := modelChange(r)
	if err != nil {
		return err
	}
	v, err := d.opts.Models.Remove(r.PathValue("modelName"), c)
	if err != nil {
		return modelError(err, &c)
	}
	return writeJSON(w, modelRemoved{v.Name, v.Number, true})
}

func (d *door) listModelVersions(w http.ResponseWriter, r *http.Request) error {
	limit, after, err := pageOf(r)
	if err != nil {
		return err
	}
	below := uint64(0)
	if after != "" {
		if below, err = strconv.ParseUint(after, 10, 31); err != nil {
			return badParam("cursor", "cursor is not one of this list; start again without it")
		}
	}
	list, err := d.opts.Models.Versions(r.Context(), r.PathValue("modelName"), uint32(below), limit)
	if err != nil {
		return err
	}
	page := modelVersions{Name: r.PathValue("modelName"), Versions: []modelDocument{}}
	for i := range list {
		page.Versions = append(page.Versions, newModelDocument(&list[i]))
	}
	if n := len(list); n == limit && list[n-1].Number > 1 {
		page.Next = cursorOf(strconv.FormatUint(uint64(list[n-1].Number), 10))
	}
	linkNext(w, r, page.Next)
	return writeJSON(w, page)
}

func (d *door) getComputed(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	if exists, err := d.exists(r, key.Thing); err != nil || !exists {
		return orNoTwin(err, key.Thing)
	}
	v, ok, err := d.opts.Computed.View(r.Context(), key.Thing)
	if err != nil {
		return err
	}
	if !ok {
		return d.noModel(key.Thing)
	}
	return writeJSON(w, newComputedDocument(key.Thing, &v))
}

func newComputedDocument(thing twin.ThingName, v *models.View) *computedDocument {
	doc := &computedDocument{DeviceID: thing, Model: v.Model, ModelVersion: v.Version, Time: timeText(v.Time), Computed: []computedAttribute{}}
	for i := range v.Attributes {
		a := &v.Attributes[i]
		c := computedAttribute{Name: a.Name, Value: a.Value.AppendJSON(nil), Unit: a.Unit, Expression: a.Expression, Stored: a.OfState, Reason: a.Reason, Inputs: []computedInput{}}
		for _, in := range a.Inputs {
			c.Inputs = append(c.Inputs, computedInput{in.Path, in.Value.AppendJSON(nil), in.There})
		}
		doc.Computed = append(doc.Computed, c)
	}
	return doc
}
