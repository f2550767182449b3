package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/feed"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/webhook"
	"github.com/twofold-iot/twofold/twin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const waitMax = 10 * time.Second

// memoryLog shows a store to the feed.
type memoryLog struct {
	*store.Memory
	mu     sync.Mutex
	oldest feed.Cursor
}

func (l *memoryLog) Feed(ctx context.Context, after feed.Cursor, limit int) ([]feed.Raw, error) {
	entries, err := l.Memory.Feed(ctx, store.Pos(after), limit)
	raw := make([]feed.Raw, 0, len(entries))
	for _, e := range entries {
		if o, _ := l.Oldest(ctx); feed.Cursor(e.Pos) > o {
			raw = append(raw, feed.Raw{Cursor: feed.Cursor(e.Pos), Event: e.Event})
		}
	}
	return raw, err
}

func (l *memoryLog) Head(ctx context.Context) (feed.Cursor, error) {
	pos, err := l.Memory.Head(ctx)
	return feed.Cursor(pos), err
}

func (l *memoryLog) Oldest(context.Context) (feed.Cursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oldest, nil
}

// expire lets all that is there now expire.
func (l *memoryLog) expire(t *testing.T) {
	t.Helper()
	head, err := l.Head(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.oldest = head
	l.mu.Unlock()
}

type events struct {
	*feed.Hub
	log *memoryLog
}

func (e events) Head(ctx context.Context) (feed.Cursor, error) { return e.log.Head(ctx) }

// world is a server's inside whose webhooks can be restarted.
type world struct {
	*webhook.Service
	log    *memoryLog
	engine *engine.Engine
	hub    *feed.Hub
	now    time.Time
	opts   webhook.Options
	// waits gets how long a webhook waits after a failure; it goes on when that is read.
	waits chan time.Duration
}

func newWorld(t *testing.T, change func(*webhook.Options)) *world {
	t.Helper()
	w := &world{log: &memoryLog{Memory: store.NewMemory()}, now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), waits: make(chan time.Duration)}
	guard, err := webhook.NewGuard([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	w.opts = webhook.Options{
		Enabled: true, Now: func() time.Time { return w.now }, Guard: guard,
		Encode: func(at feed.Cursor, ev *twin.Event) ([]byte, error) {
			return fmt.Appendf(nil, `{"thing":%q,"seq":%d,"kind":%q}`, ev.Thing, ev.Seq, ev.Kind), nil
		},
		Wait: func(ctx context.Context, d time.Duration) error {
			select {
			case w.waits <- d:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	}
	if change != nil {
		change(&w.opts)
	}
	w.hub = feed.NewHub(w.log, feed.Options{})
	w.engine, err = engine.Open(slog.New(slog.DiscardHandler), w.log.Memory, engine.Options{Now: w.opts.Now, Committed: w.hub.Wake})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { _ = w.hub.Run(ctx) })
	w.open(t)
	t.Cleanup(func() {
		w.Close()
		cancel()
		following.Wait()
		if err := w.engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) open(t *testing.T) {
	t.Helper()
	s, err := webhook.Open(slog.New(slog.DiscardHandler), w.engine, events{w.hub, w.log}, w.opts)
	if err != nil {
		t.Fatal(err)
	}
	w.Service = s
}

// restart ends the service and makes another on the same records.
func (w *world) restart(t *testing.T) {
	t.Helper()
	w.Close()
	w.open(t)
}

func (w *world) add(t *testing.T, hook twin.Webhook) string {
	t.Helper()
	if hook.Batch == 0 {
		hook.Batch = 1
	}
	if hook.Name == "" {
		hook.Name = "crm"
	}
	_, secret, err := w.Create(context.Background(), &hook, "")
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// happen commits so many events of a thing.
func (w *world) happen(t *testing.T, thing twin.ThingName, n int) {
	t.Helper()
	w.change(t, thing, `{"state":{"reported":{"t":1}}}`, n)
}

func (w *world) change(t *testing.T, thing twin.ThingName, body string, n int) {
	t.Helper()
	request, err := twin.ParseRequest([]byte(body), w.engine.Limits())
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		done := make(chan error, 1)
		err := w.engine.Submit(twin.Update{
			Key: twin.ShadowKey{Thing: thing}, Request: request,
			Origin: twin.Origin{Door: twin.DoorREST},
		}, func(r twin.Result) { done <- r.Err })
		if err == nil {
			err = <-done
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(waitMax); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", waitMax, what)
		}
	}
}

func (w *world) status(t *testing.T, name twin.WebhookName) twin.WebhookStatus {
	t.Helper()
	s, err := w.Webhook(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// got is a request as a receiver sees it.
type got struct {
	id, at, signature, body string
	seqs                    []int
	kind                    string
}

// receiver is an HTTP server that answers as a test wants.
type receiver struct {
	*httptest.Server
	requests chan got

	hold chan struct{} // nil, or answers wait until it is closed

	mu     sync.Mutex
	status int
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{requests: make(chan got, 10_000), status: 200}
	r.Server = httptest.NewServer(http.HandlerFunc(r.receive))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	r.status = status
	r.mu.Unlock()
}

// pause lets answers wait until the channel is closed.
func (r *receiver) pause() chan struct{} {
	hold := make(chan struct{})
	r.mu.Lock()
	r.hold = hold
	r.mu.Unlock()
	return hold
}

func (r *receiver) receive(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	g := got{id: req.Header.Get("webhook-id"), at: req.Header.Get("webhook-timestamp"), signature: req.Header.Get("webhook-signature"), body: string(body)}
	var m struct {
		Type string
		Data struct{ Events []struct{ Seq int } }
	}
	if err := json.Unmarshal(body, &m); err != nil {
		g.kind = err.Error()
	} else {
		g.kind = m.Type
	}
	for _, ev := range m.Data.Events {
		g.seqs = append(g.seqs, ev.Seq)
	}
	r.mu.Lock()
	status, hold := r.status, r.hold
	r.mu.Unlock()
	r.requests <- g // before the answer, so that the next request is not noted first
	if hold != nil {
		<-hold
	}
	if status/100 == 3 {
		w.Header().Set("Location", "http://"+req.Host+"/elsewhere")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, strings.Repeat("x", 100_000)) // nobody has to read this
}

func (r *receiver) next(t *testing.T) got {
	t.Helper()
	select {
	case g := <-r.requests:
		return g
	case <-time.After(waitMax):
		t.Fatal("no request comes")
		return got{}
	}
}

func (r *receiver) none(t *testing.T) {
	t.Helper()
	select {
	case g := <-r.requests:
		t.Fatalf("a request came: %+v", g)
	default:
	}
}

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

type feedCursor = feed.Cursor

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
