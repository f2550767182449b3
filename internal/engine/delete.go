package engine

import (
	"context"
	"fmt"

	"github.com/twofold-iot/twofold/twin"
)

// shadowsPage is how many names of shadows are read at a time.
const shadowsPage = 100

// DeleteTwin deletes all shadows of a thing and its attributes. The shadows go one by one,
// each with its event: if that is interrupted, the same call goes on. The past stays until
// it expires.
func (e *Engine) DeleteTwin(ctx context.Context, thing twin.ThingName, o twin.Origin) error {
	if err := e.deleteShadow(ctx, twin.ShadowKey{Thing: thing}, o); err != nil {
		return err
	}
	for after := twin.ShadowName(""); ; {
		names, err := e.ShadowNames(ctx, thing, after, shadowsPage)
		if err != nil {
			return fmt.Errorf("list shadows of %s: %w", thing, err)
		}
		for _, name := range names {
			if err := e.deleteShadow(ctx, twin.ShadowKey{Thing: thing, Shadow: name}, o); err != nil {
				return err
			}
			after = name
		}
		if len(names) < shadowsPage {
			break
		}
	}
	done := make(chan error, 1)
	err := e.Append(twin.Entry{
		Event:      twin.Event{Thing: thing, Kind: twin.EventManaged, Type: twin.ManagedDeleted, Origin: o},
		Attributes: func(*twin.Attributes) (twin.Attributes, error) { return twin.Attributes{}, nil },
	}, func(r twin.EntryResult) { done <- r.Err })
	if err != nil {
		return err
	}
	return wait(ctx, done)
}

// deleteShadow is no error if the shadow is not there, as another request may have been faster.
func (e *Engine) deleteShadow(ctx context.Context, key twin.ShadowKey, o twin.Origin) error {
	done := make(chan error, 1)
	err := e.Submit(twin.Update{Key: key, Delete: true, Request: &twin.Request{}, Origin: o}, func(r twin.Result) { done <- r.Err })
	if err == nil {
		err = wait(ctx, done)
	}
	if twin.Kind(err) == twin.KindNotFound {
		return nil
	}
	return err
}

// wait returns what a committer answers. If the caller goes away first, the deletion still
// takes its course.
func wait(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return &twin.Error{Kind: twin.KindUnavailable, Message: "the request ended before its outcome was known", Err: context.Cause(ctx)}
	}
}
