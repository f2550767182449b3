package predict

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// Engine writes what comes of the past.
type Engine interface {
	Append(en twin.Entry, done func(twin.EntryResult)) error
	WriteRecords(orderKey string, ws []twin.RecordWrite, done func(error)) error
	Records(ctx context.Context, kind twin.RecordKind, prefix, after string, limit int) ([]twin.Record, error)
}

// Options say what a service reads and how much of the machine it takes.
type Options struct {
	Samples *telemetry.Reader
	History *history.Reader
	Now     func() twin.Time
	// Rules of a thing, from its model. nil: there are none.
	Rules func(twin.ThingName) Rules
	// Every is how often things of which something is new are looked at; 5 s.
	Every time.Duration
	// CacheBytesMax bounds the states in memory; 32 MiB.
	CacheBytesMax int64
	// KeepEvery is how often a state that has changed is written; 5 min. After a crash what
	// came since is read again.
	KeepEvery time.Duration
	// Predicted is told of what is said of a thing, after it was looked at. It must not wait.
	Predicted func(twin.ThingName, *Report)
}

// restRatio is how long the service rests for each second of work: at most a fifth of one core
// goes to it.
const restRatio = 4

// retryAfter is when what failed is tried again.
const retryAfter = time.Second

// Service watches things. It is safe for concurrent use.
type Service struct {
	log    *slog.Logger
	engine Engine
	opts   Options

	mu     sync.Mutex
	things map[twin.ThingName]*thing
	bytes  int64
	clock  uint64
	due    map[twin.ThingName]Predicted // with a date

	waiting sync.Mutex
	dirty   map[twin.ThingName]struct{}
}

// New returns a service. Nothing is read before [Service.Run] or [Service.Look].
func New(log *slog.Logger, e Engine, opts Options) (*Service, error) {
	if opts.Now == nil || opts.Samples == nil || opts.History == nil {
		return nil, errors.New("predict options: Now, Samples and History are needed")
	}
	if opts.Every == 0 {
		opts.Every = 5 * time.Second
	}
	if opts.CacheBytesMax == 0 {
		opts.CacheBytesMax = 32 << 20
	}
	if opts.KeepEvery == 0 {
		opts.KeepEvery = 5 * time.Minute
	}
	return &Service{log: log, engine: e, opts: opts, things: map[twin.ThingName]*thing{}, due: map[twin.ThingName]Predicted{}, dirty: map[twin.ThingName]struct{}{}}, nil
}

// Changed notes that something of a thing is new. It does not wait.
func (s *Service) Changed(name twin.ThingName) {
	s.waiting.Lock()
	s.dirty[name] = struct{}{}
	s.waiting.Unlock()
}

// ChangedAll is Changed of several.
func (s *Service) ChangedAll(names []twin.ThingName) {
	s.waiting.Lock()
	for _, name := range names {
		s.dirty[name] = struct{}{}
	}
	s.waiting.Unlock()
}

func (s *Service) clean(name twin.ThingName) {
	s.waiting.Lock()
	delete(s.dirty, name)
	s.waiting.Unlock()
}

// Run looks at what changes until ctx ends, and writes what it has learned then.
func (s *Service) Run(ctx context.Context) {
	for pause := s.opts.Every; ; {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			last, stop := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Every)
			s.keepAll(last, 0)
			stop()
			return
		case <-timer.C:
		}
		pause = max(s.opts.Every, restRatio*s.round(ctx))
	}
}

// restAfter is after how much work a round rests.
const restAfter = 100 * time.Millisecond

// round looks at all things of which something is new, and returns for how long it has worked
// since it rested.
func (s *Service) round(ctx context.Context) (busy time.Duration) {
	s.waiting.Lock()
	names := make([]twin.ThingName, 0, len(s.dirty))
	for name := range s.dirty {
		names = append(names, name)
	}
	s.waiting.Unlock()
	slices.Sort(names)
	for _, name := range names {
		if ctx.Err() != nil {
			return 0
		}
		begun := time.Now()
		if err := s.look(ctx, name); err != nil && ctx.Err() == nil {
			s.log.Error("measurements are not watched", slog.String("thing", string(name)), slog.String("error", err.Error()))
			s.Changed(name)
		}
		if busy += time.Since(begun); busy > restAfter {
			rest(ctx, restRatio*busy)
			busy = 0
		}
	}
	begun := time.Now()
	s.keepAll(ctx, s.opts.KeepEvery)
	return busy + time.Since(begun)
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// look brings the state of a thing up to date.
func (s *Service) look(ctx context.Context, name twin.ThingName) error {
	_, err := s.Look(ctx, name)
	return err
}

// with lends the state of a thing.
func (s *Service) with(ctx context.Context, name twin.ThingName, f func(*thing) error) error {
	t := s.lock(name)
	before := t.bytes
	if t.broken {
		if err := s.load(ctx, t); err != nil {
			t.mu.Unlock()
			return err
		}
	}
	err := f(t)
	if kind := twin.Kind(err); err != nil && kind != twin.KindNotFound && kind != twin.KindInvalid {
		t.broken = true // what it is then is read again
	}
	grown := t.bytes - before
	t.mu.Unlock()
	s.mu.Lock()
	s.bytes += grown
	over := s.bytes > s.opts.CacheBytesMax
	s.mu.Unlock()
	if over {
		s.evict(ctx)
	}
	return err
}

// lock returns the state of a thing that is in memory, with t.mu held: never one that has left it
// meanwhile, so that there are no two of one thing.
func (s *Service) lock(name twin.ThingName) *thing {
	for {
		t := s.find(name)
		t.mu.Lock()
		if s.holds(t) {
			return t
		}
		t.mu.Unlock()
	}
}

// holds reports whether a state is the one of its thing, and has not left the memory.
func (s *Service) holds(t *thing) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.things[t.name] == t
}

// find returns the state of a thing; if it was not in memory it is still to be read.
func (s *Service) find(name twin.ThingName) *thing {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.things[name]
	if t == nil {
		t = newThing(name)
		t.broken = true
		s.things[name] = t
		s.bytes += t.bytes
	}
	s.clock++
	t.used = s.clock
	return t
}

// load reads a state from the store. One that cannot be read is learned again from the start.
func (s *Service) load(ctx context.Context, t *thing) error {
	page, err := s.engine.Records(ctx, twin.RecordPredictor, string(t.name), "", 1)
	if err != nil {
		return fmt.Errorf("read what is learned of %s: %w", t.name, err)
	}
	fresh := newThing(t.name)
	t.kept, t.several, t.index, t.bytes, t.broken, t.changed = fresh.kept, fresh.several, fresh.index, fresh.bytes, false, false
	if len(page) == 0 || page[0].Key != string(t.name) {
		return nil
	}
	if err := t.decode(page[0].Value); err != nil {
		s.log.Error("what is learned of a thing cannot be read, it is learned again", slog.String("thing", string(t.name)), slog.String("error", err.Error()))
		t.kept, t.several, t.index, t.bytes = fresh.kept, fresh.several, fresh.index, fresh.bytes
	}
	t.written = s.opts.Now()
	return nil
}

// evict writes and drops the states that were used longest ago, until there is room again.
func (s *Service) evict(ctx context.Context) {
	type candidate struct {
		*thing
		used uint64
	}
	s.mu.Lock()
	list := make([]candidate, 0, len(s.things))
	for _, t := range s.things {
		list = append(list, candidate{t, t.used})
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b candidate) int { return cmp.Compare(a.used, b.used) })
	for _, c := range list {
		t := c.thing
		s.mu.Lock()
		enough := s.bytes <= s.opts.CacheBytesMax*3/4
		s.mu.Unlock()
		if enough {
			return
		}
		if !t.mu.TryLock() {
			continue // somebody uses it
		}
		if !s.holds(t) {
			t.mu.Unlock() // somebody else dropped it, and there may be another in its place
			continue
		}
		if err := s.keep(ctx, t); err == nil {
			s.mu.Lock()
			delete(s.things, t.name)
			s.bytes -= t.bytes
			s.mu.Unlock()
		}
		t.mu.Unlock()
	}
}

// keepAll writes the states that have changed and were last written so long ago.
func (s *Service) keepAll(ctx context.Context, age time.Duration) {
	s.mu.Lock()
	list := make([]*thing, 0, len(s.things))
	for _, t := range s.things {
		list = append(list, t)
	}
	s.mu.Unlock()
	for _, t := range list {
		if ctx.Err() != nil {
			return
		}
		t.mu.Lock()
		var err error
		if t.changed && !t.broken && s.opts.Now()-t.written >= twin.Time(age/time.Millisecond) {
			err = s.keep(ctx, t)
		}
		t.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			s.log.Error("what is learned of a thing is not written", slog.String("thing", string(t.name)), slog.String("error", err.Error()))
		}
	}
}

// keep writes a state. t.mu is held.
func (s *Service) keep(ctx context.Context, t *thing) error {
	if !t.changed || t.broken {
		return nil
	}
	value, err := t.encode()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	w := twin.RecordWrite{Kind: twin.RecordPredictor, Key: string(t.name), Value: value}
	err = s.full(ctx, func() error {
		return s.engine.WriteRecords(string(t.name), []twin.RecordWrite{w}, func(err error) { done <- err })
	})
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		if err == nil {
			t.changed, t.written = false, s.opts.Now()
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tell writes an event of an episode together with the state that it comes of.
func (s *Service) tell(ctx context.Context, t *thing, x told) error {
	ev := x.event(t.name)
	return s.append(ctx, t, &ev)
}

// append writes an event and the state in one commit. t.mu is held.
func (s *Service) append(ctx context.Context, t *thing, ev *twin.Event) error {
	value, err := t.encode()
	if err != nil {
		return err
	}
	ws := []twin.RecordWrite{{Kind: twin.RecordPredictor, Key: string(t.name), Value: value}}
	done := make(chan error, 1)
	en := twin.Entry{Event: *ev, Records: func(*twin.Event) ([]twin.RecordWrite, error) { return ws, nil }}
	err = s.full(ctx, func() error { return s.engine.Append(en, func(r twin.EntryResult) { done <- r.Err }) })
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		if err == nil {
			t.changed, t.written = false, s.opts.Now()
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// full waits while the engine has no room.
func (s *Service) full(ctx context.Context, f func() error) error {
	for {
		err := f()
		if twin.Kind(err) != twin.KindFull || ctx.Err() != nil {
			return err
		}
		rest(ctx, retryAfter/20)
	}
}
