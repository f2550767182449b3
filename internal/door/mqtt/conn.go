package mqtt

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
)

const (
	readBufferBytes = 4 << 10  // a connection's read buffer; longer packets get memory of their own
	bodyStepBytes   = 16 << 10 // such memory grows with what really arrives
)

var errStopped = errors.New("connection was stopped")

// conn is one network connection. One goroutine reads and handles its packets;
// output.go has the way out.
type conn struct {
	b       *Broker
	nc      net.Conn
	stopped atomic.Bool // what is read now is not handled any more

	// Owned by the reader.
	buf       []byte // buf[r:w] is read and not handled
	r, w      int
	used      int // bytes of the packet being handled
	limit     int // longest packet now
	keepAlive time.Duration
	readUntil time.Time
	pub       packet.Publish
	aliases   []string // inbound topic aliases; index 0 is unused
	lastTopic string
	mayRepeat bool // publishes with DUP may be repetitions from before this connection
	visit     Visit

	will *will // guarded by s.mu once there is a session

	// Set by the reader before s.online; read by others after it.
	version       packet.Version
	s             *session
	outFlightMax  int
	packetSizeMax int // the client's Maximum Packet Size, 0: none

	mu          sync.Mutex
	room        sync.Cond // for the reader: more room; and at its end: writer is gone
	out, spare  []byte
	acks        []*slot // acks[ackHead:] in order of arrival
	ackHead     int
	writeUntil  time.Time
	writeErr    error
	writing     bool
	corked      bool
	closing     bool // nothing is appended any more
	closedFor   packet.Reason
	netClosed   bool
	accepted    bool // CONNACK with success was sent
	starved     bool // QoS 1 messages wait for room in out
	readerWaits bool
}

func newConn(b *Broker, nc net.Conn) *conn {
	c := &conn{b: b, nc: nc, limit: b.opts.ConnectBytesMax}
	c.room.L = &c.mu
	return c
}

// serve is the life of a connection.
func (c *conn) serve() {
	err := c.run()
	reason := closeReason(err)
	if c.s != nil {
		c.b.detach(c)
	}
	c.finish(reason)
	c.leave(err)
	if e := (*packet.Error)(nil); errors.As(err, &e) {
		c.b.count.malformed.Add(1)
		c.b.log.Debug("mqtt client broke the protocol", slog.String("client", c.clientID()),
			slog.String("remote", c.remote()), slog.String("error", e.Error()))
	}
}

func (c *conn) clientID() string {
	if c.s == nil {
		return ""
	}
	return c.s.id
}

func (c *conn) remote() string {
	if a := c.nc.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

// closeReason is what a v5 client is told; Success: nothing, since it has gone or
// knows.
func closeReason(err error) packet.Reason {
	var e *packet.Error
	switch {
	case errors.As(err, &e):
		return e.Reason // [MQTT-4.13.1-1]
	case errors.Is(err, os.ErrDeadlineExceeded):
		return packet.KeepAliveTimeout // [MQTT-3.1.2-22]
	}
	return packet.Success
}

func (c *conn) run() error {
	// One deadline for all of it, so that single bytes do not prolong it.
	if err := c.nc.SetReadDeadline(time.Now().Add(c.b.opts.ConnectTimeout)); err != nil {
		return err
	}
	h, body, err := c.next()
	if err != nil {
		return err
	}
	if h.Type != packet.CONNECT {
		return &packet.Error{Reason: packet.ProtocolError, Rule: "MQTT-3.1.0-1", Text: "first packet is not CONNECT"}
	}
	if err := c.connect(body); err != nil {
		return err
	}
	c.limit = c.b.opts.PacketBytesMax
	c.arrive()
	for {
		h, body, err := c.next()
		if err != nil {
			return err
		}
		if err := c.handle(h, body); err != nil {
			return err
		}
	}
}

var errGoodbye = errors.New("client disconnected")

func (c *conn) handle(h packet.Header, body []byte) error {
	switch h.Type {
	case packet.PUBLISH:
		return c.publish(h, body)
	case packet.PUBACK:
		var a packet.Ack
		if err := packet.DecodeAck(&a, body, h.Type, c.version); err != nil {
			return err
		}
		c.s.acked(c, a.PacketID)
		return nil
	case packet.SUBSCRIBE:
		return c.subscribe(body)
	case packet.UNSUBSCRIBE:
		return c.unsubscribe(body)
	case packet.PINGREQ:
		if len(body) != 0 {
			return &packet.Error{Reason: packet.MalformedPacket, Rule: "3.12", Text: "PINGREQ has a body"}
		}
		c.send(func(dst []byte) []byte { return packet.AppendPing(dst, packet.PINGRESP) }) // [MQTT-3.12.4-1]
		return nil
	case packet.DISCONNECT:
		return c.disconnect(body)
	case packet.CONNECT:
		return &packet.Error{Reason: packet.ProtocolError, Rule: "MQTT-3.1.0-2", Text: "second CONNECT"}
	case packet.AUTH:
		return &packet.Error{Reason: packet.ProtocolError, Rule: "4.12", Text: "AUTH without an authentication method"}
	}
	// PUBREC, PUBREL and PUBCOMP belong to QoS 2, which no client is granted.
	return &packet.Error{Reason: packet.ProtocolError, Rule: "2.1.2", Text: "packet type is not one a client may send here"}
}

// next returns the next packet. The body is valid until the next call; a body
// longer than the read buffer has memory of its own.
func (c *conn) next() (h packet.Header, body []byte, err error) {
	c.r += c.used
	c.used = 0
	for {
		if c.stopped.Load() {
			return h, nil, errStopped
		}
		h, err = packet.ParseHeader(c.buf[c.r:c.w])
		if err != nil {
			return h, nil, err
		}
		if h.Size == 0 {
			if err := c.fill(c.w - c.r + 1); err != nil {
				return h, nil, err
			}
			continue
		}
		break
	}
	n := h.Size + h.Length
	if n > c.limit {
		// Nothing was allocated for it yet.
		return h, nil, &packet.Error{Reason: packet.PacketTooLarge, Rule: "MQTT-3.2.2-15", Text: "packet is longer than the limit"}
	}
	if n > readBufferBytes {
		body, err = c.longBody(h)
		return h, body, err
	}
	if err := c.fill(n); err != nil {
		return h, nil, err
	}
	c.used = n
	return h, c.buf[c.r+h.Size : c.r+n], nil
}

// fill reads until n bytes are there, which fit the buffer.
func (c *conn) fill(n int) error {
	if c.buf == nil {
		c.buf = make([]byte, readBufferBytes)
	}
	if c.r+n > len(c.buf) || c.r == c.w {
		copy(c.buf, c.buf[c.r:c.w])
		c.w -= c.r
		c.r = 0
	}
	for c.w-c.r < n {
		got, err := c.read(c.buf[c.w:])
		c.w += got
		if err != nil && c.w-c.r < n {
			return err
		}
	}
	return nil
}

// longBody reads a body that does not fit the buffer. Memory is taken in steps, so
// that a client pays for what it claims by sending it.
func (c *conn) longBody(h packet.Header) ([]byte, error) {
	c.r += h.Size
	body := append(make([]byte, 0, min(h.Length, bodyStepBytes)), c.buf[c.r:min(c.w, c.r+h.Length)]...)
	c.r += len(body)
	for len(body) < h.Length {
		if len(body) == cap(body) {
			grown := make([]byte, len(body), min(h.Length, 2*cap(body)))
			copy(grown, body)
			body = grown
		}
		got, err := c.read(body[len(body):cap(body)])
		body = body[:len(body)+got]
		if err != nil && len(body) < h.Length {
			return nil, err
		}
	}
	return body, nil
}

// read reads once. Before it may block, what has gathered is sent.
func (c *conn) read(b []byte) (int, error) {
	c.uncork()
	if c.keepAlive > 0 {
		c.readDeadline()
	}
	n, err := c.nc.Read(b)
	c.mu.Lock()
	c.corked = true
	c.mu.Unlock()
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	return n, err
}

// readDeadline closes a connection that was silent for one and a half times the
// keep alive [MQTT-3.1.2-22]. To move the deadline for each packet is dear, so it
// is set an eighth later and moved only when that has passed.
func (c *conn) readDeadline() {
	now := time.Now()
	silent := c.keepAlive + c.keepAlive/2
	if c.readUntil.Sub(now) < silent {
		c.readUntil = now.Add(silent + c.keepAlive/8)
		_ = c.nc.SetReadDeadline(c.readUntil) // a closed socket shows at the read
	}
}

// uncork lets out what has gathered, and waits while the client takes too little of
// it: a client that asks and does not read the answers is not read either.
func (c *conn) uncork() {
	c.mu.Lock()
	c.corked = false
	c.kickLocked()
	for len(c.out) >= c.b.opts.OutBytesMax && !c.closing {
		c.waitLocked()
	}
	c.mu.Unlock()
}

func (c *conn) waitLocked() {
	c.readerWaits = true
	c.room.Wait()
	c.readerWaits = false
}
