package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Commands leads commands through their life.
type Commands interface {
	// Send queues a command and returns it when that is durable. An id that was used for
	// the same request gives the command that there is, and existed; for another it is an
	// error of kind KindConflict.
	Send(ctx context.Context, thing twin.ThingName, r *twin.CommandRequest, origin twin.Origin) (c twin.Command, existed bool, err error)
	Cancel(ctx context.Context, thing twin.ThingName, id twin.CommandID, origin twin.Origin) (twin.Command, error)
	// Wait returns a command when it has ended, or as it is after some time.
	Wait(ctx context.Context, thing twin.ThingName, id twin.CommandID, limit time.Duration) (c twin.Command, found bool, err error)
	// ListCommands returns those in one of some states (none: all) with a number smaller than
	// before (0: all), the newest first.
	ListCommands(ctx context.Context, thing twin.ThingName, states []twin.CommandState, before twin.Seq, limit int) ([]twin.Command, error)
}

// commandWaitMax is less than a proxy waits as a rule, and than the server writes.
const commandWaitMax = 30 * time.Second

// commandDocument is a command as this door shows it.
type commandDocument struct {
	ID         twin.CommandID  `json:"id"`
	Thing      twin.ThingName  `json:"thing"`
	Name       string          `json:"name"`
	Parameters json.RawMessage `json:"parameters"`
	State      string          `json:"state"`
	Progress   *int            `json:"progress,omitempty"`
	Message    string          `json:"message,omitempty"`
	Reason     string          `json:"reason,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"`
	By         string          `json:"by,omitempty"`
	Created    string          `json:"createdAt"`
	Expires    string          `json:"expiresAt"`
	Delivered  string          `json:"deliveredAt,omitempty"`
	Accepted   string          `json:"acceptedAt,omitempty"`
	Ended      string          `json:"endedAt,omitempty"`
}

func newCommandDocument(c *twin.Command) *commandDocument {
	return &commandDocument{
		ID: c.ID, Thing: c.Thing, Name: c.Name, Parameters: json.RawMessage(c.Parameters), State: string(c.State),
		Progress: c.Progress, Message: c.Message, Reason: c.Reason, Result: json.RawMessage(c.Result), By: c.By,
		Created: timeText(c.Created), Expires: timeText(c.Expires), Delivered: timeText(c.Delivered),
		Accepted: timeText(c.Accepted), Ended: timeText(c.Ended),
	}
}

type commandPage struct {
	DeviceID twin.ThingName     `json:"deviceId"`
	Commands []*commandDocument `json:"commands"`
	Next     string             `json:"next,omitempty"`
}

// newCommand is a request for a command.
type newCommand struct {
	Name       string          `json:"name"`
	Parameters json.RawMessage `json:"parameters,omitempty"` // an object
	ExpiresIn  json.RawMessage `json:"expiresIn,omitempty"`  // seconds, or a duration such as "90s"
	ID         twin.CommandID  `json:"id,omitempty"`
}

func (d *door) commandRoutes() []route {
	return []route{
		{
			method: "POST", path: "/api/v1/twins/{id}/commands", name: "sendCommand", summary: "Queue a command for a thing; it is delivered when the device is there",
			headers: []string{"Idempotency-Key"}, body: newCommand{}, answer: commandDocument{}, status: http.StatusCreated, handler: d.sendCommand,
		}, {
			method: "GET", path: "/api/v1/twins/{id}/commands", name: "listCommands", summary: "List the commands of a thing, those queued last first",
			query: []string{"state", "limit", "cursor"}, answer: commandPage{}, handler: d.listCommands,
		}, {
			method: "GET", path: "/api/v1/twins/{id}/commands/{command}", name: "getCommand", summary: "Read a command, at once or when it has ended",
			query: []string{"wait"}, answer: commandDocument{}, handler: d.getCommand,
		}, {
			method: "POST", path: "/api/v1/twins/{id}/commands/{command}/cancel", name: "cancelCommand", summary: "Cancel a command that has not ended",
			answer: commandDocument{}, handler: d.cancelCommand,
		},
	}
}

// sendCommand queues a command.
func (d *door) sendCommand(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	var n newCommand
	if err := d.decode(w, r, &n); err != nil {
		return err
	}
	request, err := n.request(r.Header.Get("Idempotency-Key"), d.opts.NewID)
	if err != nil {
		return err
	}
	if err := request.Check(); err != nil {
		return attributeError(err)
	}
	c, existed, err := d.opts.Commands.Send(r.Context(), key.Thing, request, origin(r))
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/api/v1/twins/"+string(key.Thing)+"/commands/"+string(c.ID))
	if existed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	return writeStatus(w, http.StatusCreated, newCommandDocument(&c))
}

// request returns what is asked for. The id is the one given, or one made of the
// Idempotency-Key, so that a repetition finds the command, or a new one.
func (n *newCommand) request(idempotencyKey string, newID func() string) (*twin.CommandRequest, error) {
	q := &twin.CommandRequest{ID: n.ID, Name: n.Name, Parameters: n.Parameters}
	switch {
	case len(idempotencyKey) > idempotencyKeyBytesMax:
		return nil, &problem{slug: slugInvalid, Detail: fmt.Sprintf("Idempotency-Key is longer than %d bytes", idempotencyKeyBytesMax)}
	case q.ID != "":
	case idempotencyKey != "":
		sum := sha256.Sum256([]byte(idempotencyKey))
		q.ID = twin.CommandID("key-" + hex.EncodeToString(sum[:16]))
	default:
		q.ID = twin.CommandID(newID())
	}
	if n.ExpiresIn == nil || isNull(n.ExpiresIn) {
		return q, nil
	}
	var text string
	var seconds float64
	var err error
	if json.Unmarshal(n.ExpiresIn, &seconds) == nil {
		if seconds > 1e9 || seconds < -1e9 {
			seconds = 1e9
		}
		q.ExpiresIn = time.Duration(seconds * float64(time.Second))
	} else if err = json.Unmarshal(n.ExpiresIn, &text); err == nil {
		q.ExpiresIn, err = time.ParseDuration(text)
	}
	if err != nil || q.ExpiresIn <= 0 {
		return nil, badBody("#/expiresIn", `expiresIn: %.80s is neither a number of seconds nor a duration such as "90s" or "24h"`, n.ExpiresIn)
	}
	return q, nil
}

// getCommand reads a command; with wait it answers when the command has ended, or after
// that time.
func (d *door) getCommand(w http.ResponseWriter, r *http.Request) error {
	key, id, err := commandOf(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	wait := p.wait("wait", commandWaitMax)
	if p.err != nil {
		return p.err
	}
	c, found, err := d.opts.Commands.Wait(r.Context(), key.Thing, id, wait)
	switch {
	case err != nil:
		return err
	case !found:
		return noCommand(key.Thing, id)
	}
	return writeJSON(w, newCommandDocument(&c))
}

func noCommand(thing twin.ThingName, id twin.CommandID) error {
	return &problem{slug: slugNotFound, Detail: fmt.Sprintf("%s has no command %.80q", thing, id)}
}

// cancelCommand ends a command that has not ended.
func (d *door) cancelCommand(w http.ResponseWriter, r *http.Request) error {
	key, id, err := commandOf(r)
	if err != nil {
		return err
	}
	c, err := d.opts.Commands.Cancel(r.Context(), key.Thing, id, origin(r))
	if err != nil {
		return err
	}
	return writeJSON(w, newCommandDocument(&c))
}

func commandOf(r *http.Request) (key twin.ShadowKey, id twin.CommandID, err error) {
	if key, err = keyOf(r); err != nil {
		return key, "", err
	}
	id = twin.CommandID(r.PathValue("command"))
	if !id.Valid() {
		return key, "", noCommand(key.Thing, id)
	}
	return key, id, nil
}

// pending are the states of a command that has not ended.
const pending = "pending"

// listCommands lists the commands of a thing.
func (d *door) listCommands(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	states := p.states("state")
	limit := p.limit(pageMax)
	if limit == 0 {
		limit = pageDefault
	}
	before := p.commandCursor("cursor")
	if p.err != nil {
		return p.err
	}
	cs, err := d.opts.Commands.ListCommands(r.Context(), key.Thing, states, before, limit)
	if err != nil {
		return err
	}
	if len(cs) == 0 {
		if err := d.mustBeKnown(r, key); err != nil {
			return err
		}
	}
	answer := commandPage{DeviceID: key.Thing, Commands: make([]*commandDocument, len(cs))}
	for i := range cs {
		answer.Commands[i] = newCommandDocument(&cs[i])
	}
	if len(cs) == limit {
		answer.Next = "c" + strconv.FormatUint(uint64(cs[len(cs)-1].Number), 36)
	}
	linkNext(w, r, answer.Next)
	return writeJSON(w, answer)
}

// states reads names of states, or pending for all that are no end.
func (p *params) states(name string) []twin.CommandState {
	var list []twin.CommandState
	for _, value := range p.values[name] {
		for text := range strings.SplitSeq(value, ",") {
			if text == pending {
				list = append(list, twin.CommandQueued, twin.CommandDelivered, twin.CommandAccepted)
				continue
			}
			if !slices.Contains(twin.CommandStates(), twin.CommandState(text)) {
				p.bad(name, "%s: %.80q is no state; there are pending, %s", name, text, commandStateNames())
				return nil
			}
			list = append(list, twin.CommandState(text))
		}
	}
	return list
}

func commandStateNames() string {
	var names []string
	for _, s := range twin.CommandStates() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// wait reads a duration, zero if it is not given.
func (p *params) wait(name string, limit time.Duration) time.Duration {
	text := p.text(name)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > limit {
		p.bad(name, "%s: %.80q is no duration such as 10s, up to %s", name, text, limit)
	}
	return d
}

func (p *params) commandCursor(name string) twin.Seq {
	text := p.text(name)
	if text == "" {
		return 0
	}
	digits, ok := strings.CutPrefix(text, "c")
	n, err := strconv.ParseUint(digits, 36, 64)
	if !ok || err != nil || n == 0 {
		p.bad(name, "The cursor %.80q is none of this list", text)
	}
	return twin.Seq(n)
}
