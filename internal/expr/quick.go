package expr

import (
	"math"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// quickKind is what a part of an expression is for [Form.quick].
type quickKind uint8

const (
	quickNo   quickKind = iota // absent, an error, or nothing that is known here: the interpreter says
	quickBool                  // 0 or 1
	quickNumber
	quickText
	quickTime      // milliseconds since the epoch
	quickSpan      // milliseconds
	quickCompounds // an object or array
)

type quickValue struct {
	kind   quickKind
	number float64
	text   string
}

func quickTruth(b bool) quickValue {
	if b {
		return quickValue{kind: quickBool, number: 1}
	}
	return quickValue{kind: quickBool}
}

func quickScalar(v twin.Value, ok bool) quickValue {
	if !ok {
		return quickValue{}
	}
	switch v.Type {
	case twin.ValueNumber:
		return quickValue{kind: quickNumber, number: v.Number}
	case twin.ValueBool:
		return quickTruth(v.Number != 0)
	case twin.ValueText:
		return quickValue{kind: quickText, text: v.Text}
	}
	return quickValue{}
}

// quickly evaluates without the interpreter; false if only that knows the result.
func (p *Program) quickly(in *Inputs) (Result, bool) {
	if p.form == nil {
		return Result{}, false
	}
	switch v := p.form.quick(in); v.kind {
	case quickBool:
		return known(twin.BoolValue(v.number != 0)), true
	case quickText:
		return known(twin.TextValue(v.text)), true
	case quickNumber:
		if !math.IsNaN(v.number) && !math.IsInf(v.number, 0) {
			return known(twin.NumberValue(v.number)), true
		}
	}
	return Result{}, false
}

// hasOther reports whether a part has no form: then the interpreter is asked at once.
func (f *Form) hasOther() bool {
	if f.Op == OpOther {
		return true
	}
	for _, a := range f.Args {
		if a.hasOther() {
			return true
		}
	}
	return false
}

// quick gives what CEL gives, or quickNo.
func (f *Form) quick(in *Inputs) quickValue {
	switch f.Op {
	case OpConst:
		return f.quickConst()
	case OpPath:
		return f.quickPath(in)
	case OpAnd, OpOr:
		return f.quickLogic(in)
	case OpNot:
		if a := f.Args[0].quick(in); a.kind == quickBool {
			return quickTruth(a.number == 0)
		}
	case OpIf:
		if c := f.Args[0].quick(in); c.kind == quickBool {
			if c.number != 0 {
				return f.Args[1].quick(in)
			}
			return f.Args[2].quick(in)
		}
	case OpEqual, OpNotEqual:
		return f.quickEqual(in)
	case OpLess, OpLessEqual, OpGreater, OpGreaterEqual:
		return f.quickOrder(in)
	case OpAdd, OpSubtract, OpMultiply, OpDivide, OpModulo:
		return f.quickArithmetic(in)
	case OpNegate:
		if a := f.Args[0].quick(in); a.kind == quickNumber {
			a.number = -a.number
			return a
		}
	case OpIn:
		return f.quickIn(in)
	case OpStartsWith, OpEndsWith, OpContains, OpMatches:
		return f.quickOfText(in)
	}
	return quickValue{}
}

func (f *Form) quickConst() quickValue {
	switch f.Type {
	case TypeTime:
		return quickValue{kind: quickTime, number: f.Value.Number}
	case TypeDuration:
		return quickValue{kind: quickSpan, number: f.Value.Number}
	}
	return quickScalar(f.Value, true)
}

func (f *Form) quickPath(in *Inputs) quickValue {
	if len(f.Path) == 1 {
		return in.quickVariable(f.Path[0])
	}
	switch f.Path[0] {
	case "reported", "desired":
		n := in.quickSection(f.Path[0])
		for _, name := range f.Path[1:] {
			if n = n.Member(name); n == nil {
				return quickValue{}
			}
		}
		if n.IsObject() || n.IsArray() {
			return quickValue{kind: quickCompounds}
		}
		return quickScalar(n.Value())
	case "tags":
		if len(f.Path) == 2 {
			v, ok := in.Tags[f.Path[1]]
			return quickScalar(twin.TextValue(v), ok)
		}
	case "computed", "telemetry":
		values := in.Computed
		if f.Path[0] == "telemetry" {
			values = in.Telemetry
		}
		if len(f.Path) == 2 && values != nil {
			return quickScalar(values.Value(f.Path[1]))
		}
	}
	return quickValue{}
}

func (in *Inputs) quickSection(name string) *twin.Node {
	if s := in.Sections; s != nil {
		if name == "reported" {
			return s.Reported
		}
		return s.Desired
	}
	switch {
	case !in.Shadow.Exists():
		return nil
	case name == "reported":
		return in.Shadow.Reported
	}
	return in.Shadow.Desired
}

func (in *Inputs) quickVariable(name string) quickValue {
	switch name {
	case "id":
		return quickValue{kind: quickText, text: string(in.ID)}
	case "model":
		return quickValue{kind: quickText, text: in.Model}
	case "state":
		return quickScalar(twin.TextValue(in.State), in.State != "")
	case "connected":
		return quickScalar(in.Connected, in.Connected.Type != 0)
	case "now", "lastSeen":
		t := in.Now
		if name == "lastSeen" {
			t = in.LastSeen
		}
		if t != 0 {
			return quickValue{kind: quickTime, number: float64(t)}
		}
	}
	return quickValue{}
}

func (f *Form) quickLogic(in *Inputs) quickValue {
	decides := 0.0
	if f.Op == OpOr {
		decides = 1
	}
	l := f.Args[0].quick(in)
	if l.kind == quickBool && l.number == decides {
		return l
	}
	r := f.Args[1].quick(in)
	switch {
	case r.kind == quickBool && r.number == decides, l.kind == quickBool && r.kind == quickBool:
		return r
	}
	return quickValue{}
}

func (f *Form) quickEqual(in *Inputs) quickValue {
	l, r := f.Args[0].quick(in), f.Args[1].quick(in)
	if l.kind == quickNo || r.kind == quickNo || l.kind == quickCompounds && r.kind == quickCompounds {
		return quickValue{}
	}
	return quickTruth((l == r) == (f.Op == OpEqual))
}

func (f *Form) quickOrder(in *Inputs) quickValue {
	l, r := f.Args[0].quick(in), f.Args[1].quick(in)
	if l.kind != r.kind || l.kind == quickNo || l.kind == quickCompounds || math.IsNaN(l.number) || math.IsNaN(r.number) {
		return quickValue{}
	}
	order := strings.Compare(l.text, r.text)
	switch {
	case l.number < r.number:
		order = -1
	case l.number > r.number:
		order = 1
	}
	switch f.Op {
	case OpLess:
		return quickTruth(order < 0)
	case OpLessEqual:
		return quickTruth(order <= 0)
	case OpGreater:
		return quickTruth(order > 0)
	}
	return quickTruth(order >= 0)
}

func (f *Form) quickArithmetic(in *Inputs) quickValue {
	l, r := f.Args[0].quick(in), f.Args[1].quick(in)
	if l.kind != quickNumber || r.kind != quickNumber {
		return quickValue{}
	}
	switch f.Op {
	case OpAdd:
		l.number += r.number
	case OpSubtract:
		l.number -= r.number
	case OpMultiply:
		l.number *= r.number
	default:
		if r.number == 0 {
			return quickValue{}
		}
		if f.Op == OpDivide {
			l.number /= r.number
		} else {
			l.number = remainder(l.number, r.number)
		}
	}
	return l
}

// remainder is math.Mod, quicker for whole numbers.
func remainder(x, y float64) float64 {
	const exact = 1 << 53
	if x != math.Trunc(x) || y != math.Trunc(y) || math.Abs(x) > exact || math.Abs(y) > exact {
		return math.Mod(x, y)
	}
	return math.Copysign(float64(int64(x)%int64(y)), x) // of the sign of x, also 0
}

func (f *Form) quickIn(in *Inputs) quickValue {
	v := f.Args[0].quick(in)
	if v.kind == quickNo {
		return v
	}
	for _, c := range f.Args[1:] {
		if c.quickConst() == v {
			return quickTruth(true)
		}
	}
	return quickTruth(false)
}

func (f *Form) quickOfText(in *Inputs) quickValue {
	v := f.Args[0].quick(in)
	if v.kind != quickText {
		return quickValue{}
	}
	switch f.Op {
	case OpStartsWith:
		return quickTruth(strings.HasPrefix(v.text, f.Value.Text))
	case OpEndsWith:
		return quickTruth(strings.HasSuffix(v.text, f.Value.Text))
	case OpContains:
		return quickTruth(strings.Contains(v.text, f.Value.Text))
	}
	return quickTruth(f.Match.MatchString(v.text))
}
