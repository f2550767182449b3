package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of a model.
const (
	SourceBytesMax  = 256 << 10
	ComputedMax     = 100
	UnitBytesMax    = 32
	VersionBytesMax = 64
)

// Model is a checked definition. It is immutable and safe for concurrent use.
type Model struct {
	Name     string
	Version  string
	computed []Attribute // each after those that it reads
	alarms   []Alarm
	schemas  []*Schema
	// annotations are parts of desired that are no wish, without the section.
	annotations [][]string
	behaviour   *Behaviour        // nil: none
	beside      []expr.Path       // of telemetry and the connection, that a step reads
	metrics     []twin.MetricName // of beside
	monitors    Monitors
	failure     *Failure  // nil: it is not said
	dynamics    *Dynamics // nil: it is not said
	dynamicsAt  ast.Node  // until they are checked
}

// Attribute is one computed attribute.
type Attribute struct {
	Name    string
	Program *expr.Program
	Type    expr.Type // number, boolean, string, or any if the model does not say
	Unit    string
	// OfState says that shadow and attributes alone decide it. Others need the past, the
	// present time, telemetry or the connection, themselves or through another attribute;
	// Evaluate leaves them out.
	OfState bool
	needs   []string // computed attributes that it reads
	path    expr.Path
	line    int
	column  int
}

// Computed returns the computed attributes, each after those that it reads. The caller
// must not change it.
func (m *Model) Computed() []Attribute { return m.computed }

// Error says what is wrong with a model and where. Lines and columns count from 1.
type Error struct {
	Line, Column int
	Reason       string
	Hint         string
}

// Error implements error.
func (e *Error) Error() string {
	s := fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Reason)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// link finds what each attribute needs and puts them in order.
func (m *Model) link() error {
	byName := map[string]*Attribute{}
	var names []string
	for i := range m.computed {
		byName[m.computed[i].Name] = &m.computed[i]
		names = append(names, m.computed[i].Name)
	}
	for i := range m.computed {
		a := &m.computed[i]
		for _, p := range a.Program.Reads() {
			if p[0] == "state" {
				return a.fault("reads state, which is decided after it", "alarms can read state")
			}
			if p[0] != "computed" {
				continue
			}
			if len(p) == 1 {
				return a.fault("reads computed as a whole", "name the attribute, as in computed."+names[0])
			}
			name := strings.Join(p[1:], ".")
			if byName[name] == nil {
				e := a.fault(fmt.Sprintf("reads computed.%s, which the model does not have", name), "")
				if near := expr.Nearest(name, names); near != "" {
					e.Hint = "did you mean computed." + near + "?"
				}
				return e
			}
			a.needs = append(a.needs, name)
		}
	}
	return m.order(byName)
}

func (a *Attribute) fault(reason, hint string) *Error {
	return &Error{Line: a.line, Column: a.column, Reason: "computed." + a.Name + " " + reason, Hint: hint}
}

// order sorts the attributes so that each comes after what it needs.
func (m *Model) order(byName map[string]*Attribute) error {
	var sorted []Attribute
	done := map[string]bool{}
	var visit func(a *Attribute, way []string) error
	visit = func(a *Attribute, way []string) error {
		if done[a.Name] {
			return nil
		}
		if at := slices.Index(way, a.Name); at >= 0 {
			return a.fault("needs itself: "+strings.Join(append(way[at:], a.Name), " → "), "")
		}
		way = append(way, a.Name)
		for _, need := range a.needs {
			if err := visit(byName[need], way); err != nil {
				return err
			}
		}
		a.OfState = !a.Program.OnNow() && !slices.ContainsFunc(a.Program.Reads(), beside)
		for _, need := range a.needs {
			a.OfState = a.OfState && byName[need].OfState
		}
		done[a.Name] = true
		sorted = append(sorted, *a)
		return nil
	}
	for i := range m.computed {
		if err := visit(&m.computed[i], nil); err != nil {
			return err
		}
	}
	m.computed = sorted
	return nil
}

// beside reports whether a path is of what changes without an update of the shadow.
func beside(p expr.Path) bool {
	return p[0] == "telemetry" || p[0] == "connected" || p[0] == "lastSeen"
}

// Why says where a value comes from.
type Why struct {
	Model, Version string
	Expression     string
	Inputs         []Input
	Reason         string // why there is no value; empty if there is one
	Failed         bool   // it is an error: a division by zero, a wrong type
}

// Input is one thing that was read, Status says whether it was there.
type Input struct {
	Path  expr.Path
	Value expr.Result
}

// Evaluate gives the computed attributes of the state of a twin after a change of some paths, and
// why for those that it evaluated. before are the values until now; attributes none
// of whose inputs changed keep theirs. An attribute without a value is not in the
// map. changed nil means that everything is new. in.Computed is not read.
func (m *Model) Evaluate(in expr.Inputs, changed []expr.Path, before expr.Map) (expr.Map, map[string]Why) {
	why := map[string]Why{}
	values, _ := m.evaluate(&in, changed, before, why)
	return values, why
}

// evaluate is Evaluate, and tells what moved: the paths of changed, and the attributes
// that have another value than before. It leaves the values in in.Computed. why may be nil.
func (m *Model) evaluate(in *expr.Inputs, changed []expr.Path, before expr.Map, why map[string]Why) (expr.Map, []expr.Path) {
	values := make(expr.Map, len(before))
	moved := slices.Clone(changed)
	in.Computed = values
	for i := range m.computed {
		a := &m.computed[i]
		if !a.OfState {
			continue
		}
		if !a.Program.Affected(moved) && changed != nil {
			if v, ok := before[a.Name]; ok {
				values[a.Name] = v
			}
			continue
		}
		r := a.evaluate(in)
		if why != nil {
			why[a.Name] = m.why(a, in, &r)
		}
		old, had := before[a.Name]
		if r.Status == expr.Known {
			values[a.Name] = r.Value
		}
		if had != (r.Status == expr.Known) || had && old != r.Value {
			moved = append(moved, a.path)
		}
	}
	return values, moved
}

func (a *Attribute) evaluate(in *expr.Inputs) expr.Result {
	r := a.Program.Evaluate(in)
	want := map[expr.Type]twin.ValueType{expr.TypeNumber: twin.ValueNumber, expr.TypeBool: twin.ValueBool, expr.TypeText: twin.ValueText}[a.Type]
	if r.Status == expr.Known && want != 0 && r.Value.Type != want {
		return expr.Result{Status: expr.Failed, Reason: fmt.Sprintf("the result is a %s, the model says %s", r.Value.Type, a.Type)}
	}
	return r
}

func (m *Model) why(a *Attribute, in *expr.Inputs, r *expr.Result) Why {
	w := Why{Model: m.Name, Version: m.Version, Expression: a.Program.Source(), Reason: r.Reason, Failed: r.Status == expr.Failed}
	var missing []string
	for _, p := range a.Program.Reads() {
		v := in.At(p)
		w.Inputs = append(w.Inputs, Input{Path: p, Value: v})
		if v.Status == expr.Absent {
			missing = append(missing, p.String())
		}
	}
	if r.Status == expr.Absent {
		w.Reason = "there is no " + strings.Join(missing, ", no ")
		if missing == nil {
			w.Reason = "something that it needs is not there"
		}
	}
	return w
}
