package pebblestore

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// logEntriesMax is how many positions one record of the log tells of at most; a
// larger commit has several. It bounds what a reader of one position reads.
const logEntriesMax = 64

// logEntry is what the log tells of a position: where in the history its event is.
type logEntry struct {
	mark  bool // records alone: it has no event
	class store.Class
	day   uint32 // of the history key; never after the day of the log key
	key   twin.ShadowKey
	seq   twin.Seq
}

// logGroup gathers the entries of consecutive positions for one record of the log.
// What is alike lies together, for it is written, and packed, by the column:
// classes and days as runs, seqs as differences, then the names.
type logGroup struct {
	day   uint32    // of the log
	first store.Pos // position of the first entry
	count int

	runs, seqs, names []byte
	run               uint64 // the code of the newest run
	runLen            uint64
	seq               twin.Seq // of the newest event
}

// The code of a run: 0 for marks; else 1 + class + 256 × how many days the event is
// behind the log.
func (e *logEntry) code(logDay uint32) uint64 {
	if e.mark {
		return 0
	}
	return 1 + uint64(e.class) + uint64(logDay-e.day)<<8
}

func (g *logGroup) reset(day uint32, first store.Pos) {
	*g = logGroup{day: day, first: first, runs: g.runs[:0], seqs: g.seqs[:0], names: g.names[:0]}
}

func (g *logGroup) add(e *logEntry) {
	if code := e.code(g.day); code != g.run || g.runLen == 0 {
		g.endRun()
		g.run = code
	}
	g.runLen++
	g.count++
	if e.mark {
		return
	}
	g.seqs = binary.AppendVarint(g.seqs, int64(e.seq-g.seq))
	g.seq = e.seq
	g.names = appendName(appendName(g.names, e.key.Thing), e.key.Shadow)
}

func (g *logGroup) endRun() {
	if g.runLen != 0 {
		g.runs = binary.AppendUvarint(binary.AppendUvarint(g.runs, g.run), g.runLen)
		g.runLen = 0
	}
}

// append appends the value of the record.
func (g *logGroup) append(dst []byte) []byte {
	g.endRun()
	dst = binary.AppendUvarint(dst, uint64(g.count))
	dst = append(dst, g.runs...)
	dst = append(dst, g.seqs...)
	return append(dst, g.names...)
}

// parseLogGroup reads what logGroup.append wrote, in the order of the positions.
func parseLogGroup(dst []logEntry, b []byte, logDay uint32) (entries []logEntry, ok bool) {
	f := fields{b: b}
	count := f.uvarint()
	if f.bad || count == 0 || count > logEntriesMax {
		return nil, false
	}
	entries = dst[:0]
	for uint64(len(entries)) < count {
		code, n := f.uvarint(), f.uvarint()
		back := (code - 1) >> 8
		if f.bad || n == 0 || n > count-uint64(len(entries)) || code != 0 && back > uint64(logDay) {
			return nil, false
		}
		e := logEntry{mark: code == 0}
		if code != 0 {
			e.class, e.day = store.Class(code-1), logDay-uint32(back)
		}
		for range n {
			entries = append(entries, e)
		}
	}
	var seq twin.Seq
	for i := range entries {
		if !entries[i].mark {
			seq += twin.Seq(f.varint())
			entries[i].seq = seq
		}
	}
	for i := range entries {
		if entries[i].mark {
			continue
		}
		entries[i].key = twin.ShadowKey{Thing: twin.ThingName(f.name()), Shadow: twin.ShadowName(f.name())}
	}
	return entries, !f.bad && len(f.b) == 0
}

// logReader goes through the log by position.
type logReader struct {
	iter    *pebble.Iterator
	entries []logEntry // of the record at hand
	first   store.Pos  // position of the first of them
	day     uint32
}

// seek goes to the record that tells of pos, or to the first one after it.
func (r *logReader) seek(day uint32, pos store.Pos) (ok bool, err error) {
	if r.iter.SeekLT(appendLogKey(nil, day, pos+1)) {
		if err := r.read(); err != nil {
			return false, err
		}
		if r.end() > pos {
			return true, nil
		}
		return r.next()
	}
	if !r.iter.First() {
		return false, errRead(r.iter.Error())
	}
	return true, r.read()
}

// next goes to the next record.
func (r *logReader) next() (ok bool, err error) {
	if !r.iter.Next() {
		return false, errRead(r.iter.Error())
	}
	return true, r.read()
}

// end is the position after the last one of the record.
func (r *logReader) end() store.Pos { return r.first + store.Pos(len(r.entries)) }

func (r *logReader) read() error {
	day, first, ok := parseLogKey(r.iter.Key())
	if !ok {
		return errDamaged(fmt.Sprintf("key %x", r.iter.Key()))
	}
	value, err := r.iter.ValueAndErr()
	if err != nil {
		return errRead(err)
	}
	entries, ok := parseLogGroup(r.entries, value, day)
	if !ok {
		return errDamaged(fmt.Sprintf("log at position %d", first))
	}
	r.day, r.first, r.entries = day, first, entries
	return nil
}

// Feed implements [store.Log]. It ends at the durable position and never waits.
func (s *Store) Feed(ctx context.Context, after store.Pos, limit int) ([]store.FeedEntry, error) {
	if err := store.CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	end := s.durable.load()
	if after >= end {
		return nil, nil
	}
	f := feedCollector{after: after, end: end, limit: limit, get: getter{db: s.db}, expired: &s.expired}
	defer f.get.close()
	err := s.iterate([]byte{keyLog}, []byte{keyLog + 1}, func(iter *pebble.Iterator) error {
		r := logReader{iter: iter}
		ok, err := r.seek(s.days.of(after+1), after+1)
		for ; ok && err == nil && !f.full; ok, err = r.next() {
			if err := f.take(&r); err != nil {
				return err
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the log after position %d: %w", after, err)
	}
	return f.entries, nil
}

type feedCollector struct {
	after, end store.Pos
	limit      int
	get        getter
	expired    *expired
	key        []byte
	entries    []store.FeedEntry
	full       bool // there is no need to go on
}

// take adds the events of the record at hand.
func (f *feedCollector) take(r *logReader) error {
	for i := range r.entries {
		e, pos := &r.entries[i], r.first+store.Pos(i)
		if f.full = pos > f.end || len(f.entries) >= f.limit; f.full {
			return nil
		}
		if e.mark || pos <= f.after {
			continue
		}
		f.key = appendHistoryKey(f.key[:0], e.class, e.day, e.key, e.seq)
		event, err := f.get.event(f.key)
		if event == nil && err == nil && !f.expired.gone(e.class, e.day) {
			err = errDamaged("event: it is in the log but not in the history")
		}
		if err != nil {
			return fmt.Errorf("at position %d: %w", pos, err)
		}
		if event == nil {
			continue // it has expired, and the log of the day it came in has not
		}
		f.entries = append(f.entries, store.FeedEntry{Pos: pos, Event: event})
	}
	return nil
}

// event reads the event at a key; nil if there is none.
func (g *getter) event(key []byte) (event []byte, err error) {
	_, err = g.get(key, func(value []byte) (err error) {
		event, err = eventAt(key, value)
		return err
	})
	return event, err
}

// Head implements [store.Log].
func (s *Store) Head(ctx context.Context) (store.Pos, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.exit()
	return s.durable.load(), nil
}
