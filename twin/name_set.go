package twin

import (
	"bytes"
	"errors"
	"hash/maphash"

	"github.com/go-json-experiment/json/jsontext"
)

// names finds names that are given twice in an object, for all objects that are
// open at a time. The JSON package can do it too, but makes a map for each large
// object: a request of 60 kB then costs more than a megabyte, before anybody knows
// whether it is to be accepted.
type names struct {
	payload []byte
	// escaped holds the names that are not in their shortest form in the payload.
	escaped []byte
	list    []nameAt
	// table is used while a large object is closed: place in list plus one, by hash.
	table []int32
	// seed makes hashes that nobody can foresee. They decide nothing but where
	// something is looked for.
	seed  maphash.Seed
	plain []byte // scratch
}

// nameAt is where a name is: in the payload, or in escaped.
type nameAt struct {
	at, length int32
	escaped    bool
}

// namesLinear is how many names of an object are simply compared with each other.
const namesLinear = 16

var errNameTwice = errors.New("a name is given twice in an object")

func (n *names) reset(payload []byte) {
	n.payload, n.escaped, n.list = payload, n.escaped[:0], n.list[:0]
}

// large reports whether too much is held to be kept.
func (n *names) large() bool {
	return cap(n.escaped)+cap(n.plain) > scanTextKeepBytes || cap(n.list) > 2*scanTapeKeepLen || cap(n.table) > 8*scanTapeKeepLen
}

// open starts an object and returns where its names begin.
func (n *names) open() int { return len(n.list) }

func (n *names) get(i int) []byte {
	e := n.list[i]
	if e.escaped {
		return n.escaped[e.at : e.at+e.length]
	}
	return n.payload[e.at : e.at+e.length]
}

// add adds a quoted name that is at a place of the payload, and returns it in its
// shortest form.
func (n *names) add(object int, raw []byte, at int) ([]byte, error) {
	e := nameAt{at: int32(at), length: int32(len(raw))}
	if bytes.IndexByte(raw, '\\') >= 0 {
		var err error
		if n.plain, err = jsontext.AppendUnquote(n.plain[:0], raw); err != nil {
			return nil, err
		}
		e.at = int32(len(n.escaped))
		if n.escaped, err = jsontext.AppendQuote(n.escaped, n.plain); err != nil {
			return nil, err
		}
		e.length, e.escaped = int32(len(n.escaped))-e.at, true
	}
	n.list = append(n.list, e)
	last := len(n.list) - 1
	name := n.get(last)
	if last-object < namesLinear {
		for i := object; i < last; i++ {
			if bytes.Equal(n.get(i), name) {
				return nil, errNameTwice
			}
		}
	}
	return name, nil
}

// close ends an object. Large ones are looked through now, at once.
func (n *names) close(object int) error {
	defer func() { n.list = n.list[:object] }()
	count := len(n.list) - object
	if count <= namesLinear {
		return nil
	}
	size := 2 * namesLinear
	for size < 2*count {
		size *= 2
	}
	if size > cap(n.table) {
		n.table = make([]int32, size)
	}
	n.table = n.table[:size]
	clear(n.table)
	for i := object; i < len(n.list); i++ {
		name := n.get(i)
		slot := maphash.Bytes(n.seed, name) & uint64(size-1)
		for n.table[slot] != 0 {
			if bytes.Equal(n.get(int(n.table[slot]-1)), name) {
				return errNameTwice
			}
			slot = (slot + 1) & uint64(size-1)
		}
		n.table[slot] = int32(i + 1)
	}
	return nil
}
