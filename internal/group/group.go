package group

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of groups.
const (
	GroupsMax     = 100
	AboutBytesMax = 256

	nameBytesMax = 64
	recordsPage  = 1000
	// timedEvery is the time between looks at groups whose conditions read now.
	timedEvery = 5 * time.Second
	// retryAfter is when what the engine had no room for is tried again.
	retryAfter = time.Second
)

// The types of events of kind group.
const (
	Entered = "entered"
	Left    = "left"
)

// Engine is where memberships are written.
type Engine interface {
	Append(en twin.Entry, done func(twin.EntryResult)) error
	WriteRecords(orderKey string, ws []twin.RecordWrite, done func(error)) error
	Records(ctx context.Context, kind twin.RecordKind, prefix, after string, limit int) ([]twin.Record, error)
	Now() twin.Time
}

// Fleet answers conditions.
type Fleet interface {
	Find(ctx context.Context, condition string) ([]twin.ThingName, error)
	Condition(condition string) (*fleet.Condition, error)
}

// Group is a saved condition.
type Group struct {
	Name    string    `json:"name"`
	Where   string    `json:"where"`
	About   string    `json:"about,omitempty"`
	Created twin.Time `json:"created"`
	Changed twin.Time `json:"changed"` // the definition
	Members int       `json:"-"`
}

// live is a group with its members.
type live struct {
	Group
	condition *fleet.Condition
	timed     bool
	members   map[twin.ThingName]struct{}
}

// Service keeps groups. It is safe for concurrent use.
type Service struct {
	log    *slog.Logger
	engine Engine
	fleet  Fleet
	speed  float64 // of the clock

	// working is held while memberships are worked out: by Run, and by changes of groups.
	working sync.Mutex

	mu     sync.RWMutex // of groups, their definitions and members
	groups map[string]*live

	waiting sync.Mutex
	dirty   map[twin.ThingName]struct{}
	wake    chan struct{}
}

// Open reads the groups. The clock of the engine runs speed times as fast as that of the
// machine. Their members are looked at by [Service.Run].
func Open(ctx context.Context, log *slog.Logger, e Engine, f Fleet, speed float64) (*Service, error) {
	s := &Service{log: log, engine: e, fleet: f, speed: speed, groups: map[string]*live{}, dirty: map[twin.ThingName]struct{}{}, wake: make(chan struct{}, 1)}
	for r, err := range records(ctx, e, twin.RecordLiveGroup, "") {
		if err != nil {
			return nil, fmt.Errorf("read the groups: %w", err)
		}
		g := &live{members: map[twin.ThingName]struct{}{}}
		if err := json.Unmarshal(r.Value, &g.Group); err != nil {
			return nil, fmt.Errorf("read the group %s: %w", r.Key, err)
		}
		if err := g.compile(f); err != nil {
			return nil, fmt.Errorf("read the group %s: %w", r.Key, err)
		}
		s.groups[g.Name] = g
	}
	for name, g := range s.groups {
		for r, err := range records(ctx, e, twin.RecordMember, name+"/") {
			if err != nil {
				return nil, fmt.Errorf("read the members of %s: %w", name, err)
			}
			g.members[twin.ThingName(r.Key[len(name)+1:])] = struct{}{}
		}
	}
	return s, nil
}

// records reads all records of a kind whose keys begin so.
func records(ctx context.Context, e Engine, kind twin.RecordKind, prefix string) iter.Seq2[twin.Record, error] {
	return func(yield func(twin.Record, error) bool) {
		for after := ""; ; {
			page, err := e.Records(ctx, kind, prefix, after, recordsPage)
			if err != nil {
				yield(twin.Record{}, err)
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
				after = r.Key
			}
			if len(page) < recordsPage {
				return
			}
		}
	}
}

func (g *live) compile(f Fleet) (err error) {
	g.condition, err = f.Condition(g.Where)
	if err == nil {
		g.timed = g.condition.Timed()
	}
	return err
}

// Groups lists the groups by name.
func (s *Service) Groups() []Group {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]Group, 0, len(s.groups))
	for _, g := range s.groups {
		list = append(list, g.shown())
	}
	slices.SortFunc(list, func(a, b Group) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list
}

func (g *live) shown() Group {
	x := g.Group
	x.Members = len(g.members)
	return x
}

// Group returns a group; the error is of kind NotFound if there is none of that name.
func (s *Service) Group(name string) (Group, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if g := s.groups[name]; g != nil {
		return g.shown(), nil
	}
	return Group{}, noGroup(name)
}

func noGroup(name string) error {
	return twin.NewError(twin.KindNotFound, fmt.Sprintf("There is no group %q", name))
}

// Members lists members by name, greater than after.
func (s *Service) Members(name string, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	g := s.groups[name]
	if g == nil {
		return nil, noGroup(name)
	}
	list := make([]twin.ThingName, 0, len(g.members))
	for thing := range g.members {
		if thing > after {
			list = append(list, thing)
		}
	}
	slices.Sort(list)
	return list[:min(len(list), limit)], nil
}

// check refuses names and texts that are not allowed.
func check(name, about string) error {
	switch {
	case len(name) > nameBytesMax || !twin.ThingName(name).Valid():
		return twin.NewError(twin.KindInvalid, fmt.Sprintf("%.80q is no name of a group: 1 to %d characters of a-z A-Z 0-9 : _ -", name, nameBytesMax))
	case len(about) > AboutBytesMax:
		return twin.NewError(twin.KindInvalid, fmt.Sprintf("about has %d bytes, the limit is %d", len(about), AboutBytesMax))
	}
	return nil
}

// Put makes a group or gives one another condition, and tells who enters and who leaves. A
// condition that is wrong is an error of the fleet.
func (s *Service) Put(ctx context.Context, name, where, about string) (Group, error) {
	if err := check(name, about); err != nil {
		return Group{}, err
	}
	now := s.engine.Now()
	g := &live{Group: Group{Name: name, Where: where, About: about, Created: now, Changed: now}, members: map[twin.ThingName]struct{}{}}
	if err := g.compile(s.fleet); err != nil {
		return Group{}, err
	}
	s.working.Lock()
	defer s.working.Unlock()
	s.mu.RLock()
	old, count := s.groups[name], len(s.groups)
	s.mu.RUnlock()
	switch {
	case old != nil:
		g.Created, g.members = old.Created, old.members
	case count >= GroupsMax:
		return Group{}, twin.NewError(twin.KindFull, fmt.Sprintf("There are %d groups, which is the limit", GroupsMax))
	}
	value, err := json.Marshal(&g.Group)
	if err != nil {
		return Group{}, fmt.Errorf("write the group %s: %w", name, err)
	}
	if err := s.write(ctx, twin.RecordWrite{Kind: twin.RecordLiveGroup, Key: name, Value: value}); err != nil {
		return Group{}, err
	}
	s.mu.Lock()
	s.groups[name] = g
	s.mu.Unlock()
	if err := s.whole(ctx, g); err != nil {
		return Group{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return g.shown(), nil
}

// write waits until a record is on disk.
func (s *Service) write(ctx context.Context, w twin.RecordWrite) error {
	done := make(chan error, 1)
	if err := s.engine.WriteRecords("groups", []twin.RecordWrite{w}, func(err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return twin.NewError(twin.KindUnavailable, "The request ended before its outcome was known")
	}
}

// Delete ends a group; its members leave it.
func (s *Service) Delete(ctx context.Context, name string) error {
	s.working.Lock()
	defer s.working.Unlock()
	s.mu.RLock()
	g := s.groups[name]
	s.mu.RUnlock()
	if g == nil {
		return noGroup(name)
	}
	if err := s.write(ctx, twin.RecordWrite{Kind: twin.RecordLiveGroup, Key: name}); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.groups, name)
	s.mu.Unlock()
	for _, thing := range g.sorted() {
		if err := s.move(ctx, g, thing, false); err != nil {
			return err // the records that are left are removed by the next group of this name, if its members are others
		}
	}
	return nil
}

func (g *live) sorted() []twin.ThingName {
	list := make([]twin.ThingName, 0, len(g.members))
	for thing := range g.members {
		list = append(list, thing)
	}
	slices.Sort(list)
	return list
}
