package expr

import (
	"regexp"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/twofold-iot/twofold/twin"
)

// Op is what a [Form] does with its arguments.
type Op uint8

// The operators. Those of a kind keep their order.
const (
	// OpOther is what has no form; only [Program.Evaluate] knows its value.
	OpOther Op = iota
	OpConst
	OpPath
	OpHas // has(path)
	OpAnd
	OpOr
	OpNot
	OpHolds
	OpIf // condition, value if it is true, value if it is false
	OpEqual
	OpNotEqual
	OpLess
	OpLessEqual
	OpGreater
	OpGreaterEqual
	OpAdd
	OpSubtract
	OpMultiply
	OpDivide
	OpModulo
	OpNegate
	OpIn // a value, then the constants of the list
	OpStartsWith
	OpEndsWith
	OpContains
	OpMatches // a value; Match
)

// Form is an expression as a tree of operators, for who evaluates it over many twins at
// once. What each operator gives is what CEL gives, as [Program.Evaluate] does it.
type Form struct {
	Op   Op
	Args []*Form
	Path Path // of OpPath, OpHas
	// Type and Value are the constant. A time is a number of milliseconds since the epoch,
	// a duration one of milliseconds.
	Type  Type
	Value twin.Value
	Match *regexp.Regexp
}

// Form returns the expression as a tree; parts that have no form are [OpOther].
func (p *Program) Form() *Form { return formOf(p.tree) }

var other = &Form{} // never changed

var operators = map[string]struct {
	op   Op
	args int
}{
	"_&&_": {OpAnd, 2}, "_||_": {OpOr, 2}, "!_": {OpNot, 1}, "_?_:_": {OpIf, 3},
	"_==_": {OpEqual, 2}, "_!=_": {OpNotEqual, 2}, "_<_": {OpLess, 2}, "_<=_": {OpLessEqual, 2}, "_>_": {OpGreater, 2}, "_>=_": {OpGreaterEqual, 2},
	"_+_": {OpAdd, 2}, "_-_": {OpSubtract, 2}, "_*_": {OpMultiply, 2}, divideName: {OpDivide, 2}, moduloName: {OpModulo, 2}, "-_": {OpNegate, 1},
}

var textOperators = map[string]Op{"startsWith": OpStartsWith, "endsWith": OpEndsWith, "contains": OpContains}

func formOf(e ast.Expr) *Form {
	switch e.Kind() {
	case ast.LiteralKind:
		return formOfLiteral(e)
	case ast.IdentKind:
		return formOfPath(e, OpPath)
	case ast.SelectKind:
		op := OpPath
		if e.AsSelect().IsTestOnly() {
			op = OpHas
		}
		return formOfPath(e, op)
	case ast.CallKind:
		return formOfCall(e)
	}
	return other
}

func formOfPath(e ast.Expr, op Op) *Form {
	p, full := pathOf(e)
	if _, call := callIndex(p.root()); call || !full {
		return other
	}
	return &Form{Op: op, Path: p}
}

// root is the variable; empty for no path.
func (p Path) root() string {
	if len(p) == 0 {
		return ""
	}
	return p[0]
}

func formOfLiteral(e ast.Expr) *Form {
	switch v := e.AsLiteral().(type) {
	case types.Double:
		return &Form{Op: OpConst, Type: TypeNumber, Value: twin.NumberValue(float64(v))}
	case types.Bool:
		return &Form{Op: OpConst, Type: TypeBool, Value: twin.BoolValue(bool(v))}
	case types.String:
		return &Form{Op: OpConst, Type: TypeText, Value: twin.TextValue(string(v))}
	}
	return other
}

func formOfCall(e ast.Expr) *Form {
	c := e.AsCall()
	name, args := c.FunctionName(), c.Args()
	if o, ok := operators[name]; ok && o.args == len(args) {
		f := &Form{Op: o.op}
		for _, arg := range args {
			f.Args = append(f.Args, formOf(arg))
		}
		return f
	}
	switch {
	case c.IsMemberFunction() && len(args) == 1:
		return formOfTextCall(name, c)
	case name == "@in" && len(args) == 2:
		return formOfIn(args)
	case name == "_[_]":
		return formOfPath(e, OpPath)
	case len(args) == 1 && name == holdsName:
		return &Form{Op: OpHolds, Args: []*Form{formOf(args[0])}}
	case len(args) == 1 && (name == "duration" || name == "timestamp"):
		return formOfTime(name, args[0])
	}
	return other
}

func formOfTextCall(name string, c ast.CallExpr) *Form {
	value, ok := text(c.Args()[0])
	if !ok {
		return other
	}
	if op, ok := textOperators[name]; ok {
		return &Form{Op: op, Args: []*Form{formOf(c.Target())}, Value: twin.TextValue(value)}
	}
	if name == "matches" {
		if re, err := regexp.Compile(value); err == nil {
			return &Form{Op: OpMatches, Args: []*Form{formOf(c.Target())}, Match: re}
		}
	}
	return other
}

func formOfIn(args []ast.Expr) *Form {
	if args[1].Kind() != ast.ListKind {
		return other
	}
	f := &Form{Op: OpIn, Args: []*Form{formOf(args[0])}}
	for _, el := range args[1].AsList().Elements() {
		one := formOf(el)
		if one.Op != OpConst {
			return other
		}
		f.Args = append(f.Args, one)
	}
	return f
}

func formOfTime(name string, arg ast.Expr) *Form {
	value, ok := text(arg)
	if !ok {
		return other
	}
	if name == "duration" {
		if d, err := time.ParseDuration(value); err == nil {
			return &Form{Op: OpConst, Type: TypeDuration, Value: twin.NumberValue(float64(d) / float64(time.Millisecond))}
		}
		return other
	}
	if t, err := time.Parse(time.RFC3339, value); err == nil {
		return &Form{Op: OpConst, Type: TypeTime, Value: twin.NumberValue(float64(t.UnixMicro()) / 1000)}
	}
	return other
}
