package models

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// Past answers functions over time from the samples and the history of one thing.
type Past struct {
	Context   context.Context //nolint:containedctx // one evaluation is one call
	Thing     twin.ThingName
	Now       twin.Time
	Samples   *telemetry.Reader
	History   *history.Reader
	Telemetry expr.Values // last values
	// Err is the first fault in reading, after which nothing has a value.
	Err error
}

const (
	windowsMax = telemetry.PointsMax
	dayLength  = twin.Time(24 * time.Hour / time.Millisecond)
)

// supported refuses a function over time that nothing answers.
func supported(m *model.Model) error {
	for i := range m.Computed() {
		a := &m.Computed()[i]
		for _, c := range a.Program.Calls() {
			if c.Path[0] == "telemetry" || c.Path[0] == "reported" {
				continue
			}
			return &model.Error{
				Line: 1, Column: 1, Reason: fmt.Sprintf("computed.%s: %s of %s is not there", a.Name, c.Function, c.Path),
				Hint: "over time there are telemetry and reported",
			}
		}
	}
	return nil
}

// Past implements [expr.Past].
func (p *Past) Past(c *expr.Call) (v twin.Value, ok bool) {
	if p.Err != nil {
		return v, false
	}
	if c.Path[0] == "telemetry" {
		v, ok, p.Err = p.ofMetric(c, twin.MetricName(strings.Join(c.Path[1:], ".")))
	} else {
		v, ok, p.Err = p.ofAttribute(c)
	}
	return v, ok && p.Err == nil
}

// from is when the window of a call begins.
func (p *Past) from(c *expr.Call) twin.Time {
	return max(0, p.Now-twin.Time(c.Window/time.Millisecond))
}

// ofMetric is a figure of telemetry. The window ends with now, which is in it.
func (p *Past) ofMetric(c *expr.Call, metric twin.MetricName) (twin.Value, bool, error) {
	switch c.Function {
	case "last":
		if p.Telemetry == nil {
			return twin.Value{}, false, nil
		}
		v, ok := p.Telemetry.Value(string(metric))
		return v, ok, nil
	case "since", "duration":
		return p.ofState(c, metric)
	case "ewma":
		return p.ewma(c, metric)
	}
	q := telemetry.Query{Thing: p.Thing, Metric: metric, From: p.from(c), To: p.Now + 1, Limit: windowsMax, Window: dayLength, Before: true, Quantiles: c.Function == "percentile"}
	sum := series.Rollup{Start: q.From}
	var before *series.Point
	for first := true; ; first = false {
		res, err := p.Samples.Windows(p.Context, q)
		if err != nil {
			return twin.Value{}, false, fmt.Errorf("read %s of %s: %w", metric, p.Thing, err)
		}
		for i := range res.Windows {
			if first && i == 0 {
				before = res.Windows[0].Before
			}
			sum.Merge(&res.Windows[i].Rollup)
		}
		if res.Complete {
			break
		}
		q.From, q.Before = res.Until, false
	}
	v, ok := figure(c, &sum, before, q.To)
	return v, ok, nil
}

func figure(c *expr.Call, sum *series.Rollup, before *series.Point, end twin.Time) (twin.Value, bool) {
	if c.Function == "count" {
		return twin.NumberValue(float64(sum.Count)), true
	}
	if sum.Count == 0 {
		return twin.Value{}, false
	}
	w := telemetry.Window{Rollup: *sum, Before: before}
	switch c.Function {
	case "avg":
		mean, ok := sum.TimeWeighted(before, end)
		return twin.NumberValue(mean), ok
	case "min":
		return twin.NumberValue(sum.Min.Value), true
	case "max":
		return twin.NumberValue(sum.Max.Value), true
	case "percentile":
		return twin.NumberValue(sum.Quantile(c.Percentile / 100)), true
	case "delta":
		change, _ := w.Delta()
		return twin.NumberValue(change), sum.Count > 1 || before != nil
	case "rate":
		change, ms := w.Delta()
		return twin.NumberValue(change / float64(ms) * 1000), ms > 0
	}
	return twin.Value{}, false
}

// ewma is the mean of the samples of the last five windows, each weighted by exp(-age/window).
func (p *Past) ewma(c *expr.Call, metric twin.MetricName) (twin.Value, bool, error) {
	window := twin.Time(c.Window / time.Millisecond)
	q := telemetry.Query{Thing: p.Thing, Metric: metric, From: max(0, p.Now-ewmaReach*window), To: p.Now + 1, Limit: telemetry.PointsMax}
	var mean ewma
	for {
		res, err := p.Samples.Points(p.Context, q)
		if err != nil {
			return twin.Value{}, false, fmt.Errorf("read %s of %s: %w", metric, p.Thing, err)
		}
		for _, x := range res.Points {
			if x.Value.Type == twin.ValueNumber {
				mean.add(x.Value.Number, float64(p.Now-x.Time)/float64(window))
			}
		}
		if res.Complete {
			return twin.NumberValue(mean.sum / mean.weight), mean.weight > 0, nil
		}
		q.From = res.Until
	}
}

// ofState is since when, in seconds, or how long in a window a state has held.
func (p *Past) ofState(c *expr.Call, metric twin.MetricName) (twin.Value, bool, error) {
	q := telemetry.Query{Thing: p.Thing, Metric: metric, From: p.from(c), To: p.Now + 1, Limit: telemetry.PointsMax}
	if c.Function == "since" {
		q.From = max(0, p.Now-twin.Time(expr.WindowMax/time.Millisecond))
	}
	strips, err := p.Samples.Strips(p.Context, q)
	if err != nil {
		return twin.Value{}, false, fmt.Errorf("read %s of %s: %w", metric, p.Thing, err)
	}
	for i := range strips {
		s := &strips[i]
		if c.State.Type != 0 && s.Type != c.State.Type {
			continue
		}
		if !s.Complete {
			return twin.Value{}, false, nil // of more changes than can be read nothing is claimed
		}
		if c.Function == "since" {
			v, ok := since(s, c.State, p.Now)
			return v, ok, nil
		}
		var held twin.Time
		for _, stay := range s.Stays(q.From, p.Now, twin.Time(c.Window/time.Millisecond)) {
			if c.State.Type == 0 || stay.State == c.State {
				held += stay.Held
			}
		}
		return twin.NumberValue(float64(held) / 1000), true, nil
	}
	return twin.Value{}, false, nil
}

// since is for how long the present state has held, absent if it is not the one asked for.
func since(s *telemetry.Strip, state twin.Value, now twin.Time) (twin.Value, bool) {
	last := s.Before
	if n := len(s.Changes); n > 0 {
		last = &s.Changes[n-1]
	}
	if last == nil || state.Type != 0 && last.Value != state {
		return twin.Value{}, false
	}
	return twin.NumberValue(float64(now-last.Time) / 1000), true
}

// ofAttribute is a figure of a reported number, from the history.
func (p *Past) ofAttribute(c *expr.Call) (twin.Value, bool, error) {
	if len(c.Path) < 2 {
		return twin.Value{}, false, nil
	}
	switch c.Function {
	case "percentile", "last", "since", "duration", "ewma":
		return p.ofStays(c)
	}
	s, err := p.History.Series(p.Context, twin.ShadowKey{Thing: p.Thing}, c.Path.String(), p.from(c), p.Now+1, history.PageMax)
	if err != nil {
		return twin.Value{}, false, fmt.Errorf("read %s of %s: %w", c.Path, p.Thing, err)
	}
	if !s.Complete {
		return twin.Value{}, false, nil
	}
	var first, last *history.Sample
	count := 0
	for i := range s.Samples {
		if x := &s.Samples[i]; x.Number != "" {
			if first == nil {
				first = x
			}
			last = x
			if x.Time > s.From {
				count++
			}
		}
	}
	if c.Function == "count" {
		return twin.NumberValue(float64(count)), true, nil
	}
	if first == nil {
		return twin.Value{}, false, nil
	}
	return aggregate(c, &s, first, last)
}

func aggregate(c *expr.Call, s *history.Series, first, last *history.Sample) (twin.Value, bool, error) {
	a, err := s.Aggregate()
	if err != nil {
		return twin.Value{}, false, err
	}
	switch c.Function {
	case "avg":
		return twin.NumberValue(a.Mean), a.Known > 0, nil
	case "min":
		return twin.NumberValue(a.Min), true, nil
	case "max":
		return twin.NumberValue(a.Max), true, nil
	}
	x, err := strconv.ParseFloat(first.Number, 64)
	if err != nil {
		return twin.Value{}, false, fmt.Errorf("read a number: %w", err)
	}
	y, err := strconv.ParseFloat(last.Number, 64)
	if err != nil {
		return twin.Value{}, false, fmt.Errorf("read a number: %w", err)
	}
	if c.Function == "delta" {
		return twin.NumberValue(y - x), first != last, nil
	}
	ms := last.Time - first.Time
	return twin.NumberValue((y - x) / float64(ms) * 1000), ms > 0, nil
}
