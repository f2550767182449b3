package twin_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/twofold-iot/twofold/twin"
)

// What a refused request may cost.
const (
	poisonTimeMax  = time.Millisecond
	poisonBytesMax = 64 << 10
)

// poisons are requests that mean no good. Each must be refused, cheaply.
func poisons() map[string]string {
	in := func(value string) string { return `{"state":{"reported":{"a":` + value + `}}}` }
	repeat := strings.Repeat
	var keys, names strings.Builder
	for i := range 6000 {
		fmt.Fprintf(&keys, `"%d":1,`, i)
		fmt.Fprintf(&names, `"%d":null,`, i)
	}
	return map[string]string{
		"arrays 100,000 deep, never closed":     repeat("[", 100_000),
		"arrays 100,000 deep":                   repeat("[", 100_000) + repeat("]", 100_000),
		"objects 100,000 deep":                  repeat(`{"a":`, 100_000) + "1" + repeat("}", 100_000),
		"state 60,000 arrays deep":              in(repeat("[", 60_000) + repeat("]", 60_000)),
		"state 20,000 objects deep":             in(repeat(`{"a":`, 20_000) + "1" + repeat("}", 20_000)),
		"ignored 60,000 arrays deep":            `{"x":` + repeat("[", 60_000) + repeat("]", 60_000) + `,"state":{}}`,
		"9 deep":                                in(repeat("[", 8) + repeat("]", 8)),
		"a number of 100,000 digits":            in(repeat("9", 100_000)),
		"an exponent of 100,000 digits":         in("1e" + repeat("9", 100_000)),
		"a tiny number of 100,000 digits":       in("1e-" + repeat("9", 100_000)),
		"1e400":                                 in("1e400"),
		"NaN":                                   in("NaN"),
		"a string of 100,000 bytes, never ends": `{"state":{"reported":{"a":"` + repeat("x", 100_000),
		"100,000 escapes and a bad one":         in(`"` + repeat(`\u0041`, 15_000) + `\x"`),
		"a lone surrogate":                      in(`"\ud800"`),
		"6,000 keys, the last one twice":        `{"state":{"reported":{` + keys.String() + `"5999":1}}}`,
		"6,000 keys, too large":                 `{"state":{"reported":{` + keys.String() + `"x":1}}}`,
		"6,000 nulls and a null in an array":    `{"state":{"reported":{` + names.String() + `"x":[null]}}}`,
		"120,000 bytes of white space":          repeat(" \n", 60_000),
		"60,000 bytes of white space inside":    in(repeat(" ", 60_000) + "x"),
		"120,000 bytes of an ignored string":    `{"x":"` + repeat("y", 120_000) + `"}`,
		"an invalid node of 100,000 bytes":      `{"state":{"` + repeat("n", 100_000) + `":1}}`,
		"a token of 100,000 bytes":              `{"state":{},"clientToken":"` + repeat("t", 100_000) + `"}`,
		"a version of 100,000 digits":           `{"state":{},"version":` + repeat("1", 100_000) + `}`,
		"15,000 empty arrays":                   in("[" + repeat("[],", 15_000) + "[]]"),
		"8,193 bytes":                           in(`"` + repeat("x", 8193-8) + `"`),
		"120,000 bytes":                         in(`"` + repeat("x", 120_000) + `"`),
		"not UTF-8 at the end of 100,000 bytes": in(`"`+repeat("x", 100_000)+`"`) + "\xff",
		"a byte order mark":                     "\ufeff{}",
		"UTF-16":                                "\xff\xfe{\x00}\x00",
		"nothing":                               "",
		"bytes after the end":                   `{"state":{}}` + repeat("{}", 50_000),
	}
}

// refuse does with a request what the write path does.
func refuse(payload []byte, prev *twin.Shadow) error {
	req, err := twin.ParseRequest(payload, twin.Limits{})
	if err != nil {
		return err
	}
	_, err = twin.NewChange(benchKey, prev, req, 1_700_000_000_000, twin.Limits{})
	return err
}

func TestPoison(t *testing.T) {
	prev := benchShadow(t)
	for name, text := range poisons() {
		t.Run(name, func(t *testing.T) {
			payload := []byte(text)
			err := refuse(payload, prev)
			var e *twin.Error
			if !errors.As(err, &e) || twin.Kind(err) == twin.KindInternal {
				t.Fatalf("got %v, want an error for the client", err)
			}
			if len(e.Message) > 300 {
				t.Errorf("the message has %d bytes", len(e.Message))
			}
			// The best of some: the machine does other things, too, and a collection of
			// garbage takes away the scanner that is reused.
			best, cost := time.Hour, uint64(math.MaxUint64)
			for try := 0; try < 100 && (best > slowness*poisonTimeMax/2 || cost > poisonBytesMax); try++ {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				start := time.Now()
				_ = refuse(payload, prev)
				best = min(best, time.Since(start))
				runtime.ReadMemStats(&after)
				cost = min(cost, after.TotalAlloc-before.TotalAlloc)
			}
			if best > slowness*poisonTimeMax {
				t.Errorf("took %v, want at most %v", best, poisonTimeMax)
			}
			if cost > poisonBytesMax && !raceEnabled {
				t.Errorf("allocated %d bytes, want at most %d", cost, poisonBytesMax)
			}
		})
	}
}

// TestParseRequest_ownsItsMemory: the caller may use the payload again.
func TestParseRequest_ownsItsMemory(t *testing.T) {
	payload := []byte(benchUpdate)
	req, err := twin.ParseRequest(payload, twin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	clear(payload)
	c, err := twin.NewChange(benchKey, nil, req, 1_700_000_000_000, twin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"reported":{"temperature":20.75,`; !strings.HasPrefix(string(c.Patch()), want) {
		t.Errorf("patch is %s", c.Patch())
	}
	if req.ClientToken != "p7" {
		t.Errorf("token is %q", req.ClientToken)
	}
}

// TestNewChange_again: a request can be applied to another version, as the write
// path does after a conflict, and does not change what was made of it before.
func TestNewChange_again(t *testing.T) {
	req, err := twin.ParseRequest([]byte(`{"state":{"reported":{"a":{"b":[1,{"c":2}]}}}}`), twin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := twin.NewChange(benchKey, nil, req, 1_000, twin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := string(first.AppendDocuments(nil))
	second, err := twin.NewChange(benchKey, apply(t, `{"state":{"reported":{"a":{"x":1}}}}`), req, 2_000, twin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(first.AppendDocuments(nil)); got != want {
		t.Errorf("the first change was altered\n got %s\nwant %s", got, want)
	}
	const merged = `{"a":{"x":1,"b":[1,{"c":2}]}}`
	if got := string(second.Current.Reported.AppendJSON(nil)); got != merged {
		t.Errorf("got %s, want %s", got, merged)
	}
}

// TestManyKeys: large objects in any order of keys take no quadratic time.
func TestManyKeys(t *testing.T) {
	members := func(n int, value string, step int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"%d":%s,`, i*step%n, value)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	s := apply(t, `{"state":{"reported":{`+members(1000, "1", 1)+`}}}`)
	req, err := twin.ParseRequest([]byte(`{"state":{"reported":{`+members(9973, "null", 6007)+`,"x":1}}}`), twin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	best := time.Hour
	for range 20 {
		start := time.Now()
		c, err := twin.NewChange(benchKey, s, req, 2_000, twin.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
		if got, want := string(c.Current.Reported.AppendJSON(nil)), `{"x":1}`; got != want {
			t.Fatalf("got %.100s, want %s", got, want)
		}
	}
	// 9,973 × 1,000 comparisons would take more than 10 ms.
	if best > slowness*5*time.Millisecond {
		t.Errorf("took %v", best)
	}
}

func TestNode_Leaves(t *testing.T) {
	s := apply(t,
		`{"state":{"reported":{"on":true,"fan":{"speed":1,"a.b":{"":2,"c\"d":"e"}},"tags":[1,{"x":2}],"none":{}}}}`,
		`{"state":{"reported":{"fan":{"speed":3}}}}`)
	var got []string
	s.Reported.Leaves(func(path string, value []byte, stamp int64) {
		got = append(got, fmt.Sprintf("%s %s %d", path, value, stamp))
	})
	want := []string{
		`on true 1700000000`, `fan.speed 3 1700000001`, `fan."a.b"."" 2 1700000000`, `fan."a.b"."c\"d" "e" 1700000000`,
		`tags [1,{"x":2}] 1700000000`, `none {} 0`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := s.Reported.NewestStamp(); got != 1700000001 {
		t.Errorf("newest is %d", got)
	}
	s.Desired.Leaves(func(string, []byte, int64) { t.Error("an absent section has a leaf") })
	if got := string(s.Desired.AppendJSON(nil)) + string(s.Desired.AppendMetadata(nil)); got != "{}{}" {
		t.Errorf("an absent section is %s", got)
	}
	if (*twin.Shadow)(nil).Delta() != nil || s.Delta() != nil {
		t.Error("a delta of nothing")
	}
}

// TestAllocations keeps the goal of issue 2: at most 10 for parse, merge and delta.
func TestAllocations(t *testing.T) {
	prev, payload := benchShadow(t), []byte(benchUpdate)
	got := testing.AllocsPerRun(200, func() {
		req, err := twin.ParseRequest(payload, twin.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := twin.NewChange(benchKey, prev, req, 1_700_000_060_000, twin.Limits{})
		if err != nil || !c.HasDelta() {
			t.Fatal(err)
		}
	})
	if got > 10 && !raceEnabled { // the race detector empties pools at random
		t.Errorf("got %v allocations, want at most 10", got)
	}
}

// FuzzParseRequest: no panic, and what is accepted is JSON that is echoed as it was
// meant.
func FuzzParseRequest(f *testing.F) {
	for _, p := range poisons() {
		if len(p) < 4096 {
			f.Add([]byte(p))
		}
	}
	f.Add([]byte(benchState))
	f.Add([]byte(` { "state" : { "desired" : { "\u0041" : [ -0.0e+00 , "\ud83d\ude00" , { } ] } } , "version" : 1.0e1 , "clientToken" : "\u0041" } `))
	f.Fuzz(func(t *testing.T, payload []byte) {
		token, tokenErr := twin.ParseToken(payload, twin.Limits{})
		req, err := twin.ParseRequest(payload, twin.Limits{})
		if req == nil || token == nil {
			t.Fatal("no request")
		}
		if len(payload) > 0 && (tokenErr == nil) && (token.HasToken != req.HasToken || token.ClientToken != req.ClientToken) {
			t.Fatalf("tokens %q and %q", token.ClientToken, req.ClientToken)
		}
		if kind := twin.Kind(err); err != nil && kind != twin.KindInvalid && (kind != twin.KindEncoding || utf8.Valid(payload)) {
			t.Fatalf("got %v", err)
		}
		if err != nil {
			return
		}
		if !json.Valid(payload) || !jsontext.Value(payload).IsValid() {
			t.Fatal("accepted what is not JSON")
		}
		again, err := twin.ParseRequest([]byte(`{"state":`+req.State()+`}`), twin.Limits{})
		if req.State() == "" { // larger than any document
			return
		}
		if err != nil || again.State() != req.State() {
			t.Fatalf("read again %s: %v", req.State(), err)
		}
		c, err := twin.NewChange(benchKey, nil, again, 1_000, twin.Limits{})
		if err != nil {
			return
		}
		for _, doc := range [][]byte{c.AppendAccepted(nil), c.AppendDocuments(nil), twin.AppendGet(nil, c.Current, 0, req)} {
			if !jsontext.Value(doc).IsValid() {
				t.Fatalf("not JSON: %s", doc)
			}
		}
		read, err := twin.DecodeShadow(c.Current.AppendBinary(nil))
		if err != nil || !bytes.Equal(read.AppendBinary(nil), c.Current.AppendBinary(nil)) {
			t.Fatalf("stored and read: %v", err)
		}
	})
}

// TestParseRequest_manyNames: a name given twice is found in objects of any size, at
// any place, also where it is written in another way.
func TestParseRequest_manyNames(t *testing.T) {
	object := func(n int, extra string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"k%d":null,`, i)
		}
		return "{" + b.String() + extra + "}"
	}
	f := func(body string, want bool) {
		t.Helper()
		_, err := twin.ParseRequest([]byte(body), twin.Limits{})
		if got := err == nil; got != want {
			t.Errorf("%.80s…: got %v", body, err)
		}
	}
	for _, n := range []int{1, 14, 15, 16, 17, 18, 31, 32, 33, 500} {
		for _, twice := range []int{0, n / 2, n - 1} {
			for _, name := range []string{`"k%d":1`, `"\u006b%d":1`} {
				bad := object(n, fmt.Sprintf(name, twice))
				f(`{"state":{"reported":`+bad+`}}`, false)
				f(`{"state":{},"ignored":[`+bad+`]}`, false)
				f(`{"state":{"reported":{"k1":{"a":`+object(20, `"k20":null`)+`,"b":`+bad+`}}}}`, false)
			}
		}
		good := object(n, `"x":`+object(n, `"\u0078":`+object(n, `"k":null`)))
		f(`{"state":{"desired":`+good+`,"reported":`+good+`},"ignored":`+good+`}`, true)
	}
}
