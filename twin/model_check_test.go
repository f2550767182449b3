package twin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/twofold-iot/twofold/twin"
	"pgregory.net/rapid"
)

func quoted(s string) []byte {
	b, err := jsontext.AppendQuote(nil, s)
	must(err)
	return b
}

// pair is the real shadow beside the naive one.
type pair struct {
	real  *twin.Shadow
	model model
	now   int64
	lim   twin.Limits
}

var pairKey = twin.ShadowKey{Thing: "lamp-1", Shadow: "s"}

// update applies one request to both and returns where they differ.
func (p *pair) update(payload []byte) error {
	req, err := twin.ParseRequest(payload, p.lim)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	bytesMax := p.lim.DocumentBytesMax
	if bytesMax == 0 {
		bytesMax = 8192
	}
	request := plain(payload).(object)
	before := p.model
	next, kind, ok := p.model.update(request, p.now, bytesMax)
	c, err := twin.NewChange(pairKey, p.real, req, twin.Time(p.now), p.lim)
	if (err == nil) != ok || err != nil && twin.Kind(err) != kind {
		return fmt.Errorf("got error %v, model says %d, %v", err, kind, ok)
	}
	if !ok {
		return nil
	}
	p.model = next
	if err := p.compare(c, request, before); err != nil {
		return err
	}
	return p.store(c.Current)
}

// compare looks at all that an update publishes.
func (p *pair) compare(c *twin.Change, request object, before model) error {
	version, now := p.model.document()["version"], stamp(p.now)["timestamp"]
	with := func(o object) object {
		o["timestamp"] = now
		if token, ok := request["clientToken"].(text); ok {
			var s string
			must(json.Unmarshal([]byte(token), &s))
			o["clientToken"] = text(quoted(s))
		}
		return o
	}
	state, meta := p.model.delta()
	if c.HasDelta() != (len(state) > 0) {
		return fmt.Errorf("HasDelta is %v, model has %v", c.HasDelta(), state)
	}
	if c.HasDelta() {
		want := with(object{"version": version, "state": state, "metadata": meta})
		if err := sameJSON("delta", c.AppendDelta(nil), want); err != nil {
			return err
		}
	}
	want := with(object{"state": request["state"], "metadata": stamps(request["state"], p.now), "version": version})
	if err := sameJSON("accepted", c.AppendAccepted(nil), want); err != nil {
		return err
	}
	var previous any
	if before.exists {
		previous = before.document()
	}
	want = with(object{"previous": previous, "current": p.model.document()})
	return sameJSON("documents", c.AppendDocuments(nil), want)
}

// store writes the real shadow and reads it again.
func (p *pair) store(s *twin.Shadow) error {
	stored := s.AppendBinary(nil)
	read, err := twin.DecodeShadow(stored)
	if err != nil {
		return err
	}
	if again := read.AppendBinary(nil); !bytes.Equal(again, stored) {
		return fmt.Errorf("stored as %x, then as %x", stored, again)
	}
	p.real = read
	if !p.real.Exists() {
		return nil
	}
	if got, want := s.JSONBytes(), p.model.desired.size()+p.model.reported.size(); got != want {
		return fmt.Errorf("got %d bytes, want %d", got, want)
	}
	return sameJSON("get", twin.AppendGet(nil, read, twin.Time(p.now), nil), p.model.get(p.now))
}

func (p *pair) delete() error {
	next, ok := p.model.delete(p.now)
	c, err := twin.NewDelete(pairKey, p.real, &twin.Request{}, twin.Time(p.now))
	if (err == nil) != ok {
		return fmt.Errorf("delete: got %v, model says %v", err, ok)
	}
	if !ok {
		return nil
	}
	if uint64(c.Version) != p.model.version {
		return fmt.Errorf("delete: got version %d, want %d", c.Version, p.model.version)
	}
	p.model = next
	return p.store(c.Current)
}

func sameJSON(what string, got []byte, want any) error {
	if !jsontext.Value(got).IsValid() {
		return fmt.Errorf("%s is not JSON: %s", what, got)
	}
	if compact := jsontext.Value(got).Clone(); compact.Compact() != nil || !bytes.Equal(compact, got) {
		return fmt.Errorf("%s is not compact: %s", what, got)
	}
	if diff := cmp.Diff(want, plain(got)); diff != "" {
		return fmt.Errorf("%s (-model +real):\n%s\n%s", what, diff, got)
	}
	return nil
}

// TestModel plays random histories on both. More of them:
//
//	go test ./twin -run TestModel -rapid.checks=10000
//
// rapid prints the seed of a failure and how to play it again.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &pair{now: 1_700_000_000_000}
		if rapid.IntRange(0, 3).Draw(t, "limit") == 0 {
			p.lim.DocumentBytesMax = rapid.IntRange(10, 120).Draw(t, "bytes")
		}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			var err error
			what := "delete"
			switch rapid.IntRange(0, 19).Draw(t, "step") {
			case 0:
				err = p.delete()
			case 1:
				p.now += 24 * 3600 * 1000 * rapid.Int64Range(0, 3).Draw(t, "days")
			default:
				p.now += rapid.Int64Range(0, 2500).Draw(t, "ms")
				what = drawRequest(t, p.model.version)
				err = p.update([]byte(what))
			}
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	})
}

func drawRequest(t *rapid.T, version uint64) string {
	var members []string
	switch rapid.IntRange(0, 15).Draw(t, "state") {
	case 0:
		members = append(members, `"state": null`)
	default:
		var sections []string
		for _, name := range []string{"desired", "reported"} {
			switch rapid.IntRange(0, 9).Draw(t, name) {
			case 0:
				sections = append(sections, `"`+name+`": null`)
			case 1, 2: // not sent
			default:
				sections = append(sections, `"`+name+`":`+drawObject(t, 4, true))
			}
		}
		members = append(members, `"state":{`+strings.Join(sections, " , ")+"}")
	}
	if rapid.IntRange(0, 5).Draw(t, "versioned") == 0 {
		v := int64(version) + rapid.Int64Range(-1, 1).Draw(t, "version")
		members = append(members, fmt.Sprintf(`"version":%d`, max(0, v)))
	}
	if rapid.Bool().Draw(t, "token") {
		members = append(members, `"clientToken":"t-1"`)
	}
	return "{" + strings.Join(rapid.Permutation(members).Draw(t, "order"), ",\n") + "}"
}

func drawObject(t *rapid.T, depth int, nulls bool) string {
	keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"A", "b", "c", "timestamp", "ü", ""}), 0, 4, rapid.ID[string]).Draw(t, "keys")
	var members []string
	for _, k := range keys {
		key := string(quoted(k))
		if k == "A" && rapid.Bool().Draw(t, "escaped") {
			key = `"\u0041"`
		}
		members = append(members, key+":"+drawValue(t, depth-1, nulls))
	}
	return "{" + strings.Join(members, ", ") + "}"
}

func drawValue(t *rapid.T, depth int, nulls bool) string {
	kinds := []string{"scalar", "scalar", "null", "object", "object", "array"}
	kind := rapid.SampledFrom(kinds).Draw(t, "kind")
	switch {
	case kind == "object" && depth > 0:
		return drawObject(t, depth, nulls)
	case kind == "array" && depth > 0:
		var elements []string
		for range rapid.IntRange(0, 3).Draw(t, "len") {
			elements = append(elements, drawValue(t, depth-1, false))
		}
		return "[" + strings.Join(elements, " ,") + "]"
	case kind == "null" && nulls:
		return "null"
	}
	return rapid.SampledFrom([]string{
		"true", "false", "0", "-0", "0.0", "1", "1.0", "1e0", "10e-1", "-1", "0.1", "0.10", "100", "1E+2", "1.5", "15e-1",
		"9007199254740992", "9007199254740993", `"A"`, `"\u0041"`, `""`, `"1"`, `"ü"`, `"\u00fc"`, `"\ud83d\ude00"`, `"😀"`,
	}).Draw(t, "scalar")
}

// longExponent is what the model's arithmetic cannot do: it writes numbers out.
var longExponent = regexp.MustCompile(`[eE][-+]?[0-9]{4}`)

// FuzzMergeAgainstModel applies two arbitrary requests to both.
func FuzzMergeAgainstModel(f *testing.F) {
	f.Add([]byte(benchState), []byte(benchUpdate))
	f.Add([]byte(`{"state":{"desired":{"a":{"b":[1,{"c":2}],"":1e2}}}}`), []byte(`{"state":{"desired":{"a":{"b":null,"":100.0}},"reported":{"a":{"":1}}},"clientToken":"x"}`))
	f.Add([]byte(`{"state":{"reported":{"\u0041\n":1}}}`), []byte(`{"state":{"reported":{"A\n":{"x":{"y":null}}}}}`))
	f.Add([]byte(`{"state":null}`), []byte(`{"state":{}, "version":1}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		p := &pair{now: 1_700_000_000_000}
		for _, payload := range [][]byte{first, second, first} {
			if longExponent.Match(payload) || !utf8.Valid(payload) {
				return
			}
			req, err := twin.ParseRequest(payload, p.lim)
			if err != nil {
				return
			}
			if v, ok := req.ExpectedVersion(); ok && !bytes.Contains(payload, fmt.Appendf(nil, `"version":%d`, v)) {
				return // written in a way the model does not read
			}
			if err := p.update(bytes.TrimSpace(payload)); err != nil {
				t.Fatalf("%s: %v", payload, err)
			}
			p.now += 1000
		}
	})
}
