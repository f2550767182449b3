package twin

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Leaves calls visit for each leaf of a section, in the order of the document: each
// scalar, each array as a whole, and each empty object, which has no stamp (0).
//
// path is the names on the way joined by dots; a name that is empty or has in it a
// dot, a quote or a control character is written as a JSON string, so that no two
// leaves have one path. value is compact JSON and valid only during the call. stamp
// is when the value was last sent, in seconds since the epoch.
func (n *Node) Leaves(visit func(path string, value []byte, stamp int64)) {
	if n == nil {
		return
	}
	var path, value []byte
	n.leaves(path, value, visit)
}

func (n *Node) leaves(path, value []byte, visit func(string, []byte, int64)) {
	for i := range n.kids {
		kid := &n.kids[i]
		at := path
		if len(at) > 0 {
			at = append(at, '.')
		}
		at = appendPathName(at, kid.key)
		if kid.kind == kindObject && len(kid.kids) > 0 {
			kid.leaves(at, value, visit)
			continue
		}
		value = kid.AppendJSON(value[:0])
		visit(string(at), value, kid.stamp)
	}
}

// appendPathName appends a quoted name, without its quotes where it may be.
func appendPathName(dst []byte, key string) []byte {
	plain := key[1 : len(key)-1]
	if plain == "" || strings.ContainsAny(plain, `.\`) || strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return append(dst, key...)
	}
	return append(dst, plain...)
}

// Name returns the name under which n is in its object, decoded; empty for a
// section and for an element of an array.
func (n *Node) Name() string {
	if n == nil || n.key == "" {
		return ""
	}
	if strings.IndexByte(n.key, '\\') < 0 {
		return n.key[1 : len(n.key)-1]
	}
	plain, err := jsontext.AppendUnquote(nil, n.key)
	if err != nil {
		return n.key
	}
	return string(plain)
}

// NewestStamp returns when anything in n was last sent, in seconds since the epoch;
// 0 if there is nothing.
func (n *Node) NewestStamp() int64 {
	if n == nil {
		return 0
	}
	newest := n.stamp
	if n.kind == kindArray {
		return newest // elements have no stamp of their own
	}
	for i := range n.kids {
		newest = max(newest, n.kids[i].NewestStamp())
	}
	return newest
}
