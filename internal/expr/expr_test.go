package expr_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// past answers with the arguments it was asked with.
type past map[string]twin.Value

func (p past) Past(c *expr.Call) (twin.Value, bool) {
	name := c.Function
	if c.Percentile != 0 {
		name += strconv.FormatFloat(c.Percentile, 'g', -1, 64)
	}
	name += " " + c.Path.String()
	if c.State.Type != 0 {
		name += " " + c.State.Text
	}
	if c.Window != 0 {
		name += " " + c.Window.String()
	}
	v, ok := p[name]
	return v, ok
}

func inputs(t testing.TB) *expr.Inputs {
	t.Helper()
	req, err := twin.ParseRequest([]byte(`{"state":{
		"reported":{"flow":12.5,"head":30,"power":4000,"zero":0,"mode":"running","on":true,"n":7,
			"motor":{"speed":1480},"list":[1,2,3],"a.b":5,"q\"uote":6,"text":"caf\u00e9"},
		"desired":{"mode":"stopped","motor":{"speed":1480}}}}`), twin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := twin.NewChange(twin.ShadowKey{Thing: "pump-7"}, nil, req, 1000, twin.Limits{}.WithDefaults())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 22, 30, 0, 0, time.UTC)
	return &expr.Inputs{
		ID: "pump-7", Model: "pump", Tags: map[string]string{"site": "hh1"}, Shadow: c.Current,
		Computed:  expr.Map{"efficiency": twin.NumberValue(0.9)},
		Telemetry: expr.Map{"temp": twin.NumberValue(41.5), "motor.speed": twin.NumberValue(1479)},
		Connected: twin.BoolValue(true), LastSeen: twin.TimeOf(now.Add(-10 * time.Minute)), Now: twin.TimeOf(now),
		Past: past{
			"avg telemetry.temp 24h0m0s":                  twin.NumberValue(40.25),
			"percentile95 telemetry.motor.speed 168h0m0s": twin.NumberValue(1500),
			"since reported.mode running":                 twin.NumberValue(90),
			"duration reported.mode running 24h0m0s":      twin.NumberValue(3600),
			"last telemetry.door":                         twin.TextValue("open"),
			"count reported.mode 1h0m0s":                  twin.NumberValue(3),
		},
	}
}

func environment(t testing.TB) *expr.Env {
	t.Helper()
	env, err := expr.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func compile(t testing.TB, env *expr.Env, source string) *expr.Program {
	t.Helper()
	p, err := expr.Compile(source, env)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return p
}

func show(r expr.Result) string {
	switch {
	case r.Status == expr.Absent:
		return "absent"
	case r.Status == expr.Failed:
		return "failed: " + r.Reason
	case r.Value.Type == twin.ValueText:
		return strconv.Quote(r.Value.Text)
	case r.Value.Type == twin.ValueBool:
		return strconv.FormatBool(r.Value.Number != 0)
	}
	return strconv.FormatFloat(r.Value.Number, 'g', -1, 64)
}

// lines calls f for each "left => right" of a file of testdata.
func lines(t *testing.T, file string, f func(left, right string)) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		if left, right, ok := strings.Cut(strings.TrimSpace(line), " => "); ok && !strings.HasPrefix(line, "#") {
			f(strings.TrimSpace(left), strings.TrimSpace(right))
			n++
		}
	}
	if n == 0 {
		t.Fatalf("%s has no lines", file)
	}
}

func TestProgram_Evaluate(t *testing.T) {
	env, in := environment(t), inputs(t)
	lines(t, "evaluate.txt", func(source, want string) {
		p, err := expr.Compile(source, env)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			return
		}
		if got := show(p.Evaluate(in)); got != want {
			t.Errorf("%s: got %s, want %s", source, got, want)
		}
	})
}

func TestCompile_refuses(t *testing.T) {
	env := environment(t)
	lines(t, "refuse.txt", func(source, want string) {
		_, err := expr.Compile(source, env)
		var e *expr.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: got %v, want %s", source, err, want)
			return
		}
		if e.Error() != want {
			t.Errorf("%s:\n got %s\nwant %s", source, e, want)
		}
	})
}

func TestCompile_long(t *testing.T) {
	env := environment(t)
	for _, source := range []string{
		strings.Repeat(" ", expr.SourceBytesMax) + "1",
		strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200),
		strings.Repeat("avg(reported.x,'1h')+", expr.CallsMax) + "avg(reported.x,'1h')",
	} {
		if _, err := expr.Compile(source, env); err == nil {
			t.Errorf("%.30s… is accepted", source)
		}
	}
}

func TestProgram_Reads(t *testing.T) {
	env := environment(t)
	lines(t, "reads.txt", func(source, want string) {
		p := compile(t, env, source)
		var got []string
		for _, r := range p.Reads() {
			got = append(got, r.String())
		}
		text := strings.Join(got, " ") + " : " + string(p.Type())
		if p.OnNow() {
			text += " now"
		}
		if diff := cmp.Diff(want, strings.TrimSpace(text)); diff != "" {
			t.Errorf("%s: %s", source, diff)
		}
	})
}

func TestProgram_Affected(t *testing.T) {
	p := compile(t, environment(t), "reported.motor.speed > 3 && has(delta.mode)")
	for _, row := range []struct {
		path expr.Path
		want bool
	}{
		{expr.Path{"reported", "motor"}, true},
		{expr.Path{"reported", "motor", "speed"}, true},
		{expr.Path{"reported", "motor", "speed", "x"}, true},
		{expr.Path{"reported", "motor", "temp"}, false},
		{expr.Path{"reported", "flow"}, false},
		{expr.Path{"desired", "mode"}, true},
		{expr.Path{"desired", "motor"}, false},
	} {
		if got := p.Affected([]expr.Path{row.path}); got != row.want {
			t.Errorf("%s: got %t, want %t", row.path, got, row.want)
		}
	}
}

// A twin of which nothing is known breaks nothing.
func TestProgram_Evaluate_nothing(t *testing.T) {
	env := environment(t)
	for _, name := range []string{"reported.x", "desired.x.y", "delta.x", "computed.x", "telemetry.a.b", "tags.x", "connected", "now", "lastSeen", "avg(reported.x, '1h')"} {
		if got := show(compile(t, env, name).Evaluate(&expr.Inputs{})); got != "absent" {
			t.Errorf("%s: got %s, want absent", name, got)
		}
	}
}

// A loop over a document that is larger than the estimate takes it for stops.
func TestProgram_Evaluate_costLimit(t *testing.T) {
	body := `{"state":{"reported":{"list":[` + strings.Repeat("1,", 100_000) + `1]}}}`
	lim := twin.Limits{DocumentBytesMax: 1 << 20}.WithDefaults()
	req, err := twin.ParseRequest([]byte(body), lim)
	if err != nil {
		t.Fatal(err)
	}
	c, err := twin.NewChange(twin.ShadowKey{Thing: "x"}, nil, req, 1000, lim)
	if err != nil {
		t.Fatal(err)
	}
	p := compile(t, environment(t), "reported.list[0] == 1")
	r := p.Evaluate(&expr.Inputs{Shadow: c.Current})
	if r.Status != expr.Known { // the list is not gone through
		t.Fatalf("one element: %s", show(r))
	}
	p = compile(t, environment(t), "reported.list.all(x, x > 0)")
	if r = p.Evaluate(&expr.Inputs{Shadow: c.Current}); r.Status != expr.Failed || !strings.Contains(r.Reason, "costs more than") {
		t.Fatalf("100,001 rounds: %s", show(r))
	}
}

func TestProgram_Evaluate_concurrently(t *testing.T) {
	p, in := compile(t, environment(t), clauses), inputs(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				if r := p.Evaluate(in); !r.Holds() {
					t.Errorf("got %s, want true", show(r))
					return
				}
			}
		})
	}
	wg.Wait()
}

const clauses = `model == "pump" && tags.site == "hh1" && reported.power > 3000 && reported.motor.speed < 1500`

func BenchmarkProgram_Evaluate(b *testing.B) {
	p, in := compile(b, environment(b), clauses), inputs(b)
	b.ReportAllocs()
	for b.Loop() {
		if r := p.Evaluate(in); !r.Holds() {
			b.Fatal(show(r))
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add(clauses)
	f.Add(`reported.list.map(x, x % 2)[0] / 0`)
	f.Add(`p95(telemetry.a.b, "7d") + duration(reported.m == "x", "1h").getSeconds()`)
	env, err := expr.NewEnv()
	if err != nil {
		f.Fatal(err)
	}
	in := inputs(f)
	f.Fuzz(func(t *testing.T, source string) {
		p, err := expr.Compile(source, env)
		if err != nil {
			return
		}
		if r := p.Evaluate(in); strings.Contains(r.Reason, "internal error") {
			t.Fatalf("%q: %s", source, r.Reason)
		}
	})
}
