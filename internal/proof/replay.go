package proof

import (
	"context"
	"fmt"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// ReplayTo says where a replay ends; the zero value is the newest event.
type ReplayTo struct {
	Time    twin.Time    // after the last event that is not later
	Version twin.Version // after the first event that makes this version
}

// Step is one step of a replay.
type Step struct {
	Event  twin.Event
	Before *twin.Shadow // nil: there was none
	After  *twin.Shadow // a tombstone after a delete; nil: there is none yet
	Delta  *twin.Node   // what desired asks and reported does not say, after the step; nil: nothing
	// Begins is set on the first step if older events have expired: After was then taken
	// from the snapshot that was left, and is not the outcome of this event alone.
	Begins bool
}

// Replay folds the events of a shadow one by one, and calls step for each, oldest first,
// from the oldest that is kept on. An error of step ends it and is returned. A version
// that is not reached is an error of kind KindNotFound.
func Replay(ctx context.Context, src EventSource, key twin.ShadowKey, to ReplayTo, step func(Step) error) error {
	state, after, err := replayBase(ctx, src, key, to, step)
	if err != nil {
		return err
	}
	if to.Version != 0 && state != nil && state.Version == to.Version {
		return nil
	}
	var at twin.Time // a hint to the store where to go on
	steps := 0
	var pages pager
	for {
		page, err := src.ThingEvents(ctx, store.ThingRange{
			Thing: key.Thing, Kinds: []store.Kind{store.KindHistory}, From: dayStart(at), After: after, Limit: pages.events(),
		})
		if err != nil {
			return fmt.Errorf("replay %s after event %d: %w", key, after, err)
		}
		if len(page) == 0 {
			return replayEnd(key, to, steps > 0 || state != nil)
		}
		pages.saw(page)
		for _, b := range page {
			ev, err := twin.DecodeEvent(b)
			if err != nil {
				return fmt.Errorf("replay %s after event %d: %w", key, after, err)
			}
			if ev.Thing != key.Thing || ev.Seq <= after {
				return fmt.Errorf("replay %s: after event %d comes one that says it is %d of %.130q; run verify", key, after, ev.Seq, string(ev.Thing))
			}
			after, at = ev.Seq, ev.Time
			if to.Time != 0 && ev.Time > to.Time {
				return replayEnd(key, to, steps > 0 || state != nil)
			}
			if ev.Shadow != key.Shadow || !ev.Kind.OfShadow() {
				continue
			}
			s := Step{Event: ev, Before: state}
			if s.After, s.Begins, err = foldFrom(state, &ev); err != nil {
				return err
			}
			state, s.Delta = s.After, s.After.Delta()
			steps++
			if err := step(s); err != nil {
				return err
			}
			if to.Version != 0 && ev.Kind != twin.EventRecorded && ev.Version == to.Version {
				return nil
			}
		}
	}
}

// foldFrom folds; the first event that is kept may also give the state by its snapshot.
func foldFrom(state *twin.Shadow, ev *twin.Event) (*twin.Shadow, bool, error) {
	next, err := twin.Fold(state, ev)
	if err != nil && state == nil && len(ev.Snapshot) > 0 {
		next, err = twin.DecodeShadow(ev.Snapshot)
		return next, true, err
	}
	return next, false, err
}

// replayBase makes a step of what expiry left of a shadow.
func replayBase(ctx context.Context, src EventSource, key twin.ShadowKey, to ReplayTo, step func(Step) error) (*twin.Shadow, twin.Seq, error) {
	base, ok, err := baseOf(ctx, src, key)
	if err != nil {
		return nil, 0, fmt.Errorf("replay %s: read what is left of expired events: %w", key, err)
	}
	if !ok {
		return nil, 0, nil
	}
	var f folded
	if err := f.begin(key, base); err != nil {
		return nil, 0, fmt.Errorf("replay %s: read what is left of expired events: %w", key, err)
	}
	ev, err := twin.DecodeEvent(base.Event)
	if err != nil {
		return nil, 0, fmt.Errorf("replay %s: %w", key, err)
	}
	if to.Time != 0 && ev.Time > to.Time {
		return nil, 0, twin.NewError(twin.KindNotFound, fmt.Sprintf("the events of %s up to %s have expired; the oldest state kept is of %s", key, timeText(to.Time), timeText(ev.Time)))
	}
	return f.state, f.seq, step(Step{Event: ev, After: f.state, Delta: f.state.Delta(), Begins: true})
}

func replayEnd(key twin.ShadowKey, to ReplayTo, any bool) error {
	switch {
	case to.Version != 0:
		return twin.NewError(twin.KindNotFound, fmt.Sprintf("no event that is kept of %s makes version %d", key, to.Version))
	case !any && to.Time != 0:
		return twin.NewError(twin.KindNotFound, fmt.Sprintf("%s has no events up to %s", key, timeText(to.Time)))
	case !any:
		return twin.NewError(twin.KindNotFound, fmt.Sprintf("%s has no events", key))
	}
	return nil
}
