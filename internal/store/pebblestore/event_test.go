package pebblestore

import (
	"bytes"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"

	"github.com/twofold-iot/twofold/twin"
)

func packable(thing twin.ThingName, at twin.Time, patch string) []byte {
	e := twin.Event{
		Thing: thing, Seq: 3, Kind: twin.EventUpdated, Version: 3, Time: at,
		Origin: twin.Origin{Door: twin.DoorMQTT, Session: string(thing), PacketID: 3}, Patch: []byte(patch),
	}
	return e.AppendBinary(nil)
}

// The bytes of an event on disk, as in docs/format/store.md.
func TestEvent_golden(t *testing.T) {
	key := twin.ShadowKey{Thing: "ab"}
	for what, test := range map[string]struct {
		event []byte
		want  string
	}{
		"whole": {[]byte("123456789"), "00" + "9283" + "313233343536373839"},
		"body":  {[]byte("ab\x00\x00\x03rest"), "01" + "6fbc" + "72657374"},
		"split": {packable("ab", 300, `{"a":-1.5}`), "02" + "07" + "0e" + "01010104" + "00" + "0000" + "7b2261223a" + "f6" + "7d" + "1d" + "0000012c" + "6857"},
	} {
		value := (&packer{}).append(nil, key, 3, 0, test.event)
		if got := hex.EncodeToString(value); got != test.want {
			t.Errorf("%s: got %s, want %s", what, got, test.want)
		}
		if got, err := unpackEvent(key, 3, 0, value); err != nil || !bytes.Equal(got, test.event) {
			t.Errorf("%s: read as %q, %v", what, got, err)
		}
	}
}

// Whatever the bytes of an event are, the same come back; so do numbers in every
// way to write them.
func TestEvent_roundTrip(t *testing.T) {
	number := rapid.StringMatching(`-?[0-9]{0,22}(\.[0-9]{0,22})?([eE][+-]?[0-9]{1,3})?`)
	patch := rapid.OneOf(
		rapid.SliceOf(rapid.Byte()),
		rapid.Map(rapid.SliceOf(rapid.OneOf(number, rapid.String(), rapid.SampledFrom([]string{`{"a":`, ",", "-", ".", "0", "00"}))), func(parts []string) []byte {
			var b []byte
			for _, p := range parts {
				b = append(b, p...)
			}
			return b
		}),
	)
	p := &packer{} // reused, as in a commit
	rapid.Check(t, func(t *rapid.T) {
		e := twin.Event{
			Thing: twin.ThingName(rapid.StringMatching(`[a-z]{1,9}`).Draw(t, "thing")), Shadow: twin.ShadowName(rapid.StringMatching(`[a-z]{0,3}`).Draw(t, "shadow")),
			Seq: twin.Seq(rapid.Uint64().Draw(t, "seq")), Kind: twin.EventUpdated, Version: twin.Version(rapid.Uint32().Draw(t, "version")),
			Time:        twin.Time(rapid.Int64Range(0, 1<<52).Draw(t, "time")),
			Origin:      twin.Origin{Door: twin.DoorMQTT, Session: rapid.String().Draw(t, "session"), PacketID: rapid.Uint16().Draw(t, "packet")},
			Correlation: rapid.String().Draw(t, "correlation"),
			Snapshot:    rapid.SliceOf(rapid.Byte()).Draw(t, "snapshot"),
			Patch:       patch.Draw(t, "patch"),
		}
		key := twin.ShadowKey{Thing: e.Thing, Shadow: e.Shadow}
		day := e.Time.Day()
		if rapid.IntRange(0, 9).Draw(t, "other day") == 0 {
			day++
		}
		event := e.AppendBinary(nil)
		switch rapid.IntRange(0, 9).Draw(t, "damage") {
		case 0:
			event = event[:rapid.IntRange(0, len(event)).Draw(t, "cut")]
		case 1:
			event[rapid.IntRange(0, len(event)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		value := p.append(nil, key, e.Seq, day, event)
		got, err := unpackEvent(key, e.Seq, day, value)
		if err != nil || !bytes.Equal(got, event) {
			t.Fatalf("%x is kept as %x, read as %x, %v", event, value, got, err)
		}
	})
}

// A report is split, or the figures of docs/benchmarks.md are not true.
func TestEvent_split(t *testing.T) {
	event := packable("sensor-0001", 1_795_000_000_123, `{"reported":{"temperature":20.3,"humidity":50.1,"battery":97}}`)
	key := twin.ShadowKey{Thing: "sensor-0001"}
	value := (&packer{}).append(nil, key, 3, twin.Time(1_795_000_000_123).Day(), event)
	if value[0] != eventSplit {
		t.Fatalf("kept as form %d", value[0])
	}
}

// No value with a turned bit reads as another event: at most as the same one, and
// two bytes of checksum let one in 65,536 pass if many bits turn.
func TestEvent_damaged(t *testing.T) {
	key := twin.ShadowKey{Thing: "ab"}
	event := packable("ab", 300, `{"a":-1.5,"text":"the canonical event"}`)
	for _, e := range [][]byte{event, []byte("ab\x00\x00\x03the canonical event"), []byte("the canonical event")} {
		value := (&packer{}).append(nil, key, 3, 0, e)
		for bit := range len(value) * 8 {
			damaged := bytes.Clone(value)
			damaged[bit/8] ^= 1 << (bit % 8)
			if got, err := unpackEvent(key, 3, 0, damaged); err == nil && !bytes.Equal(got, e) {
				t.Errorf("bit %d: read as %q", bit, got)
			}
		}
		for n := range len(value) {
			if got, err := unpackEvent(key, 3, 0, value[:n]); err == nil {
				t.Errorf("the first %d bytes of %d read as %q", n, len(value), got)
			}
		}
		if _, err := unpackEvent(twin.ShadowKey{Thing: "xy"}, 3, 0, value); err == nil && value[0] != eventWhole {
			t.Error("an event at the key of another thing was accepted")
		}
	}
}
