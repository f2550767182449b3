package pebblestore

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Stats implements [store.Meter]. What is only in the write-ahead log or in memory
// counts in Space.UsedBytes and not in the kinds.
func (s *Store) Stats(ctx context.Context, largest int) (st store.Stats, err error) {
	if err := s.enter(ctx); err != nil {
		return st, err
	}
	defer s.exit()
	s.space.look(s.usedBytes())
	st.Space = s.space.load()
	if err := s.classStats(&st); err != nil {
		return st, err
	}
	for _, kind := range []struct {
		name     string
		prefixes [][]byte
	}{
		{"history", [][]byte{{keyBase}}},
		{"events", nil},
		{"log", [][]byte{{keyLog}}},
		{"shadows", [][]byte{{keyShadow}}},
		{"heads", [][]byte{{keyHead}}},
		{"proofs", [][]byte{{keyAnchor}}},
		{"records", [][]byte{{keyRecord}}},
		{"telemetry", [][]byte{{keyRow}, {keyColumn}, {keySeries}}},
	} {
		k := store.KindStats{Kind: kind.name}
		for _, c := range st.Classes {
			if c.Class.Kind() == store.KindHistory && kind.name == "history" || c.Class.Kind() == store.KindLog && kind.name == "events" {
				k.Bytes += c.Bytes
			}
		}
		for _, p := range kind.prefixes {
			n, err := s.db.EstimateDiskUsage(p, after(p))
			if err != nil {
				return st, fmt.Errorf("measure %s: %w", kind.name, err)
			}
			k.Bytes += n
		}
		st.Kinds = append(st.Kinds, k)
	}
	if err := s.dayStats(&st); err != nil {
		return st, err
	}
	if err := s.columnStats(&st); err != nil {
		return st, err
	}
	return st, s.largest(ctx, &st, largest)
}

// classStats measures each class that has events.
func (s *Store) classStats(st *store.Stats) error {
	for g := store.GroupDefault; g <= store.GroupMax; g++ {
		for _, kind := range []store.Kind{store.KindHistory, store.KindLog} {
			class := store.ClassOf(g, kind)
			if _, ok, err := s.classDay(class, 0, math.MaxUint32); err != nil || !ok {
				if err != nil {
					return err
				}
				continue
			}
			prefix := []byte{keyHistory, byte(class)}
			n, err := s.db.EstimateDiskUsage(prefix, after(prefix))
			if err != nil {
				return fmt.Errorf("measure class %d: %w", class, err)
			}
			st.Classes = append(st.Classes, store.ClassStats{Class: class, Bytes: n})
		}
	}
	return nil
}

func (s *Store) dayStats(st *store.Stats) error {
	sizes := make(map[uint32]uint64)
	for _, c := range st.Classes {
		class := c.Class
		for from := uint32(0); ; {
			day, ok, err := s.classDay(class, from, math.MaxUint32)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			lower := appendHistoryDay(nil, class, day)
			n, err := s.db.EstimateDiskUsage(lower, after(lower))
			if err != nil {
				return fmt.Errorf("measure day %d: %w", day, err)
			}
			sizes[day] += n
			from = day + 1
		}
	}
	for day, n := range sizes {
		st.Days = append(st.Days, store.DayStats{Day: day, Bytes: n})
	}
	slices.SortFunc(st.Days, func(a, b store.DayStats) int { return cmp.Compare(a.Day, b.Day) })
	return nil
}

// columnStats measures the days of telemetry. Rollups of days lie at the end of their
// month, which may not have come yet.
func (s *Store) columnStats(st *store.Stats) (err error) {
	if st.Columns, err = s.columnDays(store.ClassSamples); err != nil || len(st.Columns) == 0 {
		return err
	}
	newest := st.Columns[len(st.Columns)-1].Day
	rollups, err := s.columnDays(store.ClassRollups)
	for _, d := range rollups {
		if d.Day <= newest {
			st.Columns = append(st.Columns, d)
		}
	}
	return err
}

// largest goes through all heads.
func (s *Store) largest(ctx context.Context, st *store.Stats, most int) error {
	return s.iterate([]byte{keyHead}, []byte{keyHead + 1}, func(iter *pebble.Iterator) error {
		for ok := iter.First(); ok; ok = iter.Next() {
			if ctx.Err() != nil {
				return errGaveUp(ctx)
			}
			thing := twin.ThingName(iter.Key()[1:])
			value, err := iter.ValueAndErr()
			if err != nil {
				return errRead(err)
			}
			_, h, err := parseHead(value, thing)
			if err != nil {
				return err
			}
			st.Rank(store.ThingStats{Thing: thing, Events: h.Seq}, most)
		}
		return nil
	})
}
