package feed_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twofold-iot/twofold/internal/feed"
	"github.com/twofold-iot/twofold/twin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryLog is a log in memory. Positions may have no event: there only records were
// written.
type memoryLog struct {
	mu      sync.Mutex
	entries []feed.Raw
	head    feed.Cursor
	oldest  feed.Cursor
	fault   error
	reads   atomic.Int64
	heads   atomic.Int64
}

func (l *memoryLog) Feed(ctx context.Context, after feed.Cursor, limit int) ([]feed.Raw, error) {
	l.reads.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := cmpErr(ctx.Err(), l.fault); err != nil {
		return nil, err
	}
	i, _ := slices.BinarySearchFunc(l.entries, max(after, l.oldest)+1, func(r feed.Raw, c feed.Cursor) int { return int(r.Cursor) - int(c) })
	return slices.Clone(l.entries[i:min(len(l.entries), i+limit)]), nil
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *memoryLog) Head(context.Context) (feed.Cursor, error) {
	l.heads.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head, l.fault
}

func (l *memoryLog) Oldest(context.Context) (feed.Cursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oldest, nil
}

// write adds an event whose seq is its position.
func (l *memoryLog) write() feed.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head++
	ev := twin.Event{
		Thing: twin.ThingName(fmt.Sprint("thing-", l.head%5)), Seq: twin.Seq(l.head), Kind: twin.EventUpdated,
		Version: 1, Time: 1, Patch: []byte(`{"reported":{"t":1}}`),
	}
	l.entries = append(l.entries, feed.Raw{Cursor: l.head, Event: ev.AppendBinary(nil)})
	return l.head
}

// skip takes a position for records alone.
func (l *memoryLog) skip() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head++
}

func (l *memoryLog) expire(oldest feed.Cursor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.oldest = oldest
}

func (l *memoryLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = err
}

func (l *memoryLog) cursors() []feed.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	var cs []feed.Cursor
	for _, e := range l.entries {
		cs = append(cs, e.Cursor)
	}
	return cs
}

var small = feed.Options{EntriesMax: 16, BytesMax: 1 << 20, PageLenMax: 5}

// run follows a log until the test ends.
func run(t *testing.T, log *memoryLog, o feed.Options) *feed.Hub {
	t.Helper()
	h := feed.NewHub(log, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return h
}

func subscribe(t *testing.T, h *feed.Hub, after feed.Cursor, f feed.Filter) *feed.Reader {
	t.Helper()
	r, err := h.Subscribe(t.Context(), after, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// until reads up to a position, which must have a matching event, and returns the
// positions on the way.
func until(r *feed.Reader, last feed.Cursor) ([]feed.Cursor, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var got []feed.Cursor
	for len(got) == 0 || got[len(got)-1] < last {
		page, err := r.Next(ctx)
		if err != nil {
			return got, err
		}
		for _, e := range page {
			if e.Event.Seq != twin.Seq(e.Cursor) {
				return got, fmt.Errorf("position %d has event %d", e.Cursor, e.Event.Seq)
			}
			got = append(got, e.Cursor)
		}
		if len(page) > 0 && r.Cursor() < page[len(page)-1].Cursor {
			return got, fmt.Errorf("the cursor is at %d after %d", r.Cursor(), page[len(page)-1].Cursor)
		}
	}
	return got, nil
}

// between are the positions of a log after one and up to another.
func between(log *memoryLog, after, last feed.Cursor) []feed.Cursor {
	return slices.DeleteFunc(log.cursors(), func(c feed.Cursor) bool { return c <= after || c > last })
}

func wantUntil(t *testing.T, log *memoryLog, r *feed.Reader, last feed.Cursor) {
	t.Helper()
	want := between(log, r.Cursor(), last)
	got, err := until(r, last)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %v and %v, want %v", got, err, want)
	}
}

// TestReader_Next_Order has fifty readers that come, go, resume and dawdle while there
// are writes, some of records alone: each must see every event once and in order.
func TestReader_Next_Order(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	log := &memoryLog{}
	h := run(t, log, small)
	const readers, writes = 50, 3000
	var wait sync.WaitGroup
	errs := make(chan error, readers)
	ended := make(chan feed.Cursor)
	for i := range readers {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		wait.Go(func() { errs <- dawdle(t.Context(), h, log, rng, ended) })
	}
	rng := rand.New(rand.NewPCG(seed, readers))
	for range writes {
		log.write()
		if rng.IntN(10) == 0 {
			log.skip()
		}
		if rng.IntN(3) == 0 {
			h.Wake()
		}
	}
	last := log.write()
	h.Wake()
	for range readers {
		ended <- last
	}
	wait.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

// dawdle reads, now and then as a new reader from the cursor of the old one, until it
// has the last event.
func dawdle(ctx context.Context, h *feed.Hub, log *memoryLog, rng *rand.Rand, ended <-chan feed.Cursor) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var got []feed.Cursor
	var cursor, last feed.Cursor
	for last == 0 || cursor < last {
		r, err := h.Subscribe(ctx, cursor, feed.Filter{})
		if err != nil {
			return err
		}
		for range 1 + rng.IntN(200) {
			select {
			case last = <-ended:
				ended = nil
			default:
			}
			if last != 0 && r.Cursor() >= last {
				break
			}
			if head, _ := log.Head(ctx); r.Cursor() >= head && last == 0 {
				break // it could wait for long
			}
			if rng.IntN(50) == 0 {
				last = wait(ctx, ended, last)
				ended = nil
			}
			page, err := next(ctx, r, last)
			if err != nil {
				r.Close()
				return err
			}
			for _, e := range page {
				got = append(got, e.Cursor)
			}
		}
		cursor = r.Cursor()
		r.Close()
	}
	if want := between(log, 0, last); !slices.Equal(got, want) {
		return fmt.Errorf("got %d positions, want %d: %v", len(got), len(want), got)
	}
	return nil
}

// wait dawdles until all is written.
func wait(ctx context.Context, ended <-chan feed.Cursor, last feed.Cursor) feed.Cursor {
	if last != 0 || ended == nil {
		return last
	}
	select {
	case last = <-ended:
	case <-ctx.Done():
	}
	return last
}

// next gives up waiting, so that a reader at a head that stays sees the end of the test.
func next(ctx context.Context, r *feed.Reader, last feed.Cursor) ([]feed.Entry, error) {
	if last == 0 {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		page, err := r.Next(short)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return nil, nil
		}
		return page, err
	}
	return r.Next(ctx)
}

// TestReader_Next_Slow: what memory has dropped comes from the log, and memory again
// serves who has caught up.
func TestReader_Next_Slow(t *testing.T) {
	log := &memoryLog{}
	h := run(t, log, small)
	slow, fast := subscribe(t, h, 0, feed.Filter{}), subscribe(t, h, 0, feed.Filter{})
	var last feed.Cursor
	for range 100 {
		last = log.write()
		h.Wake()
		wantUntil(t, log, fast, last)
	}
	before := log.reads.Load()
	wantUntil(t, log, slow, last)
	if reads := log.reads.Load() - before; reads < 10 || reads > 20 {
		t.Errorf("84 entries that memory has dropped took %d reads of 5, want 17", reads)
	}
	before = log.reads.Load()
	for range 100 {
		last = log.write()
		h.Wake()
		wantUntil(t, log, slow, last)
		wantUntil(t, log, fast, last)
	}
	// The hub reads each entry, and once more to see that there is nothing after it.
	if reads := log.reads.Load() - before; reads > 2*100+10 {
		t.Errorf("100 entries in memory took %d reads of the log", reads)
	}
}

// TestReader_Next_BytesMax: with no room for a single entry all comes from the log.
func TestReader_Next_BytesMax(t *testing.T) {
	log := &memoryLog{}
	h := run(t, log, feed.Options{EntriesMax: 1000, BytesMax: 1, PageLenMax: 3})
	r := subscribe(t, h, 0, feed.Filter{})
	var last feed.Cursor
	for range 20 {
		last = log.write()
		h.Wake()
	}
	wantUntil(t, log, r, last)
}

func TestHub_Subscribe_Gone(t *testing.T) {
	log := &memoryLog{}
	for range 100 {
		log.write()
	}
	h := run(t, log, small)
	slow := subscribe(t, h, 10, feed.Filter{})
	log.expire(50)
	var gone *feed.GoneError
	if _, err := h.Subscribe(t.Context(), 49, feed.Filter{}); !errors.As(err, &gone) || gone.Cursor != 49 || gone.Oldest != 50 {
		t.Errorf("after 49: %v", err)
	}
	wantUntil(t, log, subscribe(t, h, 50, feed.Filter{}), 100)
	// One that was subscribed in time but read too late must not skip what is gone.
	if page, err := slow.Next(t.Context()); !errors.As(err, &gone) || gone.Cursor != 10 {
		t.Errorf("the slow reader got %d entries and %v", len(page), err)
	}
}

func TestHub_Subscribe_Ahead(t *testing.T) {
	log := &memoryLog{}
	log.write()
	h := run(t, log, small)
	_, err := h.Subscribe(t.Context(), 2, feed.Filter{})
	if twin.Kind(err) != twin.KindInvalid {
		t.Errorf("got %v, want it to be invalid", err)
	}
	subscribe(t, h, 1, feed.Filter{})
}

// TestReader_Next_RecordsOnly: positions without an event neither stop nor delay.
func TestReader_Next_RecordsOnly(t *testing.T) {
	log := &memoryLog{}
	for range 30 {
		log.skip()
	}
	h := run(t, log, small)
	r := subscribe(t, h, 3, feed.Filter{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if page, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v and %v where there is nothing", page, err)
	}
	if reads := log.reads.Load(); reads > 5 {
		t.Errorf("waiting took %d reads", reads)
	}
	last := log.write()
	h.Wake()
	wantUntil(t, log, r, last)
}

// TestHub_Subscribe_BeforeRun: a reader that is behind the head must not wait for news.
func TestHub_Subscribe_BeforeRun(t *testing.T) {
	log := &memoryLog{}
	for range 10 {
		log.write()
	}
	h := feed.NewHub(log, small)
	r := subscribe(t, h, 4, feed.Filter{})
	type answer struct {
		got []feed.Cursor
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		got, err := until(r, 10)
		answers <- answer{got, err}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	a := <-answers
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if a.err != nil || !slices.Equal(a.got, between(log, 4, 10)) {
		t.Errorf("got %v, %v", a.got, a.err)
	}
}

// TestHub_Idle: with no reader the hub reads no events, and goes on without a gap when
// one comes.
func TestHub_Idle(t *testing.T) {
	log := &memoryLog{}
	h := run(t, log, small)
	r := subscribe(t, h, 0, feed.Filter{})
	last := log.write()
	h.Wake()
	wantUntil(t, log, r, last)
	r.Close()
	r.Close() // twice is fine
	before := log.reads.Load()
	for range 100 {
		last = log.write()
		heads := log.heads.Load()
		h.Wake()
		for deadline := time.Now().Add(patience); log.heads.Load() == heads; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("the idle hub does not go to the head")
			}
		}
	}
	if reads := log.reads.Load() - before; reads > 1 { // one may have been under way
		t.Errorf("the idle hub read %d pages", reads)
	}
	again := subscribe(t, h, r.Cursor(), feed.Filter{})
	wantUntil(t, log, again, last)
	last = log.write()
	h.Wake()
	wantUntil(t, log, again, last)
}

func TestHub_Run_Fault(t *testing.T) {
	log := &memoryLog{}
	h := feed.NewHub(log, small)
	r := subscribe(t, h, 0, feed.Filter{})
	done := make(chan error, 1)
	go func() { done <- h.Run(t.Context()) }()
	log.write()
	h.Wake()
	if _, err := until(r, 1); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the disk lies")
	log.fail(broken)
	h.Wake()
	if err := <-done; !errors.Is(err, broken) {
		t.Errorf("run: %v", err)
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, broken) {
		t.Errorf("next: %v", err)
	}
}

func TestHub_Run_Stop(t *testing.T) {
	log := &memoryLog{}
	h := feed.NewHub(log, small)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	r := subscribe(t, h, 0, feed.Filter{})
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if _, err := r.Next(t.Context()); err == nil {
		t.Error("a reader of a hub that has stopped waits for nothing")
	}
}

func TestFilter_Match(t *testing.T) {
	ev := twin.Event{
		Thing: "pump", Model: "p1", Kind: twin.EventUpdated, Severity: twin.SeverityWarning,
		Patch: []byte(`{"reported":{"engine":{"rpm":7}}}`),
	}
	for _, c := range []struct {
		f    feed.Filter
		want bool
	}{
		{feed.Filter{}, true},
		{feed.Filter{Things: []twin.ThingName{"x", "pump"}}, true},
		{feed.Filter{Things: []twin.ThingName{"x"}}, false},
		{feed.Filter{Models: []string{"p1"}}, true},
		{feed.Filter{Models: []string{"p2"}}, false},
		{feed.Filter{Kinds: []twin.EventKind{twin.EventUpdated}}, true},
		{feed.Filter{Kinds: []twin.EventKind{twin.EventDeleted}}, false},
		{feed.Filter{SeverityMin: twin.SeverityWarning}, true},
		{feed.Filter{SeverityMin: twin.SeverityError}, false},
		{feed.Filter{Path: "reported.engine.rpm"}, true},
		{feed.Filter{Path: "reported.engine"}, true},
		{feed.Filter{Path: "reported.engine.rpm.x"}, true},
		{feed.Filter{Path: "reported.engine.oil"}, false},
		{feed.Filter{Path: "desired"}, false},
		{feed.Filter{Things: []twin.ThingName{"pump"}, Path: "desired"}, false},
	} {
		if got := c.f.Match(&ev); got != c.want {
			t.Errorf("%+v: %t", c.f, got)
		}
	}
}

// TestReader_Next_Filter: the cursor moves over what does not match, also through a long
// stretch of the log.
func TestReader_Next_Filter(t *testing.T) {
	log := &memoryLog{}
	for range 100 {
		log.write()
	}
	h := run(t, log, small)
	r := subscribe(t, h, 0, feed.Filter{Things: []twin.ThingName{"thing-3"}})
	got, err := until(r, 98)
	want := slices.DeleteFunc(log.cursors(), func(c feed.Cursor) bool { return c%5 != 3 })
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %v and %v, want %v", got, err, want)
	}
	none := subscribe(t, h, 0, feed.Filter{Things: []twin.ThingName{"nobody"}})
	for none.Cursor() < 100 {
		if page, err := none.Next(t.Context()); err != nil || len(page) > 0 {
			t.Fatalf("got %v and %v", page, err)
		}
	}
}
