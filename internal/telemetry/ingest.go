package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Options tune a Telemetry; the zero value works, but for Now.
type Options struct {
	Now           func() time.Time // the clock; nil is an error
	QueueRowsMax  int              // rows waiting for the store; 65536
	QueueBytesMax int              // of their values; 64 MiB
	GroupRowsMax  int              // rows in one write; 8192
	FoldRows      int              // so many rows of a thing are folded; 4096
	FoldAge       time.Duration    // rows that have waited so long are, too; 2 h
	FoldEvery     time.Duration    // how often that is looked for; 1 min
}

func (o Options) withDefaults() (Options, error) {
	if o.Now == nil {
		return o, errors.New("telemetry options: Now is not set")
	}
	setDefault(&o.QueueRowsMax, 64<<10)
	setDefault(&o.QueueBytesMax, 64<<20)
	setDefault(&o.GroupRowsMax, 8<<10)
	setDefault(&o.FoldRows, 4<<10)
	setDefault(&o.FoldAge, 2*time.Hour)
	setDefault(&o.FoldEvery, time.Minute)
	return o, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Telemetry takes and gives samples. Its methods may be called by several goroutines.
type Telemetry struct {
	log   *slog.Logger
	store store.Samples
	opts  Options

	locks   *locks
	pending pending
	folding sync.Mutex // held by the one fold that runs
	stop    context.CancelFunc
	trimmed map[trimKey]int

	ready chan struct{} // holds a token when there may be something to write
	mu    sync.Mutex
	queue []batch
	rows  int // in the queue
	bytes int
	ended bool

	running sync.WaitGroup
	written chan struct{} // closed when the writer has ended
}

// batch is one call of Ingest.
type batch struct {
	rows    []store.SampleRow
	durable bool
	done    func(error)
}

// Open starts a Telemetry on a store. Close it before the store.
func Open(log *slog.Logger, s store.Samples, opts Options) (*Telemetry, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	t := &Telemetry{
		log: log, store: s, opts: opts,
		ready: make(chan struct{}, 1), written: make(chan struct{}), locks: newLocks(),
		pending: pending{things: make(map[twin.ThingName]*waiting), wake: make(chan struct{}, 1)},
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.stop = cancel
	if err := t.findPending(ctx); err != nil {
		cancel()
		return nil, fmt.Errorf("look for telemetry that is not folded: %w", err)
	}
	t.running.Go(t.write)
	t.running.Go(func() { t.foldWhenDue(ctx) })
	return t, nil
}

// Close writes what is queued, gives up a fold that runs, and returns. It may be called
// twice.
func (t *Telemetry) Close() error {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.wakeWriter()
	<-t.written
	t.stop()
	t.running.Wait()
	return nil
}

var (
	errQueueFull = &twin.Error{
		Kind: twin.KindFull, Message: "Too much telemetry is waiting",
		Hint: "send more slowly",
	}
	errStopping = twin.NewError(twin.KindUnavailable, "The server is stopping")
)

// Ingest queues rows, in order. With durable set done is called when they are synced,
// by another goroutine; else before the return. It never blocks: a full queue is an
// error of kind KindFull and done is not called. The rows may be used again after the
// return.
func (t *Telemetry) Ingest(rows []twin.Row, durable bool, done func(error)) error {
	b := batch{rows: make([]store.SampleRow, len(rows)), durable: durable, done: done}
	values := make([]byte, 0, sizeOf(rows))
	for i := range rows {
		r := &rows[i]
		from := len(values)
		values = r.AppendValues(values)
		b.rows[i] = store.SampleRow{Thing: r.Thing, Time: r.Time, Arrival: r.Arrival, Values: values[from:len(values):len(values)]}
	}
	if err := t.put(b, len(values)); err != nil {
		return err
	}
	if !durable {
		done(nil)
	}
	return nil
}

// sizeOf is about how many bytes the values of rows take.
func sizeOf(rows []twin.Row) int {
	n := 0
	for i := range rows {
		for j := range rows[i].Values {
			m := &rows[i].Values[j]
			n += len(m.Metric) + len(m.Value.Text) + 12
		}
	}
	return n
}

func (t *Telemetry) put(b batch, bytes int) error {
	t.mu.Lock()
	switch {
	case t.ended:
		t.mu.Unlock()
		return errStopping
	case t.rows > 0 && (t.rows+len(b.rows) > t.opts.QueueRowsMax || t.bytes+bytes > t.opts.QueueBytesMax):
		t.mu.Unlock()
		return errQueueFull
	}
	t.queue = append(t.queue, b)
	t.rows += len(b.rows)
	t.bytes += bytes
	t.mu.Unlock()
	t.wakeWriter()
	return nil
}

func (t *Telemetry) wakeWriter() {
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// write appends what has queued to the store, a group at a time: the next one gathers
// while the last one is synced.
func (t *Telemetry) write() {
	defer close(t.written)
	var g group
	for {
		<-t.ready
		for t.take(&g) {
			// It is not ended by Close: what is queued is written.
			err := t.store.AppendRows(context.Background(), g.rows, g.durable)
			if err == nil {
				t.pending.note(g.rows, twin.TimeOf(t.opts.Now()), t.opts.FoldRows)
			}
			g.answer(err, t.log)
		}
		t.mu.Lock()
		ended := t.ended && len(t.queue) == 0
		t.mu.Unlock()
		if ended {
			return
		}
	}
}

// group is what is written together.
type group struct {
	batches []batch
	rows    []store.SampleRow
	durable bool
}

// take moves batches from the queue to an empty group; false if there are none.
func (t *Telemetry) take(g *group) bool {
	clear(g.rows)
	clear(g.batches)
	g.rows, g.batches, g.durable = g.rows[:0], g.batches[:0], false
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for ; n < len(t.queue) && (n == 0 || len(g.rows)+len(t.queue[n].rows) <= t.opts.GroupRowsMax); n++ {
		b := t.queue[n]
		g.batches = append(g.batches, b)
		g.rows = append(g.rows, b.rows...)
		g.durable = g.durable || b.durable
		t.rows -= len(b.rows)
		for i := range b.rows {
			t.bytes -= len(b.rows[i].Values)
		}
	}
	rest := copy(t.queue, t.queue[n:])
	clear(t.queue[rest:])
	t.queue = t.queue[:rest]
	return n > 0
}

// answer tells who waits. Rows that nobody waits for were not promised to anybody,
// but losing them is said.
func (g *group) answer(err error, log *slog.Logger) {
	lost := 0
	for _, b := range g.batches {
		switch {
		case b.durable:
			b.done(err)
		case err != nil:
			lost += len(b.rows)
		}
	}
	if lost > 0 {
		log.Error("telemetry is lost", "rows", lost, "error", err)
	}
}
