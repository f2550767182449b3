package server

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/feed"
	"github.com/twofold-iot/twofold/internal/webhook"
	"github.com/twofold-iot/twofold/twin"
)

// hookFeed shows the feed to webhooks.
type hookFeed struct {
	*feed.Hub
	log feedLog
}

func (f hookFeed) Head(ctx context.Context) (feed.Cursor, error) { return f.log.Head(ctx) }

// openWebhooks reads the webhooks, and delivers to them if that is on.
func openWebhooks(log *slog.Logger, now func() time.Time, e *engine.Engine, hub *feed.Hub, events feedLog, c *WebhooksConfig) (*webhook.Service, error) {
	guard, err := webhook.NewGuard(c.AllowPrivate)
	if err != nil {
		return nil, fmt.Errorf("webhooks.allow_private: %w", err)
	}
	s, err := webhook.Open(log, e, hookFeed{hub, events}, webhook.Options{
		Enabled: c.Enabled, Now: now, Guard: guard, Jitter: rand.Float64,
		Encode: func(at feed.Cursor, ev *twin.Event) ([]byte, error) { return rest.EventJSON(uint64(at), ev) },
	})
	if err != nil {
		return nil, fmt.Errorf("open webhooks: %w", err)
	}
	return s, nil
}
