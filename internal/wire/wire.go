// Package wire encodes and decodes the few MQTT 3.1.1 packets that load
// generators and checks need. It shares no code with the server, so that both
// cannot be wrong in the same way.
package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// First bytes of packets [MQTT-2.2.1].
const (
	Connack    = 0x20
	Publish    = 0x30 // without flags
	Puback     = 0x40
	Suback     = 0x90
	Pingresp   = 0xd0
	Disconnect = 0xe0

	FlagDup  = 0x08 // of a PUBLISH
	FlagQoS1 = 0x02
)

// PacketBytesMax is the longest packet that [Read] accepts.
const PacketBytesMax = 256 << 10

// AppendConnect appends a CONNECT with protocol level 4 and no keep-alive.
func AppendConnect(dst []byte, clientID string, clean bool) []byte {
	return AppendSession(dst, Session{ClientID: clientID, Clean: clean})
}

// Session is how a client connects. A client that has no user has no password either.
type Session struct {
	ClientID  string
	Clean     bool
	KeepAlive uint16 // s; 0: none
	User      string
	Password  string
}

// AppendSession appends a CONNECT with protocol level 4 [MQTT-3.1].
func AppendSession(dst []byte, s Session) []byte {
	var flags byte
	n := 10 + 2 + len(s.ClientID)
	if s.Clean {
		flags |= 0x02
	}
	if s.User != "" {
		flags |= 0x80 | 0x40
		n += 2 + len(s.User) + 2 + len(s.Password)
	}
	dst = AppendRemaining(append(dst, 0x10), n)
	dst = AppendString(dst, "MQTT")
	dst = append(dst, 4, flags, byte(s.KeepAlive>>8), byte(s.KeepAlive))
	dst = AppendString(dst, s.ClientID)
	if s.User != "" {
		dst = AppendString(AppendString(dst, s.User), s.Password)
	}
	return dst
}

// AppendPingreq appends a PINGREQ.
func AppendPingreq(dst []byte) []byte { return append(dst, 0xc0, 0) }

// AppendPublish0 appends a QoS 0 PUBLISH.
func AppendPublish0(dst []byte, topic string, payload []byte) []byte {
	dst = AppendRemaining(append(dst, Publish), 2+len(topic)+len(payload))
	return append(AppendString(dst, topic), payload...)
}

// AppendPublish appends a QoS 1 PUBLISH.
func AppendPublish(dst []byte, topic string, id uint16, dup bool, payload []byte) []byte {
	first := byte(Publish | FlagQoS1)
	if dup {
		first |= FlagDup
	}
	dst = append(dst, first)
	dst = AppendRemaining(dst, 2+len(topic)+2+len(payload))
	dst = AppendString(dst, topic)
	dst = binary.BigEndian.AppendUint16(dst, id)
	return append(dst, payload...)
}

// AppendSubscribe appends a SUBSCRIBE to filters with QoS 1.
func AppendSubscribe(dst []byte, id uint16, filters ...string) []byte {
	n := 2
	for _, f := range filters {
		n += 2 + len(f) + 1
	}
	dst = append(dst, 0x82)
	dst = AppendRemaining(dst, n)
	dst = binary.BigEndian.AppendUint16(dst, id)
	for _, f := range filters {
		dst = AppendString(dst, f)
		dst = append(dst, 1)
	}
	return dst
}

// AppendPuback appends a PUBACK.
func AppendPuback(dst []byte, id uint16) []byte {
	return append(dst, Puback, 2, byte(id>>8), byte(id))
}

// AppendRemaining appends a remaining length [MQTT-2.2.3].
func AppendRemaining(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// AppendString appends a length-prefixed string [MQTT-1.5.3].
func AppendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// Packet is a packet as read: its first byte and what follows the remaining
// length. Body is valid until the next [Read] with the same buffer.
type Packet struct {
	First byte
	Body  []byte
}

// ErrMalformed says that the peer broke the protocol.
var ErrMalformed = errors.New("malformed packet")

// Read reads one packet, using buf's memory for its body, and returns the memory
// to use next time.
func Read(r *bufio.Reader, buf []byte) (Packet, []byte, error) {
	first, err := r.ReadByte()
	if err != nil {
		return Packet{}, buf, err
	}
	n, shift := 0, 0
	for {
		b, err := r.ReadByte()
		if err != nil {
			return Packet{}, buf, err
		}
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			break
		}
		if shift += 7; shift > 21 {
			return Packet{}, buf, fmt.Errorf("%w: remaining length is over 4 bytes", ErrMalformed)
		}
	}
	if n > PacketBytesMax {
		return Packet{}, buf, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, n, PacketBytesMax)
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		return Packet{}, buf, err
	}
	return Packet{First: first, Body: buf}, buf, nil
}

// PacketID decodes the identifier that a PUBACK or SUBACK begins with.
func (p Packet) PacketID() (uint16, error) {
	if len(p.Body) < 2 {
		return 0, fmt.Errorf("%w: %#x has no packet identifier", ErrMalformed, p.First)
	}
	return binary.BigEndian.Uint16(p.Body), nil
}

// Message decodes a PUBLISH with QoS 0 or 1; the identifier of QoS 0 is 0.
func (p Packet) Message() (topic string, id uint16, payload []byte, err error) {
	b := p.Body
	if p.First&0xf0 != Publish || len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
		return "", 0, nil, fmt.Errorf("%w: not a PUBLISH", ErrMalformed)
	}
	end := 2 + int(binary.BigEndian.Uint16(b))
	topic, b = string(b[2:end]), b[end:]
	if p.First&FlagQoS1 != 0 {
		if len(b) < 2 {
			return "", 0, nil, fmt.Errorf("%w: PUBLISH without identifier", ErrMalformed)
		}
		id, b = binary.BigEndian.Uint16(b), b[2:]
	}
	return topic, id, b, nil
}
