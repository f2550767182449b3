package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// NewWebhook asks for a webhook.
type NewWebhook struct {
	Name   twin.WebhookName   `json:"name"`
	URL    string             `json:"url"`
	Filter twin.WebhookFilter `json:"filter,omitzero"`
	Batch  int                `json:"batch,omitempty"`  // most events in a request; 0: 100
	Secret string             `json:"secret,omitempty"` // empty: the server makes one
}

// Webhook is a webhook as the server shows it.
type Webhook struct {
	Name      twin.WebhookName   `json:"name"`
	URL       string             `json:"url"`
	Filter    twin.WebhookFilter `json:"filter"`
	Batch     int                `json:"batch"`
	Secret    string             `json:"secret"` // only of one that was just made
	State     string             `json:"state"`
	Created   time.Time          `json:"createdAt"`
	Delivered uint64             `json:"delivered"`    // events, since the server started
	Failed    uint64             `json:"failedTries"`  // since then
	Tries     int                `json:"tries"`        // that failed of what is to be delivered now
	Next      time.Time          `json:"nextTry"`      // zero: there is none to come
	LastError string             `json:"lastError"`    // of the last try, if it failed
	LastOK    time.Time          `json:"lastDelivery"` // zero: none since the server started
	Dead      int                `json:"deadLetters"`
	Missed    uint64             `json:"missed"` // how often events expired before they were delivered

	Raw json.RawMessage `json:"-"` // as sent
}

// DeadLetter is a batch of events that a webhook could not deliver.
type DeadLetter struct {
	ID     string    `json:"id"`
	Events int       `json:"events"`
	Tries  int       `json:"tries"`
	Error  string    `json:"error"`
	Time   time.Time `json:"time"`

	Raw json.RawMessage `json:"-"` // as sent
}

// CreateWebhook makes a webhook. The answer alone has its secret.
func (c *Client) CreateWebhook(ctx context.Context, n NewWebhook) (*Webhook, error) {
	w := &Webhook{}
	raw, err := c.send(ctx, http.MethodPost, "/api/v1/webhooks", n, w)
	w.Raw = raw
	return w, err
}

func webhookPath(name twin.WebhookName, under string) string {
	return "/api/v1/webhooks/" + url.PathEscape(string(name)) + under
}

// Webhooks lists all webhooks by name.
func (c *Client) Webhooks(ctx context.Context) ([]Webhook, error) {
	var answer struct{ Webhooks []json.RawMessage }
	if err := c.webhookCall(ctx, http.MethodGet, "/api/v1/webhooks", &answer); err != nil {
		return nil, err
	}
	list := make([]Webhook, len(answer.Webhooks))
	for i, raw := range answer.Webhooks {
		list[i].Raw = raw
		if err := json.Unmarshal(raw, &list[i]); err != nil {
			return nil, fmt.Errorf("read webhook %d: %w", i, err)
		}
	}
	return list, nil
}

// DeleteWebhook removes a webhook and its dead letters.
func (c *Client) DeleteWebhook(ctx context.Context, name twin.WebhookName) error {
	return c.webhookCall(ctx, http.MethodDelete, webhookPath(name, ""), &struct{}{})
}

// TestWebhook sends a request without events and returns why the receiver did not take it,
// empty if it did.
func (c *Client) TestWebhook(ctx context.Context, name twin.WebhookName) (reason string, err error) {
	return c.tryWebhook(ctx, webhookPath(name, "/test"))
}

// DeadLetters lists what a webhook could not deliver, oldest first.
func (c *Client) DeadLetters(ctx context.Context, name twin.WebhookName) ([]DeadLetter, error) {
	var answer struct{ DeadLetters []json.RawMessage }
	if err := c.webhookCall(ctx, http.MethodGet, webhookPath(name, "/dead"), &answer); err != nil {
		return nil, err
	}
	list := make([]DeadLetter, len(answer.DeadLetters))
	for i, raw := range answer.DeadLetters {
		list[i].Raw = raw
		if err := json.Unmarshal(raw, &list[i]); err != nil {
			return nil, fmt.Errorf("read dead letter %d: %w", i, err)
		}
	}
	return list, nil
}

// RetryDeadLetter sends a dead letter once more now and returns why the receiver did not
// take it; empty: it did, and the letter is gone.
func (c *Client) RetryDeadLetter(ctx context.Context, name twin.WebhookName, id string) (reason string, err error) {
	return c.tryWebhook(ctx, webhookPath(name, "/dead/"+url.PathEscape(id)+"/retry"))
}

// DeleteDeadLetter removes a dead letter.
func (c *Client) DeleteDeadLetter(ctx context.Context, name twin.WebhookName, id string) error {
	return c.webhookCall(ctx, http.MethodDelete, webhookPath(name, "/dead/"+url.PathEscape(id)), &struct{}{})
}

func (c *Client) tryWebhook(ctx context.Context, path string) (string, error) {
	var answer struct {
		Delivered bool
		Error     string
	}
	if err := c.webhookCall(ctx, http.MethodPost, path, &answer); err != nil || answer.Delivered {
		return "", err
	}
	if answer.Error == "" {
		return "it was not delivered", nil
	}
	return answer.Error, nil
}

func (c *Client) webhookCall(ctx context.Context, method, path string, into any) error {
	a, err := c.do(ctx, method, path, nil, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return nil
}
