// Package action does what behaviours ask for beyond their twins: it sends the commands. A
// behaviour's step writes an event with the command in it, in the commit of the update that
// led to it. This package follows those events through the feed from a durable place, and
// sends each command under an id that the event gives. So a command is neither lost nor sent
// twice, whenever the server dies: an event that is met again asks for the command that there
// is already.
package action

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twofold-iot/twofold/internal/feed"
	"github.com/twofold-iot/twofold/twin"
)

// Commands sends commands.
type Commands interface {
	Send(ctx context.Context, thing twin.ThingName, r *twin.CommandRequest, o twin.Origin) (c twin.Command, existed bool, err error)
}

// Feed is the feed with its newest position.
type Feed interface {
	Subscribe(ctx context.Context, after feed.Cursor, f feed.Filter) (*feed.Reader, error)
	Head(ctx context.Context) (feed.Cursor, error)
}

// Records keep the place.
type Records interface {
	WriteRecords(orderKey string, ws []twin.RecordWrite, done func(error)) error
	Records(ctx context.Context, kind twin.RecordKind, prefix, after string, limit int) ([]twin.Record, error)
	Now() twin.Time
}

// eventType is the type of the events that ask for a command.
const eventType = "command"

const (
	placeKey = "commands"
	// keepEvery is how often the place is written while it moves; what comes again costs a look.
	keepEvery  = 5 * time.Second
	retryAfter = time.Second
)

// Runner sends the commands.
type Runner struct {
	Log      *slog.Logger
	Feed     Feed
	Records  Records
	Commands Commands

	place  feed.Cursor
	kept   feed.Cursor
	keptAt twin.Time
}

// Open reads the place; at first that is the end of the feed as it is now.
func (r *Runner) Open(ctx context.Context) error {
	page, err := r.Records.Records(ctx, twin.RecordAction, "", "", 1)
	if err != nil {
		return fmt.Errorf("read the place of actions: %w", err)
	}
	if len(page) == 1 {
		if err := json.Unmarshal(page[0].Value, &r.place); err != nil {
			return fmt.Errorf("read the place of actions: %w", err)
		}
		r.kept, r.keptAt = r.place, r.Records.Now()
		return nil
	}
	if r.place, err = r.Feed.Head(ctx); err != nil {
		return fmt.Errorf("read the end of the feed: %w", err)
	}
	return r.keep(ctx)
}

// keep makes the place durable.
func (r *Runner) keep(ctx context.Context) error {
	value, err := json.Marshal(r.place)
	if err != nil {
		return fmt.Errorf("write the place of actions: %w", err)
	}
	done := make(chan error, 1)
	err = r.Records.WriteRecords(placeKey, []twin.RecordWrite{{Kind: twin.RecordAction, Key: placeKey, Value: value}}, func(err error) { done <- err })
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		if err == nil {
			r.kept, r.keptAt = r.place, r.Records.Now()
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run sends commands until ctx ends. Call it after Open.
func (r *Runner) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.follow(ctx)
		var gone *feed.GoneError
		switch {
		case ctx.Err() != nil:
			return
		case errors.As(err, &gone):
			r.Log.Warn("events that may have asked for commands have expired")
			r.place = gone.Oldest
			continue
		case twin.Kind(err) == twin.KindInvalid: // ahead of the feed: the data are older than the record
			if head, e := r.Feed.Head(ctx); e == nil {
				r.place = head
				continue
			}
		}
		r.Log.Error("commands of behaviours wait", slog.String("error", err.Error()))
		pause(ctx, retryAfter)
	}
}

func (r *Runner) follow(ctx context.Context) error {
	reader, err := r.Feed.Subscribe(ctx, r.place, feed.Filter{Kinds: []twin.EventKind{twin.EventBehaviour}})
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		wait, cancel := context.WithTimeout(ctx, keepEvery)
		page, err := reader.Next(wait)
		late := wait.Err() != nil
		cancel()
		if err != nil && (!late || ctx.Err() != nil) {
			return err
		}
		for i := range page {
			if err := r.do(ctx, &page[i].Event); err != nil {
				return err
			}
			r.place = page[i].Cursor
		}
		r.place = max(r.place, reader.Cursor())
		if r.place != r.kept && r.Records.Now()-r.keptAt >= twin.Time(keepEvery/time.Millisecond) {
			if err := r.keep(ctx); err != nil {
				return err
			}
		}
	}
}

// do sends the command of an event. One that cannot be sent, as its twin is gone, its time is
// over or the twin has too many that have not ended, is left and logged: it must not hold up
// those of others. What may succeed later is an error.
func (r *Runner) do(ctx context.Context, ev *twin.Event) error {
	if ev.Type != eventType {
		return nil
	}
	req, err := request(ev)
	if err == nil && r.Records.Now()-ev.Time >= twin.Time(req.ExpiresIn/time.Millisecond) {
		err = twin.NewError(twin.KindInvalid, "its time is over")
	}
	if err == nil {
		_, _, err = r.Commands.Send(ctx, ev.Thing, req, ev.Origin)
	}
	if kind := twin.Kind(err); err != nil && (kind == twin.KindFull || kind == twin.KindUnavailable || ctx.Err() != nil) {
		return err
	}
	if err != nil {
		r.Log.Warn("a command of a behaviour is not sent", slog.String("thing", string(ev.Thing)), slog.String("error", err.Error()))
	}
	return nil
}

// request is what an event asks for.
func request(ev *twin.Event) (*twin.CommandRequest, error) {
	var data struct {
		Command struct {
			Name       string
			Parameters json.RawMessage
			ExpiresIn  string
		}
	}
	if err := json.Unmarshal(ev.Data, &data); err != nil {
		return nil, twin.NewError(twin.KindInvalid, "the event cannot be read: "+err.Error())
	}
	req := &twin.CommandRequest{ID: twin.CommandID(fmt.Sprintf("behaviour-%d", ev.Seq)), Name: data.Command.Name, Parameters: data.Command.Parameters}
	if text := data.Command.ExpiresIn; text != "" {
		var err error
		if req.ExpiresIn, err = time.ParseDuration(text); err != nil {
			return nil, twin.NewError(twin.KindInvalid, "the event cannot be read: "+err.Error())
		}
	}
	return req, req.Check()
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
