package packet

// Will is the will message of a [Connect].
type Will struct {
	Topic, Payload []byte
	QoS            byte
	Retain         bool
	Properties     Properties
}

// Connect is a CONNECT packet.
type Connect struct {
	Version    Version
	CleanStart bool // clean session in 3.1.1
	KeepAlive  uint16
	ClientID   []byte
	Will       *Will
	// Username and Password are nil when absent.
	Username, Password []byte
	Properties         Properties
}

// The bits of the connect flags, 3.1.2.3.
const (
	flagReserved   = 0x01
	flagCleanStart = 0x02
	flagWill       = 0x04
	flagWillQoS    = 0x18
	flagWillRetain = 0x20
	flagPassword   = 0x40
	flagUsername   = 0x80
)

// DecodeConnect reads the body of a CONNECT. When the version is not one of ours
// the error has reason [UnsupportedVersion].
func DecodeConnect(body []byte) (*Connect, error) {
	c := cursor{b: body}
	name := c.string()
	level := c.byte()
	flags := c.byte()
	if c.err != nil {
		return nil, c.err
	}
	if string(name) != "MQTT" && string(name) != "MQIsdp" {
		return nil, &Error{UnsupportedVersion, "MQTT-3.1.2-1", "protocol name is not MQTT"}
	}
	p := &Connect{Version: Version(level), CleanStart: flags&flagCleanStart != 0}
	if string(name) != "MQTT" || p.Version != V311 && p.Version != V5 {
		return p, &Error{UnsupportedVersion, "MQTT-3.1.2-2", "protocol version is neither 3.1.1 nor 5"}
	}
	if err := checkConnectFlags(p.Version, flags); err != nil {
		return p, err
	}
	p.KeepAlive = c.uint16()
	if p.Version == V5 {
		c.properties(&p.Properties, on(CONNECT))
		if p.Properties.Has(AuthData) && !p.Properties.Has(AuthMethod) {
			c.fail(protocol("3.1.2.11.10", "authentication data without a method"))
		}
	}
	p.ClientID = c.string()
	if flags&flagWill != 0 {
		p.Will = c.will(p.Version, flags)
	}
	if flags&flagUsername != 0 {
		p.Username = c.string()
	}
	if flags&flagPassword != 0 {
		p.Password = c.binary()
	}
	return p, c.done()
}

func checkConnectFlags(v Version, flags byte) error {
	switch {
	case flags&flagReserved != 0:
		return malformed("MQTT-3.1.2-3", "reserved connect flag is set")
	case flags&flagWill == 0 && flags&flagWillQoS != 0:
		return malformed("MQTT-3.1.2-11", "will QoS without a will")
	case flags&flagWillQoS == flagWillQoS:
		return malformed("MQTT-3.1.2-12", "will QoS is 3")
	case flags&flagWill == 0 && flags&flagWillRetain != 0:
		return malformed("MQTT-3.1.2-13", "will retain without a will")
	case v == V311 && flags&flagUsername == 0 && flags&flagPassword != 0:
		// MQTT 3.1.1 only; version 5 allows a password alone.
		return malformed("3.1.1: MQTT-3.1.2-22", "password without a user name")
	}
	return nil
}

func (c *cursor) will(v Version, flags byte) *Will {
	w := &Will{QoS: flags & flagWillQoS >> 3, Retain: flags&flagWillRetain != 0}
	if v == V5 {
		c.properties(&w.Properties, willProps)
	}
	w.Topic = c.string()
	w.Payload = c.binary()
	if c.err != nil {
		return w
	}
	if e := CheckTopic(w.Topic); e != nil {
		c.fail(e)
	}
	return w
}

// AppendConnect appends a CONNECT.
func AppendConnect(dst []byte, p *Connect) []byte {
	b := appendString(nil, "MQTT")
	var flags byte
	if p.CleanStart {
		flags |= flagCleanStart
	}
	if p.Will != nil {
		flags |= flagWill | p.Will.QoS<<3
		if p.Will.Retain {
			flags |= flagWillRetain
		}
	}
	if p.Username != nil {
		flags |= flagUsername
	}
	if p.Password != nil {
		flags |= flagPassword
	}
	b = appendUint16(append(b, byte(p.Version), flags), p.KeepAlive)
	if p.Version == V5 {
		b = p.Properties.appendTo(b)
	}
	b = appendString(b, p.ClientID)
	if p.Will != nil {
		if p.Version == V5 {
			b = p.Will.Properties.appendTo(b)
		}
		b = appendString(appendString(b, p.Will.Topic), p.Will.Payload)
	}
	if p.Username != nil {
		b = appendString(b, p.Username)
	}
	if p.Password != nil {
		b = appendString(b, p.Password)
	}
	return appendPacket(dst, CONNECT, 0, b)
}

// Connack is a CONNACK packet. Code is a reason code, or in 3.1.1 a return code.
type Connack struct {
	SessionPresent bool
	Code           byte
	Properties     Properties // version 5 only
}

// DecodeConnack reads the body of a CONNACK.
func DecodeConnack(body []byte, v Version) (*Connack, error) {
	c := cursor{b: body}
	flags := c.byte()
	if flags > 1 {
		c.fail(malformed("MQTT-3.2.2-1", "reserved acknowledge flag is set"))
	}
	p := &Connack{SessionPresent: flags == 1, Code: c.byte()}
	if v == V5 {
		c.properties(&p.Properties, on(CONNACK))
	}
	return p, c.done()
}

// AppendConnack appends a CONNACK.
func AppendConnack(dst []byte, v Version, p *Connack) []byte {
	var b []byte
	if p.SessionPresent {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = append(b, p.Code)
	if v == V5 {
		b = p.Properties.appendTo(b)
	}
	return appendPacket(dst, CONNACK, 0, b)
}

// Disconnect is a DISCONNECT or an AUTH packet.
type Disconnect struct {
	Reason     Reason
	Properties Properties
}

// DecodeDisconnect reads the body of a DISCONNECT (or, with t AUTH, of an AUTH).
func DecodeDisconnect(body []byte, t Type, v Version) (*Disconnect, error) {
	c := cursor{b: body}
	p := &Disconnect{}
	if v == V5 && len(body) > 0 {
		p.Reason = Reason(c.byte())
		if len(c.b) > 0 {
			c.properties(&p.Properties, on(t))
		}
	}
	return p, c.done()
}

// AppendDisconnect appends a DISCONNECT. 3.1.1 has no reason.
func AppendDisconnect(dst []byte, v Version, p *Disconnect) []byte {
	if v != V5 || p.Reason == Success && p.Properties.Empty() {
		return append(dst, byte(DISCONNECT)<<4, 0)
	}
	b := []byte{byte(p.Reason)}
	if !p.Properties.Empty() {
		b = p.Properties.appendTo(b)
	}
	return appendPacket(dst, DISCONNECT, 0, b)
}

func appendPacket(dst []byte, t Type, flags byte, body []byte) []byte {
	dst = appendVarint(append(dst, byte(t)<<4|flags), len(body))
	return append(dst, body...)
}
