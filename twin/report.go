package twin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits of a reported event.
const (
	ReportBytesMax       = 16 << 10 // of the whole body
	reportTypeMax        = 64
	reportMessageMax     = 1024
	reportCorrelationMax = 128
)

// ParseReport parses what a device or an application reports into an event of kind
// [EventReported]: a JSON object with "type" (required: "error", "ota", anything),
// "message", "severity" (info, warning, error, critical), "correlationId", "time"
// (RFC 3339 or milliseconds since the epoch) and "data" (any JSON). Other members are
// refused, so that a misspelt one is not lost in silence.
func ParseReport(body []byte) (Event, error) {
	ev := Event{Kind: EventReported}
	if len(body) > ReportBytesMax {
		return ev, NewError(KindTooLarge, fmt.Sprintf("An event is at most %d bytes, this one has %d", ReportBytesMax, len(body)))
	}
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return ev, invalidReport("it is not a JSON object")
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return ev, invalidReport("it is not valid JSON: " + err.Error())
		}
		field := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return ev, invalidReport("it is not valid JSON: " + err.Error())
		}
		if err := ev.setReported(field, value); err != nil {
			return ev, err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return ev, invalidReport("it is not valid JSON: " + err.Error())
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return ev, invalidReport("there is more after the JSON object")
	}
	if ev.Type == "" {
		return ev, invalidReport(`"type" is missing`)
	}
	return ev, nil
}

func invalidReport(what string) error { return NewError(KindInvalid, "Invalid event: "+what) }

func (e *Event) setReported(field string, v jsontext.Value) error {
	switch field {
	case "type":
		return reportText(&e.Type, field, v, reportTypeMax)
	case "message":
		return reportText(&e.Message, field, v, reportMessageMax)
	case "correlationId":
		return reportText(&e.Correlation, field, v, reportCorrelationMax)
	case "severity":
		var name string
		if err := reportText(&name, field, v, reportTypeMax); err != nil {
			return err
		}
		s, ok := ParseSeverity(name)
		if !ok {
			return invalidReport(fmt.Sprintf(`"severity" %q is none of info, warning, error, critical`, name))
		}
		e.Severity = s
	case "time":
		return e.setReportedTime(v)
	case "data":
		if err := v.Compact(); err != nil {
			return invalidReport(`"data": ` + err.Error())
		}
		e.Data = bytes.Clone(v)
	default:
		return invalidReport(fmt.Sprintf("%q is not known; an event has type, message, severity, correlationId, time and data", clip(field)))
	}
	return nil
}

func (e *Event) setReportedTime(v jsontext.Value) error {
	var at Time
	if v.Kind() == '0' {
		if _, err := fmt.Sscanf(string(v), "%d", &at); err != nil {
			return invalidReport(`"time" is no whole number of milliseconds`)
		}
	} else {
		var text string
		if err := reportText(&text, "time", v, reportTypeMax); err != nil {
			return err
		}
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return invalidReport(fmt.Sprintf(`"time" %q is neither RFC 3339 nor milliseconds`, text))
		}
		at = TimeOf(t)
	}
	if at <= 0 || at.Std().Year() > 9999 {
		return invalidReport(`"time" is outside of 1970 to 9999`)
	}
	e.OriginTime = at
	return nil
}

func reportText(dst *string, field string, v jsontext.Value, bytesMax int) error {
	if v.Kind() != '"' {
		return invalidReport(fmt.Sprintf("%q is not a string", field))
	}
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return invalidReport(fmt.Sprintf("%q: %v", field, err))
	}
	if len(b) > bytesMax {
		return invalidReport(fmt.Sprintf("%q is longer than %d bytes", field, bytesMax))
	}
	*dst = string(b)
	return nil
}
