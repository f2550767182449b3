package mqtt

import (
	"time"

	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

// target is one session that gets a message.
type target struct {
	s      *session
	qos    byte
	retain bool
	subIDs []uint32
	entry  *entry // of a QoS 1 message
}

// outgoing is what [Broker.Stage] has prepared.
type outgoing struct {
	b       *Broker
	parts   []part
	records []twin.RecordWrite
}

type part struct {
	msg     *message
	targets []target
}

// Records implements [twin.Outgoing].
func (o *outgoing) Records() []twin.RecordWrite { return o.records }

// Deliver implements [twin.Outgoing].
func (o *outgoing) Deliver() {
	for i := range o.parts {
		p := &o.parts[i]
		for j := range p.targets {
			if t := &p.targets[j]; t.qos == 0 {
				if t.s.sendQoS0(p.msg, t.retain, t.subIDs) {
					o.b.took(t.s.id, p.msg)
				}
			} else {
				t.s.enqueue(t.entry)
			}
		}
	}
}

// Wanted reports whether anybody is subscribed to the topic. It does not allocate.
func (b *Broker) Wanted(topic []byte) bool { return b.index.wantedBytes(topic) }

// Stage prepares messages of the server for those subscribed now; nil if nobody is.
// The entries for persistent sessions are in Records and must be durable before
// Deliver.
func (b *Broker) Stage(ms []twin.Message) twin.Outgoing {
	var o *outgoing
	for i := range ms {
		o = b.stage(o, &ms[i], nil)
	}
	if o == nil {
		return nil
	}
	return o
}

// Send publishes a message of the server itself: nobody is asked whether it may.
// Where persistent sessions get it, it is recorded first.
func (b *Broker) Send(m twin.Message) {
	o := b.stage(nil, &m, nil)
	if o == nil {
		return
	}
	if len(o.records) == 0 {
		o.Deliver()
		return
	}
	b.write(m.Topic, o.records, func(err error) {
		if err != nil {
			b.count.lost.Add(1)
			return
		}
		o.Deliver()
	})
}

// stage adds a message to o, which is made when somebody is subscribed. from is the
// session of the publisher, for No Local.
func (b *Broker) stage(o *outgoing, m *twin.Message, from *session) *outgoing {
	var some [8]*subscription
	subs, overlap := b.index.match(some[:0], m.Topic)
	if len(subs) == 0 {
		return o
	}
	msg, targets := b.targets(m, subs, overlap, from)
	if len(targets) == 0 {
		return o
	}
	if o == nil {
		o = &outgoing{b: b}
	}
	o.parts = append(o.parts, part{msg, o.entries(msg, targets)})
	return o
}

// targets works out which sessions get a message, and how.
func (b *Broker) targets(m *twin.Message, subs []*subscription, overlap bool, from *session) (*message, []target) {
	msg := &message{Message: *m}
	if p := m.Properties; p != nil && p.ExpirySeconds != 0 {
		msg.expiresAt = twin.TimeOf(b.opts.Now().Add(time.Duration(p.ExpirySeconds) * time.Second))
	}
	targets := make([]target, 0, len(subs))
	var at map[*session]int
	if overlap {
		at = make(map[*session]int, len(subs))
	}
	for _, sub := range subs {
		if sub.noLocal && sub.s == from {
			continue // [MQTT-3.8.3-3]
		}
		if overlap {
			// One copy with the highest QoS and all identifiers [MQTT-3.3.4-2],
			// [MQTT-3.3.4-4].
			if i, ok := at[sub.s]; ok {
				targets[i].merge(sub, m)
				continue
			}
			at[sub.s] = len(targets)
		}
		t := target{s: sub.s}
		t.merge(sub, m)
		targets = append(targets, t)
	}
	return msg, targets
}

func (t *target) merge(sub *subscription, m *twin.Message) {
	t.qos = max(t.qos, min(sub.qos, m.QoS)) // [MQTT-3.8.4-8]
	// [MQTT-3.3.1-12], [MQTT-3.3.1-13]
	t.retain = t.retain || sub.retainAsPublished && m.Retain
	if sub.id != 0 {
		t.subIDs = append(t.subIDs, sub.id)
	}
}

// entries makes the queue entries of the QoS 1 targets and the records of those
// whose session persists. A message for several of them is recorded once.
func (o *outgoing) entries(m *message, targets []target) []target {
	kept := targets[:0]
	durable := 0
	for _, t := range targets {
		if t.qos > 0 {
			if t.s.hopeless(m) {
				continue
			}
			t.entry = &entry{msg: m, retain: t.retain, subIDs: t.subIDs}
			if t.s.keeps() {
				t.entry.num = o.b.number.Add(1)
				durable++
			}
		}
		kept = append(kept, t)
	}
	if durable == 0 {
		return kept
	}
	var shared *body
	if durable > 1 {
		shared = &body{num: o.b.number.Add(1)}
		shared.refs.Store(int32(durable))
		o.records = append(o.records, twin.RecordWrite{
			Kind: twin.RecordMessage, Key: numberKey(shared.num), Value: appendBody(nil, m),
		})
	}
	for i := range kept {
		if e := kept[i].entry; e != nil && e.num != 0 {
			e.body = shared
			o.records = append(o.records, twin.RecordWrite{
				Kind: twin.RecordQueued, Key: queueKey(kept[i].s.id, e.num), Value: appendEntry(nil, e),
			})
		}
	}
	return kept
}

// keeps reports whether the session's messages are recorded.
func (s *session) keeps() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.persistent() && !s.gone && s.b.records != nil
}

// Publish publishes as a client would: HTTP Publish. done is called exactly once,
// with the reason if the message was refused.
func (b *Broker) Publish(p *twin.Publish, done func(error)) {
	if e := packet.CheckTopic([]byte(p.Topic)); e != nil {
		done(&twin.Error{Kind: twin.KindInvalid, Message: "Invalid topic", Err: e})
		return
	}
	if err := b.allow(p.Topic, p.Retain); err != nil {
		b.count.denied.Add(1)
		done(err)
		return
	}
	b.count.published.Add(1)
	b.accept(p, nil, done)
}

// allow says whether a client may publish to the topic.
func (b *Broker) allow(topic string, retain bool) error {
	if topic[0] != '$' {
		return nil
	}
	if b.handler == nil {
		return twin.NewError(twin.KindDenied, "Forbidden")
	}
	if err := b.handler.Allow(topic); err != nil {
		return err
	}
	if retain {
		// AWS refuses a retained publish to a reserved topic.
		return twin.NewError(twin.KindDenied, "Forbidden")
	}
	return nil
}

// accept takes a publish that is allowed. done is called when it may be
// acknowledged.
func (b *Broker) accept(p *twin.Publish, from *session, done func(error)) {
	if b.handler != nil && !(p.Will && p.Topic[0] == '$') {
		taken := done
		if p.Retain || b.index.wanted(p.Topic) {
			// Clients may subscribe to request topics too. They get the request
			// when it is durable.
			taken = func(err error) {
				if err != nil {
					done(err)
					return
				}
				b.route(p, from, done)
			}
		}
		if b.handler.Publish(p, taken) {
			return
		}
	}
	b.route(p, from, done)
}

// route delivers a message to subscribers and keeps it if it is retained: at once,
// or after its records are durable.
func (b *Broker) route(p *twin.Publish, from *session, done func(error)) {
	o := b.stage(nil, &p.Message, from)
	var ws []twin.RecordWrite
	if o != nil {
		ws = o.records
	}
	var keep *retained
	if p.Retain && p.Topic[0] != '$' {
		var err error
		if keep, err = b.newRetained(&p.Message); err != nil {
			done(err)
			return
		}
		ws = append(ws, keep.record())
	}
	finish := func(err error) {
		if err == nil {
			if keep != nil {
				b.retained.set(keep)
			}
			if o != nil {
				o.Deliver()
			}
		}
		done(err)
	}
	if len(ws) == 0 || b.records == nil {
		finish(nil)
		return
	}
	b.write(p.Topic, ws, finish)
}
