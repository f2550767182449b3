package pebblestore

import (
	"context"
	"sync"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// durable is the position up to which everything is synced.
type durable struct {
	mu   sync.Mutex
	pos  store.Pos
	wake chan struct{} // closed when pos moves; nil when nobody waits
}

func (d *durable) load() store.Pos {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pos
}

func (d *durable) advance(pos store.Pos) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pos = pos
	if d.wake != nil {
		close(d.wake)
		d.wake = nil
	}
}

// reach is advance for several goroutines that sync: the newest counts.
func (d *durable) reach(pos store.Pos) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if pos <= d.pos {
		return
	}
	d.pos = pos
	if d.wake != nil {
		close(d.wake)
		d.wake = nil
	}
}

// wait returns when pos is durable. What a fenced store never synced stays
// unseen: then, and when the caller gives up, the error is of kind KindUnavailable.
func (d *durable) wait(ctx context.Context, pos store.Pos, f *fence) error {
	for {
		d.mu.Lock()
		if d.pos >= pos {
			d.mu.Unlock()
			return nil
		}
		if d.wake == nil {
			d.wake = make(chan struct{})
		}
		wake := d.wake
		d.mu.Unlock()
		select {
		case <-wake:
		case <-f.ch:
			return f.fault()
		case <-ctx.Done():
			return errGaveUp(ctx)
		}
	}
}

func errGaveUp(ctx context.Context) error {
	return &twin.Error{Kind: twin.KindUnavailable, Message: "the caller gave up waiting for the store", Err: context.Cause(ctx)}
}

func errClosed() error {
	return twin.NewError(twin.KindUnavailable, "the store is closed")
}
