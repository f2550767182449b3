package mqtt_test

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
)

// The same clients that come and go again and again cost no more each time.
func TestStorm_flat(t *testing.T) {
	const clients, rounds, slack = 300, 6, 512 << 10
	b := start(t, mqtt.Options{Records: newRecords()})
	var first, last uint64
	for range rounds {
		storm(b, clients)
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		if last = m.HeapAlloc; first == 0 {
			first = last
		}
	}
	t.Logf("%d KB after the first round, %d KB after the last", first>>10, last>>10)
	if last > first+slack && !raceEnabled {
		t.Fatalf("grew by %d bytes in %d reconnects", last-first, clients*(rounds-1))
	}
	if n := b.Stats().Sessions; n != clients || b.Appointments() != clients {
		t.Fatalf("%d sessions, %d appointments", n, b.Appointments())
	}
	for i := range clients {
		b.client(packet.V311, fmt.Sprint("c", i)) // clean: the old session ends
	}
	if n := b.Appointments(); n != 0 {
		t.Fatalf("%d appointments for sessions that have ended", n)
	}
}

// storm connects so many clients with persistent sessions, and cuts them.
func storm(b *testBroker, clients int) {
	b.t.Helper()
	conns := make([]*rawClient, clients)
	var wg sync.WaitGroup
	for i := range conns {
		nc, err := net.Dial("tcp", b.addr)
		if err != nil {
			b.t.Fatal(err)
		}
		conns[i] = &rawClient{t: b.t, nc: nc, v: packet.V311}
		wg.Go(func() {
			conns[i].connect(fmt.Sprint("c", i), persistent)
			conns[i].subscribe(1, fmt.Sprintf("$aws/things/c%d/shadow/update/delta", i), fmt.Sprintf("$aws/things/c%d/shadow/get/+", i))
		})
	}
	wg.Wait()
	for _, c := range conns {
		_ = c.nc.Close()
	}
	b.eventually("all are gone", func() bool { return b.Stats().Conns == 0 })
}
