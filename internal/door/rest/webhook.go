package rest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"github.com/twofold-iot/twofold/twin"
)

// Webhooks sends events to addresses.
type Webhooks interface {
	WebhookLetters
	// Create makes a webhook and returns its secret: the one given, or a new one if that is
	// empty.
	Create(ctx context.Context, w *twin.Webhook, secret string) (twin.WebhookStatus, string, error)
	Webhooks() []twin.WebhookStatus // by name
	Webhook(name twin.WebhookName) (twin.WebhookStatus, error)
	Delete(ctx context.Context, name twin.WebhookName) error
	// Test sends a request without events and returns why it was not taken; empty: it was.
	Test(ctx context.Context, name twin.WebhookName) (string, error)
}

// WebhookLetters are what could not be delivered.
type WebhookLetters interface {
	Dead(ctx context.Context, name twin.WebhookName) ([]twin.DeadLetter, error) // oldest first
	// Retry sends one again and returns why it was not taken; empty: it was, and is removed.
	Retry(ctx context.Context, name twin.WebhookName, id string) (string, error)
	Discard(ctx context.Context, name twin.WebhookName, id string) error
}

// EventJSON returns an event as it is sent to webhooks: as in the stream, with its position,
// which the stream takes as Last-Event-ID.
func EventJSON(position uint64, ev *twin.Event) ([]byte, error) {
	b, err := marshal(struct {
		Position string `json:"position"`
		*eventDocument
	}{formatPosition(position), newEventDocument(ev)})
	if err != nil {
		return nil, fmt.Errorf("write an event: %w", err)
	}
	return bytes.TrimSuffix(b, []byte("\n")), nil
}

// newWebhook is a request for a webhook.
type newWebhook struct {
	Name   twin.WebhookName   `json:"name"`
	URL    string             `json:"url"`
	Filter twin.WebhookFilter `json:"filter,omitzero"`
	Batch  *int               `json:"batch,omitempty"`  // 100
	Secret string             `json:"secret,omitempty"` // empty: one is made
}

// webhookDocument is a webhook as this door shows it.
type webhookDocument struct {
	Name      twin.WebhookName   `json:"name"`
	URL       string             `json:"url"`
	Filter    twin.WebhookFilter `json:"filter,omitzero"`
	Batch     int                `json:"batch"`
	Secret    string             `json:"secret,omitempty"` // only in the answer to the request that made it
	State     string             `json:"state"`
	Created   string             `json:"createdAt"`
	Delivered uint64             `json:"delivered"`
	Failed    uint64             `json:"failedTries"`
	Tries     int                `json:"tries,omitempty"`
	Next      string             `json:"nextTry,omitempty"`
	LastError string             `json:"lastError,omitempty"`
	LastOK    string             `json:"lastDelivery,omitempty"`
	Dead      int                `json:"deadLetters"`
	Missed    uint64             `json:"missed,omitempty"`
}

func newWebhookDocument(s *twin.WebhookStatus) *webhookDocument {
	return &webhookDocument{
		Name: s.Name, URL: s.URL, Filter: s.Filter, Batch: s.Batch, State: s.State, Created: timeText(s.Created),
		Delivered: s.Delivered, Failed: s.Failed, Tries: s.Tries, Next: timeText(s.Next), LastError: s.LastError,
		LastOK: timeText(s.LastOK), Dead: s.Dead, Missed: s.Missed,
	}
}

type webhookList struct {
	Webhooks []*webhookDocument `json:"webhooks"`
}

type webhookDeleted struct {
	Name    twin.WebhookName `json:"name"`
	Deleted bool             `json:"deleted"`
}

// webhookTried is how a request went that was asked for.
type webhookTried struct {
	Delivered bool   `json:"delivered"`
	Error     string `json:"error,omitempty"`
}

type deadLetter struct {
	ID     string `json:"id"`
	First  string `json:"after"` // positions in the feed
	Last   string `json:"upTo"`
	Events int    `json:"events"`
	Tries  int    `json:"tries"`
	Error  string `json:"error"`
	Time   string `json:"time"`
}

type deadLetters struct {
	Letters []deadLetter `json:"deadLetters"`
}

type letterRemoved struct {
	ID      string `json:"id"`
	Deleted bool   `json:"deleted"`
}

func (d *door) webhookRoutes() []route {
	return []route{
		{
			method: "POST", path: "/api/v1/webhooks", name: "createWebhook", summary: "Make a webhook: events from now on go to an address, signed; the answer alone shows the secret",
			body: newWebhook{}, answer: webhookDocument{}, status: http.StatusCreated, handler: d.createWebhook,
		}, {
			method: "GET", path: "/api/v1/webhooks", name: "listWebhooks", summary: "List webhooks and where they stand",
			answer: webhookList{}, handler: d.listWebhooks,
		}, {
			method: "GET", path: "/api/v1/webhooks/{webhook}", name: "getWebhook", summary: "Read a webhook and where it stands",
			answer: webhookDocument{}, handler: d.getWebhook,
		}, {
			method: "DELETE", path: "/api/v1/webhooks/{webhook}", name: "deleteWebhook", summary: "Remove a webhook and its dead letters",
			answer: webhookDeleted{}, handler: d.deleteWebhook,
		}, {
			method: "POST", path: "/api/v1/webhooks/{webhook}/test", name: "testWebhook", summary: "Send a request without events now and say how it went",
			answer: webhookTried{}, handler: d.testWebhook,
		}, {
			method: "GET", path: "/api/v1/webhooks/{webhook}/dead", name: "listDeadLetters", summary: "List what a webhook could not deliver, oldest first",
			answer: deadLetters{}, handler: d.listDeadLetters,
		}, {
			method: "POST", path: "/api/v1/webhooks/{webhook}/dead/{letter}/retry", name: "retryDeadLetter", summary: "Send a dead letter once more now; it goes from the list if it is taken",
			answer: webhookTried{}, handler: d.retryDeadLetter,
		}, {
			method: "DELETE", path: "/api/v1/webhooks/{webhook}/dead/{letter}", name: "deleteDeadLetter", summary: "Remove a dead letter",
			answer: letterRemoved{}, handler: d.deleteDeadLetter,
		},
	}
}

func (d *door) createWebhook(w http.ResponseWriter, r *http.Request) error {
	var n newWebhook
	if err := d.decode(w, r, &n); err != nil {
		return err
	}
	hook := &twin.Webhook{Name: n.Name, URL: n.URL, Filter: n.Filter, Batch: twin.WebhookBatchMax}
	if n.Batch != nil {
		hook.Batch = *n.Batch
	}
	status, secret, err := d.opts.Webhooks.Create(r.Context(), hook, n.Secret)
	if err != nil {
		return attributeError(err)
	}
	doc := newWebhookDocument(&status)
	doc.Secret = secret
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", "/api/v1/webhooks/"+string(status.Name))
	return writeStatus(w, http.StatusCreated, doc)
}

func (d *door) listWebhooks(w http.ResponseWriter, _ *http.Request) error {
	list := webhookList{Webhooks: []*webhookDocument{}}
	for _, s := range d.opts.Webhooks.Webhooks() {
		list.Webhooks = append(list.Webhooks, newWebhookDocument(&s))
	}
	return writeJSON(w, list)
}

func webhookOf(r *http.Request) twin.WebhookName { return twin.WebhookName(r.PathValue("webhook")) }

func (d *door) getWebhook(w http.ResponseWriter, r *http.Request) error {
	s, err := d.opts.Webhooks.Webhook(webhookOf(r))
	if err != nil {
		return err
	}
	return writeJSON(w, newWebhookDocument(&s))
}

func (d *door) deleteWebhook(w http.ResponseWriter, r *http.Request) error {
	if err := d.opts.Webhooks.Delete(r.Context(), webhookOf(r)); err != nil {
		return err
	}
	return writeJSON(w, webhookDeleted{webhookOf(r), true})
}

func (d *door) testWebhook(w http.ResponseWriter, r *http.Request) error {
	reason, err := d.opts.Webhooks.Test(r.Context(), webhookOf(r))
	if err != nil {
		return err
	}
	return writeJSON(w, webhookTried{reason == "", reason})
}

func (d *door) listDeadLetters(w http.ResponseWriter, r *http.Request) error {
	list, err := d.opts.Webhooks.Dead(r.Context(), webhookOf(r))
	if err != nil {
		return err
	}
	answer := deadLetters{Letters: []deadLetter{}}
	for _, l := range list {
		answer.Letters = append(answer.Letters, deadLetter{
			ID: l.ID, First: formatPosition(l.After), Last: formatPosition(l.UpTo), Events: l.Events, Tries: l.Tries, Error: l.Error, Time: timeText(l.Time),
		})
	}
	return writeJSON(w, answer)
}

func (d *door) retryDeadLetter(w http.ResponseWriter, r *http.Request) error {
	reason, err := d.opts.Webhooks.Retry(r.Context(), webhookOf(r), r.PathValue("letter"))
	if err != nil {
		return err
	}
	return writeJSON(w, webhookTried{reason == "", reason})
}

func (d *door) deleteDeadLetter(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("letter")
	if err := d.opts.Webhooks.Discard(r.Context(), webhookOf(r), id); err != nil {
		return err
	}
	return writeJSON(w, letterRemoved{id, true})
}
