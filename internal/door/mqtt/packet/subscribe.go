package packet

// Subscription is one entry of a SUBSCRIBE.
type Subscription struct {
	Filter            []byte
	QoS               byte
	NoLocal           bool // the rest: version 5 only
	RetainAsPublished bool
	RetainHandling    byte
}

// Options returns the subscription options byte, 3.8.3.1.
func (s *Subscription) Options() byte {
	o := s.QoS | s.RetainHandling<<4
	if s.NoLocal {
		o |= 0x04
	}
	if s.RetainAsPublished {
		o |= 0x08
	}
	return o
}

// SetOptions is the reverse of Options.
func (s *Subscription) SetOptions(o byte) {
	s.QoS, s.NoLocal, s.RetainAsPublished, s.RetainHandling = o&3, o&4 != 0, o&8 != 0, o>>4&3
}

// Subscribe is a SUBSCRIBE packet.
type Subscribe struct {
	PacketID      uint16
	Properties    Properties
	Subscriptions []Subscription
}

// DecodeSubscribe reads the body of a SUBSCRIBE. The filters are strings, but
// whether each is a filter is for [CheckFilter].
func DecodeSubscribe(body []byte, v Version) (*Subscribe, error) {
	c := cursor{b: body}
	p := &Subscribe{PacketID: c.packetID()}
	if v == V5 {
		c.properties(&p.Properties, on(SUBSCRIBE))
	}
	if c.err == nil && len(c.b) == 0 {
		return p, protocol("MQTT-3.8.3-2", "SUBSCRIBE without a topic filter")
	}
	for len(c.b) > 0 && c.err == nil {
		s := Subscription{Filter: c.string()}
		o := c.byte()
		s.SetOptions(o)
		switch {
		case c.err != nil:
		case s.QoS == 3:
			c.fail(malformed("MQTT-3.8.3-4", "requested QoS is 3"))
		case v == V311 && o > 2:
			c.fail(malformed("MQTT-3.8.3-4", "reserved bits of the requested QoS are set"))
		case o&0xC0 != 0:
			c.fail(malformed("MQTT-3.8.3-5", "reserved bits of the subscription options are set"))
		case s.RetainHandling == 3:
			c.fail(protocol("3.8.3.1", "retain handling is 3"))
		}
		p.Subscriptions = append(p.Subscriptions, s)
	}
	return p, c.done()
}

// AppendSubscribe appends a SUBSCRIBE.
func AppendSubscribe(dst []byte, v Version, p *Subscribe) []byte {
	b := appendUint16(nil, p.PacketID)
	if v == V5 {
		b = p.Properties.appendTo(b)
	}
	for i := range p.Subscriptions {
		b = append(appendString(b, p.Subscriptions[i].Filter), p.Subscriptions[i].Options())
	}
	return appendPacket(dst, SUBSCRIBE, 2, b)
}

// Unsubscribe is an UNSUBSCRIBE packet.
type Unsubscribe struct {
	PacketID   uint16
	Properties Properties
	Filters    [][]byte
}

// DecodeUnsubscribe reads the body of an UNSUBSCRIBE.
func DecodeUnsubscribe(body []byte, v Version) (*Unsubscribe, error) {
	c := cursor{b: body}
	p := &Unsubscribe{PacketID: c.packetID()}
	if v == V5 {
		c.properties(&p.Properties, on(UNSUBSCRIBE))
	}
	if c.err == nil && len(c.b) == 0 {
		return p, protocol("MQTT-3.10.3-2", "UNSUBSCRIBE without a topic filter")
	}
	for len(c.b) > 0 && c.err == nil {
		p.Filters = append(p.Filters, c.string())
	}
	return p, c.done()
}

// AppendUnsubscribe appends an UNSUBSCRIBE.
func AppendUnsubscribe(dst []byte, v Version, p *Unsubscribe) []byte {
	b := appendUint16(nil, p.PacketID)
	if v == V5 {
		b = p.Properties.appendTo(b)
	}
	for _, f := range p.Filters {
		b = appendString(b, f)
	}
	return appendPacket(dst, UNSUBSCRIBE, 2, b)
}

// Suback is a SUBACK or an UNSUBACK.
type Suback struct {
	PacketID   uint16
	Properties Properties
	Codes      []byte // none in an UNSUBACK of 3.1.1
}

// DecodeSuback reads the body of a SUBACK or UNSUBACK, as t says.
func DecodeSuback(body []byte, t Type, v Version) (*Suback, error) {
	c := cursor{b: body}
	p := &Suback{PacketID: c.packetID()}
	if v == V5 {
		c.properties(&p.Properties, on(t))
	}
	p.Codes = c.b
	if c.err != nil {
		return p, c.err
	}
	if t == UNSUBACK && v == V311 && len(p.Codes) > 0 {
		return p, malformed("3.11.3", "UNSUBACK of 3.1.1 with a payload")
	}
	return p, nil
}

// AppendSuback appends a SUBACK or UNSUBACK, as t says. An UNSUBACK of 3.1.1 has no
// codes.
func AppendSuback(dst []byte, t Type, v Version, p *Suback) []byte {
	b := appendUint16(nil, p.PacketID)
	if v == V5 {
		b = p.Properties.appendTo(b)
	}
	if t == SUBACK || v == V5 {
		b = append(b, p.Codes...)
	}
	return appendPacket(dst, t, 0, b)
}
