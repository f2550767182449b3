package mqtt_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
)

// statements maps the normative statements of MQTT 5 that bind a server, and what a
// server has to make of a client that breaks those that bind a client, to the tests
// that check them. Statements of 3.1.1 with a number of their own are below.
var statements = map[string]string{
	"1.5.4-1": "TestPoison", "1.5.4-2": "TestPoison", "1.5.5-1": "TestPoison",
	"2.1.3-1": "TestPoison", "2.2.1-2": "TestConform_qos0", "2.2.1-3": "TestPoison", "2.2.1-4": "TestConform_packetIDs",
	"2.2.1-5": "TestAck_order", "2.2.1-6": "TestSession_unsubscribe", "2.2.2-1": "FuzzDecode",
	"3.1.0-1": "TestPoison_connect", "3.1.0-2": "TestPoison",
	"3.1.2-1": "TestPoison_connect", "3.1.2-2": "TestPoison_connect", "3.1.2-3": "TestPoison_connect",
	"3.1.2-4": "TestSession_cleanStart", "3.1.2-5": "TestSession_cleanStart", "3.1.2-6": "TestSession_cleanStart",
	"3.1.2-7": "TestWill", "3.1.2-8": "TestWill", "3.1.2-9": "TestPoison_connect", "3.1.2-10": "TestWill",
	"3.1.2-11": "TestPoison_connect", "3.1.2-12": "TestPoison_connect", "3.1.2-13": "TestPoison_connect",
	"3.1.2-14": "TestWill", "3.1.2-15": "TestWill",
	"3.1.2-16": "TestPoison_connect", "3.1.2-17": "TestDecode_cuts", "3.1.2-18": "TestPoison_connect", "3.1.2-19": "TestDecode_cuts",
	"3.1.2-22": "TestTimes", "3.1.2-24": "TestPublish_properties", "3.1.2-25": "TestConform_tooLargeForOne",
	"3.1.2-26": "TestPublish_properties", "3.1.2-27": "TestPublish_properties",
	"3.1.3-1": "TestDecode_cuts", "3.1.3-2": "TestSession_cleanStart", "3.1.3-3": "TestDecode_cuts", "3.1.3-4": "TestPoison_connect",
	"3.1.3-5": "TestConform_clientIDs", "3.1.3-6": "TestConform_clientIDs", "3.1.3-7": "TestConform_clientIDs",
	"3.1.3-8": "TestPoison_connect", "3.1.3-9": "TestTimes", "3.1.3-10": "TestPublish_properties",
	"3.1.3-11": "TestPoison_connect", "3.1.3-12": "TestConform_userName",
	"3.1.4-1": "TestPoison_connect", "3.1.4-2": "TestPoison_connect", "3.1.4-3": "TestSession_takeover",
	"3.1.4-4": "TestSession_cleanStart", "3.1.4-5": "TestConform_order", "3.1.4-6": "TestConform_afterRefusal",
	"3.2.0-1": "TestConform_order", "3.2.0-2": "TestConform_order", "3.2.2-1": "TestSession_cleanStart",
	"3.2.2-2": "TestSession_cleanStart", "3.2.2-3": "TestSession_cleanStart", "3.2.2-6": "TestPoison_connect",
	"3.2.2-7": "TestPoison_connect", "3.2.2-8": "TestPoison_connect", "3.2.2-9": "TestPaho_v5", "3.2.2-10": "TestSubscribe_codes",
	"3.2.2-11": "TestPoison", "3.2.2-12": "TestPoison_connect", "3.2.2-15": "TestPoison", "3.2.2-16": "TestConform_clientIDs",
	"3.3.1-1": "TestSession_queueOrder", "3.3.1-2": "TestPoison", "3.3.1-3": "TestConform_dup", "3.3.1-4": "TestPoison",
	"3.3.1-5": "TestRetained", "3.3.1-6": "TestRetained", "3.3.1-7": "TestRetained", "3.3.1-8": "TestConform_notRetained",
	"3.3.1-9": "TestSubscribe_options", "3.3.1-10": "TestSubscribe_options", "3.3.1-11": "TestSubscribe_options",
	"3.3.1-12": "TestRetained", "3.3.1-13": "TestSubscribe_options",
	"3.3.2-1": "TestPoison", "3.3.2-2": "TestPoison", "3.3.2-3": "TestIndex_model", "3.3.2-4": "TestPublish_properties",
	"3.3.2-5": "TestTimes", "3.3.2-6": "TestTimes", "3.3.2-7": "TestConform_alias", "3.3.2-8": "TestPoison", "3.3.2-9": "TestPoison",
	"3.3.2-11": "TestConform_alias", "3.3.2-12": "TestConform_alias", "3.3.2-13": "TestPoison", "3.3.2-14": "TestPoison",
	"3.3.2-15": "TestPublish_properties", "3.3.2-16": "TestPublish_properties", "3.3.2-17": "TestPublish_properties",
	"3.3.2-18": "TestPublish_properties", "3.3.2-19": "FuzzDecode", "3.3.2-20": "TestPublish_properties",
	"3.3.4-1": "TestAck_order", "3.3.4-2": "TestSubscribe_options", "3.3.4-3": "TestSubscribe_options", "3.3.4-4": "TestSubscribe_options",
	"3.3.4-5": "TestSubscribe_options", "3.3.4-6": "TestPoison", "3.3.4-7": "TestAck_inFlightMax", "3.3.4-9": "TestConform_receiveMaximum",
	"3.3.4-10": "TestConform_receiveMaximum", "3.3.5-1": "TestIndex_model", "3.3.5-2": "TestAck_denied",
	"3.4.2-1": "TestAck_failure", "3.8.1-1": "TestPoison", "3.8.3-1": "FuzzDecode", "3.8.3-2": "TestPoison", "3.8.3-3": "TestSubscribe_options",
	"3.8.3-5": "TestPoison", "3.8.4-1": "TestSubscribe_codes", "3.8.4-2": "TestSubscribe_codes", "3.8.4-3": "TestSubscribe_options",
	"3.8.4-4": "TestSubscribe_options", "3.8.4-5": "TestSubscribe_codes", "3.8.4-6": "TestSubscribe_codes",
	"3.8.4-7": "TestSubscribe_codes", "3.8.4-8": "TestBroker_fanOut", "3.9.3-1": "TestSubscribe_codes", "3.9.3-2": "TestSubscribe_codes",
	"3.10.1-1": "TestPoison", "3.10.3-1": "FuzzDecode", "3.10.3-2": "TestPoison", "3.10.4-1": "TestSession_unsubscribe",
	"3.10.4-2": "TestSession_unsubscribe", "3.10.4-3": "TestConform_unsubscribeInFlight", "3.10.4-4": "TestSession_unsubscribe",
	"3.10.4-5": "TestSession_unsubscribe", "3.10.4-6": "TestSession_unsubscribe", "3.11.3-1": "TestSession_unsubscribe",
	"3.11.3-2": "TestSession_unsubscribe", "3.12.4-1": "TestSlow_asker", "3.14.1-1": "TestPoison", "3.14.2-1": "TestClose",
	"3.14.4-1": "TestClose", "3.14.4-2": "TestClose", "3.14.4-3": "TestWill",
	"4.1.0-1": "TestSession_takeover", "4.1.0-2": "TestTimes", "4.2.0-1": "TestWebSocket",
	"4.3.1-1": "TestConform_qos0", "4.3.2-1": "TestConform_packetIDs", "4.3.2-2": "TestConform_packetIDs", "4.3.2-3": "TestConform_packetIDs",
	"4.3.2-4": "TestAck_order", "4.3.2-5": "TestAck_resent", "4.4.0-1": "TestSession_queueOrder", "4.4.0-2": "TestConform_pubackError",
	"4.5.0-1": "TestSession_cleanStart", "4.6.0-1": "TestSession_queueOrder", "4.6.0-2": "TestAck_order",
	"4.6.0-5": "TestSession_queueOrder", "4.6.0-6": "TestSession_queueOrder",
	"4.7.0-1": "TestPoison", "4.7.1-1": "TestPoison", "4.7.1-2": "TestCheckFilter", "4.7.2-1": "TestSubscribe_codes",
	"4.7.3-1": "TestPoison", "4.7.3-2": "TestPoison", "4.7.3-3": "TestConform_longTopic", "4.7.3-4": "TestIndex_model",
	"4.9.0-1": "TestConform_receiveMaximum", "4.9.0-2": "TestConform_receiveMaximum", "4.9.0-3": "TestConform_receiveMaximum",
	"4.12.0-1": "TestPoison_connect", "4.13.1-1": "TestPoison", "4.13.2-1": "TestClose",
	"6.0.0-1": "TestWebSocket", "6.0.0-2": "TestWebSocket", "6.0.0-3": "TestWebSocket", "6.0.0-4": "TestWebSocket",
}

// statements311 are those of 3.1.1 that differ from version 5.
var statements311 = map[string]string{
	"3.1.2-22": "TestPoison_connect", "3.1.3-8": "TestPoison_connect", "3.1.4-2": "TestSession_takeover",
	"3.2.2-4": "TestPoison_connect", "3.3.1-8": "TestRetained", "3.3.1-9": "TestRetained", "3.3.5-1": "TestConform_overlap311",
	"3.3.5-2": "TestAck_denied", "3.8.3-4": "TestPoison", "3.8.4-4": "TestConform_overlap311", "3.14.4-3": "TestWill", "4.8.0-1": "TestPoison",
}

// Each test that the maps name exists, so that a renamed test is noticed.
func TestConform_table(t *testing.T) {
	tests := make(map[string]bool)
	for _, dir := range []string{".", "packet"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f.Name(), "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), dir+"/"+f.Name(), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range parsed.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok {
					tests[fn.Name.Name] = true
				}
			}
		}
	}
	form := regexp.MustCompile(`^[1-6]\.\d+\.\d+-\d+$`)
	for _, m := range []map[string]string{statements, statements311} {
		for id, test := range m {
			if !form.MatchString(id) || !tests[test] {
				t.Errorf("statement %q: test %q", id, test)
			}
		}
	}
	t.Logf("%d statements of version 5, %d of version 3.1.1", len(statements), len(statements311))
}

// A message at QoS 0 has no packet identifier [MQTT-2.2.1-2] and no DUP
// [MQTT-4.3.1-1].
func TestConform_qos0(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		b := start(t, mqtt.Options{})
		c := b.client(v, "x")
		c.subscribe(0, "a")
		c.publish("a", "p", 1, 9)
		h, body, err := c.read()
		want := "\x00\x01ap"
		if v == packet.V5 {
			want = "\x00\x01a\x00p"
		}
		if err != nil || h.Type != packet.PUBLISH || h.Flags != 0 || string(body) != want {
			t.Fatalf("%+v %q %v", h, body, err)
		}
	})
}

// New messages get unused packet identifiers [MQTT-2.2.1-4], [MQTT-4.3.2-1], DUP 0
// [MQTT-4.3.2-2], and count as unacknowledged until PUBACK [MQTT-4.3.2-3].
func TestConform_packetIDs(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		b := start(t, mqtt.Options{OutFlightMax: 3})
		c := b.client(v, "x")
		c.subscribe(1, "a")
		seen := map[uint16]bool{}
		for i := range 5 {
			send(b, "a", fmt.Sprint(i))
		}
		var held uint16
		for i := range 5 {
			p := c.expectPublish()
			if p.ID == 0 || seen[p.ID] || p.Dup {
				t.Fatalf("got %+v", p)
			}
			seen[p.ID] = true
			if i == 0 {
				held = p.ID // never acknowledged: its id stays in use
			} else {
				c.puback(p.ID)
			}
		}
		if v == packet.V311 {
			return // the same code numbers both
		}
		for range 66_000 { // once around
			send(b, "a", "x")
			p := c.expectPublish()
			if p.ID == held || p.ID == 0 {
				t.Fatalf("id %d is in use", p.ID)
			}
			c.puback(p.ID)
		}
	})
}

// DUP of an incoming publish is not passed on [MQTT-3.3.1-3].
func TestConform_dup(t *testing.T) {
	b := start(t, mqtt.Options{})
	c := b.client(packet.V311, "x")
	c.subscribe(1, "a")
	c.publish("a", "p", 1, 9, dup)
	if p := c.expectPublish(); p.Dup {
		t.Fatal("DUP was passed on")
	}
	c.expectPuback(9, packet.Success)
}

// A publish without the retain flag leaves the retained message alone
// [MQTT-3.3.1-8].
func TestConform_notRetained(t *testing.T) {
	b := start(t, mqtt.Options{})
	c := b.client(packet.V311, "x")
	c.publish("a", "kept", 1, 1, retain)
	c.expectPuback(1, packet.Success)
	c.publish("a", "passing", 1, 2)
	c.expectPuback(2, packet.Success)
	c.publish("b", "passing", 1, 3)
	c.expectPuback(3, packet.Success)
	if m, ok := b.Retained("a"); !ok || string(m.Payload) != "kept" || len(b.ListRetained("", 9)) != 1 {
		t.Fatalf("got %+v", b.ListRetained("", 9))
	}
}

// Topic aliases belong to one connection [MQTT-3.3.2-7] and can be given anew
// [MQTT-3.3.2-12].
func TestConform_alias(t *testing.T) {
	b := start(t, mqtt.Options{Records: newRecords()})
	watch := b.client(packet.V311, "watch")
	watch.subscribe(0, "#")
	alias := func(p *packet.Outgoing) {
		p.Properties = &packet.Properties{}
		p.Properties.SetUint(packet.TopicAlias, 32)
	}
	c, ack := b.connect(packet.V5, "x", persistent)
	if ack.Properties.Uint(packet.TopicAliasMaximum, 0) != 32 {
		t.Fatal("alias maximum")
	}
	for _, topic := range []string{"a", "", "b", ""} {
		c.publish(topic, "", 0, 0, alias)
	}
	for _, want := range []string{"a", "a", "b", "b"} {
		if p := watch.expectPublish(); p.Topic != want {
			t.Fatalf("got %q, want %q", p.Topic, want)
		}
	}
	c = b.client(packet.V5, "x", persistent)
	c.publish("", "", 0, 0, alias)
	c.expectClosed(packet.ProtocolError)
}

// A client that takes one at a time gets one at a time [MQTT-3.3.4-9],
// [MQTT-4.9.0-2]; other packets are not held up [MQTT-3.3.4-10].
func TestConform_receiveMaximum(t *testing.T) {
	b := start(t, mqtt.Options{})
	c := b.client(packet.V5, "x", func(p *packet.Connect) { p.Properties.SetUint(packet.ReceiveMaximum, 1) })
	c.subscribe(1, "a", "b")
	for i := range 3 {
		send(b, "a", fmt.Sprint(i))
	}
	for i := range 3 {
		p := c.expectPublish()
		if p.Payload != fmt.Sprint(i) {
			t.Fatalf("got %+v", p)
		}
		c.ping()
		c.publish("b", "own", 0, 0)
		if p := c.expectPublish(); p.Topic != "b" { // QoS 0 is not counted
			t.Fatalf("got %+v", p)
		}
		c.puback(p.ID)
	}
}

// A PUBACK with an error ends the matter: the message is not sent again
// [MQTT-4.4.0-2].
func TestConform_pubackError(t *testing.T) {
	b := start(t, mqtt.Options{Records: newRecords()})
	c := b.client(packet.V5, "x", persistent)
	c.subscribe(1, "a")
	send(b, "a", "1")
	c.write(packet.AppendAck(nil, packet.PUBACK, packet.V5, c.expectPublish().ID, packet.Unspecified))
	c.ping()
	b.drop(c, "x")
	b.client(packet.V5, "x", persistent).ping()
}

// UNSUBACK does not end the delivery of what was sent [MQTT-3.10.4-3].
func TestConform_unsubscribeInFlight(t *testing.T) {
	b := start(t, mqtt.Options{Records: newRecords()})
	c := b.client(packet.V311, "x", persistent)
	c.subscribe(1, "a")
	send(b, "a", "1")
	c.expectPublish()
	c.write(packet.AppendUnsubscribe(nil, c.v, &packet.Unsubscribe{PacketID: 3, Filters: [][]byte{[]byte("a")}}))
	c.expect(packet.UNSUBACK)
	b.drop(c, "x")
	if p := b.client(packet.V311, "x", persistent).expectPublish(); p.Payload != "1" || !p.Dup {
		t.Fatalf("got %+v", p)
	}
}

// Overlapping subscriptions of a 3.1.1 client: one copy at the highest QoS
// (3.1.1: [MQTT-3.3.5-1]).
func TestConform_overlap311(t *testing.T) {
	b := start(t, mqtt.Options{})
	c := b.client(packet.V311, "x")
	c.subscribe(0, "a/b", "#")
	c.subscribe(1, "a/+")
	c.publish("a/b", "1", 1, 1)
	if p := c.expectPublish(); p.QoS != 1 {
		t.Fatalf("got %+v", p)
	}
	c.expectPuback(1, packet.Success)
	c.ping()
}

// A message too long for one subscriber reaches the others, and that one's queue goes on
// [MQTT-3.1.2-25].
func TestConform_tooLargeForOne(t *testing.T) {
	b := start(t, mqtt.Options{Records: newRecords()})
	small := b.client(packet.V5, "small", persistent, func(p *packet.Connect) { p.Properties.SetUint(packet.MaximumPacketSize, 40) })
	other := b.client(packet.V5, "other")
	small.subscribe(1, "a")
	other.subscribe(1, "a")
	send(b, "a", strings.Repeat("x", 100))
	send(b, "a", "short")
	if p := other.expectPublish(); len(p.Payload) != 100 {
		t.Fatalf("got %+v", p)
	}
	if p := small.expectPublish(); p.Payload != "short" {
		t.Fatalf("got %+v", p)
	}
	if n := b.Stats().TooLarge; n != 1 {
		t.Fatalf("%d too large", n)
	}
}

// Client ids of 1 to 23 letters and digits are taken [MQTT-3.1.3-5]; an empty one is
// replaced by a new one [MQTT-3.1.3-6], which is told [MQTT-3.2.2-16].
func TestConform_clientIDs(t *testing.T) {
	b := start(t, mqtt.Options{})
	for _, id := range []string{"0", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ", "lamp:1_a-b/ü"} {
		b.client(packet.V311, id).disconnect()
		b.client(packet.V5, id).disconnect()
	}
	first := b.dial(packet.V5).connect("").Properties.Bytes(packet.AssignedClientID)
	second := b.dial(packet.V5).connect("").Properties.Bytes(packet.AssignedClientID)
	if len(first) == 0 || string(first) == string(second) || !b.Connected(string(first)) {
		t.Fatalf("assigned %q and %q", first, second)
	}
	if ack := b.dial(packet.V311).connect(""); ack.Code != 0 {
		t.Fatalf("code %#x", ack.Code)
	}
	if ack := b.dial(packet.V5).connect(strings.Repeat("x", 1000)); ack.Code != byte(packet.ClientIDNotValid) {
		t.Fatalf("code %#x", ack.Code)
	}
}

// User names as the AWS SDKs send them, with a password or without, and one that is not
// UTF-8 [MQTT-3.1.3-12].
func TestConform_userName(t *testing.T) {
	b := start(t, mqtt.Options{})
	for _, name := range []string{"?SDK=JavaScript&Version=2.2.16", "user?SDK=IoTDeviceSDK/JS&Platform=NodeJS", ""} {
		b.client(packet.V311, "x", func(p *packet.Connect) { p.Username = []byte(name) }).disconnect()
		b.client(packet.V5, "x", func(p *packet.Connect) { p.Username, p.Password = []byte(name), []byte{0} }).disconnect()
	}
	c := b.dial(packet.V311)
	c.write(packet.AppendConnect(nil, &packet.Connect{Version: c.v, CleanStart: true, ClientID: []byte("x"), Username: []byte{0xff}}))
	c.expectClosed(0)
}

// CONNACK comes first [MQTT-3.2.0-1] and once [MQTT-3.2.0-2], also when the client does
// not wait for it and its session has messages waiting.
func TestConform_order(t *testing.T) {
	b := start(t, mqtt.Options{Records: newRecords()})
	c := b.client(packet.V311, "x", persistent)
	c.subscribe(1, "a")
	c.disconnect()
	send(b, "a", "1")
	c = b.dial(packet.V311)
	raw := packet.AppendConnect(nil, &packet.Connect{Version: c.v, ClientID: []byte("x")})
	c.write(packet.AppendPing(raw, packet.PINGREQ))
	c.expect(packet.CONNACK)
	c.expectPublish()
	c.expect(packet.PINGRESP)
	c.ping()
}

// What follows a refused CONNECT is not looked at [MQTT-3.1.4-6].
func TestConform_afterRefusal(t *testing.T) {
	b := start(t, mqtt.Options{})
	watch := b.client(packet.V311, "watch")
	watch.subscribe(0, "#")
	c := b.dial(packet.V311)
	raw := packet.AppendConnect(nil, &packet.Connect{Version: 9, ClientID: []byte("x")})
	c.write(packet.AppendPublish(raw, packet.V311, &packet.Outgoing{Topic: "a", Payload: []byte("x")}))
	c.expect(packet.CONNACK)
	c.expectClosed(0)
	watch.ping()
}

// Topics as long as the protocol allows [MQTT-4.7.3-3], with as many levels as we do.
func TestConform_longTopic(t *testing.T) {
	b := start(t, mqtt.Options{})
	c := b.client(packet.V311, "x")
	for _, topic := range []string{strings.Repeat("x", 65535), strings.Repeat("a/", packet.TopicLevelsMax-1) + "a"} {
		c.subscribe(0, topic)
		c.publish(topic, "p", 0, 0)
		if p := c.expectPublish(); p.Topic != topic {
			t.Fatalf("got a topic of %d bytes", len(p.Topic))
		}
	}
	c.publish(strings.Repeat("a/", packet.TopicLevelsMax)+"a", "p", 0, 0)
	c.expectClosed(0)
}
