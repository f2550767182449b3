package load_test

import (
	"bufio"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twofold-iot/twofold/bench/load"
	"github.com/twofold-iot/twofold/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker accepts MQTT connections and answers each PUBLISH as told.
type broker struct {
	addr   string
	answer func(n int, id [2]byte) []byte

	mu       sync.Mutex
	payloads map[string][]string // by topic
}

func newBroker(t *testing.T, answer func(n int, id [2]byte) []byte) *broker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{addr: l.Addr().String(), answer: answer, payloads: make(map[string][]string)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				_ = b.serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return b
}

func (b *broker) serve(c net.Conn) error {
	r := bufio.NewReader(c)
	for n := 0; ; {
		p, _, err := wire.Read(r, nil)
		if err != nil {
			return err
		}
		switch p.First & 0xf0 {
		case 0x10:
			if _, err := c.Write([]byte{0x20, 2, 0, 0}); err != nil {
				return err
			}
		case wire.Publish:
			topic, id, payload, err := p.Message()
			if err != nil {
				return err
			}
			b.mu.Lock()
			b.payloads[topic] = append(b.payloads[topic], string(payload))
			b.mu.Unlock()
			if _, err := c.Write(b.answer(n, [2]byte{byte(id >> 8), byte(id)})); err != nil {
				return err
			}
			n++
		case wire.Disconnect:
			return nil
		}
	}
}

func ack(_ int, id [2]byte) []byte { return []byte{0x40, 2, id[0], id[1]} }

func TestGenerator_Run(t *testing.T) {
	b := newBroker(t, ack)
	g, err := load.Open(load.Options{Addr: b.addr, ThingPrefix: "t-", Connections: 3, InFlight: 4, Things: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Close() }()
	r, err := g.Run(50 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if r.Acked == 0 || r.Latency.Quantile(0.5) <= 0 || r.Latency.Quantile(0.5) > r.Latency.Quantile(0.99) {
		t.Fatalf("got %d acked, p50 %s, p99 %s", r.Acked, r.Latency.Quantile(0.5), r.Latency.Quantile(0.99))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range 8 {
		got := b.payloads["$aws/things/"+load.ThingName("t-", i)+"/shadow/update"]
		sent, acked := g.Counts(i)
		if len(got) == 0 || int(sent) != len(got) || acked != sent {
			t.Fatalf("thing %d: broker has %d, sent %d, acked %d", i, len(got), sent, acked)
		}
		for n, payload := range got {
			var doc struct {
				State struct {
					Reported struct{ Seq int }
				}
			}
			if err := json.Unmarshal([]byte(payload), &doc); err != nil {
				t.Fatalf("payload %s: %v", payload, err)
			}
			if want := load.SeqBase + n + 1; doc.State.Reported.Seq != want {
				t.Fatalf("thing %d: got seq %d, want %d", i, doc.State.Reported.Seq, want)
			}
		}
	}
}

func TestGenerator_Once(t *testing.T) {
	b := newBroker(t, ack)
	g, err := load.Open(load.Options{Addr: b.addr, ThingPrefix: "t-", Connections: 7, InFlight: 5, Things: 100, Payload: load.Reported3})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Close() }()
	if _, err := g.Once(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if sent, acked := g.Counts(i); sent != 1 || acked != 1 {
			t.Fatalf("thing %d: sent %d, acked %d, want 1", i, sent, acked)
		}
	}
}

// A server that acknowledges something else, or nothing, must be found out.
func TestGenerator_Run_badServer(t *testing.T) {
	var held []byte
	cases := map[string]struct {
		answer func(n int, id [2]byte) []byte
		want   string
	}{
		"swapped": {func(n int, id [2]byte) []byte {
			if n%2 == 0 {
				held = ack(n, id)
				return nil
			}
			return append(ack(n, id), held...)
		}, "out of order"},
		"unknown id": {func(_ int, id [2]byte) []byte { return []byte{0x40, 2, id[0] ^ 1, id[1]} }, "out of order"},
		"twice":      {func(n int, id [2]byte) []byte { return append(ack(n, id), ack(n, id)...) }, "out of order"},
		"no puback":  {func(int, [2]byte) []byte { return []byte{0xd0, 0, 0xd0, 0} }, "not a PUBACK"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t, c.answer)
			g, err := load.Open(load.Options{Addr: b.addr, ThingPrefix: "t-", Connections: 1, InFlight: 2, Things: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = g.Close() }()
			_, err = g.Run(20 * time.Millisecond)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestOptions_Validate(t *testing.T) {
	o := load.Options{Addr: "192.0.2.1:1883", Connections: 0, InFlight: 0, Things: 0}
	err := o.Validate()
	for _, want := range []string{"loopback", "connections", "in flight", "things"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("got %v, want %q in it", err, want)
		}
	}
	if _, err := load.Open(o); err == nil {
		t.Fatal("opened with bad options")
	}
}

func TestHistogram(t *testing.T) {
	var h load.Histogram
	if got := h.Quantile(0.5); got != 0 {
		t.Fatalf("empty: got %s", got)
	}
	for i := 1; i <= 1000; i++ {
		h.Add(time.Duration(i) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0: time.Microsecond, 0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond, 1: time.Millisecond} {
		got := h.Quantile(q)
		if got < want || float64(got) > float64(want)*1.08 {
			t.Errorf("quantile %g: got %s, want %s to 8%% more", q, got, want)
		}
	}
	var far load.Histogram
	far.Add(-time.Second)
	far.Add(1 << 62)
	h.Merge(&far)
	if got := h.Quantile(1); got < 10*time.Minute {
		t.Fatalf("longest: got %s", got)
	}
}

func BenchmarkHistogram_Add(b *testing.B) {
	var h load.Histogram
	b.ReportAllocs()
	for i := range b.N {
		h.Add(time.Duration(i))
	}
}
