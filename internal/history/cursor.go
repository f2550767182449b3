package history

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"github.com/twofold-iot/twofold/twin"
)

// Cursor is an opaque place between two pages; empty is the start. It fits only the
// question it came from.
type Cursor string

// cursorFormat is the first byte of a cursor. After it: a checksum (CRC-32C, big
// endian) over the question and the place, then the place: time and seq (uvarint),
// and the thing where the question has many. The checksum is no secret; it is there so
// that an edited or mixed up cursor is an error and not a wrong page.
const cursorFormat = 1

// place is what a cursor says: the last event of the page before.
type place struct {
	time  twin.Time
	seq   twin.Seq
	thing twin.ThingName
}

func (p place) cursor(question []byte) Cursor {
	body := binary.AppendUvarint(nil, uint64(p.time))
	body = binary.AppendUvarint(body, uint64(p.seq))
	body = append(body, p.thing...)
	b := binary.BigEndian.AppendUint32([]byte{cursorFormat}, cursorSum(question, body))
	return Cursor(base64.RawURLEncoding.EncodeToString(append(b, body...)))
}

// parse returns the place of a cursor, nil for the start.
func (c Cursor) parse(question []byte) (*place, error) {
	if c == "" {
		return nil, nil // the start
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(string(c))
	if err != nil || len(b) < 5 {
		return nil, invalid("The cursor is damaged: use one as it was returned, or none to start again")
	}
	if b[0] != cursorFormat {
		return nil, invalid("The cursor is of format %d, this server makes format %d: start again without a cursor", b[0], cursorFormat)
	}
	body := b[5:]
	if binary.BigEndian.Uint32(b[1:5]) != cursorSum(question, body) {
		return nil, invalid("The cursor was altered or belongs to another query: repeat the query it came from, or start again without a cursor")
	}
	time, n := binary.Uvarint(body)
	if n <= 0 {
		return nil, invalid("The cursor is damaged")
	}
	seq, m := binary.Uvarint(body[n:])
	if m <= 0 {
		return nil, invalid("The cursor is damaged")
	}
	return &place{twin.Time(time), twin.Seq(seq), twin.ThingName(body[n+m:])}, nil
}

func cursorSum(question, body []byte) uint32 {
	t := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(question, t), t, body)
}
