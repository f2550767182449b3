package pebblestore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Each value but those of the log and the counters begins with the position of
// its write, so that a reader knows whether it is durable.

// castagnoli is the polynomial of every checksum on disk; the processor computes it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const hintBackup = "stop the server and restore the data folder from a backup"

func errDamaged(what string) error {
	return &twin.Error{Kind: twin.KindInternal, Message: "damaged on disk: " + what, Hint: hintBackup}
}

// logEntry is the value of a log key: a pointer to the event in the history.
type logEntry struct {
	mark     bool // only says how far positions have been given out
	shardSeq uint64
	class    store.Class
	day      uint32 // of the history key; never after the day of the log key
	key      twin.ShadowKey
	seq      twin.Seq
}

// The first byte of a log entry; that of an event has the class added.
const (
	logMark  = 0
	logEvent = 1
)

func (e *logEntry) append(dst []byte, logDay uint32) []byte {
	if e.mark {
		return append(dst, logMark)
	}
	dst = append(dst, logEvent+byte(e.class))
	dst = binary.AppendUvarint(dst, e.shardSeq)
	dst = binary.AppendUvarint(dst, uint64(e.seq))
	dst = binary.AppendUvarint(dst, uint64(logDay-e.day))
	dst = appendName(dst, e.key.Thing)
	return append(dst, e.key.Shadow...)
}

func parseLogEntry(b []byte, logDay uint32) (e logEntry, ok bool) {
	f := fields{b: b}
	first := f.byte()
	switch {
	case first == logMark:
		return logEntry{mark: true}, !f.bad && len(f.b) == 0
	case first-logEvent > byte(store.ClassLog):
		return e, false
	}
	e.class = store.Class(first - logEvent)
	e.shardSeq = f.uvarint()
	e.seq = twin.Seq(f.uvarint())
	back := f.uvarint()
	thing, shadow, ok := name(f.b)
	if !ok || f.bad || back > uint64(logDay) {
		return e, false
	}
	e.day = logDay - uint32(back)
	e.key = twin.ShadowKey{Thing: twin.ThingName(thing), Shadow: twin.ShadowName(shadow)}
	return e, true
}

// appendHistory appends the value of an event: position, checksum, the canonical
// bytes. The checksum names the culprit inside a segment of the hash chain.
func appendHistory(dst []byte, pos store.Pos, event []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(pos))
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(event, castagnoli))
	return append(dst, event...)
}

// parseHistory returns the event in place.
func parseHistory(b []byte) (pos store.Pos, event []byte, err error) {
	f := fields{b: b}
	pos = store.Pos(f.uvarint())
	sum := f.take(4)
	if f.bad {
		return 0, nil, errDamaged("event: it ends too early")
	}
	if crc32.Checksum(f.b, castagnoli) != binary.BigEndian.Uint32(sum) {
		return 0, nil, errDamaged("event: its checksum is wrong")
	}
	return pos, f.b, nil
}

func appendHead(dst []byte, pos store.Pos, h twin.Head) []byte {
	dst = binary.AppendUvarint(dst, uint64(pos))
	dst = binary.AppendUvarint(dst, uint64(h.Seq))
	dst = binary.AppendUvarint(dst, uint64(h.Time))
	return append(dst, h.Hash[:]...)
}

func parseHead(b []byte, thing twin.ThingName) (pos store.Pos, h twin.Head, err error) {
	f := fields{b: b}
	pos = store.Pos(f.uvarint())
	h.Seq = twin.Seq(f.uvarint())
	h.Time = twin.Time(f.uvarint())
	copy(h.Hash[:], f.take(len(h.Hash)))
	if f.bad || len(f.b) != 0 {
		return 0, twin.Head{}, errDamaged(fmt.Sprintf("head of thing %s", thing))
	}
	return pos, h, nil
}

const shadowLive = 1

func appendShadow(dst []byte, pos store.Pos, m *store.Mutation) []byte {
	dst = binary.AppendUvarint(dst, uint64(pos))
	var flags byte
	if m.Live {
		flags = shadowLive
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(m.Info.Seq))
	dst = binary.AppendUvarint(dst, uint64(m.Info.SinceSnapshot))
	dst = binary.AppendUvarint(dst, uint64(m.Info.SnapshotDay))
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
	s.Doc = f.b
	if f.bad || len(f.b) == 0 || flags > shadowLive {
		return 0, store.Shadow{}, false, errDamaged(fmt.Sprintf("shadow %s", key))
	}
	return pos, s, flags == shadowLive, nil
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

// counters are what is given out by counting: positions, the sequence of each
// shard, and the day of the log.
type counters struct {
	pos      store.Pos
	day      uint32
	shardSeq [twin.ShardCount]uint64
}

func (c *counters) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(c.pos))
	dst = binary.AppendUvarint(dst, uint64(c.day))
	for _, n := range c.shardSeq {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

func parseCounters(b []byte) (c counters, err error) {
	f := fields{b: bytes.Clone(b)}
	c.pos = store.Pos(f.uvarint())
	c.day = uint32(f.uvarint())
	for i := range c.shardSeq {
		c.shardSeq[i] = f.uvarint()
	}
	if f.bad || len(f.b) != 0 {
		return counters{}, errDamaged("counters")
	}
	return c, nil
}
