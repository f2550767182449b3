package series

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
)

// A list of whole numbers is written as its first number, the unit of all differences
// from it, and blocks of so many units. A block is packed in one of three ways, the one
// that is smallest: the numbers less the least of them (frame of reference), the steps
// between them, or the changes of the steps (both less their least). Few that need
// more bits than the others are patched in (PFOR: Zukowski et al., "Super-Scalar RAM-CPU
// Cache Compression", ICDE 2006). All arithmetic wraps: any int64 comes back.
//
//	list   zigzag first, uvarint unit, blocks
//	block  1 byte width<<2 | way, zigzag least, uvarint patches, packed bits,
//	       for each patch 1 byte place and uvarint of the bits above the width
const blockLen = 128

// The ways of a block. The numbers are on disk.
const (
	wayPlain = iota
	waySteps
	wayTurns
	ways
)

var errDamaged = errors.New("damaged series")

// carry is what a block knows of the one before.
type carry struct{ last, step int64 }

func (c *carry) pass(v []int64) {
	for _, x := range v {
		c.step, c.last = x-c.last, x
	}
}

// packer holds the memory of one encoding.
type packer struct {
	units []int64
	rest  [ways][blockLen]uint64
}

// appendInts writes a list; its length is written by the caller.
func (p *packer) appendInts(dst []byte, v []int64) []byte {
	if len(v) == 0 {
		return dst
	}
	unit := unitOf(v)
	dst = binary.AppendVarint(dst, v[0])
	dst = binary.AppendUvarint(dst, uint64(unit))
	p.units = p.units[:0]
	for _, x := range v {
		p.units = append(p.units, (x-v[0])/unit)
	}
	var c carry
	for i := 0; i < len(p.units); i += blockLen {
		block := p.units[i:min(i+blockLen, len(p.units))]
		dst = p.appendBlock(dst, block, c)
		c.pass(block)
	}
	return dst
}

// unitOf is the greatest number that divides all differences from the first.
func unitOf(v []int64) int64 {
	g := uint64(0)
	for _, x := range v[1:] {
		d := x - v[0]
		if d == math.MinInt64 {
			return 1
		}
		for a := uint64(max(d, -d)); a != 0; {
			g, a = a, g%a
		}
		if g == 1 {
			return 1
		}
	}
	return max(1, int64(g))
}

func (p *packer) appendBlock(dst []byte, v []int64, c carry) []byte {
	var least [ways]int64
	for w := range least {
		least[w] = math.MaxInt64
	}
	last, step := c.last, c.step
	for i, x := range v {
		s := x - last
		t := s - step
		p.rest[wayPlain][i], p.rest[waySteps][i], p.rest[wayTurns][i] = uint64(x), uint64(s), uint64(t)
		least[wayPlain], least[waySteps], least[wayTurns] = min(least[wayPlain], x), min(least[waySteps], s), min(least[wayTurns], t)
		last, step = x, s
	}
	best, width, cost := 0, 0, math.MaxInt
	for w := range ways {
		rest := p.rest[w][:len(v)]
		for i := range rest {
			rest[i] -= uint64(least[w])
		}
		if bw, bc := bestWidth(rest); bc < cost {
			best, width, cost = w, bw, bc
		}
	}
	rest := p.rest[best][:len(v)]
	dst = append(dst, byte(width<<2|best))
	dst = binary.AppendVarint(dst, least[best])
	return appendPacked(dst, rest, width)
}

// bestWidth returns the width that makes a block smallest, and its size in bits.
func bestWidth(rest []uint64) (width, cost int) {
	var lens [65]int
	longest := 0
	for _, r := range rest {
		n := bits.Len64(r)
		lens[n]++
		longest = max(longest, n)
	}
	cost = math.MaxInt
	patches := 0
	for w := longest; w >= 0; w-- {
		if w < 64 {
			c := w*len(rest) + patches*(8+8*((longest-w+6)/7))
			if c <= cost {
				width, cost = w, c
			}
		}
		patches += lens[w]
	}
	return width, cost
}

func appendPacked(dst []byte, rest []uint64, width int) []byte {
	mask := uint64(1)<<width - 1
	patches := 0
	for _, r := range rest {
		if r > mask {
			patches++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(patches))
	var acc uint64
	have := 0
	for _, r := range rest {
		r &= mask
		acc |= r << have
		if have+width >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, acc)
			acc = r >> (64 - have) // 0 if have is 0: width is at most 63
			have += width - 64
			continue
		}
		have += width
	}
	for ; have > 0; have -= 8 {
		dst = append(dst, byte(acc))
		acc >>= 8
	}
	if patches > 0 {
		for i, r := range rest {
			if r > mask {
				dst = append(dst, byte(i))
				dst = binary.AppendUvarint(dst, r>>width)
			}
		}
	}
	return dst
}

// source is bytes that are read; bad is set when they do not make sense.
type source struct {
	b   []byte
	bad bool
}

func (s *source) fail() { s.b, s.bad = nil, true }

func (s *source) uvarint() uint64 {
	v, n := binary.Uvarint(s.b)
	if n <= 0 {
		s.fail()
		return 0
	}
	s.b = s.b[n:]
	return v
}

func (s *source) varint() int64 {
	v, n := binary.Varint(s.b)
	if n <= 0 {
		s.fail()
		return 0
	}
	s.b = s.b[n:]
	return v
}

func (s *source) byte() byte {
	if len(s.b) == 0 {
		s.fail()
		return 0
	}
	c := s.b[0]
	s.b = s.b[1:]
	return c
}

func (s *source) bytes(n uint64) []byte {
	if n > uint64(len(s.b)) {
		s.fail()
		return nil
	}
	b := s.b[:n:n]
	s.b = s.b[n:]
	return b
}

// length reads how many numbers there are. A block of 128 takes three bytes at least.
func (s *source) length() int {
	n := s.uvarint()
	if n > uint64(len(s.b))*blockLen {
		s.fail()
		return 0
	}
	return int(n)
}

// ints reads a list into v.
func (s *source) ints(v []int64) {
	if len(v) == 0 {
		return
	}
	first, unit := s.varint(), int64(s.uvarint())
	var c carry
	for i := 0; i < len(v) && !s.bad; i += blockLen {
		block := v[i:min(i+blockLen, len(v))]
		s.block(block, &c)
	}
	for i, k := range v {
		v[i] = first + k*unit
	}
}

func (s *source) block(v []int64, c *carry) {
	head := s.byte()
	way, width := int(head&3), int(head>>2)
	least := s.varint()
	patches := s.uvarint()
	packed := s.bytes(uint64(len(v)*width+7) / 8)
	if s.bad || way >= ways || patches > uint64(len(v)) {
		s.fail()
		return
	}
	unpack(packed, width, v)
	for range patches {
		at := s.byte()
		high := s.uvarint()
		if int(at) >= len(v) {
			s.fail()
			return
		}
		v[at] |= int64(high << width)
	}
	last, step := c.last, c.step
	switch way {
	case wayPlain:
		for i := range v {
			v[i] += least
		}
		c.pass(v)
		return
	case waySteps:
		for i, r := range v {
			step = r + least
			last += step
			v[i] = last
		}
	default:
		for i, r := range v {
			step += r + least
			last += step
			v[i] = last
		}
	}
	c.last, c.step = last, step
}

// unpack reads len(v) numbers of width bits, the lowest bits first.
func unpack(b []byte, width int, v []int64) {
	if width == 0 {
		clear(v)
		return
	}
	mask := uint64(1)<<width - 1
	for i := range v {
		at := i * width
		from, shift := at>>3, at&7
		var x uint64
		if from+9 <= len(b) {
			x = binary.LittleEndian.Uint64(b[from:]) >> shift
			if shift+width > 64 {
				x |= uint64(b[from+8]) << (64 - shift)
			}
		} else {
			var tail [9]byte
			copy(tail[:], b[from:])
			x = binary.LittleEndian.Uint64(tail[:])>>shift | uint64(tail[8])<<(64-shift)
		}
		v[i] = int64(x & mask)
	}
}
