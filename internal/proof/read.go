package proof

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

	"github.com/twofold-iot/twofold/twin"
)

// FileEvent is an event of an audit file, or a line that cannot be read.
type FileEvent struct {
	Line  int
	Event twin.Event // good until the next one
	Err   error      // the line is wrong; there is no event
}

// ReadFile hands the events of an audit file to visit, in their order. A line that is wrong
// is handed over with its error and stops nothing; an error of visit does. It takes what
// it reads as true: [CheckFile] proves it. A file that is none, or that is cut short, is an
// error of kind KindInvalid, after all lines before it.
func ReadFile(r io.Reader, visit func(FileEvent) error) error {
	in := newLineReader(r)
	b, err := in.next()
	if err != nil {
		return err
	}
	var first auditLine
	if b == nil || json.Unmarshal(b, &first) != nil || first.Line != lineAudit {
		return invalidLine(1, "it is not the first line of an audit file, which `twofold export` writes")
	}
	if first.Format != auditFormat {
		return invalidLine(1, fmt.Sprintf("format %d is unknown; a newer version may read it", first.Format))
	}
	for ended := false; ; {
		b, err := in.next()
		if err != nil {
			return err
		}
		if b == nil {
			if !ended {
				return invalidLine(in.line, "the file ends here without its last line: it was cut short")
			}
			return nil
		}
		ev, is, end, err := fileEvent(b)
		ended = end
		if err == nil && !is {
			continue
		}
		if err := visit(FileEvent{Line: in.line, Event: ev, Err: err}); err != nil {
			return err
		}
	}
}

// fileEvent reads a line; is says that it is an event, end that it is the last line.
func fileEvent(b []byte) (ev twin.Event, is, end bool, err error) {
	var l struct { // of an event; lines of other kinds have the first of them
		Line   string          `json:"line"`
		Thing  twin.ThingName  `json:"thing"`
		Shadow twin.ShadowName `json:"shadow"`
		Seq    twin.Seq        `json:"seq"`
		Bytes  string          `json:"bytes"`
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return ev, false, false, fmt.Errorf("it cannot be read: %w", err)
	}
	switch l.Line {
	case lineEvent:
	case lineThing, lineAnchor, lineHead, lineGap:
		return ev, false, false, nil
	case lineEnd:
		return ev, false, true, nil
	default:
		return ev, false, false, fmt.Errorf("a line of kind %.20q is unknown", l.Line)
	}
	canonical, err := base64.StdEncoding.Strict().DecodeString(l.Bytes)
	if err != nil {
		return ev, false, false, fmt.Errorf("its bytes cannot be read: %w", err)
	}
	if ev, err = twin.DecodeEvent(canonical); err != nil {
		return ev, false, false, fmt.Errorf("its bytes are no event: %w", err)
	}
	if ev.Thing != l.Thing || ev.Shadow != l.Shadow || ev.Seq != l.Seq {
		return ev, false, false, fmt.Errorf("it says it is event %d of %.130q, its bytes are event %d of %.130q", l.Seq, string(l.Thing), ev.Seq, string(ev.Thing))
	}
	if !ev.Thing.Valid() || ev.Shadow != "" && !ev.Shadow.Valid() {
		return ev, false, false, fmt.Errorf("%.130q is no name", twin.ShadowKey{Thing: ev.Thing, Shadow: ev.Shadow}.String())
	}
	return ev, true, false, nil
}
