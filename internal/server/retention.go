package server

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// RetentionConfig says how long the past is kept; zero: for ever.
type RetentionConfig struct {
	History time.Duration // events that change a shadow
	Events  time.Duration // all others
}

// policy says what may go at an instant: whole days that are older, to their last
// millisecond, than what is to be kept.
func (c *RetentionConfig) policy(now time.Time) store.Policy {
	p := make(store.Policy)
	for class, age := range map[store.Class]time.Duration{store.ClassHistory: c.History, store.ClassLog: c.Events} {
		if age > 0 {
			p[class] = twin.TimeOf(now.Add(-age)).Day()
		}
	}
	return p
}

// retentionEvery is how often what is too old is looked for.
const retentionEvery = time.Hour

// keepRetention lets the past expire, at once and then every hour, until ctx ends.
func (s *Server) keepRetention(ctx context.Context) {
	tick := time.NewTicker(retentionEvery)
	defer tick.Stop()
	for {
		start := time.Now()
		r, err := s.store.Expire(ctx, s.config.Retention.policy(start))
		switch {
		case err != nil && ctx.Err() == nil:
			s.log.Error("history could not expire", "error", err.Error())
		case r.Days > 0:
			s.log.Info("history has expired", "days", r.Days, "shadows", r.Bases, "took", time.Since(start))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// startRetention begins it.
func (s *Server) startRetention() {
	ctx, stop := context.WithCancel(context.Background())
	s.stopRetention = stop
	s.retaining.Go(func() { s.keepRetention(ctx) })
}

// ageValue is a time to keep something: days, years or "forever".
type ageValue struct{ p *time.Duration }

const (
	ageForever = "forever"
	ageDay     = 24 * time.Hour
	ageYear    = 365 * ageDay
	ageMax     = 200 * ageYear
)

func (v ageValue) Set(text string) error {
	if text == ageForever || text == "0" {
		*v.p = 0
		return nil
	}
	unit := ageDay
	number, ok := strings.CutSuffix(text, "d")
	if !ok {
		unit = ageYear
		number, ok = strings.CutSuffix(text, "y")
	}
	n, err := strconv.Atoi(number)
	if !ok || err != nil {
		return fmt.Errorf("%q is not a time to keep history, such as 90d, 1y or %s", text, ageForever)
	}
	if n < 1 || n > int(ageMax/unit) {
		return fmt.Errorf("%s is not between 1d and %dy, or %s", text, ageMax/ageYear, ageForever)
	}
	*v.p = time.Duration(n) * unit
	return nil
}

func (v ageValue) String() string {
	switch {
	case *v.p == 0:
		return ageForever
	case *v.p%ageYear == 0:
		return fmt.Sprintf("%dy", *v.p/ageYear)
	}
	return fmt.Sprintf("%dd", *v.p/ageDay)
}
