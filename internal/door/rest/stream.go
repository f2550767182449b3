package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// FeedEntry is a committed event and its position in the feed.
type FeedEntry struct {
	Cursor uint64
	Event  twin.Event
}

// FeedFilter selects events; empty fields let all pass.
type FeedFilter struct {
	Things      []twin.ThingName
	Models      []string
	Kinds       []twin.EventKind
	SeverityMin twin.Severity
	Path        string
}

// Feed is the ordered stream of committed events.
type Feed interface {
	// Subscribe returns a reader of what follows a position.
	Subscribe(ctx context.Context, after uint64, f FeedFilter) (FeedReader, error)
	// Head is the position of the newest event.
	Head(ctx context.Context) (uint64, error)
}

// FeedReader reads the feed for one client.
type FeedReader interface {
	// Next waits for events. Cursor then is where the reader is, including what its
	// filter left out.
	Next(ctx context.Context) ([]FeedEntry, error)
	Cursor() uint64
	Close()
}

// Limits of the stream.
const (
	streamHeartbeat      = 15 * time.Second
	streamWriteTimeout   = 20 * time.Second // of a client that does not read
	streamIntervalMax    = time.Hour
	streamFilterItemsMax = 100
	streamHeldMax        = 10_000 // shadows whose newest event waits for minInterval
)

// stream serves the feed as server-sent events (HTML Living Standard 9.2). The id of
// each is a cursor: a client that comes back with it as Last-Event-ID goes on there,
// without gap or repeat.
func (d *door) stream(w http.ResponseWriter, r *http.Request) error {
	filter, interval, err := streamQuery(r)
	if err != nil {
		return err
	}
	after, err := d.streamStart(r)
	if err != nil {
		return err
	}
	where, err := d.streamWhere(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	nameless := p.choice("names", "true", "false") == "false"
	if p.err != nil {
		return p.err
	}
	reader, err := d.opts.Feed.Subscribe(r.Context(), after, filter)
	if err != nil {
		return err
	}
	defer reader.Close()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy that buffers would hold events back
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{}) // the server's read timeout would end the stream; not every writer has one
	s := &streamWriter{w: w, rc: rc, held: newHold(interval), where: where, nameless: nameless}
	s.place(reader.Cursor()) // also of an empty feed: whoever comes back with it misses nothing
	s.comment("twofold stream", 0)
	if s.flush() == nil {
		s.run(r.Context(), reader)
	}
	return nil // the answer has begun: an error can only end it
}

// streamWhere is the condition that the twin of an event must meet when it is delivered; nil:
// none.
func (d *door) streamWhere(r *http.Request) (func(twin.ThingName) bool, error) {
	text := r.URL.Query().Get("where")
	if text == "" {
		return nil, nil
	}
	if d.opts.Fleet == nil {
		return nil, badParam("where", "where: this server has no index")
	}
	c, err := d.opts.Fleet.Condition(text)
	if err != nil {
		return nil, badParam("where", "where: %v", err)
	}
	return func(thing twin.ThingName) bool { return c.Holds(r.Context(), thing) }, nil
}

// streamStart is where a client wants to begin: Last-Event-ID, or after, or now.
func (d *door) streamStart(r *http.Request) (uint64, error) {
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = r.URL.Query().Get("after")
	}
	switch id {
	case "":
		return d.opts.Feed.Head(r.Context())
	case "0":
		return 0, nil
	}
	return parsePosition(id)
}

// streamQuery reads the filter and minInterval.
func streamQuery(r *http.Request) (f FeedFilter, interval time.Duration, err error) {
	q := r.URL.Query()
	for _, name := range listOf(q["thing"]) {
		if !twin.ThingName(name).Valid() {
			return f, 0, invalidf("thing %q is no thing name", name)
		}
		f.Things = append(f.Things, twin.ThingName(name))
	}
	f.Models = listOf(q["model"])
	if f.Kinds, err = kindsOf(q["kind"]); err != nil {
		return f, 0, err
	}
	if len(f.Things) > streamFilterItemsMax || len(f.Models) > streamFilterItemsMax {
		return f, 0, invalidf("thing and model take at most %d names each", streamFilterItemsMax)
	}
	severity, ok := twin.ParseSeverity(q.Get("severity"))
	if !ok {
		return f, 0, invalidf("severity %q is none of info, warning, error, critical", q.Get("severity"))
	}
	f.SeverityMin, f.Path = severity, q.Get("path")
	if text := q.Get("minInterval"); text != "" {
		interval, err = time.ParseDuration(text)
		if err != nil || interval < 0 || interval > streamIntervalMax {
			return f, 0, invalidf("minInterval %q is no duration between 0s and %s, such as 500ms", text, streamIntervalMax)
		}
	}
	return f, interval, nil
}

// listOf splits a query parameter that may be repeated or hold several values with
// commas between them.
func listOf(values []string) []string {
	var list []string
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if item != "" {
				list = append(list, item)
			}
		}
	}
	return list
}

func kindsOf(values []string) ([]twin.EventKind, error) {
	var kinds []twin.EventKind
	for _, name := range listOf(values) {
		k, ok := twin.ParseEventKind(name)
		if !ok {
			return nil, invalidf("kind %q is unknown; kinds are %s", name, strings.Join(twin.EventKindNames(), ", "))
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

func invalidf(format string, args ...any) error {
	return &problem{slug: slugInvalid, Detail: fmt.Sprintf(format, args...)}
}

// streamWriter writes one client's stream.
type streamWriter struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	held *hold
	buf  []byte
	// nameless leaves out the kind as the name of an event, for clients that know no names.
	nameless bool
	// where tells of which twins the events pass; nil: of all.
	where func(twin.ThingName) bool
}

type streamPage struct {
	entries []FeedEntry
	cursor  uint64
	err     error
}

// run copies the feed until the client goes, stops reading, or the feed ends. One
// page at most waits beside the one being written.
func (s *streamWriter) run(ctx context.Context, reader FeedReader) {
	ctx, cancel := context.WithCancel(ctx)
	pages := make(chan streamPage)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			entries, err := reader.Next(ctx)
			select {
			case pages <- streamPage{entries, reader.Cursor(), err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	defer func() { cancel(); <-done }()
	heartbeat := time.NewTicker(streamHeartbeat)
	defer heartbeat.Stop()
	var cursor uint64
	for {
		select {
		case p := <-pages:
			if p.err != nil {
				s.end(p.err)
				return
			}
			cursor = p.cursor
			s.page(p.entries)
		case <-s.held.due():
			s.release()
		case <-heartbeat.C:
			if !s.held.waiting() && cursor != 0 {
				s.comment("", cursor)
			} else {
				s.comment("", 0)
			}
		case <-ctx.Done():
			return
		}
		if s.flush() != nil {
			return
		}
	}
}

// page writes entries, or holds them back until their interval has passed.
func (s *streamWriter) page(entries []FeedEntry) {
	for i := range entries {
		if s.where != nil && !s.where(entries[i].Event.Thing) {
			continue
		}
		if s.held.interval == 0 {
			s.event(&entries[i], entries[i].Cursor)
			continue
		}
		if full := s.held.add(entries[i]); full {
			s.release()
		}
	}
}

// release writes what was held back. All of it carries the id of the oldest
// position from which nothing would be missed: the last of the batch.
func (s *streamWriter) release() {
	batch := s.held.take()
	for i := range batch {
		id := uint64(0)
		if i == len(batch)-1 {
			id = batch[i].Cursor
		}
		s.event(&batch[i], id)
	}
}

// place appends the id of a position.
func (s *streamWriter) place(id uint64) {
	s.buf = append(s.buf, "id: "...)
	s.buf = append(s.buf, formatPosition(id)...)
	s.buf = append(s.buf, '\n')
}

// event appends one event; without an id the client keeps the one before.
func (s *streamWriter) event(e *FeedEntry, id uint64) {
	if id != 0 {
		s.place(id)
	}
	if !s.nameless {
		s.buf = append(s.buf, "event: "...)
		s.buf = append(s.buf, e.Event.Kind.String()...)
		s.buf = append(s.buf, '\n')
	}
	s.buf = append(s.buf, "data: "...)
	body, err := marshal(newEventDocument(&e.Event))
	if err != nil { // only a stored patch that is no JSON could do that
		body, _ = json.Marshal(map[string]string{"error": err.Error()})
	}
	s.buf = append(s.buf, strings.TrimSuffix(string(body), "\n")...)
	s.buf = append(s.buf, "\n\n"...)
}

// comment appends a line that clients ignore and proxies count as life. With an id
// it moves the client's cursor over events its filter left out.
func (s *streamWriter) comment(text string, id uint64) {
	if id != 0 {
		s.place(id)
	}
	s.buf = append(s.buf, ": "...)
	s.buf = append(s.buf, text...)
	s.buf = append(s.buf, "\n\n"...)
}

// end tells the client why the stream ends.
func (s *streamWriter) end(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	body, _ := json.Marshal(map[string]string{"detail": twin.ErrorMessage(err)}) // strings only
	s.buf = append(s.buf, "event: end\ndata: "...)
	s.buf = append(s.buf, body...)
	s.buf = append(s.buf, "\n\n"...)
	_ = s.flush() // the client may be gone
}

func (s *streamWriter) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	// The server's own write timeout is for answers with an end.
	_ = s.rc.SetWriteDeadline(time.Now().Add(streamWriteTimeout)) // not every writer has one
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	if err != nil {
		return err
	}
	return s.rc.Flush()
}

// A position is shown as p<number>-<check>, the check being enough to tell a cursor
// that somebody edited.
func formatPosition(pos uint64) string {
	n := strconv.FormatUint(pos, 36)
	return "p" + n + "-" + strconv.FormatUint(uint64(twin.PayloadHash("position", []byte(n))%46656), 36)
}

func parsePosition(id string) (uint64, error) {
	number, _, found := strings.Cut(strings.TrimPrefix(id, "p"), "-")
	pos, err := strconv.ParseUint(number, 36, 64)
	if !found || err != nil || formatPosition(pos) != id {
		return 0, invalidf("%q is no event id of this server; start again without Last-Event-ID", id)
	}
	return pos, nil
}
