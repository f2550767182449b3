package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// fleetAct is something to be done to all twins that a condition holds for. Exactly one of
// Desired, Tags and Command says what.
type fleetAct struct {
	Where string `json:"where"`
	// Expect is how many twins it may touch; without it nothing is done, and the answer says
	// what would be.
	Expect  *int            `json:"expect,omitempty"`
	Desired json.RawMessage `json:"desired,omitempty"` // a merge patch (RFC 7396)
	// ExpiresIn is how long desired is asked for, such as 24h; without it for ever.
	ExpiresIn string          `json:"expiresIn,omitempty"`
	Tags      json.RawMessage `json:"tags,omitempty"` // null for a tag removes it
	Command   *newCommand     `json:"command,omitempty"`
}

// fleetActed is what was done, or would be.
type fleetActed struct {
	DryRun  bool             `json:"dryRun,omitempty"` // nothing was done
	Matched int              `json:"matched"`
	Done    int              `json:"done"`
	Failed  int              `json:"failed"`
	Twins   []twin.ThingName `json:"twins,omitempty"` // the first of those that it touches
	Errors  []fleetFailed    `json:"errors,omitempty"`
}

type fleetFailed struct {
	DeviceID twin.ThingName `json:"deviceId"`
	Detail   string         `json:"detail"`
}

const (
	actExamplesMax = 20
	actWorkers     = 256 // that wait for a commit side by side
)

func (d *door) actOnFleet(w http.ResponseWriter, r *http.Request) error {
	var a fleetAct
	if err := d.decode(w, r, &a); err != nil {
		return err
	}
	act, err := d.actOf(r, &a)
	if err != nil {
		return err
	}
	things, err := d.opts.Fleet.Find(r.Context(), a.Where)
	if err != nil {
		return fleetError(err)
	}
	answer := fleetActed{Matched: len(things)}
	if a.Expect == nil {
		answer.DryRun, answer.Twins = true, things[:min(len(things), actExamplesMax)]
		return writeJSON(w, answer)
	}
	if *a.Expect != len(things) {
		return &problem{slug: slugConflict, Detail: fmt.Sprintf("the condition holds for %d twins, not for %d; nothing was done", len(things), *a.Expect), Pointer: "#/expect"}
	}
	d.actOn(r.Context(), things, act, &answer)
	return writeJSON(w, answer)
}

// actOf reads what is to be done to each twin.
func (d *door) actOf(r *http.Request, a *fleetAct) (func(context.Context, twin.ThingName) error, error) {
	given := 0
	for _, is := range []bool{a.Desired != nil, a.Tags != nil, a.Command != nil} {
		if is {
			given++
		}
	}
	switch {
	case a.Where == "":
		return nil, badBody("#/where", "where: a condition is needed; true is all twins")
	case a.ExpiresIn != "" && a.Desired == nil:
		return nil, badBody("#/expiresIn", "expiresIn is for desired alone; a command has its own")
	case given != 1:
		return nil, badBody("#", "exactly one of desired, tags and command says what is to be done")
	case a.Desired != nil:
		return d.actDesired(r, a)
	case a.Tags != nil:
		return d.actTags(r, a.Tags)
	}
	return d.actCommand(r, a.Command)
}

func (d *door) actDesired(r *http.Request, a *fleetAct) (func(context.Context, twin.ThingName) error, error) {
	payload, err := updatePayload("desired", a.Desired, 0, false)
	if err != nil {
		return nil, err
	}
	var expires time.Duration
	if a.ExpiresIn != "" {
		if expires, err = parseExpiry(a.ExpiresIn); err != nil {
			return nil, badBody("#/expiresIn", "expiresIn: %v", err)
		}
	}
	if _, err := twin.ParseRequest(payload, d.opts.Limits); err != nil {
		return nil, err
	}
	return func(ctx context.Context, thing twin.ThingName) error {
		req, err := twin.ParseRequest(payload, d.opts.Limits)
		if err != nil {
			return err
		}
		return d.submit(ctx, twin.Update{Key: twin.ShadowKey{Thing: thing}, Request: req, ExpiresIn: expires, Origin: origin(r)}).Err
	}, nil
}

func (d *door) actTags(r *http.Request, tags json.RawMessage) (func(context.Context, twin.ThingName) error, error) {
	patch := twinPatch{Tags: tags}
	if _, err := patch.apply(&twin.Attributes{}); err != nil {
		return nil, attributeError(err)
	}
	data, err := marshal(patch)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, thing twin.ThingName) error {
		return d.append(ctx, twin.Entry{
			Event:      twin.Event{Thing: thing, Kind: twin.EventManaged, Type: twin.ManagedChanged, Data: bytes.TrimSpace(data), Origin: origin(r)},
			IfExists:   true,
			Attributes: patch.apply,
		}).Err
	}, nil
}

func (d *door) actCommand(r *http.Request, n *newCommand) (func(context.Context, twin.ThingName) error, error) {
	if d.opts.Commands == nil {
		return nil, badBody("#/command", "command: this server has no commands")
	}
	request, err := n.request(r.Header.Get("Idempotency-Key"), d.opts.NewID)
	if err != nil {
		return nil, err
	}
	if err := request.Check(); err != nil {
		return nil, attributeError(err)
	}
	return func(ctx context.Context, thing twin.ThingName) error {
		own := *request // who sends it may alter it
		_, _, err := d.opts.Commands.Send(ctx, thing, &own, origin(r))
		return err
	}, nil
}

// actOn does it to each twin, many side by side; one that fails hurts no other.
func (d *door) actOn(ctx context.Context, things []twin.ThingName, act func(context.Context, twin.ThingName) error, answer *fleetActed) {
	next := make(chan twin.ThingName)
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range min(actWorkers, len(things)) {
		workers.Go(func() {
			for thing := range next {
				err := act(ctx, thing)
				mu.Lock()
				answer.count(thing, err)
				mu.Unlock()
			}
		})
	}
	for _, thing := range things {
		if ctx.Err() != nil { // nobody waits for it any more
			break
		}
		next <- thing
	}
	close(next)
	workers.Wait()
}

func (a *fleetActed) count(thing twin.ThingName, err error) {
	if err == nil {
		a.Done++
		return
	}
	a.Failed++
	if len(a.Errors) < actExamplesMax {
		detail := twin.ErrorMessage(err)
		if p := (*problem)(nil); errors.As(err, &p) {
			detail = p.Detail
		}
		a.Errors = append(a.Errors, fleetFailed{thing, detail})
	}
}
