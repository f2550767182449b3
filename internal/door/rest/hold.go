package rest

import (
	"cmp"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// hold keeps back events of a stream with minInterval: of each shadow only the newest
// update of an interval is sent. Events that are not updates are all sent, with the
// next batch, so that order holds.
type hold struct {
	interval time.Duration
	updates  map[twin.ShadowKey]FeedEntry
	others   []FeedEntry
	timer    *time.Timer
}

func newHold(interval time.Duration) *hold {
	return &hold{interval: interval, updates: make(map[twin.ShadowKey]FeedEntry)}
}

// add holds an entry back and reports whether that is all that can be held.
func (h *hold) add(e FeedEntry) (full bool) {
	if h.timer == nil {
		h.timer = time.NewTimer(h.interval)
	}
	if e.Event.Kind == twin.EventUpdated {
		h.updates[twin.ShadowKey{Thing: e.Event.Thing, Shadow: e.Event.Shadow}] = e
	} else {
		h.others = append(h.others, e)
	}
	return len(h.updates)+len(h.others) >= streamHeldMax
}

func (h *hold) waiting() bool { return h.timer != nil }

// due fires when a batch is to be sent; nil blocks for ever.
func (h *hold) due() <-chan time.Time {
	if h.timer == nil {
		return nil
	}
	return h.timer.C
}

// take returns what was held back, in the order of the feed.
func (h *hold) take() []FeedEntry {
	h.timer.Stop()
	h.timer = nil
	batch := h.others
	for _, e := range h.updates {
		batch = append(batch, e)
	}
	h.others = nil
	clear(h.updates)
	slices.SortFunc(batch, func(a, b FeedEntry) int { return cmp.Compare(a.Cursor, b.Cursor) })
	return batch
}
