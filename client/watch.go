package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// WatchQuery selects what is followed; empty fields let all pass.
type WatchQuery struct {
	Things      []twin.ThingName
	Models      []string
	Kinds       []string
	Severity    string        // the least
	Path        string        // of a change
	Where       string        // only of twins for which this condition holds when the event is delivered
	MinInterval time.Duration // between two events of one shadow: the newest counts
	After       string        // cursor of the last event seen; empty: from now on, "0": from the oldest kept
	// Lost, if not nil, is told when the connection was lost; Watch goes on where it was.
	Lost func(error)
}

// Watched is an event with its cursor, which is where to go on after it; empty when
// several came at once and this is not the last.
type Watched struct {
	Cursor string
	Event
}

// Limits of following the feed.
const (
	watchLineBytesMax = 1 << 20
	watchSilenceMax   = time.Minute // the server says something every 15 seconds
	watchBatchMax     = 20_000      // events without a cursor; the server sends half of that at most
	watchWaitMin      = 250 * time.Millisecond
	watchWaitMax      = 15 * time.Second
)

// Watch follows the feed until ctx ends or the loop does. When the connection is lost it
// connects again and goes on after the last event, without gap or repeat. Only a refusal
// by the server ends it with an error.
func (c *Client) Watch(ctx context.Context, q WatchQuery) iter.Seq2[Watched, error] {
	return func(yield func(Watched, error) bool) {
		cursor, wait := q.After, watchWaitMin
		for ctx.Err() == nil {
			stopped := false
			err := c.watchOnce(ctx, &q, &cursor, func(w Watched) bool {
				wait = watchWaitMin
				stopped = !yield(w, nil)
				return !stopped
			})
			var refused *Error
			switch {
			case stopped || ctx.Err() != nil:
				return
			case errors.As(err, &refused) && refused.Status < http.StatusInternalServerError:
				yield(Watched{}, err)
				return
			}
			if q.Lost != nil {
				q.Lost(err)
			}
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
			wait = min(2*wait, watchWaitMax)
		}
	}
}

// watchOnce follows one connection to its end.
func (c *Client) watchOnce(ctx context.Context, q *WatchQuery, cursor *string, found func(Watched) bool) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.String()+"/api/v1/stream?"+q.values().Encode(), nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	req.Header.Set("Accept", "text/event-stream")
	if *cursor != "" {
		req.Header.Set("Last-Event-ID", *cursor)
	}
	// A peer that went without a word is noticed by its silence.
	silence := time.AfterFunc(watchSilenceMax, cancel)
	defer silence.Stop()
	res, err := c.opts.HTTP.Do(req)
	if err != nil {
		return &UnreachableError{Server: c.base.String(), Err: bare(err)}
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, c.opts.BodyBytesMax)) // what there is of it
		return newError(res, body)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, watchLineBytesMax)
	var ev sseEvent
	var batch []Watched // of which only the last will say where to go on: given away together, so that none comes twice
	for lines.Scan() {
		silence.Reset(watchSilenceMax)
		if !ev.line(lines.Text()) {
			continue
		}
		w, ok, err := ev.take(cursor)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		batch = append(batch, w)
		if w.Cursor == "" && len(batch) < watchBatchMax {
			continue
		}
		for _, w := range batch {
			if !found(w) {
				return nil
			}
		}
		batch = batch[:0]
	}
	return &UnreachableError{Server: c.base.String(), Err: errors.Join(lines.Err(), errors.New("the stream ended"))}
}

func (q *WatchQuery) values() url.Values {
	v := url.Values{}
	for _, t := range q.Things {
		v.Add("thing", string(t))
	}
	for _, m := range q.Models {
		v.Add("model", m)
	}
	for _, k := range q.Kinds {
		v.Add("kind", k)
	}
	setText(v, "severity", q.Severity)
	setText(v, "path", q.Path)
	setText(v, "where", q.Where)
	if q.MinInterval > 0 {
		v.Set("minInterval", q.MinInterval.String())
	}
	return v
}

// sseEvent collects the lines of one server-sent event.
type sseEvent struct {
	id, name, data string
}

// line adds a line and reports whether the event is complete.
func (e *sseEvent) line(text string) bool {
	if text == "" {
		return true
	}
	field, value, _ := strings.Cut(text, ":")
	value = strings.TrimPrefix(value, " ")
	switch field {
	case "id":
		e.id = value
	case "event":
		e.name = value
	case "data":
		e.data += value
	}
	return false
}

// take returns the event and moves the cursor; ok is false for what is only a sign of
// life. An id comes with the last event of a batch, so nothing is waiting when it moves.
func (e *sseEvent) take(cursor *string) (w Watched, ok bool, err error) {
	if e.id != "" {
		*cursor = e.id
	}
	w.Cursor = e.id
	name, data := e.name, e.data
	*e = sseEvent{}
	switch {
	case data == "":
		return w, false, nil
	case name == "end":
		return w, false, fmt.Errorf("the server ended the stream: %s", data)
	}
	w.Raw = json.RawMessage(data)
	if err := json.Unmarshal(w.Raw, &w.Event); err != nil {
		return w, false, fmt.Errorf("read an event of the stream: %w", err)
	}
	w.Raw = json.RawMessage(data)
	return w, true, nil
}
