package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Intents is what is asked of a thing by a shadow.
type Intents struct {
	DeviceID twin.ThingName
	Shadow   twin.ShadowName
	Open     []Intent        // by version
	Last     *Intent         // that ended last
	Raw      json.RawMessage `json:"-"`
}

// Intent is what one update asked.
type Intent struct {
	ID                   string // v and the version of the update, such as v12
	State                string // pending, delivered, applied, rejected, superseded or expired
	AskedAt              time.Time
	Age                  float64 // seconds, until it ended or now
	By                   string
	ExpiresAt            time.Time
	Paths, Open, Applied []string
	DeliveredAt          time.Time
	Client               string // that took it
	Sent                 int    // deltas with it that a device has taken
	Answer               *struct {
		Status, Message string
		At              time.Time
	}
	EndedAt time.Time
	Reason  string
}

// Intents reads what is asked of a thing and not done yet.
func (c *Client) Intents(ctx context.Context, thing twin.ThingName, shadow twin.ShadowName) (*Intents, error) {
	l := &Intents{}
	return l, c.getRaw(ctx, twinPath(thing, "/intents", shadow), l, &l.Raw)
}

// Withdraw takes back what is open of an intent, such as v12: it is taken out of desired.
func (c *Client) Withdraw(ctx context.Context, thing twin.ThingName, shadow twin.ShadowName, id string) (*Changed, error) {
	return c.change(ctx, http.MethodDelete, twinPath(thing, "/intents/"+url.PathEscape(id), shadow), nil, ChangeOptions{})
}
