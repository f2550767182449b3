package action_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/twofold-iot/twofold/internal/action"
	"github.com/twofold-iot/twofold/internal/feed"
	"github.com/twofold-iot/twofold/twin"
)

// world is a feed, records and a service of commands in memory.
type world struct {
	mu      sync.Mutex
	events  []twin.Event
	records map[string][]byte
	sent    []string
	refuse  error
	asked   chan struct{}
	now     twin.Time
}

func (w *world) Feed(_ context.Context, after feed.Cursor, limit int) ([]feed.Raw, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []feed.Raw
	for i := int(after); i < len(w.events) && len(list) < limit; i++ {
		list = append(list, feed.Raw{Cursor: feed.Cursor(i + 1), Event: w.events[i].AppendBinary(nil)})
	}
	return list, nil
}

func (w *world) Head(context.Context) (feed.Cursor, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return feed.Cursor(len(w.events)), nil
}

func (w *world) Oldest(context.Context) (feed.Cursor, error) { return 0, nil }

func (w *world) WriteRecords(_ string, ws []twin.RecordWrite, done func(error)) error {
	w.mu.Lock()
	for _, x := range ws {
		w.records[x.Key] = x.Value
	}
	w.mu.Unlock()
	done(nil)
	return nil
}

func (w *world) Records(context.Context, twin.RecordKind, string, string, int) ([]twin.Record, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []twin.Record
	for key, value := range w.records {
		list = append(list, twin.Record{Key: key, Value: value})
	}
	return list, nil
}

func (w *world) Now() twin.Time { return w.now }

func (w *world) Send(_ context.Context, thing twin.ThingName, r *twin.CommandRequest, _ twin.Origin) (twin.Command, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.asked <- struct{}{} }()
	if w.refuse != nil && thing == "bad" {
		return twin.Command{}, false, w.refuse
	}
	w.sent = append(w.sent, fmt.Sprintf("%s %s %s %s %s", thing, r.ID, r.Name, r.Parameters, r.ExpiresIn))
	return twin.Command{}, false, nil
}

// run follows the feed until so many commands were asked for.
func (w *world) run(t *testing.T, asked int) {
	t.Helper()
	hub := feed.NewHub(w, feed.Options{})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = hub.Run(ctx) })
	r := &action.Runner{Log: slog.New(slog.DiscardHandler), Feed: struct {
		*feed.Hub
		head
	}{hub, head{w}}, Records: w, Commands: w}
	if err := r.Open(ctx); err != nil {
		t.Fatal(err)
	}
	running.Go(func() { r.Run(ctx) })
	for range asked {
		<-w.asked
	}
	stop()
	running.Wait()
}

type head struct{ w *world }

func (h head) Head(ctx context.Context) (feed.Cursor, error) { return h.w.Head(ctx) }

func (w *world) add(thing twin.ThingName, kind, data string) {
	w.events = append(w.events, twin.Event{Thing: thing, Seq: twin.Seq(len(w.events) + 1), Kind: twin.EventBehaviour, Type: kind, Time: w.now, Data: []byte(data)})
}

// A new runner begins at the end of the feed; one that dies before it has kept its place asks
// again, under the same id. What cannot be sent does not hold up the rest.
func TestRunner(t *testing.T) {
	w := &world{records: map[string][]byte{}, asked: make(chan struct{}, 100), now: 1_000_000}
	const flush = `{"state":"dirty","command":{"name":"flush","parameters":{"seconds":30},"expiresIn":"10m0s"}}`
	w.add("pump-1", "command", flush)
	w.run(t, 0)
	if len(w.sent) != 0 || len(w.records) != 1 {
		t.Fatalf("sent %v, records %d", w.sent, len(w.records))
	}
	w.add("pump-1", "entered", `{"state":"dirty"}`)
	w.add("pump-1", "command", flush)
	w.add("bad", "command", flush)
	w.add("pump-2", "command", `{"command":{"name":"stop"}}`)
	w.refuse = twin.NewError(twin.KindThrottled, "too many")
	w.run(t, 3)
	want := []string{`pump-1 behaviour-3 flush {"seconds":30} 10m0s`, `pump-2 behaviour-5 stop {} 1h0m0s`}
	if !slices.Equal(w.sent, want) {
		t.Errorf("sent %q", w.sent)
	}
	w.sent, w.refuse = nil, nil
	w.run(t, 3) // the place has not moved: it was kept less than five seconds ago
	if len(w.sent) != 3 || w.sent[0] != want[0] || w.sent[2] != want[1] {
		t.Errorf("sent again %q", w.sent)
	}
	w.sent = nil
	w.now += 11 * 60 * 1000 // what has expired is not sent
	w.run(t, 1)
	if !slices.Equal(w.sent, want[1:]) {
		t.Errorf("sent late %q", w.sent)
	}
}
