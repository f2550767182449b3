package webhook_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/webhook"
	"github.com/twofold-iot/twofold/twin"
)

// failing refuses writes while it is told to.
type failing struct {
	*engine.Engine
	refuse  atomic.Bool
	refused chan struct{}
}

func (f *failing) WriteRecords(key string, ws []twin.RecordWrite, done func(error)) error {
	if !f.refuse.Load() {
		return f.Engine.WriteRecords(key, ws, done)
	}
	select {
	case f.refused <- struct{}{}:
	default:
	}
	return twin.NewError(twin.KindFull, "The disk is full")
}

// What was delivered but could not be noted, as after a crash just then, is sent again with
// the same id and body; nothing is lost and nothing overtakes.
func TestService_notNoted(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	w.Close()
	f := &failing{Engine: w.engine, refused: make(chan struct{}, 1)}
	s, err := webhook.Open(quietLog(), f, events{w.hub, w.log}, w.opts)
	if err != nil {
		t.Fatal(err)
	}
	w.Service = s
	w.add(t, twin.Webhook{URL: r.URL, Batch: 2})
	hold := r.pause()
	w.happen(t, "pump-7", 1)
	first := r.next(t)
	f.refuse.Store(true)
	w.happen(t, "pump-7", 4)
	close(hold) // it answers 200, which cannot be noted
	<-f.refused
	for range 3 {
		<-w.waits
		if g := r.next(t); g.id != first.id || g.body != first.body {
			t.Fatalf("sent %+v, then %+v", first, g)
		}
	}
	if got := w.status(t, "crm"); got.Delivered != 0 {
		t.Errorf("%+v", got)
	}
	f.refuse.Store(false)
	var seqs []int
	for len(seqs) == 0 || seqs[len(seqs)-1] != 5 {
		select {
		case <-w.waits:
		case g := <-r.requests:
			if g.id != first.id {
				seqs = append(seqs, g.seqs...)
			}
		case <-time.After(waitMax):
			t.Fatalf("it does not go on: %v", seqs)
		}
	}
	if want := []int{2, 3, 4, 5}; !slices.Equal(seqs, want) {
		t.Errorf("got %v, want %v", seqs, want)
	}
}

// Events that are longer than a webhook may hold come whole, in order, in requests of a
// bounded size.
func TestService_long(t *testing.T) {
	w := newWorld(t, func(o *webhook.Options) {
		encode := o.Encode
		o.Encode = func(at feedCursor, ev *twin.Event) ([]byte, error) {
			b, err := encode(at, ev)
			return append(b[:len(b)-1], `,"pad":"`+strings.Repeat("x", len(ev.Patch))+`"}`...), err
		}
	})
	r := newReceiver(t)
	w.add(t, twin.Webhook{URL: r.URL, Batch: 100})
	w.Close()
	const n = 400
	w.change(t, "pump-7", `{"state":{"reported":{"t":"`+strings.Repeat("y", 7000)+`"}}}`, n)
	w.open(t)
	var seqs []int
	requests := 0
	for len(seqs) < n {
		g := r.next(t)
		requests++
		if len(g.body) > 256<<10 {
			t.Fatalf("a request of %d bytes", len(g.body))
		}
		seqs = append(seqs, g.seqs...)
	}
	for i, seq := range seqs {
		if seq != i+1 {
			t.Fatalf("event %d is number %d", seq, i)
		}
	}
	if requests < n*7000/(256<<10) {
		t.Errorf("only %d requests", requests)
	}
}

// A webhook can be removed while its receiver is silent, and is gone after a restart.
func TestService_deleteWhileSilent(t *testing.T) {
	w := newWorld(t, func(o *webhook.Options) { o.Timeout = time.Hour })
	w.add(t, twin.Webhook{URL: "http://" + newSilent(t)})
	w.happen(t, "pump-7", 1)
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	if err := w.Delete(ctx, "crm"); err != nil {
		t.Fatal(err)
	}
	w.restart(t)
	if list := w.Webhooks(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	if err := w.Delete(ctx, "crm"); twin.Kind(err) != twin.KindNotFound {
		t.Errorf("%v", err)
	}
	for _, kind := range []twin.RecordKind{twin.RecordWebhook, twin.RecordDeadLetter} {
		if left, err := w.engine.Records(ctx, kind, "", "", 10); len(left) != 0 || err != nil {
			t.Errorf("%+v %v", left, err)
		}
	}
}

// A webhook of which the filter lets nothing pass moves on in the log all the same, so that
// what it has not to see can expire.
func TestService_idle(t *testing.T) {
	w, r := newWorld(t, func(o *webhook.Options) { o.KeepEvery = time.Millisecond }), newReceiver(t)
	w.happen(t, "lamp-1", 1)
	w.add(t, twin.Webhook{URL: r.URL, Filter: twin.WebhookFilter{Things: []twin.ThingName{"pump-7"}}})
	before := w.place(t)
	w.happen(t, "lamp-1", 3)
	eventually(t, "its place moves", func() bool { return w.place(t) != before })
	moved := w.place(t)
	w.Close()
	w.log.expire(t)
	w.happen(t, "pump-7", 1)
	w.open(t)
	if g := r.next(t); len(g.seqs) != 1 {
		t.Errorf("%+v from %s", g, moved)
	}
}

func (w *world) place(t *testing.T) string {
	t.Helper()
	rs, err := w.engine.Records(context.Background(), twin.RecordWebhook, "crm\x00", "", 1)
	if err != nil || len(rs) != 1 {
		t.Fatal(rs, errors.Join(err))
	}
	return string(rs[0].Value)
}

// Limits, and what is asked of a service that has been closed.
func TestService_limits(t *testing.T) {
	w := newWorld(t, func(o *webhook.Options) { o.HooksMax = 2 })
	w.add(t, twin.Webhook{Name: "a", URL: "https://example.com"})
	w.add(t, twin.Webhook{Name: "b", URL: "https://example.com"})
	hook := &twin.Webhook{Name: "c", URL: "https://example.com", Batch: 1}
	if _, _, err := w.Create(context.Background(), hook, ""); twin.Kind(err) != twin.KindFull {
		t.Errorf("a third: %v", err)
	}
	w.Close()
	hook.Name = "d"
	if _, _, err := w.Create(context.Background(), hook, ""); twin.Kind(err) != twin.KindUnavailable {
		t.Errorf("after the end: %v", err)
	}
	if s := w.status(t, "a"); s.State != twin.WebhookStopped {
		t.Errorf("%+v", s)
	}
}
