package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twofold-iot/twofold/internal/wire"
)

// conn is one connection and the things it speaks for: first, first+step, … below
// the generator's count of things. No other connection publishes for them.
type conn struct {
	net       net.Conn
	gen       *Generator
	number    int
	next      int // thing of the next update
	histogram Histogram

	// In flight, oldest first, as a ring: PUBACKs must come in this order.
	ring         []flight
	oldest, size int
	lastID       uint16

	in    []byte // received, not yet decoded
	out   []byte // to be written
	acked uint64 // within the measured time
}

type flight struct {
	id    uint16
	thing int32
	sent  time.Duration // since the generator's epoch
}

func (c *conn) connect(addr, clientID string, deadline time.Time) error {
	d := net.Dialer{Deadline: deadline}
	nc, err := d.Dial("tcp", addr)
	if err != nil {
		return fmt.Errorf("connect %s: %w", clientID, err)
	}
	c.net = nc
	if err := nc.SetDeadline(deadline); err != nil {
		return fmt.Errorf("connect %s: %w", clientID, err)
	}
	if _, err := nc.Write(wire.AppendConnect(nil, clientID, true)); err != nil {
		return fmt.Errorf("connect %s: %w", clientID, err)
	}
	var ack [4]byte
	if _, err := io.ReadFull(nc, ack[:]); err != nil {
		return fmt.Errorf("read CONNACK of %s: %w", clientID, err)
	}
	if ack[0] != wire.Connack || ack[3] != 0 {
		return fmt.Errorf("%s was not accepted: %x", clientID, ack)
	}
	return nil
}

// run keeps the connection's window full until its share of the work is done or
// the time is up, then waits for what is in flight.
func (c *conn) run(w work) error {
	if err := c.net.SetDeadline(w.epoch.Add(w.giveUp)); err != nil {
		return fmt.Errorf("connection %d: %w", c.number, err)
	}
	c.oldest, c.size = 0, 0
	left := w.updatesOf(c)
	now := time.Since(w.epoch)
	for {
		for c.size < len(c.ring) && left > 0 && now < w.length {
			c.publish(now)
			left--
		}
		if err := c.flush(); err != nil {
			return err
		}
		if c.size == 0 {
			if w.once && left > 0 {
				return fmt.Errorf("connection %d: time is up with %d updates left", c.number, left)
			}
			return nil
		}
		n, err := c.net.Read(c.in[len(c.in):cap(c.in)])
		if err != nil {
			return fmt.Errorf("connection %d with %d in flight: %w", c.number, c.size, err)
		}
		now = time.Since(w.epoch)
		if err := c.acknowledged(c.in[:len(c.in)+n], now, w.length); err != nil {
			return fmt.Errorf("connection %d: %w", c.number, err)
		}
	}
}

// publish adds an update of the next thing to the write buffer.
func (c *conn) publish(now time.Duration) {
	g := c.gen
	thing := c.next
	c.next += g.opts.Connections
	if c.next >= g.opts.Things {
		c.next = c.number
	}
	c.lastID++
	if c.lastID == 0 {
		c.lastID = 1 // [MQTT-2.3.1-1]
	}
	g.sent[thing]++
	c.out = g.template.append(c.out, c.lastID, thing, int(g.sent[thing]))
	at := c.oldest + c.size
	if at >= len(c.ring) {
		at -= len(c.ring)
	}
	c.ring[at] = flight{id: c.lastID, thing: int32(thing), sent: now}
	c.size++
}

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.net.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		return fmt.Errorf("connection %d: write: %w", c.number, err)
	}
	return nil
}

var errAckOrder = errors.New("PUBACK out of order")

// acknowledged takes the PUBACKs in p, which is what c.in holds, and keeps the
// rest. Only those that came before the end count for the rate.
func (c *conn) acknowledged(p []byte, now, end time.Duration) error {
	whole := p
	for len(p) >= pubackLen {
		id, err := puback(p)
		if err != nil {
			return err
		}
		p = p[pubackLen:]
		if c.size == 0 {
			return fmt.Errorf("%w: got %d, nothing is in flight", errAckOrder, id)
		}
		f := c.ring[c.oldest]
		if f.id != id {
			return fmt.Errorf("%w: got %d, want %d", errAckOrder, id, f.id)
		}
		c.oldest++
		if c.oldest == len(c.ring) {
			c.oldest = 0
		}
		c.size--
		c.gen.acked[f.thing]++
		if now <= end {
			c.acked++
			c.histogram.Add(now - f.sent)
		}
	}
	c.in = whole[:copy(whole, p)]
	return nil
}

func (c *conn) close() error {
	if c.net == nil {
		return nil
	}
	_, _ = c.net.Write([]byte{wire.Disconnect, 0}) // DISCONNECT; the close says it too
	return c.net.Close()
}
