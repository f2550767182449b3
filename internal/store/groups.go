package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/twofold-iot/twofold/twin"
)

// Class is a retention class: what expires together, one kind of events of one group.
// The numbers are on disk: 2 × group + kind.
type Class uint8

// The classes of [GroupDefault].
const (
	ClassHistory Class = 0 // events that change or record a shadow
	ClassLog     Class = 1 // all other events
)

// Kind is one of the two kinds of events that may be kept for different times.
type Kind uint8

// The kinds.
const (
	KindHistory Kind = 0 // events that change or record a shadow
	KindLog     Kind = 1 // all other events
)

// Group is a retention group: models whose events are kept for the same time. A group
// is given to one model for ever, so that its number keeps its meaning.
type Group uint8

// The groups.
const (
	GroupDefault Group = 0  // of things whose model has no group
	GroupMax     Group = 60 // the last that is given
)

// ClassOf returns the class of a kind of events in a group.
func ClassOf(g Group, k Kind) Class { return Class(2*uint8(g) + uint8(k)) }

const classMax = Class(2*GroupMax) + Class(KindLog)

// Kind returns the kind of the events in a class.
func (c Class) Kind() Kind { return Kind(c & 1) }

// Group returns the group of a class.
func (c Class) Group() Group { return Group(c >> 1) }

// GroupDay is a group in which a thing has had events, and the day of the newest.
type GroupDay struct {
	Group Group
	Day   uint32
}

// Groups are all groups in which a thing has had events, by group. None stands for the
// default group alone. It is never altered, only replaced.
type Groups []GroupDay

// With returns the groups after an event in one on a day; before is the day of the event
// before it, known is false if there is none.
func (gs Groups) With(g Group, day, before uint32, known bool) Groups {
	if len(gs) == 0 {
		if g == GroupDefault {
			return gs
		}
		if known {
			gs = Groups{{GroupDefault, before}}
		}
	}
	i, found := slices.BinarySearchFunc(gs, g, func(a GroupDay, g Group) int { return cmp.Compare(a.Group, g) })
	switch {
	case !found:
		return slices.Insert(slices.Clone(gs), i, GroupDay{g, day})
	case gs[i].Day >= day:
		return gs
	}
	gs = slices.Clone(gs)
	gs[i].Day = day
	return gs
}

// All lists the groups.
func (gs Groups) All() []Group {
	if len(gs) == 0 {
		return []Group{GroupDefault}
	}
	all := make([]Group, len(gs))
	for i, g := range gs {
		all[i] = g.Group
	}
	return all
}

// Begin returns the first day from which on no event of a kind of the thing has expired.
func (gs Groups) Begin(p Policy, k Kind) uint32 {
	if len(gs) == 0 {
		return p[ClassOf(GroupDefault, k)]
	}
	var begin uint32
	for _, g := range gs {
		cut := p[ClassOf(g.Group, k)]
		if g.Day < math.MaxUint32 {
			cut = min(cut, g.Day+1)
		}
		begin = max(begin, cut)
	}
	return begin
}

// GroupStore is where groups are given out.
type GroupStore interface {
	Commit(ctx context.Context, ms []Mutation) ([]Outcome, error)
	ListRecords(ctx context.Context, r RecordRange) ([]twin.Record, error)
}

// OpenGroups returns the group of each model that has one, after it has given one to each
// of the models named. It is called by one at a time, before there are events.
func OpenGroups(ctx context.Context, s GroupStore, models []string) (map[string]Group, error) {
	records, err := s.ListRecords(ctx, RecordRange{Kind: twin.RecordGroup, Limit: int(GroupMax) + 1})
	if err != nil {
		return nil, fmt.Errorf("read retention groups: %w", err)
	}
	groups, last := make(map[string]Group), GroupDefault
	for _, r := range records {
		if len(r.Value) != 1 || r.Value[0] == 0 || Group(r.Value[0]) > GroupMax {
			return nil, twin.NewError(twin.KindInternal, fmt.Sprintf("the record of the retention group of model %q is damaged; restore the data folder from a backup", r.Key))
		}
		groups[r.Key] = Group(r.Value[0])
		last = max(last, groups[r.Key])
	}
	var ws []twin.RecordWrite
	for _, model := range slices.Compact(slices.Sorted(slices.Values(models))) {
		if _, ok := groups[model]; ok {
			continue
		}
		if last == GroupMax {
			return nil, invalid("retention.models.%s: %d models have been given ages of their own, ever, and there is room for no more; leave it to the default ages", model, GroupMax)
		}
		last++
		groups[model] = last
		ws = append(ws, twin.RecordWrite{Kind: twin.RecordGroup, Key: model, Value: []byte{byte(last)}, Expect: twin.RevisionAbsent})
	}
	if len(ws) == 0 {
		return groups, nil
	}
	out, err := s.Commit(ctx, []Mutation{{Records: ws}})
	if err == nil && out[0] != Committed {
		err = twin.NewError(twin.KindConflict, "another one gave them out at the same time")
	}
	if err != nil {
		return nil, fmt.Errorf("give out retention groups: %w", err)
	}
	return groups, nil
}
