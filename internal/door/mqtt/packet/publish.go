package packet

// Publish is a PUBLISH packet. Its byte fields share memory with the body it was
// decoded from.
type Publish struct {
	Dup, Retain bool
	QoS         byte
	Topic       []byte
	PacketID    uint16 // of QoS 1 and 2
	Payload     []byte
	Properties  Properties
}

// DecodePublish reads the body of a PUBLISH whose fixed header has passed
// [ParseHeader]. It reuses the memory of p.
func DecodePublish(p *Publish, flags byte, body []byte, v Version) error {
	c := cursor{b: body}
	p.Dup, p.Retain, p.QoS = flags&0x08 != 0, flags&0x01 != 0, flags>>1&3
	p.Topic = c.string()
	p.PacketID = 0
	if p.QoS > 0 {
		p.PacketID = c.packetID()
	}
	if v == V5 {
		c.properties(&p.Properties, on(PUBLISH))
	} else {
		p.Properties.reset()
	}
	p.Payload = c.b
	if c.err != nil {
		return c.err
	}
	if len(p.Topic) == 0 && p.Properties.Has(TopicAlias) {
		return nil
	}
	if e := CheckTopic(p.Topic); e != nil {
		return e
	}
	if p.Properties.Has(ResponseTopic) {
		if e := CheckTopic(p.Properties.Bytes(ResponseTopic)); e != nil {
			return &Error{ProtocolError, "MQTT-3.3.2-14", "response topic is no topic name"}
		}
	}
	return nil
}

// Outgoing is a PUBLISH as a server sends it; the fields that [Publish] has as
// bytes may be strings here.
type Outgoing struct {
	Dup, Retain bool
	QoS         byte
	Topic       string
	PacketID    uint16
	Payload     []byte
	Properties  *Properties // nil: none; version 5 only
}

// Size returns the bytes of the whole packet.
func (p *Outgoing) Size(v Version) int {
	n := p.bodySize(v)
	return 1 + varintSize(n) + n
}

func (p *Outgoing) bodySize(v Version) int {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		props := p.Properties.size()
		n += varintSize(props) + props
	}
	return n
}

// AppendPublish appends a PUBLISH.
func AppendPublish(dst []byte, v Version, p *Outgoing) []byte {
	flags := p.QoS << 1
	if p.Dup {
		flags |= 0x08
	}
	if p.Retain {
		flags |= 0x01
	}
	dst = appendVarint(append(dst, byte(PUBLISH)<<4|flags), p.bodySize(v))
	dst = appendString(dst, p.Topic)
	if p.QoS > 0 {
		dst = appendUint16(dst, p.PacketID)
	}
	if v == V5 {
		dst = p.Properties.appendTo(dst)
	}
	return append(dst, p.Payload...)
}

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP.
type Ack struct {
	PacketID   uint16
	Reason     Reason // version 5 only
	Properties Properties
}

// DecodeAck reads the body of an acknowledgement of type t.
func DecodeAck(p *Ack, body []byte, t Type, v Version) error {
	c := cursor{b: body}
	p.Reason = Success
	p.Properties.reset()
	p.PacketID = c.packetID()
	if v == V5 && len(c.b) > 0 {
		p.Reason = Reason(c.byte())
		if len(c.b) > 0 {
			c.properties(&p.Properties, on(t))
		}
	}
	return c.done()
}

// AppendAck appends an acknowledgement without properties.
func AppendAck(dst []byte, t Type, v Version, id uint16, r Reason) []byte {
	var flags byte
	if t == PUBREL {
		flags = 2
	}
	if v != V5 || r == Success {
		return append(dst, byte(t)<<4|flags, 2, byte(id>>8), byte(id))
	}
	return append(dst, byte(t)<<4|flags, 3, byte(id>>8), byte(id), byte(r))
}

// AppendPing appends a PINGREQ or a PINGRESP.
func AppendPing(dst []byte, t Type) []byte { return append(dst, byte(t)<<4, 0) }
