package expr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/twofold-iot/twofold/twin"
)

// Limits of what a program asks of the past.
const (
	CallsMax  = 16
	WindowMax = 366 * 24 * time.Hour
)

// Call is one figure of the past that a program needs, with constant arguments.
type Call struct {
	Function   string        // "avg", "min", "max", "percentile", "rate", "delta", "count", "since", "duration", "last", "ewma"
	Path       Path          // of what
	Window     time.Duration // up to now; 0 for since and last
	State      twin.Value    // of since and duration: the value that the path has; not set: any
	Percentile float64       // of percentile; p95(path, window) has 95
}

// shapes says which arguments a function over time takes.
var shapes = map[string]struct {
	window, state bool
	usage         string
}{
	"avg":      {true, false, `avg(telemetry.power, "24h")`},
	"min":      {true, false, `min(telemetry.power, "24h")`},
	"max":      {true, false, `max(telemetry.power, "24h")`},
	"rate":     {true, false, `rate(telemetry.energy, "1h")`},
	"delta":    {true, false, `delta(telemetry.energy, "24h")`},
	"count":    {true, false, `count(telemetry.power, "1h")`},
	"ewma":     {true, false, `ewma(telemetry.power, "10m")`},
	"last":     {false, false, `last(telemetry.power)`},
	"since":    {false, true, `since(reported.mode) or since(reported.mode == "running")`},
	"duration": {true, true, `duration(reported.mode == "running", "24h")`},
}

const percentileUsage = `p95(telemetry.power, "24h")`

// kind is the type of what a call gives.
func (c *Call) kind() Type {
	switch c.Function {
	case "last":
		return TypeAny
	case "since", "duration":
		return TypeDuration
	}
	return TypeNumber
}

// callName is the variable that stands for a call; users cannot write it.
func callName(i int, k Type) string {
	return callPrefix + strconv.Itoa(i) + callSuffix[k]
}

const callPrefix = "__past"

var callSuffix = map[Type]string{TypeNumber: "n", TypeDuration: "d", TypeAny: "a"}

func callIndex(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, callPrefix)
	if !ok || digits == "" {
		return 0, false
	}
	i, err := strconv.Atoi(digits[:len(digits)-1])
	return i, err == nil
}

// overTime reports whether a function of so many arguments is one over time.
// duration("5m") is CEL's own.
func overTime(function string, args int) bool {
	if function == "duration" {
		return args != 1
	}
	_, known := shapes[function]
	_, percentile := percentileOf(function)
	return known || percentile
}

func percentileOf(function string) (float64, bool) {
	digits, ok := strings.CutPrefix(function, "p")
	if !ok || digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	p, err := strconv.ParseFloat(digits, 64)
	return p, err == nil
}

// newCall reads the arguments of a function over time.
func newCall(function string, args []ast.Expr) (Call, error) {
	c := Call{Function: function}
	shape, usage := shapes[function], shapes[function].usage
	if p, ok := percentileOf(function); ok {
		if p > 100 {
			return c, fmt.Errorf("a percentile of %g is not between 0 and 100", p)
		}
		c.Function, c.Percentile, shape.window, usage = "percentile", p, true, percentileUsage
	}
	want := 1
	if shape.window {
		want = 2
	}
	if len(args) != want {
		return c, fmt.Errorf("%s takes %d arguments, as in %s", function, want, usage)
	}
	at := args[0]
	if shape.state && at.Kind() == ast.CallKind && at.AsCall().FunctionName() == "_==_" {
		state, ok := constant(at.AsCall().Args()[1])
		if !ok {
			return c, fmt.Errorf("the state in %s must be a constant, as in %s", function, usage)
		}
		c.State, at = state, at.AsCall().Args()[0]
	}
	path, full := pathOf(at)
	if !full || len(path) < 2 || !slices.Contains([]string{"reported", "desired", "telemetry", "computed"}, path[0]) {
		return c, fmt.Errorf("%s needs a path of reported, desired, telemetry or computed, as in %s", function, usage)
	}
	c.Path = path
	if !shape.window {
		return c, nil
	}
	var err error
	c.Window, err = windowOf(args[1])
	if err != nil {
		return c, fmt.Errorf("%s: %w, as in %s", function, err, usage)
	}
	return c, nil
}

func windowOf(e ast.Expr) (time.Duration, error) {
	v, ok := constant(e)
	if !ok || v.Type != twin.ValueText {
		return 0, fmt.Errorf("the window must be a constant text")
	}
	text := v.Text
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is no window", v.Text)
		}
		text = strconv.FormatUint(24*n, 10) + "h"
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no window", v.Text)
	case d <= 0 || d > WindowMax:
		return 0, fmt.Errorf("a window of %s is not more than 0 and at most 366d", v.Text)
	}
	return d, nil
}

// constant reads a literal.
func constant(e ast.Expr) (twin.Value, bool) {
	if e.Kind() != ast.LiteralKind {
		return twin.Value{}, false
	}
	switch v := e.AsLiteral().(type) {
	case types.Double:
		return twin.NumberValue(float64(v)), true
	case types.Int:
		return twin.NumberValue(float64(v)), true
	case types.Bool:
		return twin.BoolValue(bool(v)), true
	case types.String:
		return twin.TextValue(string(v)), true
	}
	return twin.Value{}, false
}
