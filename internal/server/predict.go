package server

import (
	"context"
	"fmt"
	"time"

	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/predict"
	"github.com/twofold-iot/twofold/twin"
)

const predictEvery = 5 * time.Second // between looks at what is new

// openPredict opens what watches measurements, and lets it look at all things once: at what
// came while the server was down.
func (s *Server) openPredict() error {
	if !s.config.Predict.Enabled {
		return nil
	}
	p, err := predict.New(s.log, s.engine, predict.Options{
		Samples: s.telemetry.Reader(), History: history.New(s.store, twins{s.engine}), Now: s.engine.Now, Rules: s.predictRules,
		Every: s.clock.Real(predictEvery),
	})
	if err != nil {
		return err
	}
	if err := p.Open(context.Background()); err != nil {
		return err
	}
	s.predict.Store(p)
	ctx, stop := context.WithCancel(context.Background())
	s.stopPredict = stop
	s.predicting.Go(func() {
		if err := s.lookAtAll(ctx, p); err != nil && ctx.Err() == nil {
			s.log.Error("measurements of before the start are not watched", "error", err)
		}
		p.Run(ctx)
	})
	return nil
}

// predictions are what the REST door shows; nil: nothing is watched.
func (s *Server) predictions() rest.Predictions {
	if p := s.predict.Load(); p != nil {
		return p
	}
	return nil // and no nil service in an interface
}

// lookAtAll has all things looked at.
func (s *Server) lookAtAll(ctx context.Context, p *predict.Service) error {
	for _, list := range []func(context.Context, twin.ThingName, int) ([]twin.ThingName, error){s.engine.Things, s.store.RowThings} {
		for after := twin.ThingName(""); ; {
			things, err := list(ctx, after, fleetPage)
			if err != nil {
				return fmt.Errorf("list the things: %w", err)
			}
			if len(things) == 0 {
				break
			}
			p.ChangedAll(things)
			after = things[len(things)-1]
		}
	}
	return nil
}

// predictRules are what the model of a thing says of its measurements.
func (s *Server) predictRules(thing twin.ThingName) predict.Rules {
	name := s.engine.Attributes(thing).Model
	if name == "" {
		return predict.Rules{}
	}
	m, _ := s.models.Model(name)
	watched := m.Monitors()
	r := predict.Rules{Threshold: watched.Threshold, Ignore: watched.Ignore}
	if f := m.Failure(); f != nil {
		r.Failure = &predict.Failure{Metric: f.Metric, Limit: f.Limit, Below: f.Below}
	}
	return r
}
