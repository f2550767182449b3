package twin

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// What is remembered of a mirrored shadow, beside its events: which versions are known
// and where, so that a document that comes again is found, however late, by one
// lookup. Layout in docs/format/mirror.md.

// MirrorBlockLen is how many versions a [MirrorBlock] is about.
const MirrorBlockLen = 32

// MirrorVersionsMax is how far back from the newest version documents are told apart; an
// older one is refused.
const MirrorVersionsMax = 1 << 18

// MirrorHead is where a mirrored shadow stands. A life is a run of versions that
// count up: a shadow that is deleted in the cloud and made again begins a new one.
type MirrorHead struct {
	Life    uint64  // counts from 1; 0: nothing was mirrored yet
	Start   Seq     // of the first event of this life
	Begun   Time    // when that was committed
	Version Version // the newest of the cloud that is known
	Shown   Version // the newest that became the twin's current state
	Time    Time    // of the newest document
	Since   Time    // documents before this are of the life before
}

// MirrorVerdict is what becomes of a document that is not known yet.
type MirrorVerdict struct {
	Life    uint64     // that the document is of
	Current bool       // it becomes the current state; else it is history only
	Next    MirrorHead // after the document
	// Local is the version of the twin's own shadow that is replaced (Current), or that
	// is ahead of the document; 0: none that was made here is concerned.
	Local Version
}

// Judge decides where a document stands, given the twin's shadow (nil: none), which may
// have been changed here too.
//
// The newest version of the cloud becomes the current state, unless the shadow was
// changed here and has that version or a greater one: versions that a device has seen
// must not step back. A version that is not greater than one that is known is late, unless the shadow was
// made anew in the cloud: the update is younger and has no previous, or is younger
// by the 48 hours for which AWS remembers a deleted shadow's version (spec §5).
func (h MirrorHead) Judge(d *MirrorDocument, local *Shadow, now Time) MirrorVerdict {
	v := d.Current.Version
	out := MirrorVerdict{Life: h.Life, Next: h}
	if local.Expired(now) {
		local = nil
	}
	switch {
	case h.Life == 0:
		out.Life, out.Next = 1, MirrorHead{Life: 1, Version: v, Time: d.Time}
	case d.Time < h.Since:
		out.Life = h.Life - 1
		return out
	case h.reborn(d):
		since := d.Time
		if d.Previous != nil {
			since -= TombstoneKeep - 1000 // the first one may still come
		}
		out.Life, out.Current = h.Life+1, true
		out.Next = MirrorHead{Life: h.Life + 1, Version: v, Shown: v, Time: d.Time, Since: since}
		if local.Exists() && local.Version != h.Shown {
			out.Local = local.Version
		}
		return out
	case v > h.Version:
		out.Next.Version, out.Next.Time = v, max(h.Time, d.Time)
	default:
		return out
	}
	if local != nil && local.Version != h.Shown {
		out.Local = local.Version
		if local.Version > v || local.Exists() && local.Version == v {
			return out
		}
	}
	out.Current, out.Next.Shown = true, v
	return out
}

func (h MirrorHead) reborn(d *MirrorDocument) bool {
	v := d.Current.Version
	return v < h.Version && d.Previous == nil && d.Time > h.Time ||
		v <= h.Version && d.Time-h.Time >= TombstoneKeep
}

// MirrorKnown is where the event of a version is; zero if the version is not known.
type MirrorKnown struct {
	Seq  Seq
	Time Time // of the commit
	At   Time // when it was the state of the shadow
}

// MirrorBlock holds the known versions from one that is divisible by [MirrorBlockLen].
type MirrorBlock [MirrorBlockLen]MirrorKnown

// MirrorHeadKey is the key of the record of a head.
func MirrorHeadKey(k ShadowKey) string { return string(k.Thing) + "\x00" + string(k.Shadow) }

// MirrorBlocksKey is the start of the keys of a shadow's blocks, which are in the order of
// their lives and versions.
func MirrorBlocksKey(k ShadowKey) string { return MirrorHeadKey(k) + "\x00" }

// MirrorBlockKey is the key of the record of the block that a version is in.
func MirrorBlockKey(k ShadowKey, life uint64, v Version) string {
	b := append([]byte(nil), MirrorBlocksKey(k)...)
	b = binary.BigEndian.AppendUint64(b, life)
	return string(binary.BigEndian.AppendUint64(b, uint64(v/MirrorBlockLen)))
}

// ParseMirrorBlockKey returns the life and the first version of the block that a key of
// a shadow's block names.
func ParseMirrorBlockKey(k ShadowKey, key string) (life uint64, v Version, ok bool) {
	prefix := MirrorBlocksKey(k)
	if len(key) != len(prefix)+16 || key[:len(prefix)] != prefix {
		return 0, 0, false
	}
	rest := []byte(key[len(prefix):])
	return binary.BigEndian.Uint64(rest), Version(binary.BigEndian.Uint64(rest[8:])) * MirrorBlockLen, true
}

const mirrorFormat = 1

// AppendBinary appends the form in which a head is kept.
func (h MirrorHead) AppendBinary(dst []byte) []byte {
	dst = append(dst, mirrorFormat)
	for _, n := range [...]uint64{h.Life, uint64(h.Start), uint64(h.Version), uint64(h.Shown)} {
		dst = binary.AppendUvarint(dst, n)
	}
	for _, t := range [...]Time{h.Begun, h.Time, h.Since} {
		dst = binary.AppendVarint(dst, int64(t))
	}
	return dst
}

// DecodeMirrorHead reads what [MirrorHead.AppendBinary] wrote.
func DecodeMirrorHead(b []byte) (MirrorHead, error) {
	d := decoder{b: b}
	if f := d.byte(); f != mirrorFormat {
		d.stop(fmt.Errorf("format %d is unknown", f))
	}
	h := MirrorHead{
		Life: d.uvarint(), Start: Seq(d.uvarint()), Version: Version(d.uvarint()), Shown: Version(d.uvarint()),
		Begun: Time(d.varint()), Time: Time(d.varint()), Since: Time(d.varint()),
	}
	if d.err != nil {
		return MirrorHead{}, fmt.Errorf("decode mirror head: %w", d.err)
	}
	return h, nil
}

// AppendBinary appends the form in which a block is kept: for each known version its
// place, then seq, time and instant as their distance from those before.
func (k *MirrorBlock) AppendBinary(dst []byte) []byte {
	dst = append(dst, mirrorFormat)
	var last MirrorKnown
	for i, e := range k {
		if e.Seq == 0 {
			continue
		}
		dst = append(dst, byte(i))
		dst = binary.AppendVarint(dst, int64(e.Seq)-int64(last.Seq))
		dst = binary.AppendVarint(dst, int64(e.Time-last.Time))
		dst = binary.AppendVarint(dst, int64(e.At-e.Time))
		last = e
	}
	return dst
}

var errPlace = errors.New("a place is not one of the block")

// DecodeMirrorBlock reads what [MirrorBlock.AppendBinary] wrote.
func DecodeMirrorBlock(b []byte) (*MirrorBlock, error) {
	d := decoder{b: b}
	if f := d.byte(); f != mirrorFormat {
		d.stop(fmt.Errorf("format %d is unknown", f))
	}
	k := &MirrorBlock{}
	var last MirrorKnown
	for len(d.b) > 0 && d.err == nil {
		i := d.byte()
		e := MirrorKnown{Seq: Seq(int64(last.Seq) + d.varint()), Time: last.Time + Time(d.varint())}
		e.At = e.Time + Time(d.varint())
		if i >= MirrorBlockLen {
			d.stop(errPlace)
			break
		}
		k[i], last = e, e
	}
	if d.err != nil {
		return nil, fmt.Errorf("decode mirror block: %w", d.err)
	}
	return k, nil
}
