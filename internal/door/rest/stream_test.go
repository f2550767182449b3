package rest_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/twin"
)

// streamPatience is how long a test waits for what must happen soon.
const streamPatience = 10 * time.Second

// fakeFeed is a feed of what a test adds.
type fakeFeed struct {
	mu      sync.Mutex
	entries []rest.FeedEntry
	more    chan struct{}
	asked   []rest.FeedFilter
}

func newFakeFeed() *fakeFeed { return &fakeFeed{more: make(chan struct{})} }

func (f *fakeFeed) add(events ...twin.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ev := range events {
		f.entries = append(f.entries, rest.FeedEntry{Cursor: uint64(len(f.entries) + 1), Event: ev})
	}
	close(f.more)
	f.more = make(chan struct{})
}

func (f *fakeFeed) after(pos uint64) ([]rest.FeedEntry, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.entries[min(pos, uint64(len(f.entries))):]), f.more
}

func (f *fakeFeed) Head(context.Context) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return uint64(len(f.entries)), nil
}

func (f *fakeFeed) Subscribe(_ context.Context, after uint64, filter rest.FeedFilter) (rest.FeedReader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, filter)
	return &fakeReader{feed: f, pos: after}, nil
}

type fakeReader struct {
	feed *fakeFeed
	mu   sync.Mutex
	pos  uint64
}

func (r *fakeReader) Next(ctx context.Context) ([]rest.FeedEntry, error) {
	for {
		entries, more := r.feed.after(r.Cursor())
		if len(entries) > 0 {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.pos = entries[len(entries)-1].Cursor
			return entries, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *fakeReader) Cursor() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pos
}

func (r *fakeReader) Close() {}

// streamed is one open stream.
type streamed struct {
	t     *testing.T
	lines chan string
}

// serveStream serves the feed with a write timeout that every stream outlives.
func serveStream(t *testing.T, f *fakeFeed, writeTimeout time.Duration) string {
	t.Helper()
	s := httptest.NewUnstartedServer(rest.New(slog.New(slog.DiscardHandler), newFake(), rest.Options{Feed: f}))
	s.Config.WriteTimeout, s.Config.ReadTimeout = writeTimeout, writeTimeout
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func openStream(t *testing.T, url, query, lastEventID string) *streamed {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v1/stream?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	client := &http.Client{Transport: &http.Transport{}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("%s %s: %s", res.Status, res.Header, body)
	}
	st := &streamed{t, make(chan string, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(st.lines)
		for sc := bufio.NewScanner(res.Body); sc.Scan(); {
			st.lines <- sc.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = res.Body.Close()
		<-done
		client.CloseIdleConnections()
	})
	return st
}

// event returns the next event as "id event data", without what is not in it.
func (s *streamed) event() (id, name, data string) {
	s.t.Helper()
	deadline := time.After(streamPatience)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.t.Fatal("the stream ended")
			}
			switch field, value, _ := strings.Cut(line, ": "); field {
			case "id":
				id = value
			case "event":
				name = value
			case "data":
				return id, name, value
			case "":
				if name == "" && data == "" {
					id = "" // of a comment
				}
			}
		case <-deadline:
			s.t.Fatal("no event came")
		}
	}
}

func reportedEvent(thing twin.ThingName, version twin.Version) twin.Event {
	return twin.Event{
		Thing: thing, Seq: twin.Seq(version), Kind: twin.EventUpdated, Version: version, Time: 1795348800000,
		Origin: twin.Origin{Door: twin.DoorMQTT, Session: "c"}, Patch: []byte(`{"reported":{"x":1.50}}`),
	}
}

func TestStream_resume(t *testing.T) {
	f := newFakeFeed()
	url := serveStream(t, f, time.Minute)
	f.add(reportedEvent("a", 1), reportedEvent("a", 2))
	s := openStream(t, url, "after=0", "")
	first, name, data := s.event()
	if want := `{"thing":"a","seq":1,"kind":"updated","version":1,"time":"2026-11-22T12:00:00.000Z","door":"mqtt","by":"c","patch":{"reported":{"x":1.50}}}`; name != "updated" || data != want {
		t.Errorf("%s %s, want %s", name, data, want)
	}
	// After the first comes the second, to whoever comes back, and nothing twice.
	again := openStream(t, url, "", first)
	if _, _, data := again.event(); !strings.Contains(data, `"seq":2,`) {
		t.Errorf("after the first: %s", data)
	}
	f.add(reportedEvent("a", 3))
	if _, _, data := again.event(); !strings.Contains(data, `"seq":3,`) {
		t.Errorf("after the second: %s", data)
	}
	// Without an id it begins now.
	now := openStream(t, url, "", "")
	f.add(reportedEvent("a", 4))
	if _, _, data := now.event(); !strings.Contains(data, `"seq":4,`) {
		t.Errorf("from now on: %s", data)
	}
}

// Who was connected before the first event of all, and comes back after it, gets it.
func TestStream_resumeFromNothing(t *testing.T) {
	f := newFakeFeed()
	url := serveStream(t, f, time.Minute)
	line := <-openStream(t, url, "", "").lines
	id, ok := strings.CutPrefix(line, "id: ")
	if !ok {
		t.Fatalf("the stream of an empty feed begins with %q", line)
	}
	f.add(reportedEvent("a", 1))
	if _, _, data := openStream(t, url, "", id).event(); !strings.Contains(data, `"seq":1,`) {
		t.Errorf("after nothing: %s", data)
	}
}

// A server ends answers that take too long; a stream is meant to.
func TestStream_outlivesTheTimeouts(t *testing.T) {
	const timeout = 100 * time.Millisecond
	f := newFakeFeed()
	s := openStream(t, serveStream(t, f, timeout), "", "")
	f.add(reportedEvent("a", 1))
	s.event()
	<-time.After(3 * timeout)
	f.add(reportedEvent("a", 2))
	if _, _, data := s.event(); !strings.Contains(data, `"seq":2,`) {
		t.Errorf("after the timeout: %s", data)
	}
}

// Held back, a shadow's newest event counts; other events are all kept.
func TestStream_minInterval(t *testing.T) {
	f := newFakeFeed()
	s := openStream(t, serveStream(t, f, time.Minute), "minInterval=150ms", "")
	alarm := twin.Event{Thing: "a", Seq: 9, Kind: twin.EventReported, Type: "error", Time: 1795348800000}
	f.add(reportedEvent("a", 1), reportedEvent("b", 1), reportedEvent("a", 2), alarm, reportedEvent("a", 3))
	var got []string
	for range 3 {
		id, name, data := s.event()
		got = append(got, name+" "+data[:len(`{"thing":"a","seq":1`)])
		if (id != "") != (len(got) == 3) {
			t.Errorf("event %d of the batch has the id %q; only the last may be gone on from", len(got), id)
		}
	}
	if d := cmp.Diff([]string{`updated {"thing":"b","seq":1`, `reported {"thing":"a","seq":9`, `updated {"thing":"a","seq":3`}, got); d != "" {
		t.Error(d)
	}
}

func TestStream_filter(t *testing.T) {
	f := newFakeFeed()
	url := serveStream(t, f, time.Minute)
	openStream(t, url, "thing=a,b&thing=c&model=pump&kind=updated,rejected&severity=warning&path=reported.x", "")
	want := rest.FeedFilter{
		Things: []twin.ThingName{"a", "b", "c"}, Models: []string{"pump"},
		Kinds: []twin.EventKind{twin.EventUpdated, twin.EventRejected}, SeverityMin: twin.SeverityWarning, Path: "reported.x",
	}
	if d := cmp.Diff([]rest.FeedFilter{want}, f.asked); d != "" {
		t.Error(d)
	}
}

func TestStream_badInput(t *testing.T) {
	h := rest.New(slog.New(slog.DiscardHandler), newFake(), rest.Options{Feed: newFakeFeed()})
	for target, detail := range map[string]string{
		"?kind=unheard": "kinds are updated", "?thing=a/b": "no thing name", "?severity=bad": "info, warning",
		"?minInterval=2h": "no duration between", "?minInterval=-1s": "no duration between", "?after=p1-zz": "no event id", "?things=a": "no parameter here",
		"?thing=" + strings.Repeat("a,", 101): "at most 100",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/stream"+target, nil))
		if w.Code != 400 || !strings.Contains(w.Body.String(), detail) {
			t.Errorf("%.40s: %d %s, want %q", target, w.Code, w.Body, detail)
		}
	}
}
