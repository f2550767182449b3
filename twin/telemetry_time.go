package twin

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// time reads the member "ts".
func (p *telemetryParser) time() error {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return p.syntax(err)
	}
	switch raw[0] {
	case 'n':
		return nil // as if it were not there: the device does not know the time
	case '"':
		if p.scratch, err = jsontext.AppendUnquote(p.scratch[:0], raw); err != nil {
			return p.syntax(err)
		}
		p.at, err = p.rules.ParseTime(string(p.scratch), p.arrival)
	case 't', 'f', '{', '[':
		return p.fail("ts is milliseconds since 1970 or RFC 3339, not " + jsonKind(raw))
	default:
		p.at, err = p.rules.ParseTime(string(raw), p.arrival)
	}
	if err != nil {
		return p.fail(ErrorMessage(err))
	}
	return nil
}

func (p *telemetryParser) readThing() error {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return p.syntax(err)
	}
	if raw[0] == '"' {
		if p.scratch, err = jsontext.AppendUnquote(p.scratch[:0], raw); err != nil {
			return p.syntax(err)
		}
		p.thing = ThingName(p.scratch)
	}
	if !p.thing.Valid() {
		return p.fail(fmt.Sprintf("%.140s is no thing name: 1 to %d characters of a-z A-Z 0-9 : _ -", raw, ThingNameBytesMax))
	}
	return nil
}

// ParseTime reads the time of a point: milliseconds since the epoch, whatever is below
// the millisecond being cut off, or RFC 3339. It refuses times too far from the
// arrival. Errors are of kind [KindInvalid] and say the time as it was understood.
func (r TelemetryRules) ParseTime(text string, arrival Time) (Time, error) {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err == nil {
		return r.checkTime(text, Time(ms), arrival)
	}
	f, ferr := strconv.ParseFloat(text, 64)
	switch {
	case ferr == nil && !math.IsNaN(f) && math.Abs(f) < math.MaxInt64/2:
		return r.checkTime(text, Time(f), arrival)
	case ferr == nil || errors.Is(ferr, strconv.ErrRange):
		return 0, NewError(KindInvalid, fmt.Sprintf("ts %.40s is no time: too large", text))
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, NewError(KindInvalid, fmt.Sprintf("ts %.40q is neither milliseconds since 1970 nor RFC 3339 such as 2026-11-22T20:25:31.204Z", text))
	}
	return r.checkTime(text, TimeOf(t), arrival)
}

// Numbers that are a time of our days in another unit than milliseconds: from 1973 to
// 5138 in seconds, from 1973 on in microseconds and nanoseconds.
const (
	secondsFrom = 1e8
	secondsTo   = 1e11
	microsFrom  = 1e14
	nanosFrom   = 1e17
)

func (r TelemetryRules) checkTime(text string, at, arrival Time) (Time, error) {
	ahead, late := r.AheadMax, r.LateMax
	if ahead == 0 {
		ahead = TelemetryAheadDefault
	}
	if late == 0 {
		late = TelemetryLateDefault
	}
	var what string
	switch {
	case at < 1:
		what = "not after 1970"
	case int64(at-arrival) > ahead.Milliseconds():
		what = fmt.Sprintf("more than %s ahead of the clock, which says %s", ahead, timeText(arrival))
	case int64(arrival-at) > late.Milliseconds():
		what = fmt.Sprintf("older than %s, the oldest telemetry that is taken", late)
	default:
		return at, nil
	}
	hint := ""
	_, err := strconv.ParseFloat(text, 64)
	switch n := float64(at); {
	case err != nil: // not a number
	case n >= nanosFrom:
		hint = "; it looks like nanoseconds, but ts is in milliseconds"
	case n >= microsFrom:
		hint = "; it looks like microseconds, but ts is in milliseconds"
	case n >= secondsFrom && n < secondsTo:
		hint = "; it looks like seconds, but ts is in milliseconds"
	}
	return 0, NewError(KindInvalid, fmt.Sprintf("ts %.40s is %s, %s%s", text, timeText(at), what, hint))
}

func timeText(t Time) string { return t.Std().Format("2006-01-02T15:04:05.000Z") }

// telemetryPointerMax is how many bytes of a pointer are given: names that are refused
// can be as long as the message.
const telemetryPointerMax = 256

// fail refuses the message because of the value that was read last.
func (p *telemetryParser) fail(what string) error {
	return p.failAt(string(p.dec.StackPointer()), KindInvalid, what)
}

func (p *telemetryParser) failAt(pointer string, kind ErrorKind, what string) error {
	place := ""
	if pointer != "" {
		place = clip(pointer) + ": "
	}
	if len(pointer) > telemetryPointerMax {
		pointer = pointer[:telemetryPointerMax] + "…"
	}
	return &TelemetryError{Pointer: pointer, Err: NewError(kind, "Invalid telemetry: "+place+what)}
}

// syntax explains a message that is not JSON.
func (p *telemetryParser) syntax(err error) error {
	var fault *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.EOF):
		return p.failAt("", KindInvalid, "it is empty")
	case !errors.As(err, &fault):
		return p.failAt("", KindInvalid, "it is not valid JSON: "+err.Error())
	case errors.Is(err, jsontext.ErrDuplicateName):
		return p.failAt(string(fault.JSONPointer), KindInvalid, "the name is given twice")
	}
	hint := ""
	if at := fault.ByteOffset; at >= 0 && at < int64(len(p.payload)) {
		switch p.payload[at] {
		case 'N', 'I': // NaN, Infinity; -Infinity is a fault at its second byte
			hint = "; JSON has no NaN and no Infinity: leave the metric out, or send null"
		}
	}
	return p.failAt(string(fault.JSONPointer), KindInvalid, fmt.Sprintf("it is not valid JSON at byte %d: %v%s", fault.ByteOffset, fault.Err, hint))
}

// jsonKind says in words what a JSON value is.
func jsonKind(raw []byte) string {
	switch raw[0] {
	case 'n':
		return "null"
	case 't', 'f':
		return "a truth value"
	case '"':
		return "a text"
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	return "a number"
}
