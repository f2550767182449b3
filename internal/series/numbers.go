package series

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/twofold-iot/twofold/twin"
)

// Point is a number at a time.
type Point struct {
	Time  twin.Time // of the sample, milliseconds since 1970
	Value float64
}

// The kinds of a chunk, its first byte. The numbers are on disk.
const (
	kindDecimal = 1 // values are whole numbers of the last digit
	kindBits    = 2 // values are the bits of the floats, without zeros at the end
	kindStates  = 3
	kindRollups = 4
)

// digitsMax is the most digits after the point that are looked for.
const digitsMax = 14

// wholeMax is the greatest whole number up to which floats have all of them.
const wholeMax = 1 << 53

var powers = [digitsMax + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14}

// whole returns the number of units of 10^-digits that v is, if it is just so many.
func whole(v float64, digits int) (int64, bool) {
	k := math.RoundToEven(v * powers[digits])
	if !(math.Abs(k) <= wholeMax) { // nor NaN
		return 0, false
	}
	return int64(k), math.Float64bits(k/powers[digits]) == math.Float64bits(v) && (k != 0 || !math.Signbit(v))
}

func unwhole(k int64, digits int) float64 { return float64(k) / powers[digits] }

// notDecimal is what [digitsOf] says of numbers that are no decimals.
const notDecimal = -1

// digitsOf returns how many digits after the point the numbers have, but for few
// that do not fit.
func digitsOf(n int, value func(int) float64) (digits, misfits int) {
	var need [digitsMax + 2]int
	last := 0
	for i := range n {
		v := value(i)
		// The digits of the one before are a good guess, and one less is not enough.
		d := last
		if _, ok := whole(v, d); !ok {
			for d++; d <= digitsMax; d++ {
				if _, ok := whole(v, d); ok {
					break
				}
			}
		} else {
			for d > 0 {
				if _, ok := whole(v, d-1); !ok {
					break
				}
				d--
			}
		}
		need[d]++
		if d <= digitsMax {
			last = d
		} else if need[d] > 16+n/8 {
			return notDecimal, n
		}
	}
	rest := n
	for d := range need[:digitsMax+1] {
		rest -= need[d]
		if rest <= n/32 {
			return d, rest
		}
	}
	return notDecimal, n
}

// AppendNumbers writes a chunk of numbers in order of time. They may be any but NaN;
// each comes back bit by bit.
//
//	uvarint length, list of times, then
//	decimal  1 byte digits, list of whole numbers, uvarint exceptions,
//	         for each the uvarint distance from the one before and 8 bytes
//	bits     1 byte shift, list of the bits shifted
func AppendNumbers(dst []byte, points []Point) []byte {
	p := &packer{}
	digits, _ := digitsOf(len(points), func(i int) float64 { return points[i].Value })
	kind := byte(kindDecimal)
	if digits == notDecimal {
		kind = kindBits
	}
	dst = append(dst, kind)
	dst = binary.AppendUvarint(dst, uint64(len(points)))
	v := make([]int64, len(points))
	for i := range points {
		v[i] = int64(points[i].Time)
	}
	dst = p.appendInts(dst, v)
	if kind == kindBits {
		return p.appendBits(dst, points, v)
	}
	return p.appendDecimals(dst, points, v, digits)
}

func (p *packer) appendBits(dst []byte, points []Point, v []int64) []byte {
	all := uint64(0)
	for i := range points {
		all |= math.Float64bits(points[i].Value)
	}
	shift := bits.TrailingZeros64(all) & 63
	for i := range points {
		v[i] = int64(math.Float64bits(points[i].Value) >> shift)
	}
	return p.appendInts(append(dst, byte(shift)), v)
}

func (p *packer) appendDecimals(dst []byte, points []Point, v []int64, digits int) []byte {
	var misfits []int
	last := int64(0)
	for i := range points {
		k, ok := whole(points[i].Value, digits)
		if !ok {
			misfits = append(misfits, i)
			k = last // which costs nothing
		}
		v[i], last = k, k
	}
	dst = p.appendInts(append(dst, byte(digits)), v)
	dst = binary.AppendUvarint(dst, uint64(len(misfits)))
	before := 0
	for _, i := range misfits {
		dst = binary.AppendUvarint(dst, uint64(i-before))
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(points[i].Value))
		before = i
	}
	return dst
}

// ReadNumbers appends the points of a chunk to dst.
func ReadNumbers(dst []Point, data []byte) ([]Point, error) {
	s := source{b: data}
	kind := s.byte()
	n := s.length()
	if s.bad || kind != kindDecimal && kind != kindBits {
		return nil, errDamaged
	}
	v := make([]int64, n)
	s.ints(v)
	from := len(dst)
	for _, t := range v {
		dst = append(dst, Point{Time: twin.Time(t)})
	}
	points := dst[from:]
	if kind == kindBits {
		shift := s.byte() & 63
		s.ints(v)
		for i := range points {
			points[i].Value = math.Float64frombits(uint64(v[i]) << shift)
		}
	} else {
		s.decimals(points, v)
	}
	if s.bad || len(s.b) != 0 {
		return nil, errDamaged
	}
	return dst, nil
}

func (s *source) decimals(points []Point, v []int64) {
	digits := s.byte()
	if digits > digitsMax {
		s.fail()
		return
	}
	s.ints(v)
	power := powers[digits]
	for i := range points {
		points[i].Value = float64(v[i]) / power
	}
	at := uint64(0)
	for range s.uvarint() {
		at += s.uvarint()
		b := s.bytes(8)
		if s.bad || at >= uint64(len(points)) {
			s.fail()
			return
		}
		points[at].Value = math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
}
