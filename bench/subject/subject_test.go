package subject_test

import (
	"context"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twofold-iot/twofold/bench/load"
	"github.com/twofold-iot/twofold/bench/subject"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The generator and mosquitto agree on the protocol, and /proc tells what the
// child used.
func TestMosquitto(t *testing.T) {
	p, err := subject.StartMosquitto(context.Background(), t.TempDir())
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = p.Kill() }()
	before, err := subject.ReadUsage(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	g, err := load.Open(load.Options{Addr: p.MQTT, ThingPrefix: "t-", Connections: 20, InFlight: 10, Things: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Close() }()
	r, err := g.Run(300 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	after, err := subject.ReadUsage(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	used := after.Since(before)
	if r.Acked == 0 || used.CPU == 0 || used.WrittenBytes < 4*r.Acked || used.RSSBytes == 0 {
		t.Fatalf("%d acked, used %+v", r.Acked, used)
	}
	t.Logf("%.0f/s, p50 %s, p99 %s, %+v", r.PerSecond(), r.Latency.Quantile(0.5), r.Latency.Quantile(0.99), used)
}

func TestTwofold_Start_ends(t *testing.T) {
	addr, err := subject.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	p, err := subject.Twofold{Binary: "/bin/false", Data: t.TempDir(), MQTT: addr, HTTP: addr}.Start(context.Background())
	if err == nil {
		t.Fatalf("started %v", p)
	}
}

func TestReadUsage_self(t *testing.T) {
	u, err := subject.ReadUsage(os.Getpid())
	if err != nil || u.RSSBytes == 0 {
		t.Fatalf("got %+v, %v", u, err)
	}
}
