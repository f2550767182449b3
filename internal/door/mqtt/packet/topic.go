package packet

import (
	"bytes"
	"unicode/utf8"
)

// TopicLevelsMax is the most levels of a topic name or filter, so that matching
// has a bound.
const TopicLevelsMax = 128

// CheckTopic reports what is wrong with a topic name, nil if nothing. Control
// characters and non-characters are refused, as 1.5.4 allows: they only ever come
// from broken or hostile clients.
func CheckTopic(t []byte) *Error {
	switch {
	case len(t) == 0:
		return protocol("MQTT-4.7.3-1", "topic name is empty")
	case bytes.IndexByte(t, '#') >= 0 || bytes.IndexByte(t, '+') >= 0:
		return &Error{TopicNameInvalid, "MQTT-3.3.2-2", "topic name holds a wildcard"}
	case !cleanText(t):
		return malformed("1.5.4", "topic name holds a control character")
	case bytes.Count(t, slash) >= TopicLevelsMax:
		return &Error{TopicNameInvalid, "4.7.3", "topic name has too many levels"}
	}
	return nil
}

var slash = []byte("/")

// CheckFilter reports what is wrong with a topic filter, nil if nothing.
func CheckFilter(f []byte) *Error {
	invalid := func(rule, text string) *Error { return &Error{TopicFilterInvalid, rule, text} }
	switch {
	case len(f) == 0:
		return protocol("MQTT-4.7.3-1", "topic filter is empty")
	case !cleanText(f):
		return malformed("1.5.4", "topic filter holds a control character")
	case bytes.Count(f, slash) >= TopicLevelsMax:
		return invalid("4.7.3", "topic filter has too many levels")
	}
	for i, c := range f {
		first := i == 0 || f[i-1] == '/'
		last := i == len(f)-1
		if c == '#' && !(first && last) {
			return invalid("MQTT-4.7.1-1", "# is not the whole last level")
		}
		if c == '+' && !(first && (last || f[i+1] == '/')) {
			return invalid("MQTT-4.7.1-2", "+ is not a whole level")
		}
	}
	return nil
}

// cleanText reports whether s has no control character (U+0001 to U+001F, U+007F
// to U+009F) and no non-character (U+FFFE and the like).
func cleanText(s []byte) bool {
	ascii := true
	for _, c := range s {
		if c < 0x20 || c == 0x7f {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if ascii {
		return true
	}
	for _, r := range string(s) {
		if r >= 0x80 && r <= 0x9f || r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef {
			return false
		}
	}
	return true
}
