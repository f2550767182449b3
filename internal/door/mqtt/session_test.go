package mqtt_test

import (
	"fmt"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

func send(b *testBroker, topic, payload string) {
	b.Send(twin.Message{Topic: topic, Payload: []byte(payload), QoS: 1})
}

// A queue is delivered in its order: while the client is away, after a reconnect
// with DUP and the same packet ids [MQTT-4.4.0-1], [MQTT-4.6.0-1], and after a
// crash of the server.
func TestSession_queueOrder(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		r := newRecords()
		b := start(t, mqtt.Options{Records: r, OutFlightMax: 5})
		c := b.client(v, "lamp-1", persistent)
		c.subscribe(1, "q/#")
		c.disconnect()
		for i := range 20 {
			send(b, fmt.Sprintf("q/%d", i%3), fmt.Sprint(i))
		}
		c, ack := b.connect(v, "lamp-1", persistent)
		if !ack.SessionPresent {
			t.Fatal("session is not present")
		}
		var ids []uint16
		for i := range 5 { // the window
			p := c.expectPublish()
			if p.Payload != fmt.Sprint(i) || p.Dup {
				t.Fatalf("got %+v, want %d", p, i)
			}
			ids = append(ids, p.ID)
		}
		c.puback(ids[0])
		ids = append(ids, c.expectPublish().ID)
		b.drop(c, "lamp-1")

		c = b.client(v, "lamp-1", persistent)
		for i := 1; i <= 5; i++ {
			p := c.expectPublish()
			if p.Payload != fmt.Sprint(i) || !p.Dup || p.ID != ids[i] {
				t.Fatalf("got %+v, want %d again with id %d", p, i, ids[i])
			}
			c.puback(p.ID)
		}
		for i := 6; i < 9; i++ {
			if p := c.expectPublish(); p.Payload != fmt.Sprint(i) || p.Dup {
				t.Fatalf("got %+v, want %d", p, i)
			}
		}
		b.eventually("records of acknowledged messages are removed", func() bool { return r.count(twin.RecordQueued) == 14 })

		// A crash: what is on disk now is all there is.
		b2 := start(t, mqtt.Options{Records: r.copy(), OutFlightMax: 5})
		c, ack = b2.connect(v, "lamp-1", persistent)
		if !ack.SessionPresent {
			t.Fatal("session did not survive")
		}
		send(b2, "q/9", "20")
		for i := 6; i <= 20; i++ {
			p := c.expectPublish()
			if p.Payload != fmt.Sprint(i) {
				t.Fatalf("got %q, want %d", p.Payload, i)
			}
			c.puback(p.ID)
		}
		c.ping()
	})
}

// What Stage prepared for a persistent session is in its records, and is delivered
// after a crash between commit and delivery.
func TestSession_stagedSurvives(t *testing.T) {
	r := newRecords()
	b := start(t, mqtt.Options{Records: r})
	for _, id := range []string{"one", "two"} {
		b.client(packet.V311, id, persistent).subscribe(1, "d")
	}
	b.client(packet.V311, "clean").subscribe(1, "d")
	o := b.Stage([]twin.Message{{Topic: "d", Payload: []byte("shared"), QoS: 1}})
	kinds := map[twin.RecordKind]int{}
	for _, w := range o.Records() {
		kinds[w.Kind]++
	}
	if kinds[twin.RecordMessage] != 1 || kinds[twin.RecordQueued] != 2 {
		t.Fatalf("records %v, want the message once and two entries", kinds)
	}
	crashed := r.copy()
	for _, w := range o.Records() {
		if err := crashed.WriteRecords("", []twin.RecordWrite{w}, func(error) {}); err != nil {
			t.Fatal(err)
		}
	}
	b2 := start(t, mqtt.Options{Records: crashed})
	for _, id := range []string{"one", "two"} {
		c := b2.client(packet.V311, id, persistent)
		p := c.expectPublish()
		if p.Payload != "shared" || !p.Dup {
			t.Fatalf("%s got %+v", id, p)
		}
		c.puback(p.ID)
	}
	b2.eventually("records are gone", func() bool {
		return crashed.count(twin.RecordQueued) == 0 && crashed.count(twin.RecordMessage) == 0
	})
}

// Clean start ends the old session with all it has [MQTT-3.1.2-4], a resumed one has
// its subscriptions [MQTT-3.1.2-5], also after a restart.
func TestSession_cleanStart(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		r := newRecords()
		b := start(t, mqtt.Options{Records: r})
		c, ack := b.connect(v, "x", persistent)
		if ack.SessionPresent { // [MQTT-3.2.2-2]
			t.Fatal("session present at the first connect")
		}
		c.subscribe(1, "a", "b/+")
		c.disconnect()
		send(b, "a", "1")

		b2 := start(t, mqtt.Options{Records: r.copy()})
		c, ack = b2.connect(v, "x", persistent)
		if !ack.SessionPresent || c.expectPublish().Payload != "1" {
			t.Fatal("session did not survive")
		}
		send(b2, "b/1", "2")
		if p := c.expectPublish(); p.Payload != "2" {
			t.Fatalf("got %+v", p)
		}

		c, ack = b.connect(v, "x")
		if ack.SessionPresent { // [MQTT-3.2.2-3]
			t.Fatal("clean start found a session")
		}
		send(b, "a", "3")
		c.ping()
		c.disconnect()
		b.eventually("nothing remains", func() bool {
			return r.count(twin.RecordSession) == 0 && r.count(twin.RecordQueued) == 0 && b.Stats().Sessions == 0
		})
		if b.Wanted([]byte("a")) {
			t.Fatal("subscription remains")
		}
	})
}

// A second connection with the same client id closes the first [MQTT-3.1.4-3].
func TestSession_takeover(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		b := start(t, mqtt.Options{Records: newRecords()})
		first := b.client(v, "x", persistent)
		first.subscribe(1, "a")
		second, ack := b.connect(v, "x", persistent)
		first.expectClosed(packet.SessionTakenOver)
		if !ack.SessionPresent {
			t.Fatal("session not present")
		}
		send(b, "a", "1")
		if p := second.expectPublish(); p.Payload != "1" {
			t.Fatalf("got %+v", p)
		}
		second.ping()
		if n := b.Stats().Takeovers; n != 1 {
			t.Fatalf("%d takeovers", n)
		}
	})
}

// A full queue keeps the newest delta of each shadow and drops other messages,
// counted and logged.
func TestSession_overflow(t *testing.T) {
	r := newRecords()
	b := start(t, mqtt.Options{Records: r, QueueLenMax: 10})
	c := b.client(packet.V311, "lamp", persistent)
	c.subscribe(1, "$aws/things/+/shadow/update/delta", "plain")
	c.disconnect()
	delta := func(thing string) string { return "$aws/things/" + thing + "/shadow/update/delta" }
	stage := func(topic, payload string) {
		r.commit(b.Stage([]twin.Message{{Topic: topic, Payload: []byte(payload), QoS: 1}}))
	}
	stage("plain", "first")
	for i := range 100 {
		stage(delta("a"), fmt.Sprint("a", i))
		stage(delta("b"), fmt.Sprint("b", i))
	}
	for i := range 30 { // more shadows than QueueLenMax: none is lost
		stage(delta(fmt.Sprint("t", i)), fmt.Sprint("t", i))
	}
	if o := b.Stage([]twin.Message{{Topic: "plain", Payload: []byte("second"), QoS: 1}}); o != nil {
		r.commit(o)
	}
	s := b.Stats()
	if s.DroppedFull != 1 || s.Coalesced == 0 {
		t.Fatalf("stats %+v", s)
	}
	last := map[string]string{}
	check := func(b *testBroker) {
		c := b.client(packet.V311, "lamp", persistent)
		for {
			p := c.expectPublish()
			last[p.Topic] = p.Payload
			c.puback(p.ID)
			if p.Payload == "t29" {
				break
			}
		}
		c.ping()
		if last["plain"] != "first" || last[delta("a")] != "a99" || last[delta("b")] != "b99" || len(last) != 33 {
			t.Fatalf("last of each topic: %v", last)
		}
	}
	b.eventually("coalesced entries leave the store", func() bool { return r.count(twin.RecordQueued) <= 40 })
	crashed := start(t, mqtt.Options{Records: r.copy(), QueueLenMax: 10})
	check(b)
	clear(last)
	check(crashed)
}

// An absent client with many shadows costs little: each delta replaces the one before
// without a search. (Quadratic, this takes minutes.)
func TestSession_manyShadows(t *testing.T) {
	const shadows, rounds = 5000, 20
	b := start(t, mqtt.Options{Records: newRecords(), QueueLenMax: 10})
	c := b.client(packet.V311, "fleet", persistent)
	c.subscribe(1, "$aws/things/+/shadow/update/delta")
	c.disconnect()
	for r := range rounds {
		for i := range shadows {
			send(b, fmt.Sprintf("$aws/things/t%d/shadow/update/delta", i), fmt.Sprint(r))
		}
	}
	if s := b.Stats(); s.Coalesced != shadows*(rounds-1) || s.DroppedFull != 0 {
		t.Fatalf("stats %+v", s)
	}
	c = b.client(packet.V311, "fleet", persistent)
	for i := range shadows {
		p := c.expectPublish()
		if p.Topic != fmt.Sprintf("$aws/things/t%d/shadow/update/delta", i) || p.Payload != fmt.Sprint(rounds-1) {
			t.Fatalf("message %d is %+v", i, p)
		}
		c.puback(p.ID)
	}
	c.ping()
	if n := b.Stats().QueuedBytes; n != 0 {
		t.Fatalf("%d bytes left", n)
	}
}

// The bytes of a queue have a limit too.
func TestSession_queueBytes(t *testing.T) {
	b := start(t, mqtt.Options{Records: newRecords(), QueueBytesMax: 10_000})
	c := b.client(packet.V5, "lamp", persistent)
	c.subscribe(1, "plain")
	c.disconnect()
	for range 20 {
		b.Send(twin.Message{Topic: "plain", Payload: make([]byte, 1000), QoS: 1})
	}
	s := b.Stats()
	if s.QueuedBytes > 10_000 || s.DroppedFull != 12 {
		t.Fatalf("stats %+v", s)
	}
	b.client(packet.V5, "lamp").ping()
	if n := b.Stats().QueuedBytes; n != 0 {
		t.Fatalf("%d bytes after the session ended", n)
	}
}

// UNSUBSCRIBE ends delivery [MQTT-3.10.4-1], [MQTT-3.10.4-4], also after a crash.
func TestSession_unsubscribe(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		r := newRecords()
		b := start(t, mqtt.Options{Records: r})
		c := b.client(v, "x", persistent)
		c.subscribe(1, "a", "b")
		c.write(packet.AppendUnsubscribe(nil, v, &packet.Unsubscribe{PacketID: 3, Filters: [][]byte{[]byte("a"), []byte("zzz")}}))
		ack, err := packet.DecodeSuback(c.expect(packet.UNSUBACK), packet.UNSUBACK, v)
		if err != nil || ack.PacketID != 3 {
			t.Fatalf("%+v %v", ack, err)
		}
		if v == packet.V5 && (len(ack.Codes) != 2 || ack.Codes[0] != 0 || ack.Codes[1] != byte(packet.NoSubscriptionExisted)) {
			t.Fatalf("codes %x", ack.Codes)
		}
		for _, b := range []*testBroker{b, start(t, mqtt.Options{Records: r.copy()})} {
			if b.Wanted([]byte("a")) || !b.Wanted([]byte("b")) {
				t.Fatal("wrong subscriptions")
			}
		}
	})
}

// Records of a format that this version does not know are refused.
func TestOpen_unknownRecord(t *testing.T) {
	for _, kind := range []twin.RecordKind{twin.RecordSession, twin.RecordQueued, twin.RecordMessage, twin.RecordRetained} {
		r := newRecords()
		_ = r.WriteRecords("", []twin.RecordWrite{{Kind: kind, Key: "k\x00ffffffff", Value: []byte{99, 1, 2, 3}}}, func(error) {})
		if b, err := mqtt.Open(discard(), mqtt.Options{Records: r}); err == nil {
			_ = b.Close()
			t.Fatalf("kind %d: no error", kind)
		}
	}
}
