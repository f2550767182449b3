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

// Broker is the MQTT door. Make one with [Open], give it listeners with
// [Broker.Serve], or use it as an http.Handler for WebSocket, end it with [Broker.Close].
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

	mu        sync.Mutex
	sessions  map[string]*session
	conns     map[*conn]struct{}
	listeners map[net.Listener]struct{}
	closed    bool
	closing   chan struct{} // closed with closed

	connGroup  sync.WaitGroup // readers; Add only under mu while not closed
	serveGroup sync.WaitGroup // Serve loops, the same
	writeGroup sync.WaitGroup // records being written
	closeOnce  sync.Once
}

// Open makes a broker and reads the sessions, queues and retained messages that are
// recorded. It starts one goroutine, which Close ends.
func Open(log *slog.Logger, opts Options) (*Broker, error) {
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("options of the mqtt broker: %w", err)
	}
	b := &Broker{
		log: log, opts: opts.fill(), handler: opts.Handler, records: opts.Records,
		sessions:  make(map[string]*session),
		conns:     make(map[*conn]struct{}),
		listeners: make(map[net.Listener]struct{}),
		closing:   make(chan struct{}),
	}
	b.janitor.init(b)
	if err := b.load(context.Background()); err != nil {
		return nil, err
	}
	go b.janitor.run()
	return b, nil
}

// Serve accepts connections on a TCP or TLS listener until the broker is closed,
// when it returns nil, or the listener fails. It closes the listener.
func (b *Broker) Serve(ln net.Listener) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return ln.Close()
	}
	b.listeners[ln] = struct{}{}
	b.serveGroup.Add(1)
	b.mu.Unlock()
	defer b.serveGroup.Done()
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			b.start(nc)
		case b.isClosing():
			return nil
		case isTemporary(err):
			// Out of file descriptors, or a client that hung up at once.
			b.log.Warn("mqtt accept", slog.Any("error", err))
			b.pause(acceptPause)
		default:
			b.mu.Lock()
			delete(b.listeners, ln)
			b.mu.Unlock()
			_ = ln.Close() // it has failed already
			return fmt.Errorf("accept mqtt connection: %w", err)
		}
	}
}

func (b *Broker) isClosing() bool {
	select {
	case <-b.closing:
		return true
	default:
		return false
	}
}

const acceptPause = 50 * time.Millisecond

func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// pause waits for d, or until the broker is closed.
func (b *Broker) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.closing:
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

// writeSoon records something and returns where the outcome will be.
func (b *Broker) writeSoon(orderKey string, ws []twin.RecordWrite) <-chan error {
	result := make(chan error, 1)
	if len(ws) == 0 {
		result <- nil
		return result
	}
	b.write(orderKey, ws, func(err error) { result <- err })
	return result
}

// Close tells the clients that the server stops, closes the listeners and the
// connections, and waits for all goroutines and record writes. It may be called
// twice. The records have to work until it returns.
func (b *Broker) Close() error {
	b.closeOnce.Do(func() {
		b.mu.Lock()
		b.closed = true
		close(b.closing)
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
