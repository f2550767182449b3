package wot

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/twin"
)

// Thing is what is known of a twin and can be read as properties.
type Thing struct {
	Name      twin.ThingName
	Model     *model.Model // nil: it has none that is in force
	Shadow    *twin.Shadow
	Telemetry []Figure // the newest sample of each metric
	Computed  []Figure
	State     string // of its behaviour; empty: not known
	Connected bool
	LastSeen  string // RFC 3339; empty: never
}

// Figure is a named value.
type Figure struct {
	Name  string
	Type  string // number, boolean, string; empty: any
	Unit  string
	Value twin.Value // Type 0: there is none
}

// Names of properties are those that expressions use: the section, and the name in it.
const (
	reported  = "reported."
	desired   = "desired."
	metric    = "telemetry."
	computed  = "computed."
	state     = "state"
	connected = "connected"
	lastSeen  = "lastSeen"
)

// Attribute returns the attribute whose wish a property is; false: it cannot be written.
func Attribute(property string) (name string, ok bool) { return strings.CutPrefix(property, desired) }

// Value returns the value of a property as JSON; false: it has none now.
func (t *Thing) Value(property string) (json.RawMessage, bool) {
	v, ok := t.Values()[property]
	return v, ok
}

// Values returns the values of all properties that have one.
func (t *Thing) Values() map[string]json.RawMessage {
	all := map[string]json.RawMessage{}
	for prefix, n := range t.sections() {
		for i := range n.Len() {
			all[prefix+n.At(i).Name()] = n.At(i).AppendJSON(nil)
		}
	}
	for prefix, figures := range t.figures() {
		for i := range figures {
			if f := &figures[i]; f.Value.Type != 0 {
				all[prefix+f.Name] = f.Value.AppendJSON(nil)
			}
		}
	}
	all[connected] = twin.BoolValue(t.Connected).AppendJSON(nil)
	if t.State != "" {
		all[state] = twin.TextValue(t.State).AppendJSON(nil)
	}
	if t.LastSeen != "" {
		all[lastSeen] = twin.TextValue(t.LastSeen).AppendJSON(nil)
	}
	return all
}

func (t *Thing) sections() map[string]*twin.Node {
	if !t.Shadow.Exists() {
		return nil
	}
	return map[string]*twin.Node{reported: t.Shadow.Reported, desired: t.Shadow.Desired}
}

func (t *Thing) figures() map[string][]Figure {
	return map[string][]Figure{metric: t.Telemetry, computed: t.Computed}
}

// schemas returns the data schema of each property: what the model declares, and of what it
// does not the type of the value.
func (t *Thing) schemas() map[string]map[string]any {
	all := map[string]map[string]any{
		connected: {"type": "boolean", "title": "whether a client that stands for the thing is connected"},
		lastSeen:  {"type": "string", "format": "date-time", "title": "when it last told of itself"},
	}
	for prefix, n := range t.sections() {
		for i := range n.Len() {
			all[prefix+n.At(i).Name()] = typeOf(n.At(i))
		}
	}
	for prefix, figures := range t.figures() {
		for i := range figures {
			all[prefix+figures[i].Name] = figures[i].schema()
		}
	}
	if t.Model == nil {
		return all
	}
	for _, s := range t.Model.Schemas() {
		for name, schema := range propertiesOf(s.Source) {
			all[s.Section+"."+name] = schema
		}
	}
	if b := t.Model.Behaviour(); b != nil {
		names := make([]string, len(b.States))
		for i := range b.States {
			names[i] = b.States[i].Name
		}
		all[state] = map[string]any{"type": "string", "enum": names, "title": "state of its behaviour"}
	}
	return all
}

func (f *Figure) schema() map[string]any {
	s := typeOfValue(f.Value)
	if f.Type != "" {
		s["type"] = f.Type
	}
	if f.Unit != "" {
		s["unit"] = f.Unit
	}
	return s
}

// properties are the names of all properties in order.
func properties(schemas map[string]map[string]any) []string {
	return slices.Sorted(maps.Keys(schemas))
}
