package mqtt_test

import (
	"testing"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The main path: a device's publish goes to the handler, its PUBACK comes when the
// handler says so, and what the server sends reaches subscribers.
func TestBroker_path(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		h, r := newHandler(), newRecords()
		b := start(t, mqtt.Options{Handler: h, Records: r})
		device := b.client(v, "lamp-1")
		if got := device.subscribe(1, "$aws/things/lamp-1/shadow/update/delta"); got[0] != 1 {
			t.Fatalf("granted %d", got[0])
		}
		if !b.Wanted([]byte("$aws/things/lamp-1/shadow/update/delta")) || b.Wanted([]byte("$aws/things/lamp-1/shadow/update/accepted")) {
			t.Fatal("Wanted is wrong")
		}
		device.publish("$aws/things/lamp-1/shadow/update", `{"state":{}}`, 1, 5)
		c := h.next(t)
		want := twin.Origin{Door: twin.DoorMQTT, Session: "lamp-1", PacketID: 5, PayloadHash: c.p.Origin.PayloadHash}
		if c.p.Topic != "$aws/things/lamp-1/shadow/update" || string(c.p.Payload) != `{"state":{}}` || c.p.Origin != want || want.PayloadHash == 0 {
			t.Fatalf("got %+v", c.p)
		}
		device.ping() // no PUBACK yet
		c.done(nil)
		device.expectPuback(5, packet.Success)

		o := b.Stage([]twin.Message{{Topic: "$aws/things/lamp-1/shadow/update/delta", Payload: []byte("d"), QoS: 1}})
		if o == nil || len(o.Records()) != 0 {
			t.Fatalf("staged %v", o)
		}
		device.ping()
		o.Deliver()
		if p := device.expectPublish(); p.Payload != "d" || p.QoS != 1 || p.ID == 0 {
			t.Fatalf("got %+v", p)
		}
		if o := b.Stage([]twin.Message{{Topic: "nobody"}}); o != nil {
			t.Fatal("staged for nobody")
		}
		b.Send(twin.Message{Topic: "$aws/things/lamp-1/shadow/update/delta", Payload: []byte("e")})
		if p := device.expectPublish(); p.Payload != "e" || p.QoS != 0 {
			t.Fatalf("got %+v", p)
		}
		device.disconnect()
	})
}

func TestBroker_fanOut(t *testing.T) {
	b := start(t, mqtt.Options{})
	three, five := b.client(packet.V311, "three"), b.client(packet.V5, "five")
	three.subscribe(1, "room/+/temp")
	five.subscribe(0, "room/#")
	three.publish("room/1/temp", "20", 1, 9)
	if p := three.expectPublish(); p.Payload != "20" || p.QoS != 1 {
		t.Fatalf("got %+v", p)
	}
	three.expectPuback(9, packet.Success)
	if p := five.expectPublish(); p.Payload != "20" || p.QoS != 0 {
		t.Fatalf("got %+v", p)
	}
	five.publish("room/2/temp", "21", 0, 0)
	if p := three.expectPublish(); p.Payload != "21" || p.QoS != 0 {
		t.Fatalf("got %+v", p)
	}
}
