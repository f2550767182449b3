package pebblestore

import (
	"strings"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// headsGenerationMax is how many things one generation of [heads] holds. Two of
// them are about 20 MB at worst.
const headsGenerationMax = 1 << 16

// headState is what a commit to a thing needs to know of it.
type headState struct {
	seq    twin.Seq
	day    uint32        // of the newest event
	groups *store.Groups // nil: the default group alone
}

// after is the state after an event.
func (h headState) after(m *store.Mutation) headState {
	day := m.Head.Time.Day()
	next := headState{seq: m.Head.Seq, day: day, groups: h.groups}
	if h.groups == nil && m.Class.Group() == store.GroupDefault {
		return next
	}
	before := h.list()
	groups := before.With(m.Class.Group(), day, h.day, h.seq != 0)
	next.groups = &groups
	return next
}

func (h headState) list() store.Groups {
	if h.groups == nil {
		return nil
	}
	return *h.groups
}

// heads remembers the heads of the things written of late, so that a commit
// to them reads nothing. Only the apply goroutine touches it. It is a cache of two
// generations: when the young one is full it becomes the old one, and what is in
// neither is read from disk.
type heads struct {
	young, old map[twin.ThingName]headState
}

func newHeads() heads { return heads{young: make(map[twin.ThingName]headState)} }

func (h *heads) load(thing twin.ThingName) (headState, bool) {
	if head, ok := h.young[thing]; ok {
		return head, true
	}
	head, ok := h.old[thing]
	if ok {
		h.store(thing, head)
	}
	return head, ok
}

func (h *heads) store(thing twin.ThingName, head headState) {
	if _, ok := h.young[thing]; !ok {
		if len(h.young) >= headsGenerationMax {
			h.old, h.young = h.young, make(map[twin.ThingName]headState)
		}
		// The name may be a piece of a larger message that must not be kept alive.
		thing = twin.ThingName(strings.Clone(string(thing)))
	}
	h.young[thing] = head
}
