package awsiot_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/twin"
)

// badUpdate is an update request that is refused, with exactly how. Spec §7.
type badUpdate struct {
	name, body string
	code       int
	message    string
	token      bool // the clientToken "tok" is echoed
}

func nested(levels int) string {
	return strings.Repeat(`{"a":`, levels-1) + `{"a":1}` + strings.Repeat(`}`, levels-1)
}

// document is an update whose merged result has so many bytes: {"reported":{"a":"…"}}
// counts as the JSON of its sections.
func document(bytes int) string {
	return `{"state":{"reported":{"a":"` + strings.Repeat("x", bytes-len(`{"a":""}`)) + `"}},"clientToken":"tok"}`
}

const (
	invalidJSON  = "Invalid JSON"
	tooDeep      = "JSON contains too many levels of nesting; maximum is 8"
	tooLarge     = "The payload exceeds the maximum size allowed"
	notUTF8      = "Unsupported documented encoding; supported encoding is UTF-8"
	noState      = "Missing required node: state"
	stateObject  = "State node must be an object"
	badToken     = "Invalid clientToken"
	badVersion   = "Invalid version"
	conflict     = "Version conflict"
	tok          = `,"clientToken":"tok"}`
	reportedOne  = `"state":{"reported":{"a":1}}`
	deepButSmall = 5000
)

var badUpdates = []badUpdate{
	{"empty", ``, 400, invalidJSON, false},
	{"blanks", "  \n", 400, invalidJSON, false},
	{"not json", `hello`, 400, invalidJSON, false},
	{"cut", `{"state":{"reported":{"a":1}}`, 400, invalidJSON, false},
	{"number", `42`, 400, invalidJSON, false},
	{"array", `[{"state":{}}]`, 400, invalidJSON, false},
	{"string", `"state"`, 400, invalidJSON, false},
	{"null", `null`, 400, invalidJSON, false},
	{"single quotes", `{'state':{}}`, 400, invalidJSON, false},
	{"comment", `{"state":{}/* */` + tok, 400, invalidJSON, false},
	{"comma at the end", `{"state":{"reported":{"a":1,}}}`, 400, invalidJSON, false},
	{"byte order mark", "\xef\xbb\xbf{\"state\":{}}", 400, invalidJSON, false},
	{"control character", "{\"state\":{\"reported\":{\"a\":\"\x01\"}}}", 400, invalidJSON, false},
	{"lone surrogate", `{"state":{"reported":{"a":"\ud800"}}}`, 400, invalidJSON, false},
	{"NUL byte", "{\"state\":{\"reported\":{\"a\":\"\x00\"}}}", 400, invalidJSON, false},
	{"invalid UTF-8", "{\"state\":{\"reported\":{\"a\":\"\xff\"}}" + tok, 415, notUTF8, false},
	{"invalid UTF-8 in a key", "{\"state\":{\"reported\":{\"\xc3\x28\":1}}" + tok, 415, notUTF8, false},
	{"overlong UTF-8", "{\"state\":{\"reported\":{\"a\":\"\xc0\xaf\"}}}", 415, notUTF8, false},
	{"surrogate as UTF-8", "{\"state\":{\"reported\":{\"a\":\"\xed\xa0\x80\"}}}", 415, notUTF8, false},
	{"duplicate key", `{"state":{"reported":{"a":1,"a":2}}` + tok, 400, invalidJSON, false},
	{"duplicate key, escaped", `{"state":{"reported":{"a":1,"\u0061":2}}` + tok, 400, invalidJSON, false},
	{"duplicate section", `{"state":{"reported":{"a":1},"reported":{"b":1}}` + tok, 400, invalidJSON, false},
	{"duplicate state", `{"state":{},"state":{}` + tok, 400, invalidJSON, false},
	{"NaN", `{"state":{"reported":{"a":NaN}}` + tok, 400, invalidJSON, false},
	{"Infinity", `{"state":{"reported":{"a":-Infinity}}` + tok, 400, invalidJSON, false},
	{"1e400", `{"state":{"reported":{"a":1e400}}` + tok, 400, invalidJSON, false},
	{"-1e400", `{"state":{"reported":{"a":-1e400}}` + tok, 400, invalidJSON, false},
	{"hexadecimal", `{"state":{"reported":{"a":0x1f}}` + tok, 400, invalidJSON, false},
	{"leading zero", `{"state":{"reported":{"a":012}}` + tok, 400, invalidJSON, false},
	{"trailing bytes", `{"state":{"reported":{"a":1}}` + tok + `x`, 400, invalidJSON, false},
	{"second document", `{"state":{"reported":{"a":1}}` + tok + `{"state":{}}`, 400, invalidJSON, false},
	{"trailing NUL", "{" + reportedOne + "}\x00", 400, invalidJSON, false},
	{"null in an array", `{"state":{"reported":{"a":[1,null]}}` + tok, 400, invalidJSON, true},
	{"null in an object in an array", `{"state":{"desired":{"a":[{"b":null}]}}` + tok, 400, invalidJSON, true},

	{"no state", `{"clientToken":"tok"}`, 400, noState, true},
	{"State", `{"State":{"reported":{"a":1}}` + tok, 400, noState, true},
	{"empty object", `{}`, 400, noState, false},
	{"state is a number", `{"state":1` + tok, 400, stateObject, true},
	{"state is an array", `{"state":[]` + tok, 400, stateObject, true},
	{"state is a string", `{"state":"on"` + tok, 400, stateObject, true},
	{"state is true", `{"state":true` + tok, 400, stateObject, true},
	{"desired is a number", `{"state":{"desired":1}` + tok, 400, "Desired node must be an object", true},
	{"desired is an array", `{"state":{"desired":[]}` + tok, 400, "Desired node must be an object", true},
	{"reported is a string", `{"state":{"reported":"on"}` + tok, 400, "Reported node must be an object", true},
	{"reported is false", `{"state":{"reported":false}` + tok, 400, "Reported node must be an object", true},
	{"unknown node in state", `{"state":{"foo":{"a":1}}` + tok, 400, "State contains an invalid node: 'foo'", true},
	{"unknown node beside desired", `{"state":{"desired":{"a":1},"wanted":1}` + tok, 400, "State contains an invalid node: 'wanted'", true},
	{"delta in state", `{"state":{"delta":{"a":1}}` + tok, 400, "State contains an invalid node: 'delta'", true},

	{"token of 65 bytes", `{` + reportedOne + `,"clientToken":"` + strings.Repeat("x", 65) + `"}`, 400, badToken, false},
	{"token of 64 characters and 65 bytes", `{` + reportedOne + `,"clientToken":"` + strings.Repeat("x", 63) + `é"}`, 400, badToken, false},
	{"token is a number", `{` + reportedOne + `,"clientToken":1}`, 400, badToken, false},
	{"token is null", `{` + reportedOne + `,"clientToken":null}`, 400, badToken, false},
	{"token before state", `{"clientToken":1,"state":1}`, 400, badToken, false},

	{"version is a string", `{` + reportedOne + `,"version":"1"` + tok, 400, badVersion, true},
	{"version is negative", `{` + reportedOne + `,"version":-1` + tok, 400, badVersion, true},
	{"version is a fraction", `{` + reportedOne + `,"version":1.5` + tok, 400, badVersion, true},
	{"version is true", `{` + reportedOne + `,"version":true` + tok, 400, badVersion, true},
	{"version too small", `{` + reportedOne + `,"version":0` + tok, 409, conflict, true},
	{"version beyond 64 bits", `{` + reportedOne + `,"version":99999999999999999999` + tok, 409, conflict, true},
	{"version too great", `{` + reportedOne + `,"version":2` + tok, 409, conflict, true},

	{"depth 9", `{"state":{"reported":` + nested(9) + `}` + tok, 400, tooDeep, true},
	{"depth 9 in an array", `{"state":{"reported":{"a":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}}` + tok, 400, tooDeep, true},
	{"depth 9 in desired", `{"state":{"desired":` + nested(9) + `}` + tok, 400, tooDeep, true},
	{"8193 bytes", document(8193), 413, tooLarge, true},
	{"60000 bytes", document(60000), 413, tooLarge, true},
}

// TestDoor_bad_updates runs one table through both ways in: exactly the code and
// the message, nothing stored, nothing else sent, nothing else disturbed.
func TestDoor_bad_updates(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	r.must(lamp+"update", `{"state":{"reported":{"on":true}}}`)
	r.must("$aws/things/other/shadow/update", `{"state":{"reported":{"on":true}}}`)
	for range 4 {
		r.next()
	}
	before := r.engine.snapshot()
	for _, bad := range badUpdates {
		t.Run(bad.name, func(t *testing.T) {
			r.t = t
			r.must(lamp+"update", bad.body)
			m := r.next()
			if m.Topic != lamp+"update/rejected" || string(m.Payload) != bad.rejection() {
				t.Fatalf("sent %s\n  %s\nwant %s", m.Topic, m.Payload, bad.rejection())
			}
			w := r.do("POST", "/things/lamp-1/shadow", bad.body)
			wantHTTP(t, w, bad.code, awsiot.StatusOf(bad.kind()).Type, errorBody(bad.message))
			r.quiet()
			if n := r.engine.takeRejected(); n != 2 {
				t.Errorf("%d notes in the event log, want one for each way in", n)
			}
			if after := r.engine.snapshot(); !maps.Equal(before, after) {
				t.Fatalf("the state changed: %q, was %q", after, before)
			}
		})
	}
}

func (b badUpdate) rejection() string {
	if b.token {
		return fmt.Sprintf(`{"code":%d,"message":"%s","clientToken":"tok"}`, b.code, b.message)
	}
	return fmt.Sprintf(`{"code":%d,"message":"%s"}`, b.code, b.message)
}

func (b badUpdate) kind() twin.ErrorKind {
	for _, k := range kinds {
		if k.code == b.code {
			return k.kind
		}
	}
	return twin.KindInternal
}

// TestDoor_deep_but_small: a document of 10 KB that nests thousands of levels is
// refused and costs no stack.
func TestDoor_deep_but_small(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	for name, body := range map[string]string{
		"objects in reported": `{"state":{"reported":` + nested(deepButSmall) + `}}`,
		"arrays in reported":  `{"state":{"reported":{"a":` + strings.Repeat("[", deepButSmall) + strings.Repeat("]", deepButSmall) + `}}}`,
		"never closed":        strings.Repeat(`{"state":`, deepButSmall),
		"arrays, not closed":  strings.Repeat(`[`, 60000),
		"beside state":        `{"state":{},"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.must(lamp+"update", body)
			m := r.next()
			var got struct {
				Code    int    `json:"code"`
				Message string `json:"message"`
			}
			if err := json.Unmarshal(m.Payload, &got); err != nil || m.Topic != lamp+"update/rejected" || got.Code != 400 {
				t.Fatalf("sent %s %s", m.Topic, m.Payload)
			}
			w := r.do("POST", "/things/lamp-1/shadow", body)
			wantHTTP(t, w, 400, "InvalidRequestException", errorBody(got.Message))
			r.quiet()
		})
	}
	if len(r.engine.snapshot()) != 0 {
		t.Fatal("something was stored")
	}
}

// TestDoor_limits_inclusive: what just fits is accepted, by both ways in.
func TestDoor_limits_inclusive(t *testing.T) {
	for name, body := range map[string]string{
		"depth 6":            `{"state":{"reported":` + nested(6) + `}}`,
		"depth 8":            `{"state":{"reported":` + nested(8) + `}}`,
		"8192 bytes":         document(8192),
		"token of 64 bytes":  `{` + reportedOne + `,"clientToken":"` + strings.Repeat("x", 64) + `"}`,
		"empty token":        `{` + reportedOne + `,"clientToken":""}`,
		"unknown top level":  `{` + reportedOne + `,"metadata":{"x":[null]},"timestamp":1,"foo":null}`,
		"version null":       `{` + reportedOne + `,"version":null}`,
		"state null":         `{"state":null}`,
		"empty state":        `{"state":{}}`,
		"large number":       `{"state":{"reported":{"a":1e300,"b":12345678901234567890123}}}`,
		"keys of all sorts":  `{"state":{"reported":{"":1,"a b":2,"é":3,"\u0000":4,"timestamp":5}}}`,
		"blanks around":      " \t\r\n{ \"state\" : { } } \n",
		"an empty container": `{"state":{"reported":{"a":{},"b":[]}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, awsiot.Options{})
			r.must(lamp+"update", body)
			if m := r.next(); m.Topic != lamp+"update/accepted" {
				t.Fatalf("sent %s %s", m.Topic, m.Payload)
			}
			if w := r.do("POST", "/things/lamp-2/shadow", body); w.Code != 200 {
				t.Fatalf("HTTP %d %s", w.Code, w.Body)
			}
		})
	}
}

// TestDoor_bad_bodies_of_get_and_delete: the content of a delete is ignored, that
// of a get must be JSON with a legal token.
func TestDoor_bad_bodies_of_get_and_delete(t *testing.T) {
	for _, bad := range []badUpdate{
		{"not json", `hello`, 400, invalidJSON, false},
		{"invalid UTF-8", "{\"clientToken\":\"\xff\"}", 415, notUTF8, false},
		{"trailing bytes", `{"clientToken":"tok"}x`, 400, invalidJSON, false},
		{"duplicate token", `{"clientToken":"tok","clientToken":"tok"}`, 400, invalidJSON, false},
		{"token of 65 bytes", `{"clientToken":"` + strings.Repeat("x", 65) + `"}`, 400, badToken, false},
	} {
		t.Run(bad.name, func(t *testing.T) {
			r := newRig(t, awsiot.Options{})
			r.must(lamp+"get", bad.body)
			r.want(lamp+"get/rejected", bad.rejection())
			r.must(lamp+"update", `{"state":{}}`)
			r.next()
			r.next()
			r.must(lamp+"delete", bad.body)
			r.want(lamp+"delete/accepted", `{"version":1,"timestamp":1700000000}`)
			r.quiet()
		})
	}
}

// illegalNames are names of things and shadows that are refused.
var illegalNames = map[string]string{
	"blank":            "a b",
	"dot":              "a.b",
	"percent":          "a%41",
	"plus":             "a+b",
	"hash":             "a#b",
	"umlaut":           "lämp",
	"at":               "a@b",
	"tilde":            "a~b",
	"NUL":              "a\x00b",
	"newline":          "a\nb",
	"quote":            `a"b`,
	"thing too long":   strings.Repeat("x", 129),
	"no name":          "",
	"dollar in thing":  "$a",
	"two dots":         "..",
	"markup":           "<b>",
	"invalid encoding": "a\xffb",
}

// TestDoor_illegal_names: 400 on the rejected topic and over HTTP, and the engine
// never hears of it.
func TestDoor_illegal_names(t *testing.T) {
	const badThing = "Invalid thing name: use 1 to 128 characters of a-z A-Z 0-9 : _ -"
	const badShadow = "Invalid shadow name: use 1 to 64 characters of a-z A-Z 0-9 : _ - $"
	r := newRig(t, awsiot.Options{})
	check := func(t *testing.T, prefix, target, message string) {
		t.Helper()
		r.t = t
		for _, op := range []string{"update", "get", "delete"} {
			r.must(prefix+op, `{"state":{},"clientToken":"t"}`)
			r.want(prefix+op+"/rejected", `{"code":400,"message":"`+message+`","clientToken":"t"}`)
		}
		r.must(prefix+"update", `not json`) // a name is told before a body
		r.want(prefix+"update/rejected", `{"code":400,"message":"`+message+`"}`)
		for _, method := range []string{"POST", "GET", "DELETE"} {
			wantHTTP(t, r.do(method, target, `{"state":{}}`), 400, "InvalidRequestException", errorBody(message))
		}
		r.quiet()
	}
	for name, s := range illegalNames {
		t.Run("thing/"+name, func(t *testing.T) {
			check(t, "$aws/things/"+s+"/shadow/", "/things/"+escapeAll(s)+"/shadow", badThing)
			wantHTTP(t, r.do("GET", "/api/things/shadow/ListNamedShadowsForThing/"+escapeAll(s), ""), 400, "InvalidRequestException", errorBody(badThing))
		})
		t.Run("shadow/"+name, func(t *testing.T) {
			if s == "$a" {
				return // a legal shadow name
			}
			check(t, "$aws/things/lamp-1/shadow/name/"+s+"/", "/things/lamp-1/shadow?name="+escapeAll(s), badShadow)
		})
	}
	t.Run("shadow of 65 characters", func(t *testing.T) {
		s := strings.Repeat("x", 65)
		check(t, "$aws/things/lamp-1/shadow/name/"+s+"/", "/things/lamp-1/shadow?name="+s, badShadow)
	})
	t.Run("slash in a thing name over HTTP", func(t *testing.T) {
		wantHTTP(t, r.do("POST", "/things/a%2Fb/shadow", `{"state":{}}`), 400, "InvalidRequestException", errorBody(badThing))
	})
	if len(r.engine.updates) != 0 || r.engine.reads != 0 {
		t.Fatalf("the engine got %d updates and %d reads", len(r.engine.updates), r.engine.reads)
	}
	for _, legal := range []string{"a", "A-z_0:9", "-", ":", strings.Repeat("x", 128)} {
		r.must("$aws/things/"+legal+"/shadow/update", `{"state":{}}`)
		if m := r.next(); !strings.HasSuffix(m.Topic, "/update/accepted") {
			t.Fatalf("%s: %s", m.Topic, m.Payload)
		}
		r.next()
	}
}

// TestDoor_topic_too_long_to_answer: a rejection whose topic would not fit into a
// packet is not sent; the packet is acknowledged all the same.
func TestDoor_topic_too_long_to_answer(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	const answerBytes = len("$aws/things//shadow/get/rejected")
	r.must("$aws/things/"+strings.Repeat("x", 65535-answerBytes)+"/shadow/get", "")
	if m := r.next(); len(m.Topic) != 65535 {
		t.Fatalf("sent to a topic of %d bytes", len(m.Topic))
	}
	r.must("$aws/things/"+strings.Repeat("x", 65536-answerBytes)+"/shadow/get", "")
	r.quiet()
}

// escapeAll percent-encodes every byte.
func escapeAll(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

// TestDoor_refuses_quickly: no bad input costs more than a millisecond. The best of
// several runs counts, since the machine does other things too.
func TestDoor_refuses_quickly(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	r.must(lamp+"update", `{"state":{"reported":{"on":true}}}`)
	r.next()
	r.next()
	all := append([]badUpdate{
		{name: "deep", body: `{"state":{"reported":` + nested(deepButSmall) + `}}`},
		{name: "too long", body: strings.Repeat("x", 129<<10)},
		{name: "128 KiB", body: document(128<<10 - 100)},
	}, badUpdates...)
	for _, bad := range all {
		best := time.Hour
		for range 20 {
			start := time.Now()
			r.must(lamp+"update", bad.body)
			best = min(best, time.Since(start))
			r.next()
		}
		if best > time.Millisecond && !raceEnabled {
			t.Errorf("%s: %v", bad.name, best)
		}
	}
}
