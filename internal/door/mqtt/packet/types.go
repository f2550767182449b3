package packet

import "fmt"

// Type is a control packet type, the upper four bits of the first byte.
type Type byte

// The control packet types, MQTT 5 table 2-1.
const (
	CONNECT     Type = 1
	CONNACK     Type = 2
	PUBLISH     Type = 3
	PUBACK      Type = 4
	PUBREC      Type = 5
	PUBREL      Type = 6
	PUBCOMP     Type = 7
	SUBSCRIBE   Type = 8
	SUBACK      Type = 9
	UNSUBSCRIBE Type = 10
	UNSUBACK    Type = 11
	PINGREQ     Type = 12
	PINGRESP    Type = 13
	DISCONNECT  Type = 14
	AUTH        Type = 15
)

// Version is the protocol level of CONNECT.
type Version byte

// The protocol levels this package knows.
const (
	V311 Version = 4
	V5   Version = 5
)

// Reason is an MQTT 5 reason code, table 2-6.
type Reason byte

// The reason codes used here.
const (
	Success                 Reason = 0x00
	GrantedQoS1             Reason = 0x01
	GrantedQoS2             Reason = 0x02
	DisconnectWithWill      Reason = 0x04
	NoSubscriptionExisted   Reason = 0x11
	Unspecified             Reason = 0x80
	MalformedPacket         Reason = 0x81
	ProtocolError           Reason = 0x82
	ImplementationSpecific  Reason = 0x83
	UnsupportedVersion      Reason = 0x84
	ClientIDNotValid        Reason = 0x85
	NotAuthorized           Reason = 0x87
	ServerUnavailable       Reason = 0x88
	ServerBusy              Reason = 0x89
	ServerShuttingDown      Reason = 0x8B
	BadAuthMethod           Reason = 0x8C
	KeepAliveTimeout        Reason = 0x8D
	SessionTakenOver        Reason = 0x8E
	TopicFilterInvalid      Reason = 0x8F
	TopicNameInvalid        Reason = 0x90
	PacketIDInUse           Reason = 0x91
	ReceiveMaximumExceeded  Reason = 0x93
	TopicAliasInvalid       Reason = 0x94
	PacketTooLarge          Reason = 0x95
	QuotaExceeded           Reason = 0x97
	PayloadFormatInvalid    Reason = 0x99
	RetainNotSupported      Reason = 0x9A
	QoSNotSupported         Reason = 0x9B
	SharedNotSupported      Reason = 0x9E
	SubIDsNotSupported      Reason = 0xA1
	WildcardsNotSupported   Reason = 0xA2
	stringBytesMax                 = 65535 // [MQTT-1.5.4] and 1.5.6: a two byte length
	remainingLengthBytesMax        = 4     // 1.5.5
	// RemainingLengthMax is the longest packet body the protocol can express.
	RemainingLengthMax = 268_435_455
)

// Error is a packet that breaks the protocol.
type Error struct {
	Reason Reason
	Rule   string // number of the statement, or of the clause, without brackets
	Text   string
}

// Error returns the text with the rule.
func (e *Error) Error() string {
	if e.Rule == "" {
		return e.Text
	}
	return fmt.Sprintf("%s [%s]", e.Text, e.Rule)
}

func malformed(rule, text string) *Error { return &Error{MalformedPacket, rule, text} }
func protocol(rule, text string) *Error  { return &Error{ProtocolError, rule, text} }

// Header is the fixed header of a packet.
type Header struct {
	Type   Type
	Flags  byte
	Length int // bytes that follow the header
	Size   int // bytes of the header itself
}

// ParseHeader reads a fixed header from the start of b. Size is 0 when b does not
// hold all of it yet. The flags are checked, so a packet with reserved bits is
// refused before its body is read.
func ParseHeader(b []byte) (Header, error) {
	if len(b) == 0 {
		return Header{}, nil
	}
	h := Header{Type: Type(b[0] >> 4), Flags: b[0] & 0x0f}
	if err := checkFlags(h); err != nil {
		return Header{}, err
	}
	n, size, err := varint(b[1:])
	if err != nil {
		return Header{}, err
	}
	if size == 0 {
		return Header{}, nil
	}
	h.Length, h.Size = n, 1+size
	return h, nil
}

func checkFlags(h Header) error {
	switch h.Type {
	case 0:
		return malformed("2.1.2", "packet type 0 is reserved")
	case PUBLISH:
		if h.Flags&0x06 == 0x06 {
			return malformed("MQTT-3.3.1-4", "both QoS bits of a publish are set")
		}
		if h.Flags&0x0e == 0x08 {
			return malformed("MQTT-3.3.1-2", "DUP is set on a QoS 0 publish")
		}
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		if h.Flags != 0x02 {
			return malformed("MQTT-2.1.3-1", "reserved flags of the fixed header are not 0010")
		}
	default:
		if h.Flags != 0 {
			return malformed("MQTT-2.1.3-1", "reserved flags of the fixed header are not 0000")
		}
	}
	return nil
}

// varint reads a Variable Byte Integer; size 0 means b ends too early.
func varint(b []byte) (v, size int, err error) {
	for i := range remainingLengthBytesMax {
		if i == len(b) {
			return 0, 0, nil
		}
		v |= int(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			if i > 0 && b[i] == 0 {
				return 0, 0, malformed("MQTT-1.5.5-1", "variable byte integer is longer than needed")
			}
			return v, i + 1, nil
		}
	}
	return 0, 0, malformed("1.5.5", "variable byte integer is longer than four bytes")
}

func appendVarint(dst []byte, v int) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func varintSize(v int) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}
