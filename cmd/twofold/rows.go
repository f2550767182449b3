package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/twofold-iot/twofold/client"
)

// row is one path of a twin: a scalar, an array or an empty object in one of the
// sections.
type row struct {
	path                  string
	reported, desired     string // as shown; empty: not set
	reportedAt, desiredAt int64  // seconds since 1970; 0: not known
	drift                 bool   // desired asks for something else than reported says
}

// rowsOf lists the paths of a twin in the order of the device, then those that only
// desired has.
func rowsOf(t *client.Twin) ([]*row, error) {
	var rows []*row
	byPath := map[string]*row{}
	at := func(path string) *row {
		r := byPath[path]
		if r == nil {
			r = &row{path: path}
			byPath[path] = r
			rows = append(rows, r)
		}
		return r
	}
	for _, part := range []struct {
		state, metadata json.RawMessage
		set             func(r *row, text string, seconds int64)
	}{
		{t.CurrentState, t.Metadata.Reported, func(r *row, text string, s int64) { r.reported, r.reportedAt = text, s }},
		{t.DesiredState, t.Metadata.Desired, func(r *row, text string, s int64) { r.desired, r.desiredAt = text, s }},
		{t.Delta, nil, func(r *row, _ string, _ int64) { r.drift = true }},
	} {
		if part.state == nil {
			continue
		}
		err := leaves(nil, part.state, part.metadata, func(path string, text string, seconds int64) {
			part.set(at(path), text, seconds)
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// leaves calls found for every value of an object that is not a non-empty object,
// in order, with its time from the metadata of the same shape.
func leaves(path []string, state, metadata json.RawMessage, found func(path, text string, seconds int64)) error {
	names, values, err := members(state)
	if err != nil {
		return err
	}
	times := map[string]json.RawMessage{}
	if metadata != nil {
		if err := json.Unmarshal(metadata, &times); err != nil {
			return fmt.Errorf("metadata: %w", err)
		}
	}
	for i, name := range names {
		value, under := values[i], append(path[:len(path):len(path)], name)
		if value[0] == '{' && !bytes.Equal(value, []byte("{}")) {
			if err := leaves(under, value, times[name], found); err != nil {
				return err
			}
			continue
		}
		found(joinPath(under), show(value), timestamp(times[name]))
	}
	return nil
}

// members returns the members of an object in order, values as compact JSON.
func members(object json.RawMessage) (names []string, values []json.RawMessage, err error) {
	dec := json.NewDecoder(bytes.NewReader(object))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, fmt.Errorf("%.40s is not an object", object)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, nil, err
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, value); err != nil {
			return nil, nil, err
		}
		names, values = append(names, name.(string)), append(values, compact.Bytes())
	}
	return names, values, nil
}

// timestamp reads the time of a leaf, or of the first element of an array, whose
// elements all have the same.
func timestamp(metadata json.RawMessage) int64 {
	var many []json.RawMessage
	for json.Unmarshal(metadata, &many) == nil && len(many) > 0 {
		metadata = many[0]
	}
	var leaf map[string]json.RawMessage
	if json.Unmarshal(metadata, &leaf) != nil {
		return 0
	}
	var seconds int64
	if json.Unmarshal(leaf["timestamp"], &seconds) == nil {
		return seconds
	}
	for _, inner := range leaf { // an object in an array: any of its leaves
		return timestamp(inner)
	}
	return 0
}

// show writes a value for people: strings without quotes unless that could be
// taken for something else or would disturb the terminal.
func show(value json.RawMessage) string {
	var s string
	if value[0] != '"' || json.Unmarshal(value, &s) != nil {
		return safe(string(value))
	}
	if s == "" || s == notSet || json.Valid([]byte(s)) || !plain(s) {
		return safe(string(appendString(nil, s)))
	}
	return s
}

// safe writes JSON with an escape for every character that a terminal might obey
// instead of showing, such as U+009B and U+202E, which JSON lets through.
func safe(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case printableRune(r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.String()
}

// plain reports whether s has only characters that a terminal shows as they are,
// and no space at its ends.
func plain(s string) bool {
	return strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(r rune) bool { return !printableRune(r) })
}
