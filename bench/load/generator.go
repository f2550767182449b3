package load

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Options of a [Generator]; all but Payload must be set.
type Options struct {
	Addr        string // host:port, a loopback address
	ThingPrefix string // names are this and seven digits
	Connections int    // at most 10,000
	InFlight    int    // unacknowledged packets of one connection, at most 1,000
	Things      int    // spread over the connections; at least one each
	Payload     string // with [SeqMarker] in it; empty: [Reported200]
}

const (
	connectionsMax = 10_000
	inFlightMax    = 1_000
	connectTime    = 30 * time.Second // for all connections
	drainTime      = 20 * time.Second // for what is in flight when the time is up
	connectors     = 32               // connections being opened at a time
)

// Validate names all faults at once.
func (o Options) Validate() error {
	var errs []error
	if ap, err := netip.ParseAddrPort(o.Addr); err != nil || !ap.Addr().IsLoopback() {
		errs = append(errs, fmt.Errorf("address %q is not a loopback ip:port", o.Addr))
	}
	check := func(what string, n, low, high int) {
		if n < low || n > high {
			errs = append(errs, fmt.Errorf("%d %s, want %d to %d", n, what, low, high))
		}
	}
	check("connections", o.Connections, 1, connectionsMax)
	check("in flight", o.InFlight, 1, inFlightMax)
	check("things", o.Things, max(1, o.Connections), thingsMax)
	return errors.Join(errs...)
}

// Generator publishes updates over connections it holds open.
type Generator struct {
	opts     Options
	template *template
	conns    []*conn
	// Of each thing, by number; written only by the connection that speaks for it.
	sent, acked []uint32
}

// Report is what one run measured.
type Report struct {
	Elapsed time.Duration
	Acked   uint64 // within Elapsed
	Latency Histogram
}

// PerSecond is the rate of acknowledged updates.
func (r *Report) PerSecond() float64 { return float64(r.Acked) / r.Elapsed.Seconds() }

// Open opens all connections.
func Open(opts Options) (*Generator, error) {
	if opts.Payload == "" {
		opts.Payload = Reported200
	}
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("load options: %w", err)
	}
	t, err := newTemplate(opts.ThingPrefix, opts.Payload)
	if err != nil {
		return nil, fmt.Errorf("load options: %w", err)
	}
	g := &Generator{opts: opts, template: t, sent: make([]uint32, opts.Things), acked: make([]uint32, opts.Things)}
	for i := range opts.Connections {
		g.conns = append(g.conns, &conn{
			gen: g, number: i, next: i,
			ring: make([]flight, opts.InFlight),
			in:   make([]byte, 0, max(512, opts.InFlight*pubackLen)),
			out:  make([]byte, 0, opts.InFlight*len(t.packet)),
		})
	}
	if err := g.connect(); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// connect opens the connections that are not open.
func (g *Generator) connect() error {
	deadline := time.Now().Add(connectTime)
	return g.each(connectors, func(c *conn) error {
		return c.connect(g.opts.Addr, g.opts.ThingPrefix+"load-"+strconv.Itoa(c.number), deadline)
	})
}

// each calls f for all connections, some at a time, and joins the errors.
func (g *Generator) each(atATime int, f func(*conn) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(g.conns))
	turn := make(chan struct{}, atATime)
	for i, c := range g.conns {
		turn <- struct{}{}
		wg.Go(func() {
			errs[i] = f(c)
			<-turn
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// work is what a run asks of each connection.
type work struct {
	epoch  time.Time
	length time.Duration // no new update after this
	giveUp time.Duration // everything has to be acknowledged by then
	once   bool          // one update for each thing, then stop
}

// updatesOf returns how many updates the connection may send.
func (w work) updatesOf(c *conn) int {
	if !w.once {
		return math.MaxInt
	}
	return (c.gen.opts.Things - c.number + c.gen.opts.Connections - 1) / c.gen.opts.Connections
}

// Run publishes for the time given, then waits until everything is acknowledged.
// A PUBACK that is missing, unknown or out of order is an error.
func (g *Generator) Run(length time.Duration) (*Report, error) {
	return g.run(work{length: length, giveUp: length + drainTime})
}

// Once publishes one update for each thing and waits until all are acknowledged,
// for at most the time given.
func (g *Generator) Once(limit time.Duration) (*Report, error) {
	return g.run(work{length: limit, giveUp: limit, once: true})
}

func (g *Generator) run(w work) (*Report, error) {
	for _, c := range g.conns {
		c.acked, c.histogram = 0, Histogram{}
	}
	w.epoch = time.Now()
	err := g.each(len(g.conns), func(c *conn) error { return c.run(w) })
	r := &Report{Elapsed: time.Since(w.epoch)}
	if !w.once {
		r.Elapsed = w.length
	}
	for _, c := range g.conns {
		r.Acked += c.acked
		r.Latency.Merge(&c.histogram)
	}
	return r, err
}

// Counts returns how many updates of a thing were sent and acknowledged, over all
// runs. It must not be called during a run.
func (g *Generator) Counts(thing int) (sent, acked uint32) { return g.sent[thing], g.acked[thing] }

// PayloadBytes is the size of one update's payload.
func (g *Generator) PayloadBytes() int { return g.template.bytes }

// Close closes all connections.
func (g *Generator) Close() error {
	return g.each(len(g.conns), func(c *conn) error {
		if err := c.close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("close connection %d: %w", c.number, err)
		}
		return nil
	})
}
