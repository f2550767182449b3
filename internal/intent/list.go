package intent

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// State is where an intent is in its life.
type State string

// The states. An intent that is open is pending or delivered.
const (
	Pending    State = "pending"
	Delivered  State = "delivered"
	Applied    State = "applied"
	Rejected   State = "rejected"
	Superseded State = "superseded"
	Expired    State = "expired"
)

// Answered is the type of an event in which a device says something of an intent that stays
// open.
const Answered = "answered"

// Path is a leaf of desired: the names on the way.
type Path []string

// String joins the names by dots.
func (p Path) String() string { return strings.Join(p, ".") }

func (p Path) in(section *twin.Node) *twin.Node {
	n := section
	for _, name := range p {
		n = n.Member(name)
	}
	return n
}

// Intent is what one update asked. It is never altered.
type Intent struct {
	Version   twin.Version `json:"version"`
	Asked     twin.Time    `json:"asked"`
	By        string       `json:"by,omitempty"`        // door and session
	Expires   twin.Time    `json:"expires,omitempty"`   // 0: never
	Paths     []Path       `json:"paths"`               // all it asked for
	Open      []Path       `json:"open,omitempty"`      // of these
	Applied   []Path       `json:"applied,omitempty"`   // of these
	Delivered twin.Time    `json:"delivered,omitempty"` // 0: not yet
	Client    string       `json:"client,omitempty"`    // that took it
	Sent      int          `json:"sent,omitempty"`      // deltas with it that a device has taken
	Answer    *Answer      `json:"answer,omitempty"`    // the last of the device
}

// Answer is what a device says of an intent.
type Answer struct {
	Status  string    `json:"status"` // accepted, in_progress or rejected
	Message string    `json:"message,omitempty"`
	Time    twin.Time `json:"time"`
}

// ID is the name of the intent.
func (i *Intent) ID() string { return fmt.Sprintf("v%d", i.Version) }

// State returns the state of an open intent.
func (i *Intent) State() State {
	if i.Delivered != 0 {
		return Delivered
	}
	return Pending
}

// Ended is an intent that is not open any more.
type Ended struct {
	Intent
	State  State     `json:"state"`
	Time   twin.Time `json:"time"`
	Reason string    `json:"reason,omitempty"`
}

// List is what is asked of a thing by one shadow. It is never altered, only replaced; nil is
// empty.
type List struct {
	Open []Intent `json:"open,omitempty"` // by version
	Last *Ended   `json:"last,omitempty"` // that ended last
}

// Empty reports whether there is nothing to keep.
func (l *List) Empty() bool { return l == nil || len(l.Open) == 0 && l.Last == nil }

// Oldest returns the open intent that was asked first; nil: there is none.
func (l *List) Oldest() *Intent {
	if l == nil || len(l.Open) == 0 {
		return nil
	}
	return &l.Open[0]
}

// Find returns an open intent; nil: there is none of that version.
func (l *List) Find(v twin.Version) *Intent {
	if l == nil {
		return nil
	}
	for i := range l.Open {
		if l.Open[i].Version == v {
			return &l.Open[i]
		}
	}
	return nil
}

// Key is the key of the record of a list.
func Key(k twin.ShadowKey) string { return string(k.Thing) + "/" + string(k.Shadow) }

// KeyOf takes a key apart.
func KeyOf(key string) twin.ShadowKey {
	thing, shadow, _ := strings.Cut(key, "/")
	return twin.ShadowKey{Thing: twin.ThingName(thing), Shadow: twin.ShadowName(shadow)}
}

// Encode returns the value of the record of a list.
func (l *List) Encode() []byte {
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // a list has nothing that is no JSON
	}
	return b
}

// Decode reads the value of a record.
func Decode(value []byte) (*List, error) {
	l := &List{}
	if err := json.Unmarshal(value, l); err != nil {
		return nil, fmt.Errorf("read the intents: %w", err)
	}
	return l, nil
}
