package rest_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/rest"
)

// expired is a feed whose oldest events have gone.
type expired struct{ *fakeFeed }

func (expired) Subscribe(context.Context, uint64, rest.FeedFilter) (rest.FeedReader, error) {
	return nil, fmt.Errorf("subscribe: %w", rest.Gone("The events after this position have expired"))
}

// Who comes back too late is told so, and not that the request was wrong.
func TestStream_gone(t *testing.T) {
	h := rest.New(slog.New(slog.DiscardHandler), newFake(), rest.Options{Feed: expired{newFakeFeed()}})
	conform := newConformer(t, h)
	for _, path := range []string{"/api/v1/stream?after=0", "/problems/gone"} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", path, nil)
		h.ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), "410") || !strings.Contains(w.Body.String(), "expired") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if err := conform.check(r, "", w); err != nil {
			t.Error(err)
		}
		if path[1] == 'a' && w.Code != 410 {
			t.Errorf("%d, want 410", w.Code)
		}
	}
}
