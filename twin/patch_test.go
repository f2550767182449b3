package twin

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// same renders a tree, so that two can be compared.
func same(n *Node) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %q %q %d [", n.kind, n.key, n.text, n.stamp)
	for i := range n.kids {
		b.WriteString(same(&n.kids[i]))
	}
	return b.String() + "]"
}

// FuzzPatchReader: what the reader takes, ParseRequest takes too, and both make the same
// of it.
func FuzzPatchReader(f *testing.F) {
	for _, s := range simplePatches() {
		f.Add([]byte(s))
	}
	for _, s := range oddPatches() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, patch []byte) {
		var r patchReader
		got, ok := r.read(patch)
		if !ok {
			return
		}
		req, err := parsePatch(patch)
		if err != nil {
			t.Fatalf("%q is taken, but: %v", patch, err)
		}
		if string(req.text) != string(patch) {
			t.Fatalf("%q is not compact: %q", patch, req.text)
		}
		if d := cmp.Diff(same(req.state), same(&got)); d != "" {
			t.Fatalf("%q: %s", patch, d)
		}
	})
}

func simplePatches() []string {
	return []string{
		`null`, `{}`, `{"desired":null}`, `{"reported":{}}`, `{"reported":{"a":1.50,"b":-0.0,"c":"x y","d":true,"e":false,"f":null}}`,
		`{"reported":{"a":{"b":{"c":[1,{"d":[]},[["x"]]]}}},"desired":{"ä":"€"}}`, `{"reported":{"a":9007199254740993}}`,
	}
}

// oddPatches are for ParseRequest: rare, or wrong.
func oddPatches() []string {
	wide := `{"reported":{"m":0`
	for i := range 100 {
		wide += fmt.Sprintf(`,"m%d":%d`, i, i)
	}
	return []string{
		``, `1`, `{"reported":{"a":1e3}}`, `{"reported":{"a":"\n"}}`, `{"reported":{"a\u0041":1}}`, `{"reported":{"a":1},"reported":{"b":1}}`,
		`{"reported":{"a":1,"a":2}}`, `{"reported":{"a":[null]}}`, `{"reported":{"a":[{"b":null}]}}`, `{"other":{}}`, `{"reported":1}`, `{"reported":{"a":01}}`,
		`{"reported":{"a":1.}}`, `{"reported":{"a":.5}}`, `{"reported":{"a":-}}`, `{"reported":{"a":1,}}`, `{"reported":{,}}`, `{"reported":{"a":[1,]}}`,
		`{"reported":{"a" :1}}`, `{"reported":{"a":1}} `, `{"reported":{"a":1}}{}`, `{"reported":{"a":1}`, `{"reported":{"a":nul}}`, "{\"reported\":{\"a\":\"\xff\"}}",
		`{"reported":{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}}`, `{"reported":{"a":` + strings.Repeat("9", 400) + `}}`, wide + "}}",
	}
}

func TestPatchReader(t *testing.T) {
	var r patchReader
	for _, s := range simplePatches() {
		if _, ok := r.read([]byte(s)); !ok {
			t.Errorf("%s is not taken", s)
		}
	}
	for _, s := range oddPatches() {
		if _, ok := r.read([]byte(s)); ok {
			t.Errorf("%s is taken", s)
		}
	}
}
