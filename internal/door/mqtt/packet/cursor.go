package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// cursor walks over a body. After the first fault every read returns zero values
// and err keeps what was wrong.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(e *Error) {
	if c.err == nil {
		c.err = e
	}
	c.b = nil
}

func (c *cursor) short() { c.fail(malformed("", "packet ends too early")) }

func (c *cursor) byte() byte {
	if len(c.b) < 1 {
		c.short()
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) uint16() uint16 {
	if len(c.b) < 2 {
		c.short()
		return 0
	}
	v := binary.BigEndian.Uint16(c.b)
	c.b = c.b[2:]
	return v
}

func (c *cursor) uint32() uint32 {
	if len(c.b) < 4 {
		c.short()
		return 0
	}
	v := binary.BigEndian.Uint32(c.b)
	c.b = c.b[4:]
	return v
}

func (c *cursor) varint() int {
	v, n, err := varint(c.b)
	if err != nil {
		c.err, c.b = err, nil
		return 0
	}
	if n == 0 {
		c.short()
		return 0
	}
	c.b = c.b[n:]
	return v
}

// take returns the next n bytes.
func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.short()
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// binary reads Binary Data, 1.5.6.
func (c *cursor) binary() []byte { return c.take(int(c.uint16())) }

// string reads a UTF-8 Encoded String.
func (c *cursor) string() []byte {
	s := c.binary()
	if c.err == nil && !ValidString(s) {
		c.fail(malformed("MQTT-1.5.4-1", "string is not UTF-8 or holds U+0000"))
		return nil
	}
	return s
}

// packetID reads a packet identifier, which is never 0.
func (c *cursor) packetID() uint16 {
	id := c.uint16()
	if c.err == nil && id == 0 {
		c.fail(&Error{ProtocolError, "MQTT-2.2.1-3", "packet identifier is 0"})
	}
	return id
}

// done reports the first fault, or bytes that should not be there.
func (c *cursor) done() error {
	if c.err == nil && len(c.b) != 0 {
		return malformed("", "packet has bytes after its end")
	}
	return c.err
}

// ValidString reports whether s may be a UTF-8 Encoded String: well-formed, which
// leaves out surrogates [MQTT-1.5.4-1], and without U+0000 [MQTT-1.5.4-2].
func ValidString(s []byte) bool {
	return bytes.IndexByte(s, 0) < 0 && utf8.Valid(s)
}

func appendUint16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }

func appendString[T string | []byte](dst []byte, s T) []byte {
	s = s[:min(len(s), stringBytesMax)]
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}
