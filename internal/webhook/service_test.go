package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/webhook"
	"github.com/twofold-iot/twofold/twin"
)

// The signature of the example of Standard Webhooks, which its libraries check too.
func TestSign(t *testing.T) {
	key, err := twin.ParseWebhookSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := webhook.Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

// Events go out in order, one batch after the other, signed.
func TestService_delivers(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	w.happen(t, "pump-7", 2) // before it was made: not its business
	secret := w.add(t, twin.Webhook{URL: r.URL, Batch: 3})
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	w.happen(t, "pump-7", 10)
	var seqs []int
	ids := map[string]bool{}
	for len(seqs) < 10 {
		g := r.next(t)
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", g.id, g.at, g.body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); g.signature != want || g.at != "1795424400" {
			t.Errorf("signature %s at %s, want %s", g.signature, g.at, want)
		}
		if len(g.seqs) > 3 || ids[g.id] || !strings.HasPrefix(g.id, "msg_") {
			t.Errorf("%d events with the id %s", len(g.seqs), g.id)
		}
		ids[g.id] = true
		seqs = append(seqs, g.seqs...)
	}
	if want := []int{3, 4, 5, 6, 7, 8, 9, 10, 11, 12}; !slices.Equal(seqs, want) {
		t.Errorf("got %v, want %v", seqs, want)
	}
	eventually(t, "all are counted", func() bool { return w.status(t, "crm").Delivered == 10 })
	if s := w.status(t, "crm"); s.State != twin.WebhookOK || s.LastOK == 0 || s.LastError != "" {
		t.Errorf("%+v", s)
	}
}

func TestService_filter(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	w.add(t, twin.Webhook{URL: r.URL, Filter: twin.WebhookFilter{Things: []twin.ThingName{"pump-7"}, Kinds: []string{"updated"}, Path: "reported.t"}})
	w.happen(t, "lamp-1", 3)
	w.happen(t, "pump-7", 1)
	if g := r.next(t); !strings.Contains(g.body, `"thing":"pump-7"`) || len(g.seqs) != 1 {
		t.Errorf("%s", g.body)
	}
	r.none(t)
}

// A restart goes on after what was delivered, and repeats what was not, with the same id
// and body.
func TestService_resumes(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	w.add(t, twin.Webhook{URL: r.URL, Batch: 2})
	w.happen(t, "pump-7", 1)
	r.next(t)
	eventually(t, "it is settled", func() bool { return w.status(t, "crm").Delivered == 1 })
	r.answer(500)
	w.happen(t, "pump-7", 1)
	failed := r.next(t)
	w.Close()
	w.happen(t, "pump-7", 5) // while it is down; a batch of two could take one of these too
	r.answer(204)
	w.open(t)
	again := r.next(t)
	if again.id != failed.id || again.body != failed.body || !slices.Equal(again.seqs, []int{2}) {
		t.Errorf("first %+v, then %+v", failed, again)
	}
	seqs := again.seqs
	for len(seqs) < 6 {
		seqs = append(seqs, r.next(t).seqs...)
	}
	if want := []int{2, 3, 4, 5, 6, 7}; !slices.Equal(seqs, want) {
		t.Errorf("got %v, want %v", seqs, want)
	}
	eventually(t, "all are settled", func() bool { return w.status(t, "crm").Delivered == 6 })
	w.restart(t)
	w.happen(t, "pump-7", 1)
	if g := r.next(t); !slices.Equal(g.seqs, []int{8}) {
		t.Errorf("after a restart %v", g.seqs)
	}
}

// A failure is tried again later and later; then the batch is a dead letter, which a
// restart keeps, and the next batch has its turn. The letter can be sent again.
func TestService_deadLetters(t *testing.T) {
	w, r := newWorld(t, func(o *webhook.Options) { o.TriesMax = 5; o.BackoffMax = 5 * time.Second }), newReceiver(t)
	w.add(t, twin.Webhook{URL: r.URL, Batch: 2})
	r.answer(503)
	w.happen(t, "pump-7", 1)
	first := r.next(t)
	w.happen(t, "pump-7", 2)
	var waits []time.Duration
	for range 4 {
		waits = append(waits, <-w.waits)
		if g := r.next(t); g.id != first.id || g.body != first.body || g.signature == "" {
			t.Errorf("another try is %+v, the first was %+v", g, first)
		}
	}
	if want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second}; !slices.Equal(waits, want) {
		t.Errorf("waited %v, want %v", waits, want)
	}
	if g := r.next(t); !slices.Equal(g.seqs, []int{2, 3}) {
		t.Errorf("after a dead letter: %v", g.seqs)
	}
	r.answer(200)
	<-w.waits
	r.next(t)
	eventually(t, "the rest is delivered", func() bool { return w.status(t, "crm").Delivered == 2 })
	w.restart(t)
	letters, err := w.Dead(context.Background(), "crm")
	if err != nil || len(letters) != 1 || w.status(t, "crm").Dead != 1 {
		t.Fatalf("%+v %v, counted %d", letters, err, w.status(t, "crm").Dead)
	}
	if d := letters[0]; d.ID != first.id || d.Tries != 5 || d.Error != "answered 503" || d.Events != 1 || d.Time == 0 {
		t.Errorf("%+v", d)
	}
	w.retryLetter(t, r, first)
}

func (w *world) retryLetter(t *testing.T, r *receiver, first got) {
	t.Helper()
	ctx := context.Background()
	r.answer(418)
	if reason, err := w.Retry(ctx, "crm", first.id); err != nil || reason != "answered 418" {
		t.Fatalf("%q %v", reason, err)
	}
	r.next(t)
	if letters, _ := w.Dead(ctx, "crm"); len(letters) != 1 || letters[0].Tries != 6 {
		t.Errorf("%+v", letters)
	}
	r.answer(200)
	if reason, err := w.Retry(ctx, "crm", first.id); err != nil || reason != "" {
		t.Fatalf("%q %v", reason, err)
	}
	if g := r.next(t); g.id != first.id || g.body != first.body {
		t.Errorf("sent again as %+v, was %+v", g, first)
	}
	if letters, _ := w.Dead(ctx, "crm"); len(letters) != 0 || w.status(t, "crm").Dead != 0 {
		t.Errorf("%+v", letters)
	}
	if _, err := w.Retry(ctx, "crm", first.id); twin.Kind(err) != twin.KindNotFound {
		t.Errorf("a letter that is gone: %v", err)
	}
}

// With a full list of dead letters nothing is dropped: the batch is tried on and on.
func TestService_deadListFull(t *testing.T) {
	w, r := newWorld(t, func(o *webhook.Options) { o.TriesMax = 2; o.DeadMax = 1 }), newReceiver(t)
	w.add(t, twin.Webhook{URL: r.URL})
	r.answer(500)
	w.happen(t, "pump-7", 2)
	r.next(t)
	<-w.waits
	r.next(t) // and it is a dead letter
	second := r.next(t)
	for range 6 {
		<-w.waits
		if g := r.next(t); g.id != second.id {
			t.Fatalf("%v was given up though the list is full", second.seqs)
		}
	}
	letters, err := w.Dead(context.Background(), "crm")
	if err != nil || len(letters) != 1 {
		t.Fatalf("%+v %v", letters, err)
	}
	if err := w.Discard(context.Background(), "crm", letters[0].ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second is a dead letter", func() bool {
		select {
		case <-w.waits: // it waited already when there came to be room
		default:
		}
		return w.status(t, "crm").Dead == 1
	})
}

// Events that expire before they are delivered are counted, and delivery goes on.
func TestService_expired(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	w.happen(t, "pump-7", 1)
	w.add(t, twin.Webhook{URL: r.URL})
	w.Close()
	w.happen(t, "pump-7", 3)
	w.log.expire(t)
	w.happen(t, "pump-7", 1)
	w.open(t)
	if g := r.next(t); !slices.Equal(g.seqs, []int{5}) {
		t.Errorf("%v", g.seqs)
	}
	if s := w.status(t, "crm"); s.Missed != 1 {
		t.Errorf("%+v", s)
	}
}

// A receiver that never answers costs one try its time, and nobody else anything.
func TestService_neverAnswers(t *testing.T) {
	w := newWorld(t, func(o *webhook.Options) { o.Timeout = 50 * time.Millisecond })
	silent := newSilent(t)
	r := newReceiver(t)
	w.add(t, twin.Webhook{Name: "silent", URL: "http://" + silent})
	w.add(t, twin.Webhook{Name: "good", URL: r.URL})
	w.happen(t, "pump-7", 20)
	for i := range 20 {
		if g := r.next(t); g.seqs[0] != i+1 {
			t.Fatalf("%v is number %d", g.seqs, i)
		}
	}
	<-w.waits
	if s := w.status(t, "silent"); s.State != twin.WebhookRetrying || s.LastError != "no answer within 50ms" || s.Delivered != 0 || s.Next == 0 {
		t.Errorf("%+v", s)
	}
}
