package engine

import (
	"sync"

	"github.com/twofold-iot/twofold/internal/intent"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// thing is the cached state of one thing. The committer owns the working state
// (what the updates in flight will make of it); readers see only what is durable.
type thing struct {
	name twin.ThingName
	head twin.Head // working
	// attributes is working too; it is never altered, only replaced.
	attributes *twin.Attributes
	memory     *model.Memory // working, never altered; nil: nothing is kept
	due        twin.Time     // of the timer that was set last
	shadows    []*shadow     // those touched so far, rarely more than one
	pending    int           // jobs in flight; a pending thing is not evicted
	bytes      int64

	newer, older *thing // neighbours in order of use
}

// shadow is the cached state of one shadow. doc and durable are the same slice
// while nothing is in flight. Documents are kept encoded: smaller than a tree,
// exactly countable, and decoded in about a microsecond.
type shadow struct {
	name twin.ShadowName
	doc  []byte // working; nil: never existed
	info store.ShadowInfo
	tree *twin.Shadow // doc decoded; dropped when a group with this shadow is settled
	// mirror is working too: what is known of a shadow that lives in the cloud; nil: not
	// looked up.
	mirror *mirrored
	model  modelled // working too
	echo   echo     // working too
	// intents is working too, never altered; nil: nothing was ever asked.
	intents *intent.List

	durable []byte // guarded by cache.mu
}

// Rough sizes of the structures above with their map entries, so that the limit
// holds in bytes of memory, not of documents.
const (
	thingOverheadBytes  = 336
	shadowOverheadBytes = 144
)

// cache holds the things of one committer within a memory limit, least recently
// changed out first.
type cache struct {
	bytesMax int64

	mu             sync.Mutex // guards things, and durable of their shadows
	things         map[twin.ThingName]*thing
	bytes          int64 // the rest is used by the committer alone
	newest, oldest *thing
}

func newCache(bytesMax int64) *cache {
	return &cache{bytesMax: bytesMax, things: make(map[twin.ThingName]*thing)}
}

// durable returns the durable document of a shadow, and whether the cache knows it.
func (c *cache) durable(key twin.ShadowKey) (doc []byte, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.things[key.Thing]
	if t == nil {
		return nil, false
	}
	if s := t.find(key.Shadow); s != nil {
		return s.durable, true
	}
	return nil, false
}

func (t *thing) find(name twin.ShadowName) *shadow {
	for _, s := range t.shadows {
		if s.name == name {
			return s
		}
	}
	return nil
}

// addThing inserts a thing that was read from the store.
func (c *cache) addThing(name twin.ThingName, head twin.Head, a *twin.Attributes) *thing {
	t := &thing{name: name, head: head, attributes: a, bytes: thingOverheadBytes + int64(len(name))}
	c.mu.Lock()
	c.things[name] = t
	c.mu.Unlock()
	c.bytes += t.bytes
	c.pushNewest(t)
	return t
}

// addShadow inserts a shadow that was read from the store.
func (c *cache) addShadow(t *thing, name twin.ShadowName, st store.Shadow) *shadow {
	s := &shadow{name: name, doc: st.Doc, info: st.Info, durable: st.Doc}
	c.mu.Lock()
	t.shadows = append(t.shadows, s)
	c.mu.Unlock()
	c.grow(t, shadowOverheadBytes+int64(len(name)+len(st.Doc)))
	return s
}

func (c *cache) grow(t *thing, n int64) {
	t.bytes += n
	c.bytes += n
}

// use marks a thing as most recently used.
func (c *cache) use(t *thing) {
	if c.newest == t {
		return
	}
	c.unlink(t)
	c.pushNewest(t)
}

// drop forgets a thing whose working state is no longer true.
func (c *cache) drop(t *thing) {
	c.mu.Lock()
	known := c.things[t.name] == t
	if known {
		delete(c.things, t.name)
	}
	c.mu.Unlock()
	if known {
		c.bytes -= t.bytes
		c.unlink(t)
	}
}

// shrink evicts things that are not pending until the limit holds.
func (c *cache) shrink() {
	for t := c.oldest; t != nil && c.bytes > c.bytesMax; {
		next := t.newer
		if t.pending == 0 {
			c.drop(t)
		}
		t = next
	}
}

func (c *cache) pushNewest(t *thing) {
	t.older, t.newer = c.newest, nil
	if c.newest != nil {
		c.newest.newer = t
	}
	c.newest = t
	if c.oldest == nil {
		c.oldest = t
	}
}

func (c *cache) unlink(t *thing) {
	if t.older != nil {
		t.older.newer = t.newer
	} else {
		c.oldest = t.newer
	}
	if t.newer != nil {
		t.newer.older = t.older
	} else {
		c.newest = t.older
	}
	t.older, t.newer = nil, nil
}
