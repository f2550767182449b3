package mqtt_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
)

// Check F5: bad packets end the connection, or get the right reason code. None is
// acknowledged, none is left without an answer, and nobody else notices.
func TestPoison(t *testing.T) {
	const both, only3, only5 = 0, packet.V311, packet.V5
	cases := []struct {
		name  string
		v     packet.Version
		bytes string // hex
		want  packet.Reason
	}{
		{"reserved packet type 0", both, "00 00", packet.MalformedPacket},
		{"remaining length of five bytes [1.5.5]", both, "30 ff ff ff ff 01", packet.MalformedPacket},
		{"remaining length longer than needed [MQTT-1.5.5-1]", only5, "30 85 00 00 01 61 00 78", packet.MalformedPacket},
		{"packet longer than the maximum [MQTT-3.2.2-15]", both, "30 ff ff ff 7f", packet.PacketTooLarge},
		{"second CONNECT [MQTT-3.1.0-2]", both, "10 0d 00 04 4d 51 54 54 04 02 00 3c 00 01 61", packet.ProtocolError},
		{"PUBLISH with QoS 3 [MQTT-3.3.1-4]", both, "36 06 00 01 61 00 01 78", packet.MalformedPacket},
		{"DUP at QoS 0 [MQTT-3.3.1-2]", both, "38 04 00 01 61 78", packet.MalformedPacket},
		{"empty topic [MQTT-4.7.3-1]", only3, "30 03 00 00 78", packet.ProtocolError},
		{"empty topic without alias", only5, "30 04 00 00 00 78", packet.ProtocolError},
		{"# in a topic [MQTT-3.3.2-2]", only3, "32 07 00 03 61 2f 23 00 01", packet.TopicNameInvalid},
		{"+ in a topic [MQTT-3.3.2-2]", only5, "32 08 00 03 61 2f 2b 00 01 00", packet.TopicNameInvalid},
		{"NUL in a topic [MQTT-1.5.4-2]", only3, "32 07 00 03 61 00 62 00 01", packet.MalformedPacket},
		{"control character in a topic [1.5.4]", only3, "32 07 00 03 61 01 62 00 01", packet.MalformedPacket},
		{"control character in a topic, v5", only5, "32 08 00 03 61 01 62 00 01 00", packet.MalformedPacket},
		{"invalid UTF-8 in a topic [MQTT-1.5.4-1]", only3, "32 06 00 02 c3 28 00 01", packet.MalformedPacket},
		{"surrogate in a topic [MQTT-1.5.4-1]", only5, "32 08 00 03 ed a0 80 00 01 00", packet.MalformedPacket},
		{"packet id 0 [MQTT-2.2.1-3]", only3, "32 05 00 01 61 00 00", packet.ProtocolError},
		{"packet id 0, v5", only5, "32 06 00 01 61 00 00 00", packet.ProtocolError},
		{"topic longer than the packet", both, "30 04 00 ff 61 61", packet.MalformedPacket},
		{"SUBSCRIBE with flags 0 [MQTT-2.1.3-1]", both, "80 06 00 01 00 01 61 00", packet.MalformedPacket},
		{"SUBSCRIBE without filter [MQTT-3.8.3-2]", only3, "82 02 00 01", packet.ProtocolError},
		{"SUBSCRIBE without filter, v5", only5, "82 03 00 01 00", packet.ProtocolError},
		{"SUBSCRIBE with QoS 3 [MQTT-3.8.3-4]", only3, "82 06 00 01 00 01 61 03", packet.MalformedPacket},
		{"SUBSCRIBE with reserved bits [MQTT-3.8.3-5]", only5, "82 07 00 01 00 00 01 61 c0", packet.MalformedPacket},
		{"SUBSCRIBE with v5 options in 3.1.1", only3, "82 06 00 01 00 01 61 04", packet.MalformedPacket},
		{"retain handling 3", only5, "82 07 00 01 00 00 01 61 30", packet.ProtocolError},
		{"subscription identifier 0", only5, "82 09 00 01 02 0b 00 00 01 61 00", packet.ProtocolError},
		{"filter a#  [MQTT-4.7.1-1]", only3, "82 07 00 01 00 02 61 23 00", packet.TopicFilterInvalid},
		{"empty filter [MQTT-4.7.3-1]", both, "82 06 00 01 00 00 00 00", packet.ProtocolError},
		{"UNSUBSCRIBE without filter [MQTT-3.10.3-2]", only3, "a2 02 00 01", packet.ProtocolError},
		{"PINGREQ with a body", both, "c0 01 00", packet.MalformedPacket},
		{"PINGREQ with flags [MQTT-2.1.3-1]", both, "c1 00", packet.MalformedPacket},
		{"PUBREL flags", both, "60 02 00 01", packet.MalformedPacket},
		{"PUBREC without QoS 2", both, "50 02 00 01", packet.ProtocolError},
		{"CONNACK from a client", both, "20 02 00 00", packet.ProtocolError},
		{"QoS 2 above the maximum [MQTT-3.2.2-11]", only5, "34 07 00 01 61 00 01 00 78", packet.QoSNotSupported},
		{"AUTH without a method", only5, "f0 00", packet.ProtocolError},
		{"unknown property [2.2.2.2]", only5, "30 06 00 01 61 02 7f 00", packet.MalformedPacket},
		{"property of another packet", only5, "30 09 00 01 61 05 11 00 00 00 01", packet.MalformedPacket},
		{"property twice", only5, "30 08 00 01 61 04 01 00 01 00", packet.ProtocolError},
		{"payload format 2", only5, "30 06 00 01 61 02 01 02", packet.ProtocolError},
		{"topic alias 0 [MQTT-3.3.2-8]", only5, "30 07 00 01 61 03 23 00 00", packet.TopicAliasInvalid},
		{"topic alias above the maximum [MQTT-3.3.2-9]", only5, "30 07 00 01 61 03 23 ff ff", packet.TopicAliasInvalid},
		{"unknown topic alias", only5, "30 06 00 00 03 23 00 01", packet.ProtocolError},
		{"wildcard in a response topic [MQTT-3.3.2-14]", only5, "30 08 00 01 61 04 08 00 01 23", packet.ProtocolError},
		{"subscription identifier from a client [MQTT-3.3.4-6]", only5, "30 06 00 01 61 02 0b 01", packet.ProtocolError},
		{"DISCONNECT sets an expiry that was 0", only5, "e0 07 00 05 11 00 00 00 09", packet.ProtocolError},
		{"DISCONNECT with flags", both, "e1 00", packet.MalformedPacket},
	}
	h := newHandler()
	b := start(t, mqtt.Options{Handler: h})
	bystander := b.client(packet.V5, "bystander")
	for _, c := range cases {
		for _, v := range []packet.Version{packet.V311, packet.V5} {
			if c.v != both && c.v != v {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				raw := unhex(t, c.bytes)
				cl := b.client(v, "poison")
				cl.t = t
				cl.write(raw)
				cl.expectClosed(c.want)
			})
		}
	}
	bystander.ping()
	h.none(t)
}

// The same before CONNECT was accepted: closed without a word, but for the CONNACK
// that some faults of a v5 CONNECT deserve.
func TestPoison_connect(t *testing.T) {
	const name = "00 04 4d 51 54 54 "
	cases := []struct {
		name  string
		bytes string
		code  int // of a CONNACK; -1: none
	}{
		{"PUBLISH first [MQTT-3.1.0-1]", "30 04 00 01 61 78", -1},
		{"HTTP", hex.EncodeToString([]byte("GET / HTTP/1.1\r\n\r\n")), -1},
		{"CONNECT longer than the limit", "10 ff ff 7f", -1},
		{"CONNECT flags [MQTT-2.1.3-1]", "11 00", -1},
		{"protocol name [MQTT-3.1.2-1]", "10 0d 00 04 4d 51 54 58 04 02 00 3c 00 01 61", -1},
		{"version 3.1 [MQTT-3.1.2-2]", "10 0f 00 06 4d 51 49 73 64 70 03 02 00 3c 00 01 61", 1},
		{"version 6 [MQTT-3.1.2-2]", "10 0d " + name + "06 02 00 3c 00 01 61", 0x84},
		{"reserved connect flag [MQTT-3.1.2-3]", "10 0d " + name + "04 03 00 3c 00 01 61", -1},
		{"reserved connect flag, v5", "10 0e " + name + "05 03 00 3c 00 00 01 61", 0x81},
		{"will QoS without will [MQTT-3.1.2-11]", "10 0d " + name + "04 0a 00 3c 00 01 61", -1},
		{"will QoS 3 [MQTT-3.1.2-12]", "10 0d " + name + "04 1e 00 3c 00 01 61", -1},
		{"will retain without will [MQTT-3.1.2-13]", "10 0d " + name + "04 22 00 3c 00 01 61", -1},
		{"password without user name in 3.1.1 [MQTT-3.1.2-22]", "10 0f " + name + "04 42 00 3c 00 01 61 00 00", -1},
		{"no client id and no clean session in 3.1.1 [MQTT-3.1.3-8]", "10 0c " + name + "04 00 00 3c 00 00", 2},
		{"invalid UTF-8 in the client id [MQTT-3.1.3-4]", "10 0d " + name + "04 02 00 3c 00 01 ff", -1},
		{"control character in the client id", "10 0e " + name + "05 02 00 3c 00 00 01 07", 0x85},
		{"bytes after the end", "10 0e " + name + "04 02 00 3c 00 01 61 62", -1},
		{"will topic with a wildcard", "10 13 " + name + "04 06 00 3c 00 01 61 00 01 23 00 01 78", -1},
		{"authentication method [MQTT-4.12.0-1]", "10 12 " + name + "05 02 00 3c 04 15 00 01 78 00 01 61", 0x8C},
		{"authentication data alone", "10 12 " + name + "05 02 00 3c 04 16 00 01 78 00 01 61", 0x82},
		{"receive maximum 0", "10 11 " + name + "05 02 00 3c 03 21 00 00 00 01 61", 0x82},
		{"will QoS 2 in v5 [MQTT-3.2.2-12]", "10 15 " + name + "05 16 00 3c 00 00 01 61 00 00 01 77 00 01 78", 0x9B},
		{"will on a denied topic", "10 16 " + name + "05 06 00 3c 00 00 01 61 00 00 02 24 77 00 01 78", 0x87},
		{"retained will on a reserved topic, 3.1.1", "10 14 " + name + "04 26 00 3c 00 01 61 00 02 24 77 00 01 78", 5},
	}
	b := start(t, mqtt.Options{Handler: newHandler()})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cl := b.dial(packet.V311)
			cl.t = t
			cl.write(unhex(t, c.bytes))
			if c.code >= 0 {
				if body := cl.expect(packet.CONNACK); int(body[1]) != c.code || body[0] != 0 {
					t.Fatalf("CONNACK % x, want code 0x%02x", body, c.code)
				}
			}
			cl.expectClosed(0)
		})
	}
	if n := b.Stats().Connects; n != 0 {
		t.Fatalf("%d accepted", n)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
