package predict

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/internal/trend"
	"github.com/twofold-iot/twofold/twin"
)

// Predicted is when a thing is expected to fail.
type Predicted struct {
	Reason string `json:"why,omitempty"` // why there is no date; empty: there is one
	// Date is the median; zero: there is none. The intervals hold the date of the failure with 50 and 90 %;
	// an end of zero is farther away than can be said.
	Date       twin.Time    `json:"date,omitempty"`
	Interval50 [2]twin.Time `json:"interval50"`
	Interval90 [2]twin.Time `json:"interval90"`
	Reached    bool         `json:"reached,omitempty"` // it has failed, at Date
	Made       twin.Time    `json:"made"`
	Method     string       `json:"method,omitempty"` // trend
	Metric     string       `json:"metric,omitempty"`
	Limit      float64      `json:"limit"`
	Below      bool         `json:"below,omitempty"`
	Level      float64      `json:"level"` // of the metric now, smoothed
	Slope      float64      `json:"slope"` // of it, a day
	Shape      string       `json:"shape,omitempty"`
	Onset      twin.Time    `json:"onset,omitempty"` // of the degradation
	Points     int          `json:"points"`
	// Probability of a failure within days.
	Probability []Within `json:"probability,omitempty"`

	forecast *trend.Forecast
	origin   twin.Time // of the time of the forecast
}

// Within is a probability of failure.
type Within struct {
	Days        int     `json:"days"`
	Probability float64 `json:"probability"`
}

const (
	dayMS = float64(24 * time.Hour / time.Millisecond)
	// windowsMax is about how many points a trend is fitted to.
	windowsMax = 200
	// againAfter is how long a forecast is used before it is made anew.
	againAfter = twin.Time(10 * time.Minute / time.Millisecond)
	// pastMost is how far back a trend looks.
	pastMost = 3 * 366 * twin.Time(24*time.Hour/time.Millisecond)
	// movedBy is the share of the time that is left by which a date has to move to be told again.
	movedBy = 0.2
)

// horizons are the days for which a probability is given.
var horizons = []int{7, 30, 90} //nolint:gochecknoglobals // read only

// predict works out when a thing fails, and tells of it if that is news. t.mu is held.
func (s *Service) predict(ctx context.Context, t *thing) error {
	rules := s.rules(t.name)
	now := s.opts.Now()
	if rules.Failure == nil {
		t.forecast = nil
		return s.withdraw(ctx, t, "the model says no more when the thing has failed")
	}
	if f := t.forecast; f != nil && now-f.Made < againAfter && f.Made >= t.Life && f.Metric == rules.Failure.Metric && f.Limit == rules.Failure.Limit {
		return nil
	}
	p, err := s.forecast(ctx, t, rules.Failure, now)
	if err != nil {
		return err
	}
	t.forecast = p
	old := t.Predicted
	switch {
	case p.Date == 0:
		return s.withdraw(ctx, t, p.Reason)
	case old != nil && old.Reached == p.Reached && math.Abs(float64(p.Date-old.Date)) <= movedBy*math.Abs(float64(old.Date-now))+float64(againAfter):
		return nil
	}
	t.Predicted = p
	return s.announce(ctx, t, "made", p.says(now), p)
}

// predicted is what is said of a thing now.
func (s *Service) predicted(t *thing, rules *Rules) Predicted {
	if rules.Failure == nil {
		return Predicted{Reason: "the model of the thing does not say when it has failed: give it a failure section"}
	}
	if t.forecast == nil {
		return Predicted{Reason: "nothing is predicted yet"}
	}
	return *t.forecast
}

// withdraw tells that a date holds no more.
func (s *Service) withdraw(ctx context.Context, t *thing, why string) error {
	if t.Predicted == nil {
		return nil
	}
	old := t.Predicted
	t.Predicted = nil
	return s.announce(ctx, t, "withdrawn", why, old)
}

func (s *Service) announce(ctx context.Context, t *thing, what, says string, p *Predicted) error {
	ev := twin.Event{Thing: t.name, Kind: twin.EventPrediction, Type: what, Severity: twin.SeverityInfo, Message: says}
	const soon = 30
	if what == "made" && p.Date-s.opts.Now() < twin.Time(soon*dayMS) {
		ev.Severity = twin.SeverityWarning
	}
	ev.Data, _ = json.Marshal(p) // its numbers are finite
	return s.append(ctx, t, &ev)
}

// Says tells when it is expected, or why that cannot be said.
func (p *Predicted) Says(now twin.Time) string {
	if p.Date == 0 {
		return p.Reason
	}
	return p.says(now)
}

// says tells a prediction in a sentence.
func (p *Predicted) says(now twin.Time) string {
	day := func(t twin.Time) string {
		if t == 0 {
			return "later than can be said"
		}
		return t.Std().Format("2006-01-02")
	}
	side := "above"
	if p.Below {
		side = "below"
	}
	if p.Reached {
		return fmt.Sprintf("%s is %s %.4g since %s", p.Metric, side, p.Limit, day(p.Date))
	}
	return fmt.Sprintf("%s will be %s %.4g on %s, in %.0f days; with 90 %% between %s and %s", p.Metric, side, p.Limit, day(p.Date), float64(p.Date-now)/dayMS, day(p.Interval90[0]), day(p.Interval90[1]))
}

// forecast extrapolates the metric of a failure over the present life of a thing.
func (s *Service) forecast(ctx context.Context, t *thing, f *Failure, now twin.Time) (*Predicted, error) {
	p := &Predicted{Made: now, Metric: f.Metric, Limit: f.Limit, Below: f.Below, Method: "trend"}
	points, err := s.points(ctx, t.name, f.Metric, max(t.Life, now-pastMost), now+1)
	if err != nil {
		return nil, err
	}
	if len(points) == 0 {
		p.Reason = "not enough data: there is no " + f.Metric
		if t.Life > 0 {
			p.Reason += " since the maintenance"
		}
		return p, nil
	}
	p.from(points, f)
	return p, nil
}

// from fills in what a trend of points says.
func (p *Predicted) from(points []series.Point, f *Failure) {
	p.origin = points[0].Time
	list := make([]trend.Point, len(points))
	for i, x := range points {
		list[i] = trend.Point{Time: float64(x.Time-p.origin) / dayMS, Value: x.Value}
	}
	c := trend.Of(list, trend.Limit{Value: f.Limit, Below: f.Below})
	p.forecast, p.Points, p.Reason, p.Reached = &c, c.Points, c.Reason, c.Reached
	p.Level, p.Slope, p.Shape = c.Level, c.Slope, c.Shape
	if off := c.Level + c.Slope; math.IsNaN(off) || math.IsInf(off, 0) { // of values near the largest that there are
		p.Level, p.Slope, p.Reason = 0, 0, "the values are too large"
		return
	}
	if c.Points < trend.PointsMin {
		return
	}
	p.Onset = p.time(c.Onset)
	for _, days := range horizons {
		p.Probability = append(p.Probability, Within{days, p.Within(float64(days))})
	}
	if c.Reason != "" {
		return
	}
	p.Date = p.time(c.Median)
	for i := range 2 {
		p.Interval50[i], p.Interval90[i] = p.time(c.Interval50[i]), p.time(c.Interval90[i])
	}
}

// time is that of days since the origin; zero for never.
func (p *Predicted) time(days float64) twin.Time {
	const longest = 100 * 366 // days, as far as a date says anything
	if math.IsNaN(days) || days > longest {
		return 0
	}
	return p.origin + twin.Time(days*dayMS)
}

// Within is the probability of a failure in so many days after the prediction was made.
func (p *Predicted) Within(days float64) float64 {
	if p.forecast == nil {
		return 0
	}
	return p.forecast.Probability(float64(p.Made-p.origin)/dayMS + days)
}

// points are the medians of a metric in windows of one length.
func (s *Service) points(ctx context.Context, name twin.ThingName, metric string, from, to twin.Time) ([]series.Point, error) {
	if m, ok := strings.CutPrefix(metric, "telemetry."); ok {
		return s.sampledPoints(ctx, name, twin.MetricName(m), from, to)
	}
	return s.reportedPoints(ctx, name, metric, from, to)
}

func (s *Service) sampledPoints(ctx context.Context, name twin.ThingName, metric twin.MetricName, from, to twin.Time) (list []series.Point, err error) {
	infos, _, err := s.opts.Samples.Series(ctx, name)
	if err != nil {
		return nil, err
	}
	for i := range infos {
		if x := &infos[i]; x.Metric == metric && x.Type == twin.ValueNumber {
			from, to = max(from, x.First), min(to, x.Last+1)
			return s.windows(ctx, name, metric, from, to)
		}
	}
	return nil, nil
}

func (s *Service) windows(ctx context.Context, name twin.ThingName, metric twin.MetricName, from, to twin.Time) (list []series.Point, err error) {
	if from >= to {
		return nil, nil
	}
	q := telemetry.Query{Thing: name, Metric: metric, From: from, To: to, Window: telemetry.ChartWindow(from, to, windowsMax), Limit: telemetry.PointsMax, Quantiles: true}
	for {
		page, err := s.opts.Samples.Windows(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range page.Windows {
			list = append(list, middle(&page.Windows[i].Rollup))
		}
		if page.Complete {
			return list, nil
		}
		q.From = page.Until
	}
}

// middle is the median of a window, at the middle of its numbers.
func middle(r *series.Rollup) series.Point {
	return series.Point{Time: (r.First.Time + r.Last.Time) / 2, Value: r.Quantile(0.5)}
}

// reportedPoints reads a number of the shadow. Where it goes on for long without a word it has
// no value.
func (s *Service) reportedPoints(ctx context.Context, name twin.ThingName, metric string, from, to twin.Time) ([]series.Point, error) {
	var all []series.Point
	key := twin.ShadowKey{Thing: name}
	for at := from; at < to; {
		page, err := s.opts.History.Series(ctx, key, metric, at, to, reportedPage)
		if err != nil {
			return nil, err
		}
		for _, x := range page.Samples {
			if v, err := strconv.ParseFloat(x.Number, 64); err == nil && x.Time >= at && (x.Time > at || at == from) {
				all = append(all, series.Point{Time: x.Time, Value: v})
			}
		}
		if at = page.Until; page.Complete || len(all) >= reportedMost {
			break
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	if all[0].Time == from && len(all) > 1 && from > 0 { // what was in force before the window
		all = all[1:]
	}
	windows := series.RollUp(all, telemetry.ChartWindow(all[0].Time, all[len(all)-1].Time+1, windowsMax))
	list := make([]series.Point, len(windows))
	for i := range windows {
		list[i] = middle(&windows[i])
	}
	return list, nil
}

// Limits of the numbers of a shadow that are read for a trend.
const (
	reportedPage = 1000
	reportedMost = 200_000
)
