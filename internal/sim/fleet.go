package sim

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twofold-iot/twofold/internal/clock"
	"github.com/twofold-iot/twofold/internal/wire"
	"github.com/twofold-iot/twofold/twin"
)

// FleetOptions say how devices reach the server.
type FleetOptions struct {
	Clock  *clock.Clock // nil: that of the machine
	Dial   func(ctx context.Context, thing string) (net.Conn, error)
	User   func(thing string) (name, password string) // nil: none is needed
	Seed   uint64
	Run    string // begins the client tokens
	Record bool   // what devices say is kept, for an audit
	Dials  int    // at once; 64
}

// Fleet lets devices speak with a server. It is safe for concurrent use.
type Fleet struct {
	opts    FleetOptions
	workers []*worker
	byName  map[string]*link
	names   []string
	started bool
	dials   chan struct{}
	lastErr atomic.Pointer[string]
}

// Stats count what a fleet does.
type Stats struct {
	Devices    int
	Connected  int64
	Sent       int64 // messages, those sent again not counted
	Acked      int64
	Received   int64
	Dropped    int64 // never sent: a store was full, or QoS 0 had no connection
	Reconnects int64
	Timeouts   int64 // connections given up as nobody acknowledged
}

type counters struct {
	connected, sent, acked, received, dropped, reconnects, timeouts atomic.Int64
}

// worker runs a part of the devices.
type worker struct {
	fleet   *Fleet
	links   []*link
	stats   counters
	ackTime twin.Time // virtual

	ctx  context.Context
	wake chan struct{}
	mu   sync.Mutex
	mail []mail
}

// mail is something that a worker is told.
type mail struct {
	link   *link
	since  uint32
	what   news
	packet wire.Packet
	conn   net.Conn
	err    error
	do     func(now twin.Time)
}

type news uint8

const (
	dialed news = iota
	packet
	ended
	call
)

// NewFleet returns a fleet without devices.
func NewFleet(o FleetOptions) *Fleet {
	if o.Dials == 0 {
		o.Dials = 64
	}
	f := &Fleet{opts: o, byName: map[string]*link{}, dials: make(chan struct{}, o.Dials)}
	ack := max(float64(ms(ackVirtual)), float64(ms(ackReal))*o.Clock.Speed())
	for range runtime.GOMAXPROCS(0) {
		f.workers = append(f.workers, &worker{fleet: f, ackTime: twin.Time(ack), wake: make(chan struct{}, 1)})
	}
	return f
}

func (f *Fleet) now() twin.Time { return twin.Time(f.opts.Clock.Now().UnixMilli()) }

// Add adds a device of a kind, before [Fleet.Run]. Its number, in the order of these calls,
// and the seed say what is random in it.
func (f *Fleet) Add(k *Kind, name string) error {
	if f.started {
		return errors.New("the fleet runs already")
	}
	if f.byName[name] != nil {
		return fmt.Errorf("there are two devices %s", name)
	}
	n := len(f.names)
	now := f.now()
	d := NewDevice(k, name, f.opts.Run, f.opts.Seed, uint64(n), now)
	if f.opts.Record {
		d.Keep()
	}
	w := f.workers[n%len(f.workers)]
	l := &link{dev: d, worker: w, retryAt: now, place: len(w.links)}
	w.links = append(w.links, l)
	f.byName[name] = l
	f.names = append(f.names, name)
	return nil
}

// Names are those of the devices, in the order in which they were added.
func (f *Fleet) Names() []string { return f.names }

// Run lets the devices live until the context ends. Then their connections close, without a
// word as when somebody takes the power away.
func (f *Fleet) Run(ctx context.Context) {
	f.started = true
	var group sync.WaitGroup
	for _, w := range f.workers {
		w.ctx = ctx
		group.Go(w.run)
	}
	group.Wait()
}

func (w *worker) run() {
	h := (*byDue)(&w.links)
	for _, l := range w.links {
		l.due = min(l.dev.Next(), l.next())
	}
	heap.Init(h)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for w.ctx.Err() == nil {
		now := w.fleet.now()
		w.read1(now)
		w.acts(now)
		w.sleep(timer)
	}
	for _, l := range w.links {
		l.close(0)
	}
	w.read1(0) // what was dialled meanwhile is closed
}

// acts lets all devices act that are due.
func (w *worker) acts(now twin.Time) {
	const atOnce = 1000 // then the mail is read again
	for range atOnce {
		if len(w.links) == 0 || w.links[0].due > now {
			return
		}
		l := w.links[0]
		if at := l.dev.Next(); at <= now {
			l.dev.Act(at)
			l.take(now, l.dev.Say())
		}
		if l.next() <= now || l.dev.Down() {
			l.act(now)
		}
		w.fix(l, now)
	}
}

// fix puts a link to its place in the heap.
func (w *worker) fix(l *link, now twin.Time) {
	l.due = min(l.dev.Next(), l.next())
	if l.due <= now && l.dev.Next() > now {
		l.due = now + 1 // nothing that it could do now
	}
	heap.Fix((*byDue)(&w.links), l.place)
}

// read1 reads the mail.
func (w *worker) read1(now twin.Time) {
	w.mu.Lock()
	list := w.mail
	w.mail = nil
	w.mu.Unlock()
	for i := range list {
		m := &list[i]
		switch {
		case m.what == call:
			m.do(now)
			continue
		case m.what == dialed:
			if w.ctx.Err() != nil && m.conn != nil {
				_ = m.conn.Close()
				continue
			}
			m.link.dialed(now, m.since, m.conn, m.err)
		case m.since != m.link.since: // of a connection before
			continue
		case m.what == packet:
			m.link.packet(now, m.packet)
		default:
			m.link.close(now)
		}
		if m.link.dev.Down() {
			m.link.close(now)
		}
		w.fix(m.link, now)
	}
}

// sleep waits for mail or until something is due.
func (w *worker) sleep(timer *time.Timer) {
	wait := time.Hour
	if len(w.links) > 0 {
		virtual := time.Duration(min(w.links[0].due-w.fleet.now(), hour)) * time.Millisecond
		if virtual <= 0 {
			return
		}
		wait = w.fleet.opts.Clock.Real(virtual)
	}
	timer.Reset(wait)
	select {
	case <-timer.C:
	case <-w.wake:
	case <-w.ctx.Done():
	}
}

func (w *worker) tell(m mail) {
	w.mu.Lock()
	w.mail = append(w.mail, m)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// dial connects, not too many at once.
func (w *worker) dial(l *link, since uint32) {
	go func() {
		select {
		case w.fleet.dials <- struct{}{}:
		case <-w.ctx.Done():
			return
		}
		conn, err := w.fleet.opts.Dial(w.ctx, l.dev.Name)
		<-w.fleet.dials
		w.tell(mail{link: l, since: since, what: dialed, conn: conn, err: err})
		if w.ctx.Err() != nil && conn != nil {
			_ = conn.Close() // the worker may not read this any more
		}
	}()
}

// virtual is how long a time of the machine is on the clock of the fleet.
func (w *worker) virtual(d time.Duration) twin.Time {
	return twin.Time(float64(ms(d)) * w.fleet.opts.Clock.Speed())
}

func (w *worker) failed(l *link, err error) {
	text := l.dev.Name + ": " + err.Error()
	w.fleet.lastErr.Store(&text)
}

func errRefused(body []byte) error {
	if len(body) < 2 {
		return wire.ErrMalformed
	}
	why := map[byte]string{1: "not this version of the protocol", 2: "not this client id", 3: "unavailable", 4: "bad user name or password", 5: "not authorized"}
	return fmt.Errorf("the server refuses the connection: %s (%d)", why[body[1]], body[1])
}

// Trouble is why a device could not connect last; empty: there was none.
func (f *Fleet) Trouble() string {
	if p := f.lastErr.Load(); p != nil {
		return *p
	}
	return ""
}

// Stats counts.
func (f *Fleet) Stats() Stats {
	s := Stats{Devices: len(f.names)}
	for _, w := range f.workers {
		c := &w.stats
		s.Connected += c.connected.Load()
		s.Sent += c.sent.Load()
		s.Acked += c.acked.Load()
		s.Received += c.received.Load()
		s.Dropped += c.dropped.Load()
		s.Reconnects += c.reconnects.Load()
		s.Timeouts += c.timeouts.Load()
	}
	return s
}

// each does something with links, each on its worker, and waits for the end.
func (f *Fleet) each(ctx context.Context, names []string, do func(now twin.Time, l *link)) error {
	var group sync.WaitGroup
	parts := map[*worker][]*link{}
	for _, name := range names {
		l := f.byName[name]
		if l == nil {
			return fmt.Errorf("there is no device %s", name)
		}
		parts[l.worker] = append(parts[l.worker], l)
	}
	done := make(chan struct{})
	for w, links := range parts {
		group.Add(1)
		w.tell(mail{what: call, do: func(now twin.Time) {
			defer group.Done()
			for _, l := range links {
				do(now, l)
				w.fix(l, now)
			}
		}})
	}
	go func() { group.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Inject lets something go wrong with devices.
func (f *Fleet) Inject(ctx context.Context, names []string, fault Fault) error {
	if err := fault.Check(); err != nil {
		return err
	}
	for _, name := range names {
		if l := f.byName[name]; l != nil && fault.Metric != "" && l.dev.kind.signal(fault.Metric) < 0 {
			return fmt.Errorf("the fault %s: %s has no %s; it has %v", fault.Verb, name, fault.Metric, l.dev.kind.Metrics())
		}
	}
	return f.each(ctx, names, func(now twin.Time, l *link) {
		if fault.Link() {
			l.inject(now, fault)
			return
		}
		if fault.Verb == "repair" {
			l.heal(now, "")
		}
		l.dev.Inject(now, fault)
	})
}

// Heal takes faults of a verb back; an empty one stands for all.
func (f *Fleet) Heal(ctx context.Context, names []string, verb string) error {
	return f.each(ctx, names, func(now twin.Time, l *link) { l.heal(now, verb) })
}

// Settle ends all faults, waits until nothing is on the way, lets each device report all it
// is, and waits for that. Then the twins should be what the devices are.
func (f *Fleet) Settle(ctx context.Context) error {
	if err := f.Heal(ctx, f.names, ""); err != nil {
		return err
	}
	if err := f.quiet(ctx, func(l *link) { l.dev.reportAt, l.dev.telemetryAt = never, never }); err != nil {
		return err
	}
	err := f.each(ctx, f.names, func(now twin.Time, l *link) {
		l.dev.Final()
		l.take(now, l.dev.Say())
	})
	if err != nil {
		return err
	}
	return f.quiet(ctx, func(*link) {})
}

// quiet waits until nothing is on the way; before it looks it does something with each link.
func (f *Fleet) quiet(ctx context.Context, do func(*link)) error {
	const look = 20 * time.Millisecond
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		var busy atomic.Int64
		err := f.each(ctx, f.names, func(_ twin.Time, l *link) {
			do(l)
			if l.busy() {
				busy.Add(1)
			}
		})
		if err != nil || busy.Load() == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d devices have still something to send: %w", busy.Load(), ctx.Err())
		}
	}
}

// Record returns what a device has said, after [Fleet.Settle] or the end of [Fleet.Run].
func (f *Fleet) Record(name string) (*Device, *Record) {
	l := f.byName[name]
	if l == nil {
		return nil, nil
	}
	return l.dev, l.dev.record
}

// byDue is a heap of links.
type byDue []*link

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].due < h[j].due }
func (h byDue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *byDue) Push(any) {}
func (h *byDue) Pop() any { return nil }
