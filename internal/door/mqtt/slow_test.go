package mqtt_test

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

// A subscriber that stops reading holds up nobody: QoS 0 for it is dropped and
// counted, QoS 1 waits within the limit of its queue, and in the end it is cut.
func TestSlow_subscriber(t *testing.T) {
	b := start(t, mqtt.Options{OutBytesMax: 64 << 10, WriteTimeout: 500 * time.Millisecond, QueueLenMax: 50})
	stuck, lively := b.client(packet.V311, "stuck"), b.client(packet.V311, "lively")
	stuck.subscribe(1, "a", "b")
	lively.subscribe(1, "a", "b")
	if err := stuck.nc.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, 10_000)
	deadline := time.Now().Add(patience)
	cut := false
	for i := 0; !cut; i++ {
		if time.Now().After(deadline) {
			t.Fatalf("stuck client was not cut: %+v", b.Stats())
		}
		b.Send(twin.Message{Topic: "a", Payload: payload})
		b.Send(twin.Message{Topic: "b", Payload: payload[:10], QoS: 1})
		if p := lively.expectPublish(); p.Topic != "a" {
			t.Fatalf("round %d: got %q", i, p.Topic)
		}
		p := lively.expectPublish()
		if p.Topic != "b" {
			t.Fatalf("round %d: got %q", i, p.Topic)
		}
		lively.puback(p.ID)
		lively.ping() // its queue is as short, so the PUBACK must have been seen
		cut = !b.Connected("stuck")
	}
	s := b.Stats()
	if s.DroppedQoS0 == 0 || s.DroppedFull == 0 {
		t.Fatalf("nothing counted: %+v", s)
	}
	lively.ping()
	b.eventually("queue of the stuck client is gone", func() bool { return b.Stats().QueuedBytes == 0 })
}

// A client that asks and does not read the answers is not read either, so its
// answers have a bound; when it reads again it gets them all.
func TestSlow_asker(t *testing.T) {
	b := start(t, mqtt.Options{OutBytesMax: 4 << 10})
	c := b.client(packet.V311, "x")
	const n = 200_000
	sent := make(chan error, 1)
	go func() {
		var out []byte
		for range n {
			out = packet.AppendPing(out, packet.PINGREQ)
		}
		_, err := c.nc.Write(out)
		sent <- err
	}()
	for range n {
		c.expect(packet.PINGRESP)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// Sockets that claim long packets before anybody knows them cost nothing, and those
// beyond the limit of connections are closed (check F32).
func TestSlow_claims(t *testing.T) {
	b := start(t, mqtt.Options{ConnsMax: 300})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var claims []*rawClient
	for i := range 200 {
		c := b.dial(packet.V311)
		if i%2 == 0 {
			c.write([]byte{0x10, 0xff, 0xff, 0xff, 0x7f}) // 256 MB
		} else {
			c.write([]byte{0x10, 0x80, 0x7f, 0x00}) // 16 KB, of which one byte comes
		}
		claims = append(claims, c)
	}
	for i, c := range claims {
		if i%2 == 0 {
			c.expectClosed(0)
		}
	}
	b.eventually("the others wait", func() bool { return b.Stats().Conns == 100 })
	runtime.ReadMemStats(&after)
	if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > 8<<20 {
		t.Fatalf("%d bytes for 200 sockets", got)
	}
	for range 200 {
		b.dial(packet.V311)
	}
	b.eventually("as many as allowed", func() bool { return b.Stats().Conns == 300 })
	over := b.dial(packet.V311)
	over.expectClosed(0)
}

// Memory of an idle connection.
func TestIdle_memory(t *testing.T) {
	if testing.Short() {
		t.Skip("opens 2,000 connections")
	}
	const n, limit = 1000, 12 << 10
	b := start(t, mqtt.Options{})
	measure := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := measure()
	raw := packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, CleanStart: true})
	for range n {
		nc, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		if _, err := nc.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	b.eventually("all are connected", func() bool { return b.Stats().Connects == n })
	got := (measure() - before) / n
	t.Logf("%d bytes for each idle connection, the client's end included", got)
	if got > limit && !raceEnabled {
		t.Fatalf("limit is %d", limit)
	}
}
