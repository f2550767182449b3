package predict

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// Verdict is what somebody says of an episode.
type Verdict string

// The verdicts.
const (
	FalseAlarm  Verdict = "false alarm"
	Real        Verdict = "real"
	Maintenance Verdict = "maintenance done"
)

// Limits of what verdicts do to the threshold of a metric, as a factor.
const (
	adjustMost  = 3
	adjustLeast = 0.7
	adjustReal  = 0.9
	adjustOver  = 1.05
	// ThresholdMin and ThresholdMax bound thresholds that are set.
	ThresholdMin = 0.5
	ThresholdMax = 20
)

// event is how an episode is told.
func (x *told) event(name twin.ThingName) twin.Event {
	ev := twin.Event{Thing: name, Kind: twin.EventAnomaly, Type: x.what, Severity: twin.SeverityWarning, Message: x.says(), Correlation: correlation(x.Number)}
	ev.OriginTime = x.Start
	if x.what == Ended {
		ev.Severity, ev.OriginTime = twin.SeverityInfo, x.End
	}
	ev.Data, _ = json.Marshal(x.Episode.finite()) // it has finite numbers and texts alone
	return ev
}

func correlation(number int) string { return "anomaly-" + strconv.Itoa(number) }

// finite is an episode that JSON can hold.
func (e *Episode) finite() Episode {
	x := *e
	for _, p := range []*float64{&x.Surprise, &x.Score, &x.Value, &x.Low, &x.High} {
		*p = max(-math.MaxFloat64, min(*p, math.MaxFloat64))
		if math.IsNaN(*p) {
			*p = 0
		}
	}
	return x
}

// Judge takes a verdict on an episode, and uses it: after a false alarm a metric has to be more
// unusual than that; after a real one a little less is enough; after maintenance what is now
// is usual, and a new life begins. Number 0 with maintenance needs no episode.
func (s *Service) Judge(ctx context.Context, name twin.ThingName, number int, v Verdict, note string, o twin.Origin) (r *Report, err error) {
	if v != FalseAlarm && v != Real && v != Maintenance {
		return nil, twin.NewError(twin.KindInvalid, fmt.Sprintf("verdict: %.40q is none of %q, %q, %q", v, FalseAlarm, Real, Maintenance))
	}
	err = s.with(ctx, name, func(t *thing) error {
		if err := s.catchUp(ctx, t); err != nil {
			return err
		}
		e := t.episode(number)
		if e == nil && (number != 0 || v != Maintenance) {
			return twin.NewError(twin.KindNotFound, fmt.Sprintf("%s has no episode %d among its last ones", name, number))
		}
		ev := twin.Event{Thing: name, Kind: twin.EventAnomaly, Type: Judged, Severity: twin.SeverityInfo, Message: string(v), Origin: o}
		if e != nil {
			ev.Correlation = correlation(number)
			e.Verdict = v
			s.learn(t, e)
		}
		if note != "" {
			ev.Message += ": " + note
		}
		if v == Maintenance {
			t.maintained(s.opts.Now())
		}
		if err := s.append(ctx, t, &ev); err != nil {
			return err
		}
		r, err = s.renew(ctx, t)
		return err
	})
	return r, err
}

// learn uses a verdict on an episode.
func (s *Service) learn(t *thing, e *Episode) {
	rules := s.rules(t.name)
	factor, ok := t.Adjusted[e.Metric]
	if !ok {
		factor = 1
	}
	base := t.threshold(&rules, e.Metric) / factor
	switch e.Verdict {
	case FalseAlarm:
		if e.Kind == Drifting { // what it drifted to is usual
			if i, ok := t.index[e.Metric]; ok && t.several.Number(i) != nil {
				t.several.Number(i).Since()
			}
			return
		}
		factor = max(factor, min(adjustMost, adjustOver*e.Surprise/base))
	case Real:
		factor = max(adjustLeast, min(factor, 1)*adjustReal)
	default:
		return
	}
	if t.Adjusted == nil {
		t.Adjusted = map[string]float64{}
	}
	t.Adjusted[e.Metric] = factor
}

// maintained begins a new life.
func (t *thing) maintained(now twin.Time) {
	t.several.Since()
	t.Life, t.Adjusted = now, nil
	for len(t.Open) > 0 {
		t.end(0, now)
	}
}

// Set changes the threshold of a thing, 0 for that of its model, or until when it is muted,
// zero for not at all; nil leaves it.
func (s *Service) Set(ctx context.Context, name twin.ThingName, threshold *float64, muted *twin.Time, o twin.Origin) (r *Report, err error) {
	var says []string
	if threshold != nil && *threshold != 0 && !(*threshold >= ThresholdMin && *threshold <= ThresholdMax) {
		return nil, twin.NewError(twin.KindInvalid, fmt.Sprintf("threshold: %g is not %g to %g, nor 0 for that of the model", *threshold, ThresholdMin, float64(ThresholdMax)))
	}
	err = s.with(ctx, name, func(t *thing) error {
		if err := s.catchUp(ctx, t); err != nil {
			return err
		}
		if threshold != nil {
			t.Threshold = *threshold
			says = append(says, fmt.Sprintf("threshold %g", *threshold))
		}
		if muted != nil {
			t.Muted = *muted
			says = append(says, "muted until "+muted.Std().Format("2006-01-02T15:04:05Z07:00"))
			if *muted == 0 {
				says[len(says)-1] = "not muted"
			}
		}
		ev := twin.Event{Thing: name, Kind: twin.EventAnomaly, Type: Changed, Severity: twin.SeverityInfo, Message: strings.Join(says, ", "), Origin: o}
		if err := s.append(ctx, t, &ev); err != nil {
			return err
		}
		r = s.report(t)
		return nil
	})
	return r, err
}
