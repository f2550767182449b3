package server

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// budgetMin is the smallest budget that is taken.
const budgetMin = 256e6

// budgetEvery is how often it is looked whether the data is within its budget.
const budgetEvery = time.Minute

// keepBudget gives up the oldest data while there is more than the budget allows, until
// ctx ends.
func (s *Server) keepBudget(ctx context.Context) {
	if s.config.StorageBudget == 0 {
		return
	}
	tick := time.NewTicker(s.clock.Real(budgetEvery))
	defer tick.Stop()
	for {
		if err := s.meetBudget(ctx, s.clock.Now()); err != nil && ctx.Err() == nil {
			s.log.Error("could not make room within storage.budget", "error", err.Error())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// budgetStep is a day that goes when the budget is reached.
type budgetStep struct {
	kind  string // telemetry, history
	day   uint32
	bytes uint64
}

const (
	stepTelemetry = "telemetry"
	stepHistory   = "history" // and all other events of the day
)

// budgetSteps lists what goes, in order: samples from the oldest day on, then events from
// the oldest day on. Today goes of neither, nor does the newest day that has any events.
func budgetSteps(samples, events []store.DayStats, today uint32) (steps []budgetStep) {
	for _, d := range samples {
		if d.Day < today {
			steps = append(steps, budgetStep{stepTelemetry, d.Day, d.Bytes})
		}
	}
	for i, d := range events {
		if d.Day < today && i < len(events)-1 {
			steps = append(steps, budgetStep{stepHistory, d.Day, d.Bytes})
		}
	}
	return steps
}

// meetBudget gives up days until what is left is within the budget. Files that are no
// longer needed may go a little later, so it counts what the days took.
func (s *Server) meetBudget(ctx context.Context, now time.Time) error {
	budget, used := uint64(s.config.StorageBudget), s.store.Size()
	if used <= budget {
		return nil
	}
	steps, err := s.budgetSteps(ctx, now)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if used <= budget {
			return nil
		}
		if err := s.giveUp(ctx, step); err != nil {
			return err
		}
		s.log.Warn("over storage.budget, a day has gone", "kind", step.kind, "day", dayText(step.day),
			"bytes", step.bytes, "used_bytes", used, "budget_bytes", budget)
		used -= min(used, step.bytes)
	}
	if used > budget {
		s.log.Warn("over storage.budget, and nothing may go: the current state and the newest day stay",
			"used_bytes", used, "budget_bytes", budget)
	}
	return nil
}

func (s *Server) budgetSteps(ctx context.Context, now time.Time) ([]budgetStep, error) {
	samples, err := s.store.ColumnDays(ctx, store.ClassSamples)
	if err != nil {
		return nil, err
	}
	stats, err := s.store.Stats(ctx, 0)
	if err != nil {
		return nil, err
	}
	return budgetSteps(samples, stats.Days, twin.TimeOf(now).Day()), nil
}

// giveUp lets one day go.
func (s *Server) giveUp(ctx context.Context, step budgetStep) error {
	if step.kind == stepTelemetry {
		_, _, err := s.telemetry.DropOldest(ctx, step.day+1)
		return err
	}
	p := make(store.Policy)
	for _, g := range append(slices.Collect(maps.Values(s.groups)), store.GroupDefault) {
		for _, kind := range []store.Kind{store.KindHistory, store.KindLog} {
			p[store.ClassOf(g, kind)] = step.day + 1
		}
	}
	_, err := s.store.Expire(ctx, p)
	return err
}

// budgetReport says what will go first, and when. growth is in bytes a day, nil if that is
// not known.
func (s *Server) budgetReport(ctx context.Context, now time.Time, growth *uint64) (*rest.StorageBudget, error) {
	budget := uint64(s.config.StorageBudget)
	if budget == 0 {
		return nil, nil
	}
	steps, err := s.budgetSteps(ctx, now)
	if err != nil {
		return nil, err
	}
	b := &rest.StorageBudget{Bytes: budget, Next: []rest.StorageStep{}}
	for _, step := range steps[:min(len(steps), rest.StorageStepsMax)] {
		b.Next = append(b.Next, rest.StorageStep{Kind: step.kind, Day: dayText(step.day), Bytes: step.bytes})
	}
	b.Forecast(now, s.store.Size(), growth)
	return b, nil
}

func dayText(day uint32) string {
	return twin.Time(int64(day) * ageDay.Milliseconds()).Std().Format(time.DateOnly)
}
