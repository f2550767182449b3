package mqtt

import (
	"log/slog"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

// session is what a client id has: subscriptions, a queue of QoS 1 messages, and
// at most one connection. A persistent one outlives its connection and the
// process: its records are written before the client is told that it, a
// subscription or a message is there.
//
// Locks are taken in the order Broker.mu, session.mu, conn.mu; index.mu and
// janitor.mu are leaves. Writes of a session's own records are queued under
// session.mu, so that they are in the order of what they record; what they call when they
// are durable takes no lock of ours.
type session struct {
	b  *Broker
	id string

	mu        sync.Mutex
	conn      *conn         // nil: not connected
	online    bool          // CONNACK was sent, messages may be
	gone      bool          // has ended; whoever still holds it drops what it has
	expiry    time.Duration // after the end of the connection; 0: the session ends with it
	stored    bool          // records of it may be in the store
	subs      map[string]*subscription
	inflight  []*entry // sent, not acknowledged, in order
	waiting   []*entry // not sent, in order; waiting[:waitHead] are gone
	waitHead  int
	bytes     int               // of the entries of both
	removed   int               // of waiting: entries that are only left out yet
	latest    map[string]*entry // newest waiting delta by topic, since the queue was full; nil: it was not
	lastID    uint16            // packet id used last
	orphans   []*slot
	will      *will     // of the last connection, delayed
	willAt    time.Time // when it is due
	endsAt    time.Time // when the session expires
	wasOnline bool      // loaded, and connected when the process ended
	lookAt    time.Time // guarded by janitor.mu, as is place: see timeHeap
	place     int       // in the heap, from 1; 0: not in it
	dropNoted bool      // a drop was logged since the last connection
}

// will is a last will, ready to be published.
type will struct {
	msg   twin.Message
	delay time.Duration
}

// persistent reports whether the session outlives its connection.
func (s *session) persistent() bool { return s.expiry > 0 }

// attached is the outcome of attach.
type attached struct {
	s       *session
	present bool
	durable <-chan error // before CONNACK
}

// attach gives the connection its session: the one there is, or a new one. Another
// connection of the session is closed [MQTT-3.1.4-3].
func (b *Broker) attach(c *conn, id string, clean bool, expiry time.Duration) (attached, error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return attached{}, refused{packet.ServerShuttingDown}
	}
	var (
		out     attached
		parting ending
	)
	old := b.sessions[id]
	if old == nil && len(b.sessions) >= b.opts.SessionsMax {
		b.mu.Unlock()
		return attached{}, refused{packet.QuotaExceeded}
	}
	if old != nil {
		old.mu.Lock()
		if prev := old.conn; prev != nil {
			parting = old.detachLocked(prev)
			b.count.takeovers.Add(1)
			prev.close(packet.SessionTakenOver)
		}
		if clean || !old.persistent() || old.conn == nil && !time.Now().Before(old.endsAt) {
			parting.add(old.endLocked()) // [MQTT-3.1.2-4]
		} else {
			out.s, out.present = old, true // [MQTT-3.1.2-5]
			old.will = nil                 // [MQTT-3.1.3-9]
			out.durable = old.attachLocked(c, expiry, nil)
		}
		old.mu.Unlock()
	}
	if out.s == nil {
		// Nobody else knows it before b.mu is free, so its own lock is not needed.
		out.s = &session{b: b, id: id, subs: make(map[string]*subscription)}
		out.durable = out.s.attachLocked(c, expiry, parting.writes)
		b.sessions[id] = out.s
	}
	b.mu.Unlock()
	b.publishWills(parting.wills)
	return out, nil
}

// attachLocked takes the connection and records it, after what an earlier session of
// the client leaves to be removed.
func (s *session) attachLocked(c *conn, expiry time.Duration, ws []twin.RecordWrite) <-chan error {
	s.conn, s.online = c, false
	s.expiry = expiry
	s.b.janitor.cancel(s)
	s.endsAt, s.willAt = time.Time{}, time.Time{}
	s.dropNoted, s.wasOnline = false, false
	c.s = s
	if s.stored = s.stored || s.persistent(); s.stored {
		ws = append(ws, s.record(time.Time{}))
	}
	return s.b.writeSoon(s.id, ws)
}

// ending is what has to be done, outside of the locks, when a connection or a
// session has ended.
type ending struct {
	wills  []*will
	writes []twin.RecordWrite
}

func (e *ending) add(o ending) {
	e.wills = append(e.wills, o.wills...)
	e.writes = append(e.writes, o.writes...)
}

// detach takes the connection off its session.
func (b *Broker) detach(c *conn) {
	s := c.s
	b.mu.Lock()
	s.mu.Lock()
	if s.conn != c {
		s.mu.Unlock()
		b.mu.Unlock()
		return // taken over
	}
	parting := s.detachLocked(c)
	if !s.persistent() {
		parting.add(s.endLocked())
		delete(b.sessions, s.id)
	} else {
		parting.writes = append(parting.writes, s.record(b.opts.Now()))
		b.janitor.schedule(s)
	}
	s.note(parting.writes)
	s.mu.Unlock()
	b.mu.Unlock()
	b.publishWills(parting.wills)
}

// note records the end of a connection or a session, for which nobody waits.
func (s *session) note(ws []twin.RecordWrite) {
	if len(ws) == 0 {
		return
	}
	s.b.write(s.id, ws, func(err error) {
		if err != nil {
			// Harmless: the session lives longer, or is there again, after a restart.
			s.b.log.Warn("mqtt session state not recorded", slog.String("client", s.id), slog.Any("error", err))
		}
	})
}

// detachLocked ends the connection's part in the session. What was sent and not
// acknowledged goes back to the head of the queue, with its packet ids
// [MQTT-4.4.0-1].
func (s *session) detachLocked(c *conn) ending {
	s.conn, s.online = nil, false
	s.dropDirectLocked()
	if len(s.inflight) > 0 {
		for _, e := range s.inflight {
			e.dup = true
		}
		s.waiting = append(s.inflight, s.waiting[s.waitHead:]...)
		s.inflight, s.waitHead = nil, 0
	}
	s.orphans = append(s.orphans[:0:0], c.takePending()...)
	s.endsAt = time.Now().Add(s.expiry)
	w := c.will
	c.will = nil
	if w == nil {
		return ending{}
	}
	if w.delay > 0 && s.persistent() {
		s.will, s.willAt = w, time.Now().Add(min(w.delay, s.expiry))
		return ending{}
	}
	return ending{wills: []*will{w}} // [MQTT-3.1.2-8]
}

// endLocked ends the session: nothing of it remains.
func (s *session) endLocked() ending {
	var e ending
	s.gone = true
	s.b.janitor.cancel(s)
	for _, sub := range s.subs {
		s.b.index.remove(sub)
	}
	if s.stored {
		e.writes = append(e.writes, twin.RecordWrite{Kind: twin.RecordSession, Key: s.id})
		for filter := range s.subs {
			e.writes = append(e.writes, twin.RecordWrite{Kind: twin.RecordSession, Key: subscriptionKey(s.id, filter)})
		}
	}
	for _, list := range [][]*entry{s.inflight, s.waiting[s.waitHead:]} {
		for _, q := range list {
			if q.removed {
				continue // its records are being removed
			}
			e.writes = q.appendDeletes(e.writes, s.id)
		}
	}
	s.b.count.queuedBytes.Add(-int64(s.bytes))
	s.bytes, s.subs, s.inflight, s.waiting, s.waitHead, s.orphans = 0, nil, nil, nil, 0, nil
	s.removed, s.latest = 0, nil
	if s.will != nil {
		e.wills = append(e.wills, s.will) // [MQTT-3.1.3-9]: the session ends before the delay
		s.will = nil
	}
	return e
}

// due does what time has brought to a session without connection.
func (b *Broker) due(s *session, now time.Time) {
	b.mu.Lock()
	s.mu.Lock()
	var parting ending
	switch {
	case s.gone || s.conn != nil:
	case !now.Before(s.endsAt):
		parting = s.endLocked()
		delete(b.sessions, s.id)
	default:
		if s.will != nil && !now.Before(s.willAt) {
			parting.wills, s.will = []*will{s.will}, nil
		}
		b.janitor.schedule(s)
	}
	s.note(parting.writes)
	s.mu.Unlock()
	b.mu.Unlock()
	b.publishWills(parting.wills)
}

// publishWills publishes wills. A will on a reserved topic is ignored by the
// service behind it and reaches plain subscribers only.
func (b *Broker) publishWills(ws []*will) {
	for _, w := range ws {
		p := &twin.Publish{Message: w.msg, Origin: twin.Origin{Door: twin.DoorMQTT}, Will: true}
		b.accept(p, nil, func(err error) {
			if err != nil {
				b.count.lost.Add(1)
				b.log.Warn("will not published", slog.Any("error", err))
			}
		})
	}
}

// Connected reports whether a client with this id is connected.
func (b *Broker) Connected(clientID string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[clientID]
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.online
}
