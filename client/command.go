package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Command is a command as the server shows it.
type Command struct {
	ID         twin.CommandID    `json:"id"`
	Thing      twin.ThingName    `json:"thing"`
	Name       string            `json:"name"`
	Parameters json.RawMessage   `json:"parameters"`
	State      twin.CommandState `json:"state"`
	Progress   *int              `json:"progress"` // percent; nil: the device has not said
	Message    string            `json:"message"`
	Reason     string            `json:"reason"`
	Result     json.RawMessage   `json:"result"`
	By         string            `json:"by"`
	Created    time.Time         `json:"createdAt"`
	Expires    time.Time         `json:"expiresAt"`
	Delivered  time.Time         `json:"deliveredAt"` // this and the next: zero if it never was, or is not yet
	Accepted   time.Time         `json:"acceptedAt"`
	Ended      time.Time         `json:"endedAt"`

	Raw json.RawMessage `json:"-"` // as sent
}

// NewCommand asks for a command.
type NewCommand struct {
	Name       string
	Parameters json.RawMessage // a JSON object; nil: {}
	ExpiresIn  time.Duration   // 0: the server's default, 1 h
	// ID is that of the command; empty: the server makes one. A request that is repeated
	// with the same id finds the command that there is.
	ID twin.CommandID
}

// SendCommand queues a command for a thing.
func (c *Client) SendCommand(ctx context.Context, thing twin.ThingName, n NewCommand) (*Command, error) {
	body := struct {
		Name       string          `json:"name"`
		Parameters json.RawMessage `json:"parameters,omitempty"`
		ExpiresIn  string          `json:"expiresIn,omitempty"`
		ID         twin.CommandID  `json:"id,omitempty"`
	}{Name: n.Name, Parameters: n.Parameters, ID: n.ID}
	if n.ExpiresIn != 0 {
		body.ExpiresIn = n.ExpiresIn.String()
	}
	sent := &Command{}
	raw, err := c.send(ctx, http.MethodPost, twinPath(thing, "/commands", ""), body, sent)
	sent.Raw = raw
	return sent, err
}

func commandPath(thing twin.ThingName, id twin.CommandID) string {
	return twinPath(thing, "/commands/", "") + url.PathEscape(string(id))
}

// Command reads a command. With wait, at most 30 s, it returns when the command has
// ended, or after that time.
func (c *Client) Command(ctx context.Context, thing twin.ThingName, id twin.CommandID, wait time.Duration) (*Command, error) {
	path := commandPath(thing, id)
	if wait > 0 {
		path += "?wait=" + wait.String()
	}
	a, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	return readCommand(a)
}

// CancelCommand ends a command that has not ended.
func (c *Client) CancelCommand(ctx context.Context, thing twin.ThingName, id twin.CommandID) (*Command, error) {
	a, err := c.do(ctx, http.MethodPost, commandPath(thing, id)+"/cancel", nil, nil)
	if err != nil {
		return nil, err
	}
	return readCommand(a)
}

func readCommand(a answer) (*Command, error) {
	cmd := &Command{Raw: a.body}
	if err := json.Unmarshal(a.body, cmd); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return cmd, nil
}

// Commands lists the commands of a thing page by page as the loop goes on, those queued
// last first; an error ends it. States are names of states, or "pending" for those that
// are no end; none: all. Limit 0 is no limit.
func (c *Client) Commands(ctx context.Context, thing twin.ThingName, states []string, limit int) iter.Seq2[Command, error] {
	v := url.Values{}
	setText(v, "state", strings.Join(states, ","))
	return func(yield func(Command, error) bool) {
		for raw, err := range c.items(ctx, twinPath(thing, "/commands", ""), v, "commands", limit) {
			cmd := Command{Raw: raw}
			if err == nil {
				err = json.Unmarshal(raw, &cmd)
			}
			if !yield(cmd, err) || err != nil {
				return
			}
		}
	}
}
