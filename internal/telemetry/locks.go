package telemetry

import (
	"hash/maphash"
	"sync"

	"github.com/twofold-iot/twofold/twin"
)

// locks keep a fold from moving the rows of a thing to columns between a reader's look at
// the ones and at the others. Things share them by hash.
type locks struct {
	seed maphash.Seed
	lock [256]sync.RWMutex
}

func newLocks() *locks { return &locks{seed: maphash.MakeSeed()} }

func (l *locks) of(thing twin.ThingName) *sync.RWMutex {
	return &l.lock[maphash.String(l.seed, string(thing))%uint64(len(l.lock))]
}
