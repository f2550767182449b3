package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

func printableRune(r rune) bool { return unicode.IsPrint(r) && r != unicode.ReplacementChar }

// joinPath writes the names of nested members with dots between them; a dot or
// backslash in a name gets a backslash.
func joinPath(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		n = strings.NewReplacer(`\`, `\\`, `.`, `\.`).Replace(n)
		if !plain(n) {
			n = strconv.Quote(n)
		}
		quoted[i] = n
	}
	return strings.Join(quoted, ".")
}

// splitPath is the inverse of joinPath for what is typed: dots separate, a
// backslash takes the next character as it is.
func splitPath(path string) ([]string, error) {
	var names []string
	var name strings.Builder
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '\\':
			if i++; i == len(path) {
				return nil, fmt.Errorf("path %q ends with a backslash", path)
			}
			name.WriteByte(path[i])
		case '.':
			names = append(names, name.String())
			name.Reset()
		default:
			name.WriteByte(path[i])
		}
	}
	names = append(names, name.String())
	if slices.Contains(names, "") {
		return nil, fmt.Errorf("path %q has an empty part", path)
	}
	return names, nil
}

// patch is a JSON merge patch under construction; members keep their order.
type patch struct {
	names  []string
	values []any // json.RawMessage or *patch
}

// assign adds "path=value".
func (p *patch) assign(text string) error {
	path, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("%q is not path=value", text)
	}
	names, err := splitPath(path)
	if err != nil {
		return err
	}
	raw, err := parseValue(value)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, name := range names[:len(names)-1] {
		if p, ok = p.child(name); !ok {
			return fmt.Errorf("%s: %s is given as a value and as a path", path, name)
		}
	}
	last := names[len(names)-1]
	if slices.Contains(p.names, last) {
		return fmt.Errorf("%s is given twice", path)
	}
	p.names, p.values = append(p.names, last), append(p.values, raw)
	return nil
}

func (p *patch) child(name string) (*patch, bool) {
	if i := slices.Index(p.names, name); i >= 0 {
		c, ok := p.values[i].(*patch)
		return c, ok
	}
	c := &patch{}
	p.names, p.values = append(p.names, name), append(p.values, c)
	return c, true
}

// parseValue reads JSON; a bare word is taken as a string, since shells eat
// quotes. What starts like JSON and is none is more likely a slip than a string.
func parseValue(text string) (json.RawMessage, error) {
	if json.Valid([]byte(text)) {
		var b bytes.Buffer
		if err := json.Compact(&b, []byte(text)); err != nil {
			return nil, err
		}
		return b.Bytes(), nil
	}
	if text == "" {
		return nil, fmt.Errorf(`the value is empty; write null to delete, '""' for an empty string`)
	}
	if strings.ContainsAny(text[:1], `{["+-.0123456789 `) {
		return nil, fmt.Errorf(`%s is not JSON; to set it as a string write '"%s"'`, text, text)
	}
	return appendString(nil, text), nil
}

// appendJSON writes the patch.
func (p *patch) appendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	for i, name := range p.names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		switch v := p.values[i].(type) {
		case json.RawMessage:
			dst = append(dst, v...)
		case *patch:
			dst = v.appendJSON(dst)
		}
	}
	return append(dst, '}')
}

// appendString writes s as JSON without escapes for HTML.
func appendString(dst []byte, s string) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("encode a string: " + err.Error())
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}
