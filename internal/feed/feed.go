// Package feed is the ordered stream of committed events, for any number of
// readers.
//
// A [Hub] follows the log once for all: it reads what is new when it is woken and
// keeps the newest entries in memory, decoded. A [Reader] has a cursor and nothing
// else. It takes from memory what is there and reads the rest from the log itself,
// so a slow reader costs nobody anything and nothing is buffered without bound. As
// both go by positions in the log there is no gap and no repeat, also across a
// restart.
package feed

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/twofold-iot/twofold/twin"
)

// Cursor is a position in the feed: that of the last entry that was read. Zero is
// the beginning.
type Cursor uint64

// Entry is one event with its position. All readers share the event's bytes: they are
// not to be altered.
type Entry struct {
	Cursor Cursor
	Event  twin.Event
	bytes  int
}

// Raw is an entry as the log has it.
type Raw struct {
	Cursor Cursor
	Event  []byte // canonical
}

// Log is where the feed comes from.
type Log interface {
	// Feed returns durable entries after a cursor, in order; empty: none yet.
	Feed(ctx context.Context, after Cursor, limit int) ([]Raw, error)
	// Head returns the position of the newest durable entry.
	Head(ctx context.Context) (Cursor, error)
	// Oldest returns the position before the oldest entry still kept.
	Oldest(ctx context.Context) (Cursor, error)
}

// Options tune a Hub; the zero value works.
type Options struct {
	EntriesMax int // kept in memory; 4096
	BytesMax   int // of them; 8 MiB
	PageLenMax int // entries read at once; 512
}

func (o Options) withDefaults() Options {
	if o.EntriesMax == 0 {
		o.EntriesMax = 4096
	}
	if o.BytesMax == 0 {
		o.BytesMax = 8 << 20
	}
	if o.PageLenMax == 0 {
		o.PageLenMax = 512
	}
	return o
}

// Hub follows the log for all readers.
type Hub struct {
	log  Log
	opts Options
	wake chan struct{}

	mu      sync.Mutex
	recent  []Entry // newest at the end, without a gap
	bytes   int     // of recent
	behind  int     // bytes of entries that were dropped but are still in recent's array
	before  Cursor  // position before recent[0]; of the newest if recent is empty
	readers int
	news    chan struct{} // closed when there is something new
	err     error         // why following has ended
}

// NewHub returns a hub that follows from now on, once Run is called.
func NewHub(log Log, opts Options) *Hub {
	return &Hub{log: log, opts: opts.withDefaults(), wake: make(chan struct{}, 1), news: make(chan struct{})}
}

// Wake says that there may be something new. It never blocks and may be called by
// anybody, as often as one likes.
func (h *Hub) Wake() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Run follows the log until ctx ends or the log fails, which ends all readers too.
func (h *Hub) Run(ctx context.Context) error {
	head, err := h.log.Head(ctx)
	if err != nil {
		err = fmt.Errorf("read the head of the feed: %w", err)
	}
	h.mu.Lock()
	h.before = head
	h.tellLocked() // somebody may have subscribed before the head was known
	h.mu.Unlock()
	for err == nil {
		select {
		case <-h.wake:
			err = h.follow(ctx)
		case <-ctx.Done():
			err = errStopped
		}
	}
	stopping := ctx.Err() != nil
	if stopping {
		err = errStopped // whatever failed while it was stopping
	}
	h.end(err)
	if stopping {
		return nil //nolint:nilerr // a stop is no failure
	}
	return err
}

var errStopped = twin.NewError(twin.KindUnavailable, "The server is stopping")

func (h *Hub) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
		close(h.news)
	}
}

// follow reads all that is new. With no reader it only notes how far the log is.
func (h *Hub) follow(ctx context.Context) error {
	for {
		h.mu.Lock()
		idle, newest := h.readers == 0, h.newestLocked()
		h.mu.Unlock()
		if idle {
			return h.skip(ctx)
		}
		page, err := read(ctx, h.log, newest, h.opts.PageLenMax)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		h.add(page)
	}
}

// skip forgets the entries in memory and goes to the head.
func (h *Hub) skip(ctx context.Context) error {
	head, err := h.log.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the head of the feed: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readers == 0 {
		h.recent, h.bytes, h.behind, h.before = nil, 0, 0, head
	}
	return nil
}

func (h *Hub) newestLocked() Cursor {
	if n := len(h.recent); n > 0 {
		return h.recent[n-1].Cursor
	}
	return h.before
}

func (h *Hub) add(page []Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recent = append(h.recent, page...)
	for i := range page {
		h.bytes += page[i].bytes
	}
	drop := 0
	for len(h.recent)-drop > h.opts.EntriesMax || h.bytes > h.opts.BytesMax && drop < len(h.recent) {
		h.before = h.recent[drop].Cursor
		h.bytes -= h.recent[drop].bytes
		h.behind += h.recent[drop].bytes
		drop++
	}
	h.recent = h.recent[drop:]
	// Readers hold pages cut from the array, so what was dropped cannot be cleared in it.
	// It goes when the array is full and append moves to another, or here.
	if h.behind > h.opts.BytesMax/4 {
		h.recent = slices.Clone(h.recent)
		h.behind = 0
	}
	h.tellLocked()
}

// tellLocked wakes all readers that wait.
func (h *Hub) tellLocked() {
	close(h.news)
	h.news = make(chan struct{})
}

func read(ctx context.Context, log Log, after Cursor, limit int) ([]Entry, error) {
	raw, err := log.Feed(ctx, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read the feed after %d: %w", after, err)
	}
	page := make([]Entry, len(raw))
	for i, r := range raw {
		ev, err := twin.DecodeEvent(r.Event)
		if err != nil {
			return nil, fmt.Errorf("read the feed at %d: %w", r.Cursor, err)
		}
		page[i] = Entry{r.Cursor, ev, len(r.Event)}
	}
	return page, nil
}
