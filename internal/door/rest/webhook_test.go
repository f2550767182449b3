package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/feed"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/webhook"
	"github.com/twofold-iot/twofold/twin"
)

// hookLog shows a store to the feed.
type hookLog struct{ *store.Memory }

func (l hookLog) Feed(ctx context.Context, after feed.Cursor, limit int) ([]feed.Raw, error) {
	entries, err := l.Memory.Feed(ctx, store.Pos(after), limit)
	raw := make([]feed.Raw, len(entries))
	for i, e := range entries {
		raw[i] = feed.Raw{Cursor: feed.Cursor(e.Pos), Event: e.Event}
	}
	return raw, err
}

func (l hookLog) Head(ctx context.Context) (feed.Cursor, error) {
	pos, err := l.Memory.Head(ctx)
	return feed.Cursor(pos), err
}

func (l hookLog) Oldest(context.Context) (feed.Cursor, error) { return 0, nil }

type hookFeed struct {
	*feed.Hub
	hookLog
}

func (f hookFeed) Head(ctx context.Context) (feed.Cursor, error) { return f.hookLog.Head(ctx) }

// newWebhooks gives up at the first failure. Its feed never wakes: it reads the log.
func newWebhooks(t *testing.T, e *engine.Engine, s *store.Memory, now func() time.Time) *webhook.Service {
	t.Helper()
	guard, err := webhook.NewGuard([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	hub := feed.NewHub(hookLog{s}, feed.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = hub.Run(ctx)
	}()
	hooks, err := webhook.Open(slog.New(slog.DiscardHandler), e, hookFeed{hub, hookLog{s}}, webhook.Options{
		Enabled: true, Now: now, Guard: guard, TriesMax: 1, KeepEvery: time.Millisecond,
		Encode: func(at feed.Cursor, ev *twin.Event) ([]byte, error) {
			hub.Wake()
			return rest.EventJSON(uint64(at), ev)
		},
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	if err != nil {
		t.Fatal(err)
	}
	wake := time.NewTicker(time.Millisecond)
	waking := make(chan struct{})
	go func() {
		defer close(waking)
		for {
			select {
			case <-wake.C:
				hub.Wake()
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		hooks.Close()
		cancel()
		<-done
		<-waking
		wake.Stop()
	})
	return hooks
}

// deadLetters makes two, and removes them with their webhook.
func (w *world) deadLetters(t *testing.T) {
	t.Helper()
	w.ok(t, http.MethodPatch, "/api/v1/twins/pump-9/reported", `{"t":1}`)
	w.ok(t, http.MethodPatch, "/api/v1/twins/pump-9/reported", `{"t":2}`)
	var list struct{ DeadLetters []struct{ ID, Error string } }
	for deadline := time.Now().Add(10 * time.Second); len(list.DeadLetters) < 2; {
		if time.Now().After(deadline) {
			t.Fatalf("dead letters: %+v", list)
		}
		res := w.call(http.MethodGet, "/api/v1/webhooks/crm/dead", "")
		if err := json.Unmarshal(res.Body.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
	}
	path := "/api/v1/webhooks/crm/dead/" + list.DeadLetters[0].ID
	if res := w.call(http.MethodPost, path+"/retry", ""); res.Code != 200 || !strings.Contains(res.Body.String(), `{"delivered":false,"error":"`) {
		t.Errorf("%d %s", res.Code, res.Body)
	}
	want(t, w.call(http.MethodDelete, path, ""), 200, fmt.Sprintf(`{"id":%q,"deleted":true}`, list.DeadLetters[0].ID))
	if res := w.call(http.MethodDelete, path, ""); res.Code != 404 {
		t.Errorf("%d %s", res.Code, res.Body)
	}
	want(t, w.call(http.MethodDelete, "/api/v1/webhooks/crm", ""), 200, `{"name":"crm","deleted":true}`)
	if res := w.call(http.MethodGet, "/api/v1/webhooks/crm/dead", ""); res.Code != 404 {
		t.Errorf("%d %s", res.Code, res.Body)
	}
}

func TestWebhooks_badInput(t *testing.T) {
	w := newWorld(t)
	for body, detail := range map[string]string{
		`{"url":"https://example.com"}`:                                                                    "name: ",
		`{"name":"a b","url":"https://example.com"}`:                                                       "name: ",
		`{"name":"crm"}`:                                                                                   "url: ",
		`{"name":"crm","url":"ftp://example.com"}`:                                                         "url: ",
		`{"name":"crm","url":"https://u:p@example.com"}`:                                                   "signed",
		`{"name":"crm","url":"https://example.com#x"}`:                                                     "fragment",
		`{"name":"crm","url":"http://10.0.0.1/"}`:                                                          "webhooks.allow_private",
		`{"name":"crm","url":"https://example.com/` + strings.Repeat("x", 2100) + `"}`:                     "limit of 2048",
		`{"name":"crm","url":"https://example.com","batch":0}`:                                             "batch: ",
		`{"name":"crm","url":"https://example.com","batch":101}`:                                           "batch: ",
		`{"name":"crm","url":"https://example.com","secret":"open sesame"}`:                                "whsec_",
		`{"name":"crm","url":"https://example.com","secret":"whsec_c2hvcnQ="}`:                             "24 to 64 bytes",
		`{"name":"crm","url":"https://example.com","filter":{"kind":["nonsense"]}}`:                        "kinds are updated",
		`{"name":"crm","url":"https://example.com","filter":{"thing":["a/b"]}}`:                            "no thing name",
		`{"name":"crm","url":"https://example.com","filter":{"model":[""]}}`:                               "model",
		`{"name":"crm","url":"https://example.com","filter":{"severity":"bad"}}`:                           "none of info",
		`{"name":"crm","url":"https://example.com","filter":{"things":["pump-7"]}}`:                        "things",
		`{"name":"crm","url":"https://example.com","filter":{"path":"` + strings.Repeat("x", 1025) + `"}}`: "limit of 1024",
	} {
		res := w.call(http.MethodPost, "/api/v1/webhooks", body)
		if res.Code != 400 || !strings.Contains(res.Body.String(), detail) || strings.Contains(res.Body.String(), "sesame") {
			t.Errorf("%.100s: %d %s", body, res.Code, res.Body)
		}
	}
	want(t, w.call(http.MethodGet, "/api/v1/webhooks", ""), 200, `{"webhooks":[]}`)
	if res := w.call(http.MethodPost, "/api/v1/webhooks", `{"name":"crm","url":"https://example.com"}`); res.Code != 201 {
		t.Errorf("%d %s", res.Code, res.Body)
	}
	if res := w.call(http.MethodPost, "/api/v1/webhooks", `{"name":"crm","url":"https://example.com"}`); res.Code != 409 {
		t.Errorf("a second of the name: %d %s", res.Code, res.Body)
	}
}
