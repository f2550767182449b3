package twin

import (
	"unicode/utf8"
)

// Request is a parsed update request, or the clientToken of a get or delete. It is
// immutable, and shares no memory with the payload it was read from.
type Request struct {
	ClientToken string
	HasToken    bool

	hasVersion bool
	version    Version
	// state is what was sent: null, or an object with the sections sent, each null
	// or an object. nil for a get or delete.
	state *Node
	text  []byte // state as compact JSON; state shares it
	// oversize: what is sent is alone larger than a document may be. There is no
	// state then.
	oversize bool
}

// ExpectedVersion returns the version the request asks the shadow to be at.
func (r *Request) ExpectedVersion() (v Version, ok bool) { return r.version, r.hasVersion }

// ExpectVersion returns a request without a state that asks the shadow to be at a
// version, for a delete.
func ExpectVersion(v Version) *Request { return &Request{hasVersion: true, version: v} }

// State returns the "state" that was sent, as compact JSON; empty for a get or a
// delete.
func (r *Request) State() string { return text(r.text) }

// Touches calls visit with the section and the name of each top-level attribute that an
// update names, also where it sets what is there already. It returns false if the update
// names no attributes: it clears a whole section, or there is no update.
func (r *Request) Touches(visit func(section, name string)) bool {
	if r == nil || r.state == nil || r.state.kind != kindObject {
		return false
	}
	for i := range r.state.kids {
		section := &r.state.kids[i]
		if section.kind != kindObject {
			return false
		}
		of := section.Name()
		for j := range section.kids {
			visit(of, section.kids[j].Name())
		}
	}
	return true
}

// ParseRequest parses the body of an update. When it fails, the returned Request
// is not nil and carries the clientToken if that could be read, to be echoed.
//
// Faults are looked for in the order of spec §7, and the first is returned,
// wherever it stands in the body: UTF-8, JSON, clientToken, state, sections,
// depth, null in arrays, version. A number that no float64 can come near, such as
// 1e400, is not JSON here: most readers of the document would lose it.
func ParseRequest(payload []byte, lim Limits) (*Request, error) {
	return parse(payload, lim, true)
}

// ParseToken reads the clientToken of a get or delete body, which may be empty.
// Everything else in it is ignored but must be JSON. When it fails, the returned
// Request is not nil.
func ParseToken(payload []byte, lim Limits) (*Request, error) {
	if len(payload) == 0 {
		return &Request{}, nil
	}
	return parse(payload, lim, false)
}

func parse(payload []byte, lim Limits, update bool) (*Request, error) {
	req := &Request{}
	if !utf8.Valid(payload) {
		return req, NewError(KindEncoding, "Unsupported documented encoding; supported encoding is UTF-8")
	}
	s := newScanner(payload, lim.WithDefaults())
	defer s.release()
	err := s.request(req, update)
	if err != nil {
		return req, err
	}
	if update {
		s.build(req)
	}
	return req, nil
}
