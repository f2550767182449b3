package twin

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// MetricName names what a thing measures: 1 to [MetricNameBytesMax] bytes of UTF-8
// without control characters. Nested telemetry gives dotted names, "motor.speed".
type MetricName string

// MetricNameBytesMax is the length of the longest metric name.
const MetricNameBytesMax = 128

// Check returns an error of kind [KindInvalid] that says what is wrong with the name.
func (m MetricName) Check() error {
	switch {
	case m == "":
		return NewError(KindInvalid, "Invalid metric name: it is empty")
	case len(m) > MetricNameBytesMax:
		return NewError(KindInvalid, fmt.Sprintf("Invalid metric name %.20q…: it has %d bytes, the limit is %d", m, len(m), MetricNameBytesMax))
	case !utf8.ValidString(string(m)):
		return NewError(KindInvalid, fmt.Sprintf("Invalid metric name %q: it is not UTF-8", m))
	}
	for _, r := range m {
		if r < ' ' || r == 0x7f {
			return NewError(KindInvalid, fmt.Sprintf("Invalid metric name %q: it has a control character", m))
		}
	}
	return nil
}

// ValueType is the type of a sample's value. The numbers are on disk.
type ValueType uint8

// The types of values.
const (
	ValueNumber ValueType = 1 // a finite float64
	ValueBool   ValueType = 2
	ValueText   ValueType = 3
)

// String returns the name in the API.
func (t ValueType) String() string {
	switch t {
	case ValueNumber:
		return "number"
	case ValueBool:
		return "boolean"
	case ValueText:
		return "string"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// TextBytesMax is the length of the longest text that is a sample's value.
const TextBytesMax = 1024

// Value is the value of a sample. Zero means "not set".
type Value struct {
	Type   ValueType
	Number float64 // of a number; 1 for true
	Text   string
}

// NumberValue returns a number.
func NumberValue(v float64) Value { return Value{Type: ValueNumber, Number: v} }

// TextValue returns a text.
func TextValue(s string) Value { return Value{Type: ValueText, Text: s} }

// BoolValue returns a truth value.
func BoolValue(b bool) Value {
	v := Value{Type: ValueBool}
	if b {
		v.Number = 1
	}
	return v
}

// Measurement is one metric with its value.
type Measurement struct {
	Metric MetricName
	Value  Value
}

// Row is what a thing measured at one instant: the samples of one telemetry message
// that have the same time.
type Row struct {
	Thing   ThingName
	Time    Time // of the event: given by the device, or else the arrival
	Arrival Time
	Values  []Measurement
}

// AppendValues appends the encoding of the values of a row: for each the metric
// (uvarint length, bytes), the type (1 byte), and 8 bytes of a number (IEEE 754,
// little-endian), 1 byte of a truth value, or a text (uvarint length, bytes).
func (r *Row) AppendValues(dst []byte) []byte {
	for i := range r.Values {
		m := &r.Values[i]
		dst = binary.AppendUvarint(dst, uint64(len(m.Metric)))
		dst = append(dst, m.Metric...)
		dst = append(dst, byte(m.Value.Type))
		switch m.Value.Type {
		case ValueNumber:
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(m.Value.Number))
		case ValueBool:
			dst = append(dst, byte(m.Value.Number))
		default:
			dst = binary.AppendUvarint(dst, uint64(len(m.Value.Text)))
			dst = append(dst, m.Value.Text...)
		}
	}
	return dst
}

// WalkValues calls f for each value that [Row.AppendValues] wrote, in order, until it
// returns false. Metric and text are the memory of b: copy what is kept.
func WalkValues(b []byte, f func(metric []byte, v RawValue) bool) error {
	for len(b) > 0 {
		metric, rest, ok := cutBytes(b)
		if !ok || len(rest) == 0 {
			return errValues
		}
		v := RawValue{Type: ValueType(rest[0])}
		rest = rest[1:]
		switch {
		case v.Type == ValueNumber && len(rest) >= 8:
			v.Number = math.Float64frombits(binary.LittleEndian.Uint64(rest))
			b = rest[8:]
		case v.Type == ValueBool && len(rest) >= 1 && rest[0] <= 1:
			v.Number = float64(rest[0])
			b = rest[1:]
		case v.Type == ValueText:
			if v.Text, b, ok = cutBytes(rest); !ok {
				return errValues
			}
		default:
			return errValues
		}
		if !f(metric, v) {
			return nil
		}
	}
	return nil
}

// RawValue is a [Value] whose text is in memory that belongs to somebody else.
type RawValue struct {
	Type   ValueType
	Number float64
	Text   []byte
}

// Own returns the value in memory of its own.
func (v RawValue) Own() Value { return Value{Type: v.Type, Number: v.Number, Text: string(v.Text)} }

var errValues = NewError(KindInternal, "damaged: the values of a telemetry row")

// cutBytes cuts a length and so many bytes from the start of b.
func cutBytes(b []byte) (s, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	b = b[size:]
	return b[:n:n], b[n:], true
}
