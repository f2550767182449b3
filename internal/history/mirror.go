package history

import (
	"context"
	"fmt"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Of a shadow that lives in the cloud each event holds a whole state, and the store knows
// which version is in which event and when it was the state. So a version, or the state
// of an instant, is found there, however late its document came.

// index is what a store that has mirrored shadows answers too.
type index interface {
	Record(ctx context.Context, kind twin.RecordKind, key string) (twin.Record, bool, error)
	ListRecords(ctx context.Context, r store.RecordRange) ([]twin.Record, error)
}

// mirrorHead returns where a mirrored shadow stands; ok is false for all others.
func (r *Reader) mirrorHead(ctx context.Context, key twin.ShadowKey) (h twin.MirrorHead, ok bool, err error) {
	x, can := r.store.(index)
	if !can {
		return h, false, nil
	}
	rec, ok, err := x.Record(ctx, twin.RecordMirror, twin.MirrorHeadKey(key))
	if err == nil && ok {
		h, err = twin.DecodeMirrorHead(rec.Value)
	}
	return h, ok, wrap(err, "read what is mirrored of %s", key)
}

// lives calls visit for the newest lives of a mirrored shadow until it has an answer.
func lives(h twin.MirrorHead, visit func(life uint64) (done bool, err error)) error {
	for life := h.Life; life > 0 && life+1 >= h.Life; life-- {
		if done, err := visit(life); done || err != nil {
			return err
		}
	}
	return nil
}

// mirroredVersion returns the event of a version of a mirrored shadow, nil if it is not
// known or has expired.
func (r *Reader) mirroredVersion(ctx context.Context, key twin.ShadowKey, v twin.Version) (ev *twin.Event, err error) {
	h, ok, err := r.mirrorHead(ctx, key)
	if err != nil || !ok {
		return nil, err
	}
	err = lives(h, func(life uint64) (bool, error) {
		rec, ok, err := r.store.(index).Record(ctx, twin.RecordMirror, twin.MirrorBlockKey(key, life, v))
		if err != nil || !ok {
			return false, wrap(err, "read what is mirrored of %s", key)
		}
		b, err := twin.DecodeMirrorBlock(rec.Value)
		if err != nil {
			return false, fmt.Errorf("read what is mirrored of %s: %w", key, err)
		}
		ev, err = r.mirroredEvent(ctx, key, b[v%twin.MirrorBlockLen])
		return ev != nil, err
	})
	return ev, err
}

// mirroredEvent reads the event of a known version; nil if it is not known or has expired.
func (r *Reader) mirroredEvent(ctx context.Context, key twin.ShadowKey, k twin.MirrorKnown) (*twin.Event, error) {
	if k.Seq == 0 {
		return nil, nil // not known
	}
	evs, err := r.thingEvents(ctx, store.ThingRange{Thing: key.Thing, From: k.Time, To: k.Time + 1, After: k.Seq - 1, Limit: 1})
	if err != nil || len(evs) == 0 || evs[0].Seq != k.Seq {
		return nil, err
	}
	return &evs[0], nil
}

// mirroredAt returns the event of the newest version that was the state of a mirrored shadow
// at an instant or before.
func (r *Reader) mirroredAt(ctx context.Context, key twin.ShadowKey, h twin.MirrorHead, t twin.Time) (ev *twin.Event, err error) {
	err = lives(h, func(life uint64) (bool, error) {
		b, err := r.mirroredBlock(ctx, key, life, h, t)
		if err != nil || b == nil {
			return false, err
		}
		for i := len(b) - 1; i >= 0; i-- {
			if b[i].Seq != 0 && b[i].At <= t {
				ev, err = r.mirroredEvent(ctx, key, b[i])
				return true, err
			}
		}
		return false, nil
	})
	return ev, err
}

// mirroredBlock returns the last block of a life whose first known version was the state at
// an instant or before, nil if there is none. The instants of versions never step back.
func (r *Reader) mirroredBlock(ctx context.Context, key twin.ShadowKey, life uint64, h twin.MirrorHead, t twin.Time) (*twin.MirrorBlock, error) {
	var best *twin.MirrorBlock
	lo, hi := uint64(0), uint64(h.Version)/twin.MirrorBlockLen+1
	if life != h.Life {
		hi = 1 << 58 // its newest version is not known here
	}
	for lo < hi {
		mid := lo + (hi-lo)/2
		at, b, err := r.nextBlock(ctx, key, life, mid)
		if err != nil {
			return nil, err
		}
		if b == nil || first(b).At > t {
			hi = mid
			continue
		}
		best, lo = b, at+1
	}
	return best, nil
}

// nextBlock returns the first block of a life with a number or a greater one, nil if there
// is none.
func (r *Reader) nextBlock(ctx context.Context, key twin.ShadowKey, life, number uint64) (uint64, *twin.MirrorBlock, error) {
	q := store.RecordRange{Kind: twin.RecordMirror, Prefix: twin.MirrorBlocksKey(key), Limit: 1}
	// The keys are in order: so nothing is between this one, cut short, and the block.
	at := twin.MirrorBlockKey(key, life, twin.Version(number)*twin.MirrorBlockLen)
	q.After = at[:len(at)-1]
	if last := at[len(at)-1]; last > 0 {
		q.After += string([]byte{last - 1}) + "\xff"
	}
	recs, err := r.store.(index).ListRecords(ctx, q)
	if err != nil || len(recs) == 0 {
		return 0, nil, wrap(err, "read what is mirrored of %s", key)
	}
	have, v, ok := twin.ParseMirrorBlockKey(key, recs[0].Key)
	if !ok || have != life {
		return 0, nil, nil
	}
	b, err := twin.DecodeMirrorBlock(recs[0].Value)
	if err != nil {
		return 0, nil, fmt.Errorf("read what is mirrored of %s: %w", key, err)
	}
	return uint64(v) / twin.MirrorBlockLen, b, nil
}

func first(b *twin.MirrorBlock) twin.MirrorKnown {
	for _, k := range b {
		if k.Seq != 0 {
			return k
		}
	}
	return twin.MirrorKnown{}
}

// mirroredOfTime is [Reader.ofTime] for a mirrored shadow, which may have been changed here
// too: the last of both that was committed or arose by then.
func (r *Reader) mirroredOfTime(ctx context.Context, key twin.ShadowKey, h twin.MirrorHead, t twin.Time) (*twin.Shadow, *twin.Event, error) {
	m, err := r.mirroredAt(ctx, key, h, t)
	if err != nil {
		return nil, nil, err
	}
	s, ev, _, err := r.foldUpTo(ctx, key, position{time: t, seq: noSeq}, true)
	if err != nil || m == nil {
		return s, ev, err
	}
	if ev != nil && !ev.Mirrored() && newer(ev, m) {
		return s, ev, nil
	}
	s, err = twin.MirroredState(m)
	return s, m, err
}
