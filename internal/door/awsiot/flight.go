package awsiot

import (
	"hash/maphash"
	"sync"

	"github.com/twofold-iot/twofold/twin"
)

// flights knows what is in flight for each thing. It serves two rules:
//
//   - A get sees every update of the same thing that this door took before it, so
//     a device that publishes update and get without waiting reads what it wrote.
//     The get is parked until those updates, and no later ones, have an outcome.
//   - At most so many requests of one thing are in flight, if a limit is set.
//
// A thing has an entry only while something is in flight.
type flights struct {
	perThingMax int // 0: no limit
	seed        maphash.Seed
	stripes     [stripeCount]stripe
}

// stripeCount spreads the things over locks, so that connections do not meet.
const stripeCount = 64

type stripe struct {
	mu     sync.Mutex
	things map[twin.ThingName]flight
}

type flight struct {
	open    int    // requests of any kind
	updates int    // updates among them
	next    uint64 // ticket of the next update
	parked  []*getJob
}

func newFlights(perThingMax int) *flights {
	f := &flights{perThingMax: perThingMax, seed: maphash.MakeSeed()}
	for i := range f.stripes {
		f.stripes[i].things = make(map[twin.ThingName]flight)
	}
	return f
}

func (f *flights) hash(thing twin.ThingName) uint64 {
	return maphash.String(f.seed, string(thing))
}

func (f *flights) stripe(thing twin.ThingName) *stripe {
	return &f.stripes[f.hash(thing)%stripeCount]
}

// beginUpdate takes a ticket for an update; false if the thing is at its limit.
func (f *flights) beginUpdate(thing twin.ThingName) (ticket uint64, ok bool) {
	s := f.stripe(thing)
	s.mu.Lock()
	defer s.mu.Unlock()
	fl := s.things[thing]
	if f.perThingMax > 0 && fl.open >= f.perThingMax {
		return 0, false
	}
	ticket = fl.next
	fl.open++
	fl.updates++
	fl.next++
	s.things[thing] = fl
	return ticket, true
}

// endUpdate returns a ticket, and the gets that waited for it last.
func (f *flights) endUpdate(thing twin.ThingName, ticket uint64) []*getJob {
	s := f.stripe(thing)
	s.mu.Lock()
	defer s.mu.Unlock()
	fl := s.things[thing]
	fl.open--
	fl.updates--
	var ready []*getJob
	if len(fl.parked) > 0 {
		keep := fl.parked[:0]
		for _, g := range fl.parked {
			if ticket < g.before {
				g.waitsFor--
			}
			if g.waitsFor == 0 {
				ready = append(ready, g)
			} else {
				keep = append(keep, g)
			}
		}
		clear(fl.parked[len(keep):])
		fl.parked = keep
	}
	s.put(thing, fl)
	return ready
}

// beginRead counts a read that waits for nothing; false if the thing is at its
// limit.
func (f *flights) beginRead(thing twin.ThingName) bool {
	s := f.stripe(thing)
	s.mu.Lock()
	defer s.mu.Unlock()
	fl := s.things[thing]
	if f.perThingMax > 0 && fl.open >= f.perThingMax {
		return false
	}
	fl.open++
	s.things[thing] = fl
	return true
}

// beginGet counts a get and parks it if updates are ahead of it.
func (f *flights) beginGet(g *getJob) (parked, ok bool) {
	thing := g.topic.Key.Thing
	s := f.stripe(thing)
	s.mu.Lock()
	defer s.mu.Unlock()
	fl := s.things[thing]
	if f.perThingMax > 0 && fl.open >= f.perThingMax {
		return false, false
	}
	fl.open++
	if fl.updates > 0 {
		g.before, g.waitsFor = fl.next, fl.updates
		fl.parked = append(fl.parked, g)
		parked = true
	}
	s.things[thing] = fl
	return parked, true
}

// endRead ends what beginRead or beginGet began.
func (f *flights) endRead(thing twin.ThingName) {
	s := f.stripe(thing)
	s.mu.Lock()
	defer s.mu.Unlock()
	fl := s.things[thing]
	fl.open--
	s.put(thing, fl)
}

// takeParked removes all parked gets, to be answered otherwise.
func (f *flights) takeParked() []*getJob {
	var all []*getJob
	for i := range f.stripes {
		s := &f.stripes[i]
		s.mu.Lock()
		for thing, fl := range s.things {
			all = append(all, fl.parked...)
			fl.parked = nil
			s.put(thing, fl)
		}
		s.mu.Unlock()
	}
	return all
}

// put stores or removes an entry; the caller holds the lock.
func (s *stripe) put(thing twin.ThingName, fl flight) {
	if fl.open == 0 {
		delete(s.things, thing)
		return
	}
	s.things[thing] = fl
}
