package twin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// A mirrored shadow lives elsewhere, in the service of AWS. What is known of it are
// the documents that AWS publishes on update/documents after each update (spec §3),
// each with the whole shadow before and after. They may come twice, late, in any
// order, or never.

// MirrorDocument is an update/documents message.
type MirrorDocument struct {
	// Thing and Shadow are what fields of these names say, which AWS does not send
	// but the SQL of a rule can add; empty: not said.
	Thing  ThingName
	Shadow ShadowName
	// Previous is nil for an update that created the shadow.
	Previous, Current *Shadow
	Time              Time // of the update, whole seconds

	request *Request
}

// Request returns the update as one request that sends all of Current, with the
// clientToken of the message.
func (d *MirrorDocument) Request() *Request { return d.request }

// MirrorRequest is a document for one shadow, as a door hands it to the engine.
type MirrorRequest struct {
	Key      ShadowKey
	Document *MirrorDocument
	Caller   string // who sent it
}

// MirrorOutcome says what became of a document.
type MirrorOutcome uint8

// The outcomes.
const (
	MirrorApplied  MirrorOutcome = iota + 1 // it is the current state now
	MirrorRecorded                          // it is history: a newer state was there
	MirrorRepeated                          // it had come before; nothing was written
)

// MirrorResult is the outcome of a [MirrorRequest].
type MirrorResult struct {
	Outcome MirrorOutcome
	Version Version
	Err     error
}

// ParseMirrorDocument parses an update/documents message. The message of an error begins with
// a JSON pointer to what is wrong and a colon (RFC 6901), such as "/current/version: it is
// missing". Members that are not known are ignored, as a rule may add some.
func ParseMirrorDocument(body []byte, lim Limits) (*MirrorDocument, error) {
	m, err := rawMembers("", body, "previous", "current", "timestamp", "clientToken", "thing", "shadow")
	if err != nil {
		return nil, err
	}
	d := &MirrorDocument{}
	seconds, err := wholeMember("", m, "timestamp")
	if err != nil {
		return nil, err
	}
	if seconds > maxSeconds {
		return nil, faultAt("/timestamp", "%d is not in seconds since 1970", seconds)
	}
	d.Time = Time(seconds) * 1000
	if err := d.names(m); err != nil {
		return nil, err
	}
	if d.Current, err = mirroredState("/current", m["current"], d.Time, lim); err != nil {
		return nil, err
	}
	if d.Current == nil {
		return nil, faultAt("/current", "it is missing")
	}
	if d.Previous, err = mirroredState("/previous", m["previous"], d.Time, lim); err != nil {
		return nil, err
	}
	if d.Previous != nil && d.Previous.Version >= d.Current.Version {
		return nil, faultAt("/previous/version", "%d is not before %d, that of current", d.Previous.Version, d.Current.Version)
	}
	token, has, err := textMember(m, "clientToken", lim.WithDefaults().TokenBytesMax)
	if err != nil {
		return nil, err
	}
	if d.request, err = parsePatch(d.Current.appendState(nil)); err != nil {
		return nil, err
	}
	d.request.ClientToken, d.request.HasToken = token, has
	return d, nil
}

// versionMax is the greatest version that every JSON reader takes as it is.
const versionMax = 1 << 53

// maxSeconds is the end of the year 9999.
const maxSeconds = 253402300799

func (d *MirrorDocument) names(m map[string]jsontext.Value) error {
	thing, has, err := textMember(m, "thing", ThingNameBytesMax)
	if err != nil {
		return err
	}
	if d.Thing = ThingName(thing); has && !d.Thing.Valid() {
		return faultAt("/thing", "%q is no thing name", thing)
	}
	shadow, _, err := textMember(m, "shadow", ShadowNameBytesMax)
	if err != nil {
		return err
	}
	if d.Shadow = ShadowName(shadow); shadow != "" && !d.Shadow.Valid() {
		return faultAt("/shadow", "%q is no shadow name", shadow)
	}
	return nil
}

// mirroredState reads a shadow of a message; nil if it is null or not there.
func mirroredState(at string, raw jsontext.Value, t Time, lim Limits) (*Shadow, error) {
	if raw == nil || raw.Kind() == 'n' {
		return nil, nil // none is an answer
	}
	m, err := rawMembers(at, raw, "state", "metadata", "version")
	if err != nil {
		return nil, err
	}
	version, err := wholeMember(at, m, "version")
	if err != nil {
		return nil, err
	}
	if version == 0 || version > versionMax {
		return nil, faultAt(at+"/version", "%d is not between 1 and %d", version, uint64(versionMax))
	}
	if m["state"] == nil {
		return nil, faultAt(at+"/state", "it is missing")
	}
	if m["state"].Kind() != '{' {
		return nil, faultAt(at+"/state", "it is not an object")
	}
	req, err := ParseRequest(wrapState(m["state"]), lim)
	if err == nil && req.oversize {
		err = errTooLarge()
	}
	if err != nil {
		return nil, &Error{Kind: Kind(err), Message: at + "/state: " + ErrorMessage(err)}
	}
	s := &Shadow{Version: Version(version)}
	req.apply(s, t)
	if s.JSONBytes() > lim.WithDefaults().DocumentBytesMax {
		return nil, &Error{
			Kind: KindTooLarge, Message: fmt.Sprintf("%s/state: %d bytes are over the limit of %d", at, s.JSONBytes(), lim.WithDefaults().DocumentBytesMax),
			Hint: "raise shadow.document_bytes_max",
		}
	}
	if raw := m["metadata"]; raw != nil {
		if err := s.stamp(raw); err != nil {
			return nil, faultAt(at+"/metadata", "%s", err.Error())
		}
	}
	return s, nil
}

// stamp sets the times of a shadow that is being made from its metadata.
func (s *Shadow) stamp(raw []byte) error {
	req, err := ParseRequest(wrapState(raw), foldLimits)
	if err != nil {
		return err
	}
	for _, section := range [...]struct {
		name string
		n    *Node
	}{{keyDesired, s.Desired}, {keyReported, s.Reported}} {
		if section.n == nil {
			continue
		}
		if err := section.n.stampFrom(req.state.find(section.name)); err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
	}
	return nil
}

var errStamp = errors.New("it does not have the shape of state with a timestamp for each value")

// stampFrom sets the times in n from the metadata of the same place. An array has one
// time here, the newest of its elements: AWS stamps them together, and none if it is
// empty.
func (n *Node) stampFrom(meta *Node) error {
	if meta == nil {
		return errStamp
	}
	switch n.kind {
	case kindObject:
		if meta.kind != kindObject {
			return errStamp
		}
		look := finder{nodes: meta.kids}
		for i := range n.kids {
			at := look.find(n.kids[i].key)
			if at < 0 {
				return errStamp
			}
			if err := n.kids[i].stampFrom(&meta.kids[at]); err != nil {
				return err
			}
		}
		return nil
	case kindArray:
		if meta.kind != kindArray {
			return errStamp
		}
		n.stamp = newestTimestamp(meta)
		return nil
	}
	at := meta.find(`"timestamp"`)
	if at == nil || at.kind != kindNumber {
		return errStamp
	}
	seconds, ok := wholeNumber(at.text)
	if !ok || seconds > maxSeconds {
		return errStamp
	}
	n.stamp = int64(seconds)
	return nil
}

// newestTimestamp returns the greatest number that metadata of an array has.
func newestTimestamp(meta *Node) int64 {
	if meta.kind == kindNumber {
		if s, ok := wholeNumber(meta.text); ok && s <= maxSeconds {
			return int64(s)
		}
	}
	var newest int64
	for i := range meta.kids {
		newest = max(newest, newestTimestamp(&meta.kids[i]))
	}
	return newest
}

// SameDocument reports whether two shadows have the same version, values and times,
// whatever the order of their members.
func SameDocument(a, b *Shadow) bool {
	return a.Version == b.Version && sameStamped(a.Desired, b.Desired) && sameStamped(a.Reported, b.Reported)
}

func sameStamped(a, b *Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	return equal(a, b) && sameStamps(a, b)
}

// sameStamps compares the times of equal nodes.
func sameStamps(a, b *Node) bool {
	if a.kind != kindObject {
		return a.stamp == b.stamp
	}
	look := finder{nodes: b.kids}
	for i := range a.kids {
		at := look.find(a.kids[i].key)
		if at < 0 || !sameStamps(&a.kids[i], &b.kids[at]) {
			return false
		}
	}
	return true
}

// NewMirrored is the change by which a shadow becomes what a document says.
func NewMirrored(key ShadowKey, prev *Shadow, d *MirrorDocument) *Change {
	if !prev.Exists() {
		prev = nil
	}
	return &Change{
		Key: key, Kind: EventUpdated, Time: d.Time,
		Previous: prev, Current: d.Current, Version: d.Current.Version, Request: d.request,
	}
}

// Mirrored reports whether an event holds the whole of a mirrored shadow.
func (e *Event) Mirrored() bool {
	return e.Origin.Door == DoorCloud && (e.Kind == EventUpdated || e.Kind == EventRecorded)
}

// SetMirrored puts the whole of a mirrored shadow into an event: its state as the
// patch, and what else is needed to have the same shadow again as data:
//
//	{"timestamp":1719853620,"stamps":[1719853620,1719850000]}
//
// The timestamp is that of the document, in seconds; it is left out where the shadow comes
// from the previous of a later one, which has none. The stamps are the times of all
// values in the order of the patch, each array counting as one.
func (e *Event) SetMirrored(s *Shadow, documentTime Time) {
	e.Version = s.Version
	e.Patch = s.appendState(nil)
	dst := []byte{'{'}
	if documentTime != 0 {
		dst = strconv.AppendInt(append(dst, `"timestamp":`...), documentTime.Seconds(), 10)
		dst = append(dst, ',')
	}
	dst = append(dst, `"stamps":[`...)
	first := true
	for _, n := range [...]*Node{s.Desired, s.Reported} {
		n.eachStamp(func(leaf *Node) {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = strconv.AppendInt(dst, leaf.stamp, 10)
		})
	}
	e.Data = append(dst, "]}"...)
}

// eachStamp visits what has a time of its own, in order.
func (n *Node) eachStamp(visit func(*Node)) {
	if n == nil {
		return
	}
	if n.kind != kindObject {
		visit(n)
		return
	}
	for i := range n.kids {
		n.kids[i].eachStamp(visit)
	}
}

func (s *Shadow) appendState(dst []byte) []byte {
	dst = append(dst, '{')
	return append(s.appendSections(dst, nil, (*Node).AppendJSON), '}')
}

// MirroredState returns the shadow that [Event.SetMirrored] put into an event.
func MirroredState(ev *Event) (*Shadow, error) {
	s, err := mirroredOf(ev)
	if err != nil {
		return nil, fmt.Errorf("mirrored state %d of %s: %w", ev.Seq, ev.Thing, err)
	}
	return s, nil
}

func mirroredOf(ev *Event) (*Shadow, error) {
	req, err := parsePatch(ev.Patch)
	if err != nil {
		return nil, err
	}
	s := &Shadow{Version: ev.Version}
	req.apply(s, 0)
	m, err := rawMembers("", ev.Data, "stamps")
	if err != nil {
		return nil, err
	}
	d := jsontext.NewDecoder(bytes.NewReader(m["stamps"]))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '[' {
		return nil, errStamps
	}
	for _, n := range [...]*Node{s.Desired, s.Reported} {
		n.eachStamp(func(leaf *Node) {
			var t jsontext.Value
			if t, err = d.ReadValue(); err != nil {
				return
			}
			leaf.stamp, err = strconv.ParseInt(string(t), 10, 64)
		})
		if err != nil {
			return nil, errStamps
		}
	}
	if d.PeekKind() != ']' {
		return nil, errStamps
	}
	return s, nil
}

var errStamps = errors.New("its stamps do not fit its patch")

func faultAt(pointer, format string, args ...any) error {
	return NewError(KindInvalid, pointer+": "+fmt.Sprintf(format, args...))
}

// rawMembers returns those members of an object that have one of the names.
func rawMembers(at string, body []byte, names ...string) (map[string]jsontext.Value, error) {
	if len(body) > requestBytesMax {
		return nil, errTooLarge()
	}
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, faultAt(at, "it is not a JSON object")
	}
	m := make(map[string]jsontext.Value, len(names))
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, faultAt(at, "it is not valid JSON: %v", err)
		}
		field := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return nil, faultAt(at, "it is not valid JSON: %v", err)
		}
		for _, known := range names {
			if field == known {
				m[field] = bytes.Clone(value)
			}
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, faultAt(at, "it is not valid JSON: %v", err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, faultAt(at, "there is more after the JSON object")
	}
	return m, nil
}

// wholeMember reads a whole number.
func wholeMember(at string, m map[string]jsontext.Value, name string) (uint64, error) {
	raw := m[name]
	if raw == nil {
		return 0, faultAt(at+"/"+name, "it is missing")
	}
	if raw.Kind() == '0' {
		if n, ok := wholeNumber(string(raw)); ok {
			return n, nil
		}
	}
	return 0, faultAt(at+"/"+name, "%.40s is not a whole number", raw)
}

// textMember reads a string that may be absent or null.
func textMember(m map[string]jsontext.Value, name string, bytesMax int) (text string, has bool, err error) {
	raw := m[name]
	if raw == nil || raw.Kind() == 'n' {
		return "", false, nil
	}
	if raw.Kind() != '"' {
		return "", false, faultAt("/"+name, "%.40s is not a string", raw)
	}
	b, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return "", false, faultAt("/"+name, "it is not a valid string: %v", err)
	}
	if len(b) > bytesMax {
		return "", false, faultAt("/"+name, "it is longer than %d bytes", bytesMax)
	}
	return string(b), true, nil
}

func wrapState(state []byte) []byte {
	body := make([]byte, 0, len(state)+10)
	body = append(body, `{"state":`...)
	body = append(body, state...)
	return append(body, '}')
}
