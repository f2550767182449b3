package twin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"unsafe"
)

// shadowFormat is the first byte of a stored shadow; layout in
// docs/format/shadow.md.
const shadowFormat = 1

// Flags of a stored shadow.
const (
	flagDesired   = 1 << 0
	flagReported  = 1 << 1
	flagTombstone = 1 << 2
	flagsKnown    = flagDesired | flagReported | flagTombstone
)

// The first byte of a stored node: kind in bits 0-2, bit 3, and in bits 4-7 a
// length or count, 15 meaning that the rest of it follows.
const (
	headSameStamp = 1 << 3
	headShort     = 15
)

// shadowSumBytes is the length of the CRC-32C at the end.
const shadowSumBytes = 4

// AppendBinary appends the encoding that is stored; layout in docs/format/shadow.md.
// Equal shadows have equal encodings.
func (s *Shadow) AppendBinary(dst []byte) []byte {
	start := len(dst)
	var flags byte
	if s.Desired != nil {
		flags |= flagDesired
	}
	if s.Reported != nil {
		flags |= flagReported
	}
	if s.DeletedAt != 0 {
		flags |= flagTombstone
	}
	dst = append(dst, shadowFormat, flags)
	dst = binary.AppendUvarint(dst, uint64(s.Version))
	if s.DeletedAt != 0 {
		dst = binary.AppendVarint(dst, int64(s.DeletedAt))
	}
	dst = binary.AppendUvarint(dst, uint64(s.Desired.count()+s.Reported.count()))
	var stamp int64
	for _, n := range [...]*Node{s.Desired, s.Reported} {
		if n != nil {
			dst = n.appendBinary(dst, &stamp, true)
		}
	}
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// count returns the number of nodes.
func (n *Node) count() int {
	if n == nil {
		return 0
	}
	c := 1
	for i := range n.kids {
		c += n.kids[i].count()
	}
	return c
}

// appendBinary appends a node without its key. stamp is that of the stamped node
// before it. Elements of an array have no stamp of their own.
func (n *Node) appendBinary(dst []byte, stamp *int64, stamped bool) []byte {
	stamped = stamped && n.kind != kindObject
	same := stamped && n.stamp == *stamp
	size := len(n.text)
	if n.kind == kindObject || n.kind == kindArray {
		size = len(n.kids)
	}
	head := byte(n.kind) | byte(min(size, headShort))<<4
	if same {
		head |= headSameStamp
	}
	dst = append(dst, head)
	if size >= headShort {
		dst = binary.AppendUvarint(dst, uint64(size-headShort))
	}
	if stamped && !same {
		dst = binary.AppendVarint(dst, n.stamp-*stamp)
		*stamp = n.stamp
	}
	dst = append(dst, n.text...)
	for i := range n.kids {
		if n.kind == kindObject {
			dst = appendBytes(dst, n.kids[i].key)
		}
		dst = n.kids[i].appendBinary(dst, stamp, n.kind == kindObject)
	}
	return dst
}

var (
	errSum    = errors.New("checksum does not match")
	errNode   = errors.New("no such node")
	errNodes  = errors.New("number of nodes does not match")
	errNested = errors.New("nested too deeply")
)

// DecodeShadow reads what [Shadow.AppendBinary] wrote. The shadow shares the memory
// of b, which nobody may write to after that. An unknown format or damaged bytes
// are an error.
func DecodeShadow(b []byte) (*Shadow, error) {
	s, err := decodeShadow(b)
	if err != nil {
		return nil, fmt.Errorf("decode shadow: %w", err)
	}
	return s, nil
}

func decodeShadow(b []byte) (*Shadow, error) {
	if len(b) < 1 {
		return nil, errShort
	}
	if b[0] != shadowFormat {
		return nil, fmt.Errorf("format %d is unknown, this build reads %d", b[0], shadowFormat)
	}
	body := len(b) - shadowSumBytes
	if body < 1 {
		return nil, errShort
	}
	if binary.LittleEndian.Uint32(b[body:]) != checksum(b[:body]) {
		return nil, errSum
	}
	d := nodeDecoder{decoder: decoder{b: b[1:body]}}
	flags := d.byte()
	if flags&^flagsKnown != 0 {
		return nil, fmt.Errorf("flags %#x are unknown", flags)
	}
	s := &Shadow{Version: Version(d.uvarint())}
	if flags&flagTombstone != 0 {
		s.DeletedAt = Time(d.varint())
	}
	nodes := d.uvarint()
	if nodes > uint64(len(d.b)) { // each takes a byte at least
		d.stop(errNodes)
		nodes = 0
	}
	d.slab = make([]Node, nodes)
	if flags&flagDesired != 0 {
		s.Desired = d.section()
	}
	if flags&flagReported != 0 {
		s.Reported = d.section()
	}
	if d.err == nil && (len(d.b) != 0 || len(d.slab) != 0) {
		d.stop(errNodes)
	}
	return s, d.err
}

// nodeDecoder reads nodes into one piece of memory.
type nodeDecoder struct {
	decoder
	slab  []Node
	stamp int64
}

func (d *nodeDecoder) grab(n uint64) []Node {
	if n > uint64(len(d.slab)) {
		d.stop(errNodes)
		return nil
	}
	nodes := d.slab[:n:n]
	d.slab = d.slab[n:]
	return nodes
}

func (d *nodeDecoder) section() *Node {
	root := d.grab(1)
	if root == nil {
		return nil
	}
	d.node(&root[0], true, 1)
	if root[0].kind != kindObject {
		d.stop(errNode)
	}
	return &root[0]
}

func (d *nodeDecoder) node(n *Node, stamped bool, depth int) {
	head := d.byte()
	n.kind = nodeKind(head & 7)
	size := uint64(head >> 4)
	if size == headShort {
		size += d.uvarint()
	}
	switch n.kind {
	case kindFalse, kindTrue:
		if size != 0 {
			d.stop(errNode)
		}
	case kindNumber, kindString, kindObject, kindArray:
	default:
		d.stop(errNode)
	}
	switch {
	case !stamped || n.kind == kindObject:
		if head&headSameStamp != 0 {
			d.stop(errNode)
		}
	case head&headSameStamp == 0:
		d.stamp += d.varint()
		fallthrough
	default:
		n.stamp = d.stamp
	}
	if n.kind != kindObject && n.kind != kindArray {
		n.text = text(d.take(size))
		if n.kind == kindString && !isQuoted(n.text) || n.kind == kindNumber && size == 0 {
			d.stop(errNode)
		}
		return
	}
	if depth > DepthLimit {
		d.stop(errNested)
		return
	}
	n.kids = d.grab(size)
	for i := range n.kids {
		if n.kind == kindObject {
			if n.kids[i].key = text(d.bytes()); !isQuoted(n.kids[i].key) {
				d.stop(errNode)
			}
		}
		d.node(&n.kids[i], n.kind == kindObject, depth+1)
		if d.err != nil {
			return
		}
	}
}

func isQuoted(s string) bool { return len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' }

// text shares the memory of b. It is the one place where this package trusts that
// bytes handed over are not written to again; a copy for each shadow that is read
// would cost more than all the rest of reading it.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
