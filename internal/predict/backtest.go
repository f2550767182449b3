package predict

import (
	"context"
	"slices"

	"github.com/twofold-iot/twofold/twin"
)

// Backtest is what would have been predicted in the past of a thing, and what came.
type Backtest struct {
	Reason string    // why there is none; empty: there is one
	Failed twin.Time // when the limit was reached; zero: it was not yet
	Points []Predicted
}

// backtests is at how many instants it is asked.
const backtests = 20

// Backtest predicts the failure of a thing at instants of its present life, by what was known
// then.
func (s *Service) Backtest(ctx context.Context, name twin.ThingName) (b *Backtest, err error) {
	err = s.with(ctx, name, func(t *thing) error {
		b, err = s.backtest(ctx, t)
		return err
	})
	return b, err
}

func (s *Service) backtest(ctx context.Context, t *thing) (*Backtest, error) {
	f := s.rules(t.name).Failure
	if f == nil {
		return &Backtest{Reason: "the model of the thing does not say when it has failed: give it a failure section"}, nil
	}
	now := s.opts.Now()
	points, err := s.points(ctx, t.name, f.Metric, max(t.Life, now-pastMost), now+1)
	if err != nil {
		return nil, err
	}
	b := &Backtest{}
	if len(points) > 0 {
		whole := Predicted{Made: now}
		if whole.from(points, f); whole.Reached {
			b.Failed = whole.Date
		}
	}
	for i := 1; i <= backtests; i++ {
		n := len(points) * i / backtests
		if n == 0 || i > 1 && n == len(points)*(i-1)/backtests {
			continue
		}
		p := Predicted{Made: points[n-1].Time, Metric: f.Metric, Limit: f.Limit, Below: f.Below, Method: "trend"}
		p.from(points[:n], f)
		b.Points = append(b.Points, p)
	}
	if b.Points == nil {
		b.Reason = "not enough data: there is no " + f.Metric
	}
	return b, nil
}

// Expected is a thing that is expected to fail.
type Expected struct {
	Thing twin.ThingName
	Predicted
}

// Expected lists the things with a date of failure, the next first.
func (s *Service) Expected() []Expected {
	s.mu.Lock()
	list := make([]Expected, 0, len(s.due))
	for name, p := range s.due {
		list = append(list, Expected{name, p})
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b Expected) int {
		switch {
		case a.Date != b.Date:
			return int(max(-1, min(1, a.Date-b.Date)))
		case a.Thing < b.Thing:
			return -1
		}
		return 1
	})
	return list
}

// note keeps what is said of a thing for [Service.Expected]. t.mu is held.
func (s *Service) note(t *thing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case t.forecast != nil && t.forecast.Date != 0:
		s.due[t.name] = *t.forecast
	case t.Predicted != nil && t.forecast == nil: // as it was told before the start
		s.due[t.name] = *t.Predicted
	default:
		delete(s.due, t.name)
	}
}
