package proof

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// LoggedThings is what a store has that lists all things by itself.
type LoggedThings interface {
	LoggedThings(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error)
}

// FromStore returns a source that reads a store. One that cannot list the things that have
// a head is read through once, from the start of its feed, to find them; what is
// committed meanwhile is not looked at.
func FromStore(s store.Store) ShadowSource {
	src := storeSource{Store: s}
	if l, ok := s.(LoggedThings); ok {
		src.things = l
	} else {
		src.things = &feedThings{store: s}
	}
	if b, ok := s.(Bases); ok {
		return struct {
			storeSource
			Bases
		}{src, b}
	}
	return src
}

type storeSource struct {
	store.Store
	things LoggedThings
}

func (s storeSource) LoggedThings(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	return s.things.LoggedThings(ctx, after, limit)
}

// feedThings finds the things in the feed and among those with a live shadow.
type feedThings struct {
	store store.Store

	mu    sync.Mutex
	read  bool
	names []twin.ThingName
}

// LoggedThings implements [Source].
func (f *feedThings) LoggedThings(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.read {
		if err := f.collect(ctx); err != nil {
			return nil, err
		}
		f.read = true
	}
	i, found := slices.BinarySearch(f.names, after)
	if found {
		i++
	}
	return f.names[i:min(i+limit, len(f.names))], nil
}

func (f *feedThings) collect(ctx context.Context) error {
	const page = 4096
	set := make(map[twin.ThingName]struct{})
	for pos := store.Pos(0); ; {
		entries, err := f.store.Feed(ctx, pos, page)
		if err != nil {
			return fmt.Errorf("find things in the feed after %d: %w", pos, err)
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			pos = e.Pos
			if s, ok := readStamp(e.Event); ok {
				if _, known := set[twin.ThingName(s.thing)]; !known {
					set[twin.ThingName(s.thing)] = struct{}{}
				}
			}
		}
	}
	for after := twin.ThingName(""); ; {
		names, err := f.store.Things(ctx, after, page)
		if err != nil {
			return fmt.Errorf("find things: %w", err)
		}
		if len(names) == 0 {
			break
		}
		for _, n := range names {
			set[n], after = struct{}{}, n
		}
	}
	for n := range set {
		f.names = append(f.names, n)
	}
	slices.Sort(f.names)
	return nil
}
