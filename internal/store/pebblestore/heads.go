package pebblestore

import (
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// headsGenerationMax is how many things one generation of [heads] holds. Two of
// them are about 15 MB at worst.
const headsGenerationMax = 1 << 16

// heads remembers the newest Seq of the things written of late, so that a commit
// to them reads nothing. Only the apply goroutine touches it. It is a cache of two
// generations: when the young one is full it becomes the old one, and what is in
// neither is read from disk.
type heads struct {
	young, old map[twin.ThingName]twin.Seq
}

func newHeads() heads { return heads{young: make(map[twin.ThingName]twin.Seq)} }

func (h *heads) load(thing twin.ThingName) (twin.Seq, bool) {
	if seq, ok := h.young[thing]; ok {
		return seq, true
	}
	seq, ok := h.old[thing]
	if ok {
		h.store(thing, seq)
	}
	return seq, ok
}

func (h *heads) store(thing twin.ThingName, seq twin.Seq) {
	if _, ok := h.young[thing]; !ok {
		if len(h.young) >= headsGenerationMax {
			h.old, h.young = h.young, make(map[twin.ThingName]twin.Seq)
		}
		// The name may be a piece of a larger message that must not be kept alive.
		thing = twin.ThingName(strings.Clone(string(thing)))
	}
	h.young[thing] = seq
}
