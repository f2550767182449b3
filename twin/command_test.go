package twin_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twofold-iot/twofold/twin"
)

func request(t *testing.T, r twin.CommandRequest) *twin.CommandRequest {
	t.Helper()
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	return &r
}

// naive is what a command may do, written down as a list of words and in no other way
// like the code.
var naive = map[string]string{
	"queued":    "delivered accepted done failed rejected expired cancelled",
	"delivered": "accepted done failed rejected expired cancelled",
	"accepted":  "done failed rejected expired cancelled",
}

// Any sequence of steps leaves the command where the list says.
func TestCommand_model(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const created, expires = twin.Time(1000), twin.Time(61_000)
		c := twin.NewCommand("pump-7", request(t, twin.CommandRequest{ID: "a", Name: "go", ExpiresIn: time.Minute}), "me", 7, created)
		state, ended, progress, at := "queued", twin.Time(0), -1, created
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			to := rapid.SampledFrom(twin.CommandStates()).Draw(rt, "to")
			at += twin.Time(rapid.IntRange(0, 20_000).Draw(rt, "later"))
			s := twin.CommandStep{State: to}
			if rapid.Bool().Draw(rt, "says more") {
				n := rapid.IntRange(0, 3).Draw(rt, "progress")
				s.Progress = &n
			}
			next, changed, err := c.Next(&s, at)
			// The list.
			repeats := string(to) == state && (s.Progress == nil || *s.Progress == progress || to == twin.CommandCancelled)
			legal := slices.Contains(strings.Fields(naive[state]), string(to)) || state == "accepted" && to == "accepted"
			legal = legal && (to == "expired") == (at >= expires)
			quiet := ended != 0 && repeats || ended == 0 && at < expires &&
				(state == "accepted" && to == "accepted" && repeats || to == "delivered" && state != "queued")
			switch {
			case quiet:
				if changed || err != nil {
					rt.Fatalf("%s to %s at %d: changed %v, error %v; want nothing", state, to, at, changed, err)
				}
			case legal:
				if !changed || err != nil || next.State != to {
					rt.Fatalf("%s to %s at %d: %s, changed %v, error %v", state, to, at, next.State, changed, err)
				}
				state = string(to)
				if s.Progress != nil {
					progress = *s.Progress
				}
				if naive[state] == "" {
					ended = at
				}
			default:
				if changed || twin.Kind(err) != twin.KindConflict {
					rt.Fatalf("%s to %s at %d is taken (error %v)", state, to, at, err)
				}
			}
			if !changed && !reflect.DeepEqual(next, c) {
				rt.Fatalf("no step was taken, but %+v became %+v", c, next)
			}
			c = next
			if c.Ended != ended || c.State.Final() != (ended != 0) || c.Progress != nil && *c.Progress != progress {
				rt.Fatalf("%+v, want state %s, end %d, progress %d", c, state, ended, progress)
			}
		}
		b, err := c.AppendBinary(nil)
		if err != nil {
			rt.Fatal(err)
		}
		back, err := twin.DecodeCommand(b)
		if err != nil || !reflect.DeepEqual(back, c) {
			rt.Fatalf("%+v came back as %+v, %v", c, back, err)
		}
	})
}

func TestCommandRequest_check(t *testing.T) {
	good := twin.CommandRequest{ID: "a", Name: "set.level"}
	if r := request(t, good); string(r.Parameters) != "{}" || r.ExpiresIn != time.Hour {
		t.Errorf("defaults: %+v", r)
	}
	for want, change := range map[string]func(*twin.CommandRequest){
		"id:":                                func(r *twin.CommandRequest) { r.ID = "a/b" },
		"name:":                              func(r *twin.CommandRequest) { r.Name = "" },
		`name: "a b"`:                        func(r *twin.CommandRequest) { r.Name = "a b" },
		"name: \"" + strings.Repeat("n", 65): func(r *twin.CommandRequest) { r.Name = strings.Repeat("n", 65) },
		"parameters: a JSON object":          func(r *twin.CommandRequest) { r.Parameters = []byte(`[1]`) },
		"parameters: jsontext":               func(r *twin.CommandRequest) { r.Parameters = []byte(`{"a":1`) },
		"duplicate":                          func(r *twin.CommandRequest) { r.Parameters = []byte(`{"a":1,"a":2}`) },
		"UTF-8":                              func(r *twin.CommandRequest) { r.Parameters = []byte("{\"a\":\"\xff\"}") },
		"over the limit of 32768":            func(r *twin.CommandRequest) { r.Parameters = []byte(`{"a":"` + strings.Repeat("x", 32<<10) + `"}`) },
		"expiresIn: 1ms is not within":       func(r *twin.CommandRequest) { r.ExpiresIn = time.Millisecond },
		"expiresIn: 721h0m0s is not":         func(r *twin.CommandRequest) { r.ExpiresIn = 721 * time.Hour },
	} {
		r := good
		change(&r)
		if err := r.Check(); twin.Kind(err) != twin.KindInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestParseCommandAnswer(t *testing.T) {
	s, err := twin.ParseCommandAnswer([]byte(` {"status":"in_progress", "progress":100, "message":"m", "result": {"a": [1, 2]} } `))
	if err != nil || s.State != twin.CommandAccepted || *s.Progress != 100 || s.Message != "m" || string(s.Result) != `{"a":[1,2]}` {
		t.Errorf("%+v %v", s, err)
	}
	for body, want := range map[string]string{
		``:                                  "not a JSON object",
		`[]`:                                "not a JSON object",
		`{`:                                 "not valid JSON",
		`{}`:                                `"status" is missing`,
		`{"status":1}`:                      `"status" is not a string`,
		`{"status":"fine"}`:                 "is none of",
		`{"status":"expired"}`:              "is not for the device to say",
		`{"status":"queued"}`:               "is not for the device to say",
		`{"status":"done","progress":101}`:  "not within 0 and 100",
		`{"status":"done","progress":-1}`:   "not within 0 and 100",
		`{"status":"done","progress":1.5}`:  "not a whole number",
		`{"status":"done","progress":null}`: "not a whole number",
		`{"status":"done"} x`:               "more after",
		`{"status":"done","mesage":"x"}`:    `"mesage" is not known`,
		`{"status":"done","message":1}`:     `"message" is not a string`,
		`{"status":"done"} {}`:              "more after",
		`{"status":"done","status":"done"}`: "not valid JSON",
		`{"status":"done","result":{"a":1,"a":2}}`:                         "not valid JSON",
		"{\"status\":\"done\",\"message\":\"\xff\"}":                       "not valid JSON",
		`{"status":"done","message":"` + strings.Repeat("m", 1025) + `"}`:  "limit is 1024",
		`{"status":"done","result":"` + strings.Repeat("r", 32<<10) + `"}`: "at most 32768 bytes",
		`{"status":"done","result":"` + strings.Repeat("r", 64<<10) + `"}`: "at most",
	} {
		if _, err := twin.ParseCommandAnswer([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", body, err, want)
		}
	}
}

// The result of an AWS answer is checked by CommandStep.Check alone.
func TestCommandStep_check(t *testing.T) {
	for _, bad := range []string{`{"a":1,"a":2}`, "\"\xff\"", `{`} {
		s := twin.CommandStep{State: twin.CommandDone, Result: []byte(bad)}
		if err := s.Check(); err == nil {
			t.Errorf("%q is taken as a result", bad)
		}
	}
}

func FuzzParseCommandAnswer(f *testing.F) {
	f.Add([]byte(`{"status":"in_progress","progress":50,"message":"m","result":{"a":[1,2]}}`))
	f.Add([]byte(`{"status":"done","result":1e400}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := twin.ParseCommandAnswer(body)
		if err != nil {
			if k := twin.Kind(err); k != twin.KindInvalid && k != twin.KindTooLarge {
				t.Fatalf("kind %s: %v", k, err)
			}
			return
		}
		c := twin.NewCommand("t", &twin.CommandRequest{ID: "a", Name: "n", Parameters: []byte("{}"), ExpiresIn: time.Hour}, "", 1, 1)
		next, changed, err := c.Next(&s, 2)
		if err != nil || !changed {
			t.Fatalf("a first answer is refused: %v", err)
		}
		b, err := next.AppendBinary(nil)
		if err != nil {
			t.Fatalf("what was taken cannot be kept: %v", err)
		}
		if _, err := twin.DecodeCommand(b); err != nil {
			t.Fatal(err)
		}
		var ev twin.Event
		if err := next.Describe(&c, &s, &ev); err != nil || !json.Valid(ev.Data) {
			t.Fatalf("event: %s %v", ev.Data, err)
		}
	})
}

func TestDecodeCommand_refuses(t *testing.T) {
	c := twin.NewCommand("t", &twin.CommandRequest{ID: "a", Name: "n", Parameters: []byte("{}"), ExpiresIn: time.Hour}, "", 1, 1)
	b, err := c.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{
		nil,
		{2},
		b[:len(b)-1], append([]byte{9}, b[1:]...),
		bytes.Replace(b, []byte("queued"), []byte("lost"), 1),
		bytes.Replace(b, []byte(`"id"`), []byte(`"di"`), 1),
	} {
		if _, err := twin.DecodeCommand(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// The keys of a thing's commands are in order, the last one first, and apart from those
// of things whose names begin alike.
func TestCommandKey(t *testing.T) {
	if !(twin.CommandKey("a", 300) < twin.CommandKey("a", 2)) || !(twin.CommandKey("a", 2) < twin.CommandKey("a", 1)) {
		t.Error("the keys are not in order")
	}
	if strings.HasPrefix(twin.CommandKey("ab", 1), twin.CommandKeys("a")) {
		t.Error("a thing is found among the commands of another")
	}
}
