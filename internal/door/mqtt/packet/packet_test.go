package packet_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
)

// decode reads the body of any packet and writes it again.
func decode(h packet.Header, body []byte, v packet.Version) (value any, again []byte, err error) {
	switch h.Type {
	case packet.CONNECT:
		p, err := packet.DecodeConnect(body)
		if err != nil {
			return nil, nil, err
		}
		return p, packet.AppendConnect(nil, p), nil
	case packet.CONNACK:
		p, err := packet.DecodeConnack(body, v)
		if err != nil {
			return nil, nil, err
		}
		return p, packet.AppendConnack(nil, v, p), nil
	case packet.PUBLISH:
		p := &packet.Publish{}
		if err := packet.DecodePublish(p, h.Flags, body, v); err != nil {
			return nil, nil, err
		}
		o := &packet.Outgoing{
			Dup: p.Dup, Retain: p.Retain, QoS: p.QoS, Topic: string(p.Topic), PacketID: p.PacketID,
			Payload: p.Payload, Properties: &p.Properties,
		}
		again := packet.AppendPublish(nil, v, o)
		if o.Size(v) != len(again) {
			return nil, nil, fmt.Errorf("size %d of %d bytes", o.Size(v), len(again))
		}
		return p, again, nil
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		p := &packet.Ack{}
		if err := packet.DecodeAck(p, body, h.Type, v); err != nil {
			return nil, nil, err
		}
		if !p.Properties.Empty() {
			return nil, nil, errSkip // AppendAck writes no properties
		}
		return p, packet.AppendAck(nil, h.Type, v, p.PacketID, p.Reason), nil
	case packet.SUBSCRIBE:
		p, err := packet.DecodeSubscribe(body, v)
		if err != nil {
			return nil, nil, err
		}
		return p, packet.AppendSubscribe(nil, v, p), nil
	case packet.UNSUBSCRIBE:
		p, err := packet.DecodeUnsubscribe(body, v)
		if err != nil {
			return nil, nil, err
		}
		return p, packet.AppendUnsubscribe(nil, v, p), nil
	case packet.SUBACK, packet.UNSUBACK:
		p, err := packet.DecodeSuback(body, h.Type, v)
		if err != nil {
			return nil, nil, err
		}
		return p, packet.AppendSuback(nil, h.Type, v, p), nil
	case packet.DISCONNECT:
		p, err := packet.DecodeDisconnect(body, h.Type, v)
		if err != nil {
			return nil, nil, err
		}
		return p, packet.AppendDisconnect(nil, v, p), nil
	}
	return nil, nil, errSkip
}

var errSkip = errors.New("not written by this package")

// FuzzDecode: whatever decodes is written and decodes to the same again; what does
// not is an [packet.Error] with a reason code that is an error.
func FuzzDecode(f *testing.F) {
	for _, p := range samples() {
		f.Add(p, true)
		f.Add(p, false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, five bool) {
		v := packet.V311
		if five {
			v = packet.V5
		}
		h, err := packet.ParseHeader(raw)
		if err != nil {
			checkError(t, err)
			return
		}
		if h.Size == 0 || len(raw) < h.Size+h.Length {
			return
		}
		first, again, err := decode(h, raw[h.Size:h.Size+h.Length], v)
		if errors.Is(err, errSkip) {
			return
		}
		if err != nil {
			checkError(t, err)
			return
		}
		h2, err := packet.ParseHeader(again)
		if err != nil || h2.Type != h.Type || h2.Size+h2.Length != len(again) {
			t.Fatalf("% x became % x: %+v %v", raw, again, h2, err)
		}
		second, _, err := decode(h2, again[h2.Size:], v)
		if err != nil {
			t.Fatalf("% x became % x: %v", raw, again, err)
		}
		opts := []cmp.Option{cmpopts.EquateEmpty(), cmp.Exporter(func(reflect.Type) bool { return true })}
		if d := cmp.Diff(first, second, opts...); d != "" {
			t.Fatalf("% x became % x: %s", raw, again, d)
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	var e *packet.Error
	if !errors.As(err, &e) || e.Reason < packet.Unspecified || e.Error() == "" {
		t.Fatalf("error %#v", err)
	}
}

// samples has each packet with everything in it.
func samples() [][]byte {
	var will packet.Properties
	will.SetUint(packet.WillDelay, 5)
	will.SetBytes(packet.ContentType, []byte("t"))
	var connect, connack, publish, sub, disc packet.Properties
	connect.SetUint(packet.SessionExpiry, 1<<32-1)
	connect.SetUint(packet.ReceiveMaximum, 20)
	connect.SetUint(packet.MaximumPacketSize, 70000)
	connect.SetUint(packet.TopicAliasMaximum, 5)
	connect.SetUint(packet.RequestProblemInfo, 0)
	connect.SetUint(packet.RequestResponseInfo, 1)
	connect.AddUser([]byte("k"), []byte("v"))
	connack.SetUint(packet.MaximumQoS, 1)
	connack.SetUint(packet.RetainAvailable, 1)
	connack.SetUint(packet.ServerKeepAlive, 60)
	connack.SetBytes(packet.AssignedClientID, []byte("auto"))
	connack.SetBytes(packet.ReasonString, []byte("because"))
	publish.SetUint(packet.PayloadFormat, 1)
	publish.SetUint(packet.MessageExpiry, 300)
	publish.SetUint(packet.TopicAlias, 2)
	publish.SetBytes(packet.ResponseTopic, []byte("r/s"))
	publish.SetBytes(packet.CorrelationData, []byte{0, 1, 255})
	publish.AddSubID(1)
	publish.AddSubID(268_435_455)
	publish.AddUser([]byte("a"), nil)
	sub.AddSubID(300)
	disc.SetBytes(packet.ServerReference, []byte("other"))
	var list [][]byte
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		list = append(list,
			packet.AppendConnect(nil, &packet.Connect{
				Version: v, CleanStart: true, KeepAlive: 60, ClientID: []byte("id"), Username: []byte("?SDK=x"), Password: []byte{0},
				Will: &packet.Will{Topic: []byte("w"), Payload: []byte("p"), QoS: 1, Retain: true, Properties: will}, Properties: connect,
			}),
			packet.AppendConnect(nil, &packet.Connect{Version: v}),
			packet.AppendConnack(nil, v, &packet.Connack{SessionPresent: true, Properties: connack}),
			packet.AppendPublish(nil, v, &packet.Outgoing{Topic: "a/b", Payload: []byte("x"), QoS: 1, PacketID: 7, Dup: true, Properties: &publish}),
			packet.AppendPublish(nil, v, &packet.Outgoing{Topic: "ü", Retain: true}),
			packet.AppendAck(nil, packet.PUBACK, v, 65535, packet.QuotaExceeded),
			packet.AppendAck(nil, packet.PUBREL, v, 1, packet.Success),
			packet.AppendSubscribe(nil, v, &packet.Subscribe{PacketID: 1, Properties: sub, Subscriptions: []packet.Subscription{
				{Filter: []byte("a/+/#"), QoS: 2}, {Filter: []byte("b"), NoLocal: v == packet.V5, RetainHandling: byte(v-4) * 2},
			}}),
			packet.AppendSuback(nil, packet.SUBACK, v, &packet.Suback{PacketID: 1, Codes: []byte{0, 0x80}}),
			packet.AppendUnsubscribe(nil, v, &packet.Unsubscribe{PacketID: 2, Filters: [][]byte{[]byte("a"), []byte("b/#")}}),
			packet.AppendSuback(nil, packet.UNSUBACK, v, &packet.Suback{PacketID: 1, Codes: []byte{0x11}}),
			packet.AppendDisconnect(nil, v, &packet.Disconnect{Reason: packet.SessionTakenOver, Properties: disc}),
			packet.AppendDisconnect(nil, v, &packet.Disconnect{}),
			packet.AppendPing(nil, packet.PINGREQ),
		)
	}
	return list
}

// Each sample decodes in its own version, and no cut of it does.
func TestDecode_cuts(t *testing.T) {
	all := samples()
	for i, raw := range all {
		v := packet.V311
		if i >= len(all)/2 {
			v = packet.V5
		}
		h, err := packet.ParseHeader(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := decode(h, raw[h.Size:], v); err != nil && !errors.Is(err, errSkip) {
			t.Fatalf("sample %d, % x: %v", i, raw, err)
		}
		for n := range len(raw) - h.Size {
			_, _, err := decode(h, raw[h.Size:h.Size+n], v)
			free := h.Type == packet.PUBLISH || h.Type == packet.SUBACK || h.Type == packet.UNSUBACK || // end with bytes of any number
				h.Type == packet.DISCONNECT || v == packet.V5 && h.Type >= packet.PUBACK && h.Type <= packet.PUBCOMP || // may be short
				h.Type == packet.SUBSCRIBE || h.Type == packet.UNSUBSCRIBE // end with a list
			if err == nil && !free {
				t.Fatalf("sample %d cut to %d bytes decodes", i, n)
			}
		}
	}
}

func TestParseHeader(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 16383, 16384, 2097151, 2097152, packet.RemainingLengthMax} {
		raw := packet.AppendPublish(nil, packet.V311, &packet.Outgoing{Topic: "a", Payload: make([]byte, max(0, n-3))})
		h, err := packet.ParseHeader(raw[:min(5, len(raw))])
		if want := max(n, 3); err != nil || h.Length != want || h.Size+h.Length != len(raw) {
			t.Fatalf("%d: %+v %v", n, h, err)
		}
		if h, err := packet.ParseHeader(raw[:h.Size-1]); err != nil || h.Size != 0 {
			t.Fatalf("%d: half a header gives %+v %v", n, h, err)
		}
	}
}

func TestCheckFilter(t *testing.T) {
	good := []string{"#", "+", "a", "/", "a/#", "+/+", "a/+/#", "$aws/things/+/shadow/update/delta", "//", " ", "ü/日本"}
	bad := []string{"", "a#", "#/a", "a/#/b", "a+", "+a", "a/+b", "a\x01", "\ufffe", "\u0085"}
	for _, f := range good {
		if e := packet.CheckFilter([]byte(f)); e != nil {
			t.Errorf("%q: %v", f, e)
		}
	}
	for _, f := range bad {
		if packet.CheckFilter([]byte(f)) == nil {
			t.Errorf("%q passes", f)
		}
	}
	deep := bytes.Repeat([]byte("a/"), packet.TopicLevelsMax)
	if packet.CheckFilter(deep) == nil || packet.CheckTopic(deep) == nil || packet.CheckTopic(deep[:2*packet.TopicLevelsMax-1]) != nil {
		t.Error("the limit of levels is wrong")
	}
}

// A publish is decoded and written without allocation.
func TestPublish_allocs(t *testing.T) {
	raw := packet.AppendPublish(nil, packet.V5, &packet.Outgoing{Topic: "$aws/things/lamp-1/shadow/update", Payload: make([]byte, 200), QoS: 1, PacketID: 7})
	var p packet.Publish
	out := make([]byte, 0, 1024)
	got := testing.AllocsPerRun(100, func() {
		h, err := packet.ParseHeader(raw)
		if err == nil {
			err = packet.DecodePublish(&p, h.Flags, raw[h.Size:], packet.V5)
		}
		if err != nil {
			t.Fatal(err)
		}
		out = packet.AppendAck(out[:0], packet.PUBACK, packet.V5, p.PacketID, packet.Success)
	})
	if got != 0 {
		t.Fatalf("%v allocations", got)
	}
}

func BenchmarkDecodePublish(b *testing.B) {
	raw := packet.AppendPublish(nil, packet.V5, &packet.Outgoing{Topic: "$aws/things/lamp-1/shadow/update", Payload: make([]byte, 200), QoS: 1, PacketID: 7})
	var p packet.Publish
	b.ReportAllocs()
	for b.Loop() {
		h, err := packet.ParseHeader(raw)
		if err == nil {
			err = packet.DecodePublish(&p, h.Flags, raw[h.Size:], packet.V5)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
