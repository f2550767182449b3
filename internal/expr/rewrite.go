package expr

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// The functions of our own that take the place of CEL's.
const (
	divideName = "_divided_by_"
	moduloName = "_modulo_"
)

// countFunctions give an int in CEL; here a number like any other.
var countFunctions = map[string]bool{
	"size": true, "int": true, "uint": true, "getFullYear": true, "getMonth": true, "getDate": true,
	"getDayOfMonth": true, "getDayOfWeek": true, "getDayOfYear": true, "getHours": true,
	"getMinutes": true, "getSeconds": true, "getMilliseconds": true,
}

// rewriter makes the expression one over float64 before it is checked, and takes the
// functions over time out of it. Nodes keep their ids, and so their place in the text.
type rewriter struct {
	tree  *ast.AST
	make  ast.ExprFactory
	next  int64
	keep  map[int64]bool // integers that stay: indexes, and arguments of timestamp
	calls []Call
	loops bool
	err   *Error
}

func newRewriter(tree *ast.AST) *rewriter {
	return &rewriter{tree: tree, make: ast.NewExprFactory(), next: ast.MaxID(tree), keep: map[int64]bool{}}
}

func (r *rewriter) run() *Error {
	ast.PreOrderVisit(r.tree.Expr(), ast.NewExprVisitor(r.before))
	if r.err == nil {
		ast.PostOrderVisit(r.tree.Expr(), ast.NewExprVisitor(r.after))
	}
	return r.err
}

func (r *rewriter) fail(e ast.Expr, format string, args ...any) {
	if r.err == nil {
		at := r.tree.SourceInfo().GetStartLocation(e.ID())
		r.err = &Error{Line: at.Line(), Column: at.Column() + 1, Reason: fmt.Sprintf(format, args...)}
	}
}

// before finds calls over time and integers that stay.
func (r *rewriter) before(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		if strings.HasPrefix(e.AsIdent(), callPrefix) {
			r.fail(e, "names may not start with %s", callPrefix)
		}
	case ast.ComprehensionKind:
		r.loops = true
	case ast.CallKind:
		c := e.AsCall()
		switch {
		case c.FunctionName() == "_[_]":
			r.keep[c.Args()[1].ID()] = true
		case c.FunctionName() == "timestamp" && len(c.Args()) == 1:
			r.keep[c.Args()[0].ID()] = true
		}
	case ast.MapKind:
		for _, en := range e.AsMap().Entries() {
			r.keep[en.AsMapEntry().Key().ID()] = true
		}
	}
}

func (r *rewriter) after(e ast.Expr) {
	switch e.Kind() {
	case ast.LiteralKind:
		if r.keep[e.ID()] {
			return
		}
		switch v := e.AsLiteral().(type) {
		case types.Int:
			e.SetKindCase(r.make.NewLiteral(e.ID(), types.Double(v)))
		case types.Uint:
			e.SetKindCase(r.make.NewLiteral(e.ID(), types.Double(v)))
		}
	case ast.CallKind:
		r.call(e)
	}
}

func (r *rewriter) call(e ast.Expr) {
	c := e.AsCall()
	name := c.FunctionName()
	switch {
	case !c.IsMemberFunction() && overTime(name, len(c.Args())):
		r.past(e, c)
	case name == "_/_":
		e.SetKindCase(r.make.NewCall(e.ID(), divideName, c.Args()...))
	case name == "_%_":
		e.SetKindCase(r.make.NewCall(e.ID(), moduloName, c.Args()...))
	case countFunctions[name]:
		r.next++
		at, _ := r.tree.SourceInfo().GetOffsetRange(e.ID())
		r.tree.SourceInfo().SetOffsetRange(r.next, at)
		inner := r.make.NewCall(r.next, name, c.Args()...)
		if c.IsMemberFunction() {
			inner = r.make.NewMemberCall(r.next, name, c.Target(), c.Args()...)
		}
		e.SetKindCase(r.make.NewCall(e.ID(), "double", inner))
	}
}

func (r *rewriter) past(e ast.Expr, c ast.CallExpr) {
	call, err := newCall(c.FunctionName(), c.Args())
	if err != nil {
		r.fail(e, "%s", err)
		return
	}
	if len(r.calls) == CallsMax {
		r.fail(e, "more than %d functions over time", CallsMax)
		return
	}
	e.SetKindCase(r.make.NewIdent(e.ID(), callName(len(r.calls), call.kind())))
	r.calls = append(r.calls, call)
}
