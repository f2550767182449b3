package twin_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

var telemetryNow = twin.TimeOf(time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC))

// rowText writes rows as a person would: "+0 a=1 b=true c="x"", times relative to now in
// milliseconds.
func rowText(rows []twin.Row) string {
	var b strings.Builder
	for i, r := range rows {
		if i > 0 {
			b.WriteString("; ")
		}
		if r.Thing != "" {
			fmt.Fprintf(&b, "%s ", r.Thing)
		}
		fmt.Fprintf(&b, "%+d", r.Time-telemetryNow)
		for _, m := range r.Values {
			v := strconv.FormatFloat(m.Value.Number, 'g', -1, 64)
			switch m.Value.Type {
			case twin.ValueBool:
				v = strconv.FormatBool(m.Value.Number == 1)
			case twin.ValueText:
				v = strconv.Quote(m.Value.Text)
			}
			fmt.Fprintf(&b, " %s=%s", m.Metric, v)
		}
	}
	return b.String()
}

func TestParseTelemetry(t *testing.T) {
	f := func(payload, want string, rules ...twin.TelemetryRules) {
		t.Helper()
		rules = append(rules, twin.TelemetryRules{})
		rows, err := twin.ParseTelemetry([]byte(payload), telemetryNow, rules[0])
		if err != nil {
			t.Errorf("%s: %v", payload, err)
		} else if got := rowText(rows); got != want {
			t.Errorf("%s: got  %s\nwant %s", payload, got, want)
		}
		for _, r := range rows {
			if r.Arrival != telemetryNow {
				t.Errorf("%s: arrival %d", payload, r.Arrival)
			}
		}
	}
	at := func(d time.Duration) string { return strconv.FormatInt(int64(telemetryNow)+d.Milliseconds(), 10) }
	f(`{"temperature":21.5,"on":true,"off":false,"mode":"eco","gone":null}`, `+0 temperature=21.5 on=true off=false mode="eco"`)
	f(`{"motor":{"speed":1500,"phase":[1,2.5,null,{"a":[true]}]},"x":[]}`, `+0 motor.speed=1500 motor.phase.0=1 motor.phase.1=2.5 motor.phase.3.a.0=true`)
	f(`{"ts":`+at(-time.Minute)+`,"a":1}`, `-60000 a=1`)
	f(`{"a":1,"ts":"2026-11-23T04:59:59.250Z"}`, `-750 a=1`)
	f(`{"a":1,"ts":"2026-11-23T06:00:01+01:00"}`, `+1000 a=1`)
	f(`{"a":1,"ts":"`+at(0)+`"}`, `+0 a=1`)
	f(`{"a":1,"ts":`+at(0)+`.9}`, `+0 a=1`)
	f(`{"a":1,"ts":null}`, `+0 a=1`)
	f(`{"sub":{"ts":12}}`, `+0 sub.ts=12`)
	f(`{"a":null}`, ``)
	f(`[{"ts":`+at(-2*time.Second)+`,"a":1},{"ts":`+at(-time.Second)+`,"a":2},{"a":null},{"a":"3"}]`, `-2000 a=1; -1000 a=2; +0 a="3"`)
	f(`{"ts":`+at(-1e6)+`,"values":{"a":1,"b":{"c":2}}}`, `-1 a=1 b.c=2`)
	f(`{"values":{"a":1,"b":{"c":2}},"ts":`+at(0)+`}`, `+0 a=1 b.c=2`)
	f(`[{"values":{"a":1},"ts":`+at(0)+`},{"values":{"a":2}}]`, `+0 a=1; +0 values.a=2`)
	f(`{"values":{"a":1},"ts":`+at(0)+`,"x":1,"a":5}`, `+0 values.a=1 x=1 a=5`)
	f(`{"x":1,"values":{"a":1},"ts":`+at(0)+`}`, `+0 x=1 values.a=1`)
	f(`{"values":3,"ts":`+at(0)+`}`, `+0 values=3`)
	f(`{"\u0061b":1,"é":"\u00e9"}`, `+0 ab=1 é="é"`)
	f(`{"a.b":1,"a":{"c":2}}`, `+0 a.b=1 a.c=2`)
	f(`{"a":-0.0,"b":1e-400,"c":1.7976931348623157e308,"d":9007199254740993}`, `+0 a=-0 b=0 c=1.7976931348623157e+308 d=9.007199254740992e+15`)
	f(` 21.5 `, `+0 temp=21.5`, twin.TelemetryRules{Prefix: "temp"})
	f(`"on"`, `+0 motor.state="on"`, twin.TelemetryRules{Prefix: "motor.state"})
	f(`null`, ``, twin.TelemetryRules{Prefix: "temp"})
	f(`{"a":1,"b":{"c":2}}`, `+0 motor.a=1 motor.b.c=2`, twin.TelemetryRules{Prefix: "motor"})
	f(`{"values":{"a":1,"b":{"c":2}},"ts":`+at(0)+`}`, `+0 motor.a=1 motor.b.c=2`, twin.TelemetryRules{Prefix: "motor"})
	f(`{"values":{"a":1,"b":{"c":2}},"d":1}`, `+0 motor.values.a=1 motor.values.b.c=2 motor.d=1`, twin.TelemetryRules{Prefix: "motor"})
	f(`{"thing":"pump-7","ts":`+at(0)+`,"a":1}`, `pump-7 +0 a=1`, twin.TelemetryRules{NamesThing: true})
	f(`{"values":{"a":1},"thing":"pump-7"}`, `pump-7 +0 a=1`, twin.TelemetryRules{NamesThing: true})
	f(`{"thing":{"a":1}}`, `+0 thing.a=1`)
	f(`{"a":1,"ts":"2026-11-23T06:00:00Z"}`, `+3600000 a=1`, twin.TelemetryRules{AheadMax: time.Hour})
	f(nested(twin.TelemetryDepthMax, "1"), `+0 a.a.a.a.a.a.a.a=1`)
	f(`{"ts":`+at(0)+`,"values":`+nested(twin.TelemetryDepthMax, "1")+`}`, `+0 a.a.a.a.a.a.a.a=1`)
	f(`{"`+strings.Repeat("n", twin.MetricNameBytesMax)+`":1}`, `+0 `+strings.Repeat("n", twin.MetricNameBytesMax)+`=1`)
}

func nested(levels int, inside string) string {
	return strings.Repeat(`{"a":`, levels) + inside + strings.Repeat("}", levels)
}

func many(n int, from string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, from, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func TestParseTelemetry_refused(t *testing.T) {
	f := func(payload, pointer, want string, rules ...twin.TelemetryRules) {
		t.Helper()
		rules = append(rules, twin.TelemetryRules{})
		rows, err := twin.ParseTelemetry([]byte(payload), telemetryNow, rules[0])
		var fault *twin.TelemetryError
		if !errors.As(err, &fault) {
			t.Errorf("%.80s: rows %s, error %v", payload, rowText(rows), err)
			return
		}
		if fault.Pointer != pointer || !strings.Contains(err.Error(), want) || !strings.Contains(twin.ErrorMessage(err), want) {
			t.Errorf("%.80s: got %q at %q, want %q at %q", payload, err, fault.Pointer, want, pointer)
		}
		if len(err.Error()) > 400 {
			t.Errorf("%.80s: an error of %d bytes", payload, len(err.Error()))
		}
		if kind := twin.Kind(err); kind != twin.KindInvalid && kind != twin.KindTooLarge {
			t.Errorf("%.80s: kind %s", payload, kind)
		}
	}
	f(``, "", "it is empty")
	f(`hello`, "", "it is not valid JSON at byte 0")
	f(`"hello"`, "", `a point is a JSON object such as {"temperature":21.5}, not a text`)
	f(`21.5`, "", "not a number")
	f(`null`, "", "not null")
	f(`true`, "", "not a truth value")
	f(`[]`, "", "no point")
	f(`{}`, "", "there is no value in it")
	f(`{"ts":`+strconv.Itoa(int(telemetryNow))+`}`, "", "there is no value in it")
	f(`[{"a":1},2]`, "/1", "not a number")
	f(`[[{"a":1}]]`, "/0", "not an array")
	f(`[1]`, "/0", "not a number", twin.TelemetryRules{Prefix: "temp"})
	f(`{"a":1} {"a":2}`, "", "there is more after the JSON value")
	f(`{"a":1}x`, "", "it is not valid JSON")
	f(`{"a":1`, "", "it is not valid JSON")
	f(`{"a":NaN}`, "/a", "JSON has no NaN")
	f(`{"a":Infinity}`, "/a", "JSON has no NaN and no Infinity")
	f(`{"a":-Infinity}`, "/a", "JSON has no NaN and no Infinity")
	f(`[{"a":1},{"motor":{"speed":1e999}}]`, "/1/motor/speed", "/1/motor/speed: 1e999 is outside of the numbers of 64 bits")
	f(`{"a":-1e999}`, "/a", "outside")
	f(`{"a":1,"a":2}`, "/a", "the name is given twice")
	f(`{"a":{"x":1},"a":{"y":2}}`, "/a", "the name is given twice")
	f(`{"a.b":1,"a":{"b":2}}`, "/a/b", `the metric "a.b" is given twice`)
	f(`{"ts":1,"ts":2}`, "/ts", "")
	f(`{"`+strings.Repeat("n", 3000)+`":1,"`+strings.Repeat("n", 3000)+`":1}`, "/"+strings.Repeat("n", 255)+"…", "the metric name")
	f(`{"values":{"a":1},"values.a":2}`, "/values.a", `the metric "values.a" is given twice`)
	f(`{"":1}`, "/", "the name is empty")
	f(`{"a":{"":1}}`, "/a/", "the name is empty")
	f(`{"a\u0007b":1}`, "/a\ab", "control character")
	f("{\"a\xff\":1}", "", "invalid UTF-8")
	f(nested(twin.TelemetryDepthMax+1, "1"), strings.Repeat("/a", twin.TelemetryDepthMax), "nested deeper than 8 levels")
	f(`{"values":`+nested(twin.TelemetryDepthMax, "1")+`}`, "", "nested deeper than 8 levels")
	f(`{"a":`+strings.Repeat("[", 100_000), "/a"+strings.Repeat("/0", twin.TelemetryDepthMax-1), "nested deeper")
	f(`{"s":"`+strings.Repeat("x", twin.TextBytesMax+1)+`"}`, "/s", "the text has 1025 bytes, the limit is 1024")
	f(`{`+many(10_000, `"k%d":1,`)+`}`, "", "more than 1000 values in a point")
	f(`{"a":[`+many(10_000, `%d,`)+`]}`, "", "more than 1000 values in a point")
	f(`[`+many(twin.TelemetryPointsMax+1, `{"a":%d},`)+`]`, "", "more than 10000 points")
	f(`[`+strings.Repeat(`{`+many(1000, `"k%d":1,`)+`},`, 100)+`{"a":1}]`, "", "more than 100000 values in a message")
	f(`{"`+strings.Repeat("n", 300)+`":1}`, "/"+strings.Repeat("n", 255)+"…", "the metric name has 300 bytes or more, the limit is 128")
	f(`{"a":1}`, "", `"thing" is missing`, twin.TelemetryRules{NamesThing: true})
	f(`{"thing":"no thing","a":1}`, "/thing", `"no thing" is no thing name`, twin.TelemetryRules{NamesThing: true})
	f(`{"thing":7,"a":1}`, "/thing", `7 is no thing name`, twin.TelemetryRules{NamesThing: true})
	f(`[{"thing":"x","a":1}]`, "", `not an array`, twin.TelemetryRules{NamesThing: true})
}

func TestParseTelemetry_time(t *testing.T) {
	f := func(ts, want string) {
		t.Helper()
		_, err := twin.ParseTelemetry([]byte(`[{"a":1},{"ts":`+ts+`,"a":1}]`), telemetryNow, twin.TelemetryRules{})
		var fault *twin.TelemetryError
		if !errors.As(err, &fault) || fault.Pointer != "/1/ts" || !strings.Contains(err.Error(), want) {
			t.Errorf("ts %s: got %v, want %s", ts, err, want)
		}
	}
	seconds := int64(telemetryNow) / 1000
	f(strconv.FormatInt(seconds, 10), "is 1970-01-21T18:43:30.000Z, older than 720h0m0s, the oldest telemetry that is taken; it looks like seconds, but ts is in milliseconds")
	f(strconv.FormatInt(seconds*1e6, 10), "it looks like microseconds")
	f(strconv.FormatInt(seconds*1e9, 10), "it looks like nanoseconds")
	f("0", "is 1970-01-01T00:00:00.000Z, not after 1970")
	f("-5", "not after 1970")
	f("1", "1970-01-01T00:00:00.001Z, older than")
	f("4294967296000", "is 2106-02-07T06:28:16.000Z, more than 5m0s ahead of the clock, which says 2026-11-23T05:00:00.000Z")
	f(`"2106-02-07T06:28:16Z"`, "more than 5m0s ahead of the clock")
	f(`"1970-01-01T00:00:00Z"`, "not after 1970")
	f(strconv.FormatInt(int64(telemetryNow)+5*60*1000+1, 10), "ahead of the clock")
	f(strconv.FormatInt(int64(telemetryNow)-30*24*3600*1000-1, 10), "older than")
	f("1e300", "too large")
	f("1e999", "too large")
	f("99999999999999999999", "too large")
	f(`"yesterday"`, `ts "yesterday" is neither milliseconds since 1970 nor RFC 3339`)
	f(`"2026-11-23T05:00:00"`, "nor RFC 3339")
	f(`"NaN"`, "too large")
	f("true", "not a truth value")
	f("{}", "not an object")
	f(`""`, "neither")
	for _, edge := range []time.Duration{5 * time.Minute, -30 * 24 * time.Hour} {
		if _, err := (twin.TelemetryRules{}).ParseTime(strconv.FormatInt(int64(telemetryNow)+edge.Milliseconds(), 10), telemetryNow); err != nil {
			t.Errorf("%s: %v", edge, err)
		}
	}
}

// Rows share no memory with the payload, nor with the parser that made them.
func TestParseTelemetry_memory(t *testing.T) {
	payload := []byte(`{"temperature":1,"mode":"running","long":"` + strings.Repeat("x", 100) + `"}`)
	rows, err := twin.ParseTelemetry(payload, telemetryNow, twin.TelemetryRules{})
	if err != nil {
		t.Fatal(err)
	}
	want := rowText(rows)
	for i := range payload {
		payload[i] = '#'
	}
	for range 10 {
		if _, err := twin.ParseTelemetry([]byte(`[{"other":1,"mode":"stopped"},{"b":2}]`), telemetryNow, twin.TelemetryRules{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := rowText(rows); got != want {
		t.Errorf("rows became %s", got)
	}
}

// flatten is what a point means, said in another way.
func flatten(path string, v any, into map[string]any) {
	below := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			flatten(below(k), e, into)
		}
	case []any:
		for i, e := range v {
			flatten(below(strconv.Itoa(i)), e, into)
		}
	case nil:
	default:
		into[path] = v
	}
}

func FuzzParseTelemetry(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"b":{"c":[true,"x",null]}}`, `[{"ts":1795410000000,"values":{"a":1}},{"a":2}]`, `{"values":{"a":1},"b":2}`,
		`{"ts":"2026-11-23T05:00:00Z","a":-1.5e3}`, `{"a":NaN}`, `{"a":{"a":{"a":{}}}}`, `{"a":1,"a":2}`, `7`, `{"\u0061":"\ud83d\ude00"}`, "{\"\xff\":1}",
	} {
		f.Add([]byte(seed), "")
		f.Add([]byte(seed), "motor")
	}
	f.Fuzz(func(t *testing.T, payload []byte, prefix string) {
		if prefix != "" && twin.MetricName(prefix).Check() != nil {
			prefix = ""
		}
		rows, err := twin.ParseTelemetry(bytes.Clone(payload), telemetryNow, twin.TelemetryRules{Prefix: twin.MetricName(prefix)})
		if err != nil {
			if kind := twin.Kind(err); kind != twin.KindInvalid && kind != twin.KindTooLarge {
				t.Fatalf("error %v of kind %s", err, kind)
			}
			return
		}
		var v any
		if err := json.Unmarshal(payload, &v); err != nil {
			t.Fatalf("took what is no JSON: %v", err)
		}
		points, ok := v.([]any)
		if !ok {
			points = []any{v}
		}
		for _, point := range points {
			want := map[string]any{}
			if o, ok := point.(map[string]any); ok {
				_, timed := o["ts"]
				if o["ts"] == nil {
					timed = false
				}
				delete(o, "ts")
				if inner, wrapped := o["values"].(map[string]any); wrapped && timed && len(o) == 1 {
					point = inner
				}
			}
			flatten(prefix, point, want)
			if len(want) == 0 {
				continue
			}
			if len(rows) == 0 {
				t.Fatalf("%v is lost", want)
			}
			compareRow(t, rows[0], want)
			rows = rows[1:]
		}
		if len(rows) > 0 {
			t.Fatalf("%s is made up", rowText(rows))
		}
	})
}

func compareRow(t *testing.T, r twin.Row, want map[string]any) {
	got := map[string]any{}
	for _, m := range r.Values {
		if err := m.Metric.Check(); err != nil {
			t.Fatal(err)
		}
		switch m.Value.Type {
		case twin.ValueNumber:
			got[string(m.Metric)] = m.Value.Number
			if math.IsNaN(m.Value.Number) || math.IsInf(m.Value.Number, 0) {
				t.Fatalf("%s is %g", m.Metric, m.Value.Number)
			}
		case twin.ValueBool:
			got[string(m.Metric)] = m.Value.Number == 1
		case twin.ValueText:
			got[string(m.Metric)] = m.Value.Text
		}
	}
	if !maps.Equal(got, want) || len(r.Values) != len(want) {
		t.Fatalf("got  %v\nwant %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// tenValues is a message as many devices send it.
const tenValues = `{"ts":1795409999000,"temperature":21.57,"pressure":1013.25,"humidity":45.1,"voltage":230.4,"current":1.25,` +
	`"power":288.0,"rpm":1480,"vibration":0.0031,"running":true,"mode":"normal"}`

func BenchmarkParseTelemetry(b *testing.B) {
	payload := []byte(tenValues)
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		if _, err := twin.ParseTelemetry(payload, telemetryNow, twin.TelemetryRules{}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestParseTelemetry_allocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools")
	}
	payload := []byte(tenValues)
	n := testing.AllocsPerRun(1000, func() {
		if _, err := twin.ParseTelemetry(payload, telemetryNow, twin.TelemetryRules{}); err != nil {
			t.Fatal(err)
		}
	})
	if n > 3 {
		t.Errorf("%g allocations, want rows and values", n)
	}
}
