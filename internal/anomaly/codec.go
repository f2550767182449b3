package anomaly

import (
	"encoding/binary"
	"errors"
	"math"
)

// stateFormat is the first byte of a state that is kept, see docs/format/predict.md.
const stateFormat = 1

var errState = errors.New("damaged: what is kept of anomaly scores")

// codec writes a state or reads one: both go over the same list of fields, so that they cannot
// differ. Numbers are kept bit by bit: what goes on after a restart is what would have gone on.
type codec struct {
	b       []byte
	reading bool
	err     error
}

// take returns the next n bytes.
func (c *codec) take(n int) []byte {
	if c.err != nil || len(c.b) < n {
		c.err = errState
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *codec) number(p *float64) {
	if !c.reading {
		c.b = binary.LittleEndian.AppendUint64(c.b, math.Float64bits(*p))
	} else if b := c.take(8); b != nil {
		*p = math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
}

func (c *codec) count(p *int64) {
	if !c.reading {
		c.b = binary.AppendVarint(c.b, *p)
		return
	}
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.err = errState
		return
	}
	*p, c.b = v, c.b[n:]
}

func codeInt[T ~int | ~int32 | ~uint8 | ~int64](c *codec, p *T) {
	v := int64(*p)
	c.count(&v)
	*p = T(v)
}

func (c *codec) truth(p *bool) {
	v := int64(0)
	if *p {
		v = 1
	}
	c.count(&v)
	*p = v != 0
}

func (c *codec) text(p *string) {
	n := int64(len(*p))
	c.count(&n)
	if !c.reading {
		c.b = append(c.b, *p...)
	} else if n < 0 || n > int64(len(c.b)) {
		c.err = errState
	} else {
		*p = string(c.take(int(n)))
	}
}

// weights codes an array in which most is zero: runs of zeros are their length.
func (c *codec) weights(list []float32) {
	for i := 0; i < len(list) && c.err == nil; {
		zeros := int64(0)
		for !c.reading && i+int(zeros) < len(list) && math.Float32bits(list[i+int(zeros)]) == 0 {
			zeros++
		}
		c.count(&zeros)
		if zeros < 0 || zeros > int64(len(list)-i) {
			c.err = errState
			return
		}
		clear(list[i : i+int(zeros)])
		i += int(zeros)
		if i == len(list) {
			return
		}
		c.weight(&list[i])
		i++
	}
}

func (c *codec) weight(p *float32) {
	if !c.reading {
		c.b = binary.LittleEndian.AppendUint32(c.b, math.Float32bits(*p))
	} else if b := c.take(4); b != nil {
		*p = math.Float32frombits(binary.LittleEndian.Uint32(b))
	}
}

func (m *moment) code(c *codec) {
	c.number(&m.weight)
	if m.weight != 0 {
		c.number(&m.mean)
		c.number(&m.variance)
	}
}

func (h *history) code(c *codec) {
	c.weight(&h.total)
	c.weight(&h.grow)
	codeInt(c, &h.top)
	c.weights(h.bins[:])
}

func (g *grid) code(c *codec) {
	codeInt(c, &g.a)
	codeInt(c, &g.b)
	if g.a >= gridBins || g.b >= gridBins {
		c.err = errState
		return
	}
	for i := range g.counts {
		c.weights(g.counts[i][:])
	}
}
