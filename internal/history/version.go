package history

import (
	"context"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Versions of a shadow count up by one with every event, but start again at 1 when
// an update comes [twin.TombstoneKeep] or more after a delete. A stretch without such
// a restart is called a life here. What has a version is looked for in the newest
// life that reached it.

// versionProbesMax bounds the steps of a search; a bisection of all instants takes 63.
const versionProbesMax = 256

// versionNear is the distance in versions at which a search ends with one read.
const versionNear = 256

func (r *Reader) ofVersion(ctx context.Context, key twin.ShadowKey, v twin.Version) (*twin.Shadow, *twin.Event, error) {
	if m, err := r.mirroredVersion(ctx, key, v); m != nil || err != nil {
		if err != nil {
			return nil, nil, err
		}
		s, err := twin.MirroredState(m)
		return s, m, err
	}
	hi, err := r.lastBefore(ctx, key, position{time: maxTime})
	if err != nil {
		return nil, nil, err
	}
	ev, err := r.findVersion(ctx, key, v, hi, false)
	if err != nil {
		return nil, nil, err
	}
	if ev == nil {
		base, err := r.base(ctx, key)
		if err != nil || base == nil || base.Version != v {
			return nil, nil, err
		}
		s, err := snapshot(base)
		return s, base, err
	}
	s, err := r.after(ctx, key, ev)
	return s, ev, err
}

// after returns the state after an event.
func (r *Reader) after(ctx context.Context, key twin.ShadowKey, ev *twin.Event) (*twin.Shadow, error) {
	if whole(ev) || len(ev.Snapshot) > 0 {
		return snapshot(ev)
	}
	s, _, _, err := r.foldUpTo(ctx, key, position{ev.Time, after(ev.Seq)}, false)
	return s, err
}

// findVersion returns the newest kept event that made a version, hi or one before it;
// nil if there is none. With oneLife it looks no further than the life of hi.
func (r *Reader) findVersion(ctx context.Context, key twin.ShadowKey, v twin.Version, hi *twin.Event, oneLife bool) (*twin.Event, error) {
	if hi != nil && v < hi.Version {
		// Nearly always all is one life. Where fewer events lie between than a life that
		// came to the version of hi has, there was no restart.
		ev, err := r.searchVersion(ctx, key, v, window{hi: hi})
		if err != nil || ev != nil && hi.Seq-ev.Seq < twin.Seq(hi.Version) {
			return ev, err
		}
	}
	for hi != nil {
		if hi.Version == v {
			return hi, nil
		}
		// A restart comes at least 48 hours after a delete. So if there is one between lo
		// and hi, lo is that delete and the event after it has version 1.
		lo, err := r.lastBefore(ctx, key, position{time: hi.Time - twin.TombstoneKeep})
		if err != nil {
			return nil, err
		}
		start, err := r.restart(ctx, key, lo, hi)
		if err != nil {
			return nil, err
		}
		if v < hi.Version && (lo == nil || start != nil || lo.Version < v) {
			w := window{hi: hi}
			switch {
			case start != nil:
				w.time = start.Time - 1
			case lo != nil:
				w.time, w.version = lo.Time, lo.Version
			}
			if ev, err := r.searchVersion(ctx, key, v, w); ev != nil || err != nil {
				return ev, err
			}
		}
		if oneLife && start != nil {
			break
		}
		hi = lo
	}
	return nil, nil // none is an answer
}

// restart returns the first event of the life that began between lo and hi, nil if
// none did.
func (r *Reader) restart(ctx context.Context, key twin.ShadowKey, lo, hi *twin.Event) (*twin.Event, error) {
	if lo == nil || lo.Kind != twin.EventDeleted {
		return nil, nil // no restart is an answer
	}
	evs, err := r.oldest(ctx, key, lo.Time, hi.Time+1, lo.Seq, 1)
	if err != nil || len(evs) == 0 || evs[0].Version > lo.Version {
		return nil, err
	}
	return &evs[0], nil
}

// window is a stretch of one life: after an instant at which the shadow had a version
// (0: none) and before an event.
type window struct {
	time    twin.Time
	version twin.Version
	hi      *twin.Event
}

// searchVersion looks for a version in a window. It guesses the instant, as devices
// report evenly, but cuts off an eighth at least with each guess.
func (r *Reader) searchVersion(ctx context.Context, key twin.ShadowKey, v twin.Version, w window) (*twin.Event, error) {
	if w.time == 0 {
		evs, err := r.events(ctx, store.EventRange{Key: key, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(evs) > 0 && evs[0].Version <= v {
			w.time, w.version = evs[0].Time-1, evs[0].Version-1
		}
	}
	for range versionProbesMax {
		width := w.hi.Time - w.time
		if w.hi.Version-v <= versionNear || width <= 8 {
			break
		}
		share := float64(v-w.version) / float64(w.hi.Version-w.version)
		guess := w.time + twin.Time(float64(width)*share)
		guess = min(max(guess, w.time+width/8), w.hi.Time-width/8)
		ev, err := r.lastBefore(ctx, key, position{time: guess})
		switch {
		case err != nil:
			return nil, err
		case ev == nil || ev.Time <= w.time:
			w.time = guess
		case ev.Version == v:
			return ev, nil
		case ev.Version < v:
			w.time, w.version = guess, ev.Version
		default:
			w.hi = ev
		}
	}
	return r.scanVersion(ctx, key, v, before(w.hi))
}

// scanVersion reads back from a position until the versions are below v.
func (r *Reader) scanVersion(ctx context.Context, key twin.ShadowKey, v twin.Version, p position) (*twin.Event, error) {
	for {
		evs, err := r.newest(ctx, key, p, 0, versionNear)
		if err != nil {
			return nil, err
		}
		for i := range evs {
			if evs[i].Version == v {
				return &evs[i], nil
			}
		}
		if len(evs) < versionNear || evs[len(evs)-1].Version < v {
			return nil, nil // none is an answer
		}
		p = before(&evs[len(evs)-1])
	}
}

func (r *Reader) lastBefore(ctx context.Context, key twin.ShadowKey, p position) (*twin.Event, error) {
	evs, err := r.newest(ctx, key, p, 0, 1)
	if err != nil || len(evs) == 0 {
		return nil, err
	}
	return &evs[0], nil
}
