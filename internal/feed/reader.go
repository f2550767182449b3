package feed

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/twofold-iot/twofold/twin"
)

// Reader reads the feed from a cursor on. It belongs to one goroutine.
type Reader struct {
	hub    *Hub
	cursor Cursor
	filter Filter
	closed bool
}

// GoneError says that a cursor points to where the log has expired: the reader has
// missed events and must start from a read of the current states.
type GoneError struct {
	Cursor, Oldest Cursor
}

// Error names both positions.
func (e *GoneError) Error() string {
	return fmt.Sprintf("the events after %d have expired, the oldest kept follow %d", e.Cursor, e.Oldest)
}

// Subscribe returns a reader of what follows a cursor; zero is before the oldest entry
// that is kept. Close it.
func (h *Hub) Subscribe(ctx context.Context, after Cursor, f Filter) (*Reader, error) {
	head, err := h.log.Head(ctx)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	if after > head {
		return nil, twin.NewError(twin.KindInvalid, "The cursor is ahead of the feed: it is not one of this server")
	}
	oldest, err := h.log.Oldest(ctx)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	if after == 0 {
		after = oldest // the beginning is what is kept
	}
	if after < oldest {
		return nil, &GoneError{after, oldest}
	}
	h.mu.Lock()
	h.readers++
	h.mu.Unlock()
	h.Wake() // the hub may have been idle
	return &Reader{hub: h, cursor: after, filter: f}, nil
}

// Cursor returns where the reader is, including entries its filter left out.
func (r *Reader) Cursor() Cursor { return r.cursor }

// Next waits until something new matches and returns it, oldest first. The page may
// be empty when a long stretch of the log held nothing that matches: the cursor has
// moved all the same. It is a [GoneError] when the reader was so slow that events it had
// not read have expired.
func (r *Reader) Next(ctx context.Context) ([]Entry, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		page, before, news, err := r.recent()
		if err != nil {
			return nil, err
		}
		if before != 0 { // older than what is in memory
			if page, err = r.behind(ctx); err != nil {
				return nil, err
			}
			if len(page) > 0 {
				return r.take(page), nil
			}
			r.cursor = max(r.cursor, before) // there is no event up to there
			continue
		}
		if len(page) > 0 {
			if got := r.take(page); len(got) > 0 {
				return got, nil
			}
			continue
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// behind reads the log after the cursor. What the cursor has not seen may have expired
// since the reader was made: that is looked for after the read, as days can go while it
// runs.
func (r *Reader) behind(ctx context.Context) ([]Entry, error) {
	page, err := read(ctx, r.hub.log, r.cursor, r.hub.opts.PageLenMax)
	if err != nil {
		return nil, err
	}
	oldest, err := r.hub.log.Oldest(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the oldest position of the feed: %w", err)
	}
	if r.cursor < oldest {
		return nil, &GoneError{r.cursor, oldest}
	}
	return page, nil
}

// recent returns what memory has after the cursor; or a channel to wait on; or, if
// the cursor is older than memory, where memory begins.
func (r *Reader) recent() (page []Entry, before Cursor, news <-chan struct{}, err error) {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return nil, 0, nil, fmt.Errorf("the feed has ended: %w", h.err)
	}
	if r.cursor < h.before {
		return nil, h.before, nil, nil
	}
	i := sort.Search(len(h.recent), func(i int) bool { return h.recent[i].Cursor > r.cursor })
	end := min(len(h.recent), i+h.opts.PageLenMax)
	if i == end {
		return nil, 0, h.news, nil
	}
	return slices.Clip(h.recent[i:end]), 0, nil, nil
}

// take moves the cursor over a page and returns what the filter wants.
func (r *Reader) take(page []Entry) []Entry {
	r.cursor = page[len(page)-1].Cursor
	if r.filter.empty() {
		return page
	}
	var got []Entry
	for i := range page {
		if r.filter.Match(&page[i].Event) {
			got = append(got, page[i])
		}
	}
	return got
}

// Close ends the reader. It may be called twice.
func (r *Reader) Close() {
	if r.closed {
		return
	}
	r.closed = true
	r.hub.mu.Lock()
	r.hub.readers--
	r.hub.mu.Unlock()
}
