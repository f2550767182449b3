package mqtt_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

// committer acknowledges in bursts from one goroutine, as the engine does.
type committer struct {
	wake  chan struct{}
	mu    sync.Mutex
	queue []func(error)
}

func newCommitter() *committer { return &committer{wake: make(chan struct{}, 1)} }

func (c *committer) Allow(string) error { return nil }

func (c *committer) Publish(_ *twin.Publish, done func(error)) bool {
	c.mu.Lock()
	c.queue = append(c.queue, done)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return true
}

func (c *committer) run() {
	var batch []func(error)
	for range c.wake {
		c.mu.Lock()
		batch, c.queue = c.queue, batch[:0]
		c.mu.Unlock()
		for _, done := range batch {
			done(nil)
		}
	}
}

// BenchmarkIngest is QoS 1 publishes of 200 bytes over loopback, client included.
// The door alone: the handler commits nothing.
func BenchmarkIngest(b *testing.B) {
	for _, depth := range []int{1, 10} {
		b.Run(fmt.Sprintf("conns=200/inflight=%d", depth), func(b *testing.B) { ingest(b, 200, depth) })
	}
}

func ingest(b *testing.B, conns, depth int) {
	h := newCommitter()
	broker, err := mqtt.Open(discard(), mqtt.Options{Handler: h})
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg, clients sync.WaitGroup
	wg.Go(h.run)
	wg.Go(func() { _ = broker.Serve(ln) })
	list := make([]net.Conn, conns)
	for i := range list {
		if list[i], err = net.Dial("tcp", ln.Addr().String()); err != nil {
			b.Fatal(err)
		}
		_, _ = list[i].Write(packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, CleanStart: true, ClientID: fmt.Append(nil, "c", i)}))
		if _, err := io.ReadFull(list[i], make([]byte, 4)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i, nc := range list {
		n := b.N / conns
		if i < b.N%conns {
			n++
		}
		clients.Go(func() { publishMany(b, nc, i, n, depth) })
	}
	clients.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "publishes/s")
	for _, nc := range list {
		_ = nc.Close()
	}
	_ = broker.Close()
	close(h.wake)
	wg.Wait()
}

func publishMany(b *testing.B, nc net.Conn, i, n, depth int) {
	topic := fmt.Sprintf("$aws/things/thing-%d/shadow/update", i)
	payload := make([]byte, 200)
	r := bufio.NewReaderSize(nc, 4*depth)
	var out []byte
	ack := make([]byte, 4)
	for sent, acked := 0, 0; acked < n; {
		out = out[:0]
		for sent < n && sent-acked < depth {
			out = packet.AppendPublish(out, packet.V311, &packet.Outgoing{Topic: topic, Payload: payload, QoS: 1, PacketID: uint16(sent%60000 + 1)})
			sent++
		}
		if len(out) > 0 {
			if _, err := nc.Write(out); err != nil {
				b.Error(err)
				return
			}
		}
		for {
			if _, err := io.ReadFull(r, ack); err != nil {
				b.Error(err)
				return
			}
			acked++
			if r.Buffered() == 0 {
				break
			}
		}
	}
}
