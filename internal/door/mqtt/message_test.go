package mqtt_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

// Retained messages: sent to new subscriptions with the flag (3.1.1: [MQTT-3.3.1-8]), replaced
// [MQTT-3.3.1-5], deleted by an empty payload [MQTT-3.3.1-6], and there after a
// crash.
func TestRetained(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		r := newRecords()
		b := start(t, mqtt.Options{Records: r})
		c := b.client(v, "x")
		c.subscribe(1, "a/#")
		for i, m := range []struct{ topic, payload string }{{"a/1", "old"}, {"a/1", "new"}, {"a/2", "gone"}, {"a/2", ""}, {"b", "b"}} {
			c.publish(m.topic, m.payload, 1, uint16(i+1), retain)
			if m.topic != "b" {
				if p := c.expectPublish(); p.Retain { // [MQTT-3.3.1-12], in 3.1.1 [MQTT-3.3.1-9]
					t.Fatal("retain flag to an existing subscription")
				} else {
					c.puback(p.ID)
				}
			}
			c.expectPuback(uint16(i+1), packet.Success)
		}
		for _, b := range []*testBroker{b, start(t, mqtt.Options{Records: r.copy()})} {
			n := b.client(v, "new")
			n.subscribe(1, "+/1", "b", "a/2")
			one, two := n.expectPublish(), n.expectPublish()
			if one.Payload != "new" || !one.Retain || one.QoS != 1 || two.Payload != "b" || !two.Retain {
				t.Fatalf("got %+v, %+v", one, two)
			}
			n.puback(one.ID)
			n.puback(two.ID)
			n.ping()
			if m, ok := b.Retained("a/1"); !ok || string(m.Payload) != "new" || m.Modified == 0 || m.QoS != 1 {
				t.Fatalf("got %+v", m)
			}
			if _, ok := b.Retained("a/2"); ok {
				t.Fatal("deleted message is there")
			}
			list := b.ListRetained("a/1", 10)
			if len(list) != 1 || list[0].Topic != "b" || len(b.ListRetained("", 1)) != 1 {
				t.Fatalf("list %+v", list)
			}
		}
	})
}

// The limits of the retained set are told to the publisher.
func TestRetained_limit(t *testing.T) {
	b := start(t, mqtt.Options{RetainedMax: 1})
	five, three := b.client(packet.V5, "five"), b.client(packet.V311, "three")
	five.publish("a", "1", 1, 1, retain)
	five.expectPuback(1, packet.Success)
	five.publish("b", "1", 1, 2, retain)
	five.expectPuback(2, packet.QuotaExceeded)
	five.publish("a", "2", 1, 3, retain)
	five.expectPuback(3, packet.Success)
	three.publish("b", "1", 1, 1, retain)
	three.expectClosed(0)
}

// Subscription options of version 5.
func TestSubscribe_options(t *testing.T) {
	b := start(t, mqtt.Options{})
	pub := b.client(packet.V5, "pub")
	pub.publish("r", "kept", 1, 1, retain)
	pub.expectPuback(1, packet.Success)
	c := b.client(packet.V5, "c")
	sub := func(id uint32, s packet.Subscription) {
		t.Helper()
		p := &packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{s}}
		if id != 0 {
			p.Properties.AddSubID(id)
		}
		if codes := c.subscribePacket(p); codes[0] > 1 {
			t.Fatalf("code %#x", codes[0])
		}
	}
	none := func() { t.Helper(); c.ping() }

	sub(0, packet.Subscription{Filter: []byte("r"), RetainHandling: 2}) // [MQTT-3.3.1-11]
	none()
	sub(0, packet.Subscription{Filter: []byte("r"), RetainHandling: 1}) // exists: [MQTT-3.3.1-10]
	none()
	sub(7, packet.Subscription{Filter: []byte("r"), RetainHandling: 0}) // [MQTT-3.8.4-3]
	if p := c.expectPublish(); !p.Retain || len(p.Props.SubIDs) != 1 || p.Props.SubIDs[0] != 7 {
		t.Fatalf("got %+v", p)
	}
	sub(0, packet.Subscription{Filter: []byte("+"), RetainHandling: 1, RetainAsPublished: true}) // new
	if p := c.expectPublish(); !p.Retain || p.Props.SubIDs != nil {
		t.Fatalf("got %+v", p)
	}
	sub(9, packet.Subscription{Filter: []byte("own"), NoLocal: true, QoS: 1})
	c.publish("own", "x", 0, 0) // [MQTT-3.8.3-3]; "+" matches
	if p := c.expectPublish(); p.QoS != 0 || p.Props.SubIDs != nil {
		t.Fatalf("got %+v", p)
	}
	none()
	// Overlap: one copy, the highest QoS, all identifiers [MQTT-3.3.4-2],
	// [MQTT-3.3.4-4]; Retain As Published [MQTT-3.3.1-13].
	sub(11, packet.Subscription{Filter: []byte("ow/#"), QoS: 0})
	sub(12, packet.Subscription{Filter: []byte("ow/+"), QoS: 1, RetainAsPublished: true})
	pub.publish("ow/x", "y", 1, 2, retain)
	if p := c.expectPublish(); p.QoS != 1 || len(p.Props.SubIDs) != 2 || !p.Retain {
		t.Fatalf("got %+v", p)
	}
	pub.expectPuback(2, packet.Success)
	none()
}

// Granted QoS, refused filters, and "$" topics.
func TestSubscribe_codes(t *testing.T) {
	b := start(t, mqtt.Options{SubscriptionsMax: 3})
	five, three := b.client(packet.V5, "five"), b.client(packet.V311, "three")
	if got := five.subscribe(2, "a", "$share/g/a", "a/#/b", "b+", "c"); string(got) != "\x01\x9e\x8f\x8f\x97" {
		t.Fatalf("codes % x", got)
	}
	if got := three.subscribe(2, "$share/g/a", "#", "+/x"); string(got) != "\x80\x01\x01" { // [MQTT-3.8.4-6], [MQTT-3.8.4-7]
		t.Fatalf("codes % x", got)
	}
	b.Send(twin.Message{Topic: "$aws/x"}) // [MQTT-4.7.2-1]
	b.Send(twin.Message{Topic: "$x/x"})
	three.ping()
	five.write(packet.AppendUnsubscribe(nil, packet.V5, &packet.Unsubscribe{PacketID: 9, Filters: [][]byte{[]byte("a")}}))
	five.expect(packet.UNSUBACK)
	five.subscribe(0, "$aws/+")
	b.Send(twin.Message{Topic: "$aws/x"})
	if p := five.expectPublish(); p.Topic != "$aws/x" {
		t.Fatalf("got %+v", p)
	}
}

// The subscription of a persistent session is durable before SUBACK; if it cannot
// be, the client is told.
func TestSubscribe_durable(t *testing.T) {
	r := newRecords()
	b := start(t, mqtt.Options{Records: r})
	c := b.client(packet.V311, "x", persistent)
	r.fail(twin.NewError(twin.KindUnavailable, "fenced"))
	if got := c.subscribe(1, "a"); got[0] != 0x80 {
		t.Fatalf("code %#x", got[0])
	}
	if b.Wanted([]byte("a")) {
		t.Fatal("subscription is in force")
	}
	watch := b.client(packet.V311, "watch")
	watch.subscribe(0, "w")
	n := b.dial(packet.V5)
	if ack := n.connect("y", persistent, withWill("w", 0, false, 0)); ack.Code != byte(packet.ServerUnavailable) {
		t.Fatalf("code %#x", ack.Code)
	}
	n.expectClosed(0)
	b.eventually("refused client is gone", func() bool { return b.Stats().Conns == 2 })
	watch.ping() // no will: it was never accepted
	r.fail(nil)
	if got := c.subscribe(1, "a"); got[0] != 1 || !b.Wanted([]byte("a")) {
		t.Fatalf("code %#x", got[0])
	}
	writes := r.count(twin.RecordSession)
	if got := c.subscribe(1, "a"); got[0] != 1 || r.count(twin.RecordSession) != writes {
		t.Fatal("the same again")
	}
}

func withWill(topic string, qos byte, retain bool, delay uint32) func(*packet.Connect) {
	return func(p *packet.Connect) {
		p.Will = &packet.Will{Topic: []byte(topic), Payload: []byte("gone"), QoS: qos, Retain: retain}
		if delay > 0 {
			p.Will.Properties.SetUint(packet.WillDelay, delay)
		}
	}
}

// A will is published when the connection ends without DISCONNECT [MQTT-3.1.2-8], with
// its QoS and retain flag [MQTT-3.1.2-14], [MQTT-3.1.2-15], and not after DISCONNECT
// [MQTT-3.1.2-10].
func TestWill(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		b := start(t, mqtt.Options{})
		watch := b.client(v, "watch")
		watch.subscribe(1, "w")
		b.client(v, "polite", withWill("w", 1, false, 0)).disconnect()
		watch.ping()
		b.drop(b.client(v, "rude", withWill("w", 1, true, 0)), "rude")
		if p := watch.expectPublish(); p.Payload != "gone" || p.QoS != 1 {
			t.Fatalf("got %+v", p)
		}
		b.eventually("will is retained", func() bool { _, ok := b.Retained("w"); return ok })

		bad := b.client(v, "bad", withWill("w", 0, false, 0))
		bad.write([]byte{0, 0})
		if p := watch.expectPublish(); p.Payload != "gone" {
			t.Fatalf("got %+v", p)
		}
		if v == packet.V5 { // [MQTT-3.14.4-3]: reason 4 keeps the will
			asked := b.client(v, "asked", withWill("w", 0, false, 0))
			asked.write(packet.AppendDisconnect(nil, v, &packet.Disconnect{Reason: packet.DisconnectWithWill}))
			if p := watch.expectPublish(); p.Payload != "gone" {
				t.Fatalf("got %+v", p)
			}
		}
	})
}

// A will on a request topic never reaches the service behind it, but plain
// subscribers (AWS: "ignored by the Device Shadow service"); one on an answer topic
// would be a forgery.
func TestWill_reserved(t *testing.T) {
	h := newHandler()
	b := start(t, mqtt.Options{Handler: h})
	watch := b.client(packet.V311, "watch")
	watch.subscribe(0, "$aws/#")
	b.drop(b.client(packet.V311, "lamp", withWill(update, 0, false, 0)), "lamp")
	if p := watch.expectPublish(); p.Topic != update || p.Payload != "gone" {
		t.Fatalf("got %+v", p)
	}
	h.none(t)
	if ack := b.dial(packet.V5).connect("spoof", withWill(update+"/delta", 0, false, 0)); ack.Code != byte(packet.NotAuthorized) {
		t.Fatalf("code %#x", ack.Code)
	}
}

// Times: will delay, session expiry, message expiry and keep alive, on a clock that
// the test moves.
func TestTimes(t *testing.T) {
	bubble := func(name string, f func(t *testing.T, b *bubbleBroker)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, newBubble(t)) })
		})
	}
	expiry := func(s uint32) func(*packet.Connect) {
		return func(p *packet.Connect) {
			p.CleanStart = false
			p.Properties.SetUint(packet.SessionExpiry, s)
		}
	}
	bubble("will delay [MQTT-3.1.3-9]", func(t *testing.T, b *bubbleBroker) {
		watch := b.client(packet.V5, "watch")
		watch.subscribe(0, "w")
		c := b.client(packet.V5, "x", expiry(100), withWill("w", 0, false, 10))
		_ = c.nc.Close()
		b.pass(9 * time.Second)
		watch.ping() // nothing yet
		c = b.client(packet.V5, "x", expiry(100), withWill("w", 0, false, 10))
		b.pass(20 * time.Second)
		watch.ping() // came back in time
		_ = c.nc.Close()
		b.pass(11 * time.Second)
		if p := watch.expectPublish(); p.Payload != "gone" {
			t.Fatalf("got %+v", p)
		}
		c = b.client(packet.V5, "y", expiry(5), withWill("w", 0, false, 60))
		_ = c.nc.Close()
		b.pass(6 * time.Second)
		watch.expectPublish() // the session ended before the delay
	})
	bubble("session expiry", func(t *testing.T, b *bubbleBroker) {
		c := b.client(packet.V5, "x", expiry(10))
		c.subscribe(1, "a")
		_ = c.nc.Close()
		b.pass(9 * time.Second)
		if !b.Wanted([]byte("a")) {
			t.Fatal("expired too early")
		}
		b.pass(2 * time.Second)
		if b.Wanted([]byte("a")) || b.Stats().Sessions != 0 || b.records.count(twin.RecordSession) != 0 {
			t.Fatal("session remains")
		}
		ack := b.dial(packet.V5).connect("x", expiry(100<<24))
		if got := ack.Properties.Uint(packet.SessionExpiry, 0); got != 7*24*3600 {
			t.Fatalf("expiry %d, want the server's maximum", got)
		}
	})
	bubble("message expiry [MQTT-3.3.2-5]", func(t *testing.T, b *bubbleBroker) {
		c := b.client(packet.V5, "x", expiry(100))
		c.subscribe(1, "a")
		_ = c.nc.Close()
		b.pass(time.Second)
		for _, s := range []uint32{5, 50} {
			b.Send(twin.Message{Topic: "a", QoS: 1, Payload: []byte{byte(s)}, Properties: &twin.MessageProperties{ExpirySeconds: s}})
		}
		b.pass(10 * time.Second)
		c = b.client(packet.V5, "x", expiry(100))
		if p := c.expectPublish(); p.Payload != "\x32" || p.Props.Uint(packet.MessageExpiry, 0) != 40 { // [MQTT-3.3.2-6]
			t.Fatalf("got %+v", p)
		}
		if b.Stats().Expired != 1 {
			t.Fatal("not counted")
		}
	})
	bubble("keep alive [MQTT-3.1.2-22]", func(t *testing.T, b *bubbleBroker) {
		c := b.client(packet.V5, "x", func(p *packet.Connect) { p.KeepAlive = 10 })
		for range 5 {
			b.pass(14 * time.Second)
			c.ping()
		}
		b.pass(17 * time.Second)
		c.expectClosed(packet.KeepAliveTimeout)
	})
	bubble("no CONNECT", func(t *testing.T, b *bubbleBroker) {
		c := b.dial(packet.V311)
		b.pass(9 * time.Second)
		c.write([]byte{0x10}) // single bytes do not prolong it
		b.pass(2 * time.Second)
		c.expectClosed(0)
	})
	bubble("stuck writer", func(t *testing.T, b *bubbleBroker) {
		c := b.client(packet.V5, "x", func(p *packet.Connect) { p.KeepAlive = 0 })
		c.subscribe(0, "a")
		b.Send(twin.Message{Topic: "a", Payload: []byte("never read")})
		b.pass(19 * time.Second)
		if !b.Connected("x") {
			t.Fatal("cut too early")
		}
		b.pass(25 * time.Second)
		if b.Connected("x") {
			t.Fatal("a client that reads nothing is still connected")
		}
	})
}

// The properties of a message travel unaltered [MQTT-3.3.2-17], a 3.1.1 subscriber
// gets none, and a packet that is too long for a client is not sent
// [MQTT-3.1.2-24].
func TestPublish_properties(t *testing.T) {
	b := start(t, mqtt.Options{})
	five, three := b.client(packet.V5, "five"), b.client(packet.V311, "three")
	small := b.client(packet.V5, "small", func(p *packet.Connect) { p.Properties.SetUint(packet.MaximumPacketSize, 40) })
	for _, c := range []*rawClient{five, three, small} {
		c.subscribe(0, "a")
	}
	var pr packet.Properties
	pr.SetUint(packet.PayloadFormat, 1)
	pr.SetBytes(packet.ContentType, []byte("text/plain"))
	pr.SetBytes(packet.ResponseTopic, []byte("r/t"))
	pr.SetBytes(packet.CorrelationData, []byte{0, 1})
	pr.AddUser([]byte("k"), []byte("1"))
	pr.AddUser([]byte("k"), []byte("2"))
	pr.SetUint(packet.TopicAlias, 3)
	five.publish("a", "x", 0, 0, func(p *packet.Outgoing) { p.Properties = &pr })
	check := func() {
		t.Helper()
		p := five.expectPublish()
		q := p.Props
		if p.Topic != "a" || q.Uint(packet.PayloadFormat, 0) != 1 || string(q.Bytes(packet.ContentType)) != "text/plain" ||
			string(q.Bytes(packet.ResponseTopic)) != "r/t" || string(q.Bytes(packet.CorrelationData)) != "\x00\x01" ||
			len(q.User) != 2 || string(q.User[1].Value) != "2" || q.Has(packet.TopicAlias) {
			t.Fatalf("got %+v", p)
		}
		if p := three.expectPublish(); p.Payload != "x" {
			t.Fatalf("got %+v", p)
		}
	}
	check()
	five.publish("", "x", 0, 0, func(p *packet.Outgoing) { p.Properties = &pr }) // by alias
	check()
	small.ping()
	if n := b.Stats().TooLarge; n != 2 {
		t.Fatalf("%d too large", n)
	}
}

// A message as long as the limit, in pieces.
func TestPublish_long(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		h := newHandler()
		b := start(t, mqtt.Options{Handler: h})
		c := b.client(v, "x")
		payload := strings.Repeat("x", 128<<10)
		raw := packet.AppendPublish(nil, v, &packet.Outgoing{Topic: update, Payload: []byte(payload), QoS: 1, PacketID: 1})
		raw = packet.AppendPublish(raw, v, &packet.Outgoing{Topic: update, Payload: []byte("short"), QoS: 1, PacketID: 2})
		for len(raw) > 0 {
			n := min(len(raw), 7777)
			c.write(raw[:n])
			raw = raw[n:]
		}
		long, short := h.next(t), h.next(t)
		if string(long.p.Payload) != payload || string(short.p.Payload) != "short" {
			t.Fatal("payload differs")
		}
		short.done(nil)
		long.done(nil)
		c.expectPuback(1, packet.Success)
		c.expectPuback(2, packet.Success)
	})
}

// SUBACK for the updates of a thing waits for the updates under way, which may have
// been staged before anybody was subscribed.
func TestSubscribe_settles(t *testing.T) {
	r := newRecords()
	b := start(t, mqtt.Options{Records: r})
	c := b.client(packet.V311, "clean")
	for _, f := range []string{"$aws/things/a/shadow/update/delta", "$aws/things/a/#", "$aws/things/a/shadow/name/+/update/delta"} {
		r.setHold(true)
		c.write(packet.AppendSubscribe(nil, c.v, &packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: []byte(f)}}}))
		b.eventually("something waits", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.held) == 1 })
		if !b.Wanted([]byte("$aws/things/a/shadow/update/delta")) {
			t.Fatal("waits before the subscription is in force")
		}
		r.setHold(false)
		c.expect(packet.SUBACK)
	}
	before := r.writes
	c.subscribe(0, "$aws/things/a/shadow/update/delta", "$aws/things/a/shadow/get/accepted", "$aws/things/+/shadow/update/delta", "plain")
	if r.writes != before {
		t.Fatal("waited where it need not")
	}
	if r.count(twin.RecordSession) != 0 {
		t.Fatal("a record was left")
	}
}
