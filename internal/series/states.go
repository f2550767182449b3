package series

import (
	"encoding/binary"

	"github.com/twofold-iot/twofold/twin"
)

// State is a text at a time. A truth value is one of two texts, by the choice of the
// caller.
type State struct {
	Time  twin.Time
	Value string
}

// AppendStates writes a chunk of states in order of time.
//
//	uvarint length, list of times, uvarint texts, each uvarint length and bytes,
//	1 byte way, and the number of the text of each state
//	  way 0: as a list
//	  way 1: as runs: uvarint count, list of numbers, list of lengths
func AppendStates(dst []byte, states []State) []byte {
	p := &packer{}
	dst = append(dst, kindStates)
	dst = binary.AppendUvarint(dst, uint64(len(states)))
	v := make([]int64, len(states))
	for i := range states {
		v[i] = int64(states[i].Time)
	}
	dst = p.appendInts(dst, v)

	number := make(map[string]int64)
	var texts []string
	var runs, lens []int64
	for i := range states {
		k, known := number[states[i].Value]
		if !known {
			k = int64(len(texts))
			number[states[i].Value] = k
			texts = append(texts, states[i].Value)
		}
		v[i] = k
		if i > 0 && v[i-1] == k {
			lens[len(lens)-1]++
			continue
		}
		runs, lens = append(runs, k), append(lens, 1)
	}
	dst = binary.AppendUvarint(dst, uint64(len(texts)))
	for _, text := range texts {
		dst = binary.AppendUvarint(dst, uint64(len(text)))
		dst = append(dst, text...)
	}
	list := p.appendInts(nil, v)
	packed := binary.AppendUvarint(nil, uint64(len(runs)))
	packed = p.appendInts(p.appendInts(packed, runs), lens)
	if len(packed) < len(list) {
		return append(append(dst, 1), packed...)
	}
	return append(append(dst, 0), list...)
}

// ReadStates appends the states of a chunk to dst.
func ReadStates(dst []State, data []byte) ([]State, error) {
	s := source{b: data}
	kind := s.byte()
	n := s.length()
	if s.bad || kind != kindStates {
		return nil, errDamaged
	}
	v := make([]int64, n)
	s.ints(v)
	from := len(dst)
	for _, t := range v {
		dst = append(dst, State{Time: twin.Time(t)})
	}
	texts := s.texts(n)
	if s.byte() == 1 {
		s.runs(v)
	} else {
		s.ints(v)
	}
	if s.bad || len(s.b) != 0 {
		return nil, errDamaged
	}
	for i := range v {
		if v[i] < 0 || v[i] >= int64(len(texts)) {
			return nil, errDamaged
		}
		dst[from+i].Value = texts[v[i]]
	}
	return dst, nil
}

func (s *source) texts(most int) []string {
	n := s.uvarint()
	if n > uint64(most) {
		s.fail()
		return nil
	}
	texts := make([]string, n)
	for i := range texts {
		texts[i] = string(s.bytes(s.uvarint()))
	}
	return texts
}

func (s *source) runs(v []int64) {
	n := s.uvarint()
	if n > uint64(len(v)) {
		s.fail()
		return
	}
	runs, lens := make([]int64, n), make([]int64, n)
	s.ints(runs)
	s.ints(lens)
	at := 0
	for i, k := range runs {
		if lens[i] < 1 || lens[i] > int64(len(v)-at) {
			s.fail()
			return
		}
		for range lens[i] {
			v[at] = k
			at++
		}
	}
	if at != len(v) {
		s.fail()
	}
}
