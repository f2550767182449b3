package pebblestore

import (
	"bytes"
	"encoding/binary"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// The keys of telemetry.
const (
	keyColumn     = 'M' // class, day, thing, metric, type, level, ms of the day
	keySeries     = 'N' // thing, metric, type
	keyRow        = 'P' // thing, number
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

// appendRow appends the value of a row: its time, how much later it arrived
// (2 × varint), its values.
func appendRow(dst []byte, r *store.SampleRow) []byte {
	dst = binary.AppendVarint(dst, int64(r.Time))
	dst = binary.AppendVarint(dst, int64(r.Arrival-r.Time))
	return append(dst, r.Values...)
}

// parseRow copies the values.
func parseRow(b []byte) (r store.SampleRow, ok bool) {
	f := fields{b: b}
	r.Time = twin.Time(f.varint())
	r.Arrival = r.Time + twin.Time(f.varint())
	r.Values = bytes.Clone(f.b)
	return r, !f.bad
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
