package mqtt

import (
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// Direct is a message to those who are there: it goes to connections and into no
// queue for the absent. Whoever sends it keeps it, and sends it again when its
// receiver comes back; so it is withdrawn in time and never comes twice by two ways.
//
// A receiver that has not acknowledged it when its connection ends gets it again, with
// the same packet id, when its session goes on [MQTT-4.4.0-1].
type Direct struct {
	// Key tells the message from others: a session that has it still, and has not
	// acknowledged it, gets it no second time.
	Key string
	// Forms are the same message in several forms; a receiver gets the first to which it
	// is subscribed.
	Forms []DirectForm
	// Still reports whether the message is to be sent still; it is asked before each
	// attempt, and must not block.
	Still func() bool
	// Taken is called when a receiver has it: its PUBACK came, or it was sent to one that
	// is subscribed with QoS 0. It must not block.
	Taken func(client string)
}

// DirectForm is one form of a [Direct] message.
type DirectForm struct {
	twin.Message
	// Own begins the filters of receivers. Others who are subscribed, by a wildcard before
	// that, only look on: they get a copy when a receiver gets the message.
	Own string
}

// SendDirect sends a message and returns how many receivers have it now, or had it
// before, and whether one of the others is there but has no room.
func (b *Broker) SendDirect(d *Direct) (n int, full bool) {
	var receivers, watchers []directTarget
	for i := range d.Forms {
		receivers, watchers = b.directTargets(d, &d.Forms[i], receivers, watchers)
	}
	for i := range receivers {
		switch receivers[i].send(d) {
		case directHas:
			n++
		case directFull:
			full = true
		case directAbsent:
		}
	}
	if n == 0 {
		return 0, full
	}
	for i := range watchers {
		if !hasTarget(receivers, watchers[i].s) {
			watchers[i].send(nil)
		}
	}
	return n, full
}

// directOutcome is what became of a direct message at one session.
type directOutcome uint8

const (
	directAbsent directOutcome = iota
	directFull
	directHas
)

type directTarget struct {
	target
	msg *message
}

// directTargets adds those who are subscribed to a form and have no form yet.
func (b *Broker) directTargets(d *Direct, f *DirectForm, receivers, watchers []directTarget) (r, w []directTarget) {
	var some [8]*subscription
	subs, overlap := b.index.match(some[:0], f.Topic)
	if len(subs) == 0 {
		return receivers, watchers
	}
	msg, targets := b.targets(&f.Message, subs, overlap, nil)
	own := func(s *session) bool {
		for _, sub := range subs {
			if sub.s == s && strings.HasPrefix(sub.filter, f.Own) {
				return true
			}
		}
		return false
	}
	for _, t := range targets {
		switch {
		case own(t.s):
			if !hasTarget(receivers, t.s) {
				receivers = append(receivers, directTarget{t, msg})
			}
		case !hasTarget(watchers, t.s):
			watchers = append(watchers, directTarget{t, msg})
		}
	}
	return receivers, watchers
}

func hasTarget(list []directTarget, s *session) bool {
	for i := range list {
		if list[i].s == s {
			return true
		}
	}
	return false
}

// send sends to one session if it is connected and has room. d is nil for a copy.
func (t *directTarget) send(d *Direct) directOutcome {
	s := t.s
	if t.qos == 0 {
		return t.sendQoS0(d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone || !s.online:
		return directAbsent
	case d != nil && s.holdsLocked(d.Key):
		return directHas
	case s.overLocked(t.msg):
		return directFull
	}
	if d == nil {
		d = &Direct{Still: func() bool { return true }, Taken: func(string) {}}
	}
	s.appendLocked(&entry{msg: t.msg, retain: t.retain, subIDs: t.subIDs, direct: d})
	s.pumpLocked()
	return directHas
}

func (t *directTarget) sendQoS0(d *Direct) directOutcome {
	s := t.s
	switch {
	case d != nil && !d.Still():
		return directAbsent
	case !s.sendQoS0(t.msg, t.retain, t.subIDs):
		if s.isOnline() {
			return directFull
		}
		return directAbsent
	}
	if d != nil {
		d.Taken(s.id)
	}
	return directHas
}

func (s *session) isOnline() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.online
}

// holdsLocked reports whether the session has a message with a key that its client has
// not acknowledged.
func (s *session) holdsLocked(key string) bool {
	for _, list := range [][]*entry{s.inflight, s.waiting[s.waitHead:]} {
		for _, e := range list {
			if e.direct != nil && e.direct.Key == key && !e.removed {
				return true
			}
		}
	}
	return false
}

// dropDirectLocked leaves direct messages out that were not sent when the connection
// ended: their sender sends them again.
func (s *session) dropDirectLocked() {
	for _, e := range s.waiting[s.waitHead:] {
		if e.direct != nil && e.id == 0 && !e.removed {
			e.removed = true
			s.removed++
			s.subBytes(e)
		}
	}
}

// withdrawn reports whether the sender of a direct message has taken it back.
func (e *entry) withdrawn() bool { return e.direct != nil && !e.direct.Still() }

// taken tells the sender of a direct message that it has arrived.
func (e *entry) taken(client string) {
	if e.direct != nil {
		e.direct.Taken(client)
	}
}
