package mqtt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

// Broker is the MQTT door. Make one with [New], give it listeners with
// [Broker.Serve] and [Broker.WebSocket], end it with [Broker.Close].
type Broker struct {
	log     *slog.Logger
	opts    Options
	handler Handler
	records Records

	index    index
	retained retainedSet
	janitor  janitor
	count    counters
	number   atomic.Uint64 // last number given to a queue entry or a message body

	loadMu sync.Mutex
	loaded bool

	mu        sync.Mutex
	sessions  map[string]*session
	conns     map[*conn]struct{}
	listeners map[net.Listener]struct{}
	closed    bool

	connGroup  sync.WaitGroup // readers; Add only under mu while not closed
	serveGroup sync.WaitGroup // Serve loops, the same
	writeGroup sync.WaitGroup // records being written
	closeOnce  sync.Once
}

// New makes a broker. It starts one goroutine, which Close ends.
func New(log *slog.Logger, opts Options) *Broker {
	b := &Broker{
		log: log, opts: opts.fill(), handler: opts.Handler, records: opts.Records,
		sessions:  make(map[string]*session),
		conns:     make(map[*conn]struct{}),
		listeners: make(map[net.Listener]struct{}),
	}
	b.janitor.init(b)
	go b.janitor.run()
	return b
}

// Bind sets the collaborators that were not known to [New], since they need the
// broker themselves. It is called before Load and Serve; nil leaves what is set.
func (b *Broker) Bind(h Handler, r Records) {
	if h != nil {
		b.handler = h
	}
	if r != nil {
		b.records = r
	}
}

// ErrClosed is returned by Serve after Close.
var ErrClosed = errors.New("mqtt broker is closed")

// Serve accepts connections until the listener fails, ctx ends or the broker is
// closed, and closes the listener. Connections live on until Close.
func (b *Broker) Serve(ctx context.Context, ln net.Listener) error {
	if err := b.Load(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return errors.Join(ErrClosed, ln.Close())
	}
	b.listeners[ln] = struct{}{}
	b.serveGroup.Add(1)
	b.mu.Unlock()
	defer b.serveGroup.Done()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() }) // Accept then fails
	defer stop()
	for {
		nc, err := ln.Accept()
		if err == nil {
			b.start(nc)
			continue
		}
		b.mu.Lock()
		closed := b.closed
		delete(b.listeners, ln)
		b.mu.Unlock()
		switch {
		case closed:
			return ErrClosed
		case ctx.Err() != nil:
			return ctx.Err()
		case isTemporary(err):
			// Out of file descriptors, or a client that hung up at once.
			b.log.Warn("mqtt accept", slog.Any("error", err))
			if !wait(ctx, acceptPause) {
				return ctx.Err()
			}
			b.mu.Lock()
			b.listeners[ln] = struct{}{}
			b.mu.Unlock()
			continue
		}
		_ = ln.Close()
		return fmt.Errorf("accept mqtt connection: %w", err)
	}
}

const acceptPause = 50 * time.Millisecond

func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// wait waits for d and reports whether ctx is still alive.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// start serves a connection in a goroutine of its own.
func (b *Broker) start(nc net.Conn) {
	if c := b.admit(nc); c != nil {
		go b.live(c)
	}
}

// admit registers a connection; nil, and closed, when there is no room for it.
func (b *Broker) admit(nc net.Conn) *conn {
	c := newConn(b, nc)
	b.mu.Lock()
	if b.closed || len(b.conns) >= b.opts.ConnsMax {
		full := !b.closed
		b.mu.Unlock()
		_ = nc.Close() // nothing was sent or read
		if full {
			b.log.Warn("mqtt connection refused: too many", slog.Int("limit", b.opts.ConnsMax))
		}
		return nil
	}
	b.conns[c] = struct{}{}
	b.connGroup.Add(1)
	b.mu.Unlock()
	b.count.conns.Add(1)
	return c
}

func (b *Broker) live(c *conn) {
	defer b.connGroup.Done()
	c.serve()
	b.mu.Lock()
	delete(b.conns, c)
	b.mu.Unlock()
	b.count.conns.Add(-1)
}

// write records something; done is called exactly once. The done of a record write
// never waits.
func (b *Broker) write(orderKey string, ws []twin.RecordWrite, done func(error)) {
	if b.records == nil {
		done(nil)
		return
	}
	b.writeGroup.Add(1)
	err := b.records.WriteRecords(orderKey, ws, func(err error) {
		done(err)
		b.writeGroup.Done()
	})
	if err != nil {
		done(err)
		b.writeGroup.Done()
	}
}

// Close tells the clients that the server stops, closes the listeners and the
// connections, and waits for all goroutines and record writes. It may be called
// twice. The records have to work until it returns.
func (b *Broker) Close() error {
	b.closeOnce.Do(func() {
		b.mu.Lock()
		b.closed = true
		for ln := range b.listeners {
			_ = ln.Close() // Serve sees it
		}
		for c := range b.conns {
			c.close(packet.ServerShuttingDown) // [MQTT-4.13.1-1]
		}
		b.mu.Unlock()
		b.serveGroup.Wait()
		b.connGroup.Wait()
		close(b.janitor.stop)
		<-b.janitor.done
		b.writeGroup.Wait()
	})
	return nil
}
