package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Model is a version of a model as the server shows it.
type Model struct {
	Name    string    `json:"name"`
	Version uint32    `json:"version"`
	Applied time.Time `json:"appliedAt"`
	By      string    `json:"by"`
	Removed bool      `json:"removed"`
	Twins   int       `json:"twins"`  // that name it; only in the list of models
	Source  string    `json:"source"` // its definition; only of [Client.Model]

	Raw json.RawMessage `json:"-"` // as sent
}

// ApplyModel asks for a model to be put into force.
type ApplyModel struct {
	Source []byte // YAML or JSON, which has the name
	DryRun bool   // only say what would change
	// Expect is the version that must be in force, 0: of none; nil: any.
	Expect *uint32
}

// AppliedModel says what a model does to its twins.
type AppliedModel struct {
	Name      string         `json:"name"`
	Version   uint32         `json:"version"` // 0 in a dry run of a new definition
	DryRun    bool           `json:"dryRun"`
	Unchanged bool           `json:"unchanged"` // it is the one in force
	Twins     int            `json:"twins"`
	Changed   int            `json:"changed"`
	Failing   int            `json:"failing"`
	Examples  []ModelExample `json:"examples"`
	Alarms    map[string]int `json:"alarms"` // on how many twins each would be raised that is not now, at once or in time

	Raw json.RawMessage `json:"-"` // as sent
}

// ModelExample is a computed attribute of one twin before and after.
type ModelExample struct {
	DeviceID  twin.ThingName  `json:"deviceId"`
	Attribute string          `json:"attribute"`
	Before    json.RawMessage `json:"before"`
	After     json.RawMessage `json:"after"`
	Reason    string          `json:"reason"` // why there is none after
}

// Computed is the computed attributes of a twin.
type Computed struct {
	DeviceID     twin.ThingName      `json:"deviceId"`
	Model        string              `json:"model"`
	ModelVersion uint32              `json:"modelVersion"`
	Time         time.Time           `json:"time"`
	Computed     []ComputedAttribute `json:"computed"`

	Raw json.RawMessage `json:"-"` // as sent
}

// ComputedAttribute is one of them with why it has its value.
type ComputedAttribute struct {
	Name       string          `json:"name"`
	Value      json.RawMessage `json:"value"` // null: there is none
	Unit       string          `json:"unit"`
	Expression string          `json:"expression"`
	Inputs     []ComputedInput `json:"inputs"`
	Reason     string          `json:"reason"` // why there is no value
}

// ComputedInput is something that an expression read.
type ComputedInput struct {
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
	There bool            `json:"there"`
}

func modelPath(name, under string) string { return "/api/v1/models/" + url.PathEscape(name) + under }

// Models lists the models in force, by name.
func (c *Client) Models(ctx context.Context) ([]Model, error) {
	var answer struct{ Models []json.RawMessage }
	if err := c.get(ctx, "/api/v1/models", &answer); err != nil {
		return nil, err
	}
	return readModels(answer.Models)
}

func readModels(raws []json.RawMessage) ([]Model, error) {
	list := make([]Model, len(raws))
	for i, raw := range raws {
		list[i].Raw = raw
		if err := json.Unmarshal(raw, &list[i]); err != nil {
			return nil, fmt.Errorf("read model %d: %w", i, err)
		}
	}
	return list, nil
}

// Model reads a version of a model; 0: the one in force.
func (c *Client) Model(ctx context.Context, name string, version uint32) (*Model, error) {
	path := modelPath(name, "")
	if version != 0 {
		path += "?modelVersion=" + strconv.FormatUint(uint64(version), 10)
	}
	m := &Model{}
	return m, c.getRaw(ctx, path, m, &m.Raw)
}

// ModelVersions lists the newest versions of a model, newest first, at most limit.
func (c *Client) ModelVersions(ctx context.Context, name string, limit int) ([]Model, error) {
	var answer struct{ Versions []json.RawMessage }
	if err := c.get(ctx, modelPath(name, "/versions?limit="+strconv.Itoa(limit)), &answer); err != nil {
		return nil, err
	}
	return readModels(answer.Versions)
}

// ApplyModel puts a model into force, or says what that would do.
func (c *Client) ApplyModel(ctx context.Context, m ApplyModel) (*AppliedModel, error) {
	header := http.Header{"Content-Type": {"application/yaml"}}
	if m.Expect != nil {
		header.Set("If-Match", etag(*m.Expect))
	}
	a, err := c.do(ctx, http.MethodPost, "/api/v1/models?dryRun="+strconv.FormatBool(m.DryRun), header, m.Source)
	if err != nil {
		return nil, err
	}
	applied := &AppliedModel{Raw: a.body}
	if err := json.Unmarshal(a.body, applied); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return applied, nil
}

func etag(version uint32) string { return fmt.Sprintf(`"v%d"`, version) }

// RemoveModel takes a model out of force.
func (c *Client) RemoveModel(ctx context.Context, name string) error {
	_, err := c.do(ctx, http.MethodDelete, modelPath(name, ""), nil, nil)
	return err
}

// Computed reads the computed attributes of a thing.
func (c *Client) Computed(ctx context.Context, thing twin.ThingName) (*Computed, error) {
	v := &Computed{}
	return v, c.getRaw(ctx, twinPath(thing, "/computed", ""), v, &v.Raw)
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	var raw json.RawMessage
	return c.getRaw(ctx, path, into, &raw)
}

func (c *Client) getRaw(ctx context.Context, path string, into any, raw *json.RawMessage) error {
	a, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	*raw = a.body
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return nil
}
