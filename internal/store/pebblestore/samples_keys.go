package pebblestore

import (
	"encoding/binary"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// The keys of telemetry.
const (
	keyColumn     = 'M' // class, day, thing, metric, type, level, ms of the day
	keySeries     = 'N' // thing, metric, type
	keyRow        = 'P' // thing, number of the last row of a block
	keyRowCounter = 'Q' // nothing more
)

func appendRowKey(dst []byte, thing twin.ThingName, number store.RowNumber) []byte {
	return appendOrdered(appendName(append(dst, keyRow), thing), uint64(number))
}

func parseRowKey(key []byte) (thing twin.ThingName, number store.RowNumber, ok bool) {
	if len(key) == 0 || key[0] != keyRow {
		return "", 0, false
	}
	t, rest, ok := name(key[1:])
	if !ok {
		return "", 0, false
	}
	n, rest, ok := ordered(rest)
	return twin.ThingName(t), store.RowNumber(n), ok && len(rest) == 0
}

// afterRows returns the first key after all rows of a thing.
func afterRows(thing twin.ThingName) []byte {
	return append(append([]byte{keyRow}, thing...), 1)
}

// appendRow appends a row to a block: its time, how much later it arrived (2 × varint),
// and its values with their length in bytes (uvarint) before them.
func appendRow(dst []byte, r *store.SampleRow) []byte {
	dst = binary.AppendVarint(dst, int64(r.Time))
	dst = binary.AppendVarint(dst, int64(r.Arrival-r.Time))
	dst = binary.AppendUvarint(dst, uint64(len(r.Values)))
	return append(dst, r.Values...)
}

// appendBlock appends the rows of a block as [appendRow] wrote them: first their count
// (uvarint). Their numbers follow each other.
func appendBlock(dst []byte, count int, rows []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(count)), rows...)
}

// rowBlock is a block that is read.
type rowBlock struct {
	f     fields
	first store.RowNumber
	count int // that are not read yet
}

func parseBlock(b []byte, last store.RowNumber) (rowBlock, bool) {
	k := rowBlock{f: fields{b: b}}
	n := k.f.uvarint()
	if k.f.bad || n == 0 || n > uint64(last) || n > uint64(len(b)) {
		return k, false
	}
	k.first, k.count = last-store.RowNumber(n)+1, int(n)
	return k, true
}

// next reads a row, whose values are the memory of the block.
func (k *rowBlock) next() (r store.SampleRow, ok bool) {
	r.Number = k.first
	r.Time = twin.Time(k.f.varint())
	r.Arrival = r.Time + twin.Time(k.f.varint())
	n := k.f.uvarint()
	if k.f.bad || n > uint64(len(k.f.b)) {
		return r, false
	}
	r.Values, k.f.b = k.f.b[:n:n], k.f.b[n:]
	k.first++
	k.count--
	return r, k.count > 0 || len(k.f.b) == 0
}

func appendColumnDay(dst []byte, class store.SampleClass, day uint32) []byte {
	return appendOrdered(append(dst, keyColumn, byte(class)), uint64(day))
}

func appendColumnPrefix(dst []byte, class store.SampleClass, day uint32, thing twin.ThingName, s store.Series, level store.SampleLevel) []byte {
	dst = appendName(appendColumnDay(dst, class, day), thing)
	return append(appendName(dst, s.Metric), byte(s.Type), byte(level))
}

func appendColumnKey(dst []byte, thing twin.ThingName, c *store.Column) []byte {
	day := c.Start.Day()
	dst = appendColumnPrefix(dst, c.Class, day, thing, c.Series, c.Level)
	return appendOrdered(dst, uint64(int64(c.Start)-int64(day)*dayMillis))
}

// columnDay returns the day in a column's key.
func columnDay(key []byte) (day uint32, ok bool) {
	if len(key) < 2 || key[0] != keyColumn {
		return 0, false
	}
	d, _, ok := ordered(key[2:])
	return uint32(d), ok && d <= 1<<32-1
}

func appendSeriesKey(dst []byte, thing twin.ThingName, s store.Series) []byte {
	dst = appendName(appendName(append(dst, keySeries), thing), s.Metric)
	return append(dst, byte(s.Type))
}
