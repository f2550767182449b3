package mqtt

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

var sharePrefix = []byte("$share/")

// subscribe handles SUBSCRIBE. Subscriptions of a persistent session are durable
// before SUBACK.
func (c *conn) subscribe(body []byte) error {
	p, err := packet.DecodeSubscribe(body, c.version)
	if err != nil {
		return err
	}
	ack := packet.Suback{PacketID: p.PacketID, Codes: make([]byte, len(p.Subscriptions))} // [MQTT-3.8.4-6]
	fresh := make([]*subscription, len(p.Subscriptions))
	total := c.s.subscriptionCount()
	for i := range p.Subscriptions {
		reason, err := c.checkFilter(p.Subscriptions[i].Filter, total+i)
		if err != nil {
			return err
		}
		if ack.Codes[i] = byte(reason); reason < packet.Unspecified {
			fresh[i] = c.newSubscription(p, i)
			ack.Codes[i] = fresh[i].qos // [MQTT-3.8.4-7]
		}
	}
	existed, err := c.s.subscribe(c, fresh)
	if err == nil {
		c.settle(fresh, existed)
	} else {
		for i := range ack.Codes {
			if fresh[i] != nil {
				ack.Codes[i] = byte(packet.Unspecified)
			}
			fresh[i] = nil
		}
	}
	// [MQTT-3.8.4-1], [MQTT-3.8.4-2]
	c.send(func(dst []byte) []byte { return packet.AppendSuback(dst, packet.SUBACK, c.version, &ack) })
	for i, sub := range fresh {
		if sub == nil {
			continue
		}
		c.uses(sub.filter)
		handling := p.Subscriptions[i].RetainHandling
		if handling == 0 || handling == 1 && !existed[i] { // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
			if err := c.sendRetained(sub); err != nil {
				return err // the client comes back and subscribes again
			}
		}
	}
	return nil
}

func (c *conn) newSubscription(p *packet.Subscribe, i int) *subscription {
	in := &p.Subscriptions[i]
	sub := &subscription{
		s: c.s, filter: string(in.Filter), qos: min(in.QoS, 1),
		noLocal: in.NoLocal, retainAsPublished: in.RetainAsPublished,
	}
	if len(p.Properties.SubIDs) > 0 {
		sub.id = p.Properties.SubIDs[0]
	}
	return sub
}

// checkFilter returns the reason code for a filter, or the error for which the
// connection ends: 3.1.1 has no way to say what is wrong [MQTT-4.8.0-1].
func (c *conn) checkFilter(filter []byte, total int) (packet.Reason, error) {
	code := func(r packet.Reason) (packet.Reason, error) {
		if c.version != packet.V5 {
			r = packet.Unspecified // the only failure of 3.1.1
		}
		return r, nil
	}
	if e := packet.CheckFilter(filter); e != nil {
		if e.Reason == packet.TopicFilterInvalid && c.version == packet.V5 {
			return e.Reason, nil
		}
		return 0, e
	}
	switch {
	case bytes.HasPrefix(filter, sharePrefix):
		return code(packet.SharedNotSupported)
	case total >= c.b.opts.SubscriptionsMax:
		return code(packet.QuotaExceeded)
	}
	return packet.Success, nil
}

// settle waits until the updates of shadows that were under way when the
// subscriptions came into force are durable. Nothing is built for topics without a
// subscriber, so such an update sends no delta; but a client that subscribes and
// then gets its shadow, as all SDKs do, relies on seeing each update in one of the
// two. The records of a thing are written in line with its updates, so a write of
// nothing under the thing's name is a barrier behind them.
func (c *conn) settle(fresh []*subscription, existed []bool) {
	if c.b.records == nil {
		return
	}
	var waiting sync.WaitGroup
	asked := make(map[string]bool)
	for i, sub := range fresh {
		if sub == nil || existed[i] {
			continue
		}
		if thing, ok := updatesOf(sub.filter); ok && !asked[thing] {
			if len(asked) == 0 {
				c.uncork()
			}
			asked[thing] = true
			waiting.Add(1)
			// When it fails it has waited all the same, or there is nothing under way.
			c.b.write(thing, nil, func(error) { waiting.Done() })
		}
	}
	if len(asked) == 0 {
		return
	}
	waiting.Wait()
	c.mu.Lock()
	c.corked = true
	c.mu.Unlock()
}

// updatesOf returns the thing whose shadow updates a filter hears of, if it names
// one.
func updatesOf(filter string) (thing string, ok bool) {
	rest, ok := strings.CutPrefix(filter, "$aws/things/")
	if !ok {
		return "", false
	}
	thing, rest, ok = strings.Cut(rest, "/")
	ok = ok && !isWild(thing) && (strings.Contains(rest, "/update/") || isWild(rest))
	return thing, ok
}

func (s *session) subscriptionCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subs)
}

// subscribe puts the subscriptions in force and records them; if that fails, they are
// taken back. existed tells which replace one of the same filter [MQTT-3.8.4-3].
func (s *session) subscribe(c *conn, fresh []*subscription) (existed []bool, err error) {
	existed = make([]bool, len(fresh))
	before := make([]*subscription, len(fresh))
	var ws []twin.RecordWrite
	s.mu.Lock()
	if s.gone {
		s.mu.Unlock()
		return existed, errStopped
	}
	for i, sub := range fresh {
		if sub == nil {
			continue
		}
		old := s.subs[sub.filter]
		existed[i], before[i] = old != nil, old
		if old != nil && *old == *sub {
			continue
		}
		s.b.index.add(sub, old)
		s.subs[sub.filter] = sub
		if s.stored {
			ws = append(ws, sub.record())
		}
	}
	durable := s.b.writeSoon(s.id, ws)
	s.mu.Unlock()
	if err := c.await(durable); err != nil {
		s.takeBack(fresh, before)
		return existed, err
	}
	return existed, nil
}

func (s *session) takeBack(fresh, before []*subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, sub := range slices.Backward(fresh) { // a filter may be there twice
		if sub == nil || s.subs[sub.filter] != sub {
			continue
		}
		if before[i] != nil {
			s.b.index.add(before[i], sub)
			s.subs[sub.filter] = before[i]
			continue
		}
		s.b.index.remove(sub)
		delete(s.subs, sub.filter)
	}
}

// sendRetained sends the retained messages of a new subscription, with the retain
// flag set (3.1.1: [MQTT-3.3.1-8]). Those for a persistent session are recorded first, like
// any other message.
func (c *conn) sendRetained(sub *subscription) error {
	o := &outgoing{b: c.b}
	for _, r := range c.b.retained.match(sub.filter) {
		t := target{s: c.s, qos: min(sub.qos, r.QoS), retain: true}
		if sub.id != 0 {
			t.subIDs = []uint32{sub.id}
		}
		o.parts = append(o.parts, part{&r.message, o.entries(&r.message, []target{t})})
	}
	if err := c.await(c.b.writeSoon(c.s.id, o.records)); err != nil {
		return fmt.Errorf("record retained messages for a session: %w", err)
	}
	o.Deliver()
	return nil
}

// unsubscribe handles UNSUBSCRIBE.
func (c *conn) unsubscribe(body []byte) error {
	p, err := packet.DecodeUnsubscribe(body, c.version)
	if err != nil {
		return err
	}
	for _, f := range p.Filters {
		if e := packet.CheckFilter(f); e != nil && (e.Reason != packet.TopicFilterInvalid || c.version != packet.V5) {
			return e
		}
	}
	ack := packet.Suback{PacketID: p.PacketID, Codes: make([]byte, len(p.Filters))}
	s := c.s
	var ws []twin.RecordWrite
	s.mu.Lock()
	for i, f := range p.Filters {
		sub := s.subs[string(f)]
		if sub == nil {
			ack.Codes[i] = byte(packet.NoSubscriptionExisted)
			continue
		}
		delete(s.subs, sub.filter) // [MQTT-3.10.4-1]
		s.b.index.remove(sub)      // [MQTT-3.10.4-2]
		if s.stored {
			ws = append(ws, twin.RecordWrite{Kind: twin.RecordSession, Key: subscriptionKey(s.id, sub.filter)})
		}
	}
	durable := c.b.writeSoon(s.id, ws)
	s.mu.Unlock()
	if err := c.await(durable); err != nil {
		// After a crash the subscriptions would be back.
		for i := range ack.Codes {
			ack.Codes[i] = byte(packet.Unspecified)
		}
		if c.version != packet.V5 {
			return err
		}
	}
	ack.Codes = slices.Clip(ack.Codes)
	c.send(func(dst []byte) []byte { return packet.AppendSuback(dst, packet.UNSUBACK, c.version, &ack) }) // [MQTT-3.10.4-4], [MQTT-3.10.4-5]
	return nil
}
