package models

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of what is kept.
const (
	NamesMax    = 1000
	VersionsMax = 10_000 // of one model
)

// Engine is where versions are written, and where the twins are that a model is for.
type Engine interface {
	Log
	Twins
	Stepper
}

// Log is where versions are kept.
type Log interface {
	Append(en twin.Entry, done func(twin.EntryResult)) error
	Records(ctx context.Context, kind twin.RecordKind, prefix, after string, limit int) ([]twin.Record, error)
}

// Twins are what models are tried on.
type Twins interface {
	Shadow(ctx context.Context, key twin.ShadowKey) (*twin.Shadow, error)
	Attributes(thing twin.ThingName) *twin.Attributes
	ThingsOf(model string) []twin.ThingName
	AllAttributes() map[twin.ThingName]*twin.Attributes
}

// Stepper brings models on, and knows what they keep of twins.
type Stepper interface {
	StepSoon(things []twin.ThingName) // their model has changed
	Changed(thing twin.ThingName, paths []expr.Path, beside func(*expr.Inputs)) error
	Act(thing twin.ThingName, o twin.Origin, act model.Act, done func(error)) error
	Memory(thing twin.ThingName) *model.Memory
	AllMemories() map[twin.ThingName]*model.Memory
}

// Version is one version of a model.
type Version struct {
	Name   string
	Number uint32 // counts up by one from 1
	Source []byte // as it was applied; nil: with this version the model was removed
	Time   twin.Time
	Origin twin.Origin // of its request: door and session
}

// Removed reports whether the model ended with this version.
func (v *Version) Removed() bool { return v.Source == nil }

// entry is a model in force, or one that was removed: its numbers go on.
type entry struct {
	version Version
	model   *model.Model
}

// Registry is the models in force. It is safe for concurrent use.
type Registry struct {
	engine Engine
	env    *expr.Env
	// beside is told of things whose model has changed; nil: the engine is.
	beside *Beside

	// Removed is told of models that are out of force; nil: nobody is.
	Removed func(name string)

	applying sync.Mutex // one change at a time
	inForce  atomic.Pointer[map[string]entry]
}

// NewRegistry makes a registry without models; it is needed before there is an engine to load
// them from.
func NewRegistry() (*Registry, error) {
	env, err := expr.NewEnv()
	if err != nil {
		return nil, err
	}
	r := &Registry{env: env}
	r.inForce.Store(&map[string]entry{})
	return r, nil
}

const recordsPage = 1000

// Load reads what is in force.
func (r *Registry) Load(ctx context.Context, e Engine) error {
	r.engine = e
	all := map[string]entry{}
	for after := ""; ; {
		page, err := e.Records(ctx, twin.RecordModel, "", after, recordsPage)
		if err != nil {
			return fmt.Errorf("read the models: %w", err)
		}
		for i := range page {
			after = page[i].Key
			v, err := decode(&page[i])
			if err != nil {
				return err
			}
			all[v.Name] = entry{version: v} // the newest comes last
		}
		if len(page) < recordsPage {
			break
		}
	}
	for name, en := range all {
		if en.version.Removed() {
			continue
		}
		m, err := model.Parse(en.version.Source, r.env)
		if err != nil {
			return fmt.Errorf("read version %d of model %s: %w", en.version.Number, name, err)
		}
		en.model = m
		all[name] = en
	}
	r.inForce.Store(&all)
	return nil
}

// Model returns the model with a name and the number of its version; nil: there is none.
func (r *Registry) Model(name string) (*model.Model, uint32) {
	en := (*r.inForce.Load())[name]
	return en.model, en.version.Number
}

// List returns the versions in force, by name.
func (r *Registry) List() []Version {
	var list []Version
	for _, en := range *r.inForce.Load() {
		if en.model != nil {
			list = append(list, en.version)
		}
	}
	slices.SortFunc(list, func(a, b Version) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return list
}

// Twins counts the twins of each model, also of models that there are none of.
func (r *Registry) Twins() map[string]int {
	n := map[string]int{}
	for _, at := range r.engine.AllAttributes() {
		if at.Model != "" {
			n[at.Model]++
		}
	}
	return n
}

// Version returns a version of a model; 0: the one in force.
func (r *Registry) Version(ctx context.Context, name string, number uint32) (Version, error) {
	en := (*r.inForce.Load())[name]
	if number == 0 || number == en.version.Number {
		if en.model == nil && number == 0 {
			return Version{}, noModel(name)
		}
		return en.version, nil
	}
	list, err := r.Versions(ctx, name, number+1, 1)
	if err != nil {
		return Version{}, err
	}
	if len(list) == 0 || list[0].Number != number {
		return Version{}, twin.NewError(twin.KindNotFound, fmt.Sprintf("Model %s has no version %d", name, number))
	}
	return list[0], nil
}

func noModel(name string) error {
	return twin.NewError(twin.KindNotFound, fmt.Sprintf("There is no model %q", name))
}

// Versions lists versions of a model, newest first, beginning below a number; 0: with the
// newest.
func (r *Registry) Versions(ctx context.Context, name string, below uint32, limit int) ([]Version, error) {
	newest := (*r.inForce.Load())[name].version.Number
	if newest == 0 {
		return nil, twin.NewError(twin.KindNotFound, fmt.Sprintf("There never was a model %q", name))
	}
	if below == 0 || below > newest {
		below = newest + 1
	}
	first := uint32(max(1, int64(below)-int64(limit)))
	page, err := r.engine.Records(ctx, twin.RecordModel, name+"/", versionKey(name, first-1), int(below-first))
	if err != nil {
		return nil, fmt.Errorf("read the versions of model %s: %w", name, err)
	}
	list := make([]Version, 0, len(page))
	for i := range page {
		v, err := decode(&page[i])
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	slices.Reverse(list)
	return list, nil
}

// Change is a request to put a model into force, or out of it.
type Change struct {
	Name   string // that the source must have; empty: any
	Source []byte
	DryRun bool // say what would change, and change nothing
	// Expect is the number of the version that must be in force, 0: of none; nil: of
	// any.
	Expect *uint32
	Origin twin.Origin
}

// Applied says what a change of a model does.
type Applied struct {
	Version Version // Number is 0 in a dry run
	// Unchanged: the source is the one in force; nothing was written.
	Unchanged bool
	Trial     Trial
}

// Apply checks a model, tries it on its twins, and puts it into force unless that is not
// wanted. A source that is wrong is an error of kind KindInvalid with line and column.
func (r *Registry) Apply(ctx context.Context, c Change) (Applied, error) {
	m, err := r.parse(c.Name, c.Source)
	if err != nil {
		return Applied{}, err
	}
	r.applying.Lock()
	defer r.applying.Unlock()
	all := *r.inForce.Load()
	en := all[m.Name]
	if err := c.check(&en); err != nil {
		return Applied{}, err
	}
	if en.version.Number == 0 && len(all) >= NamesMax {
		return Applied{}, twin.NewError(twin.KindFull, fmt.Sprintf("There are %d models, which is the limit", NamesMax))
	}
	a := Applied{Version: Version{Name: m.Name, Source: bytes.Clone(c.Source), Origin: c.Origin}}
	if a.Trial, err = r.try(ctx, m, en.model); err != nil {
		return Applied{}, err
	}
	if a.Trial.Refused > 0 {
		return Applied{}, readable(m.WouldRefuse(a.Trial.Refused, a.Trial.Refusal))
	}
	if bytes.Equal(en.version.Source, c.Source) {
		a.Version, a.Unchanged = en.version, true
		return a, nil
	}
	if c.DryRun {
		return a, nil
	}
	a.Version.Number = en.version.Number + 1
	return a, r.write(&a.Version, m)
}

// parse reads a model that has a name, if one is given.
func (r *Registry) parse(name string, source []byte) (*model.Model, error) {
	m, err := model.Parse(source, r.env)
	if err == nil {
		err = supported(m)
	}
	if err != nil {
		return nil, readable(err)
	}
	if name != "" && name != m.Name {
		return nil, twin.NewError(twin.KindInvalid, fmt.Sprintf("The model is named %q, the request is for %q", m.Name, name))
	}
	return m, nil
}

// AdmitRows asks the schemas of models whether samples may be; the error is of kind
// KindInvalid.
func (r *Registry) AdmitRows(rows []twin.Row) error {
	all := *r.inForce.Load()
	if len(all) == 0 {
		return nil
	}
	for i := range rows {
		if m := all[r.engine.Attributes(rows[i].Thing).Model].model; m != nil {
			if err := m.AdmitRow(&rows[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove puts a model out of force. Its versions stay, and so do its twins: they have a
// model that says nothing.
func (r *Registry) Remove(name string, c Change) (Version, error) {
	r.applying.Lock()
	defer r.applying.Unlock()
	en := (*r.inForce.Load())[name]
	if en.model == nil {
		return Version{}, noModel(name)
	}
	if err := c.check(&en); err != nil {
		return Version{}, err
	}
	v := Version{Name: name, Number: en.version.Number + 1, Origin: c.Origin}
	return v, r.write(&v, nil)
}

func (c *Change) check(en *entry) error {
	have := en.version.Number
	if en.model == nil {
		have = 0
	}
	if c.Expect != nil && *c.Expect != have {
		return twin.NewError(twin.KindConflict, fmt.Sprintf("The version in force is %d, not %d", have, *c.Expect))
	}
	if en.version.Number >= VersionsMax {
		return twin.NewError(twin.KindFull, fmt.Sprintf("The model has %d versions, which is the limit", VersionsMax))
	}
	return nil
}

// write makes a version durable with its event, and then puts it into force.
func (r *Registry) write(v *Version, m *model.Model) error {
	message := "version " + strconv.FormatUint(uint64(v.Number), 10)
	kind := "applied"
	if v.Removed() {
		kind = "removed"
	}
	done := make(chan twin.EntryResult, 1)
	err := r.engine.Append(twin.Entry{
		Event: twin.Event{
			Thing: twin.ModelLog(v.Name), Kind: twin.EventModel, Type: kind, Message: message, Correlation: v.Name,
			Origin: v.Origin,
		},
		Records: func(ev *twin.Event) ([]twin.RecordWrite, error) {
			v.Time = ev.Time
			value, err := encode(v)
			return []twin.RecordWrite{{Kind: twin.RecordModel, Key: versionKey(v.Name, v.Number), Value: value, Expect: twin.RevisionAbsent}}, err
		},
	}, func(res twin.EntryResult) { done <- res })
	if err != nil {
		return err
	}
	if res := <-done; res.Err != nil { // the engine always answers
		return res.Err
	}
	next := maps.Clone(*r.inForce.Load())
	next[v.Name] = entry{version: *v, model: m}
	r.inForce.Store(&next)
	if m == nil && r.Removed != nil {
		r.Removed(v.Name)
	}
	things := r.engine.ThingsOf(v.Name)
	if r.beside != nil && m != nil && m.ReadsBeside() {
		r.beside.renew(things)
		return nil
	}
	r.engine.StepSoon(things)
	return nil
}

func versionKey(name string, number uint32) string { return fmt.Sprintf("%s/%010d", name, number) }

// stored is the value of a record; docs/format/model.md.
type stored struct {
	Name   string    `json:"name"`
	Number uint32    `json:"number"`
	Source *string   `json:"source"`
	Time   twin.Time `json:"time"`
	By     string    `json:"by,omitempty"`
	Door   twin.Door `json:"door,omitempty"`
}

func encode(v *Version) ([]byte, error) {
	s := stored{Name: v.Name, Number: v.Number, Time: v.Time, By: v.Origin.Session, Door: v.Origin.Door}
	if !v.Removed() {
		text := string(v.Source)
		s.Source = &text
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write model %s: %w", v.Name, err)
	}
	return b, nil
}

func decode(r *twin.Record) (Version, error) {
	var s stored
	err := json.Unmarshal(r.Value, &s)
	if err == nil && versionKey(s.Name, s.Number) != r.Key {
		err = errors.New("it is kept under another name")
	}
	if err != nil {
		return Version{}, fmt.Errorf("read the record %s of a model: %w", r.Key, err)
	}
	v := Version{Name: s.Name, Number: s.Number, Time: s.Time, Origin: twin.Origin{Door: s.Door, Session: s.By}}
	if s.Source != nil {
		v.Source = []byte(*s.Source)
	}
	return v, nil
}
