package packet

import "encoding/binary"

// Property is the identifier of an MQTT 5 property, table 2-4.
type Property byte

// The properties.
const (
	PayloadFormat        Property = 0x01
	MessageExpiry        Property = 0x02
	ContentType          Property = 0x03
	ResponseTopic        Property = 0x08
	CorrelationData      Property = 0x09
	SubscriptionID       Property = 0x0B
	SessionExpiry        Property = 0x11
	AssignedClientID     Property = 0x12
	ServerKeepAlive      Property = 0x13
	AuthMethod           Property = 0x15
	AuthData             Property = 0x16
	RequestProblemInfo   Property = 0x17
	WillDelay            Property = 0x18
	RequestResponseInfo  Property = 0x19
	ResponseInfo         Property = 0x1A
	ServerReference      Property = 0x1C
	ReasonString         Property = 0x1F
	ReceiveMaximum       Property = 0x21
	TopicAliasMaximum    Property = 0x22
	TopicAlias           Property = 0x23
	MaximumQoS           Property = 0x24
	RetainAvailable      Property = 0x25
	User                 Property = 0x26
	MaximumPacketSize    Property = 0x27
	WildcardSubAvailable Property = 0x28
	SubIDAvailable       Property = 0x29
	SharedSubAvailable   Property = 0x2A
	propertyEnd          Property = 0x2B
)

type propertyKind byte

const (
	kindNone propertyKind = iota
	kindByte
	kindUint16
	kindUint32
	kindVarint
	kindString
	kindBinary
	kindPair
)

// willProps stands for the properties of a will in the allowed masks; the others
// are the bits of their packet type.
const willProps = 1 << 0

func on(ts ...Type) uint16 {
	var m uint16
	for _, t := range ts {
		m |= 1 << t
	}
	return m
}

type propertyInfo struct {
	kind    propertyKind
	slot    byte   // index in ints or strs
	allowed uint16 // packet types that may carry it
}

// properties is table 2-4.
var properties = [propertyEnd]propertyInfo{
	PayloadFormat:        {kindByte, 0, on(PUBLISH) | willProps},
	MessageExpiry:        {kindUint32, 1, on(PUBLISH) | willProps},
	ContentType:          {kindString, 0, on(PUBLISH) | willProps},
	ResponseTopic:        {kindString, 1, on(PUBLISH) | willProps},
	CorrelationData:      {kindBinary, 2, on(PUBLISH) | willProps},
	SubscriptionID:       {kindVarint, 0, on(PUBLISH, SUBSCRIBE)},
	SessionExpiry:        {kindUint32, 2, on(CONNECT, CONNACK, DISCONNECT)},
	AssignedClientID:     {kindString, 3, on(CONNACK)},
	ServerKeepAlive:      {kindUint16, 3, on(CONNACK)},
	AuthMethod:           {kindString, 4, on(CONNECT, CONNACK, AUTH)},
	AuthData:             {kindBinary, 5, on(CONNECT, CONNACK, AUTH)},
	RequestProblemInfo:   {kindByte, 4, on(CONNECT)},
	WillDelay:            {kindUint32, 5, willProps},
	RequestResponseInfo:  {kindByte, 6, on(CONNECT)},
	ResponseInfo:         {kindString, 6, on(CONNACK)},
	ServerReference:      {kindString, 7, on(CONNACK, DISCONNECT)},
	ReasonString:         {kindString, 8, on(CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)},
	ReceiveMaximum:       {kindUint16, 7, on(CONNECT, CONNACK)},
	TopicAliasMaximum:    {kindUint16, 8, on(CONNECT, CONNACK)},
	TopicAlias:           {kindUint16, 9, on(PUBLISH)},
	MaximumQoS:           {kindByte, 10, on(CONNACK)},
	RetainAvailable:      {kindByte, 11, on(CONNACK)},
	User:                 {kindPair, 0, 0xffff &^ on(PINGREQ, PINGRESP)},
	MaximumPacketSize:    {kindUint32, 12, on(CONNECT, CONNACK)},
	WildcardSubAvailable: {kindByte, 13, on(CONNACK)},
	SubIDAvailable:       {kindByte, 14, on(CONNACK)},
	SharedSubAvailable:   {kindByte, 15, on(CONNACK)},
}

// UserPair is a User Property; keys may repeat and order counts.
type UserPair struct{ Key, Value []byte }

// Properties is a decoded property list. The zero value is empty.
type Properties struct {
	has    uint64
	ints   [16]uint32
	strs   [9][]byte
	SubIDs []uint32 // Subscription Identifiers; several only in a PUBLISH of a server
	User   []UserPair
}

// Empty reports whether there is no property at all.
func (p *Properties) Empty() bool {
	return p.has == 0
}

// Has reports whether the property is there.
func (p *Properties) Has(id Property) bool { return p.has&(1<<id) != 0 }

// Uint returns a numeric property, def when it is absent.
func (p *Properties) Uint(id Property, def uint32) uint32 {
	if !p.Has(id) {
		return def
	}
	return p.ints[properties[id].slot]
}

// Bytes returns a string or binary property, nil when it is absent.
func (p *Properties) Bytes(id Property) []byte {
	if !p.Has(id) {
		return nil
	}
	return p.strs[properties[id].slot]
}

// SetUint sets a numeric property.
func (p *Properties) SetUint(id Property, v uint32) {
	p.has |= 1 << id
	p.ints[properties[id].slot] = v
}

// SetBytes sets a string or binary property.
func (p *Properties) SetBytes(id Property, v []byte) {
	p.has |= 1 << id
	p.strs[properties[id].slot] = v
}

// AddUser appends a User Property.
func (p *Properties) AddUser(key, value []byte) {
	p.has |= 1 << User
	p.User = append(p.User, UserPair{key, value})
}

// AddSubID appends a Subscription Identifier.
func (p *Properties) AddSubID(id uint32) {
	p.has |= 1 << SubscriptionID
	p.SubIDs = append(p.SubIDs, id)
}

// reset empties the list and keeps its memory.
func (p *Properties) reset() {
	if p.has == 0 {
		return
	}
	clear(p.User)
	*p = Properties{SubIDs: p.SubIDs[:0], User: p.User[:0]}
}

// properties reads a property list for the packets in mask.
func (c *cursor) properties(p *Properties, mask uint16) {
	p.reset()
	n := c.varint()
	if n == 0 {
		return
	}
	in := cursor{b: c.take(n)}
	if c.err != nil {
		return
	}
	for len(in.b) > 0 && in.err == nil {
		in.property(p, mask)
	}
	if in.err != nil {
		c.err, c.b = in.err, nil
	}
}

func (c *cursor) property(p *Properties, mask uint16) {
	raw := c.varint()
	if c.err != nil {
		return
	}
	id := Property(raw)
	if raw >= int(propertyEnd) || properties[id].kind == kindNone || properties[id].allowed&mask == 0 {
		c.fail(malformed("2.2.2.2", "property is unknown or not allowed in this packet"))
		return
	}
	info := properties[id]
	if p.Has(id) && id != User && (id != SubscriptionID || mask != on(PUBLISH)) {
		c.fail(protocol("2.2.2.2", "property is there twice"))
		return
	}
	switch info.kind {
	case kindByte:
		p.SetUint(id, uint32(c.byte()))
	case kindUint16:
		p.SetUint(id, uint32(c.uint16()))
	case kindUint32:
		p.SetUint(id, c.uint32())
	case kindVarint:
		p.AddSubID(uint32(c.varint()))
	case kindString:
		p.SetBytes(id, c.string())
	case kindBinary:
		p.SetBytes(id, c.binary())
	case kindPair:
		key := c.string()
		p.AddUser(key, c.string())
	}
	if c.err == nil {
		c.propertyValue(p, id)
	}
}

// propertyValue checks the range of the value just read.
func (c *cursor) propertyValue(p *Properties, id Property) {
	switch id {
	case PayloadFormat, RequestProblemInfo, RequestResponseInfo, MaximumQoS,
		RetainAvailable, WildcardSubAvailable, SubIDAvailable, SharedSubAvailable:
		if p.Uint(id, 0) > 1 {
			c.fail(protocol("2.2.2.2", "property is neither 0 nor 1"))
		}
	case ReceiveMaximum, MaximumPacketSize:
		if p.Uint(id, 0) == 0 {
			c.fail(protocol("3.1.2.11", "receive maximum or maximum packet size is 0"))
		}
	case TopicAlias:
		if p.Uint(id, 0) == 0 {
			c.fail(&Error{TopicAliasInvalid, "MQTT-3.3.2-8", "topic alias is 0"})
		}
	case SubscriptionID:
		if p.SubIDs[len(p.SubIDs)-1] == 0 {
			c.fail(protocol("3.8.2.1.2", "subscription identifier is 0"))
		}
	}
}

// size returns the bytes of the list without its length.
func (p *Properties) size() int {
	if p == nil || p.has == 0 {
		return 0
	}
	n := 0
	for id := range propertyEnd {
		if !p.Has(id) {
			continue
		}
		switch properties[id].kind {
		case kindByte:
			n += 2
		case kindUint16:
			n += 3
		case kindUint32:
			n += 5
		case kindVarint:
			for _, v := range p.SubIDs {
				n += 1 + varintSize(int(v))
			}
		case kindString, kindBinary:
			n += 3 + len(p.strs[properties[id].slot])
		case kindPair:
			for _, u := range p.User {
				n += 5 + len(u.Key) + len(u.Value)
			}
		}
	}
	return n
}

// appendTo appends the list with its length. A nil list is an empty one.
func (p *Properties) appendTo(dst []byte) []byte {
	dst = appendVarint(dst, p.size())
	if p == nil || p.has == 0 {
		return dst
	}
	for id := range propertyEnd {
		if !p.Has(id) {
			continue
		}
		info := properties[id]
		switch info.kind {
		case kindByte:
			dst = append(dst, byte(id), byte(p.ints[info.slot]))
		case kindUint16:
			dst = appendUint16(append(dst, byte(id)), uint16(p.ints[info.slot]))
		case kindUint32:
			dst = binary.BigEndian.AppendUint32(append(dst, byte(id)), p.ints[info.slot])
		case kindVarint:
			for _, v := range p.SubIDs {
				dst = appendVarint(append(dst, byte(id)), int(v))
			}
		case kindString, kindBinary:
			dst = appendString(append(dst, byte(id)), p.strs[info.slot])
		case kindPair:
			for _, u := range p.User {
				dst = appendString(appendString(append(dst, byte(id)), u.Key), u.Value)
			}
		}
	}
	return dst
}
