package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
)

// oracle knows, outside the server, what has become of every update. One client
// writes for a thing, with update numbers 1, 2, 3, …, so the AWS version of the
// shadow must equal the number of the newest update in it: greater means that one
// was applied twice, and a hole shows in the slots.
type oracle struct {
	seed   uint64
	things []*thing
}

// thing is what was sent and acknowledged for one thing. The lock is held for a
// moment by the client that writes for it and by the check.
type thing struct {
	name   string
	number int

	mu          sync.Mutex
	sent, acked uint32 // the newest update handed to a socket; acknowledged: all up to here
}

// slots is how many of the newest updates are visible in a shadow: update n writes
// its number into slot n % slots, so an update that was lost although a later one
// is there leaves an old number. It exceeds what one client has in flight.
const slots = 8

const inFlightMax = slots - 1

func newOracle(seed uint64, things int) *oracle {
	o := &oracle{seed: seed}
	for i := range things {
		o.things = append(o.things, &thing{name: fmt.Sprintf("kill-%05d", i), number: i})
	}
	return o
}

// token is unique for each update of each thing in a run.
func (o *oracle) token(t *thing, n uint32) string {
	return fmt.Sprintf("%x-%d-%d", o.seed, t.number, n)
}

// payload is update n of a thing. It differs from every other one, and is the same
// whenever it is sent again.
func (o *oracle) payload(t *thing, n uint32) []byte {
	return fmt.Appendf(nil, `{"state":{"reported":{"n":%d,"token":%q,"slot":{"s%d":%d},"level":%d.5,"mode":"auto"}}}`,
		n, o.token(t, n), n%slots, n, n%100)
}

// next takes the number of a new update.
func (t *thing) next() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent++
	return t.sent
}

// acknowledge records that update n was acknowledged, and with it, since a thing's
// updates are acknowledged in order, all before it.
func (t *thing) acknowledge(n uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n != t.acked+1 || n > t.sent {
		return fmt.Errorf("%s: update %d was acknowledged after %d of %d sent", t.name, n, t.acked, t.sent)
	}
	t.acked = n
	return nil
}

func (t *thing) counts() (sent, acked uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent, t.acked
}

// acked sums the acknowledged updates of all things.
func (o *oracle) acked() (sum uint64) {
	for _, t := range o.things {
		_, acked := t.counts()
		sum += uint64(acked)
	}
	return sum
}

// shadow is what the server says about a thing; the zero value: nothing is there.
type shadow struct {
	Version uint32
	State   struct {
		Reported struct {
			N     uint32
			Token string
			Slot  map[string]uint32
		}
	}
}

func decodeShadow(b []byte) (shadow, error) {
	var s shadow
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("decode shadow %q: %w", b, err)
	}
	return s, nil
}

// faults counts what a check found wrong.
type faults struct {
	mu    sync.Mutex
	count [faultKinds]int
	notes []string // the first few, to read
}

type faultKind int

const (
	lost     faultKind = iota // acknowledged, and not there
	doubled                   // one update, two versions
	inverted                  // order is not the order sent, or one in the middle is missing
	invented                  // there, and never sent
	session                   // an acknowledged session is gone
	protocol                  // the server said something it may not say
	faultKinds
)

func (k faultKind) String() string {
	return [...]string{"lost", "doubled", "inverted", "invented", "session", "protocol"}[k]
}

const notesMax = 20

func (f *faults) add(k faultKind, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[k]++
	if len(f.notes) < notesMax {
		f.notes = append(f.notes, k.String()+": "+fmt.Sprintf(format, args...))
	}
}

func (f *faults) total() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.count {
		n += c
	}
	return n
}

func (f *faults) counts() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := make(map[string]int)
	for k, n := range f.count {
		m[faultKind(k).String()] = n
	}
	return m
}

func (f *faults) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.notes, "\n")
}

// judge compares what the server says about a thing with what is known. It must
// not run while updates are being sent.
func (o *oracle) judge(t *thing, s shadow, f *faults) {
	sent, acked := t.counts()
	n := s.State.Reported.N
	switch {
	case n > sent:
		f.add(invented, "%s holds update %d, only %d were sent", t.name, n, sent)
		return
	case n < acked:
		f.add(lost, "%s holds update %d, %d was acknowledged", t.name, n, acked)
	}
	if n > 0 && s.State.Reported.Token != o.token(t, n) {
		f.add(invented, "%s holds token %q with update %d", t.name, s.State.Reported.Token, n)
	}
	switch {
	case s.Version > n:
		f.add(doubled, "%s is at version %d with update %d", t.name, s.Version, n)
	case s.Version < n:
		f.add(lost, "%s is at version %d, yet holds update %d: one before it is missing", t.name, s.Version, n)
	}
	for m := n; m > 0 && m+slots > n; m-- {
		if got := s.State.Reported.Slot[fmt.Sprintf("s%d", m%slots)]; got != m {
			f.add(inverted, "%s holds update %d, but the place of update %d says %d", t.name, n, m, got)
		}
	}
}
