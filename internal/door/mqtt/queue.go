package mqtt

import (
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

// entryBytes is what an entry counts beside its topic, payload and properties.
const entryBytes = 128

// message is a message on its way to sessions, shared by all of them.
type message struct {
	twin.Message
	expiresAt twin.Time // 0: never
}

func (m *message) size() int {
	n := entryBytes + len(m.Topic) + len(m.Payload)
	if p := m.Properties; p != nil {
		n += len(p.ContentType) + len(p.ResponseTopic) + len(p.CorrelationData)
		for _, u := range p.User {
			n += len(u.Key) + len(u.Value)
		}
	}
	return n
}

// isDelta reports whether the message is the delta of a shadow, which the next
// delta of the same topic replaces.
func (m *message) isDelta() bool {
	return strings.HasPrefix(m.Topic, "$aws/things/") && strings.HasSuffix(m.Topic, "/update/delta")
}

// body is the record of a message that several sessions have queued.
type body struct {
	num  uint64
	refs atomic.Int32
}

// entry is a QoS 1 message in the queue of one session.
type entry struct {
	msg    *message
	num    uint64 // number of its record; 0: it has none
	body   *body  // set when the record only refers to the message
	retain bool
	subIDs []uint32
	id     uint16 // packet id; 0 until it is sent
	dup    bool
	// removed: a newer delta took its place, see admitLocked.
	removed bool
	direct  *Direct // of which it is a copy; nil: of none
}

// appendDeletes appends what removes the entry's records.
func (e *entry) appendDeletes(ws []twin.RecordWrite, client string) []twin.RecordWrite {
	if e.num == 0 {
		return ws
	}
	ws = append(ws, twin.RecordWrite{Kind: twin.RecordQueued, Key: queueKey(client, e.num)})
	if e.body != nil && e.body.refs.Add(-1) == 0 {
		ws = append(ws, twin.RecordWrite{Kind: twin.RecordMessage, Key: numberKey(e.body.num)})
	}
	return ws
}

// The policy of a full queue: first every delta that a newer delta of the same
// shadow in the queue makes superfluous goes, and from then on, until the queue is
// empty, a new delta takes the place of the one before. A delta is kept even above
// QueueLenMax while the bytes allow it, since there is one per shadow; any other
// message is dropped, counted, and logged once per absence of the client.
//
// An entry that goes is only marked, and left out when its turn comes, so that an
// absent client with thousands of shadows costs the committers no search.

// admitLocked makes room for a message and reports whether there is any. removed are
// entries that went; their records are to be deleted.
func (s *session) admitLocked(m *message) (removed []*entry, ok bool) {
	if !s.overLocked(m) {
		return nil, true
	}
	if s.latest == nil {
		removed = s.coalesceLocked()
	}
	if m.isDelta() {
		if old := s.latest[m.Topic]; old != nil && old.id == 0 {
			s.removeLocked(old)
			removed = append(removed, old)
		}
	}
	if !s.overLocked(m) || m.isDelta() && !s.tooManyBytes(m) {
		return removed, true
	}
	s.b.count.droppedFull.Add(1)
	if !s.dropNoted {
		s.dropNoted = true
		s.b.log.Warn("mqtt queue of a session is full, messages are dropped",
			slog.String("client", s.id), slog.Int("messages", s.queuedLocked()), slog.Int("bytes", s.bytes))
	}
	return removed, false
}

// queuedLocked is the number of messages that are not acknowledged.
func (s *session) queuedLocked() int {
	return len(s.inflight) + len(s.waiting) - s.waitHead - s.removed
}

func (s *session) overLocked(m *message) bool {
	return s.queuedLocked() >= s.b.opts.QueueLenMax || s.tooManyBytes(m)
}

func (s *session) tooManyBytes(m *message) bool {
	o := &s.b.opts
	return s.bytes+m.size() > o.QueueBytesMax ||
		s.b.count.queuedBytes.Load()+int64(m.size()) > o.QueueTotalBytesMax
}

// coalesceLocked removes each waiting delta that a newer one replaces, and notes the
// newest of each shadow. Deltas that may have reached the client stay, as their
// packet ids are in use.
func (s *session) coalesceLocked() (removed []*entry) {
	s.latest = make(map[string]*entry)
	for _, e := range slices.Backward(s.waiting[s.waitHead:]) {
		switch {
		case e.removed || e.id != 0 || !e.msg.isDelta():
		case s.latest[e.msg.Topic] == nil:
			s.latest[e.msg.Topic] = e
		default:
			s.removeLocked(e)
			removed = append(removed, e)
		}
	}
	return removed
}

func (s *session) removeLocked(e *entry) {
	e.removed = true
	s.removed++
	s.subBytes(e)
	s.b.count.coalesced.Add(1)
}

// appendLocked adds an entry to those that wait.
func (s *session) appendLocked(e *entry) {
	if gone := s.waitHead + s.removed; gone > acksKeep && gone > len(s.waiting)/2 {
		kept := s.waiting[:0]
		for _, w := range s.waiting[s.waitHead:] {
			if !w.removed {
				kept = append(kept, w)
			}
		}
		clear(s.waiting[len(kept):])
		s.waiting, s.waitHead, s.removed = kept, 0, 0
	}
	s.addBytes(e)
	s.waiting = append(s.waiting, e)
	if s.latest != nil && e.msg.isDelta() {
		s.latest[e.msg.Topic] = e
	}
}

// takeLocked removes the first entry of those that wait.
func (s *session) takeLocked() {
	e := s.waiting[s.waitHead]
	s.waiting[s.waitHead] = nil
	s.waitHead++
	if e.removed {
		s.removed--
	} else if s.latest[e.msg.Topic] == e {
		delete(s.latest, e.msg.Topic)
	}
	if s.waitHead < len(s.waiting) {
		return
	}
	s.waiting, s.waitHead, s.latest = s.waiting[:0], 0, nil
	if cap(s.waiting) > acksKeep {
		s.waiting = nil
	}
}

func (s *session) addBytes(e *entry) {
	s.bytes += e.msg.size()
	s.b.count.queuedBytes.Add(int64(e.msg.size()))
}

func (s *session) subBytes(e *entry) {
	s.bytes -= e.msg.size()
	s.b.count.queuedBytes.Add(-int64(e.msg.size()))
}

// enqueue takes a QoS 1 message that is durable, if it has to be.
func (s *session) enqueue(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || !s.online && !s.persistent() {
		s.b.janitor.forget(s.id, e)
		return
	}
	removed, ok := s.admitLocked(e.msg)
	for _, r := range removed {
		s.b.janitor.forget(s.id, r)
	}
	if !ok {
		s.b.janitor.forget(s.id, e)
		return
	}
	s.appendLocked(e)
	s.pumpLocked()
}

// hopeless reports, before anything is recorded, that a message will find no room.
func (s *session) hopeless(m *message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return true
	}
	if s.latest == nil || m.isDelta() {
		return false // what can be coalesced is seen when it is delivered
	}
	_, ok := s.admitLocked(m)
	return !ok
}

// pumpLocked sends what the client's window and its socket take.
func (s *session) pumpLocked() {
	for s.online && s.waitHead < len(s.waiting) && len(s.inflight) < s.conn.outFlightMax { // [MQTT-3.3.4-9]
		e := s.waiting[s.waitHead]
		if e.removed {
			s.takeLocked()
			continue
		}
		p, ok := s.outgoing(e)
		if ok {
			if e.id == 0 {
				e.id = s.nextIDLocked()
			}
			p.PacketID = e.id
			if !s.conn.sendPublish(&p) {
				return // the connection calls resume when there is room
			}
			s.b.count.delivered.Add(1)
			s.inflight = append(s.inflight, e)
		} else {
			s.subBytes(e)
			s.b.janitor.forget(s.id, e)
		}
		s.takeLocked()
	}
}

// outgoing builds the packet; false when it must not be sent.
func (s *session) outgoing(e *entry) (packet.Outgoing, bool) {
	p := packet.Outgoing{Dup: e.dup, Retain: e.retain, QoS: 1, Topic: e.msg.Topic, Payload: e.msg.Payload}
	if e.withdrawn() {
		return p, false
	}
	left, ok := s.b.expirySeconds(e.msg)
	if !ok {
		s.b.count.expired.Add(1) // [MQTT-3.3.2-5]
		return p, false
	}
	c := s.conn
	if c.version == packet.V5 {
		p.Properties = wireProperties(e.msg.Properties, left, e.subIDs)
	}
	if c.packetSizeMax > 0 && p.Size(c.version) > c.packetSizeMax {
		s.b.count.tooLarge.Add(1) // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
		return p, false
	}
	return p, true
}

// nextIDLocked returns a packet id that no message in flight has [MQTT-2.2.1-3].
// Ids of the client's own publishes are another matter: the two spaces are apart.
func (s *session) nextIDLocked() uint16 {
	used := func(id uint16) bool {
		for _, e := range s.inflight {
			if e.id == id {
				return true
			}
		}
		for _, e := range s.waiting[s.waitHead:] {
			if e.id == 0 {
				return false // only the first ones were sent before
			}
			if e.id == id {
				return true
			}
		}
		return false
	}
	for {
		if s.lastID++; s.lastID != 0 && !used(s.lastID) {
			return s.lastID
		}
	}
}

// acked handles a PUBACK.
func (s *session) acked(c *conn, id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return
	}
	for i, e := range s.inflight {
		if e.id != id {
			continue
		}
		if i == 0 {
			s.inflight[0] = nil
			s.inflight = s.inflight[1:]
		} else {
			s.inflight = slices.Delete(s.inflight, i, i+1)
		}
		if len(s.inflight) == 0 && cap(s.inflight) > acksKeep {
			s.inflight = nil
		}
		s.subBytes(e)
		s.b.janitor.forget(s.id, e)
		e.taken(s.id)
		s.b.took(s.id, e.msg)
		s.pumpLocked()
		return
	}
	// A PUBACK for a message that is not in flight: a late answer to an earlier
	// connection. Nothing to do.
}

// took tells that a client has a message.
func (b *Broker) took(client string, m *message) {
	if b.opts.Taken != nil {
		b.opts.Taken(client, m.Topic, m.Payload)
	}
}

// resume goes on after the socket of c has taken what waited for it.
func (s *session) resume(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == c {
		s.pumpLocked()
	}
}

// sendQoS0 sends at QoS 0, or drops and counts, and reports which.
func (s *session) sendQoS0(m *message, retain bool, subIDs []uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.online {
		return false // QoS 0 is not kept for absent clients, 3.1.2.4
	}
	left, ok := s.b.expirySeconds(m)
	if !ok {
		s.b.count.expired.Add(1)
		return false
	}
	c := s.conn
	p := packet.Outgoing{Retain: retain, Topic: m.Topic, Payload: m.Payload}
	if c.version == packet.V5 {
		p.Properties = wireProperties(m.Properties, left, subIDs)
	}
	if c.packetSizeMax > 0 && p.Size(c.version) > c.packetSizeMax {
		s.b.count.tooLarge.Add(1)
		return false
	}
	if !c.sendPublish(&p) {
		s.b.count.droppedQoS0.Add(1)
		return false
	}
	s.b.count.delivered.Add(1)
	return true
}

// expirySeconds returns the expiry interval that is left [MQTT-3.3.2-6], 0: none;
// false when it has passed.
func (b *Broker) expirySeconds(m *message) (uint32, bool) {
	if m.expiresAt == 0 {
		return 0, true
	}
	left := m.expiresAt - twin.TimeOf(b.opts.Now())
	if left <= 0 {
		return 0, false
	}
	return uint32((left + 999) / 1000), true
}

// wireProperties returns the properties to send, nil if none.
func wireProperties(mp *twin.MessageProperties, expiry uint32, subIDs []uint32) *packet.Properties {
	if mp == nil && len(subIDs) == 0 {
		return nil
	}
	var p packet.Properties
	for _, id := range subIDs {
		p.AddSubID(id) // [MQTT-3.3.4-3], [MQTT-3.3.4-4]
	}
	if mp == nil {
		return &p
	}
	if mp.PayloadFormat != 0 {
		p.SetUint(packet.PayloadFormat, uint32(mp.PayloadFormat)) // [MQTT-3.3.2-4]
	}
	if expiry != 0 {
		p.SetUint(packet.MessageExpiry, expiry)
	}
	if mp.ContentType != "" {
		p.SetBytes(packet.ContentType, []byte(mp.ContentType)) // [MQTT-3.3.2-20]
	}
	if mp.ResponseTopic != "" {
		p.SetBytes(packet.ResponseTopic, []byte(mp.ResponseTopic)) // [MQTT-3.3.2-15]
	}
	if mp.CorrelationData != nil {
		p.SetBytes(packet.CorrelationData, mp.CorrelationData) // [MQTT-3.3.2-16]
	}
	for _, u := range mp.User {
		p.AddUser([]byte(u.Key), []byte(u.Value)) // [MQTT-3.3.2-17], [MQTT-3.3.2-18]
	}
	return &p
}
