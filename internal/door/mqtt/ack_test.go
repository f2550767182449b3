package mqtt_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

const update = "$aws/things/lamp-1/shadow/update"

// PUBACKs leave in the order of the publishes, whatever the order of the commits
// [MQTT-4.6.0-2].
func TestAck_order(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		h := newHandler()
		b := start(t, mqtt.Options{Handler: h})
		c := b.client(v, "lamp-1")
		var calls []*call
		for id := uint16(1); id <= 4; id++ {
			c.publish(update, "{}", 1, id)
			calls = append(calls, h.next(t))
		}
		c.publish("plain", "x", 1, 5) // could be acknowledged at once
		for _, i := range []int{2, 3, 1} {
			calls[i].done(nil)
			c.ping()
		}
		calls[0].done(nil)
		for id := uint16(1); id <= 5; id++ {
			c.expectPuback(id, packet.Success)
		}
	})
}

// A commit that fails: a v5 client gets the reason, a 3.1.1 client no PUBACK and the
// end of the connection.
func TestAck_failure(t *testing.T) {
	reasons := []struct {
		err  error
		want packet.Reason
	}{
		{twin.NewError(twin.KindFull, ""), packet.QuotaExceeded},
		{twin.NewError(twin.KindUnavailable, ""), packet.Unspecified},
		{twin.NewError(twin.KindDenied, ""), packet.NotAuthorized},
		{twin.NewError(twin.KindThrottled, ""), packet.QuotaExceeded},
		{errors.New("foreign"), packet.Unspecified},
	}
	for _, r := range reasons {
		t.Run(fmt.Sprintf("%#x", r.want), func(t *testing.T) {
			h := newHandler()
			b := start(t, mqtt.Options{Handler: h})
			five := b.client(packet.V5, "five")
			five.publish(update, "{}", 1, 1)
			h.next(t).done(r.err)
			five.expectPuback(1, r.want)
			five.ping()

			three := b.client(packet.V311, "three")
			for id := uint16(1); id <= 3; id++ {
				three.publish(update, "{}", 1, id)
			}
			first, second, third := h.next(t), h.next(t), h.next(t)
			third.done(nil)
			first.done(nil)
			three.expectPuback(1, packet.Success)
			second.done(r.err)
			three.expectClosed(0) // the third is durable, but its PUBACK would be out of order
			five.publish(update, "{}", 0, 0)
			h.next(t).done(r.err)
			if n := b.Stats().Refused; n != 3 {
				t.Fatalf("%d refused", n)
			}
		})
	}
}

// The server's publishes and the client's have packet ids of their own: a PUBACK
// for one is not taken for the other, and nothing is lost when they are equal
// [MQTT-2.2.1-3], check F4.
func TestAck_packetIDCollision(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		h, r := newHandler(), newRecords()
		b := start(t, mqtt.Options{Handler: h, Records: r})
		c := b.client(v, "lamp-1", persistent)
		c.subscribe(1, "delta")
		b.Send(twin.Message{Topic: "delta", Payload: []byte("1"), QoS: 1})
		out := c.expectPublish()
		c.publish(update, "{}", 1, out.ID) // the same id on the way in
		in := h.next(t)
		in.done(nil)
		c.expectPuback(out.ID, packet.Success)
		b.drop(c, "lamp-1") // without a PUBACK of ours: the delta is still owed
		c, ack := b.connect(v, "lamp-1", persistent)
		if !ack.SessionPresent {
			t.Fatal("no session")
		}
		if p := c.expectPublish(); p.Payload != "1" || p.ID != out.ID || !p.Dup {
			t.Fatalf("got %+v, want the delta again", p)
		}
		c.puback(out.ID)
		c.ping()
	})
}

// A packet sent again with DUP after a reconnect is told as such, and not submitted
// while its first copy is being worked on.
func TestAck_resent(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		h, r := newHandler(), newRecords()
		b := start(t, mqtt.Options{Handler: h, Records: r})
		c := b.client(v, "lamp-1", persistent)
		for id := uint16(1); id <= 4; id++ {
			c.publish(update, fmt.Sprint(id), 1, id)
		}
		one, two, three, four := h.next(t), h.next(t), h.next(t), h.next(t)
		if one.p.Resent {
			t.Fatal("first copy is marked as resent")
		}
		b.drop(c, "lamp-1")
		two.done(nil)
		three.done(errors.New("no"))
		four.done(nil)

		c = b.client(v, "lamp-1", persistent)
		c.publish(update, "1", 1, 1, dup)       // first copy pending: follows it
		c.publish(update, "2", 1, 2, dup)       // done since: acknowledged
		c.publish(update, "3", 1, 3, dup)       // failed: again
		c.publish(update, "another", 1, 4, dup) // same id, other payload: not the same
		again, other := h.next(t), h.next(t)
		if string(again.p.Payload) != "3" || !again.p.Resent || again.p.Origin != three.p.Origin {
			t.Fatalf("got %+v", again.p)
		}
		if string(other.p.Payload) != "another" || !other.p.Resent || other.p.Origin == four.p.Origin {
			t.Fatalf("got %+v", other.p)
		}
		h.none(t)
		c.ping()
		one.done(nil)
		c.expectPuback(1, packet.Success)
		c.expectPuback(2, packet.Success)
		again.done(nil)
		other.done(nil)
		c.expectPuback(3, packet.Success)
		c.expectPuback(4, packet.Success)

		// After the first publish without DUP nothing is a repetition from before.
		c.publish(update, "5", 1, 5)
		h.next(t).done(nil)
		c.expectPuback(5, packet.Success)
		c.publish(update, "6", 1, 6, dup)
		if six := h.next(t); six.p.Resent {
			t.Fatal("DUP within the connection counts as resent")
		} else {
			c.publish(update, "6", 1, 6, dup) // while in flight: one PUBACK for both
			c.ping()
			h.none(t)
			six.done(nil)
			c.expectPuback(6, packet.Success)
			c.ping()
		}
	})
}

// DUP in a session that was not resumed says nothing.
func TestAck_resentNeedsSession(t *testing.T) {
	h := newHandler()
	b := start(t, mqtt.Options{Handler: h})
	c := b.client(packet.V311, "lamp-1")
	c.publish(update, "1", 1, 1, dup)
	if h.next(t).p.Resent {
		t.Fatal("resent in a new session")
	}
}

// Too many in flight: a 3.1.1 client is not read until there is room, a v5 client
// broke the Receive Maximum it was told [MQTT-3.3.4-7].
func TestAck_inFlightMax(t *testing.T) {
	h := newHandler()
	b := start(t, mqtt.Options{Handler: h, InFlightMax: 4})
	three := b.client(packet.V311, "three")
	for id := uint16(1); id <= 6; id++ {
		three.publish(update, "{}", 1, id)
	}
	var calls []*call
	for range 4 {
		calls = append(calls, h.next(t))
	}
	h.none(t)
	calls[0].done(nil)
	three.expectPuback(1, packet.Success)
	calls = append(calls, h.next(t)) // the fifth
	for i, c := range calls[1:] {
		c.done(nil)
		three.expectPuback(uint16(i+2), packet.Success)
	}
	h.next(t).done(nil)
	three.expectPuback(6, packet.Success)

	five, ack := b.connect(packet.V5, "five")
	if got := ack.Properties.Uint(packet.ReceiveMaximum, 65535); got != 4 {
		t.Fatalf("receive maximum %d", got)
	}
	for id := uint16(1); id <= 5; id++ {
		five.publish(update, "{}", 1, id)
	}
	five.expectClosed(packet.ReceiveMaximumExceeded)
}

// What a client may not publish is refused, never acknowledged and never delivered
// [MQTT-3.3.5-2].
func TestAck_denied(t *testing.T) {
	for _, topic := range []string{
		"$aws/things/lamp-1/shadow/update/delta", "$aws/things/lamp-1/shadow/update/accepted", "$SYS/x", "$share/g/x", "$x",
	} {
		t.Run(topic, func(t *testing.T) {
			h := newHandler()
			b := start(t, mqtt.Options{Handler: h})
			five, three := b.client(packet.V5, "five"), b.client(packet.V311, "three")
			five.publish(topic, "spoof", 1, 1)
			five.expectPuback(1, packet.NotAuthorized)
			five.publish(topic, "spoof", 0, 0)
			five.expectClosed(packet.NotAuthorized)
			three.publish(topic, "spoof", 1, 1)
			three.expectClosed(0)
			h.none(t)
			if n := b.Stats().Denied; n != 3 {
				t.Fatalf("%d denied", n)
			}
		})
	}
	t.Run("retained request", func(t *testing.T) {
		h := newHandler()
		b := start(t, mqtt.Options{Handler: h})
		five := b.client(packet.V5, "five")
		five.publish(update, "{}", 1, 1, retain)
		five.expectPuback(1, packet.NotAuthorized)
		h.none(t)
	})
}

// Requests reach those who are subscribed to the request topic, when they are
// durable.
func TestAck_requestSubscribers(t *testing.T) {
	h, r := newHandler(), newRecords()
	b := start(t, mqtt.Options{Handler: h, Records: r})
	watcher := b.client(packet.V311, "watcher", persistent)
	watcher.subscribe(1, "$aws/things/+/shadow/update")
	c := b.client(packet.V311, "lamp-1")
	c.publish(update, "{}", 1, 1)
	in := h.next(t)
	watcher.ping()
	in.done(nil)
	c.expectPuback(1, packet.Success)
	if p := watcher.expectPublish(); p.Topic != update || p.QoS != 1 {
		t.Fatalf("got %+v", p)
	}
	if r.count(twin.RecordQueued) != 1 {
		t.Fatal("not recorded for the persistent session")
	}
}

// PUBACK of a message that a persistent session or the retained set keeps waits
// for its record.
func TestAck_waitsForRecords(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		r := newRecords()
		b := start(t, mqtt.Options{Records: r})
		b.client(v, "sleeper", persistent).subscribe(1, "alarm")
		c := b.client(v, "pub")
		for i, f := range []func(id uint16){
			func(id uint16) { c.publish("alarm", "x", 1, id) },
			func(id uint16) { c.publish("other", "x", 1, id, retain) },
		} {
			id := uint16(i + 1)
			r.setHold(true)
			f(id)
			c.ping()
			r.setHold(false)
			c.expectPuback(id, packet.Success)
		}
		r.fail(twin.NewError(twin.KindFull, "disk full"))
		c.publish("alarm", "x", 1, 9)
		if v == packet.V5 {
			c.expectPuback(9, packet.QuotaExceeded)
		} else {
			c.expectClosed(0)
		}
		r.fail(nil)
	})
}
