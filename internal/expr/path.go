package expr

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// Path is what an expression reads: the variable and the names below it,
// {"reported", "motor", "speed"}. Below telemetry and computed the names joined by
// dots are the name of one value.
type Path []string

// String joins the names by dots; a name that is empty or has a dot or a quote in it
// is quoted.
func (p Path) String() string {
	var b strings.Builder
	for i, name := range p {
		if i > 0 {
			b.WriteByte('.')
		}
		if name == "" || p[0] != "telemetry" && strings.Contains(name, ".") || strings.ContainsAny(name, `"\`) {
			name = strconv.Quote(name)
		}
		b.WriteString(name)
	}
	return b.String()
}

// Expression is the path as an expression reads it: names that are no identifiers are
// indexes.
func (p Path) Expression() string {
	var b strings.Builder
	for i, name := range p {
		switch {
		case i == 0:
			b.WriteString(name)
		case identifier.MatchString(name) && !slices.Contains(reserved, name):
			b.WriteString("." + name)
		default:
			b.WriteString("[" + strconv.Quote(name) + "]")
		}
	}
	return b.String()
}

// reserved are the words of CEL that are no names (CEL specification, "Syntax").
var reserved = strings.Fields("in true false null as break const continue else for function if import let loop package namespace return var void while")

var identifier = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// Overlaps reports whether a change of one path can be one of the other: they are the
// same, or one has the other in it.
func (p Path) Overlaps(q Path) bool {
	n := min(len(p), len(q))
	return slices.Equal(p[:n], q[:n])
}

// pathOf reads a chain of selections from a variable. full is false if only the
// beginning is known: an index is computed, or a value is gone into by position.
func pathOf(e ast.Expr) (p Path, full bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return Path{e.AsIdent()}, true
	case ast.SelectKind:
		p, full = pathOf(e.AsSelect().Operand())
		if p != nil && full {
			p = append(p, e.AsSelect().FieldName())
		}
		return p, full
	case ast.CallKind:
		if c := e.AsCall(); c.FunctionName() == "_[_]" {
			p, full = pathOf(c.Args()[0])
			if p == nil || !full {
				return p, false
			}
			if name, ok := text(c.Args()[1]); ok {
				return append(p, name), true
			}
			return p, false
		}
	}
	return nil, false
}

func text(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// reads collects the paths that an expression reads, shortest first where one has
// another in it, each once. bound are the variables of comprehensions around it.
type reads struct {
	paths []Path
	bound []string
}

func (r *reads) visit(e ast.Expr) {
	if p, full := pathOf(e); p != nil {
		if !slices.Contains(r.bound, p[0]) && !strings.HasPrefix(p[0], callPrefix) {
			r.paths = append(r.paths, p)
		}
		if full {
			return
		}
	}
	switch e.Kind() {
	case ast.SelectKind:
		r.below(e.AsSelect().Operand())
	case ast.CallKind:
		c := e.AsCall()
		if c.IsMemberFunction() {
			r.visit(c.Target())
		}
		for i, arg := range c.Args() {
			if i == 0 && c.FunctionName() == "_[_]" {
				r.below(arg)
				continue
			}
			r.visit(arg)
		}
	case ast.ListKind:
		for _, el := range e.AsList().Elements() {
			r.visit(el)
		}
	case ast.MapKind:
		for _, en := range e.AsMap().Entries() {
			r.visit(en.AsMapEntry().Key())
			r.visit(en.AsMapEntry().Value())
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		r.visit(c.IterRange())
		r.visit(c.AccuInit())
		outer := len(r.bound)
		r.bound = append(r.bound, c.IterVar(), c.AccuVar())
		r.visit(c.LoopCondition())
		r.visit(c.LoopStep())
		r.visit(c.Result())
		r.bound = r.bound[:outer]
	}
}

// below goes on below a selection whose path has been taken: only what computes an
// index in it is read too.
func (r *reads) below(e ast.Expr) {
	if _, full := pathOf(e); !full {
		r.visit(e)
	}
}

func (r *reads) sorted() []Path {
	slices.SortFunc(r.paths, slices.Compare)
	return slices.CompactFunc(r.paths, slices.Equal)
}
