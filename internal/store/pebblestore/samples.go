package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Telemetry goes past the commits: its rows take no position and have no order with
// events. They share the log on disk, its syncs and the fence.

// samples gives rows their numbers and knows which of them are synced.
type samples struct {
	// mu makes the numbers rise in the order in which rows become visible: whoever
	// deletes the rows up to one it has seen, deletes none it has not.
	mu      sync.Mutex
	number  store.RowNumber
	asked   store.RowNumber // a sync has been asked for up to this one
	synced  durable         // … and is done, up to this one
	key     []byte
	value   []byte
	rows    []byte
	highest []byte
	groups  rowGroups
}

// blockBytes is about the greatest size of a block of rows.
const blockBytes = 32 << 10

// rowGroups puts rows of several things into order: thing by thing, those of one in the
// order in which they came. A block of a thing costs little more than a row.
type rowGroups struct {
	last  map[twin.ThingName]int
	order []int // of the first row of each thing
	next  []int // row of the same thing; -1: none
}

func (g *rowGroups) make(rows []store.SampleRow) {
	if g.last == nil {
		g.last = make(map[twin.ThingName]int)
	}
	clear(g.last)
	g.order, g.next = g.order[:0], g.next[:0]
	for i := range rows {
		g.next = append(g.next, -1)
		if last, known := g.last[rows[i].Thing]; known {
			g.next[last] = i
		} else {
			g.order = append(g.order, i)
		}
		g.last[rows[i].Thing] = i
	}
}

// AppendRows implements [store.SampleWriter].
func (s *Store) AppendRows(ctx context.Context, rows []store.SampleRow, sync bool) error {
	if len(rows) == 0 {
		return nil
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.exit()
	if err := s.space.check(); err != nil {
		return err
	}
	batch, last, err := s.applyRows(rows, sync)
	if err != nil || !sync {
		return err
	}
	if !s.opts.NoSync {
		if err := batch.SyncWait(); err != nil {
			s.fence.trip(fmt.Errorf("sync the log: %w", err))
			return s.fence.fault()
		}
	}
	s.samples.synced.reach(store.Pos(last))
	// An error here would be about the batch's memory.
	_ = batch.Close()
	return nil
}

// applyRows makes rows visible. With sync set the batch is to be waited for.
func (s *Store) applyRows(rows []store.SampleRow, sync bool) (batch *pebble.Batch, last store.RowNumber, err error) {
	size := 64
	for i := range rows {
		size += len(rows[i].Values) + len(rows[i].Thing) + 40
	}
	m := &s.samples
	m.mu.Lock()
	defer m.mu.Unlock()
	batch = s.db.NewBatchWithSize(size)
	m.groups.make(rows)
	for _, i := range m.groups.order {
		count := 0
		m.rows = m.rows[:0]
		for thing := rows[i].Thing; i >= 0; i = m.groups.next[i] {
			m.number++
			count++
			m.rows = appendRow(m.rows, &rows[i])
			if len(m.rows) < blockBytes && m.groups.next[i] >= 0 {
				continue
			}
			m.key = appendRowKey(m.key[:0], thing, m.number)
			m.value = appendBlock(m.value[:0], count, m.rows)
			must(batch.Set(m.key, m.value, nil))
			count, m.rows = 0, m.rows[:0]
		}
	}
	m.highest = binary.AppendUvarint(m.highest[:0], uint64(m.number))
	must(batch.Set([]byte{keyRowCounter}, m.highest, nil))
	if sync && !s.opts.NoSync {
		err = s.db.ApplyNoSyncWait(batch, pebble.Sync)
	} else {
		err = s.db.Apply(batch, pebble.NoSync)
	}
	if err != nil {
		s.fence.trip(fmt.Errorf("write telemetry to the log: %w", err))
		return nil, 0, s.fence.fault()
	}
	if sync {
		m.asked = m.number
	}
	return batch, m.number, nil
}

// waitRows returns when the rows that an iterator opened before has seen, and that
// came with a sync, are synced.
func (s *Store) waitRows(ctx context.Context, newest store.RowNumber) error {
	s.samples.mu.Lock()
	newest = min(newest, s.samples.asked)
	s.samples.mu.Unlock()
	return s.samples.synced.wait(ctx, store.Pos(newest), s.fence)
}

// readRowCounter carries the numbers of rows on from where they were.
func (s *Store) readRowCounter() error {
	g := getter{db: s.db}
	defer g.close()
	_, err := g.get([]byte{keyRowCounter}, func(value []byte) error {
		f := fields{b: value}
		s.samples.number = store.RowNumber(f.uvarint())
		if f.bad || len(f.b) != 0 {
			return errDamaged("the counter of telemetry rows")
		}
		return nil
	})
	if err != nil {
		return errLog(err)
	}
	return nil
}

// Fold implements [store.SampleWriter].
func (s *Store) Fold(ctx context.Context, f store.SampleFold) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.exit()
	if err := s.space.check(); err != nil {
		return err
	}
	batch := s.db.NewBatch()
	var key []byte
	if f.Through != 0 {
		must(batch.DeleteRange(appendRowKey(nil, f.Thing, 0), appendRowKey(nil, f.Thing, f.Through+1), nil))
		if err := s.cutBlock(batch, f.Thing, f.Through); err != nil {
			return fmt.Errorf("fold telemetry of %s: %w", f.Thing, err)
		}
	}
	for i := range f.Columns {
		c := &f.Columns[i]
		key = appendColumnKey(key[:0], f.Thing, c)
		if c.Data == nil {
			must(batch.Delete(key, nil))
			continue
		}
		must(batch.Set(key, c.Data, nil))
	}
	for _, info := range f.Infos {
		key = appendSeriesKey(key[:0], f.Thing, info.Series)
		must(batch.Set(key, info.Data, nil))
	}
	if batch.Empty() {
		return nil
	}
	return s.applyUnsynced(batch, "fold telemetry")
}

// cutBlock takes the rows up to a number from the block that has more.
func (s *Store) cutBlock(batch *pebble.Batch, thing twin.ThingName, through store.RowNumber) error {
	return s.iterate(appendRowKey(nil, thing, through+1), afterRows(thing), func(iter *pebble.Iterator) error {
		if !iter.First() {
			return nil
		}
		block, err := blockAt(iter)
		if err != nil || block.first > through {
			return err
		}
		for block.first <= through {
			if _, ok := block.next(); !ok || block.count == 0 {
				return errDamaged(fmt.Sprintf("telemetry rows %x", iter.Key()))
			}
		}
		must(batch.Set(iter.Key(), appendBlock(nil, block.count, block.f.b), nil))
		return nil
	})
}

// blockAt parses the block at an iterator, whose memory it is.
func blockAt(iter *pebble.Iterator) (rowBlock, error) {
	_, last, valid := parseRowKey(iter.Key())
	value, err := iter.ValueAndErr()
	if err != nil {
		return rowBlock{}, errRead(err)
	}
	block, ok := parseBlock(value, last)
	if !valid || !ok {
		return block, errDamaged(fmt.Sprintf("telemetry rows %x", iter.Key()))
	}
	return block, nil
}

func (s *Store) applyUnsynced(batch *pebble.Batch, what string) error {
	if err := s.db.Apply(batch, pebble.NoSync); err != nil {
		s.fence.trip(fmt.Errorf("%s: %w", what, err))
		return s.fence.fault()
	}
	_ = batch.Close() // an error here would be about its memory
	return nil
}

// Rows implements [store.SampleReader].
func (s *Store) Rows(ctx context.Context, thing twin.ThingName, after store.RowNumber, limit int) ([]store.SampleRow, error) {
	if err := store.CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	if after == math.MaxUint64 {
		return nil, nil
	}
	var rows []store.SampleRow
	err := s.iterate(appendRowKey(nil, thing, after+1), afterRows(thing), func(iter *pebble.Iterator) error {
		for ok := iter.First(); ok && len(rows) < limit; ok = iter.Next() {
			block, err := blockAt(iter)
			if err != nil {
				return err
			}
			block.f.b = bytes.Clone(block.f.b)
			for block.count > 0 && len(rows) < limit {
				r, valid := block.next()
				if !valid {
					return errDamaged(fmt.Sprintf("telemetry rows %x", iter.Key()))
				}
				if r.Thing = thing; r.Number > after {
					rows = append(rows, r)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read telemetry of %s: %w", thing, err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return rows, s.waitRows(ctx, rows[len(rows)-1].Number)
}

// RowThings implements [store.SampleReader].
func (s *Store) RowThings(ctx context.Context, after twin.ThingName, limit int) (things []twin.ThingName, err error) {
	if err := store.CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	lower := []byte{keyRow}
	if after != "" {
		lower = afterRows(after)
	}
	err = s.iterate(lower, []byte{keyRow + 1}, func(iter *pebble.Iterator) error {
		for ok := iter.First(); ok && len(things) < limit; {
			thing, _, valid := parseRowKey(iter.Key())
			if !valid {
				return errDamaged(fmt.Sprintf("telemetry row %x", iter.Key()))
			}
			things = append(things, thing)
			ok = iter.SeekGE(afterRows(thing))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list things with telemetry: %w", err)
	}
	return things, nil
}

// Columns implements [store.SampleReader]. The keys are by day first: one seek a day.
func (s *Store) Columns(ctx context.Context, r store.ColumnRange) (columns []store.Column, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	r.From = max(r.From, 0)
	r.To = min(r.To, math.MaxUint32*dayMillis) // as far as keys go
	if r.To <= r.From {
		return nil, nil
	}
	upper := after(appendColumnDay(nil, r.Class, (r.To - 1).Day()))
	err = s.iterate(appendColumnDay(nil, r.Class, r.From.Day()), upper, func(iter *pebble.Iterator) error {
		c := columnCollector{ColumnRange: r}
		err := c.run(iter)
		columns = c.columns
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read telemetry of %s: %w", r.Thing, err)
	}
	return columns, nil
}

type columnCollector struct {
	store.ColumnRange
	columns []store.Column
	prefix  []byte
}

func (c *columnCollector) run(iter *pebble.Iterator) error {
	for ok := iter.First(); ok; {
		day, valid := columnDay(iter.Key())
		if !valid {
			return errDamaged(fmt.Sprintf("key %x", iter.Key()))
		}
		c.prefix = appendColumnPrefix(c.prefix[:0], c.Class, day, c.Thing, c.Series, c.Level)
		for ok = iter.SeekGE(c.prefix); ok && bytes.HasPrefix(iter.Key(), c.prefix); ok = iter.Next() {
			if err := c.take(iter, day); err != nil {
				return err
			}
		}
		if !ok {
			break
		}
		if next, valid := columnDay(iter.Key()); valid && next == day {
			ok = day < math.MaxUint32 && iter.SeekGE(appendColumnDay(nil, c.Class, day+1))
		}
	}
	return nil
}

func (c *columnCollector) take(iter *pebble.Iterator, day uint32) error {
	ms, rest, ok := ordered(iter.Key()[len(c.prefix):])
	if !ok || len(rest) != 0 || ms >= dayMillis {
		return errDamaged(fmt.Sprintf("key %x", iter.Key()))
	}
	start := twin.Time(int64(day)*dayMillis + int64(ms))
	if start < c.From || start >= c.To {
		return nil
	}
	value, err := iter.ValueAndErr()
	if err != nil {
		return errRead(err)
	}
	c.columns = append(c.columns, store.Column{
		Class: c.Class, Level: c.Level, Series: c.Series, Start: start, Data: append([]byte{}, value...),
	})
	return nil
}

// SeriesOf implements [store.SampleReader].
func (s *Store) SeriesOf(ctx context.Context, thing twin.ThingName) (infos []store.SeriesInfo, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	prefix := appendName([]byte{keySeries}, thing)
	err = s.iterate(prefix, after(prefix), func(iter *pebble.Iterator) error {
		for ok := iter.First(); ok; ok = iter.Next() {
			metric, rest, valid := name(iter.Key()[len(prefix):])
			if !valid || len(rest) != 1 {
				return errDamaged(fmt.Sprintf("key %x", iter.Key()))
			}
			value, err := iter.ValueAndErr()
			if err != nil {
				return errRead(err)
			}
			infos = append(infos, store.SeriesInfo{
				Series: store.Series{Metric: twin.MetricName(metric), Type: twin.ValueType(rest[0])},
				Data:   append([]byte{}, value...),
			})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list series of %s: %w", thing, err)
	}
	return infos, nil
}
