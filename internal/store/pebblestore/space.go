package pebblestore

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// space watches the free disk, so that the store becomes read-only before a write
// can fail: a log that cannot be written would fence it.
type space struct {
	opts Options
	dir  string
	now  atomic.Pointer[store.Space]
}

func newSpace(opts Options, dir string) *space {
	p := &space{opts: opts, dir: dir}
	p.now.Store(&store.Space{})
	return p
}

func (p *space) load() store.Space { return *p.now.Load() }

// check refuses commits below the low-water mark.
func (p *space) check() error {
	now := p.now.Load()
	if !now.ReadOnly {
		return nil
	}
	return &twin.Error{
		Kind: twin.KindFull,
		Message: fmt.Sprintf("the disk is nearly full: %d MiB are free, %d MiB are needed to go on writing",
			now.FreeBytes>>20, p.opts.LowWaterBytes>>20),
		Hint: "free some space on the disk of the data folder; writing then goes on by itself",
	}
}

// look measures. The store leaves the read-only state only when an eighth more than
// the mark is free, so that it does not flutter.
func (p *space) look(used uint64) {
	old := p.now.Load()
	free, err := p.opts.FreeSpace()
	if err != nil {
		// Not every file system can tell. Then the first failed write fences the store.
		p.now.Store(&store.Space{UsedBytes: used})
		return
	}
	mark := p.opts.LowWaterBytes
	if old.ReadOnly {
		mark += mark / 8
	}
	now := &store.Space{FreeBytes: free, UsedBytes: used, ReadOnly: free < mark}
	p.now.Store(now)
	switch {
	case now.ReadOnly && !old.ReadOnly:
		p.opts.Log.Warn("disk is nearly full, the store is read-only", "free_bytes", free, "needed_bytes", mark)
	case old.ReadOnly && !now.ReadOnly:
		p.opts.Log.Info("there is room on the disk again, the store can be written", "free_bytes", free)
	}
}

// tend looks at the free space and renews the head file, until Close.
func (s *Store) tend() {
	defer close(s.tended)
	tick := time.NewTicker(s.opts.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.quit:
			return
		case <-s.fence.ch:
			return
		}
		s.space.look(s.usedBytes())
		if s.durable.load() != s.headAt {
			// A failure fences the store and parks this goroutine.
			_ = s.writeHead()
		}
	}
}

// usedBytes adds up the files. It asks the file system and not Pebble, whose locks
// may be held for ever once the store is fenced.
func (s *Store) usedBytes() (sum uint64) {
	dir := s.fs.PathJoin(s.dir, engineDir)
	names, err := s.fs.List(dir)
	if err != nil {
		return s.space.load().UsedBytes
	}
	for _, n := range names {
		// A file may have been removed since.
		if info, err := s.fs.Stat(s.fs.PathJoin(dir, n)); err == nil {
			sum += uint64(info.Size())
		}
	}
	return sum
}

// BytesWritten returns the bytes written to files since Open: the log of the commits
// and what was sorted and merged since. It is 0 when the store is closed or fenced.
func (s *Store) BytesWritten() uint64 {
	if s.enter(context.Background()) != nil {
		return 0
	}
	defer s.exit()
	m := s.db.Metrics()
	sum := m.WAL.BytesWritten
	for i := range m.Levels {
		sum += m.Levels[i].TableBytesFlushed + m.Levels[i].TableBytesCompacted
	}
	return sum
}
