package pebblestore

import (
	"fmt"
	"sort"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
)

// days knows the first position of each day in the log, for its keys begin with the
// day and a reader of the feed knows the position only. It has one entry per kept day.
type days struct {
	mu     sync.Mutex
	starts []dayStart
}

type dayStart struct {
	day   uint32
	first store.Pos
}

// note says that the log goes on at pos on a day.
func (d *days) note(day uint32, pos store.Pos) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.starts); n == 0 || d.starts[n-1].day < day {
		d.starts = append(d.starts, dayStart{day, pos})
	}
}

// of returns the day of a position: where a search for it has to begin.
func (d *days) of(pos store.Pos) uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := sort.Search(len(d.starts), func(i int) bool { return d.starts[i].first > pos })
	if i == 0 {
		return 0
	}
	return d.starts[i-1].day
}

// newest returns the newest day of the log, 0 if there is none.
func (d *days) newest() uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.starts) == 0 {
		return 0
	}
	return d.starts[len(d.starts)-1].day
}

// drop forgets the days before one; the newest stays.
func (d *days) drop(before uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.starts) > 1 && d.starts[0].day < before {
		d.starts = d.starts[1:]
	}
}

// before returns the position before the first one of the log.
func (d *days) before() store.Pos {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.starts) == 0 {
		return 0
	}
	return d.starts[0].first - 1
}

// readDays fills s.days: one seek per day in the log.
func (s *Store) readDays(c counters) error {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyLog}, UpperBound: []byte{keyLog + 1}})
	if err != nil {
		return errLog(fmt.Errorf("read its days: %w", err))
	}
	defer iter.Close() //nolint:errcheck // its error is looked at below
	for ok := iter.First(); ok; {
		day, pos, valid := parseLogKey(iter.Key())
		if !valid {
			return errLog(fmt.Errorf("key %x", iter.Key()))
		}
		s.days.note(day, pos)
		if day >= c.day {
			break
		}
		ok = iter.SeekGE(appendLogKey(nil, day+1, 0))
	}
	if err := iter.Error(); err != nil {
		return errLog(fmt.Errorf("read its days: %w", err))
	}
	return nil
}
