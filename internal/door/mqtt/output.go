package mqtt

import (
	"time"

	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

// The way out of a connection. Whoever has something to send appends it to c.out
// under c.mu and kicks: if no writer runs, one is started, and it writes all that
// has gathered with one system call, until nothing is left, and ends. So a
// committer that acknowledges a burst of publishes never touches a socket, an idle
// connection has no second goroutine, and a socket that takes no bytes holds up
// its own writer only.
//
// While the reader is busy with what it has read it corks the connection: what it
// and others append leaves when it is about to read again.

const (
	outKeepMax = 4 << 10 // a larger buffer is given back when it has been written
	acksKeep   = 64      // the same for the list of publishes in flight
)

type slotState byte

const (
	slotPending slotState = iota
	slotOK
	slotFailed
)

// slot is a QoS 1 publish of a client between its arrival and its PUBACK.
type slot struct {
	c        *conn
	pub      twin.Publish
	state    slotState // this and the rest: guarded by c.mu
	err      error
	follower *slot // the same packet, sent again over a later connection
}

// complete is the done function of the publish.
func (sl *slot) complete(err error) {
	c := sl.c
	c.b.countRefused(err)
	c.mu.Lock()
	if sl.state != slotPending {
		c.mu.Unlock()
		return
	}
	sl.state, sl.err = slotOK, err
	if err != nil {
		sl.state = slotFailed
	}
	c.releaseAcks()
	c.kickLocked()
	follower := sl.follower
	sl.follower = nil
	c.mu.Unlock()
	if follower != nil {
		follower.complete(err)
	}
}

// releaseAcks sends the PUBACKs that are due: in the order of the publishes
// [MQTT-4.6.0-2], so those behind one that is not durable yet wait for it.
func (c *conn) releaseAcks() {
	i := c.ackHead
	for ; i < len(c.acks) && c.acks[i].state != slotPending; i++ {
		sl := c.acks[i]
		c.acks[i] = nil
		if c.closing {
			continue
		}
		reason := packet.Success
		if sl.state == slotFailed {
			if reason = ackReason(sl.err); c.version != packet.V5 {
				// 3.1.1 has no way to say no: no PUBACK, and the connection ends, so
				// that the client sends the message again.
				c.closeLocked(reason)
				continue
			}
		}
		c.out = packet.AppendAck(c.out, packet.PUBACK, c.version, sl.pub.Origin.PacketID, reason)
	}
	if i == c.ackHead {
		return
	}
	c.ackHead = i
	if i == len(c.acks) {
		c.ackHead = 0
		if c.acks = c.acks[:0]; cap(c.acks) > acksKeep {
			c.acks = nil
		}
	} else if i > len(c.acks)/2 && i > acksKeep {
		n := copy(c.acks, c.acks[i:])
		clear(c.acks[n:])
		c.acks, c.ackHead = c.acks[:n], 0
	}
	c.roomLocked()
}

// roomLocked wakes the reader if it waits for room.
func (c *conn) roomLocked() {
	if c.readerWaits {
		c.room.Broadcast()
	}
}

// ackReason maps an error to a reason code that a PUBACK may carry, 3.4.2.1.
func ackReason(err error) packet.Reason {
	switch twin.Kind(err) {
	case twin.KindInvalid:
		return packet.TopicNameInvalid
	case twin.KindDenied, twin.KindUnauthenticated:
		return packet.NotAuthorized
	case twin.KindFull, twin.KindThrottled, twin.KindTooLarge:
		return packet.QuotaExceeded
	case twin.KindEncoding:
		return packet.PayloadFormatInvalid
	case twin.KindConflict, twin.KindNotFound:
		return packet.ImplementationSpecific
	}
	return packet.Unspecified
}

// takePending returns the publishes that are still without an answer, for the
// next connection of the session.
func (c *conn) takePending() []*slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*slot
	for _, sl := range c.acks[c.ackHead:] {
		if sl != nil && sl.state == slotPending {
			list = append(list, sl)
		}
	}
	return list
}

// send appends bytes that answer the client itself; only the reader calls it, so
// the packets read bound it (see waitRoom).
func (c *conn) send(appendTo func(dst []byte) []byte) {
	c.mu.Lock()
	if !c.closing {
		c.out = appendTo(c.out)
		c.kickLocked()
	}
	c.mu.Unlock()
}

// sendPublish appends a PUBLISH unless the client reads too slowly.
func (c *conn) sendPublish(p *packet.Outgoing) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	if len(c.out) >= c.b.opts.OutBytesMax {
		c.starved = true
		return false
	}
	c.out = packet.AppendPublish(c.out, c.version, p)
	c.kickLocked()
	return true
}

func (c *conn) kickLocked() {
	if c.writing || c.corked && !c.closing || len(c.out) == 0 && !c.closing {
		return
	}
	c.writing = true
	go c.writeLoop()
}

// writeLoop writes until nothing is left. It is part of the connection's life: the
// reader does not end before it.
func (c *conn) writeLoop() {
	c.mu.Lock()
	for {
		for len(c.out) > 0 && c.writeErr == nil {
			c.writeOut()
		}
		if !c.starved || c.closing || c.writeErr != nil {
			break
		}
		c.starved = false
		s := c.s
		c.mu.Unlock()
		s.resume(c)
		c.mu.Lock()
		if len(c.out) == 0 {
			break
		}
	}
	if c.writeErr != nil {
		c.closing = true
		c.stopped.Store(true)
	}
	c.netCloseLocked()
	c.writing = false
	c.room.Broadcast()
	c.mu.Unlock()
}

// writeOut writes what has gathered. It holds c.mu but for the write itself.
func (c *conn) writeOut() {
	buf := c.out
	c.out, c.spare = c.spare[:0], nil
	if !c.closing {
		c.writeDeadline(c.b.opts.WriteTimeout)
	}
	c.mu.Unlock()
	_, err := c.nc.Write(buf)
	c.mu.Lock()
	c.writeErr = err
	if cap(buf) <= outKeepMax {
		c.spare = buf[:0]
	}
	c.roomLocked()
}

// writeDeadline gives the next write at least d. It moves the deadline rarely, as
// that costs about as much as a small write.
func (c *conn) writeDeadline(d time.Duration) {
	now := time.Now()
	if c.writeUntil.Sub(now) < d {
		c.writeUntil = now.Add(2 * d)
		_ = c.nc.SetWriteDeadline(c.writeUntil) // a closed socket shows at the write
	}
}

// close ends the connection: a v5 client is told the reason, what is waiting is
// written, and the socket is closed. The reader then ends by its read error.
func (c *conn) close(reason packet.Reason) {
	c.mu.Lock()
	c.closeLocked(reason)
	c.mu.Unlock()
}

func (c *conn) closeLocked(reason packet.Reason) {
	if c.closing {
		return
	}
	c.closing, c.closedFor = true, reason
	c.stopped.Store(true)
	if c.version == packet.V5 && c.accepted && reason != packet.Success {
		c.out = packet.AppendDisconnect(c.out, packet.V5, &packet.Disconnect{Reason: reason})
	}
	// Also for a writer that is stuck now.
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.b.opts.CloseTimeout))
	c.kickLocked()
	c.roomLocked()
}

// finish closes and waits for the writer. Only the reader calls it, at its end.
func (c *conn) finish(reason packet.Reason) {
	c.mu.Lock()
	c.closeLocked(reason)
	for c.writing {
		c.room.Wait()
	}
	c.netCloseLocked()
	c.mu.Unlock()
}

// netCloseLocked closes the socket if the connection is closing. It lets go of c.mu
// meanwhile: to close a WebSocket or TLS connection is to talk to the peer.
func (c *conn) netCloseLocked() {
	if !c.closing || c.netClosed {
		return
	}
	c.netClosed = true
	c.mu.Unlock()
	_ = c.nc.Close() // nothing left that a failure could lose
	c.mu.Lock()
}
