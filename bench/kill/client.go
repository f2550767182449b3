package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twofold-iot/twofold/internal/wire"
)

// phase is one life of the server as its clients see it.
type phase struct {
	mqtt, http string
	// killed is set before the signal is sent: from then on a broken connection is
	// what is to be expected, before it is a fault.
	killed atomic.Bool
	// draining: send nothing new, and end when all is acknowledged.
	draining bool
	// accepted counts connections that were accepted; halfway is closed when they are
	// wanted. The time under load begins there, so that a machine that is slow to
	// connect its clients does not kill an idle server.
	accepted atomic.Int64
	wanted   int64
	halfway  chan struct{}
}

func newPhase(mqtt, http string, devices int) *phase {
	return &phase{mqtt: mqtt, http: http, wanted: int64(devices+1) / 2, halfway: make(chan struct{})}
}

func (p *phase) connected() {
	if p.accepted.Add(1) == p.wanted {
		close(p.halfway)
	}
}

// client is one of the programs that use the server; it keeps its state over the
// server's lives.
type client interface {
	// live runs until the connection breaks, the context ends or, in a draining
	// phase, nothing is in flight. An error means that it could not go on.
	live(ctx context.Context, p *phase) error
}

// device is an MQTT 3.1.1 client with a persistent session. It publishes for its
// own things, keeps a window in flight, and after a reconnect sends again, in
// order and with DUP, what was not acknowledged [MQTT-4.4.0-1].
type device struct {
	oracle *oracle
	faults *faults
	plant  plant
	id     string
	things []*thing
	window int
	rng    *rand.Rand

	established bool // a CONNACK was received, so the session must be there
	pending     []pending
	lastID      uint16
}

// pending is a packet in flight.
type pending struct {
	id    uint16
	thing *thing
	n     uint32
}

// lifeMax bounds everything a client does in one phase.
const lifeMax = 60 * time.Second

func (d *device) live(ctx context.Context, p *phase) error {
	nc, r, err := dialSession(ctx, p, d.id, &d.established, d.faults)
	if err != nil {
		return err
	}
	defer closeOn(ctx, nc)()
	if _, err := nc.Write(d.resend()); err != nil {
		return fmt.Errorf("%s: resend: %w", d.id, err)
	}
	var out, buf []byte
	for {
		out = d.fill(out[:0], p)
		if len(d.pending) == 0 {
			_, err := nc.Write([]byte{wire.Disconnect, 0})
			return err
		}
		if _, err := nc.Write(out); err != nil {
			return fmt.Errorf("%s: publish: %w", d.id, err)
		}
		for first := true; first || r.Buffered() > 0; first = false {
			var packet wire.Packet
			packet, buf, err = wire.Read(r, buf)
			if err != nil {
				return fmt.Errorf("%s: read with %d in flight: %w", d.id, len(d.pending), err)
			}
			if err := d.puback(packet); err != nil {
				d.faults.add(protocol, "%s: %v", d.id, err)
				return err
			}
		}
	}
}

// resend encodes again what was in flight when the last connection ended.
func (d *device) resend() (out []byte) {
	for i := range d.pending {
		f := &d.pending[i]
		dup := true
		if d.plant == plantFreshResend {
			f.id, dup = d.nextID(), false
		}
		out = wire.AppendPublish(out, updateTopic(f.thing), f.id, dup, d.oracle.payload(f.thing, f.n))
	}
	return out
}

// fill adds updates until the window is full.
func (d *device) fill(out []byte, p *phase) []byte {
	for !p.draining && len(d.pending) < d.window {
		t := d.things[d.rng.IntN(len(d.things))]
		f := pending{id: d.nextID(), thing: t, n: t.next()}
		d.pending = append(d.pending, f)
		out = wire.AppendPublish(out, updateTopic(t), f.id, false, d.oracle.payload(t, f.n))
		if d.plant == plantEarlyAck {
			_ = t.acknowledge(f.n) // the lie: it has not even left
		}
	}
	return out
}

// nextID returns a packet identifier that is not in flight: the window is far
// smaller than the number of identifiers.
func (d *device) nextID() uint16 {
	d.lastID++
	if d.lastID == 0 {
		d.lastID = 1 // [MQTT-2.3.1-1]
	}
	return d.lastID
}

func (d *device) puback(p wire.Packet) error {
	id, err := p.PacketID()
	if err != nil || p.First != wire.Puback {
		return fmt.Errorf("got packet %#x, want a PUBACK: %w", p.First, errors.Join(err, wire.ErrMalformed))
	}
	if len(d.pending) == 0 || d.pending[0].id != id {
		return fmt.Errorf("got PUBACK %d with %d in flight: not for the oldest", id, len(d.pending))
	}
	f := d.pending[0]
	d.pending = append(d.pending[:0], d.pending[1:]...)
	if d.plant == plantEarlyAck {
		return nil
	}
	return f.thing.acknowledge(f.n)
}

func updateTopic(t *thing) string { return "$aws/things/" + t.name + "/shadow/update" }

// dialSession connects with a persistent session. A session that was acknowledged
// before must be there.
func dialSession(ctx context.Context, p *phase, id string, established *bool, f *faults) (net.Conn, *bufio.Reader, error) {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", p.mqtt)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: connect: %w", id, err)
	}
	stop := closeOn(ctx, nc)
	r := bufio.NewReader(nc)
	ack, err := connectSession(nc, r, id)
	if err != nil {
		stop()
		return nil, nil, fmt.Errorf("%s: connect: %w", id, err)
	}
	present := ack.Body[0]&1 != 0
	if *established && !present {
		f.add(session, "%s: the session was acknowledged and is gone", id)
	}
	*established = true
	p.connected()
	return nc, r, nil
}

func connectSession(nc net.Conn, r *bufio.Reader, id string) (wire.Packet, error) {
	if err := nc.SetDeadline(time.Now().Add(lifeMax)); err != nil {
		return wire.Packet{}, err
	}
	if _, err := nc.Write(wire.AppendConnect(nil, id, false)); err != nil {
		return wire.Packet{}, err
	}
	p, _, err := wire.Read(r, nil)
	if err != nil {
		return p, err
	}
	if p.First != wire.Connack || len(p.Body) != 2 || p.Body[1] != 0 {
		return p, fmt.Errorf("not accepted: %#x %x", p.First, p.Body)
	}
	return p, nil
}

// closeOn closes the connection when the context ends or the function returned is
// called, whichever is first.
func closeOn(ctx context.Context, nc net.Conn) func() {
	var once sync.Once
	closeConn := func() { once.Do(func() { _ = nc.Close() }) } // its peer is dead or told
	stop := context.AfterFunc(ctx, closeConn)
	return func() {
		stop()
		closeConn()
	}
}
