package store

import (
	"context"
	"fmt"

	"github.com/twofold-iot/twofold/twin"
)

// Policy says for each class the first day that is kept: what is of whole days before
// it may expire. A class that is not in it is kept for ever.
type Policy map[Class]uint32

// Base is what is left of a shadow whose older events have expired.
type Base struct {
	// Event is the newest that expired, with the shadow after it as its snapshot. It
	// is no member of the hash chain: it has a snapshot that the event itself may
	// not have had.
	Event []byte
}

// ExpireReport says what an Expire did.
type ExpireReport struct {
	Days  int // of a class, that had events
	Bases int // that were left of shadows
}

// Expirer drops the past by whole days.
type Expirer interface {
	// Expire deletes the events of the days that the policy gives up, and the log of
	// the feed up to the first day on which nothing has expired. What is kept can be
	// read as before: of each shadow a [Base] stays. The newest day of the log, the
	// current state, heads, anchors and records never expire, and what has expired
	// stays so under a later policy that would keep it.
	//
	// It may run beside commits and reads; one at a time. After an error, or a crash,
	// some days may be gone; Expire again goes on.
	Expire(ctx context.Context, p Policy) (ExpireReport, error)
	// Expired returns what has expired, and the position before the oldest entry of
	// the feed that is kept.
	Expired(ctx context.Context) (p Policy, feed Pos, err error)
}

// FoldBase returns the base that is left of a shadow when events of it expire, in
// order of seq, given the base there was; nil if nothing is to be left. It needs
// the events from the newest snapshot on only. Events that are older than the base, of
// another group, leave it as it is.
func FoldBase(before []byte, events [][]byte) ([]byte, error) {
	var state *twin.Shadow
	var last *twin.Event
	if before != nil {
		ev, err := twin.DecodeEvent(before)
		if err != nil {
			return nil, fmt.Errorf("read the base: %w", err)
		}
		if state, err = twin.DecodeShadow(ev.Snapshot); err != nil {
			return nil, fmt.Errorf("read the base: %w", err)
		}
		last = &ev
	}
	for _, b := range events {
		ev, err := twin.DecodeEvent(b)
		if err != nil {
			return nil, err
		}
		if ev.Kind == twin.EventRecorded || last != nil && ev.Seq < last.Seq {
			continue // it has not changed the state
		}
		if len(ev.Snapshot) > 0 {
			state, err = twin.DecodeShadow(ev.Snapshot)
		} else {
			state, err = twin.Fold(state, &ev)
		}
		if err != nil {
			return nil, fmt.Errorf("fold event %d of %s: %w", ev.Seq, twin.ShadowKey{Thing: ev.Thing, Shadow: ev.Shadow}, err)
		}
		last = &ev
	}
	if last == nil || state == nil {
		return nil, nil
	}
	last.Snapshot = state.AppendBinary(nil)
	return last.AppendBinary(nil), nil
}
