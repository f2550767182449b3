package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// caller updates its own things over the AWS HTTP data plane, one request at a
// time. A request whose answer was lost is sent again with the same
// Idempotency-Key.
type caller struct {
	oracle *oracle
	faults *faults
	plant  plant
	id     string
	things []*thing
	rng    *rand.Rand
	client *http.Client

	pending  *pending // sent, no answer yet
	attempts int      // of pending, in all phases
}

const (
	bodyBytesMax = 64 << 10
	busyPause    = 5 * time.Millisecond // after 429 or 503
)

func (c *caller) live(ctx context.Context, p *phase) error {
	defer c.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, lifeMax)
	defer cancel()
	for {
		if c.pending == nil {
			if p.draining {
				return nil
			}
			t := c.things[c.rng.IntN(len(c.things))]
			c.pending, c.attempts = &pending{thing: t, n: t.next()}, 0
		}
		if err := c.update(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", c.id, err)
		}
	}
}

// update sends the pending update once.
func (c *caller) update(ctx context.Context, p *phase) error {
	f := c.pending
	url := "http://" + p.http + "/things/" + f.thing.name + "/shadow"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(c.oracle.payload(f.thing, f.n)))
	if err != nil {
		return err
	}
	// Go's transport would repeat a request that has this header by itself; an
	// empty GetBody leaves it to us.
	req.GetBody = nil
	key := c.oracle.token(f.thing, f.n)
	if c.plant == plantFreshResend {
		key = fmt.Sprintf("%s-%d", key, c.attempts)
	}
	req.Header.Set("Idempotency-Key", key)
	c.attempts++
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyBytesMax))
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return c.answered(body)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return pause(ctx, busyPause)
	}
	c.faults.add(protocol, "%s: update %d of %s: %s: %s", c.id, f.n, f.thing.name, resp.Status, body)
	return fmt.Errorf("refused: %s", resp.Status)
}

// answered checks and records an accepted document.
func (c *caller) answered(body []byte) error {
	f := c.pending
	var doc struct{ Version uint32 }
	if err := json.Unmarshal(body, &doc); err != nil {
		c.faults.add(protocol, "%s: answer %q: %v", c.id, body, err)
		return err
	}
	if doc.Version != f.n {
		kind := doubled
		if doc.Version < f.n {
			kind = lost
		}
		c.faults.add(kind, "%s: update %d of %s was answered with version %d", c.id, f.n, f.thing.name, doc.Version)
	}
	c.pending = nil
	return f.thing.acknowledge(f.n)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
