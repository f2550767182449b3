package twin_test

import (
	"bytes"
	"testing"

	"github.com/twofold-iot/twofold/twin"
)

// What the rules made, the fold of the events makes again, byte for byte.
func TestFold(t *testing.T) {
	key := twin.ShadowKey{Thing: "lamp-1"}
	const day = 24 * 60 * 60 * 1000
	steps := []struct {
		body string // empty: delete
		at   twin.Time
	}{
		{`{"state":{"reported":{"a":1,"big":9007199254740993,"l":[1,{"x":2}]}}}`, 1_000},
		{`{"state":{"desired":{"a":1.0,"b":{"c":{}}},"reported":{"a":null}},"clientToken":"t"}`, 2_500},
		{`{"state":null}`, 3_000},
		{`{"state":{}}`, 3_000},
		{``, 4_000},
		{`{"state":{"reported":{"z":"again"}}}`, 5_000},
		{``, 6_000},
		{`{"state":{"reported":{"z":"much later"}}}`, 6_000 + 3*day},
	}
	var live, folded *twin.Shadow
	for i, s := range steps {
		ev := twin.Event{Thing: key.Thing, Seq: twin.Seq(i + 1), Kind: twin.EventUpdated, Time: s.at}
		var c *twin.Change
		var err error
		if s.body == "" {
			ev.Kind = twin.EventDeleted
			c, err = twin.NewDelete(key, live, &twin.Request{}, s.at)
		} else {
			var req *twin.Request
			if req, err = twin.ParseRequest([]byte(s.body), twin.Limits{}); err != nil {
				t.Fatal(err)
			}
			c, err = twin.NewChange(key, live, req, s.at, twin.Limits{})
		}
		if err != nil {
			t.Fatal(err)
		}
		live = c.Current
		ev.Version, ev.Patch = live.Version, c.Patch()
		if folded, err = twin.Fold(folded, &ev); err != nil {
			t.Fatal(err)
		}
		got, want := folded.AppendBinary(nil), live.AppendBinary(nil)
		if !bytes.Equal(got, want) {
			t.Fatalf("step %d: fold gives\n%x, want\n%x", i, got, want)
		}
	}
	if live.Version != 1 {
		t.Fatalf("after the tombstone expired the version is %d, want 1", live.Version)
	}
	if _, err := twin.Fold(folded, &twin.Event{Thing: "lamp-1", Kind: twin.EventUpdated, Version: 7, Patch: []byte(`{}`)}); err == nil {
		t.Error("an event with a version that does not follow was folded")
	}
}

func TestPatchTouches(t *testing.T) {
	const patch = `{"reported":{"engine":{"rpm":900},"mode":null,"list":[1]},"desired":null}`
	for path, want := range map[string]bool{
		"reported": true, "reported.engine": true, "reported.engine.rpm": true, "reported.mode": true,
		"reported.mode.inner": true, "reported.list.x": true, "desired": true, "desired.level": true,
		"reported.engine.oil": false, "reported.other": false, "other": false,
	} {
		if got := twin.PatchTouches([]byte(patch), path); got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
	if twin.PatchTouches(nil, "reported") || twin.PatchTouches([]byte(`{`), "reported") {
		t.Error("a delete or a broken patch touches nothing")
	}
}
