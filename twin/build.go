package twin

import "bytes"

// build makes the request's tree of what was scanned.
func (s *scanner) build(req *Request) {
	if s.oversize() {
		req.oversize = true
		return
	}
	req.text = bytes.Clone(s.text)
	b := builder{tape: s.tape, text: text(req.text), slab: make([]Node, len(s.tape))}
	root := &b.grab(1)[0]
	b.fill(root)
	req.state = root
}

// builder turns a tape into nodes in one piece of memory.
type builder struct {
	tape []tapeNode
	text string
	slab []Node
}

func (b *builder) grab(n int) []Node {
	nodes := b.slab[:n:n]
	b.slab = b.slab[n:]
	return nodes
}

// fill makes a node of the next of the tape, with all that is in it.
func (b *builder) fill(n *Node) {
	t := &b.tape[0]
	b.tape = b.tape[1:]
	n.kind = t.kind
	n.key = b.text[t.keyAt : t.keyAt+t.keyLen]
	switch t.kind {
	case kindNumber, kindString:
		n.text = b.text[t.textAt : t.textAt+t.textLen]
	case kindObject, kindArray:
		n.kids = b.grab(int(t.kids))
		for i := range n.kids {
			b.fill(&n.kids[i])
		}
	}
}
