package sim

import (
	"bufio"
	"net"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/internal/wire"
	"github.com/twofold-iot/twofold/twin"
)

// link is the MQTT session of a device: QoS 1 with a window, a store for what cannot be sent,
// and what goes wrong on the way. Its worker alone uses it.
type link struct {
	dev    *Device
	worker *worker

	conn    net.Conn
	since   uint32 // the connection, counted; what an older one says is not heard
	phase   phase
	ever    bool      // it was connected before
	retryAt twin.Time // it connects again; never: not by itself
	backoff time.Duration
	written twin.Time
	lastID  uint16

	waiting []stored // not sent
	flying  []stored // sent and not acknowledged, in the order in which they were
	held    []held   // on the way, and late
	faults  []*active
	out     []byte // to be written at the end of what is done now
	place   int    // in the heap of the worker
	due     twin.Time
}

type phase uint8

const (
	down phase = iota
	dialing
	connecting // CONNECT is sent
	subscribing
	up
)

// stored is a message that is kept until it is acknowledged.
type stored struct {
	packet []byte
	id     uint16
	about  Message // without its payload
	at     twin.Time
}

// held is a packet that comes late.
type held struct {
	due    twin.Time // never: with the next message
	packet []byte
}

// Limits of a session.
const (
	window     = 16
	keepAlive  = 60 * time.Second // of the machine, as all that goes by the network
	pingAfter  = 40 * time.Second
	ackReal    = 5 * time.Second // at least this long on the machine,
	ackVirtual = 30 * time.Second
	backoffMin = time.Second
	backoffMax = time.Minute
	writeMax   = 5 * time.Second
	overtaken  = 5 * 1000 // ms: a message that is held back comes then at last
)

// next is when the link has to do something.
func (l *link) next() twin.Time {
	next := never
	if l.phase == down && !l.dev.Down() {
		next = l.retryAt
	}
	if l.phase == up {
		next = l.written + l.worker.virtual(pingAfter)
	}
	if l.conn != nil && len(l.flying) > 0 {
		next = min(next, l.flying[0].at+l.worker.ackTime)
	}
	for i := range l.held {
		next = min(next, l.held[i].due)
	}
	for _, f := range l.faults {
		next = min(next, f.until, f.next)
	}
	return next
}

// act does what is due.
func (l *link) act(now twin.Time) {
	l.endFaults(now)
	if l.dev.Down() || l.offline(now) {
		l.close(now)
		l.retryAt = max(l.retryAt, now+ms(backoffMin))
		return
	}
	switch {
	case l.phase == down && now >= l.retryAt:
		l.phase = dialing
		l.since++
		l.worker.dial(l, l.since)
	case l.conn != nil && len(l.flying) > 0 && now >= l.flying[0].at+l.worker.ackTime:
		l.worker.stats.timeouts.Add(1)
		l.close(now) // the way back is the only way to send again
		return
	case l.phase == up && now >= l.written+l.worker.virtual(pingAfter):
		l.out = wire.AppendPingreq(l.out)
	}
	l.release(now)
	l.flush(now)
}

// take stores what the device has said, and sends what may be sent.
func (l *link) take(now twin.Time, said []Message) {
	for i := range said {
		m := &said[i]
		if m.QoS0 {
			l.throw(now, m)
			continue
		}
		if len(l.waiting) >= l.dev.kind.opts.Store {
			l.worker.stats.dropped.Add(1)
			l.dev.record.lose(&l.waiting[0].about)
			l.waiting[0] = stored{}
			l.waiting = l.waiting[1:]
		}
		l.lastID = l.freeID()
		packet := wire.AppendPublish(nil, m.Topic, l.lastID, false, m.Payload)
		l.waiting = append(l.waiting, stored{packet: packet, id: l.lastID, about: Message{Kind: m.Kind, Number: m.Number}})
	}
	l.flush(now)
}

// throw sends a message of QoS 0, or loses it.
func (l *link) throw(now twin.Time, m *Message) {
	if l.phase != up || l.hit("drop") {
		l.worker.stats.dropped.Add(1)
		l.dev.record.lose(m)
		return
	}
	l.worker.stats.sent.Add(1)
	l.send(now, wire.AppendPublish0(nil, m.Topic, m.Payload))
}

// freeID is an identifier that no message has which is still kept.
func (l *link) freeID() uint16 {
	id := l.lastID
	for {
		if id++; id == 0 {
			id = 1
		}
		taken := func(s stored) bool { return s.id == id }
		if !slices.ContainsFunc(l.flying, taken) { // those that wait are fewer than there are numbers, and newer
			return id
		}
	}
}

// flush sends what the window has room for, and writes.
func (l *link) flush(now twin.Time) {
	for l.phase == up && len(l.waiting) > 0 && len(l.flying) < window {
		s := l.waiting[0]
		l.waiting[0] = stored{}
		l.waiting = l.waiting[1:]
		s.at = now
		l.flying = append(l.flying, s)
		l.worker.stats.sent.Add(1)
		if l.hit("drop") {
			continue
		}
		l.send(now, s.packet)
		if l.hit("duplicate") {
			again := slices.Clone(s.packet)
			again[0] |= wire.FlagDup
			l.send(now, again)
		}
	}
	if len(l.waiting) == 0 {
		l.waiting = nil // the store of an outage is given back
	}
	l.write(now)
}

// send puts a packet on the way, which may be slow.
func (l *link) send(now twin.Time, packet []byte) {
	if d, late := l.late(now); late {
		l.held = append(l.held, held{d, packet})
		return
	}
	if l.hit("reorder") {
		l.held = append(l.held, held{now + overtaken, packet})
		return
	}
	l.out = append(l.out, packet...)
}

func (l *link) late(now twin.Time) (twin.Time, bool) {
	for _, f := range l.faults {
		if f.Verb == "delay" && (f.P == 0 || l.dev.rand.Float64() < f.P) {
			return now + max(twin.Time(2*l.dev.rand.Float64()*float64(ms(f.Time))), 1), true
		}
	}
	return 0, false
}

// release lets packets arrive that were held back.
func (l *link) release(now twin.Time) {
	if l.phase != up {
		return
	}
	l.held = slices.DeleteFunc(l.held, func(h held) bool {
		if now < h.due {
			return false
		}
		l.out = append(l.out, h.packet...)
		return true
	})
}

func (l *link) write(now twin.Time) {
	if len(l.out) == 0 {
		return
	}
	if l.conn == nil {
		l.out = nil
		return
	}
	_ = l.conn.SetWriteDeadline(time.Now().Add(writeMax))
	_, err := l.conn.Write(l.out)
	l.out, l.written = l.out[:0], now
	if cap(l.out) > 4<<10 {
		l.out = nil
	}
	if err != nil {
		l.close(now)
	}
}

// close ends the connection as a network does: without a word.
func (l *link) close(now twin.Time) {
	if l.phase == down {
		return
	}
	if l.phase == up {
		l.worker.stats.connected.Add(-1)
	}
	if l.conn != nil {
		_ = l.conn.Close()
	}
	l.conn, l.phase, l.held, l.out = nil, down, nil, nil
	l.since++
	l.backoff = min(max(2*l.backoff, backoffMin), backoffMax)
	jitter := 0.5 + l.dev.rand.Float64()
	l.retryAt = now + max(twin.Time(jitter*float64(ms(l.backoff))), 1)
}

// dialed has a connection, or none.
func (l *link) dialed(now twin.Time, since uint32, conn net.Conn, err error) {
	if since != l.since || l.phase != dialing {
		if conn != nil {
			_ = conn.Close()
		}
		return
	}
	if err != nil {
		l.worker.failed(l, err)
		l.close(now)
		return
	}
	l.conn, l.phase = conn, connecting
	go l.worker.read(l, l.since, conn)
	o := &l.worker.fleet.opts
	s := wire.Session{ClientID: l.dev.Name, KeepAlive: uint16(keepAlive / time.Second)}
	if o.User != nil {
		s.User, s.Password = o.User(l.dev.Name)
	}
	l.out = wire.AppendSession(l.out[:0], s)
	l.write(now)
}

// packet takes one packet of the server.
func (l *link) packet(now twin.Time, p wire.Packet) {
	switch p.First & 0xf0 {
	case wire.Connack:
		if len(p.Body) < 2 || p.Body[1] != 0 {
			l.worker.failed(l, errRefused(p.Body))
			l.close(now)
			return
		}
		l.phase = subscribing
		l.out = wire.AppendSubscribe(l.out, 1, l.dev.Filters()...)
	case wire.Suback & 0xf0:
		l.isUp(now)
	case wire.Puback:
		id, err := p.PacketID()
		if err != nil {
			return
		}
		if i := slices.IndexFunc(l.flying, func(s stored) bool { return s.id == id }); i >= 0 {
			l.flying = slices.Delete(l.flying, i, i+1)
			l.worker.stats.acked.Add(1)
		}
	case wire.Publish:
		topic, id, payload, err := p.Message()
		if err != nil {
			return
		}
		if id != 0 {
			l.out = wire.AppendPuback(l.out, id)
		}
		l.worker.stats.received.Add(1)
		l.dev.Receive(now, topic, payload)
		l.take(now, l.dev.Say())
	}
	l.flush(now)
}

// isUp sends again what was not acknowledged, and then what waits.
func (l *link) isUp(now twin.Time) {
	l.phase, l.backoff = up, 0
	l.worker.stats.connected.Add(1)
	if l.ever {
		l.worker.stats.reconnects.Add(1)
	}
	for i := range l.flying {
		l.flying[i].packet[0] |= wire.FlagDup
		l.flying[i].at = now
		l.out = append(l.out, l.flying[i].packet...)
	}
	l.dev.buf = l.dev.buf[:0]
	l.dev.Connected(!l.ever)
	l.ever = true
	l.take(now, l.dev.Say())
}

// inject lets something go wrong on the way.
func (l *link) inject(now twin.Time, f Fault) {
	a := &active{Fault: f, begun: now, until: never, next: never}
	if f.For > 0 {
		a.until = now + ms(f.For)
	}
	if f.Verb == "flapping" {
		a.next = now
	}
	l.faults = append(l.faults, a)
	l.retryAt = max(l.retryAt, now)
}

func (l *link) endFaults(now twin.Time) {
	n := len(l.faults)
	l.faults = slices.DeleteFunc(l.faults, func(a *active) bool { return now >= a.until })
	if len(l.faults) < n && l.phase == down {
		l.backoff, l.retryAt = 0, now
	}
}

// offline reports whether there is no network now.
func (l *link) offline(now twin.Time) bool {
	is := false
	for _, f := range l.faults {
		switch f.Verb {
		case "offline":
			is = true
		case "flapping":
			at := (now - f.begun) % ms(f.Every)
			if at < ms(f.Time) {
				is = true
				f.next = now - at + ms(f.Time)
			} else {
				f.next = now - at + ms(f.Every)
			}
		}
	}
	return is
}

func (l *link) hit(verb string) bool {
	for _, a := range l.faults {
		if a.Verb == verb && (a.P == 0 || l.dev.rand.Float64() < a.P) {
			return true
		}
	}
	return false
}

// heal ends faults; an empty verb stands for all.
func (l *link) heal(now twin.Time, verb string) {
	for _, f := range slices.Concat(l.faults, l.dev.faults) {
		if verb == "" || f.Verb == verb {
			f.until = now
		}
	}
}

// busy reports whether something is still on the way.
func (l *link) busy() bool {
	d := l.dev
	return len(l.waiting)+len(l.flying)+len(d.tasks) > 0 || d.pending.due != never || l.phase != up || d.down != 0
}

// read hands what a connection says to the worker, until its end.
func (w *worker) read(l *link, since uint32, conn net.Conn) {
	const small = 512 // there are thousands of these
	r := bufio.NewReaderSize(conn, small)
	for {
		p, _, err := wire.Read(r, nil)
		if err != nil {
			w.tell(mail{link: l, since: since, what: ended, err: err})
			return
		}
		w.tell(mail{link: l, since: since, what: packet, packet: p})
	}
}
