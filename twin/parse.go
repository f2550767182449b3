package twin

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// requestBytesMax is the longest body that is looked at, in bytes: 128 KiB is the
// longest payload AWS takes, and what is ignored counts here.
const requestBytesMax = 16 << 20

// rank orders the faults of a request as spec §7 does: the lowest is told.
type rank uint8

const (
	rankNone rank = iota
	rankToken
	rankState
	rankSection
	rankDepth
	rankArrayNull
	rankVersion
)

// errNotJSON stops the scan: nothing that was read before counts.
var errNotJSON = NewError(KindInvalid, "Invalid JSON")

// scanner reads one request. It writes the state to text as compact JSON and its
// shape to tape, both of which are reused, so that a request that is refused costs
// no memory and one that is accepted exactly what it needs.
type scanner struct {
	dec    jsontext.Decoder
	src    bytes.Buffer
	lim    Limits
	text   []byte
	tape   []tapeNode
	fault  error
	rank   rank
	update bool
}

// tapeNode is a node whose strings are still positions in the scanner's text.
type tapeNode struct {
	keyAt, keyLen   int32
	textAt, textLen int32
	kids            int32 // how many nodes that follow are its direct children
	kind            nodeKind
}

// What a pooled scanner may keep.
const (
	scanTextKeepBytes = 64 << 10
	scanTapeKeepLen   = 2048
)

var scanners = sync.Pool{New: func() any { return new(scanner) }}

func newScanner(payload []byte, lim Limits) *scanner {
	s := scanners.Get().(*scanner)
	s.src = *bytes.NewBuffer(payload)
	s.dec.Reset(&s.src)
	s.lim, s.fault, s.rank = lim, nil, rankNone
	s.text, s.tape = s.text[:0], s.tape[:0]
	return s
}

func (s *scanner) release() {
	if cap(s.text) > scanTextKeepBytes || cap(s.tape) > scanTapeKeepLen {
		return // an odd one must not stay in memory
	}
	s.src = bytes.Buffer{}
	s.dec.Reset(&s.src) // lets go of the payload
	scanners.Put(s)
}

// report notes a fault unless one that comes first is known.
func (s *scanner) report(r rank, message string) {
	if s.rank == rankNone || r < s.rank {
		s.rank, s.fault = r, NewError(KindInvalid, message)
	}
}

// request reads the whole body.
func (s *scanner) request(req *Request, update bool) error {
	if s.src.Len() > requestBytesMax {
		return errTooLarge()
	}
	s.update = update
	err := s.top(req)
	if err == nil {
		// Anything after the document, even a second one, is a fault (row 24).
		if _, err = s.dec.ReadToken(); err == io.EOF {
			return s.fault
		}
		err = errNotJSON
	}
	if !errors.Is(err, errTooDeep) {
		req.ClientToken, req.HasToken = "", false // nothing in bad JSON is to be trusted
		err = NewError(KindInvalid, errNotJSON.Message)
	} else {
		err = NewError(KindInvalid, s.depthMessage())
	}
	return err
}

// top reads the outermost object.
func (s *scanner) top(req *Request) error {
	if s.dec.PeekKind() != '{' {
		return errNotJSON
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	var seen bool
	for s.dec.PeekKind() != '}' {
		name, err := s.name()
		if err != nil {
			return err
		}
		switch {
		case string(name) == `"clientToken"`:
			err = s.token(req)
		case string(name) == `"state"` && s.update:
			seen = true
			err = s.state()
		case string(name) == `"version"` && s.update:
			err = s.version(req)
		default:
			err = s.skip() // AWS: "JSON content outside of those sections is ignored"
		}
		if err != nil {
			return err
		}
	}
	if s.update && !seen {
		s.report(rankState, "Missing required node: state")
	}
	_, err := s.dec.ReadToken()
	return err
}

// name reads a member's name and returns it quoted, in its shortest form. It is
// valid until the next read.
func (s *scanner) name() ([]byte, error) {
	raw, err := s.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw, nil
	}
	plain, err := jsontext.AppendUnquote(nil, []byte(raw))
	if err != nil {
		return nil, err
	}
	return jsontext.AppendQuote(nil, plain)
}

func (s *scanner) token(req *Request) error {
	if s.dec.PeekKind() != '"' {
		s.report(rankToken, "Invalid clientToken")
		return s.skip()
	}
	raw, err := s.dec.ReadValue()
	if err != nil {
		return err
	}
	plain, err := jsontext.AppendUnquote(nil, []byte(raw))
	if err != nil {
		return err
	}
	if len(plain) > s.lim.TokenBytesMax {
		s.report(rankToken, "Invalid clientToken")
		return nil
	}
	req.ClientToken, req.HasToken = string(plain), true
	return nil
}

func (s *scanner) version(req *Request) error {
	switch s.dec.PeekKind() {
	case 'n':
		return s.skip() // null is as if absent
	case '0':
		raw, err := s.number()
		if err != nil {
			return err
		}
		v, ok := wholeNumber(string(raw))
		if ok {
			req.version, req.hasVersion = Version(v), true
			return nil
		}
	default:
		if err := s.skip(); err != nil {
			return err
		}
	}
	s.report(rankVersion, "Invalid version")
	return nil
}

// state reads the value of "state".
func (s *scanner) state() error {
	switch s.dec.PeekKind() {
	case 'n':
		s.push(0, 0, kindNull, "null")
		return s.skip()
	case '{':
	default:
		s.report(rankState, "State node must be an object")
		return s.skip()
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	at := s.push(0, 0, kindObject, "{")
	for s.dec.PeekKind() != '}' {
		name, err := s.name()
		if err != nil {
			return err
		}
		switch string(name) {
		case `"desired"`:
			err = s.section(at, name, "Desired node must be an object")
		case `"reported"`:
			err = s.section(at, name, "Reported node must be an object")
		default:
			s.report(rankSection, "State contains an invalid node: '"+shown(name)+"'")
			err = s.skip()
		}
		if err != nil {
			return err
		}
	}
	s.text = append(s.text, '}')
	_, err := s.dec.ReadToken()
	return err
}

func (s *scanner) section(state int, name []byte, message string) error {
	if k := s.dec.PeekKind(); k != '{' && k != 'n' {
		s.report(rankSection, message)
		return s.skip()
	}
	keyAt, keyLen := s.key(state, name)
	return s.value(keyAt, keyLen, 1, false)
}

// key writes the name of the next member of the object at a place of the tape.
func (s *scanner) key(object int, name []byte) (at, length int) {
	if s.tape[object].kids > 0 {
		s.text = append(s.text, ',')
	}
	s.tape[object].kids++
	at = len(s.text)
	s.text = append(s.text, name...)
	s.text = append(s.text, ':')
	return at, len(name)
}

// push adds a node to the tape, and its text or first byte to the text.
func (s *scanner) push(keyAt, keyLen int, kind nodeKind, text string) int {
	s.tape = append(s.tape, tapeNode{
		keyAt: int32(keyAt), keyLen: int32(keyLen),
		textAt: int32(len(s.text)), textLen: int32(len(text)), kind: kind,
	})
	s.text = append(s.text, text...)
	return len(s.tape) - 1
}

// value reads a value in a section. Its recursion is bounded by the depth limit.
func (s *scanner) value(keyAt, keyLen, depth int, inArray bool) error {
	kind := s.dec.PeekKind()
	switch kind {
	case '{', '[':
		if depth > s.lim.DepthMax {
			s.report(rankDepth, s.depthMessage())
			return s.skip()
		}
		if _, err := s.dec.ReadToken(); err != nil {
			return err
		}
		if kind == '{' {
			return s.members(keyAt, keyLen, depth, inArray)
		}
		return s.elements(keyAt, keyLen, depth)
	case '0':
		raw, err := s.number()
		if err != nil {
			return err
		}
		s.leaf(keyAt, keyLen, kindNumber, raw)
		return nil
	}
	raw, err := s.dec.ReadValue()
	if err != nil {
		return err
	}
	switch kind {
	case 'n':
		if inArray {
			s.report(rankArrayNull, errNotJSON.Message) // row 14
		}
		s.leaf(keyAt, keyLen, kindNull, raw)
	case 't':
		s.leaf(keyAt, keyLen, kindTrue, raw)
	case 'f':
		s.leaf(keyAt, keyLen, kindFalse, raw)
	case '"':
		s.leaf(keyAt, keyLen, kindString, raw)
	}
	return nil
}

func (s *scanner) leaf(keyAt, keyLen int, kind nodeKind, raw []byte) {
	s.tape = append(s.tape, tapeNode{
		keyAt: int32(keyAt), keyLen: int32(keyLen),
		textAt: int32(len(s.text)), textLen: int32(len(raw)), kind: kind,
	})
	s.text = append(s.text, raw...)
}

func (s *scanner) members(keyAt, keyLen, depth int, inArray bool) error {
	at := s.push(keyAt, keyLen, kindObject, "{")
	for s.dec.PeekKind() != '}' {
		name, err := s.name()
		if err != nil {
			return err
		}
		keyAt, keyLen := s.key(at, name)
		if err := s.value(keyAt, keyLen, depth+1, inArray); err != nil {
			return err
		}
	}
	s.text = append(s.text, '}')
	_, err := s.dec.ReadToken()
	return err
}

func (s *scanner) elements(keyAt, keyLen, depth int) error {
	at := s.push(keyAt, keyLen, kindArray, "[")
	for s.dec.PeekKind() != ']' {
		if s.tape[at].kids > 0 {
			s.text = append(s.text, ',')
		}
		s.tape[at].kids++
		if err := s.value(0, 0, depth+1, true); err != nil {
			return err
		}
	}
	s.text = append(s.text, ']')
	_, err := s.dec.ReadToken()
	return err
}

var errTooDeep = errors.New("nested too deeply to be read")

// skip reads a value that is not looked at. It goes token by token, so that a
// hostile depth is noticed at once.
func (s *scanner) skip() error {
	outer := s.dec.StackDepth()
	for {
		var err error
		switch s.dec.PeekKind() {
		case '{', '[', '}', ']':
			_, err = s.dec.ReadToken()
		case '0':
			_, err = s.number()
		default:
			_, err = s.dec.ReadValue()
		}
		if err != nil {
			return err
		}
		depth := s.dec.StackDepth()
		if depth > DepthLimit {
			return errTooDeep
		}
		if depth <= outer {
			return nil
		}
	}
}

// number reads a number and refuses one that is out of range.
func (s *scanner) number() ([]byte, error) {
	raw, err := s.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	if !inRange(raw) {
		return nil, errNotJSON
	}
	return raw, nil
}

// exponentDigitsMax is the longest exponent, leading zeros not counted: beyond it
// two numbers could not be compared exactly.
const exponentDigitsMax = 9

// inRange reports whether a float64 comes near the number. Tiny ones are let
// through, they only become zero elsewhere.
func inRange(raw []byte) bool {
	e := bytes.IndexAny(raw, "eE")
	if e < 0 && len(raw) < 300 {
		return true
	}
	if e >= 0 && len(bytes.TrimLeft(raw[e+1:], "+-0")) > exponentDigitsMax {
		return false
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	return err == nil || !math.IsInf(f, 0)
}

func (s *scanner) depthMessage() string {
	return "JSON contains too many levels of nesting; maximum is " + strconv.Itoa(s.lim.DepthMax)
}

// shownBytesMax is how much of a client's name goes into a message.
const shownBytesMax = 128

// shown returns a quoted name for a message.
func shown(name []byte) string {
	plain, err := jsontext.AppendUnquote(nil, name)
	if err != nil || len(plain) <= shownBytesMax {
		return string(plain)
	}
	cut := shownBytesMax
	for cut > 0 && !utf8.RuneStart(plain[cut]) {
		cut--
	}
	return strings.Clone(string(plain[:cut])) + "…"
}

// build makes the request's tree of what was scanned.
func (s *scanner) build(req *Request) {
	if len(s.text) > s.lim.DocumentBytesMax && s.sentBytes() > s.lim.DocumentBytesMax {
		req.oversize = true
		return
	}
	req.text = string(s.text)
	b := builder{tape: s.tape, text: req.text, slab: make([]Node, len(s.tape))}
	req.nodes = len(s.tape)
	root := &b.grab(1)[0]
	b.fill(root)
	req.state = root
}

// sentBytes is a size that the merged document will have at least: that of all
// that is sent but nulls, which delete.
func (s *scanner) sentBytes() int {
	size := 0
	for i := range s.tape {
		n := &s.tape[i]
		if n.kind != kindNull && n.kind != kindObject && n.kind != kindArray {
			size += int(n.textLen)
			if n.keyLen > 0 {
				size += int(n.keyLen) + 1
			}
		}
	}
	return size
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
