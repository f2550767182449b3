package twin_test

import (
	"testing"

	"github.com/twofold-iot/twofold/twin"
)

func TestNode_Member(t *testing.T) {
	req, err := twin.ParseRequest([]byte(`{"state":{"reported":{"a":1.5,"q\"":"x\ny","t":true,"l":[1],"o":{"b":"c"},"a\\\"b":2}}}`), twin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := twin.NewChange(twin.ShadowKey{Thing: "x"}, nil, req, 1, twin.Limits{}.WithDefaults())
	if err != nil {
		t.Fatal(err)
	}
	r := c.Current.Reported
	for name, want := range map[string]twin.Value{
		"a": twin.NumberValue(1.5), `q"`: twin.TextValue("x\ny"), "t": twin.BoolValue(true), `a\"b`: twin.NumberValue(2),
	} {
		if got, ok := r.Member(name).Value(); !ok || got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"b", `q\"`, ""} {
		if r.Member(name) != nil {
			t.Errorf("%s is there", name)
		}
	}
	if _, ok := r.Member("o").Value(); ok || !r.Member("o").IsObject() || !r.Member("l").IsArray() || r.Member("l").At(0) == nil {
		t.Error("an object or an array is not one")
	}
	if none := (*twin.Node)(nil); none.Member("a") != nil || !none.IsObject() || none.Len() != 0 {
		t.Error("an absent section is not empty")
	}
}
