package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Engine is the write path and the durable reads of records.
type Engine interface {
	// Append queues an entry and never blocks; see [twin.Entry]. Unless it returns an
	// error, done is called exactly once, when the outcome is known.
	Append(en twin.Entry, done func(twin.EntryResult)) error
	// Reject notes that a request about a thing was refused. It never blocks.
	Reject(key twin.ShadowKey, origin twin.Origin, token string, cause error)
	WriteRecords(orderKey string, ws []twin.RecordWrite, done func(error)) error
	Records(ctx context.Context, kind twin.RecordKind, prefix, after string, limit int) ([]twin.Record, error)
}

// Sender sends a command to its device if that is connected and subscribed, and
// returns how many clients have it now or had it before, without an acknowledgement, and
// whether one is there that has no room. still says whether it is to be sent still, whenever that may be; taken is called when
// a client has acknowledged it. Neither blocks, and neither calls the sender.
type Sender interface {
	SendCommand(c *twin.Command, still func() bool, taken func(client string)) (n int, full bool)
}

// Options tune a Service; the zero value works.
type Options struct {
	Now        func() time.Time // the clock; nil is an error
	Speed      float64          // of Now against the clock of the machine; 1
	PerThing   int              // commands of one thing that have not ended; 1,000
	OpenMax    int              // of all things; 100,000
	OpenBytes  int64            // memory of their parameters and results; 256 MiB
	StepsMax   int              // steps of one command that wait for each other; 32
	PastKept   time.Duration    // how long an ended command is kept; 30 days
	SweepEvery time.Duration    // between looks for those that are older; 1 h
}

func (o Options) withDefaults() (Options, error) {
	if o.Now == nil {
		return o, errors.New("command options: Now is not set")
	}
	setDefault(&o.PerThing, 1000)
	setDefault(&o.OpenMax, 100_000)
	setDefault(&o.OpenBytes, 256<<20)
	setDefault(&o.StepsMax, 32)
	setDefault(&o.PastKept, 30*24*time.Hour)
	setDefault(&o.SweepEvery, time.Hour)
	return o, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Limits that are no options.
const (
	loadPage    = 500
	lookupsMax  = 1024 // answers to commands that are not open, waiting to be looked up
	lookers     = 2
	retryAfter  = 200 * time.Millisecond // when a step of our own found a full queue
	entryBytes  = 512                    // of an open command beside its parameters and result
	attemptsMax = 8                      // of reading back after a commit of unknown outcome
)

// Service leads commands through their life. Make one with [Open], run it with
// [Service.Run].
type Service struct {
	log    *slog.Logger
	engine Engine
	opts   Options

	sender  atomic.Pointer[senderBox]
	lookups chan func(context.Context)
	waits   chan struct{} // closed by EndWaits
	wake    chan struct{} // holds a token when there is something to send, to expire or to try again

	endWaits sync.Once

	mu     sync.Mutex // a leaf: nothing is called under it
	things map[twin.ThingName]*thing
	open   int
	bytes  int64
	times  timeHeap
	dirty  []*thing // to whom something may be sent
	again  []retry
	closed bool // Run has ended
}

type senderBox struct{ Sender }

// thing is a thing with open commands.
type thing struct {
	name   twin.ThingName
	byID   map[twin.CommandID]*entry
	queue  []*entry // those that are durable, in order
	next   twin.Seq // commands from this number on have not been sent to whom is there now
	visits uint64   // how often somebody came; next is then 0
	dirty  bool
	// crowded: its client has no room, which is tried again.
	crowded bool
}

// entry is an open command.
type entry struct {
	cmd     twin.Command // as it is durable; its number is 0 as long as nothing is
	thing   *thing
	busy    bool // a step is with the engine
	stalled bool // see retry
	steps   []*step
	changed chan struct{} // closed when cmd has changed; nil: nobody waits
	place   int           // in the heap, from 1; 0: not in it
	bytes   int64

	taken atomic.Bool // acknowledged: not to be sent again, though that may not be durable yet
	over  atomic.Bool // cancelled, expired or ended, or about to be: not to be sent any more
}

// step is a step of a command that waits for its turn.
type step struct {
	twin.CommandStep
	origin twin.Origin
	done   func(twin.Command, error) // the command after it, or as it is; nil: nobody waits
	own    bool                      // ours: it is tried again when the queue is full
}

// retry is a command that stalls because a step of ours was not taken, or a thing whose
// client had no room.
type retry struct {
	at time.Time
	e  *entry
	t  *thing
}

// Open makes a service and reads the commands that have not ended. Nothing runs before
// [Service.Run].
func Open(log *slog.Logger, e Engine, opts Options) (*Service, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{
		log: log, engine: e, opts: opts, things: make(map[twin.ThingName]*thing),
		lookups: make(chan func(context.Context), lookupsMax), wake: make(chan struct{}, 1), waits: make(chan struct{}),
	}
	if err := s.load(context.Background()); err != nil {
		return nil, err
	}
	return s, nil
}

// Connect gives the service what it sends by. Before, nothing is sent.
func (s *Service) Connect(to Sender) {
	s.sender.Store(&senderBox{to})
	s.ArrivedAll()
}

func (s *Service) load(ctx context.Context) error {
	for after := ""; ; {
		page, err := s.engine.Records(ctx, twin.RecordCommand, "", after, loadPage)
		if err != nil {
			return fmt.Errorf("read commands: %w", err)
		}
		for _, r := range page {
			c, err := twin.DecodeCommand(r.Value)
			if err != nil {
				return fmt.Errorf("read command %q: %w", r.Key, err)
			}
			s.mu.Lock()
			t := s.thingLocked(c.Thing)
			e := &entry{thing: t, cmd: c}
			t.byID[c.ID] = e
			s.enterLocked(e)
			s.mu.Unlock()
			after = r.Key
		}
		if len(page) < loadPage {
			return nil
		}
	}
}

func (s *Service) thingLocked(name twin.ThingName) *thing {
	t := s.things[name]
	if t == nil {
		t = &thing{name: name, byID: make(map[twin.CommandID]*entry)}
		s.things[name] = t
	}
	return t
}

// enterLocked takes a durable command among those that are open.
func (s *Service) enterLocked(e *entry) {
	t := e.thing
	at, _ := t.find(e.cmd.Number)
	t.queue = slices.Insert(t.queue, at, e)
	s.open++
	s.weighLocked(e)
	s.times.add(e)
	s.dirtyLocked(t)
}

// find returns the place of a command in the queue, or where it would be.
func (t *thing) find(number twin.Seq) (int, bool) {
	return slices.BinarySearchFunc(t.queue, number, func(e *entry, n twin.Seq) int { return cmp.Compare(e.cmd.Number, n) })
}

// weighLocked keeps account of the memory of a command.
func (s *Service) weighLocked(e *entry) {
	n := entryBytes + int64(len(e.cmd.Parameters)+len(e.cmd.Result)+len(e.cmd.Message))
	s.bytes += n - e.bytes
	e.bytes = n
}

// leaveLocked takes a command that has ended, or was never made, out again.
func (s *Service) leaveLocked(e *entry) {
	t := e.thing
	if t.byID[e.cmd.ID] == e {
		delete(t.byID, e.cmd.ID)
	}
	if at, found := t.find(e.cmd.Number); found {
		t.queue = slices.Delete(t.queue, at, at+1)
		s.open--
	}
	s.times.remove(e)
	s.bytes -= e.bytes
	e.bytes = 0
	if len(t.byID) == 0 && s.things[t.name] == t {
		delete(s.things, t.name)
	}
}

func (s *Service) dirtyLocked(t *thing) {
	if !t.dirty {
		t.dirty = true
		s.dirty = append(s.dirty, t)
	}
	s.wakeUp()
}

func (s *Service) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Service) now() twin.Time { return twin.TimeOf(s.opts.Now()) }
