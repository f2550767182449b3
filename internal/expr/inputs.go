package expr

import (
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

	"github.com/twofold-iot/twofold/twin"
)

// Values are scalars by name: the last values of metrics, or computed attributes.
type Values interface {
	// Value returns the value of a name, false if there is none.
	Value(name string) (twin.Value, bool)
	// Under reports whether a name starts with prefix; "motor." is asked for when
	// an expression reads telemetry.motor.speed.
	Under(prefix string) bool
}

// Past answers what was. One that is nil has nothing of anything.
type Past interface {
	// Past returns the figure that a call asks for as of [Inputs].Now: a number, for
	// "last" a value of any type, for "since" and "duration" seconds. It returns
	// false if there is no such figure. It is called by one goroutine for each
	// evaluation.
	Past(call *Call) (twin.Value, bool)
}

// Inputs are what is known of one twin. The zero value of a field is "absent", but
// for id, model and tags, which are there and empty. Evaluation only reads them.
type Inputs struct {
	ID        twin.ThingName
	Model     string
	Tags      map[string]string
	Shadow    *twin.Shadow // reported, desired, delta
	Sections  *Sections    // the same in parts, if Shadow is not at hand
	Computed  Values
	Telemetry Values
	Sampled   map[string]twin.Time // times of the last values of metrics; nil: they are not known
	Connected twin.Value           // a bool
	State     string               // of the behaviour; empty: absent
	LastSeen  twin.Time
	Now       twin.Time
	Past      Past
	// For queries.
	Alarms     Values
	AlarmCount int
	DriftSince twin.Time
	StateSince twin.Time
	// IntentState is empty, and IntentSince 0, if nothing was ever asked.
	IntentState string
	IntentSince twin.Time
	IntentCount int
	Version     twin.Version // 0: absent
}

// Sections are the sections of a shadow; nil: an empty one.
type Sections struct {
	Reported, Desired, Delta *twin.Node
	Shadows                  *twin.Node // named ones, for queries: each with version, reported, desired, delta
}

// Map is [Values] in a map.
type Map map[string]twin.Value

// Value implements [Values].
func (m Map) Value(name string) (twin.Value, bool) {
	v, ok := m[name]
	return v, ok
}

// Under implements [Values].
func (m Map) Under(prefix string) bool {
	for name := range m {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// activation resolves the names of one evaluation. It is the program's view of
// Inputs, a pair so that [Call]s are at hand.
type activation struct {
	in    *Inputs
	calls []Call
}

// Parent implements [interpreter.Activation].
func (a *activation) Parent() interpreter.Activation { return nil }

// ResolveName implements [interpreter.Activation].
func (a *activation) ResolveName(name string) (any, bool) {
	in := a.in
	switch name {
	case "id":
		return types.String(in.ID), true
	case "model":
		return types.String(in.Model), true
	case "tags":
		return tagsVal(in.Tags), true
	case "reported", "desired", "delta", "shadows":
		return in.section(name), true
	case "computed":
		return valuesVal{values: in.Computed}, true
	case "telemetry":
		return valuesVal{values: in.Telemetry}, true
	case "connected":
		return scalar(in.Connected, in.Connected.Type != 0), true
	case "state":
		return scalar(twin.TextValue(in.State), in.State != ""), true
	case "version":
		return scalar(twin.NumberValue(float64(in.Version)), in.Version != 0), true
	case "stateSince":
		return instant(in.StateSince), true
	case "intentState":
		return scalar(twin.TextValue(in.IntentState), in.IntentState != ""), true
	case "intentSince":
		return instant(in.IntentSince), true
	case "intentCount":
		return types.Double(in.IntentCount), true
	case "lastSeen":
		return instant(in.LastSeen), true
	case "now":
		return instant(in.Now), true
	case "alarms":
		return valuesVal{values: in.Alarms}, true
	case "alarmCount":
		return types.Double(in.AlarmCount), true
	case "driftSince":
		return instant(in.DriftSince), true
	}
	if i, ok := callIndex(name); ok && i < len(a.calls) {
		return a.past(&a.calls[i]), true
	}
	return nil, false
}

func (a *activation) past(c *Call) any {
	if a.in.Past == nil {
		return absent
	}
	v, ok := a.in.Past.Past(c)
	if !ok {
		return absent
	}
	if c.kind() == TypeDuration && v.Type == twin.ValueNumber {
		return seconds(v.Number)
	}
	return scalar(v, true)
}

func (in *Inputs) section(name string) any {
	if s := in.Sections; s != nil {
		switch name {
		case "reported":
			return (*object)(s.Reported)
		case "desired":
			return (*object)(s.Desired)
		case "shadows":
			return (*object)(s.Shadows)
		}
		return (*object)(s.Delta)
	}
	if !in.Shadow.Exists() {
		return (*object)(nil)
	}
	switch name {
	case "reported":
		return (*object)(in.Shadow.Reported)
	case "desired":
		return (*object)(in.Shadow.Desired)
	}
	return (*object)(in.Shadow.Delta())
}
