package expr

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Limits of an expression.
const (
	SourceBytesMax = 4096
	// CostMax is the most that an evaluation may cost. A loop over a list, or over
	// the members of an object, is taken to go round elementsAssumed times.
	CostMax = 100_000
	// LoopsNestedMax is how deep loops (all, exists, map, filter) may be nested.
	LoopsNestedMax = 2

	elementsAssumed  = 256
	textBytesAssumed = 1024
	depthMax         = 48
)

// Error says what is wrong with an expression and where. Lines and columns count from
// 1.
type Error struct {
	Line, Column int
	Reason       string
	Hint         string // what was perhaps meant, optional
}

// Error implements error.
func (e *Error) Error() string {
	s := fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Reason)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Env is where expressions are compiled: the names there are and their types. It is
// immutable; make one and keep it.
//
//	id, model            string
//	tags                 object of strings
//	reported, desired    the sections of the shadow
//	delta                what desired asks and reported does not say
//	computed             computed attributes
//	telemetry            last values of metrics, also as telemetry["motor.speed"]
//	connected            boolean
//	state                string, the state of the behaviour
//	lastSeen, now        time
//
// One for queries also has
//
//	alarms       alarms that are raised: "raised" or "acknowledged"
//	alarmCount   how many that are
//	driftSince   time since which the oldest part of delta waits
//	stateSince   time since which the state lasts
//	version      number of the classic shadow's version
//	shadows      named shadows, shadows.config.reported.x, each with version, reported, desired and delta
//	intentState  state of the oldest intent that is open, or of the one that ended last
//	intentSince  time since which that is asked for
//	intentCount  how many are open
//
// and holds(x), which is false where x is false, absent or fails.
type Env struct {
	cel *cel.Env
}

// variables are the names and their types.
var variables = map[string]*cel.Type{
	"id": cel.StringType, "model": cel.StringType,
	"tags":     cel.MapType(cel.StringType, cel.StringType),
	"reported": section, "desired": section, "delta": section, "computed": section, "telemetry": section,
	"connected": cel.BoolType, "state": cel.StringType, "lastSeen": cel.TimestampType, "now": cel.TimestampType,
}

// queryVariables are the names that queries have beside.
var queryVariables = map[string]*cel.Type{
	"alarms": section, "alarmCount": cel.DoubleType, "driftSince": cel.TimestampType, "stateSince": cel.TimestampType, "version": cel.DoubleType,
	"shadows":     section,
	"intentState": cel.StringType, "intentSince": cel.TimestampType, "intentCount": cel.DoubleType,
}

var section = cel.MapType(cel.StringType, cel.DynType)

// NewEnv makes the environment of models.
func NewEnv() (*Env, error) { return newEnv(variables) }

// NewQueryEnv makes the environment of queries.
func NewQueryEnv() (*Env, error) { return newEnv(variables, queryVariables) }

func newEnv(vars ...map[string]*cel.Type) (*Env, error) {
	opts := []cel.EnvOption{
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(SourceBytesMax),
		cel.ParserRecursionLimit(depthMax),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(),
			cel.ValidateRegexLiterals(), cel.ValidateComprehensionNestingLimit(LoopsNestedMax)),
		arithmetic(divideName, divide), arithmetic(moduloName, modulo), holds(),
	}
	for _, some := range vars {
		for name, t := range some {
			opts = append(opts, cel.Variable(name, t))
		}
	}
	celTypes := map[Type]*cel.Type{TypeNumber: cel.DoubleType, TypeDuration: cel.DurationType, TypeAny: cel.DynType}
	for i := range CallsMax {
		for k, t := range celTypes {
			opts = append(opts, cel.Variable(callName(i, k), t))
		}
	}
	e, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("make the environment of expressions: %w", err)
	}
	return &Env{e}, nil
}

func arithmetic(name string, f func(x, y float64) ref.Val) cel.EnvOption {
	return cel.Function(name, cel.Overload(name+"double", []*cel.Type{cel.DoubleType, cel.DoubleType}, cel.DoubleType,
		cel.BinaryBinding(func(l, r ref.Val) ref.Val {
			x, okX := l.(types.Double)
			y, okY := r.(types.Double)
			if !okX || !okY {
				return types.NoSuchOverloadErr()
			}
			return f(float64(x), float64(y))
		})))
}

// holdsName is the function that turns what is absent or fails into false.
const holdsName = "holds"

func holds() cel.EnvOption {
	return cel.Function(holdsName, cel.Overload(holdsName+"_any", []*cel.Type{cel.DynType}, cel.BoolType, cel.OverloadIsNonStrict(),
		cel.UnaryBinding(func(v ref.Val) ref.Val { return types.Bool(v == types.True) })))
}

func divide(x, y float64) ref.Val {
	if y == 0 {
		return types.NewErrFromString("division by zero")
	}
	return types.Double(x / y)
}

func modulo(x, y float64) ref.Val {
	if y == 0 {
		return types.NewErrFromString("remainder of a division by zero")
	}
	return types.Double(math.Mod(x, y))
}

// Compile checks an expression. The error is an [*Error].
func Compile(source string, env *Env) (*Program, error) {
	if len(source) > SourceBytesMax {
		return nil, &Error{Line: 1, Column: 1, Reason: fmt.Sprintf("the expression has %d bytes, the limit is %d", len(source), SourceBytesMax)}
	}
	tree, issues := env.cel.Parse(source)
	if issues.Err() != nil {
		return nil, firstIssue(issues)
	}
	rw := newRewriter(tree.NativeRep())
	if err := rw.run(); err != nil {
		return nil, err
	}
	tree, issues = env.cel.Check(tree)
	if issues.Err() != nil {
		return nil, firstIssue(issues)
	}
	p := &Program{source: source, calls: rw.calls, kind: typeOf(tree.OutputType())}
	estimate, err := env.cel.EstimateCost(tree, sizes{})
	if err != nil {
		return nil, &Error{Line: 1, Column: 1, Reason: err.Error()}
	}
	if p.cost = estimate.Max; p.cost > CostMax {
		return nil, &Error{Line: 1, Column: 1, Reason: fmt.Sprintf("the expression may cost %d, the limit is %d", p.cost, CostMax), Hint: "nest no loops, or make them over less"}
	}
	p.tree = tree.NativeRep().Expr()
	var r reads
	r.visit(p.tree)
	p.reads = r.sorted()
	p.now = readsNow(p.reads)
	if f := p.Form(); !f.hasOther() {
		p.form = f
	}
	opts := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if rw.loops {
		opts = append(opts, cel.CostLimit(CostMax)) // costs time, so only where a long list can matter
	}
	if p.program, err = env.cel.Program(tree, opts...); err != nil {
		return nil, &Error{Line: 1, Column: 1, Reason: err.Error()}
	}
	return p, nil
}

// sizes tells the estimate how large the parts of a twin are taken to be.
type sizes struct{}

func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

func (sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	if n.ComputedSize() != nil {
		return nil
	}
	switch n.Type().Kind() {
	case types.StringKind, types.BytesKind:
		return &cost.SizeEstimate{Max: textBytesAssumed}
	}
	return &cost.SizeEstimate{Max: elementsAssumed}
}

func firstIssue(issues *cel.Issues) *Error {
	first := issues.Errors()[0]
	e := &Error{Line: first.Location.Line(), Column: first.Location.Column() + 1, Reason: first.Message}
	if before, _, ok := strings.Cut(e.Reason, " expecting {"); ok {
		e.Reason = strings.Replace(before, "'<EOF>'", "end of the expression", 1)
	}
	if m := undeclared.FindStringSubmatch(first.Message); m != nil {
		e.Reason = fmt.Sprintf("there is no %s", m[1])
		if near := Nearest(m[1], names()); near != "" {
			e.Hint = fmt.Sprintf("did you mean %s?", near)
		}
		return e
	}
	if m := overload.FindStringSubmatch(first.Message); m != nil {
		e.Reason = fmt.Sprintf("%s does not take %s", operator(m[1]), typeWords.ReplaceAllStringFunc(m[2], plainType))
	}
	return e
}

var (
	undeclared = regexp.MustCompile(`^undeclared reference to '([^']+)'`)
	overload   = regexp.MustCompile(`^found no matching overload for '([^']+)' applied to '(.*)'`)
	typeWords  = regexp.MustCompile(`[a-zA-Z_.]+`)
)

// operator names an operator of CEL as it is written.
func operator(name string) string {
	switch name {
	case divideName:
		return "/"
	case moduloName:
		return "%"
	}
	return strings.Trim(name, "_")
}

// names are all names there are, in order.
func names() []string {
	var all []string
	for name := range variables {
		all = append(all, name)
	}
	for name := range shapes {
		all = append(all, name)
	}
	for name := range countFunctions {
		all = append(all, name)
	}
	all = append(all, "has", "all", "exists", "map", "filter", "matches", "contains", "startsWith", "endsWith", "timestamp", "string", "p95", holdsName)
	slices.Sort(all)
	return all
}

// Nearest returns the word that is most like name, empty if none is much like it.
func Nearest(name string, words []string) string {
	best, least := "", max(1, len(name)/3)+1
	for _, w := range words {
		if d := distance(strings.ToLower(name), strings.ToLower(w)); d < least && d < len(w) {
			best, least = w, d
		}
	}
	return best
}

// distance is how many letters have to be put in, taken out or changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
