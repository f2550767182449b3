package proof

import (
	"bytes"
	"encoding/binary"

	"github.com/twofold-iot/twofold/twin"
)

// stamp is what [Verify] needs of an event: the part in front, read in place without
// decoding the rest. A test compares it with [twin.DecodeEvent].
type stamp struct {
	thing, shadow []byte // share the event's memory
	seq           twin.Seq
	time          twin.Time
}

// Of docs/format/event.md, "fields".
const (
	fieldSession  = 1 << 1
	fieldPacketID = 1 << 2
)

// readStamp reads the start of a canonical event; ok is false if it is none.
func readStamp(b []byte) (s stamp, ok bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return s, false
	}
	s.thing, b = b[:i], b[i+1:]
	if i = bytes.IndexByte(b, 0); i < 0 {
		return s, false
	}
	s.shadow, b = b[:i], b[i+1:]
	seq, n := binary.Uvarint(b)
	if n <= 0 || len(b) < n+4 { // format, kind, door and at least one byte of fields
		return s, false
	}
	s.seq = twin.Seq(seq)
	b = b[n+3:]
	fields, n := binary.Uvarint(b)
	if n <= 0 {
		return s, false
	}
	b = b[n:]
	if _, n = binary.Varint(b); n <= 0 { // version
		return s, false
	}
	b = b[n:]
	if fields&fieldSession != 0 {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return s, false
		}
		b = b[n+int(size):]
	}
	if fields&fieldPacketID != 0 {
		if len(b) < 2 {
			return s, false
		}
		b = b[2:]
	}
	t, n := binary.Varint(b)
	s.time = twin.Time(t)
	return s, n > 0
}
