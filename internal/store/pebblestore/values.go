package pebblestore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Each value but those of the log, the history and the counters begins with the
// position of its write, so that a reader knows whether it is durable. An event is
// durable if the head of its thing is.

// castagnoli is the polynomial of every checksum on disk; the processor computes it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const hintBackup = "stop the server and restore the data folder from a backup"

func errDamaged(what string) error {
	return &twin.Error{Kind: twin.KindInternal, Message: "damaged on disk: " + what, Hint: hintBackup}
}

// appendBase appends the value of a base: the checksum of the event (4 bytes,
// big-endian), the event.
func appendBase(dst, event []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, crc32.Checksum(event, castagnoli)), event...)
}

// parseBase copies the event.
func parseBase(b []byte) ([]byte, error) {
	f := fields{b: b}
	sum := f.take(4)
	if f.bad || crc32.Checksum(f.b, castagnoli) != binary.BigEndian.Uint32(sum) {
		return nil, errDamaged("base: its checksum is wrong")
	}
	return bytes.Clone(f.b), nil
}

func appendHead(dst []byte, pos store.Pos, h twin.Head) []byte {
	dst = binary.AppendUvarint(dst, uint64(pos))
	dst = binary.AppendUvarint(dst, uint64(h.Seq))
	dst = binary.AppendUvarint(dst, uint64(h.Time))
	return append(dst, h.Hash[:]...)
}

func parseHead(b []byte, thing twin.ThingName) (pos store.Pos, h twin.Head, err error) {
	pos, h, _, err = parseHeadGroups(b, thing)
	return pos, h, err
}

// appendGroups appends to the head of a thing its groups, if they are not the default one
// alone: group (1 byte) and day of the newest event in it (uvarint) of each.
func appendGroups(dst []byte, gs store.Groups) []byte {
	for _, g := range gs {
		dst = binary.AppendUvarint(append(dst, byte(g.Group)), uint64(g.Day))
	}
	return dst
}

func parseHeadGroups(b []byte, thing twin.ThingName) (pos store.Pos, h twin.Head, groups store.Groups, err error) {
	f := fields{b: b}
	pos = store.Pos(f.uvarint())
	h.Seq = twin.Seq(f.uvarint())
	h.Time = twin.Time(f.uvarint())
	copy(h.Hash[:], f.take(len(h.Hash)))
	for len(f.b) != 0 && !f.bad {
		g, day := store.Group(f.byte()), f.uvarint()
		if n := len(groups); g > store.GroupMax || day > math.MaxUint32 || n > 0 && groups[n-1].Group >= g {
			f.fail()
		}
		groups = append(groups, store.GroupDay{Group: g, Day: uint32(day)})
	}
	if f.bad {
		return 0, twin.Head{}, nil, errDamaged(fmt.Sprintf("head of thing %s", thing))
	}
	return pos, h, groups, nil
}

// The flags of a shadow.
const (
	shadowLive  = 1
	shadowGroup = 2 // the group of its last snapshot is told: it is not the default one
)

func appendShadow(dst []byte, pos store.Pos, m *store.Mutation) []byte {
	dst = binary.AppendUvarint(dst, uint64(pos))
	var flags byte
	if m.Live {
		flags = shadowLive
	}
	if m.Info.SnapshotGroup != store.GroupDefault {
		flags |= shadowGroup
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(m.Info.Seq))
	dst = binary.AppendUvarint(dst, uint64(m.Info.SinceSnapshot))
	dst = binary.AppendUvarint(dst, uint64(m.Info.SnapshotDay))
	if flags&shadowGroup != 0 {
		dst = append(dst, byte(m.Info.SnapshotGroup))
	}
	return append(dst, m.Doc...)
}

// parseShadow returns the document in place.
func parseShadow(b []byte, key twin.ShadowKey) (pos store.Pos, s store.Shadow, live bool, err error) {
	f := fields{b: b}
	pos = store.Pos(f.uvarint())
	flags := f.byte()
	s.Info.Seq = twin.Seq(f.uvarint())
	s.Info.SinceSnapshot = uint16(f.uvarint())
	s.Info.SnapshotDay = uint32(f.uvarint())
	if flags&shadowGroup != 0 {
		if s.Info.SnapshotGroup = store.Group(f.byte()); s.Info.SnapshotGroup-1 >= store.GroupMax { // 0 wraps
			f.fail()
		}
	}
	s.Doc = f.b
	if f.bad || len(f.b) == 0 || flags > shadowLive|shadowGroup {
		return 0, store.Shadow{}, false, errDamaged(fmt.Sprintf("shadow %s", key))
	}
	return pos, s, flags&shadowLive != 0, nil
}

func appendRecord(dst []byte, pos store.Pos, value []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(pos)), value...)
}

// parseRecord copies: the record owns its value.
func parseRecord(b []byte, kind twin.RecordKind, key string) (twin.Record, error) {
	f := fields{b: b}
	r := twin.Record{Kind: kind, Key: key, Revision: twin.Revision(f.uvarint())}
	if f.bad {
		return twin.Record{}, errDamaged(fmt.Sprintf("record of kind %d", kind))
	}
	r.Value = append([]byte{}, f.b...)
	return r, nil
}

// counters are what is given out by counting: positions, and the day of the log.
type counters struct {
	pos store.Pos
	day uint32
}

func (c *counters) append(dst []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(c.pos)), uint64(c.day))
}

func parseCounters(b []byte) (c counters, err error) {
	f := fields{b: b}
	c.pos = store.Pos(f.uvarint())
	c.day = uint32(f.uvarint())
	if f.bad || len(f.b) != 0 {
		return counters{}, errDamaged("counters")
	}
	return c, nil
}
