package proof

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/twofold-iot/twofold/twin"
)

// TestReadStamp compares the short cut with the decoder, on events of all shapes and on
// what is left when they are cut.
func TestReadStamp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytesOf := rapid.SliceOfN(rapid.Byte(), 0, 40)
		ev := twin.Event{
			Thing:      twin.ThingName(rapid.StringMatching(`[a-z0-9:_-]{1,20}`).Draw(t, "thing")),
			Shadow:     twin.ShadowName(rapid.StringMatching(`[a-z$]{0,10}`).Draw(t, "shadow")),
			Seq:        twin.Seq(rapid.Uint64Range(1, 1<<40).Draw(t, "seq")),
			Kind:       twin.EventKind(rapid.ByteRange(1, 8).Draw(t, "kind")),
			Version:    twin.Version(rapid.Uint64Range(0, 1<<40).Draw(t, "version")),
			Time:       twin.Time(rapid.Int64Range(0, 1<<45).Draw(t, "time")),
			OriginTime: twin.Time(rapid.Int64Range(0, 1<<45).Draw(t, "origin")),
			Origin: twin.Origin{
				Door: twin.Door(rapid.ByteRange(0, 3).Draw(t, "door")), Session: rapid.String().Draw(t, "session"),
				PacketID: rapid.Uint16().Draw(t, "packet"),
			},
			Snapshot: bytesOf.Draw(t, "snapshot"), Patch: bytesOf.Draw(t, "patch"), Message: rapid.String().Draw(t, "message"),
		}
		b := ev.AppendBinary(nil)
		s, ok := readStamp(b)
		if !ok || string(s.thing) != string(ev.Thing) || string(s.shadow) != string(ev.Shadow) || s.seq != ev.Seq || s.time != ev.Time {
			t.Fatalf("%+v, %v of %+v", s, ok, ev)
		}
		cut := b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]
		if _, ok := readStamp(cut); !ok {
			if _, err := twin.DecodeEvent(cut); err == nil {
				t.Fatalf("the decoder takes %x", cut)
			}
		}
		var l linker
		if before := (twin.Hash{1}); l.next(&before, b) != before.Next(b) {
			t.Fatal("another link")
		}
	})
}
