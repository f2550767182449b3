package twin

import (
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Member returns the member of an object with a name as it is decoded; nil if n is no
// object or has none.
func (n *Node) Member(name string) *Node {
	if n == nil || n.kind != kindObject {
		return nil
	}
	if !needsEscape(name) {
		for i := range n.kids {
			if key := n.kids[i].key; len(key) == len(name)+2 && key[1:len(key)-1] == name {
				return &n.kids[i]
			}
		}
		return nil
	}
	for i := range n.kids {
		if n.kids[i].Name() == name {
			return &n.kids[i]
		}
	}
	return nil
}

// needsEscape reports whether a name is not in a key as it is.
func needsEscape(name string) bool {
	return strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' })
}

// IsObject reports whether n is an object; an absent section is an empty one.
func (n *Node) IsObject() bool { return n == nil || n.kind == kindObject }

// IsArray reports whether n is an array.
func (n *Node) IsArray() bool { return n != nil && n.kind == kindArray }

// Equal reports whether two values are the same for a delta (spec §6): numbers by value,
// objects whatever their order. No value is equal to none.
func (n *Node) Equal(o *Node) bool {
	if n == nil || o == nil {
		return n == o
	}
	return equal(n, o)
}

// Len returns how many members or elements n has.
func (n *Node) Len() int {
	if n == nil {
		return 0
	}
	return len(n.kids)
}

// At returns the member or element at i, which is less than [Node.Len].
func (n *Node) At(i int) *Node { return &n.kids[i] }

// Value returns a scalar: a number as the float64 next to it, a bool, or a text. It
// returns false for null, objects, arrays, and numbers beyond float64.
func (n *Node) Value() (Value, bool) {
	if n == nil {
		return Value{}, false
	}
	switch n.kind {
	case kindFalse, kindTrue:
		return BoolValue(n.kind == kindTrue), true
	case kindNumber:
		v, err := strconv.ParseFloat(n.text, 64)
		return NumberValue(v), err == nil
	case kindString:
		if !escaped(n.text) {
			return TextValue(n.text[1 : len(n.text)-1]), true
		}
		b, err := jsontext.AppendUnquote(nil, n.text)
		return TextValue(string(b)), err == nil
	}
	return Value{}, false
}

// AppendJSON appends the value as JSON: null for one that is not set, a number that JSON
// has not, and a text that is no UTF-8.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.Type {
	case ValueBool:
		return strconv.AppendBool(dst, v.Number != 0)
	case ValueNumber:
		if !math.IsNaN(v.Number) && !math.IsInf(v.Number, 0) {
			return strconv.AppendFloat(dst, v.Number, 'g', -1, 64)
		}
	case ValueText:
		if b, err := jsontext.AppendQuote(dst, v.Text); err == nil {
			return b
		}
	}
	return append(dst, "null"...)
}
