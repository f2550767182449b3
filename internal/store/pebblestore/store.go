package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Store is a [store.Store] in a folder of this machine.
type Store struct {
	opts  Options
	dir   string
	fs    *fencedFS
	db    *pebble.DB
	lock  io.Closer
	fence *fence
	space *space
	// backingUp is held while a backup is written.
	backingUp sync.Mutex

	build      builder
	days       days
	samples    samples
	expired    expired
	applyQueue chan *commit
	syncQueue  chan *commit
	durable    durable
	headAt     store.Pos // in the head file
	// deletes holds, per kind of record, the position of the newest delete: that a
	// record is absent is durable from there on.
	deletes [256]atomic.Uint64

	quit    chan struct{} // closed by Close: no new commits
	stopped chan struct{} // closed when no stage has a commit any more
	tended  chan struct{} // closed when the housekeeping has ended

	closing sync.Once
	closed  error

	mu      sync.Mutex
	readers int
	idle    chan struct{} // set by Close, closed when readers is zero
}

var _ store.Store = (*Store)(nil)

// Open opens the store in a folder, and makes it if there is none. The folder
// belongs to one process at a time. What an operator can do about a failure is in
// the Hint of the [twin.Error].
func Open(dir string, opts Options) (*Store, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	s := &Store{
		opts: opts.filled(dir), dir: dir, fence: newFence(),
		applyQueue: make(chan *commit, queueLenMax),
		syncQueue:  make(chan *commit, queueLenMax),
		quit:       make(chan struct{}),
		stopped:    make(chan struct{}),
		tended:     make(chan struct{}),
	}
	s.fs = &fencedFS{s.opts.FS, s.fence}
	s.space = newSpace(s.opts, dir)
	if err := s.lockDir(); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		// After an I/O error Pebble may still be at work; the lock stays.
		if !s.fence.tripped() {
			err = errors.Join(err, s.lock.Close())
		}
		return nil, err
	}
	go s.apply()
	go s.sync()
	go s.tend()
	return s, nil
}

// lockDir makes the folder and takes it for this process.
func (s *Store) lockDir() error {
	hint := "choose another data folder or give this one to the user that runs the server"
	if err := s.opts.FS.MkdirAll(s.dir, 0o750); err != nil {
		return &twin.Error{Message: "make data folder " + s.dir, Hint: hint, Err: err}
	}
	lock, err := s.opts.FS.Lock(s.opts.FS.PathJoin(s.dir, lockFile))
	var path *os.PathError
	switch {
	case err == nil:
		s.lock = lock
		return nil
	case errors.As(err, &path):
		return &twin.Error{Message: "write to data folder " + s.dir, Hint: hint, Err: err}
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EACCES), err.Error() == "lock held by current process":
		return &twin.Error{
			Message: "data folder " + s.dir + " is in use by another server",
			Hint:    "stop that server or choose another data folder", Err: err,
		}
	}
	return &twin.Error{Message: "lock data folder " + s.dir, Err: err}
}

// open reads what is on disk. On failure it leaves nothing open, but for what an I/O
// error has parked: from here on every goroutine that writes may be.
func (s *Store) open() error {
	recorded, fresh, err := s.openFolder()
	if err != nil {
		return err
	}
	if err := s.removeLeftovers(); err != nil {
		return err
	}
	s.fence.park.Store(true)
	result := make(chan error, 1)
	go func() { result <- s.openEngine(recorded, fresh) }()
	select {
	case err = <-result:
		if fault := s.fence.fault(); fault != nil {
			return fault
		}
		return err
	case <-s.fence.ch:
		return s.fence.fault()
	}
}

func (s *Store) openEngine(recorded store.Pos, fresh bool) (err error) {
	opts := s.opts.engine(s.fs, s.fence)
	opts.ErrorIfNotExists = !fresh
	folder := s.opts.FS.PathJoin(s.dir, engineDir)
	if s.db, err = pebble.Open(folder, opts); err != nil {
		return errLog(fmt.Errorf("open %s: %w", folder, err))
	}
	if err := s.recover(recorded); err != nil {
		return errors.Join(err, s.db.Close())
	}
	return s.writeHead()
}

func errLog(err error) error {
	return &twin.Error{
		Message: "log is damaged", Err: errFile(err),
		Hint: "acknowledged updates would be missing: restore the data folder from a backup",
	}
}

// recover sets the counters from the newest stored ones and the log after them,
// and compares the end of the log with the recorded head.
func (s *Store) recover(recorded store.Pos) error {
	c, err := s.readCounters()
	if err != nil {
		return err
	}
	if err := s.readExpired(); err != nil {
		return err
	}
	saved := c.pos
	c.pos = max(c.pos, s.expired.log) // the log begins there
	if err := s.readLogTail(&c); err != nil {
		return err
	}
	if c.pos < recorded {
		return errLog(fmt.Errorf("it ends at position %d, but position %d was durable", c.pos, recorded))
	}
	if err := s.readDays(c); err != nil {
		return err
	}
	if err := s.readRowCounter(); err != nil {
		return err
	}
	s.durable.pos = c.pos
	s.build = builder{
		db: s.db, deletes: &s.deletes, days: &s.days, count: c, saved: saved, heads: newHeads(),
		things:     make(map[twin.ThingName]lastOf),
		shadows:    make(map[twin.ShadowKey]int),
		records:    make(map[recordKey]recordState),
		conflicted: make(map[twin.ThingName]bool),
	}
	return nil
}

func (s *Store) readCounters() (counters, error) {
	value, closer, err := s.db.Get([]byte{keyCounter})
	if errors.Is(err, pebble.ErrNotFound) {
		return counters{}, nil
	}
	if err != nil {
		return counters{}, errLog(fmt.Errorf("read counters: %w", err))
	}
	defer closer.Close() //nolint:errcheck // it only gives memory back
	return parseCounters(value)
}

// readLogTail carries the counters on to the end of the log.
func (s *Store) readLogTail(c *counters) error {
	iter, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: appendLogKey(nil, c.day, c.pos+1),
		UpperBound: []byte{keyLog + 1},
	})
	if err != nil {
		return errLog(err)
	}
	defer iter.Close() //nolint:errcheck // its error is looked at below
	r := logReader{iter: iter}
	for ok := iter.First(); ok; ok = iter.Next() {
		if err := r.read(); err != nil {
			return errLog(err)
		}
		if r.first != c.pos+1 {
			return errLog(fmt.Errorf("it goes on with position %d after %d", r.first, c.pos))
		}
		c.day, c.pos = r.day, r.end()-1
	}
	if err := iter.Error(); err != nil {
		return errLog(err)
	}
	return nil
}

// enter counts a reader; exit must follow unless there is an error. A fenced store is
// not read either: a parked goroutine may hold the lock a reader comes to need.
func (s *Store) enter(ctx context.Context) error {
	if err := s.fence.fault(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errGaveUp(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != nil {
		return errClosed()
	}
	s.readers++
	return nil
}

func (s *Store) exit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers--
	if s.readers == 0 && s.idle != nil {
		close(s.idle)
	}
}

// Fenced implements [store.Store].
func (s *Store) Fenced() <-chan struct{} { return s.fence.ch }

// Fault implements [store.Store].
func (s *Store) Fault() error { return s.fence.fault() }

// Space implements [store.Store].
func (s *Store) Space() store.Space { return s.space.load() }

// Close implements [store.Store]. It commits what is queued, records the head and
// closes the files. Of a fenced store it leaves everything as it is, the lock too,
// for goroutines are parked in it: the process has to end.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closed = s.close() })
	return s.closed
}

func (s *Store) close() error {
	close(s.quit)
	for _, ended := range []chan struct{}{s.stopped, s.tended, s.refuseReaders()} {
		select {
		case <-ended:
		case <-s.fence.ch:
			return s.fence.fault()
		}
	}
	result := make(chan error, 1)
	go func() {
		result <- errors.Join(s.writeHead(), s.db.Close(), s.lock.Close())
	}()
	select {
	case err := <-result:
		return err
	case <-s.fence.ch:
		return s.fence.fault()
	}
}

// refuseReaders lets no reader in any more and returns a channel that is closed
// when the last has left.
func (s *Store) refuseReaders() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = make(chan struct{})
	if s.readers == 0 {
		close(s.idle)
	}
	return s.idle
}
