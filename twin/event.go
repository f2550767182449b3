package twin

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
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
	EventUpdated EventKind = 1 // an update of a shadow was accepted
	EventDeleted EventKind = 2 // a shadow was deleted
)

// String returns the kind as it is shown.
func (k EventKind) String() string {
	switch k {
	case EventUpdated:
		return "updated"
	case EventDeleted:
		return "deleted"
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// Door names the way by which something came in. The numbers are on disk.
type Door uint8

// The doors.
const (
	DoorMQTT Door = 1 // MQTT, any transport
	DoorAWS  Door = 2 // the AWS HTTP data plane
	DoorREST Door = 3 // the REST API
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
	}
	return fmt.Sprintf("door-%d", uint8(d))
}

// Origin says who caused an event and by which way. Session, PacketID and
// PayloadHash together recognise a QoS 1 packet that is sent again.
type Origin struct {
	Door        Door
	Session     string // MQTT client id, or the caller of an HTTP request
	PacketID    uint16 // of a QoS 1 or 2 PUBLISH, else 0
	PayloadHash uint32 // CRC-32C of topic and payload of that PUBLISH
}

// Event is the immutable record of something that happened to one twin.
type Event struct {
	Thing      ThingName
	Shadow     ShadowName
	Seq        Seq
	Kind       EventKind
	Version    Version
	Time       Time // commit time, never earlier than the event before it in the shard
	OriginTime Time // when it happened, if not at Time
	Origin     Origin
	// Patch is the "state" value of the request as sent (compact JSON); empty for
	// a delete.
	Patch []byte
	// Snapshot is the whole shadow after the event ([Shadow.AppendBinary]); the
	// first event of a shadow on a day and at least every 256th has one.
	Snapshot []byte
	// Model, ModelVersion and Computed are set when a model took part.
	Model        string
	ModelVersion uint32
	Computed     []byte
	Correlation  string // clientToken, or the correlation id of the caller
}

const eventFormat = 1

// AppendBinary appends the canonical encoding, the one that is stored and hashed.
// Its layout is docs/format/event.md. Thing and Shadow are part of it, so that an
// event moved to another twin is found.
func (e *Event) AppendBinary(dst []byte) []byte {
	dst = append(dst, eventFormat, byte(e.Kind))
	dst = binary.AppendUvarint(dst, uint64(e.Seq))
	dst = binary.AppendUvarint(dst, uint64(e.Version))
	dst = binary.AppendVarint(dst, int64(e.Time))
	var origin int64
	if e.OriginTime != 0 {
		origin = int64(e.OriginTime-e.Time)<<1 | 1
	}
	dst = binary.AppendVarint(dst, origin)
	dst = appendBytes(dst, string(e.Thing))
	dst = appendBytes(dst, string(e.Shadow))
	dst = append(dst, byte(e.Origin.Door))
	dst = appendBytes(dst, e.Origin.Session)
	dst = binary.AppendUvarint(dst, uint64(e.Origin.PacketID))
	if e.Origin.PacketID != 0 {
		dst = binary.BigEndian.AppendUint32(dst, e.Origin.PayloadHash)
	}
	dst = appendBytes(dst, e.Patch)
	dst = appendBytes(dst, e.Snapshot)
	dst = appendBytes(dst, e.Model)
	dst = binary.AppendUvarint(dst, uint64(e.ModelVersion))
	dst = appendBytes(dst, e.Computed)
	return appendBytes(dst, e.Correlation)
}

// DecodeEvent reads what [Event.AppendBinary] wrote. The event's byte fields share
// the memory of b. An unknown format or damaged bytes are an error.
func DecodeEvent(b []byte) (Event, error) {
	d := decoder{b: b}
	if f := d.byte(); f != eventFormat && d.err == nil {
		return Event{}, fmt.Errorf("event format %d is unknown", f)
	}
	var e Event
	e.Kind = EventKind(d.byte())
	e.Seq = Seq(d.uvarint())
	e.Version = Version(d.uvarint())
	e.Time = Time(d.varint())
	if o := d.varint(); o != 0 {
		e.OriginTime = e.Time + Time(o>>1)
	}
	e.Thing = ThingName(d.bytes())
	e.Shadow = ShadowName(d.bytes())
	e.Origin.Door = Door(d.byte())
	e.Origin.Session = string(d.bytes())
	e.Origin.PacketID = uint16(d.uvarint())
	if e.Origin.PacketID != 0 {
		e.Origin.PayloadHash = d.uint32()
	}
	e.Patch = d.bytes()
	e.Snapshot = d.bytes()
	e.Model = string(d.bytes())
	e.ModelVersion = uint32(d.uvarint())
	e.Computed = d.bytes()
	e.Correlation = string(d.bytes())
	if d.err == nil && len(d.b) != 0 {
		d.err = fmt.Errorf("%d bytes too many", len(d.b))
	}
	if d.err != nil {
		return Event{}, fmt.Errorf("decode event: %w", d.err)
	}
	return e, nil
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
