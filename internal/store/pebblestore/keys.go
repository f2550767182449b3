package pebblestore

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// The first byte of a key says what it is; docs/format/store.md has the layout.
// Names end with a zero byte, which no name holds and which sorts before all that
// may follow; numbers are in the ordered form of appendOrdered.
const (
	keyLog     = 'L' // day, pos
	keyHistory = 'D' // class, day, thing, shadow, seq
	keyShadow  = 'S' // thing, shadow
	keyHead    = 'H' // thing
	keyAnchor  = 'A' // thing, seq
	keyRecord  = 'R' // kind, key
	keyCounter = 'C' // nothing more
	keyBase    = 'B' // thing, shadow
	keyExpired = 'X' // class, or nothing more
)

// appendOrdered appends a number so that the order of the bytes is the order of
// the numbers, in few bytes: how many follow, then they, big-endian.
func appendOrdered(dst []byte, v uint64) []byte {
	n := (bits.Len64(v) + 7) / 8
	dst = append(dst, byte(n))
	for shift := 8 * (n - 1); shift >= 0; shift -= 8 {
		dst = append(dst, byte(v>>shift))
	}
	return dst
}

// ordered reads what appendOrdered wrote and returns the rest.
func ordered(b []byte) (v uint64, rest []byte, ok bool) {
	if len(b) == 0 || b[0] > 8 || len(b) < 1+int(b[0]) {
		return 0, nil, false
	}
	n := 1 + int(b[0])
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	return v, b[n:], true
}

func appendName[T ~string](dst []byte, name T) []byte {
	dst = append(dst, name...)
	return append(dst, 0)
}

// name reads what appendName wrote and returns the rest.
func name(b []byte) (s, rest []byte, ok bool) {
	return bytes.Cut(b, []byte{0})
}

func appendLogKey(dst []byte, day uint32, pos store.Pos) []byte {
	dst = append(dst, keyLog)
	dst = appendOrdered(dst, uint64(day))
	return appendOrdered(dst, uint64(pos))
}

func parseLogKey(key []byte) (day uint32, pos store.Pos, ok bool) {
	if len(key) == 0 || key[0] != keyLog {
		return 0, 0, false
	}
	d, rest, ok := ordered(key[1:])
	if !ok || d > 1<<32-1 {
		return 0, 0, false
	}
	p, rest, ok := ordered(rest)
	return uint32(d), store.Pos(p), ok && len(rest) == 0
}

// appendHistoryDay appends the start of all history keys of a class on a day.
func appendHistoryDay(dst []byte, class store.Class, day uint32) []byte {
	return appendOrdered(append(dst, keyHistory, byte(class)), uint64(day))
}

// appendHistoryPrefix appends the start of the history keys of a shadow on a day.
func appendHistoryPrefix(dst []byte, class store.Class, day uint32, key twin.ShadowKey) []byte {
	dst = appendHistoryDay(dst, class, day)
	dst = appendName(dst, key.Thing)
	return appendName(dst, key.Shadow)
}

func appendHistoryKey(dst []byte, class store.Class, day uint32, key twin.ShadowKey, seq twin.Seq) []byte {
	return appendOrdered(appendHistoryPrefix(dst, class, day, key), uint64(seq))
}

// historyDay returns the day in a history key.
func historyDay(key []byte) (day uint32, ok bool) {
	if len(key) < 2 || key[0] != keyHistory {
		return 0, false
	}
	d, _, ok := ordered(key[2:])
	return uint32(d), ok && d <= 1<<32-1
}

func appendShadowKey(dst []byte, key twin.ShadowKey) []byte {
	dst = appendName(append(dst, keyShadow), key.Thing)
	return append(dst, key.Shadow...)
}

func parseShadowKey(key []byte) (k twin.ShadowKey, ok bool) {
	if len(key) == 0 || key[0] != keyShadow {
		return k, false
	}
	thing, shadow, ok := name(key[1:])
	return twin.ShadowKey{Thing: twin.ThingName(thing), Shadow: twin.ShadowName(shadow)}, ok
}

func appendHeadKey(dst []byte, thing twin.ThingName) []byte {
	return append(append(dst, keyHead), thing...)
}

func appendAnchorKey(dst []byte, thing twin.ThingName, seq twin.Seq) []byte {
	return appendOrdered(appendName(append(dst, keyAnchor), thing), uint64(seq))
}

func appendRecordKey(dst []byte, kind twin.RecordKind, key string) []byte {
	return append(append(dst, keyRecord, byte(kind)), key...)
}

func appendBaseKey(dst []byte, key twin.ShadowKey) []byte {
	dst = appendName(append(dst, keyBase), key.Thing)
	return append(dst, key.Shadow...)
}

// after returns the first key that does not begin with prefix.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil // all 0xff: there is no end
}

// fields reads the binary fields of a value; after the first fault it returns
// zero values and bad is set.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) fail() { f.b, f.bad = nil, true }

func (f *fields) byte() byte {
	if len(f.b) == 0 {
		f.fail()
		return 0
	}
	c := f.b[0]
	f.b = f.b[1:]
	return c
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) varint() int64 {
	z := f.uvarint()
	return int64(z>>1) ^ -int64(z&1)
}

// name returns the next name.
func (f *fields) name() string {
	s, rest, ok := name(f.b)
	if !ok {
		f.fail()
		return ""
	}
	f.b = rest
	return string(s)
}

// take returns the next n bytes, in place.
func (f *fields) take(n int) []byte {
	if n > len(f.b) {
		f.fail()
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}
