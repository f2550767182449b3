package server

import (
	"context"
	"fmt"
	"sync"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/twin"
)

// pastWorkers is how many goroutines read the past side by side.
const pastWorkers = 4

// fleetAt makes an index of all twins as they were at an instant: their classic shadows,
// also of things that are deleted since, and what their models in force compute of them.
func (s *Server) fleetAt(ctx context.Context, at twin.Time) (*fleet.Index, error) {
	r := &rebuilding{server: s, at: at, past: history.New(s.store, twins{s.engine})}
	r.index = fleet.New(fleet.Options{
		Connected: func(twin.ThingName) bool { return false }, Attributes: s.engine.Attributes,
		Exists: func(context.Context, twin.ThingName) (bool, error) { return true, nil }, Drift: s.drift,
	})
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pages := make(chan []twin.ThingName)
	var workers sync.WaitGroup
	for range pastWorkers {
		workers.Go(func() {
			for page := range pages {
				if err := r.page(ctx, page); err != nil {
					cancel(err)
				}
			}
		})
	}
	err := r.list(ctx, pages)
	close(pages)
	workers.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("read the twins of the past: %w", err)
	}
	r.index.Bring(ctx)
	return r.index, nil
}

// rebuilding is an index of the past that is being made.
type rebuilding struct {
	server *Server
	index  *fleet.Index
	past   *history.Reader
	at     twin.Time
}

// list hands out all things that have a past.
func (r *rebuilding) list(ctx context.Context, pages chan<- []twin.ThingName) error {
	for after := twin.ThingName(""); ; {
		things, err := r.server.store.LoggedThings(ctx, after, fleetPage)
		if err != nil || len(things) == 0 {
			return err
		}
		select {
		case pages <- things:
		case <-ctx.Done():
			return nil
		}
		after = things[len(things)-1]
	}
}

func (r *rebuilding) page(ctx context.Context, things []twin.ThingName) error {
	heads, err := r.server.store.Heads(ctx, things)
	if err != nil {
		return err
	}
	var moved []twin.ThingName
	var their []twin.Head
	for i, thing := range things {
		if thing.IsModelLog() || ctx.Err() != nil {
			continue
		}
		if heads[i].Time > r.at {
			moved, their = append(moved, thing), append(their, heads[i])
			continue
		}
		if err := r.still(ctx, thing, &moved, &their, heads[i]); err != nil && ctx.Err() == nil {
			r.server.notIndexed(thing, err)
		}
	}
	found, err := r.past.AtMany(ctx, moved, their, r.at, len(r.server.groups) == 0)
	if err != nil {
		return err
	}
	for i := range found {
		if found[i].Err != nil && twin.Kind(found[i].Err) != twin.KindNotFound {
			r.server.notIndexed(moved[i], found[i].Err)
			continue
		}
		r.note(moved[i], found[i].Shadow)
	}
	r.index.Bring(ctx)
	return nil
}

// still notes a twin to which nothing has happened since, if it was there; one that came late is
// of those that moved.
func (r *rebuilding) still(ctx context.Context, thing twin.ThingName, moved *[]twin.ThingName, their *[]twin.Head, head twin.Head) error {
	shadow, err := r.server.engine.Shadow(ctx, twin.ShadowKey{Thing: thing})
	if err != nil {
		return err
	}
	if shadow.NewestStamp()*1000 > int64(r.at) {
		*moved, *their = append(*moved, thing), append(*their, head)
		return nil
	}
	r.note(thing, shadow)
	return nil
}

// note notes one twin if it was there.
func (r *rebuilding) note(thing twin.ThingName, shadow *twin.Shadow) {
	at := r.server.engine.Attributes(thing)
	known := at.Created != 0 && at.Created <= r.at || at.Found != 0 && at.Found <= r.at
	if !shadow.Exists() && !known {
		return
	}
	n := fleet.Note{Thing: thing, Attributes: at, Shadow: shadow}
	if m, _ := r.server.models.Model(at.Model); m != nil {
		n.Computed = compute(m, thing, at, shadow, r.at)
	}
	r.index.Settle(&n)
}

func compute(m *model.Model, thing twin.ThingName, at *twin.Attributes, shadow *twin.Shadow, now twin.Time) expr.Map {
	values, _ := m.Evaluate(expr.Inputs{ID: thing, Model: at.Model, Tags: at.Tags, Shadow: shadow, Now: now}, nil, nil)
	return values
}
