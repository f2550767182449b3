package mqtt_test

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
)

// bubbleBroker is a broker on pipes inside a synctest bubble, where time passes
// only when everybody waits.
type bubbleBroker struct {
	*mqtt.Broker
	t       *testing.T
	ln      *pipeListener
	records *fakeRecords
}

// pipeListener accepts the ends of pipes.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func newBubble(t *testing.T) *bubbleBroker {
	t.Helper()
	r := newRecords()
	b, err := mqtt.Open(discard(), mqtt.Options{Records: r})
	if err != nil {
		t.Fatal(err)
	}
	ln := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	var served sync.WaitGroup
	served.Go(func() {
		if err := b.Serve(ln); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		served.Wait()
	})
	return &bubbleBroker{Broker: b, t: t, ln: ln, records: r}
}

func (b *bubbleBroker) dial(v packet.Version) *rawClient {
	near, far := net.Pipe()
	b.ln.conns <- far
	b.t.Cleanup(func() { _ = near.Close() })
	return &rawClient{t: b.t, nc: near, v: v}
}

func (b *bubbleBroker) client(v packet.Version, id string, edit ...func(*packet.Connect)) *rawClient {
	b.t.Helper()
	c := b.dial(v)
	if ack := c.connect(id, edit...); ack.Code != 0 {
		b.t.Fatalf("CONNACK code %#x", ack.Code)
	}
	return c
}

// pass lets time pass and waits until all that it causes has happened.
func (b *bubbleBroker) pass(d time.Duration) {
	b.t.Helper()
	<-time.After(d)
	synctest.Wait()
}
