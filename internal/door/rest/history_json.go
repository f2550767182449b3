package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// Pages of history are written by hand: they are large, their states are JSON already, and
// encoding/json would read each of them once more (TestHistoryJSON holds both against each
// other).

// appendJSON appends what marshal makes of a page.
func (p *historyPage) appendJSON(dst []byte) ([]byte, error) {
	var err error
	dst = append(dst, '{')
	for _, m := range [...]struct{ name, text string }{
		{`"deviceId":`, string(p.DeviceID)}, {`"shadow":`, string(p.Shadow)}, {`"model":`, p.Model},
	} {
		if dst, err = appendMember(dst, m.name, m.text); err != nil {
			return nil, err
		}
	}
	if len(dst) > 1 {
		dst = append(dst, ',')
	}
	dst = append(dst, `"states":[`...)
	for i, st := range p.States {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = st.appendJSON(dst); err != nil {
			return nil, err
		}
	}
	dst = append(dst, ']')
	if dst, err = appendMember(dst, `"next":`, p.Next); err != nil {
		return nil, err
	}
	return append(dst, "}\n"...), nil
}

// appendJSON appends what marshal makes of a state, without the end of the line.
func (p *pastState) appendJSON(dst []byte) ([]byte, error) {
	dst = append(dst, `{"timestamp":`...)
	dst, err := appendText(dst, p.Timestamp)
	if err == nil {
		dst, err = appendMember(dst, `"thing":`, string(p.Thing))
	}
	if err == nil {
		dst, err = appendMember(dst, `"shadow":`, string(p.Shadow))
	}
	if err != nil {
		return nil, err
	}
	dst = strconv.AppendUint(append(dst, `,"version":`...), uint64(p.Version), 10)
	dst = strconv.AppendUint(append(dst, `,"seq":`...), uint64(p.Seq), 10)
	dst, err = appendText(append(dst, `,"kind":`...), p.Kind)
	for _, m := range [...]struct{ name, text string }{
		{`"recorded":`, p.Recorded}, {`"door":`, p.Door}, {`"by":`, p.By}, {`"correlationId":`, p.Correlation},
	} {
		if err == nil {
			dst, err = appendMember(dst, m.name, m.text)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, m := range [...]struct {
		name string
		raw  json.RawMessage
	}{{`,"reported":`, p.Reported}, {`,"desired":`, p.Desired}, {`,"patch":`, p.Patch}, {`,"computed":`, p.Computed}} {
		if len(m.raw) > 0 { // compact, as the store has it
			dst = append(append(dst, m.name...), m.raw...)
		}
	}
	if p.ModelVersion != 0 {
		dst = strconv.AppendUint(append(dst, `,"modelVersion":`...), uint64(p.ModelVersion), 10)
	}
	return append(dst, '}'), nil
}

// appendMember appends a member that is left out if it is empty, with a comma if it is not
// the first.
func appendMember(dst []byte, name, text string) ([]byte, error) {
	if text == "" {
		return dst, nil
	}
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return appendText(append(dst, name...), text)
}

// appendText appends a JSON string.
func appendText(dst []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			b, err := marshal(s)
			if err != nil {
				return nil, fmt.Errorf("write %q: %w", s, err)
			}
			return append(dst, bytes.TrimSuffix(b, []byte{'\n'})...), nil
		}
	}
	dst = append(append(dst, '"'), s...)
	return append(dst, '"'), nil
}
