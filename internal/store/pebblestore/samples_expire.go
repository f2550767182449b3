package pebblestore

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// DropColumns implements [store.SampleWriter].
func (s *Store) DropColumns(ctx context.Context, class store.SampleClass, before uint32) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.exit()
	lower, upper := appendColumnDay(nil, class, 0), appendColumnDay(nil, class, before)
	// Most of the time there is nothing, and a deletion would lie there for nothing.
	found := false
	err := s.iterate(lower, upper, func(iter *pebble.Iterator) error {
		found = iter.First()
		return nil
	})
	if err != nil || !found {
		return err
	}
	batch := s.db.NewBatch()
	must(batch.DeleteRange(lower, upper, nil))
	if err := s.applyUnsynced(batch, "drop telemetry"); err != nil {
		return err
	}
	if err := s.db.Compact(ctx, lower, upper, false); err != nil {
		return fmt.Errorf("give space back: %w", err)
	}
	return nil
}

// TrimColumns implements [store.SampleWriter].
func (s *Store) TrimColumns(ctx context.Context, class store.SampleClass, day uint32, drop func(twin.ThingName, store.Series) bool) (n int, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.exit()
	batch := s.db.NewBatch()
	lower := appendColumnDay(nil, class, day)
	err = s.iterate(lower, after(lower), func(iter *pebble.Iterator) error {
		for ok := iter.First(); ok; {
			if ctx.Err() != nil {
				return errGaveUp(ctx)
			}
			prefix, thing, of, valid := seriesOfColumn(iter.Key(), len(lower))
			if !valid {
				return errDamaged(fmt.Sprintf("key %x", iter.Key()))
			}
			next := after(prefix)
			if drop(thing, of) {
				n++
				must(batch.DeleteRange(prefix, next, nil))
			}
			ok = iter.SeekGE(next)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("trim telemetry: %w", err)
	}
	if batch.Empty() {
		return 0, nil
	}
	return n, s.applyUnsynced(batch, "trim telemetry")
}

// seriesOfColumn returns the series in a column's key, whose class and day take so many
// bytes, and what the keys of all its columns of that day begin with.
func seriesOfColumn(key []byte, from int) (prefix []byte, thing twin.ThingName, of store.Series, ok bool) {
	t, rest, ok := name(key[from:])
	if !ok {
		return nil, "", of, false
	}
	metric, rest, ok := name(rest)
	if !ok || len(rest) < 2 {
		return nil, "", of, false
	}
	of = store.Series{Metric: twin.MetricName(metric), Type: twin.ValueType(rest[0])}
	return append([]byte(nil), key[:len(key)-len(rest)+1]...), twin.ThingName(t), of, true
}

// ColumnDays implements [store.SampleReader].
func (s *Store) ColumnDays(ctx context.Context, class store.SampleClass) ([]store.DayStats, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	return s.columnDays(class)
}

func (s *Store) columnDays(class store.SampleClass) (days []store.DayStats, err error) {
	lower := []byte{keyColumn, byte(class)}
	err = s.iterate(lower, after(lower), func(iter *pebble.Iterator) error {
		for ok := iter.First(); ok; {
			day, valid := columnDay(iter.Key())
			if !valid {
				return errDamaged(fmt.Sprintf("key %x", iter.Key()))
			}
			from := appendColumnDay(nil, class, day)
			to := after(from)
			n, err := s.db.EstimateDiskUsage(from, to)
			if err != nil {
				return fmt.Errorf("measure day %d: %w", day, err)
			}
			days = append(days, store.DayStats{Day: day, Bytes: n})
			ok = iter.SeekGE(to)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list days of telemetry: %w", err)
	}
	return days, nil
}

// Size is how many bytes the files of the store take now.
func (s *Store) Size() uint64 { return s.usedBytes() }
