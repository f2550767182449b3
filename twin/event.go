package twin

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Version is the AWS version of a shadow: it counts accepted updates, jumps by one
// more on delete, and restarts 48 hours after a delete.
type Version uint64

// Seq counts the events of one thing, over all its shadows, by one, for ever,
// from 1.
type Seq uint64

// EventKind says what happened.
type EventKind uint8

// The kinds of event. The numbers are on disk: never reuse one.
const (
	EventUpdated      EventKind = 1  // an update of a shadow was accepted
	EventDeleted      EventKind = 2  // a shadow was deleted
	EventRecorded     EventKind = 3  // a past state that came late: history, not the current state
	EventRejected     EventKind = 4  // updates were rejected; coalesced under a flood
	EventConnected    EventKind = 5  // a client that stands for the thing connected
	EventDisconnected EventKind = 6  // it disconnected; Type says why
	EventReported     EventKind = 7  // the device or an application reported something: an error, an OTA step, anything
	EventManaged      EventKind = 8  // an administrative act: tags, model, creation
	EventCommand      EventKind = 9  // a step in the life of a command; Type is its state, Correlation its id
	EventJob          EventKind = 10 // a step of a job with the thing; Type is its status, Correlation the job
	EventBehaviour    EventKind = 11 // a step of the state machine of the model, or one that it does not allow
	EventAlarm        EventKind = 12 // an alarm was raised, acknowledged, cleared or muted; Type says which, Correlation names it
	EventModel        EventKind = 13 // a version of a model came into force; only in the log of [ModelLog]
	EventGroup        EventKind = 14 // the twin has come to meet the condition of a live group, or does no more; Correlation names the group
	EventIntent       EventKind = 15 // a step in the life of what is asked of the thing; Type says which, Correlation is the version that asked, as v12
	EventAnomaly      EventKind = 16 // an episode of unusual measurements started or ended, or somebody judged it; Type says which, Correlation names it
	EventPrediction   EventKind = 17 // when the thing is expected to fail; Type is "made" or "withdrawn"
)

// The types of events of kind managed.
const (
	ManagedCreated = "created"
	ManagedChanged = "changed"
	ManagedDeleted = "deleted"
)

// ModelLog names the log in which the versions of a model are told. It is no name that a
// thing can have.
func ModelLog(model string) ThingName { return ThingName(modelLog + model) }

const modelLog = "$model:"

// IsModelLog reports whether a name is one of [ModelLog].
func (n ThingName) IsModelLog() bool {
	model, ok := strings.CutPrefix(string(n), modelLog)
	return ok && ThingName(model).Valid()
}

// eventKinds are the names as they are shown and asked for.
var eventKinds = [...]string{ //nolint:gochecknoglobals // read only
	EventUpdated: "updated", EventDeleted: "deleted", EventRecorded: "recorded", EventRejected: "rejected",
	EventConnected: "connected", EventDisconnected: "disconnected", EventReported: "reported", EventManaged: "managed",
	EventCommand: "command", EventJob: "job", EventBehaviour: "behaviour", EventAlarm: "alarm", EventModel: "model", EventGroup: "group", EventIntent: "intent",
	EventAnomaly: "anomaly", EventPrediction: "prediction",
}

// String returns the kind as it is shown.
func (k EventKind) String() string {
	if int(k) < len(eventKinds) && eventKinds[k] != "" {
		return eventKinds[k]
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// ParseEventKind returns the kind with a name.
func ParseEventKind(name string) (EventKind, bool) {
	i := slices.Index(eventKinds[:], name)
	return EventKind(max(i, 0)), i > 0
}

// EventKindNames lists the names of all kinds.
func EventKindNames() []string { return slices.Clone(eventKinds[1:]) }

// OfShadow reports whether events of this kind change or record a shadow. The
// others are only in the event log.
func (k EventKind) OfShadow() bool {
	return k == EventUpdated || k == EventDeleted || k == EventRecorded
}

// Severity says how bad an event is. The numbers are on disk.
type Severity uint8

// The severities, in order.
const (
	SeverityNone     Severity = 0 // not said
	SeverityInfo     Severity = 1
	SeverityWarning  Severity = 2
	SeverityError    Severity = 3
	SeverityCritical Severity = 4
)

var severities = [...]string{"", "info", "warning", "error", "critical"} //nolint:gochecknoglobals // read only

// String returns the name, empty for none.
func (s Severity) String() string {
	if int(s) < len(severities) {
		return severities[s]
	}
	return fmt.Sprintf("severity-%d", uint8(s))
}

// ParseSeverity returns the severity with a name; the empty name is none.
func ParseSeverity(name string) (Severity, bool) {
	i := slices.Index(severities[:], name)
	return Severity(max(i, 0)), i >= 0
}

// Door names the way by which something came in. The numbers are on disk.
type Door uint8

// The doors.
const (
	DoorMQTT Door = 1 // MQTT, any transport
	DoorAWS  Door = 2 // the AWS HTTP data plane
	DoorREST Door = 3 // the REST API
	// DoorCloud: the shadow lives in the service of AWS, whose documents are ingested. The
	// patch of such an event is the whole state, see [Event.SetMirrored].
	DoorCloud Door = 4
)

// String returns the door's name.
func (d Door) String() string {
	switch d {
	case DoorMQTT:
		return "mqtt"
	case DoorAWS:
		return "aws"
	case DoorREST:
		return "rest"
	case DoorCloud:
		return "cloud"
	}
	return fmt.Sprintf("door-%d", uint8(d))
}

// Origin says who caused an event and by which way. Session and PacketID recognise
// a QoS 1 packet that is sent again.
type Origin struct {
	Door     Door
	Session  string // MQTT client id, or the caller of an HTTP request
	PacketID uint16 // of a QoS 1 or 2 PUBLISH, else 0
	// PayloadHash is the [PayloadHash] of the request. It is not kept in the event.
	PayloadHash uint32
}

// Event is the immutable record of something that happened to one twin.
type Event struct {
	Thing      ThingName
	Shadow     ShadowName
	Seq        Seq
	Kind       EventKind
	Version    Version // of the shadow after the event; 0 if the kind is not of a shadow
	Time       Time    // commit time, never earlier than the event before it in the shard
	OriginTime Time    // when it happened, if not at Time
	Origin     Origin
	// Patch is the "state" value of the request as sent (compact JSON); empty for
	// a delete. EventRecorded has the whole recorded state here.
	Patch []byte
	// Snapshot is the whole shadow after the event ([Shadow.AppendBinary]); the
	// first event of a shadow on a day and at least every 256th has one.
	Snapshot []byte
	// Model, ModelVersion and Computed are set when a model took part.
	Model        string
	ModelVersion uint32
	Computed     []byte
	Correlation  string // clientToken, or the correlation id of the caller

	// What the kinds that are not of a shadow say; Data, and with a warning Severity and
	// Message, of a mirrored shadow too.
	Type     string // "error", "ota", …; the reason of a disconnect
	Severity Severity
	Message  string
	Data     []byte // JSON
}

const eventFormat = 1

// What an event has beside the fields that all have. The bits are on disk.
const (
	hasOriginTime = 1 << iota
	hasSession    // a session other than the thing's name
	hasPacketID
	hasSnapshot
	hasModel
	hasComputed
	hasCorrelation
	hasDetail // type, severity, message, data
)

// AppendBinary appends the canonical encoding, the one that is hashed. Its layout
// is docs/format/event.md. It begins with thing, shadow and seq ([Event.AppendPrefix]),
// so that an event moved elsewhere is found. What changes from event to event is
// kept together, and numbers that usually count with seq are kept as their distance
// from it: so a run of events of one twin compresses well.
func (e *Event) AppendBinary(dst []byte) []byte {
	dst = e.AppendPrefix(dst)
	f := e.fields()
	dst = append(dst, eventFormat, byte(e.Kind), byte(e.Origin.Door))
	dst = binary.AppendUvarint(dst, f)
	dst = binary.AppendVarint(dst, int64(e.Version)-int64(e.Seq))
	if f&hasSession != 0 {
		dst = appendBytes(dst, e.Origin.Session)
	}
	if f&hasPacketID != 0 {
		dst = binary.BigEndian.AppendUint16(dst, e.Origin.PacketID-uint16(e.Seq))
	}
	dst = binary.AppendVarint(dst, int64(e.Time))
	if f&hasOriginTime != 0 {
		dst = binary.AppendVarint(dst, int64(e.OriginTime-e.Time))
	}
	if f&hasSnapshot != 0 {
		dst = appendBytes(dst, e.Snapshot)
	}
	if f&hasModel != 0 {
		dst = appendBytes(dst, e.Model)
		dst = binary.AppendUvarint(dst, uint64(e.ModelVersion))
	}
	if f&hasComputed != 0 {
		dst = appendBytes(dst, e.Computed)
	}
	if f&hasCorrelation != 0 {
		dst = appendBytes(dst, e.Correlation)
	}
	if f&hasDetail != 0 {
		dst = appendBytes(dst, e.Type)
		dst = append(dst, byte(e.Severity))
		dst = appendBytes(dst, e.Message)
		dst = appendBytes(dst, e.Data)
	}
	return append(dst, e.Patch...)
}

// AppendPrefix appends the start of the canonical encoding: thing, zero byte,
// shadow, zero byte, seq (uvarint). A store that has these in the key need not keep
// them twice.
func (e *Event) AppendPrefix(dst []byte) []byte {
	dst = append(append(dst, e.Thing...), 0)
	dst = append(append(dst, e.Shadow...), 0)
	return binary.AppendUvarint(dst, uint64(e.Seq))
}

func (e *Event) fields() uint64 {
	var f uint64
	set := func(bit uint64, has bool) {
		if has {
			f |= bit
		}
	}
	set(hasOriginTime, e.OriginTime != 0)
	set(hasSession, e.Origin.Session != string(e.Thing))
	set(hasPacketID, e.Origin.PacketID != 0)
	set(hasSnapshot, len(e.Snapshot) > 0)
	set(hasModel, e.Model != "" || e.ModelVersion != 0)
	set(hasComputed, len(e.Computed) > 0)
	set(hasCorrelation, e.Correlation != "")
	set(hasDetail, e.Type != "" || e.Severity != 0 || e.Message != "" || len(e.Data) > 0)
	return f
}

// DecodeEvent reads what [Event.AppendBinary] wrote. The event's byte fields share
// the memory of b. An unknown format or damaged bytes are an error.
func DecodeEvent(b []byte) (Event, error) {
	var e Event
	if err := e.Decode(b); err != nil {
		return Event{}, err
	}
	return e, nil
}

// Decode is [DecodeEvent] into an event that is there already. If its thing, shadow,
// session or model is what is read, that memory is kept: from event to event of a twin
// they hardly change.
func (e *Event) Decode(b []byte) error {
	d := decoder{b: b}
	thing, shadow, session, model := e.Thing, e.Shadow, e.Origin.Session, e.Model
	*e = Event{}
	e.Thing = keepName(&d, thing)
	e.Shadow = keepName(&d, shadow)
	e.Seq = Seq(d.uvarint())
	if f := d.byte(); f != eventFormat && d.err == nil {
		return fmt.Errorf("event format %d is unknown", f)
	}
	e.Kind = EventKind(d.byte())
	e.Origin.Door = Door(d.byte())
	f := d.uvarint()
	e.Version = Version(d.varint() + int64(e.Seq))
	e.Origin.Session = string(e.Thing)
	if f&hasSession != 0 {
		e.Origin.Session = keep(session, d.bytes())
	}
	if f&hasPacketID != 0 {
		e.Origin.PacketID = d.uint16() + uint16(e.Seq)
	}
	e.Time = Time(d.varint())
	if f&hasOriginTime != 0 {
		e.OriginTime = e.Time + Time(d.varint())
	}
	if f&hasSnapshot != 0 {
		e.Snapshot = d.bytes()
	}
	if f&hasModel != 0 {
		e.Model = keep(model, d.bytes())
		e.ModelVersion = uint32(d.uvarintMax(math.MaxUint32))
	}
	if f&hasComputed != 0 {
		e.Computed = d.bytes()
	}
	if f&hasCorrelation != 0 {
		e.Correlation = string(d.bytes())
	}
	if f&hasDetail != 0 {
		e.Type = string(d.bytes())
		e.Severity = Severity(d.byte())
		e.Message = string(d.bytes())
		e.Data = d.bytes()
	}
	if len(d.b) > 0 {
		e.Patch = d.b
	}
	if got := e.fields(); got != f && d.err == nil {
		d.err = fmt.Errorf("fields are marked %#x, are %#x", f, got)
	}
	if d.err != nil {
		return fmt.Errorf("decode event: %w", d.err)
	}
	return nil
}

// keepName reads a name and returns have if it is that.
func keepName[T ~string](d *decoder, have T) T {
	if n := len(have); n < len(d.b) && d.b[n] == 0 && string(d.b[:n]) == string(have) {
		d.b = d.b[n+1:]
		return have
	}
	return T(d.name())
}

// keep returns have if it is what b says, else a new string.
func keep[T ~string](have T, b []byte) T {
	if string(b) == string(have) {
		return have
	}
	return T(b)
}

// Hash is a link of a thing's chain: SHA-256 over the link before it and the
// canonical bytes of the event. The link before the first event is all zero.
type Hash [sha256.Size]byte

// Next returns the link that follows h for an event in canonical form.
func (h Hash) Next(canonical []byte) Hash {
	d := sha256.New()
	_, _ = d.Write(h[:]) // a hash never fails
	_, _ = d.Write(canonical)
	var next Hash
	d.Sum(next[:0])
	return next
}

// SegmentEvents is the most events of a thing between two anchors of its chain.
const SegmentEvents = 256

// Head is where a thing's events stand.
type Head struct {
	Seq  Seq  // of the newest event; 0: the thing has none
	Hash Hash // link of the newest event
	Time Time // commit time of the newest event
}

func appendBytes[T string | []byte](dst []byte, b T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}
