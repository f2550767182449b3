package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/internal/feed"
	"github.com/twofold-iot/twofold/twin"
)

// hook is a webhook with the goroutine that delivers to it.
type hook struct {
	definition
	service *Service
	stop    context.CancelFunc // nil: it does not run
	done    chan struct{}      // closed when it does not run any more

	mu        sync.Mutex
	place     place
	dead      int
	delivered uint64
	failed    uint64
	tries     int
	next      twin.Time
	lastError string
	lastOK    twin.Time
}

func newHook(s *Service) *hook { return &hook{service: s, done: make(chan struct{})} }

func (h *hook) status() twin.WebhookStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := twin.WebhookStatus{
		Webhook: h.Webhook, State: twin.WebhookOK, Created: h.Created, Delivered: h.delivered, Failed: h.failed, Tries: h.tries,
		Next: h.next, LastError: h.lastError, LastOK: h.lastOK, Dead: h.dead, Missed: h.place.Missed,
	}
	if h.tries > 0 {
		st.State = twin.WebhookRetrying
	}
	select {
	case <-h.done:
		st.State = twin.WebhookStopped
		if !h.service.opts.Enabled {
			st.State = twin.WebhookOff
		}
	default:
	}
	return st
}

// batch is what one request carries.
type batch struct {
	upTo   feed.Cursor // of its last event
	end    feed.Cursor // nothing is between that and here
	events int
	body   []byte
}

// run delivers until ctx ends.
func (h *hook) run(ctx context.Context) {
	for failures := 1; ; failures++ {
		err := h.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		var gone *feed.GoneError
		switch {
		case errors.As(err, &gone):
			err = h.skip(gone.Oldest)
		case twin.Kind(err) == twin.KindInvalid: // ahead of the feed: the data are older than the record
			var head feed.Cursor
			if head, err = h.service.feed.Head(ctx); err == nil {
				err = h.skip(head)
			}
		}
		if err == nil {
			failures = 0
			continue
		}
		h.service.log.Warn("webhook waits", slog.String("webhook", string(h.Name)), slog.String("error", err.Error()))
		h.mu.Lock()
		h.lastError = clip(twin.ErrorMessage(err))
		h.mu.Unlock()
		if h.service.opts.Wait(ctx, h.backoff(failures)) != nil {
			return
		}
	}
}

// skip goes on where the feed begins, and counts that events were missed.
func (h *hook) skip(to feed.Cursor) error {
	h.service.log.Warn("events of a webhook have expired before they were delivered", slog.String("webhook", string(h.Name)))
	h.mu.Lock()
	p := place{Cursor: to, Missed: h.place.Missed + 1}
	h.mu.Unlock()
	return h.keep(p)
}

// keep makes a place durable, with what else belongs to it.
func (h *hook) keep(p place, with ...twin.RecordWrite) error {
	ws := append(with, twin.RecordWrite{Kind: twin.RecordWebhook, Key: placeKey(h.Name), Value: encodeRecord(p)})
	if err := h.service.write(h.Name, ws...); err != nil {
		return err
	}
	h.mu.Lock()
	h.place = p
	h.mu.Unlock()
	return nil
}

// at returns the place, which only the goroutine of the hook alters.
func (h *hook) at() place {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.place
}

// follow sends what was being sent when the server stopped, then all that comes.
func (h *hook) follow(ctx context.Context) error {
	if at := h.at(); at.UpTo != 0 {
		b, err := h.collect(ctx, at.Cursor, at.UpTo)
		if err != nil {
			return err
		}
		if err := h.deliver(ctx, b); err != nil {
			return err
		}
	}
	reader, err := h.service.feed.Subscribe(ctx, h.at().Cursor, filterOf(&h.Filter))
	if err != nil {
		return err
	}
	page := &pages{reader: reader}
	defer page.close()
	for {
		b, err := h.nextBatch(ctx, page)
		if err != nil {
			return err
		}
		at := h.at()
		if b.events == 0 { // nothing for us for a while
			if b.end == at.Cursor {
				continue
			}
			if err := h.keep(place{Cursor: b.end, Missed: at.Missed}); err != nil {
				return err
			}
			continue
		}
		if err := h.keep(place{Cursor: at.Cursor, UpTo: b.upTo, Missed: at.Missed}); err != nil {
			return err
		}
		failed := h.tried(ctx, b)
		if failed == nil {
			if err := h.settle(b); err != nil {
				return err
			}
			continue
		}
		// Whoever waits for a receiver holds the one batch and nothing of the feed.
		page.close()
		return h.retry(ctx, b, failed)
	}
}

// pages are what a reader has given and no batch has taken yet.
type pages struct {
	reader *feed.Reader
	rest   []feed.Entry
	cut    bool // the reader has given more than rest could keep
}

// restBytesMax is about how much of the feed a webhook may hold while it sends.
const restBytesMax = 1 << 20

func (p *pages) close() {
	p.rest = nil
	p.reader.Close()
}

// keep holds what was read, as much as may be.
func (p *pages) keep(page []feed.Entry) {
	size, n := 0, 0
	for n < len(page) && (n == 0 || size < restBytesMax) {
		size += sizeOf(&page[n])
		n++
	}
	p.rest, p.cut = slices.Clone(page[:n]), n < len(page) // page is part of an array that others need no more
}

// nextBatch waits for events. It has none when a while has passed without.
func (h *hook) nextBatch(ctx context.Context, p *pages) (batch, error) {
	if len(p.rest) == 0 && p.cut {
		p.close()
		reader, err := h.service.feed.Subscribe(ctx, h.at().Cursor, filterOf(&h.Filter))
		if err != nil {
			return batch{}, err
		}
		p.reader, p.cut = reader, false
	}
	if len(p.rest) == 0 {
		patience, cancel := context.WithTimeout(ctx, h.service.opts.KeepEvery)
		defer cancel()
		page, err := p.reader.Next(patience)
		if err != nil && (patience.Err() == nil || ctx.Err() != nil) {
			return batch{}, err
		}
		if len(page) == 0 {
			return batch{end: p.reader.Cursor()}, nil
		}
		p.keep(page)
	}
	var b batch
	used, err := h.pack(&b, p.rest)
	if err != nil {
		return b, err
	}
	b.upTo = p.rest[used-1].Cursor
	b.end = b.upTo
	if p.rest = p.rest[used:]; len(p.rest) == 0 && !p.cut {
		b.end = max(b.end, p.reader.Cursor())
	}
	return b, nil
}

// collect reads a batch again whose ends are known.
func (h *hook) collect(ctx context.Context, after, upTo feed.Cursor) (batch, error) {
	b := batch{upTo: upTo, end: upTo}
	reader, err := h.service.feed.Subscribe(ctx, after, filterOf(&h.Filter))
	if err != nil {
		return b, err
	}
	defer reader.Close()
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	var got []feed.Entry
	for reader.Cursor() < upTo {
		page, err := reader.Next(ctx)
		if err != nil {
			return b, fmt.Errorf("read events again: %w", err)
		}
		for i := range page {
			if page[i].Cursor <= upTo {
				got = append(got, page[i])
			}
		}
		if len(got) > twin.WebhookBatchMax {
			return b, fmt.Errorf("read events again: more than %d up to %d", twin.WebhookBatchMax, upTo)
		}
	}
	if len(got) == 0 {
		return b, &feed.GoneError{Cursor: after, Oldest: upTo}
	}
	b.body, err = h.encode(&b, got)
	return b, err
}

// collectTimeout bounds a read of events that the log has.
const collectTimeout = 30 * time.Second

// message is the body of a request.
type message struct {
	Type      string      `json:"type"`
	Timestamp string      `json:"timestamp"` // of the newest event: the same in each try
	Data      messageData `json:"data"`
}

type messageData struct {
	Webhook twin.WebhookName  `json:"webhook"`
	Events  []json.RawMessage `json:"events"`
}

// pack fills a batch with as many entries as go in, and returns how many.
func (h *hook) pack(b *batch, entries []feed.Entry) (int, error) {
	size, n := 0, 0
	for n < min(len(entries), h.Batch) {
		size += sizeOf(&entries[n])
		if n > 0 && size > h.service.opts.BodyMax {
			break
		}
		n++
	}
	var err error
	b.body, err = h.encode(b, entries[:n])
	return n, err
}

// eventRoom is what an event takes in a body beside patch and data.
const eventRoom = 600

func sizeOf(e *feed.Entry) int { return len(e.Event.Patch) + len(e.Event.Data) + eventRoom }

func (h *hook) encode(b *batch, entries []feed.Entry) ([]byte, error) {
	m := message{Type: "events", Data: messageData{Webhook: h.Name}}
	for i := range entries {
		doc, err := h.service.opts.Encode(entries[i].Cursor, &entries[i].Event)
		if err != nil {
			return nil, fmt.Errorf("encode the event at %d: %w", entries[i].Cursor, err)
		}
		m.Data.Events = append(m.Data.Events, doc)
	}
	m.Timestamp = timeText(entries[len(entries)-1].Event.Time)
	b.events = len(entries)
	return marshal(m)
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode a request: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func timeText(t twin.Time) string { return t.Std().UTC().Format("2006-01-02T15:04:05.000Z") }

// deliver sends a batch until it is settled.
func (h *hook) deliver(ctx context.Context, b batch) error {
	failed := h.tried(ctx, b)
	if failed == nil {
		return h.settle(b)
	}
	return h.retry(ctx, b, failed)
}

// tried makes one try and notes how it went.
func (h *hook) tried(ctx context.Context, b batch) *sendError {
	failed := h.service.sender.send(ctx, h.URL, h.Secret, messageID(h.ID, b.upTo), b.body)
	now := twin.TimeOf(h.service.opts.Now())
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case failed == nil:
		h.tries, h.next, h.lastError, h.lastOK = 0, 0, "", now
	case ctx.Err() == nil:
		h.failed++
		h.tries++
		h.lastError = failed.text
	}
	return failed
}

// settle goes on after a batch.
func (h *hook) settle(b batch) error {
	if err := h.keep(place{Cursor: b.end, Missed: h.at().Missed}); err != nil {
		return err
	}
	h.mu.Lock()
	h.delivered += uint64(b.events)
	h.mu.Unlock()
	return nil
}

// retry tries a batch that has failed once until it is delivered or a dead letter.
func (h *hook) retry(ctx context.Context, b batch, failed *sendError) error {
	for tries := 1; ; tries++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if tries >= h.service.opts.TriesMax && h.deadRoom() {
			return h.bury(b, tries, failed)
		}
		pause := min(max(h.backoff(tries), failed.after), h.service.opts.BackoffMax)
		h.mu.Lock()
		h.next = twin.TimeOf(h.service.opts.Now().Add(pause))
		h.mu.Unlock()
		if err := h.service.opts.Wait(ctx, pause); err != nil {
			return err
		}
		if failed = h.tried(ctx, b); failed == nil {
			return h.settle(b)
		}
	}
}

// backoff is how long to wait after so many failures: it doubles up to a limit, and half of
// it is chance, so that not all webhooks of a receiver come at once.
func (h *hook) backoff(failures int) time.Duration {
	o := &h.service.opts
	d := o.BackoffMax
	if shift := failures - 1; shift < 30 && o.BackoffMin<<shift < d {
		d = o.BackoffMin << shift
	}
	return d/2 + time.Duration(o.Jitter()*float64(d/2))
}

func (h *hook) deadRoom() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dead < h.service.opts.DeadMax
}

// bury makes a dead letter of a batch, and goes on after it, in one commit.
func (h *hook) bury(b batch, tries int, failed *sendError) error {
	at := h.at()
	letter := twin.DeadLetter{
		ID: messageID(h.ID, b.upTo), After: uint64(at.Cursor), UpTo: uint64(b.upTo), Events: b.events,
		Tries: tries, Error: failed.text, Time: twin.TimeOf(h.service.opts.Now()),
	}
	err := h.keep(place{Cursor: b.end, Missed: at.Missed},
		twin.RecordWrite{Kind: twin.RecordDeadLetter, Key: deadKey(h.Name, letter.UpTo), Value: encodeRecord(letter)})
	if err != nil {
		return err
	}
	h.service.log.Warn("webhook gave up on events", slog.String("webhook", string(h.Name)), slog.Int("events", b.events), slog.String("error", failed.text))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead++
	h.tries, h.next = 0, 0
	return nil
}
