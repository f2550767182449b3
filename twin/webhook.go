package twin

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// Limits of webhooks.
const (
	WebhookNameBytesMax   = 64
	WebhookURLBytesMax    = 2048
	WebhookFilterItemsMax = 100
	WebhookBatchMax       = 100
	WebhookPathBytesMax   = 1024
	webhookSecretMin      = 24 // bytes, as Standard Webhooks has it
	webhookSecretMax      = 64
	webhookSecretPrefix   = "whsec_"
)

// WebhookName names a webhook.
type WebhookName string

// Valid reports whether a name is one: 1 to 64 of a-z, A-Z, 0-9, - and _.
func (n WebhookName) Valid() bool {
	if n == "" || len(n) > WebhookNameBytesMax {
		return false
	}
	for i := range len(n) {
		c := n[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// WebhookFilter selects events, as that of the stream does: each empty field lets all
// pass, and an event must pass every field.
type WebhookFilter struct {
	Things   []ThingName `json:"thing,omitempty"`
	Models   []string    `json:"model,omitempty"`
	Kinds    []string    `json:"kind,omitempty"`
	Severity string      `json:"severity,omitempty"` // the least
	Path     string      `json:"path,omitempty"`     // in the state, such as reported.temperature
}

// Webhook is an address that gets events by POST.
type Webhook struct {
	Name   WebhookName   `json:"name"`
	URL    string        `json:"url"`
	Filter WebhookFilter `json:"filter,omitzero"`
	Batch  int           `json:"batch"` // most events in one request
}

// Check returns an error that names the first fault of name, batch and filter. Whether the
// URL is one is for whoever opens it.
func (w *Webhook) Check() error {
	if !w.Name.Valid() {
		return invalidWebhook("name: %.80q is no name of a webhook: 1 to %d of a-z, A-Z, 0-9, - and _", w.Name, WebhookNameBytesMax)
	}
	if w.Batch < 1 || w.Batch > WebhookBatchMax {
		return invalidWebhook("batch: %d is not between 1 and %d", w.Batch, WebhookBatchMax)
	}
	return w.Filter.check()
}

func (f *WebhookFilter) check() error {
	if max(len(f.Things), len(f.Models), len(f.Kinds)) > WebhookFilterItemsMax {
		return invalidWebhook("filter: thing, model and kind take at most %d names each", WebhookFilterItemsMax)
	}
	for _, t := range f.Things {
		if !t.Valid() {
			return invalidWebhook("filter: thing %.140q is no thing name", t)
		}
	}
	if slices.ContainsFunc(f.Models, func(m string) bool { return m == "" || len(m) > ModelBytesMax }) {
		return invalidWebhook("filter: a model has a name of 1 to %d bytes", ModelBytesMax)
	}
	for _, k := range f.Kinds {
		if _, ok := ParseEventKind(k); !ok {
			return invalidWebhook("filter: kind %.40q is unknown; kinds are %s", k, strings.Join(EventKindNames(), ", "))
		}
	}
	if _, ok := ParseSeverity(f.Severity); !ok {
		return invalidWebhook("filter: severity %.40q is none of info, warning, error, critical", f.Severity)
	}
	if len(f.Path) > WebhookPathBytesMax {
		return invalidWebhook("filter: a path of %d bytes is over the limit of %d", len(f.Path), WebhookPathBytesMax)
	}
	return nil
}

func invalidWebhook(format string, args ...any) error {
	return NewError(KindInvalid, fmt.Sprintf(format, args...))
}

// ParseWebhookSecret returns the key of a secret in the form of Standard Webhooks:
// whsec_ and 24 to 64 bytes in base64. The secret is in no error.
func ParseWebhookSecret(text string) ([]byte, error) {
	code, ok := strings.CutPrefix(text, webhookSecretPrefix)
	if !ok {
		return nil, invalidWebhook("secret: it begins with %s", webhookSecretPrefix)
	}
	key, err := base64.StdEncoding.DecodeString(code)
	if err != nil || len(key) < webhookSecretMin || len(key) > webhookSecretMax {
		return nil, invalidWebhook("secret: after %s come %d to %d bytes in base64, as `openssl rand -base64 32` writes them",
			webhookSecretPrefix, webhookSecretMin, webhookSecretMax)
	}
	return key, nil
}

// FormatWebhookSecret is the inverse of [ParseWebhookSecret].
func FormatWebhookSecret(key []byte) string {
	return webhookSecretPrefix + base64.StdEncoding.EncodeToString(key)
}

// The states of a webhook.
const (
	WebhookOK       = "ok"       // it delivers, or there is nothing to deliver
	WebhookRetrying = "retrying" // the last try failed
	WebhookOff      = "off"      // webhooks are off in the configuration
	WebhookStopped  = "stopped"  // the server is stopping, or the feed has failed
)

// WebhookStatus is where a webhook stands.
type WebhookStatus struct {
	Webhook
	State     string
	Created   Time
	Delivered uint64 // events delivered since the server started
	Failed    uint64 // tries that failed since the server started
	Tries     int    // that failed of what is to be delivered now
	Next      Time   // when the next try is, with tries
	LastError string
	LastOK    Time // when something was delivered last; 0: not since the server started
	Dead      int  // dead letters
	// Missed is how often events expired before they were delivered.
	Missed uint64
}

// DeadLetter is a batch of events that a webhook could not deliver.
type DeadLetter struct {
	ID     string `json:"id"`    // the webhook-id of its requests
	After  uint64 `json:"after"` // position before its first event
	UpTo   uint64 `json:"upTo"`  // position of its last event
	Events int    `json:"events"`
	Tries  int    `json:"tries"`
	Error  string `json:"error"` // of the last try
	Time   Time   `json:"time"`  // of the last try
}
