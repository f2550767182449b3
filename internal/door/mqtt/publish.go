package mqtt

import (
	"bytes"

	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

// publish handles a PUBLISH of the client. Nothing here waits for a commit: the
// acknowledgement comes by slot.complete, from whoever knows.
func (c *conn) publish(h packet.Header, body []byte) error {
	p := &c.pub
	if err := packet.DecodePublish(p, h.Flags, body, c.version); err != nil {
		return err
	}
	if p.QoS > 1 {
		// [MQTT-3.2.2-11]; a 3.1.1 client cannot be told before.
		return &packet.Error{Reason: packet.QoSNotSupported, Rule: "MQTT-3.2.2-11", Text: "QoS 2 is not supported"}
	}
	if p.Properties.Has(packet.SubscriptionID) {
		return &packet.Error{Reason: packet.ProtocolError, Rule: "MQTT-3.3.4-6", Text: "publish of a client carries a subscription identifier"}
	}
	topic, err := c.topic(p)
	if err != nil {
		return err
	}
	if err := c.b.allow(topic, p.Retain); err != nil {
		return c.deny(p, err)
	}
	c.b.count.published.Add(1)
	payload := p.Payload
	if len(body) <= readBufferBytes {
		payload = bytes.Clone(payload) // a longer body has memory of its own
	}
	m := twin.Message{
		Topic: topic, Payload: payload, QoS: p.QoS, Retain: p.Retain,
		Properties: messageProperties(&p.Properties),
	}
	if p.QoS == 0 {
		c.b.accept(&twin.Publish{Message: m, Origin: twin.Origin{Door: twin.DoorMQTT, Session: c.s.id}}, c.s, c.b.countRefused)
		return nil
	}
	return c.publishQoS1(p, m)
}

// countRefused is the done function of a QoS 0 publish, whose sender expects no
// answer.
func (b *Broker) countRefused(err error) {
	if err != nil {
		b.count.refused.Add(1)
	}
}

func (c *conn) publishQoS1(p *packet.Publish, m twin.Message) error {
	sl := &slot{c: c, pub: twin.Publish{Message: m, Origin: twin.Origin{
		Door: twin.DoorMQTT, Session: c.s.id, PacketID: p.PacketID, PayloadHash: twin.PayloadHash(m.Topic, m.Payload),
	}}}
	if p.Dup {
		if c.inFlight(p.PacketID) {
			// Sent again over the same connection while the first is being worked on:
			// one PUBACK answers both. A second could hit a new use of the id.
			return nil
		}
		sl.pub.Resent = c.mayRepeat
	} else if c.mayRepeat {
		// What comes after the first new publish was not in flight before.
		c.mayRepeat = false
		c.s.mu.Lock()
		c.s.orphans = nil
		c.s.mu.Unlock()
	}
	if err := c.enter(sl); err != nil {
		return err
	}
	if sl.pub.Resent && c.s.follow(sl) {
		return nil
	}
	c.b.accept(&sl.pub, c.s, sl.complete)
	return nil
}

// enter adds a slot to those in flight. A 3.1.1 client that has too many is not
// read until there is room; a v5 client was told the number [MQTT-3.3.4-7].
func (c *conn) enter(sl *slot) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.acks)-c.ackHead >= c.b.opts.InFlightMax && !c.closing {
		if c.version == packet.V5 {
			return &packet.Error{Reason: packet.ReceiveMaximumExceeded, Rule: "MQTT-3.3.4-7", Text: "more publishes in flight than the receive maximum"}
		}
		c.corked = false
		c.kickLocked()
		c.waitLocked()
		c.corked = true
	}
	if c.closing {
		return errStopped
	}
	c.acks = append(c.acks, sl)
	return nil
}

// inFlight reports whether a publish with this packet id has no PUBACK yet.
func (c *conn) inFlight(id uint16) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, sl := range c.acks[c.ackHead:] {
		if sl.pub.Origin.PacketID == id {
			return true
		}
	}
	return false
}

// follow ties a repeated publish to its first copy, if that came by an earlier
// connection of the session and is being worked on still, or was since: it is not
// submitted twice.
func (s *session) follow(sl *slot) bool {
	s.mu.Lock()
	var first *slot
	for _, o := range s.orphans {
		a, b := &o.pub.Origin, &sl.pub.Origin
		if a.PacketID == b.PacketID && a.PayloadHash == b.PayloadHash {
			first = o
		}
	}
	s.mu.Unlock()
	if first == nil {
		return false
	}
	c := first.c // an earlier connection
	c.mu.Lock()
	state := first.state
	if state == slotPending {
		first.follower = sl
	}
	c.mu.Unlock()
	switch state {
	case slotPending:
		return true
	case slotOK:
		sl.complete(nil)
		return true
	}
	return false // it failed: this is the next attempt
}

// deny refuses a publish. At QoS 1 a v5 client gets a PUBACK that says so
// [MQTT-3.3.5-2]; there is no other way to tell but to end the connection.
func (c *conn) deny(p *packet.Publish, err error) error {
	c.b.count.denied.Add(1)
	reason := ackReason(err)
	if p.QoS == 0 || c.version != packet.V5 {
		return &packet.Error{Reason: reason, Rule: "MQTT-3.3.5-2", Text: "publish to this topic is refused"}
	}
	sl := &slot{c: c, state: slotFailed, err: err}
	sl.pub.Origin.PacketID = p.PacketID
	if err := c.enter(sl); err != nil {
		return err
	}
	c.mu.Lock()
	c.releaseAcks()
	c.mu.Unlock()
	return nil
}

// topic returns the topic of a publish, by its alias if it has none.
func (c *conn) topic(p *packet.Publish) (string, error) {
	if !p.Properties.Has(packet.TopicAlias) {
		return c.intern(p.Topic), nil
	}
	alias := int(p.Properties.Uint(packet.TopicAlias, 0))
	if alias > c.b.opts.TopicAliasMax {
		return "", &packet.Error{Reason: packet.TopicAliasInvalid, Rule: "MQTT-3.3.2-9", Text: "topic alias is above the maximum"}
	}
	if c.aliases == nil {
		c.aliases = make([]string, c.b.opts.TopicAliasMax+1)
	}
	if len(p.Topic) > 0 {
		c.aliases[alias] = string(p.Topic) // [MQTT-3.3.2-12]
	} else if c.aliases[alias] == "" {
		return "", &packet.Error{Reason: packet.ProtocolError, Rule: "3.3.2.3.4", Text: "topic alias is not known"}
	}
	return c.aliases[alias], nil
}

// intern returns the topic as a string; a device uses the same one again and again.
func (c *conn) intern(topic []byte) string {
	if string(topic) != c.lastTopic {
		c.lastTopic = string(topic)
		c.uses(c.lastTopic)
	}
	return c.lastTopic
}

// messageProperties copies the properties that travel with a message, nil if there
// are none.
func messageProperties(p *packet.Properties) *twin.MessageProperties {
	if p.Empty() {
		return nil
	}
	mp := &twin.MessageProperties{
		PayloadFormat:   byte(p.Uint(packet.PayloadFormat, 0)),
		ExpirySeconds:   p.Uint(packet.MessageExpiry, 0),
		ContentType:     string(p.Bytes(packet.ContentType)),
		ResponseTopic:   string(p.Bytes(packet.ResponseTopic)),
		CorrelationData: bytes.Clone(p.Bytes(packet.CorrelationData)),
	}
	for _, u := range p.User {
		mp.User = append(mp.User, twin.UserProperty{Key: string(u.Key), Value: string(u.Value)})
	}
	if mp.PayloadFormat == 0 && mp.ExpirySeconds == 0 && mp.ContentType == "" &&
		mp.ResponseTopic == "" && mp.CorrelationData == nil && mp.User == nil {
		return nil
	}
	return mp
}
