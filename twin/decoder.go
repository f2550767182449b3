package twin

import (
	"bytes"
	"encoding/binary"
	"errors"
)

var (
	errShort  = errors.New("ends too early")
	errVarint = errors.New("a number is not in its shortest form")
	errRange  = errors.New("a number is out of range")
)

// decoder reads the binary encodings of this package; after the first fault it
// returns zero values and keeps the error. It takes only what the encoders write:
// two encodings of one value would have two hashes.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) stop(err error) {
	if d.err == nil {
		d.b, d.err = nil, err
	}
}

func (d *decoder) byte() byte {
	if len(d.b) < 1 {
		d.stop(errShort)
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uint16() uint16 {
	if len(d.b) < 2 {
		d.stop(errShort)
		return 0
	}
	v := binary.BigEndian.Uint16(d.b)
	d.b = d.b[2:]
	return v
}

// name reads up to a zero byte, which it drops.
func (d *decoder) name() []byte {
	i := bytes.IndexByte(d.b, 0)
	if i < 0 {
		d.stop(errShort)
		return nil
	}
	s := d.b[:i]
	d.b = d.b[i+1:]
	return s
}

func (d *decoder) uvarint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 {
		v := uint64(d.b[0])
		d.b = d.b[1:]
		return v
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.stop(errShort)
		return 0
	}
	if d.b[n-1] == 0 { // n > 1 here
		d.stop(errVarint)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) uvarintMax(limit uint64) uint64 {
	v := d.uvarint()
	if v > limit {
		d.stop(errRange)
		return 0
	}
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}

// take returns the next n bytes, nil if n is 0.
func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.stop(errShort)
		return nil
	}
	if n == 0 {
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// bytes returns nil for an empty field, so that a decoded value equals the one
// that was encoded.
func (d *decoder) bytes() []byte { return d.take(d.uvarint()) }
