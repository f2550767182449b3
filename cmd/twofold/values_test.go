package main

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twofold-iot/twofold/client"
)

func TestParseValue(t *testing.T) {
	for text, want := range map[string]string{
		"1": "1", "-0.50": "-0.50", "9007199254740993": "9007199254740993", "1e3": "1e3", "true": "true", "null": "null",
		`"5"`: `"5"`, `{"a": [1, 2]}`: `{"a":[1,2]}`, "red": `"red"`, "two words": `"two words"`, "True": `"True"`, "<a&b>": `"<a&b>"`, "été": `"été"`,
		"": "", "{a": "", "[1": "", `"open`: "", "1,5": "", "01": "", "+1": "", ".5": "", "-": "", "10.0.0.1": "",
	} {
		got, err := parseValue(text)
		if string(got) != want || (err != nil) != (want == "") {
			t.Errorf("%s: %s %v, want %s", text, got, err, want)
		}
	}
}

// What get prints as a path can be typed into set.
func TestPaths_roundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.StringMatching(`[a-zA-Z0-9_.\\=-]{1,8}`), 1, 4).Draw(t, "names")
		got, err := splitPath(joinPath(names))
		if err != nil || !slices.Equal(got, names) {
			t.Fatalf("%q became %q, %v", names, got, err)
		}
	})
}

func TestPatch_nests(t *testing.T) {
	p := &patch{}
	for _, a := range []string{"b.x=1", "a=2", "b.y.z=red", `c\.d=null`, "b.w={}"} {
		if err := p.assign(a); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := string(p.appendJSON(nil)), `{"b":{"x":1,"y":{"z":"red"},"w":{}},"a":2,"c.d":null}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A device decides what is in a string; it must not steer the terminal.
func TestShow(t *testing.T) {
	for value, want := range map[string]string{
		`"red"`: "red", `"5"`: `"5"`, `"true"`: `"true"`, `""`: `""`, `"–"`: `"–"`, `" a"`: `" a"`, `"a b"`: "a b",
		`"\u001b[2J"`: `"\u001b[2J"`, `"a\nb"`: `"a\nb"`, "\"\u202eabc\"": `"\u202eabc"`, "[\"\u009b2J\"]": `["\u009b2J"]`, "{\"\U000e0001\":1}": `{"\udb40\udc01":1}`, `[1,{"a":"b"}]`: `[1,{"a":"b"}]`, `1.50`: "1.50",
	} {
		if got := show(json.RawMessage(value)); got != want {
			t.Errorf("%s is shown as %q, want %q", value, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 900 * time.Millisecond: "0s", 59 * time.Second: "59s", time.Minute: "1m", 59*time.Minute + 59*time.Second: "59m",
		2*time.Hour + 5*time.Minute: "2h05m", 26 * time.Hour: "1d02h", 100 * 24 * time.Hour: "100d00h",
	} {
		if got := age(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

func TestRows(t *testing.T) {
	twin := &client.Twin{
		CurrentState: json.RawMessage(`{"a":{"x":1,"empty":{}},"list":[{"deep":[1]},2],"s.t":"\u001b[0m"}`),
		DesiredState: json.RawMessage(`{"a":{"x":2},"new":"red"}`),
		Delta:        json.RawMessage(`{"a":{"x":2},"new":"red"}`),
	}
	twin.Metadata.Reported = json.RawMessage(`{"a":{"x":{"timestamp":10}},"list":[{"deep":[{"timestamp":20}]},{"timestamp":20}],"s.t":{"timestamp":30}}`)
	twin.Metadata.Desired = json.RawMessage(`{"a":{"x":{"timestamp":40}},"new":{"timestamp":40}}`)
	rows, err := rowsOf(twin)
	if err != nil {
		t.Fatal(err)
	}
	want := []row{
		{"a.x", "1", "2", 10, 40, true},
		{"a.empty", "{}", "", 0, 0, false},
		{"list", `[{"deep":[1]},2]`, "", 20, 0, false},
		{`s\.t`, `"\u001b[0m"`, "", 30, 0, false},
		{"new", "", "red", 0, 40, true},
	}
	if len(rows) != len(want) {
		t.Fatalf("%d rows, want %d", len(rows), len(want))
	}
	for i := range want {
		if *rows[i] != want[i] {
			t.Errorf("row %d is %+v, want %+v", i, *rows[i], want[i])
		}
	}
}
