package twin

import (
	"bytes"
	"errors"
	"hash/maphash"
	"io"
	"strconv"
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
	dec   jsontext.Decoder
	src   bytes.Buffer
	names names
	lim   Limits
	text  []byte
	tape  []tapeNode
	plain []byte // scratch
	// sent is a size that the merged document will have at least: that of all that is
	// sent but nulls, which delete, and objects, which merge. When it is over the
	// limit, nothing more is written to text and tape.
	sent   int
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
	scanTextKeepBytes = 128 << 10
	scanTapeKeepLen   = 8192
)

var scanners = sync.Pool{New: func() any { return &scanner{names: names{seed: maphash.MakeSeed()}} }}

func newScanner(payload []byte, lim Limits) *scanner {
	s := scanners.Get().(*scanner)
	s.src = *bytes.NewBuffer(payload)
	// Names are checked by ourselves, see [names].
	s.dec.Reset(&s.src, jsontext.AllowDuplicateNames(true))
	s.names.reset(payload)
	s.lim, s.sent, s.fault, s.rank = lim, 0, nil, rankNone
	s.text, s.tape = s.text[:0], s.tape[:0]
	return s
}

func (s *scanner) release() {
	s.names.reset(nil)
	if cap(s.text) > scanTextKeepBytes || cap(s.tape) > scanTapeKeepLen || s.names.large() {
		return // an odd one must not stay in memory
	}
	s.src = bytes.Buffer{}
	s.dec.Reset(&s.src) // lets go of the payload
	scanners.Put(s)
}

func (s *scanner) oversize() bool { return s.sent > s.lim.DocumentBytesMax }

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
		if _, err = s.dec.ReadToken(); errors.Is(err, io.EOF) {
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
	object := s.names.open()
	for s.dec.PeekKind() != '}' {
		name, err := s.name(object)
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
			err = s.skip(1) // AWS: "JSON content outside of those sections is ignored"
		}
		if err != nil {
			return err
		}
	}
	if s.update && !seen {
		s.report(rankState, "Missing required node: state")
	}
	return s.closeObject(object)
}

// closeObject reads the end of an object.
func (s *scanner) closeObject(object int) error {
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	return s.names.close(object)
}

// name reads a member's name and returns it quoted, in its shortest form. object is
// where the names of its object begin, see [names]. The name is valid until the
// next one is read.
func (s *scanner) name(object int) ([]byte, error) {
	raw, err := s.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	return s.names.add(object, raw, int(s.dec.InputOffset())-len(raw))
}

// escapeBytesMax is the most bytes that one byte of a string can be written as.
const escapeBytesMax = len(`\u0000`)

func (s *scanner) token(req *Request) error {
	if s.dec.PeekKind() != '"' {
		s.report(rankToken, "Invalid clientToken")
		return s.skip(1)
	}
	raw, err := s.dec.ReadValue()
	if err != nil {
		return err
	}
	if len(raw) > s.lim.TokenBytesMax*escapeBytesMax+2 {
		s.report(rankToken, "Invalid clientToken")
		return nil
	}
	s.plain, err = jsontext.AppendUnquote(s.plain[:0], []byte(raw))
	if err != nil {
		return err
	}
	if len(s.plain) > s.lim.TokenBytesMax {
		s.report(rankToken, "Invalid clientToken")
		return nil
	}
	req.ClientToken, req.HasToken = string(s.plain), true
	return nil
}

func (s *scanner) version(req *Request) error {
	switch s.dec.PeekKind() {
	case 'n':
		return s.skip(1) // null is as if absent
	case '0':
		raw, err := s.number()
		if err != nil {
			return err
		}
		v, ok := wholeNumber(text(raw))
		if ok {
			req.version, req.hasVersion = Version(v), true
			return nil
		}
	default:
		if err := s.skip(1); err != nil {
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
		return s.skip(1)
	case '{':
	default:
		s.report(rankState, "State node must be an object")
		return s.skip(1)
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	at := s.push(0, 0, kindObject, "{")
	object := s.names.open()
	for s.dec.PeekKind() != '}' {
		name, err := s.name(object)
		if err != nil {
			return err
		}
		switch string(name) {
		case keyDesired:
			err = s.section(at, name, "Desired node must be an object")
		case keyReported:
			err = s.section(at, name, "Reported node must be an object")
		default:
			s.report(rankSection, "State contains an invalid node: '"+shown(name)+"'")
			err = s.skip(2)
		}
		if err != nil {
			return err
		}
	}
	s.text = append(s.text, '}')
	return s.closeObject(object)
}

func (s *scanner) section(state int, name []byte, message string) error {
	if k := s.dec.PeekKind(); k != '{' && k != 'n' {
		s.report(rankSection, message)
		return s.skip(2)
	}
	keyAt, keyLen := s.key(state, name)
	return s.value(keyAt, keyLen, 1, false)
}

// key writes the name of the next member of the object at a place of the tape.
func (s *scanner) key(object int, name []byte) (at, length int) {
	if s.oversize() {
		return 0, 0
	}
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
	if s.oversize() {
		return 0
	}
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
			return s.skip(depth + 1)
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
	if kind != kindNull {
		s.sent += len(raw) + keyLen
	}
	if s.oversize() {
		return
	}
	s.tape = append(s.tape, tapeNode{
		keyAt: int32(keyAt), keyLen: int32(keyLen),
		textAt: int32(len(s.text)), textLen: int32(len(raw)), kind: kind,
	})
	s.text = append(s.text, raw...)
}

func (s *scanner) members(keyAt, keyLen, depth int, inArray bool) error {
	at := s.push(keyAt, keyLen, kindObject, "{")
	if inArray {
		s.sent += len("{}")
	}
	object := s.names.open()
	for s.dec.PeekKind() != '}' {
		name, err := s.name(object)
		if err != nil {
			return err
		}
		keyAt, keyLen := s.key(at, name)
		if err := s.value(keyAt, keyLen, depth+1, inArray); err != nil {
			return err
		}
	}
	s.text = append(s.text, '}')
	return s.closeObject(object)
}

func (s *scanner) elements(keyAt, keyLen, depth int) error {
	at := s.push(keyAt, keyLen, kindArray, "[")
	s.sent += len("[]") + keyLen
	for s.dec.PeekKind() != ']' {
		if !s.oversize() {
			if s.tape[at].kids > 0 {
				s.text = append(s.text, ',')
			}
			s.tape[at].kids++
		}
		if err := s.value(0, 0, depth+1, true); err != nil {
			return err
		}
	}
	s.text = append(s.text, ']')
	_, err := s.dec.ReadToken()
	return err
}

var errTooDeep = errors.New("nested too deeply to be read")

// skip reads a value that is not looked at, but must be JSON. depth is how many
// levels are around it.
func (s *scanner) skip(depth int) error {
	kind := s.dec.PeekKind()
	switch kind {
	case '0':
		_, err := s.number()
		return err
	case '{', '[':
	default:
		_, err := s.dec.ReadValue()
		return err
	}
	if depth >= DepthLimit {
		return errTooDeep
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	if kind == '[' {
		for s.dec.PeekKind() != ']' {
			if err := s.skip(depth + 1); err != nil {
				return err
			}
		}
		_, err := s.dec.ReadToken()
		return err
	}
	object := s.names.open()
	for s.dec.PeekKind() != '}' {
		if _, err := s.name(object); err != nil {
			return err
		}
		if err := s.skip(depth + 1); err != nil {
			return err
		}
	}
	return s.closeObject(object)
}

// number reads a number and refuses one that is out of range.
func (s *scanner) number() ([]byte, error) {
	raw, err := s.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	if !inRange(text(raw)) {
		return nil, errNotJSON
	}
	return raw, nil
}

func (s *scanner) depthMessage() string {
	return "JSON contains too many levels of nesting; maximum is " + strconv.Itoa(s.lim.DepthMax)
}

// shownBytesMax is how much of a client's name goes into a message.
const shownBytesMax = 128

// shown returns a quoted name for a message.
func shown(name []byte) string {
	cut := name[1 : len(name)-1]
	if len(cut) <= shownBytesMax {
		plain, err := jsontext.AppendUnquote(nil, name)
		if err == nil {
			return string(plain)
		}
	}
	cut = cut[:min(len(cut), shownBytesMax)]
	for len(cut) > 0 && !utf8.Valid(cut) {
		cut = cut[:len(cut)-1]
	}
	return string(cut) + "…"
}
