package twin

import "strconv"

// nodeKind is the kind of a JSON value. The numbers are on disk: never reuse one.
type nodeKind uint8

const (
	kindNull   nodeKind = 0 // only in requests: state never holds null
	kindFalse  nodeKind = 1
	kindTrue   nodeKind = 2
	kindNumber nodeKind = 3
	kindString nodeKind = 4
	kindObject nodeKind = 5
	kindArray  nodeKind = 6
)

// Node is a JSON value in a shadow: a section, or anything in one. State and
// metadata are both rendered from it.
//
// Nodes are immutable, and shared between the versions of a shadow. A nil *Node is
// an absent section and reads as an empty object.
type Node struct {
	// key is the member's name, quoted and with no needless escape, so that equal
	// names are equal bytes. Empty for a section and for an element of an array.
	key string
	// text is a number or string as it was sent. Kept as text because a device
	// counts beyond 2^53, and because 1.50 is not 1.5 to a person.
	text string
	// kids are the members of an object, in the order they were first sent, or the
	// elements of an array.
	kids []Node
	// stamp is when the value was last sent, in seconds since the epoch. Set on
	// scalars, and on an array for all that is in it: arrays are replaced whole.
	stamp int64
	kind  nodeKind
}

// AppendJSON appends the value as compact JSON, numbers and strings as they were
// sent.
func (n *Node) AppendJSON(dst []byte) []byte {
	if n == nil {
		return append(dst, "{}"...)
	}
	switch n.kind {
	case kindNull:
		return append(dst, "null"...)
	case kindFalse:
		return append(dst, "false"...)
	case kindTrue:
		return append(dst, "true"...)
	case kindObject:
		dst = append(dst, '{')
		for i := range n.kids {
			dst = appendKey(dst, i, n.kids[i].key)
			dst = n.kids[i].AppendJSON(dst)
		}
		return append(dst, '}')
	case kindArray:
		dst = append(dst, '[')
		for i := range n.kids {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = n.kids[i].AppendJSON(dst)
		}
		return append(dst, ']')
	}
	return append(dst, n.text...)
}

// AppendMetadata appends the value's metadata: its own shape with each scalar
// replaced by {"timestamp":seconds}, an array by an array with an entry for each
// element (spec §5).
func (n *Node) AppendMetadata(dst []byte) []byte {
	if n == nil {
		return append(dst, "{}"...)
	}
	if n.kind != kindObject {
		return n.appendStamped(dst, n.stamp)
	}
	dst = append(dst, '{')
	for i := range n.kids {
		dst = appendKey(dst, i, n.kids[i].key)
		dst = n.kids[i].AppendMetadata(dst)
	}
	return append(dst, '}')
}

// appendStamped appends the metadata of a value all of which has one time: an
// array, or what a request has sent.
func (n *Node) appendStamped(dst []byte, stamp int64) []byte {
	switch n.kind {
	case kindObject:
		dst = append(dst, '{')
		for i := range n.kids {
			dst = appendKey(dst, i, n.kids[i].key)
			dst = n.kids[i].appendStamped(dst, stamp)
		}
		return append(dst, '}')
	case kindArray:
		dst = append(dst, '[')
		for i := range n.kids {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = n.kids[i].appendStamped(dst, stamp)
		}
		return append(dst, ']')
	}
	dst = append(dst, `{"timestamp":`...)
	dst = strconv.AppendInt(dst, stamp, 10)
	return append(dst, '}')
}

// jsonBytes is the length of what [Node.AppendJSON] appends; 0 for an absent
// section.
func (n *Node) jsonBytes() int {
	if n == nil {
		return 0
	}
	switch n.kind {
	case kindNull, kindTrue:
		return 4
	case kindFalse:
		return 5
	case kindObject, kindArray:
		size := 2
		if len(n.kids) > 1 {
			size += len(n.kids) - 1 // commas
		}
		for i := range n.kids {
			if n.kind == kindObject {
				size += len(n.kids[i].key) + 1
			}
			size += n.kids[i].jsonBytes()
		}
		return size
	}
	return len(n.text)
}

// find returns the member with a quoted name, nil if there is none.
func (n *Node) find(key string) *Node {
	if n == nil {
		return nil
	}
	for i := range n.kids {
		if n.kids[i].key == key {
			return &n.kids[i]
		}
	}
	return nil
}

func appendKey(dst []byte, i int, key string) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	dst = append(dst, key...)
	return append(dst, ':')
}
