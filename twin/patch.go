package twin

import "unicode/utf8"

// patchReader reads the patch of an event: a "state" that [ParseRequest] has accepted
// once and kept as compact JSON. It reads what nearly all devices send, and at a tenth of
// the cost: names and strings without escapes, numbers without exponents, nothing deep or
// wide. It says no to everything else, valid or not, and then [ParseRequest] has to
// look; so what it accepts is what that accepts, with the same nodes, and no fault passes
// here that would not pass there (FuzzPatchReader).
//
// The nodes share the memory of the patch. Those of objects are in memory that is used
// again for the next patch; an array, which a shadow takes over as it is, has its own.
type patchReader struct {
	b     []byte
	at    int
	stack []Node // children of the values being read
	nodes []Node // memory for children of objects
}

// What a patchReader reads at most.
const (
	patchDepthMax   = 16
	patchMembersMax = 64  // of one object: each is compared with all before it
	patchDigitsMax  = 100 // so that a number is in range
	patchKeepLen    = 4096
)

// read returns the patch as a tree, or false.
func (r *patchReader) read(patch []byte) (state Node, ok bool) {
	r.b, r.at = patch, 0
	if cap(r.nodes) > patchKeepLen || cap(r.stack) > patchKeepLen {
		r.nodes, r.stack = nil, nil
	}
	r.nodes, r.stack = r.nodes[:0], r.stack[:0]
	if !r.value("", 0, false) || r.at != len(patch) || !utf8.Valid(patch) {
		return Node{}, false
	}
	state = r.stack[0]
	if state.kind == kindNull {
		return state, true
	}
	if state.kind != kindObject {
		return Node{}, false
	}
	for i := range state.kids {
		kid := &state.kids[i]
		if kid.key != keyDesired && kid.key != keyReported || kid.kind != kindObject && kid.kind != kindNull {
			return Node{}, false
		}
	}
	return state, true
}

// value reads a value and puts it on the stack.
func (r *patchReader) value(key string, depth int, inArray bool) (ok bool) {
	if r.at == len(r.b) {
		return false
	}
	place := len(r.stack)
	r.stack = append(r.stack, Node{key: key})
	n := &r.stack[place] // until something else is put there
	switch c := r.b[r.at]; c {
	case '{', '[':
		if depth == patchDepthMax {
			return false
		}
		r.at++
		n.kind = kindArray
		var kids []Node
		if c == '{' {
			n.kind = kindObject
			kids, ok = r.members(depth+1, inArray)
		} else {
			kids, ok = r.elements(depth + 1)
		}
		r.stack[place].kids = kids
		return ok
	case '"':
		n.kind = kindString
		n.text, ok = r.quoted()
		return ok
	case 't':
		n.kind = kindTrue
		return r.literal("true")
	case 'f':
		n.kind = kindFalse
		return r.literal("false")
	case 'n':
		return !inArray && r.literal("null")
	}
	n.kind = kindNumber
	n.text, ok = r.number()
	return ok
}

func (r *patchReader) literal(word string) bool {
	if len(r.b)-r.at < len(word) || string(r.b[r.at:r.at+len(word)]) != word {
		return false
	}
	r.at += len(word)
	return true
}

// quoted reads a string without escapes, with its quotes.
func (r *patchReader) quoted() (string, bool) {
	if r.at == len(r.b) || r.b[r.at] != '"' {
		return "", false
	}
	for i := r.at + 1; i < len(r.b); i++ {
		switch c := r.b[i]; {
		case c == '"':
			s := text(r.b[r.at : i+1])
			r.at = i + 1
			return s, true
		case c < ' ' || c == '\\' || c == 0x7f:
			return "", false
		}
	}
	return "", false
}

func (r *patchReader) number() (string, bool) {
	start := r.at
	if r.b[r.at] == '-' {
		r.at++
	}
	first := r.at
	n := r.digits()
	if n == 0 || n > 1 && r.b[first] == '0' {
		return "", false
	}
	if r.at < len(r.b) && r.b[r.at] == '.' {
		r.at++
		if r.digits() == 0 {
			return "", false
		}
	}
	// An exponent is no end of a value, and so ends the reading.
	return text(r.b[start:r.at]), r.at-start <= patchDigitsMax
}

func (r *patchReader) digits() (n int) {
	for ; r.at < len(r.b) && '0' <= r.b[r.at] && r.b[r.at] <= '9'; r.at++ {
		n++
	}
	return n
}

// next reads what is between two children: false, true at the end of all.
func (r *patchReader) next(first bool, end byte) (done, ok bool) {
	if r.at == len(r.b) {
		return false, false
	}
	switch c := r.b[r.at]; {
	case c == end:
		r.at++
		return true, true
	case first:
		return false, true
	case c == ',':
		r.at++
		return false, r.at < len(r.b) && r.b[r.at] != end
	}
	return false, false
}

func (r *patchReader) members(depth int, inArray bool) ([]Node, bool) {
	start := len(r.stack)
	for {
		done, ok := r.next(len(r.stack) == start, '}')
		if !ok {
			return nil, false
		}
		if done {
			return r.pop(start, inArray), true
		}
		key, ok := r.quoted()
		if !ok || r.at == len(r.b) || r.b[r.at] != ':' || len(r.stack)-start == patchMembersMax {
			return nil, false
		}
		r.at++
		for i := start; i < len(r.stack); i++ {
			if r.stack[i].key == key {
				return nil, false
			}
		}
		if !r.value(key, depth, inArray) {
			return nil, false
		}
	}
}

func (r *patchReader) elements(depth int) ([]Node, bool) {
	start := len(r.stack)
	for {
		done, ok := r.next(len(r.stack) == start, ']')
		if !ok {
			return nil, false
		}
		if done {
			return r.pop(start, true), true
		}
		if !r.value("", depth, true) {
			return nil, false
		}
	}
}

// pop takes children off the stack into memory of their own.
func (r *patchReader) pop(start int, keep bool) []Node {
	kids := r.stack[start:]
	r.stack = r.stack[:start]
	if keep {
		return append(make([]Node, 0, len(kids)), kids...)
	}
	at := len(r.nodes)
	r.nodes = append(r.nodes, kids...)
	return r.nodes[at:len(r.nodes):len(r.nodes)]
}
