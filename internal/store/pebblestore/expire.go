package pebblestore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// expired knows the first kept day of each class. It is set before anything goes, so
// that who meets a hole knows why.
type expired struct {
	running sync.Mutex // one Expire at a time

	mu   sync.Mutex
	cuts store.Policy
	log  store.Pos // the log begins after it
}

func (x *expired) load() store.Policy {
	x.mu.Lock()
	defer x.mu.Unlock()
	return maps.Clone(x.cuts)
}

func (x *expired) gone(class store.Class, day uint32) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return day < x.cuts[class]
}

// groups reports whether more than the default group expires: then what has expired of
// a shadow may be newer in another group.
func (x *expired) groups() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for class := range x.cuts {
		if class.Group() != store.GroupDefault {
			return true
		}
	}
	return false
}

// expireBatchBytes is the size from which a batch of Expire is applied.
const expireBatchBytes = 4 << 20

// Expire implements [store.Expirer]. The bases of some shadows and the deletion of
// their events are one batch, so that a reader finds one or the other.
func (s *Store) Expire(ctx context.Context, p store.Policy) (r store.ExpireReport, err error) {
	if err := s.enter(ctx); err != nil {
		return r, err
	}
	defer s.exit()
	s.expired.running.Lock()
	defer s.expired.running.Unlock()
	cuts := s.expired.load()
	newest := s.days.newest()
	for class, day := range p {
		if day = min(day, newest); day > cuts[class] {
			if cuts == nil {
				cuts = make(store.Policy)
			}
			cuts[class] = day
		}
	}
	if err := s.expireFeed(cuts); err != nil {
		return r, err
	}
	for _, class := range slices.Sorted(maps.Keys(cuts)) {
		if err := s.expireClass(ctx, class, cuts[class], &r); err != nil {
			return r, fmt.Errorf("expire events of class %d: %w", class, err)
		}
	}
	if r.Days == 0 {
		return r, nil
	}
	return r, s.releaseSpace(ctx, cuts)
}

// expireFeed makes the cuts known, here and on disk, and drops the log before the first
// day on which nothing has expired.
func (s *Store) expireFeed(cuts store.Policy) error {
	first := uint32(0)
	batch := s.db.NewBatch()
	for class, day := range cuts {
		first = max(first, day)
		must(batch.Set([]byte{keyExpired, byte(class)}, appendOrdered(nil, uint64(day)), nil))
	}
	if first == 0 {
		return nil
	}
	must(batch.DeleteRange([]byte{keyLog}, appendLogKey(nil, first, 0), nil))
	s.days.drop(first)
	log := s.days.before()
	must(batch.Set([]byte{keyExpired}, appendOrdered(nil, uint64(log)), nil))
	s.expired.mu.Lock()
	s.expired.cuts, s.expired.log = maps.Clone(cuts), log
	s.expired.mu.Unlock()
	return s.applyUnsynced(batch, "expire the log")
}

// expireClass deletes the days of a class before one. What a crash has left of an
// earlier run goes too.
func (s *Store) expireClass(ctx context.Context, class store.Class, cut uint32, r *store.ExpireReport) error {
	for from := uint32(0); from < cut; {
		day, ok, err := s.classDay(class, from, cut)
		if err != nil || !ok {
			return err
		}
		if err := s.expireDay(ctx, class, day, r); err != nil {
			return err
		}
		r.Days++
		from = day + 1
	}
	return nil
}

// classDay returns the first day of a class in a range that has events.
func (s *Store) classDay(class store.Class, from, to uint32) (day uint32, ok bool, err error) {
	err = s.iterate(appendHistoryDay(nil, class, from), appendHistoryDay(nil, class, to), func(iter *pebble.Iterator) error {
		if ok = iter.First(); !ok {
			return nil
		}
		if day, ok = historyDay(iter.Key()); !ok {
			return errDamaged(fmt.Sprintf("key %x", iter.Key()))
		}
		return nil
	})
	return day, ok, err
}

func (s *Store) expireDay(ctx context.Context, class store.Class, day uint32, r *store.ExpireReport) error {
	lower, upper := appendHistoryDay(nil, class, day), after(appendHistoryDay(nil, class, day))
	batch := s.db.NewBatch()
	if class.Kind() == store.KindHistory {
		from := lower
		err := s.iterate(lower, upper, func(iter *pebble.Iterator) error {
			for ok := iter.First(); ok; {
				end, err := s.leaveBase(iter, batch, class, day, r)
				if err != nil {
					return err
				}
				if len(batch.Repr()) > expireBatchBytes {
					must(batch.DeleteRange(from, end, nil))
					if err := s.applyUnsynced(batch, "expire history"); err != nil {
						return err
					}
					batch, from = s.db.NewBatch(), end
				}
				if ctx.Err() != nil {
					return errGaveUp(ctx)
				}
				ok = iter.SeekGE(end)
			}
			return nil
		})
		if err != nil {
			return err
		}
		lower = from
	}
	must(batch.DeleteRange(lower, upper, nil))
	return s.applyUnsynced(batch, "expire history")
}

// leaveBase puts the base of the shadow at the iterator into the batch and returns
// where the next one begins.
func (s *Store) leaveBase(iter *pebble.Iterator, batch *pebble.Batch, class store.Class, day uint32, r *store.ExpireReport) (end []byte, err error) {
	_, _, key, _, valid := parseHistoryKey(iter.Key())
	if !valid {
		return nil, errDamaged(fmt.Sprintf("key %x", iter.Key()))
	}
	prefix := appendHistoryPrefix(nil, class, day, key)
	end = after(prefix)
	var events [][]byte // from the newest snapshot on
	found := false
	for ok := iter.SeekLT(end); ok && !found && bytes.HasPrefix(iter.Key(), prefix); ok = iter.Prev() {
		event, e, err := decodeAt(iter)
		if err != nil {
			return nil, err
		}
		events = append(events, event)
		found = len(e.Snapshot) > 0 && e.Kind != twin.EventRecorded
	}
	if err := iter.Error(); err != nil {
		return nil, errRead(err)
	}
	slices.Reverse(events)
	var before []byte
	if !found || s.expired.groups() {
		if before, err = s.base(key); err != nil {
			return nil, err
		}
	}
	base, err := store.FoldBase(before, events)
	if err != nil {
		return nil, fmt.Errorf("the base of %s: %w", key, err)
	}
	if base != nil {
		must(batch.Set(appendBaseKey(nil, key), appendBase(nil, base), nil))
		r.Bases++
	}
	return end, nil
}

// releaseSpace packs what is left, so that the disk has the room that was taken by what
// has gone. Range deletes over whole tables cost next to nothing.
func (s *Store) releaseSpace(ctx context.Context, cuts store.Policy) error {
	for class, cut := range cuts {
		if err := s.db.Compact(ctx, appendHistoryDay(nil, class, 0), appendHistoryDay(nil, class, cut), false); err != nil {
			return fmt.Errorf("give space back: %w", err)
		}
	}
	return nil
}

// Expired implements [store.Expirer].
func (s *Store) Expired(ctx context.Context) (p store.Policy, feed store.Pos, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer s.exit()
	s.expired.mu.Lock()
	defer s.expired.mu.Unlock()
	return maps.Clone(s.expired.cuts), s.expired.log, nil
}

// Base implements [store.Past].
func (s *Store) Base(ctx context.Context, key twin.ShadowKey) (b store.Base, ok bool, err error) {
	if err := s.enter(ctx); err != nil {
		return b, false, err
	}
	defer s.exit()
	b.Event, err = s.base(key)
	return b, b.Event != nil, err
}

// base returns nil if there is none.
func (s *Store) base(key twin.ShadowKey) (event []byte, err error) {
	g := getter{db: s.db}
	defer g.close()
	_, err = g.get(appendBaseKey(nil, key), func(value []byte) (err error) {
		event, err = parseBase(value)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("base of %s: %w", key, err)
	}
	return event, nil
}

// readExpired fills s.expired.
func (s *Store) readExpired() error {
	s.expired.cuts = make(store.Policy)
	return s.iterate([]byte{keyExpired}, []byte{keyExpired + 1}, func(iter *pebble.Iterator) error {
		for ok := iter.First(); ok; ok = iter.Next() {
			value, err := iter.ValueAndErr()
			if err != nil {
				return errLog(errRead(err))
			}
			n, rest, ok := ordered(value)
			switch {
			case len(iter.Key()) == 1 && ok && len(rest) == 0:
				s.expired.log = store.Pos(n)
			case len(iter.Key()) == 2 && ok && len(rest) == 0 && n <= math.MaxUint32:
				s.expired.cuts[store.Class(iter.Key()[1])] = uint32(n)
			default:
				return errLog(errDamaged("what has expired"))
			}
		}
		return nil
	})
}

// Compact packs the whole store, as it comes to be by itself in time.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.exit()
	if err := s.db.Flush(); err != nil {
		return fmt.Errorf("write out what is in memory: %w", err)
	}
	if err := s.db.Compact(ctx, []byte{0}, []byte{0xff}, false); err != nil {
		return fmt.Errorf("pack the store: %w", err)
	}
	return nil
}
