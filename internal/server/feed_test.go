package server_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/internal/feed"
	"github.com/twofold-iot/twofold/internal/server"
)

// refusing is a feed that answers with an error.
type refusing struct{ err error }

func (f refusing) Head(context.Context) (uint64, error) { return 9, nil }

func (f refusing) Subscribe(context.Context, uint64, rest.FeedFilter) (rest.FeedReader, error) {
	return nil, f.err
}

// A position that has expired is 410 for a client, and no other error is.
func TestFeedError(t *testing.T) {
	for status, err := range map[int]error{410: fmt.Errorf("read: %w", &feed.GoneError{Cursor: 3, Oldest: 7}), 500: errors.New("disk")} {
		h := rest.New(slog.New(slog.DiscardHandler), nil, rest.Options{Feed: refusing{server.FeedError(err)}})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/stream", nil))
		if w.Code != status {
			t.Errorf("%v: %d %s, want %d", err, w.Code, w.Body, status)
		}
	}
}
