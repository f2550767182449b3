package twin_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twofold-iot/twofold/twin"
	"pgregory.net/rapid"
)

// goldenEvent is the example of docs/format/event.md.
var goldenEvent = twin.Event{
	Thing: "lamp-1", Shadow: "config", Seq: 300, Kind: twin.EventUpdated, Version: 7,
	Time: 1_700_000_000_250, OriginTime: 1_700_000_000_000,
	Origin:      twin.Origin{Door: twin.DoorMQTT, Session: "gw-9", PacketID: 10},
	Patch:       []byte(`{"reported":{"on":true}}`),
	Correlation: "c-1",
}

const goldenEventHex = "6c616d702d3100" + "636f6e66696700" + "ac02" + // thing, shadow, seq
	"01" + "01" + "01" + // format, kind, door
	"47" + // fields: origin time, session, packet id, correlation
	"c904" + // version, as distance from seq
	"0467772d39" + // session
	"fede" + // packet id, as distance from seq
	"f4a3abfef962" + "f303" + // commit time, origin time as distance from it
	"03632d31" + // correlation
	"7b227265706f72746564223a7b226f6e223a747275657d7d" // patch

// TestEvent_golden fails if the bytes on disk change. They may not: add a format.
func TestEvent_golden(t *testing.T) {
	if got := hex.EncodeToString(goldenEvent.AppendBinary(nil)); got != goldenEventHex {
		t.Errorf("encoding\n got %s\nwant %s", got, goldenEventHex)
	}
	b, err := hex.DecodeString(goldenEventHex)
	if err != nil {
		t.Fatal(err)
	}
	got, err := twin.DecodeEvent(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenEvent, got); diff != "" {
		t.Error(diff)
	}
}

func TestEvent_roundTrip(t *testing.T) {
	field := func(t *rapid.T, name string) []byte {
		b := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, name)
		if len(b) == 0 {
			return nil
		}
		return b
	}
	rapid.Check(t, func(t *rapid.T) {
		time := rapid.Int64Range(-1<<60, 1<<60)
		want := twin.Event{
			Thing:  twin.ThingName(rapid.StringMatching("[a-z:]{0,128}").Draw(t, "thing")),
			Shadow: twin.ShadowName(rapid.StringMatching("[$a-z]{0,64}").Draw(t, "shadow")),
			Seq:    twin.Seq(rapid.Uint64().Draw(t, "seq")), Kind: twin.EventKind(rapid.Byte().Draw(t, "kind")),
			Version: twin.Version(rapid.Uint64().Draw(t, "version")),
			Time:    twin.Time(time.Draw(t, "time")), OriginTime: twin.Time(time.Draw(t, "origin time")),
			Origin: twin.Origin{
				Door: twin.Door(rapid.Byte().Draw(t, "door")), Session: string(field(t, "session")),
				PacketID: rapid.Uint16().Draw(t, "packet"),
			},
			Patch: field(t, "patch"), Snapshot: field(t, "snapshot"),
			Model: string(field(t, "model")), ModelVersion: rapid.Uint32().Draw(t, "model version"),
			Computed: field(t, "computed"), Correlation: string(field(t, "correlation")),
			Type: string(field(t, "type")), Severity: twin.Severity(rapid.Byte().Draw(t, "severity")),
			Message: string(field(t, "message")), Data: field(t, "data"),
		}
		if rapid.Bool().Draw(t, "own session") {
			want.Origin.Session = string(want.Thing)
		}
		if rapid.Bool().Draw(t, "at once") {
			want.OriginTime = want.Time
		}
		b := want.AppendBinary([]byte("before"))
		got, err := twin.DecodeEvent(b[len("before"):])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestDecodeEvent_damaged(t *testing.T) {
	b := goldenEvent.AppendBinary(nil)
	for n := range len(b) - len(goldenEvent.Patch) {
		if _, err := twin.DecodeEvent(b[:n:n]); err == nil {
			t.Errorf("cut to %d of %d bytes it is read", n, len(b))
		}
	}
	f := func(what, want, from, to string) {
		t.Helper()
		bad := strings.Replace(goldenEventHex, from, to, 1)
		if bad == goldenEventHex {
			t.Fatalf("%s: nothing to replace", what)
		}
		raw, err := hex.DecodeString(bad)
		if err != nil {
			t.Fatal(err)
		}
		_, err = twin.DecodeEvent(raw)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	f("another format", "format 2 is unknown", "ac02010101", "ac02020101")
	f("a number that is not in its shortest form", "shortest form", "ac02010101", "ac8200010101")
	f("a field that is marked and empty", "fields are marked", "03632d31", "00")
	f("a field that nobody knows", "fields are marked", "010147", "0101c702")
	f("a length beyond the end", "ends too early", "03632d31", "7f632d31")
}

// FuzzDecodeEvent: what is read is written again as the same bytes.
func FuzzDecodeEvent(f *testing.F) {
	f.Add(goldenEvent.AppendBinary(nil))
	f.Add((&twin.Event{}).AppendBinary(nil))
	f.Add((&twin.Event{Thing: "t", Kind: twin.EventDeleted, Time: 5, OriginTime: 5, Snapshot: []byte{1}, ModelVersion: 1 << 31}).AppendBinary(nil))
	f.Add([]byte{1, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := twin.DecodeEvent(b)
		if err != nil {
			return
		}
		if again := e.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Fatalf("got %x, want %x", again, b)
		}
	})
}

// TestHash_chain shows that each way to alter a chain changes its end.
func TestHash_chain(t *testing.T) {
	var events [][]byte
	for seq := range 5 {
		e := goldenEvent
		e.Seq = twin.Seq(seq + 1)
		events = append(events, e.AppendBinary(nil))
	}
	link := func(events ...[]byte) twin.Hash {
		var h twin.Hash
		for _, e := range events {
			h = h.Next(e)
		}
		return h
	}
	whole := link(events...)
	altered := bytes.Clone(events[2])
	altered[len(altered)-1] ^= 1
	moved := goldenEvent
	moved.Seq, moved.Thing = 3, "lamp-2"
	for what, h := range map[string]twin.Hash{
		"altered":   link(events[0], events[1], altered, events[3], events[4]),
		"lost":      link(events[0], events[1], events[3], events[4]),
		"swapped":   link(events[0], events[2], events[1], events[3], events[4]),
		"doubled":   link(events[0], events[1], events[2], events[2], events[3], events[4]),
		"truncated": link(events[:4]...),
		"of others": link(events[0], events[1], moved.AppendBinary(nil), events[3], events[4]),
	} {
		if h == whole {
			t.Errorf("%s: the chain ends the same", what)
		}
	}
	if got := whole; got != link(events...) {
		t.Error("the same chain ends differently")
	}
	const golden = "962f17c5c8ed7c3be2a5a2fe5a707b5705d218fc13e30fed5813b259f0ed9175"
	if got := (twin.Hash{}).Next(goldenEvent.AppendBinary(nil)); hex.EncodeToString(got[:]) != golden {
		t.Errorf("first link\n got %x\nwant %s", got, golden)
	}
}

func TestNames(t *testing.T) {
	f := func(name string, thing, shadow bool) {
		t.Helper()
		if got := twin.ThingName(name).Valid(); got != thing {
			t.Errorf("thing %q: got %v", name, got)
		}
		if got := twin.ShadowName(name).Valid(); got != shadow {
			t.Errorf("shadow %q: got %v", name, got)
		}
	}
	f("lamp-1", true, true)
	f("aZ09:_-", true, true)
	f("$package", false, true)
	f("", false, false)
	f("a b", false, false)
	f("a/b", false, false)
	f("a+", false, false)
	f("a#", false, false)
	f("a\x00", false, false)
	f("ü", false, false)
	f(strings.Repeat("a", 64), true, true)
	f(strings.Repeat("a", 65), true, false)
	f(strings.Repeat("a", 128), true, false)
	f(strings.Repeat("a", 129), false, false)
}

// TestShardOf fails if the shard of a name changes: it is part of the data on disk.
func TestShardOf(t *testing.T) {
	for name, want := range map[twin.ThingName]twin.Shard{"lamp-1": 73, "pump-7": 127, "": 0x25} {
		if got := name.Shard(); got != want {
			t.Errorf("%q: got %d, want %d", name, got, want)
		}
	}
}
