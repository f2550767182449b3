package rest

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/twin"
)

// What is written by hand is what encoding/json would write.
func TestHistoryJSON(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	text := func() string {
		return []string{"", "", "pump-7", `a "quote" \ and`, "<&>", "line\nbreak\t", "ü€\u2028", "\x7f", "bad \xff utf-8"}[rnd.IntN(9)]
	}
	raw := func() json.RawMessage {
		return [...]json.RawMessage{nil, json.RawMessage(`{}`), json.RawMessage(`{"n":1.50,"s":"<\u00e4>"}`), json.RawMessage(`null`)}[rnd.IntN(4)]
	}
	for range 2000 {
		p := &historyPage{DeviceID: twin.ThingName(text()), Shadow: twin.ShadowName(text()), Model: text(), Next: text(), States: []*pastState{}}
		for range rnd.IntN(4) {
			p.States = append(p.States, &pastState{
				Timestamp: text(), Thing: twin.ThingName(text()), Shadow: twin.ShadowName(text()), Version: twin.Version(rnd.Uint64()), Seq: twin.Seq(rnd.IntN(9)),
				Kind: text(), Recorded: text(), Door: text(), By: text(), Correlation: text(), Reported: raw(), Desired: raw(), Patch: raw(),
				Computed: raw(), ModelVersion: uint32(rnd.IntN(2)),
			})
		}
		want, err := marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.appendJSON(nil)
		if d := cmp.Diff(string(want), string(got)); err != nil || d != "" {
			t.Fatalf("%v\n%s", err, d)
		}
	}
}

func TestTimeText(t *testing.T) {
	if got := timeText(0); got != "" {
		t.Errorf("no time is %q", got)
	}
	for _, at := range []twin.Time{1, 999, 1000, 1795348800250, 1795348800007, -1, -1000, 253402300799999} {
		if got, want := timeText(at), at.Std().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Errorf("%d is %s, want %s", at, got, want)
		}
	}
}
