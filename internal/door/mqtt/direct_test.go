package mqtt_test

import (
	"sync/atomic"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

// direct is a message to thing t in two forms.
type direct struct {
	mqtt.Direct
	taken     atomic.Int32
	withdrawn atomic.Bool
}

func newDirect(key string) *direct {
	d := &direct{}
	form := func(prefix string) mqtt.DirectForm {
		return mqtt.DirectForm{Own: prefix, Message: twin.Message{
			Topic: prefix + "commands/" + key, Payload: []byte(prefix + key), QoS: 1,
			Properties: &twin.MessageProperties{ExpirySeconds: 60},
		}}
	}
	d.Direct = mqtt.Direct{
		Key: key, Forms: []mqtt.DirectForm{form("a/t/"), form("b/t/")},
		Still: func() bool { return !d.withdrawn.Load() },
		Taken: func(string) { d.taken.Add(1) },
	}
	return d
}

func (b *testBroker) sendDirect(d *direct, want int) {
	b.t.Helper()
	if n, full := b.SendDirect(&d.Direct); n != want || full {
		b.t.Fatalf("%s: %d have it, full %v, want %d", d.Key, n, full, want)
	}
}

// It goes to those who are there and into no queue; taken is what they acknowledge.
func TestBroker_SendDirect(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		records := newRecords()
		b := start(t, mqtt.Options{Records: records})
		m := newDirect("1")
		b.sendDirect(m, 0) // nobody is subscribed
		c := b.client(v, "t", persistent)
		c.subscribe(1, "b/t/#", "a/t/commands/+")
		b.sendDirect(m, 1)
		got := c.expectPublish()
		if got.Topic != "a/t/commands/1" || got.QoS != 1 {
			t.Fatalf("%+v", got) // the first form, and not the second too
		}
		b.sendDirect(m, 1) // it is not acknowledged: not a second time
		c.ping()
		if m.taken.Load() != 0 {
			t.Fatal("taken before PUBACK")
		}
		c.puback(got.ID)
		c.ping()
		if m.taken.Load() != 1 {
			t.Fatal("not taken after PUBACK")
		}
		b.drop(c, "t")
		late := newDirect("2")
		b.sendDirect(late, 0) // the session is there, the client is not
		if n := records.count(twin.RecordQueued); n != 0 {
			t.Fatalf("%d are queued", n)
		}
		c, _ = b.connect(v, "t", persistent)
		c.ping()
		b.sendDirect(late, 1)
		if got := c.expectPublish(); got.Payload != "a/t/2" {
			t.Fatalf("%+v", got)
		}
	})
}

// What was sent and not acknowledged comes again when the session goes on, with DUP and
// the same packet id, unless it was withdrawn; what was not sent does not.
func TestBroker_SendDirect_resumed(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		b := start(t, mqtt.Options{Records: newRecords(), OutFlightMax: 2})
		c := b.client(v, "t", persistent)
		c.subscribe(1, "a/t/commands/+")
		var ms []*direct
		for _, key := range []string{"1", "2", "3"} { // the third waits for room
			ms = append(ms, newDirect(key))
			b.sendDirect(ms[len(ms)-1], 1)
		}
		first, second := c.expectPublish(), c.expectPublish()
		b.drop(c, "t")
		ms[0].withdrawn.Store(true)
		c, _ = b.connect(v, "t", persistent)
		again := c.expectPublish()
		if again.Payload != "a/t/2" || !again.Dup || again.ID != second.ID {
			t.Fatalf("%+v after %+v", again, first)
		}
		c.ping() // and no more
		b.sendDirect(ms[1], 1)
		b.sendDirect(ms[2], 1)
		if third := c.expectPublish(); third.Payload != "a/t/3" || third.Dup {
			t.Fatalf("%+v", third)
		}
		c.puback(again.ID)
		c.ping()
		if ms[0].taken.Load() != 0 || ms[1].taken.Load() != 1 {
			t.Fatalf("taken %d and %d", ms[0].taken.Load(), ms[1].taken.Load())
		}
		// A client that begins anew has nothing of it.
		b.drop(c, "t")
		c = b.client(v, "t")
		c.subscribe(1, "a/t/commands/+")
		c.ping()
		b.sendDirect(ms[2], 1)
		if third := c.expectPublish(); third.Payload != "a/t/3" || third.Dup {
			t.Fatalf("%+v", third)
		}
	})
}

// Who looks on by a wildcard gets a copy when a receiver gets it, and is none.
func TestBroker_SendDirect_watched(t *testing.T) {
	b := start(t, mqtt.Options{})
	watcher := b.client(packet.V311, "w")
	watcher.subscribe(1, "a/+/commands/+", "#")
	m := newDirect("1")
	b.sendDirect(m, 0)
	watcher.ping()
	c := b.client(packet.V5, "t")
	c.subscribe(0, "a/t/commands/+")
	b.sendDirect(m, 1)
	if got := c.expectPublish(); got.QoS != 0 || got.Props.Uint(packet.MessageExpiry, 0) == 0 {
		t.Fatalf("%+v", got)
	}
	if m.taken.Load() != 1 {
		t.Fatal("with QoS 0, sent is taken")
	}
	got := watcher.expectPublish()
	watcher.puback(got.ID)
	watcher.ping()
	if got.Payload != "a/t/1" || m.taken.Load() != 1 {
		t.Fatalf("%+v, taken %d", got, m.taken.Load())
	}
}

// A full queue takes no more, and says so.
func TestBroker_SendDirect_full(t *testing.T) {
	b := start(t, mqtt.Options{QueueLenMax: 2, OutFlightMax: 1})
	c := b.client(packet.V311, "t")
	c.subscribe(1, "a/t/commands/+")
	one, two, three := newDirect("1"), newDirect("2"), newDirect("3")
	b.sendDirect(one, 1)
	b.sendDirect(two, 1)
	if n, full := b.SendDirect(&three.Direct); n != 0 || !full {
		t.Fatalf("%d have it, full %v", n, full)
	}
	c.puback(c.expectPublish().ID)
	c.expectPublish()
	b.sendDirect(three, 1)
}
