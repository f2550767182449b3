package mqtt_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

// A persistent session over a random life of connects, cuts, acknowledgements and
// crashes of the server: each message that was acknowledged to its publisher, or
// committed with a change, arrives, and first copies arrive in order without a gap
// ([MQTT-4.4.0-1], [MQTT-4.6.0-6]).
func TestCrash_model(t *testing.T) {
	versions(t, func(t *testing.T, v packet.Version) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		m := &crashModel{t: t, v: v, rng: rand.New(rand.NewPCG(seed, 0)), records: newRecords()}
		m.restart()
		m.connect()
		m.client.subscribe(1, "q")
		for range 1000 {
			m.step()
		}
		m.connect()
		for m.seen < m.sent {
			m.receive()
		}
		m.client.ping()
		if m.duplicates == 0 || m.crashes == 0 {
			t.Fatalf("%d duplicates, %d crashes: the test shows nothing", m.duplicates, m.crashes)
		}
		t.Logf("%d messages, %d duplicates, %d crashes", m.sent, m.duplicates, m.crashes)
	})
}

const modelWindow = 7

type crashModel struct {
	t       *testing.T
	v       packet.Version
	rng     *rand.Rand
	records *fakeRecords
	broker  *testBroker
	client  *rawClient // nil: not connected

	owed                int // PUBACKs, on this connection
	sent, seen          int // numbers of the last message published, and received
	duplicates, crashes int
}

func (m *crashModel) step() {
	switch n := m.rng.IntN(20); {
	case n < 8:
		m.publish()
	case n < 15:
		if m.client != nil && m.seen < m.sent {
			m.receive()
		}
	case n < 17:
		if m.client == nil {
			m.connect()
		}
	case n < 19:
		if m.client != nil {
			m.broker.drop(m.client, "s")
			m.client = nil
		}
	default:
		m.crash()
	}
}

// publish publishes the next number, in one of three ways.
func (m *crashModel) publish() {
	m.sent++
	msg := twin.Message{Topic: "q", Payload: fmt.Append(nil, m.sent), QoS: 1}
	switch m.rng.IntN(3) {
	case 0:
		m.broker.Send(msg)
	case 1:
		done := make(chan error, 1)
		m.broker.Publish(&twin.Publish{Message: msg}, func(err error) { done <- err })
		if err := <-done; err != nil {
			m.t.Fatal(err)
		}
	default:
		m.records.commit(m.broker.Stage([]twin.Message{msg}))
	}
}

// receive takes one message and acknowledges it, or not.
func (m *crashModel) receive() {
	p := m.client.expectPublish()
	n, err := strconv.Atoi(p.Payload)
	switch {
	case err != nil || n > m.seen+1:
		m.t.Fatalf("got message %q after %d", p.Payload, m.seen)
	case n == m.seen+1:
		m.seen = n
	default:
		m.duplicates++
	}
	// Some are left unacknowledged, but never so many that the window is full.
	if m.owed++; m.owed >= modelWindow || m.rng.IntN(3) > 0 {
		m.client.puback(p.ID)
		m.owed--
	}
}

func (m *crashModel) connect() {
	if m.client != nil {
		m.broker.drop(m.client, "s")
	}
	m.owed = 0
	m.client, _ = m.broker.connect(m.v, "s", persistent)
}

// crash goes on with what is recorded now; the old process is heard of no more.
func (m *crashModel) crash() {
	m.crashes++
	if m.client != nil {
		_ = m.client.nc.Close()
		m.client = nil
	}
	m.records = m.records.copy()
	m.restart()
}

func (m *crashModel) restart() {
	m.broker = start(m.t, mqtt.Options{Records: m.records, OutFlightMax: modelWindow})
}
