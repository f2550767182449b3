package series

import (
	"encoding/binary"
	"math"

	"github.com/twofold-iot/twofold/twin"
)

// AppendRollups writes rollups in order of their starts, field by field.
//
//	uvarint length, 1 byte digits or 255, lists of: start, count, first time - start,
//	last - first, min - first, max - first time, held - (last - first), values of first,
//	last - first, first - min, max - first
//	digits   lists of: sum - count * first, area - held * first, in units of the digit
//	255      the values are the bits of the floats; lists of the bits of sum and area
//	then     lists of: buckets, of those with more than one value; first key of each;
//	         distances of the keys after it; counts
func AppendRollups(dst []byte, list []Rollup) []byte {
	digits := commonDigits(list)
	dst = append(dst, kindRollups)
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	dst = append(dst, byte(digits))
	w := rollupWriter{list: list, v: make([]int64, len(list)), dst: dst}
	ints := func(f func(*Rollup) int64) { w.ints(f) }
	ints(func(r *Rollup) int64 { return int64(r.Start) })
	ints(func(r *Rollup) int64 { return r.Count })
	ints(func(r *Rollup) int64 { return int64(r.First.Time - r.Start) })
	ints(func(r *Rollup) int64 { return int64(r.Last.Time - r.First.Time) })
	ints(func(r *Rollup) int64 { return int64(r.Min.Time - r.First.Time) })
	ints(func(r *Rollup) int64 { return int64(r.Max.Time - r.First.Time) })
	ints(func(r *Rollup) int64 { return int64(r.Held - (r.Last.Time - r.First.Time)) })
	code := func(v float64) int64 { return int64(math.Float64bits(v)) }
	if digits != notDecimal {
		code = func(v float64) int64 { return int64(math.RoundToEven(v * powers[digits])) }
	}
	ints(func(r *Rollup) int64 { return code(r.First.Value) })
	ints(func(r *Rollup) int64 { return code(r.Last.Value) - code(r.First.Value) })
	ints(func(r *Rollup) int64 { return code(r.First.Value) - code(r.Min.Value) })
	ints(func(r *Rollup) int64 { return code(r.Max.Value) - code(r.First.Value) })
	if digits != notDecimal {
		ints(func(r *Rollup) int64 { return code(r.Sum) - r.Count*code(r.First.Value) })
		ints(func(r *Rollup) int64 { return code(r.Area) - int64(r.Held)*code(r.First.Value) })
	} else {
		ints(func(r *Rollup) int64 { return code(r.Sum) })
		ints(func(r *Rollup) int64 { return code(r.Area) })
	}
	w.sketches()
	return w.dst
}

type rollupWriter struct {
	packer
	list []Rollup
	v    []int64
	dst  []byte
}

func (w *rollupWriter) ints(f func(*Rollup) int64) {
	for i := range w.list {
		w.v[i] = f(&w.list[i])
	}
	w.dst = w.appendInts(w.dst, w.v)
}

// one says that all numbers of a rollup are the same, so that its sketch is known.
func (r *Rollup) one() bool { return r.Min.Value == r.Max.Value }

func (w *rollupWriter) sketches() {
	var lens, firsts, gaps, counts []int64
	for i := range w.list {
		if w.list[i].one() {
			continue
		}
		b := w.list[i].sketch.buckets
		lens, firsts = append(lens, int64(len(b))), append(firsts, int64(b[0].key))
		for j := range b {
			counts = append(counts, b[j].count)
			if j > 0 {
				gaps = append(gaps, int64(b[j].key-b[j-1].key))
			}
		}
	}
	for _, l := range [][]int64{lens, firsts, gaps, counts} {
		w.dst = w.appendInts(w.dst, l)
	}
}

// commonDigits are those that all numbers of the rollups fit, with their sums and areas.
// A sum of decimals is one itself; what the addition of floats has left beside that is
// rounded away.
func commonDigits(list []Rollup) int8 {
	digits := int8(0)
	for i := range list {
		digits = moreDigits(digits, list[i].digits)
	}
	if digits == notDecimal {
		return digits
	}
	for i := range list {
		r := &list[i]
		for _, v := range [...]float64{r.First.Value, r.Last.Value, r.Min.Value, r.Max.Value} {
			if _, ok := whole(v, int(digits)); !ok {
				return notDecimal
			}
		}
		for _, v := range [...]float64{r.Sum, r.Area} {
			if !(math.Abs(v)*powers[digits] <= wholeMax) {
				return notDecimal
			}
		}
	}
	return digits
}

// ReadRollups appends the rollups of a chunk to dst.
func ReadRollups(dst []Rollup, data []byte) ([]Rollup, error) { return readRollups(dst, data, true) }

// ReadFigures is [ReadRollups] without the sketches, which take most of its time: the
// rollups have no quantiles then and must not be written.
func ReadFigures(dst []Rollup, data []byte) ([]Rollup, error) { return readRollups(dst, data, false) }

func readRollups(dst []Rollup, data []byte, sketches bool) ([]Rollup, error) {
	s := source{b: data}
	kind := s.byte()
	n := s.length()
	digits := int8(s.byte())
	if s.bad || kind != kindRollups || digits > digitsMax || digits < notDecimal {
		return nil, errDamaged
	}
	rd := rollupReader{source: s, list: make([]Rollup, n), v: make([]int64, n)}
	rd.times()
	rd.values(digits)
	if sketches {
		rd.sketches()
	}
	if rd.bad || sketches && len(rd.b) != 0 {
		return nil, errDamaged
	}
	for i := range rd.list {
		rd.list[i].digits = digits
	}
	return append(dst, rd.list...), nil
}

type rollupReader struct {
	source
	list []Rollup
	v    []int64
}

func (s *rollupReader) each(f func(r *Rollup, v int64)) {
	s.ints(s.v)
	for i := range s.list {
		f(&s.list[i], s.v[i])
	}
}

func (s *rollupReader) times() {
	s.each(func(r *Rollup, v int64) { r.Start = twin.Time(v) })
	s.each(func(r *Rollup, v int64) { r.Count = v })
	s.each(func(r *Rollup, v int64) { r.First.Time = r.Start + twin.Time(v) })
	s.each(func(r *Rollup, v int64) { r.Last.Time = r.First.Time + twin.Time(v) })
	s.each(func(r *Rollup, v int64) { r.Min.Time = r.First.Time + twin.Time(v) })
	s.each(func(r *Rollup, v int64) { r.Max.Time = r.First.Time + twin.Time(v) })
	s.each(func(r *Rollup, v int64) { r.Held = r.Last.Time - r.First.Time + twin.Time(v) })
}

func (s *rollupReader) values(digits int8) {
	decode := func(v int64) float64 { return math.Float64frombits(uint64(v)) }
	if digits != notDecimal {
		decode = func(v int64) float64 { return unwhole(v, int(digits)) }
	}
	first := make([]int64, len(s.list))
	s.ints(first)
	for i := range s.list {
		s.list[i].First.Value = decode(first[i])
	}
	fields := [...]func(*Rollup) *float64{
		func(r *Rollup) *float64 { return &r.Last.Value },
		func(r *Rollup) *float64 { return &r.Min.Value },
		func(r *Rollup) *float64 { return &r.Max.Value },
	}
	for f, field := range fields {
		s.ints(s.v)
		for i, v := range s.v {
			if f == 1 {
				v = -v
			}
			*field(&s.list[i]) = decode(first[i] + v)
		}
	}
	for f, field := range [...]func(*Rollup) *float64{
		func(r *Rollup) *float64 { return &r.Sum },
		func(r *Rollup) *float64 { return &r.Area },
	} {
		s.ints(s.v)
		for i, v := range s.v {
			r := &s.list[i]
			switch {
			case digits == notDecimal:
			case f == 0:
				v += r.Count * first[i]
			default:
				v += int64(r.Held) * first[i]
			}
			*field(r) = decode(v)
		}
	}
}

func (s *rollupReader) sketches() {
	several := 0
	for i := range s.list {
		if !s.list[i].one() {
			several++
		}
	}
	lens, firsts := make([]int64, several), make([]int64, several)
	s.ints(lens)
	s.ints(firsts)
	buckets := 0
	for _, n := range lens {
		if n < 1 || n > bucketsMax {
			s.fail()
			return
		}
		buckets += int(n)
	}
	if s.bad {
		return
	}
	gaps, counts := make([]int64, buckets-several), make([]int64, buckets)
	s.ints(gaps)
	s.ints(counts)
	all := make([]bucket, buckets)
	for i := range s.list {
		r := &s.list[i]
		if r.one() {
			r.sketch.buckets = []bucket{{keyOf(r.Min.Value), r.Count}}
			continue
		}
		n := lens[0]
		b := all[:n:n]
		b[0] = bucket{int32(firsts[0]), counts[0]}
		for j := range b[1:] {
			b[j+1] = bucket{b[j].key + int32(gaps[j]), counts[j+1]}
		}
		r.sketch.buckets = b
		all, lens, firsts, gaps, counts = all[n:], lens[1:], firsts[1:], gaps[n-1:], counts[n:]
	}
}
