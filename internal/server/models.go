package server

import (
	"context"

	"github.com/twofold-iot/twofold/internal/action"
	"github.com/twofold-iot/twofold/internal/door/device"
	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/internal/models"
	"github.com/twofold-iot/twofold/twin"
)

// openModels lets the models in force make steps: those that are due after the start, and
// with telemetry and connections.
func (s *Server) openModels() {
	s.beside = models.NewBeside(context.Background(), s.log, s.models, s.telemetry.Reader(), s.things.Connected)
	s.engine.StepAll()
	ctx, stop := context.WithCancel(context.Background())
	s.stopBeside = stop
	s.besides.Go(func() { s.beside.Run(ctx) })
}

// runActions sends the commands that behaviours ask for.
func (s *Server) runActions() error {
	r := &action.Runner{Log: s.log, Feed: hookFeed{s.feed, feedLog{s.store}}, Records: s.engine, Commands: s.commands}
	if err := r.Open(context.Background()); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stopActions = stop
	s.acting.Go(func() { r.Run(ctx) })
	return nil
}

// fillBeside is what models read beside a shadow. Nothing is served before s.beside is set.
func (s *Server) fillBeside(in *expr.Inputs) {
	if s.beside != nil {
		s.beside.Fill(in)
	}
}

// listening takes telemetry and tells models of it.
type listening struct {
	next   device.Telemetry
	server *Server
}

// Ingest hands rows on; see [device.Telemetry].
func (l listening) Ingest(rows []twin.Row, durable bool, done func(error)) error {
	heard := l.server.beside.Listen(rows)
	sampled := fleet.Measure(rows)
	var things []twin.ThingName
	for i := range sampled {
		if i == 0 || sampled[i].Thing != sampled[i-1].Thing {
			things = append(things, sampled[i].Thing)
		}
	}
	taken := func(err error) {
		if err == nil {
			l.server.index.Sample(sampled) // before anybody is told that they are taken
			if p := l.server.predict.Load(); p != nil {
				p.ChangedAll(things)
			}
		}
		done(err)
	}
	if err := l.next.Ingest(rows, durable, taken); err != nil {
		return err
	}
	l.server.beside.Take(heard)
	return nil
}
