package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
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
	// Telemetry and Rollups are about samples and what they come to in a minute, an hour
	// and a day.
	Telemetry, Rollups time.Duration
	// Metrics have ages of their own: see [parseMetricRule].
	Metrics []string
	// Models have ages of their own.
	Models map[string]*ModelRetention
}

// ModelRetention is how long the past of the things of a model is kept; ageUnset: as long
// as that of all.
type ModelRetention struct{ History, Events, Telemetry, Rollups time.Duration }

// ageUnset is no age.
const ageUnset = -1

// of returns how long the past of the things of a model is kept.
func (c *RetentionConfig) of(model string) ModelRetention {
	keep := ModelRetention{c.History, c.Events, c.Telemetry, c.Rollups}
	own := c.Models[model]
	if own == nil {
		return keep
	}
	for _, age := range []struct{ of, own *time.Duration }{
		{&keep.History, &own.History}, {&keep.Events, &own.Events}, {&keep.Telemetry, &own.Telemetry}, {&keep.Rollups, &own.Rollups},
	} {
		if *age.own != ageUnset {
			*age.of = *age.own
		}
	}
	return keep
}

// policy says what may go at an instant: whole days that are older, to their last
// millisecond, than what is to be kept. A model that has a group and is not in the
// configuration any more has the ages of all.
func (c *RetentionConfig) policy(now time.Time, groups map[string]store.Group) store.Policy {
	p := make(store.Policy)
	add := func(g store.Group, kind store.Kind, age time.Duration) {
		if age > 0 {
			p[store.ClassOf(g, kind)] = twin.TimeOf(now.Add(-age)).Day()
		}
	}
	add(store.GroupDefault, store.KindHistory, c.History)
	add(store.GroupDefault, store.KindLog, c.Events)
	for model, group := range groups {
		keep := c.of(model)
		add(group, store.KindHistory, keep.History)
		add(group, store.KindLog, keep.Events)
	}
	return p
}

// modelKeys begin the keys of what is kept by model.
const modelKeys = "retention.models."

var modelKinds = []string{"history", "events", "telemetry", "rollups"}

// modelSetting returns the setting of a key of a model, such as
// retention.models.pump.history, making it if it is not there.
func (c *RetentionConfig) modelSetting(key string) (s setting, ok bool, err error) {
	rest, ok := strings.CutPrefix(key, modelKeys)
	if !ok {
		return s, false, nil
	}
	model, name, ok := strings.Cut(rest, ".")
	if !ok || !slices.Contains(modelKinds, name) {
		return s, false, fmt.Errorf("of a model there are %s, such as %spump.history", strings.Join(modelKinds, ", "), modelKeys)
	}
	if err := (&twin.Attributes{Model: model}).Check(); err != nil || model == "" {
		return s, false, fmt.Errorf("%q is no name of a model: 1 to %d characters of [a-zA-Z0-9:_-]", model, twin.ModelBytesMax)
	}
	m := c.Models[model]
	if m == nil {
		m = &ModelRetention{ageUnset, ageUnset, ageUnset, ageUnset}
		if c.Models == nil {
			c.Models = make(map[string]*ModelRetention)
		}
		c.Models[model] = m
	}
	switch name {
	case "history":
		return setting{key, "", "how long past states of things of this model are kept", ageValue{&m.History}}, true, nil
	case "events":
		return setting{key, "", "how long all other events of things of this model are kept", ageValue{&m.Events}}, true, nil
	case "telemetry":
		return setting{key, "", "how long samples of things of this model are kept", ageValue{&m.Telemetry}}, true, nil
	}
	return setting{key, "", "how long rollups of things of this model are kept", ageValue{&m.Rollups}}, true, nil
}

// retentionEvery is how often what is too old is looked for.
const retentionEvery = time.Hour

// keepRetention lets the past expire, at once and then every hour, until ctx ends.
func (s *Server) keepRetention(ctx context.Context) {
	tick := time.NewTicker(s.clock.Real(retentionEvery))
	defer tick.Stop()
	for {
		start, began := s.clock.Now(), time.Now()
		r, err := s.store.Expire(ctx, s.config.Retention.policy(start, s.groups))
		switch {
		case err != nil && ctx.Err() == nil:
			s.log.Error("history could not expire", "error", err.Error())
		case r.Days > 0:
			s.log.Info("history has expired", "days", r.Days, "shadows", r.Bases, "took", time.Since(began))
		}
		s.expireTelemetry(ctx, start)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// openGroups finds the retention group of each model.
func (s *Server) openGroups() (err error) {
	models := slices.Collect(maps.Keys(s.config.Retention.Models))
	if s.groups, err = store.OpenGroups(context.Background(), s.store, models); err != nil {
		return fmt.Errorf("open retention: %w", err)
	}
	return nil
}

// startRetention begins it.
func (s *Server) startRetention() {
	ctx, stop := context.WithCancel(context.Background())
	s.stopRetention = stop
	s.retaining.Go(func() { s.keepRetention(ctx) })
	s.retaining.Go(func() { s.keepBudget(ctx) })
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
