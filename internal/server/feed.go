package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/internal/feed"
	"github.com/twofold-iot/twofold/internal/store"
)

// feedLog shows the store's log to the feed.
type feedLog struct {
	store.Store
}

func (l feedLog) Feed(ctx context.Context, after feed.Cursor, limit int) ([]feed.Raw, error) {
	entries, err := l.Store.Feed(ctx, store.Pos(after), limit)
	if err != nil {
		return nil, err
	}
	raw := make([]feed.Raw, len(entries))
	for i, e := range entries {
		raw[i] = feed.Raw{Cursor: feed.Cursor(e.Pos), Event: e.Event}
	}
	return raw, nil
}

func (l feedLog) Head(ctx context.Context) (feed.Cursor, error) {
	pos, err := l.Store.Head(ctx)
	return feed.Cursor(pos), err
}

func (l feedLog) Oldest(ctx context.Context) (feed.Cursor, error) {
	_, pos, err := l.Expired(ctx)
	return feed.Cursor(pos), err
}

// restFeed shows the feed to the REST door.
type restFeed struct {
	hub *feed.Hub
	log feedLog
}

func (f restFeed) Head(ctx context.Context) (uint64, error) {
	c, err := f.log.Head(ctx)
	return uint64(c), err
}

func (f restFeed) Subscribe(ctx context.Context, after uint64, q rest.FeedFilter) (rest.FeedReader, error) {
	r, err := f.hub.Subscribe(ctx, feed.Cursor(after), feed.Filter(q))
	if err != nil {
		return nil, fmt.Errorf("subscribe to the feed: %w", feedError(err))
	}
	return restReader{r}, nil
}

// feedError says what a client can do whose place in the feed has expired.
func feedError(err error) error {
	var gone *feed.GoneError
	if !errors.As(err, &gone) {
		return err
	}
	return rest.Gone("The events after this position have expired; read the current states and start again without Last-Event-ID")
}

type restReader struct{ *feed.Reader }

func (r restReader) Cursor() uint64 { return uint64(r.Reader.Cursor()) }

func (r restReader) Next(ctx context.Context) ([]rest.FeedEntry, error) {
	page, err := r.Reader.Next(ctx)
	if err != nil {
		return nil, feedError(err)
	}
	entries := make([]rest.FeedEntry, len(page))
	for i := range page {
		entries[i] = rest.FeedEntry{Cursor: uint64(page[i].Cursor), Event: page[i].Event}
	}
	return entries, nil
}
