package telemetry

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// SeriesInfo is what a metric of one type comes to.
type SeriesInfo struct {
	store.Series
	First, Last twin.Time  // of all samples that ever came
	Count       int        // of them; those of one time count each
	Value       twin.Value // at Last
}

// add counts one more sample; of two of one time the one that is added later counts.
func (s *SeriesInfo) add(t twin.Time, v twin.RawValue) {
	if s.Count == 0 {
		s.First, s.Last = t, t
	}
	s.Count++
	s.First = min(s.First, t)
	if t >= s.Last {
		s.Last, s.Value = t, v.Own()
	}
}

// infoFormat is the first byte of what is kept of a series.
const infoFormat = 1

// append writes what is kept of a series: varint first, uvarint last - first, uvarint
// count, and 8 bytes of a number, 1 byte of a truth value, or the bytes of a text.
func (s *SeriesInfo) append(dst []byte) []byte {
	dst = append(dst, infoFormat)
	dst = binary.AppendVarint(dst, int64(s.First))
	dst = binary.AppendUvarint(dst, uint64(s.Last-s.First))
	dst = binary.AppendUvarint(dst, uint64(s.Count))
	switch s.Type {
	case twin.ValueNumber:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(s.Value.Number))
	case twin.ValueBool:
		return append(dst, byte(s.Value.Number))
	default:
		return append(dst, s.Value.Text...)
	}
}

var errInfo = errors.New("damaged: what is kept of a series")

func parseInfo(i *store.SeriesInfo) (SeriesInfo, error) {
	s := SeriesInfo{Series: i.Series, Value: twin.Value{Type: i.Type}}
	b := i.Data
	if len(b) == 0 || b[0] != infoFormat {
		return s, errInfo
	}
	first, n := binary.Varint(b[1:])
	last, m := binary.Uvarint(b[1+max(n, 0):])
	if n <= 0 || m <= 0 {
		return s, errInfo
	}
	b = b[1+n+m:]
	count, n := binary.Uvarint(b)
	if n <= 0 {
		return s, errInfo
	}
	b = b[n:]
	s.First, s.Last, s.Count = twin.Time(first), twin.Time(first+int64(last)), int(count)
	switch {
	case s.Type == twin.ValueNumber && len(b) == 8:
		s.Value.Number = math.Float64frombits(binary.LittleEndian.Uint64(b))
	case s.Type == twin.ValueBool && len(b) == 1:
		s.Value.Number = float64(b[0])
	case s.Type == twin.ValueText:
		s.Value.Text = string(b)
	default:
		return s, errInfo
	}
	return s, nil
}
