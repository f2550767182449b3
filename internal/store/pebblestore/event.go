package pebblestore

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"
	"strconv"

	"github.com/twofold-iot/twofold/twin"
)

// The value of a history key is the canonical event in fewer bytes. What the key
// has is left out. The rest is split into its shape, which hardly changes from
// one event of a shadow to the next, and what does change, so that each lies
// together and a block of events compresses well. What the split would not give
// back byte for byte is kept as it is: the hash chain is over these bytes.

// The first byte of an event's value: how it is kept.
const (
	eventWhole = 0 // the canonical bytes; they do not begin as the key says
	eventBody  = 1 // what follows their prefix
	eventSplit = 2 // that, split
)

// eventSumBytes is the length of an event's checksum: the low bytes of the CRC-32C
// of the canonical bytes. Blocks have checksums of their own; this one finds an
// event that is at the wrong key, and names the culprit inside a segment of the
// hash chain.
const eventSumBytes = 2

// A byte from numberMark on in a shape stands for a number with so many decimals.
// No text in UTF-8 has such bytes; a shape with one of its own is not split.
const (
	numberMark        = 0xf5
	numberDecimalsMax = 0xff - numberMark
	numberDigitsMax   = 18 // so that it fits into 63 bits
	shapeMinBytes     = 4  // format, kind, door, fields
)

// packer packs events; it reuses its memory.
type packer struct {
	prefix, shape, numbers []byte
}

// append appends the value of an event with a key on a day.
func (p *packer) append(dst []byte, key twin.ShadowKey, seq twin.Seq, day uint32, event []byte) []byte {
	at := twin.Event{Thing: key.Thing, Shadow: key.Shadow, Seq: seq}
	p.prefix = at.AppendPrefix(p.prefix[:0])
	sum := uint16(crc32.Checksum(event, castagnoli))
	body, ok := bytes.CutPrefix(event, p.prefix)
	if !ok {
		dst = binary.BigEndian.AppendUint16(append(dst, eventWhole), sum)
		return append(dst, event...)
	}
	start := len(dst)
	dst = append(dst, eventSplit)
	if time, rest, ok := bodyTime(body, day); ok {
		p.shape = append(p.shape[:0], body[:len(body)-len(rest.all)]...)
		p.numbers = p.numbers[:0]
		if !slices.ContainsFunc(p.shape, isMark) && p.split(rest.after) {
			head := len(body) - len(rest.all)
			dst = binary.AppendUvarint(dst, uint64(head))
			dst = binary.AppendUvarint(dst, uint64(len(p.shape)))
			dst = append(dst, p.shape...)
			dst = append(dst, p.numbers...)
			dst = binary.BigEndian.AppendUint32(dst, time)
			return binary.BigEndian.AppendUint16(dst, sum)
		}
	}
	dst = append(dst[:start], eventBody)
	dst = binary.BigEndian.AppendUint16(dst, sum)
	return append(dst, body...)
}

type timeCut struct{ all, after []byte } // from the commit time on, and after it

// bodyTime finds the commit time in the body of an event, as ms of the day; ok is
// false if the body is of another form or the time of another day.
func bodyTime(body []byte, day uint32) (ms uint32, c timeCut, ok bool) {
	if len(body) < shapeMinBytes || body[0] != eventFormatKnown {
		return 0, c, false
	}
	f := fields{b: body[3:]}
	has := f.uvarint()
	f.uvarint() // the version, zigzag: its length is the same
	if has&eventHasSession != 0 {
		f.take(int(min(f.uvarint(), uint64(len(body)+1))))
	}
	if has&eventHasPacketID != 0 {
		f.take(2)
	}
	c.all = f.b
	z := f.uvarint()
	c.after = f.b
	t := twin.Time(z >> 1)
	if f.bad || z&1 != 0 || uvarintLen(z) != len(c.all)-len(c.after) || t.Day() != day {
		return 0, c, false
	}
	return uint32(int64(t) - int64(day)*dayMillis), c, true
}

// What bodyTime has to know of the canonical form, docs/format/event.md.
const (
	eventFormatKnown = 1
	eventHasSession  = 1 << 1
	eventHasPacketID = 1 << 2
	dayMillis        = 24 * 60 * 60 * 1000
)

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func isMark(c byte) bool { return c >= numberMark }

// split appends b to the shape with its numbers taken out; false if b has marks.
func (p *packer) split(b []byte) bool {
	for i := 0; i < len(b); {
		n, v, decimals := number(b[i:])
		if n > 0 {
			p.shape = append(p.shape, numberMark+byte(decimals))
			p.numbers = binary.AppendVarint(p.numbers, v)
			i += n
			continue
		}
		if isMark(b[i]) {
			return false
		}
		// Digits that are no number go over as they are, all of them: the rest of
		// them would read as another number.
		digit := isDigit(b[i])
		p.shape = append(p.shape, b[i])
		for i++; digit && i < len(b) && isDigit(b[i]); i++ {
			p.shape = append(p.shape, b[i])
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number reads the number at the start of b, n bytes long: its digits as v, of
// which so many are decimals. n is 0 if there is none or it would not be written
// like this again.
func number(b []byte) (n int, v int64, decimals int) {
	i := 0
	if i < len(b) && b[i] == '-' {
		i++
	}
	first := i
	for ; i < len(b) && isDigit(b[i]); i++ {
	}
	whole := i - first
	if whole == 0 || whole > numberDigitsMax || whole > 1 && b[first] == '0' {
		return 0, 0, 0
	}
	for _, c := range b[first:i] {
		v = v*10 + int64(c-'0')
	}
	if i+1 < len(b) && b[i] == '.' && isDigit(b[i+1]) {
		j := i + 1
		for ; j < len(b) && isDigit(b[j]); j++ {
		}
		decimals = j - i - 1
		if decimals > numberDecimalsMax || whole+decimals > numberDigitsMax {
			return 0, 0, 0
		}
		for _, c := range b[i+1 : j] {
			v = v*10 + int64(c-'0')
		}
		i = j
	}
	if first == 0 {
		return i, v, decimals
	}
	if v == 0 { // minus zero
		return 0, 0, 0
	}
	return i, -v, decimals
}

// appendNumber writes what number has read.
func appendNumber(dst []byte, v int64, decimals int) []byte {
	if v < 0 {
		dst = append(dst, '-')
	}
	var buf [24]byte
	digits := strconv.AppendUint(buf[:0], magnitude(v), 10)
	for len(digits) <= decimals {
		digits = slices.Insert(digits, 0, '0')
	}
	whole := len(digits) - decimals
	dst = append(dst, digits[:whole]...)
	if decimals > 0 {
		dst = append(append(dst, '.'), digits[whole:]...)
	}
	return dst
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

// unpackEvent returns the canonical bytes, in memory of their own, of the event with
// a value at a key.
func unpackEvent(key twin.ShadowKey, seq twin.Seq, day uint32, value []byte) ([]byte, error) {
	f := fields{b: value}
	kept := f.byte()
	var event []byte
	var sum []byte
	if kept == eventBody || kept == eventSplit {
		at := twin.Event{Thing: key.Thing, Shadow: key.Shadow, Seq: seq}
		event = at.AppendPrefix(make([]byte, 0, len(key.Thing)+len(key.Shadow)+2*len(value)+32))
	}
	switch kept {
	case eventWhole, eventBody:
		sum = f.take(eventSumBytes)
		event = append(event, f.b...)
	case eventSplit:
		event, sum = unsplit(&f, event, day)
	default:
		f.fail()
	}
	if f.bad {
		return nil, errDamaged("event: its value is of no known form")
	}
	if uint16(crc32.Checksum(event, castagnoli)) != binary.BigEndian.Uint16(sum) {
		return nil, errDamaged("event: its checksum is wrong")
	}
	return event, nil
}

// unsplit appends the body of an event to its prefix.
func unsplit(f *fields, event []byte, day uint32) (canonical, sum []byte) {
	head, size := f.uvarint(), f.uvarint()
	if f.bad || head > size || size > uint64(len(f.b)) || len(f.b)-int(size) < 4+eventSumBytes {
		f.fail()
		return nil, nil
	}
	shape := f.take(int(size))
	tail := len(f.b) - 4 - eventSumBytes
	ms := binary.BigEndian.Uint32(f.b[tail:])
	sum = f.b[tail+4:]
	numbers := fields{b: f.b[:tail]}
	event = append(event, shape[:head]...)
	event = binary.AppendVarint(event, int64(day)*dayMillis+int64(ms))
	for _, c := range shape[head:] {
		if !isMark(c) {
			event = append(event, c)
			continue
		}
		z := numbers.uvarint()
		event = appendNumber(event, int64(z>>1)^-int64(z&1), int(c-numberMark))
	}
	if f.bad = numbers.bad || len(numbers.b) != 0; f.bad {
		return nil, nil
	}
	return event, sum
}

// parseHistoryKey reads what appendHistoryKey wrote.
func parseHistoryKey(b []byte) (class byte, day uint32, key twin.ShadowKey, seq twin.Seq, ok bool) {
	if len(b) < 2 || b[0] != keyHistory {
		return 0, 0, key, 0, false
	}
	d, rest, ok1 := ordered(b[2:])
	thing, rest, ok2 := name(rest)
	shadow, rest, ok3 := name(rest)
	n, rest, ok4 := ordered(rest)
	key = twin.ShadowKey{Thing: twin.ThingName(thing), Shadow: twin.ShadowName(shadow)}
	return b[1], uint32(d), key, twin.Seq(n), ok1 && ok2 && ok3 && ok4 && d <= 1<<32-1 && len(rest) == 0
}

// eventAt returns the canonical bytes of the event with a key and value.
func eventAt(key, value []byte) ([]byte, error) {
	_, day, k, seq, ok := parseHistoryKey(key)
	if !ok {
		return nil, errDamaged("key of an event")
	}
	return unpackEvent(k, seq, day, value)
}
