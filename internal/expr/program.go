package expr

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/twofold-iot/twofold/twin"
)

// Type is the type of a result.
type Type string

// The types. TypeAny is known only when the expression is evaluated.
const (
	TypeAny      Type = "any"
	TypeNumber   Type = "number"
	TypeBool     Type = "boolean"
	TypeText     Type = "string"
	TypeTime     Type = "time"
	TypeDuration Type = "duration"
	TypeList     Type = "list"
	TypeObject   Type = "object"
)

// Program is a checked expression. It is immutable and safe for concurrent use.
type Program struct {
	source  string
	program cel.Program
	tree    ast.Expr
	form    *Form // nil: a part of it has none
	calls   []Call
	reads   []Path
	kind    Type
	cost    uint64
	now     bool
}

// Source returns the text.
func (p *Program) Source() string { return p.source }

// Type returns the type of the result.
func (p *Program) Type() Type { return p.kind }

// Cost returns the most that an evaluation costs by the static estimate; about one for
// each operator.
func (p *Program) Cost() uint64 { return p.cost }

// Reads returns the paths that the result depends on, in order. Functions over time
// are not among them, see [Program.Calls]. The caller must not change it.
func (p *Program) Reads() []Path { return p.reads }

// Calls returns the figures of the past that the program needs. The caller must not
// change it.
func (p *Program) Calls() []Call { return p.calls }

// OnNow reports whether the result can change with time alone.
func (p *Program) OnNow() bool { return p.now || len(p.calls) > 0 }

// Affected reports whether a change of one of the paths can change the result. A
// change of reported or desired is one of delta too.
func (p *Program) Affected(changed []Path) bool {
	for _, r := range p.reads {
		for _, c := range changed {
			if r.Overlaps(c) || r[0] == "delta" && (c[0] == "reported" || c[0] == "desired") && r[1:].Overlaps(c[1:]) {
				return true
			}
		}
	}
	return false
}

// Status says which of the three a result is.
type Status uint8

// The statuses.
const (
	Absent Status = iota // something that it needs is not there
	Known
	Failed // Reason says why
)

// Result is what an expression gives.
type Result struct {
	Status Status
	Value  twin.Value // of Known; a time as RFC 3339, a duration in seconds
	Reason string     // of Failed
}

// Holds reports whether the result is true: what a filter or a condition asks.
func (r *Result) Holds() bool {
	return r.Status == Known && r.Value.Type == twin.ValueBool && r.Value.Number != 0
}

// Evaluate gives the result for a twin. What is common does not need the interpreter.
func (p *Program) Evaluate(in *Inputs) Result {
	if r, ok := p.quickly(in); ok {
		return r
	}
	return p.Interpret(in)
}

// Interpret gives the same result by the interpreter of CEL alone.
func (p *Program) Interpret(in *Inputs) Result {
	out, _, err := p.program.Eval(&activation{in: in, calls: p.calls})
	if err != nil {
		return Result{Status: Failed, Reason: reason(err)}
	}
	return result(out)
}

func result(out ref.Val) Result {
	switch v := out.(type) {
	case types.Double:
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return Result{Status: Failed, Reason: "the result is not a finite number"}
		}
		return known(twin.NumberValue(float64(v)))
	case types.Int:
		return known(twin.NumberValue(float64(v)))
	case types.Bool:
		return known(twin.BoolValue(bool(v)))
	case types.String:
		return known(twin.TextValue(string(v)))
	case types.Timestamp:
		return known(twin.TextValue(v.UTC().Format(time.RFC3339Nano)))
	case types.Duration:
		return known(twin.NumberValue(v.Seconds()))
	case *types.Unknown, types.Null:
		return Result{}
	}
	return Result{Status: Failed, Reason: fmt.Sprintf("the result is a %s, not a number, boolean or string", typeName(out))}
}

func known(v twin.Value) Result { return Result{Status: Known, Value: v} }

// reason words an error of CEL for users.
func reason(err error) string {
	var e *types.Err
	msg := err.Error()
	if errors.As(err, &e) {
		msg = e.String()
	}
	switch {
	case strings.Contains(msg, "no such overload"):
		return "wrong type: an operator or function was given a value that it does not take"
	case strings.Contains(msg, "cost limit exceeded"):
		return fmt.Sprintf("the evaluation costs more than %d", CostMax)
	}
	return msg
}

// plainType names a type of CEL as users know it.
func plainType(name string) string {
	switch name {
	case "double", "int", "uint":
		return "number"
	case "bool":
		return "boolean"
	case "dyn":
		return "any"
	case "google.protobuf.Timestamp", "timestamp":
		return "time"
	case "google.protobuf.Duration", "duration":
		return "duration"
	case "map":
		return "object"
	}
	return name
}

func typeOf(t *types.Type) Type {
	switch t.Kind() {
	case types.DoubleKind, types.IntKind, types.UintKind:
		return TypeNumber
	case types.BoolKind:
		return TypeBool
	case types.StringKind:
		return TypeText
	case types.TimestampKind:
		return TypeTime
	case types.DurationKind:
		return TypeDuration
	case types.ListKind:
		return TypeList
	case types.MapKind:
		return TypeObject
	}
	return TypeAny
}

func readsNow(paths []Path) bool {
	return slices.ContainsFunc(paths, func(p Path) bool { return p[0] == "now" })
}
