package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// metricRulesMax is how many metrics may have ages of their own: each is looked at for each
// series of a day that expires.
const metricRulesMax = 100

// parseMetricRule reads "METRIC AGE", or "METRIC AGE AGE" with the age of rollups too, which is
// that of all otherwise. METRIC may end in *, and begin with a model and a colon.
func (c *RetentionConfig) parseMetricRule(text string) (r telemetry.MetricRule, err error) {
	words := strings.Fields(text)
	if len(words) < 2 || len(words) > 3 {
		return r, fmt.Errorf("%q is not a metric with one or two ages, such as vibration.* 7d 1y", text)
	}
	r.Metric = words[0]
	if model, metric, ok := strings.Cut(words[0], ":"); ok {
		r.Model, r.Metric = model, metric
		if err := (&twin.Attributes{Model: model}).Check(); err != nil || model == "" {
			return r, fmt.Errorf("%q: %q is no name of a model", text, model)
		}
	}
	if name := strings.TrimSuffix(r.Metric, "*"); name != "" && twin.MetricName(name).Check() != nil || r.Metric == "" || strings.Contains(name, "*") {
		return r, fmt.Errorf("%q: %q is neither a metric nor the beginning of some with * at the end", text, r.Metric)
	}
	samples, rollups := c.Telemetry, c.of(r.Model).Rollups
	if err := (ageValue{&samples}).Set(words[1]); err != nil {
		return r, fmt.Errorf("%q: %w", text, err)
	}
	if len(words) == 3 {
		if err := (ageValue{&rollups}).Set(words[2]); err != nil {
			return r, fmt.Errorf("%q: %w", text, err)
		}
	}
	r.Ages = telemetry.NewAges(samples, rollups)
	return r, nil
}

// metricRules reads all rules.
func (c *RetentionConfig) metricRules() ([]telemetry.MetricRule, error) {
	if n := len(c.Metrics); n > metricRulesMax {
		return nil, fmt.Errorf("%d rules are over the limit of %d", n, metricRulesMax)
	}
	rules := make([]telemetry.MetricRule, len(c.Metrics))
	for i, text := range c.Metrics {
		var err error
		if rules[i], err = c.parseMetricRule(text); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

// check finds what cannot be kept so. Windows are read from rollups, so these are kept as
// long as samples at least.
func (c *RetentionConfig) check(fault func(key, format string, args ...any)) {
	short := func(samples, rollups time.Duration) bool { return rollups > 0 && (samples == 0 || samples > rollups) }
	if short(c.Telemetry, c.Rollups) {
		fault("retention.rollups", "%s is shorter than the %s of retention.telemetry", ageValue{&c.Rollups}, ageValue{&c.Telemetry})
	}
	for model := range c.Models {
		if keep := c.of(model); short(keep.Telemetry, keep.Rollups) {
			fault(modelKeys+model+".rollups", "is shorter than the time that its samples are kept")
		}
	}
	rules, err := c.metricRules()
	if err != nil {
		fault("retention.metrics", "%v", err)
	}
	for i := range rules {
		if a := rules[i].Ages; short(a[0], a[1]) {
			fault("retention.metrics", "%q: rollups are kept for a shorter time than samples; give a longer one at the end", c.Metrics[i])
		}
	}
}

// telemetry is how long telemetry is kept, given the model of a thing.
func (c *RetentionConfig) telemetry(modelOf func(twin.ThingName) string) (telemetry.Retention, error) {
	rules, err := c.metricRules()
	if err != nil {
		return telemetry.Retention{}, err
	}
	ages := func(model string) telemetry.Ages {
		keep := c.of(model)
		return telemetry.NewAges(keep.Telemetry, keep.Rollups)
	}
	r := telemetry.Retention{All: []telemetry.Ages{ages("")}}
	for model := range c.Models {
		r.All = append(r.All, ages(model))
	}
	for i := range rules {
		r.All = append(r.All, rules[i].Ages)
	}
	r.Of = func(thing twin.ThingName, metric twin.MetricName) telemetry.Ages {
		model := modelOf(thing)
		if rule := telemetry.RuleOf(rules, model, metric); rule != nil {
			return rule.Ages
		}
		return ages(model)
	}
	return r, nil
}

// expireTelemetry lets samples and rollups expire.
func (s *Server) expireTelemetry(ctx context.Context, now time.Time) {
	began := time.Now()
	managed := twins{s.engine}
	keep, err := s.config.Retention.telemetry(func(thing twin.ThingName) string { return managed.Attributes(thing).Model })
	var e telemetry.Expired
	if err == nil {
		e, err = s.telemetry.Expire(ctx, now, keep)
	}
	switch {
	case err != nil && ctx.Err() == nil:
		s.log.Error("telemetry could not expire", "error", err.Error())
	case e.Days > 0:
		s.log.Info("telemetry has expired", "days", e.Days, "series", e.Series, "took", time.Since(began))
	}
}
