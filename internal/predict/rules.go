package predict

import (
	"context"
	"slices"

	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// Rules are what a model says of the measurements of its twins. The zero value watches all.
type Rules struct {
	Threshold float64  // surprise that starts an episode; 0: [DefaultThreshold]
	Ignore    []string // metrics that are not watched, such as reported.rssi
	Failure   *Failure // nil: nothing is said of failures
}

// Failure says when a thing has failed, as one of its metrics tells.
type Failure struct {
	Metric string  // such as telemetry.vibration
	Limit  float64 // the thing has failed when the metric is there
	Below  bool    // or lower; else or higher
}

func (r *Rules) ignores(metric string) bool { return slices.Contains(r.Ignore, metric) }

func (s *Service) rules(name twin.ThingName) Rules {
	if s.opts.Rules == nil {
		return Rules{}
	}
	return s.opts.Rules(name)
}

// primeWindow is the length of the windows of which a level is learned where samples are gone.
const primeWindow = twin.Time(3_600_000)

// prime learns the levels of metrics from rollups where their samples have expired. first are
// the first samples that there are.
func (s *Service) prime(ctx context.Context, t *thing, first []telemetry.Sample) error {
	infos, _, err := s.opts.Samples.Series(ctx, t.name)
	if err != nil {
		return err
	}
	rules := s.rules(t.name)
	begin := map[twin.MetricName]twin.Time{}
	for i := range first {
		if _, ok := begin[first[i].Metric]; !ok {
			begin[first[i].Metric] = first[i].Time
		}
	}
	for i := range infos {
		x := &infos[i]
		name := "telemetry." + string(x.Metric)
		to, ok := begin[x.Metric]
		if !ok {
			to = x.Last + 1
		}
		if x.Type != twin.ValueNumber || x.First >= to || rules.ignores(name) {
			continue
		}
		m := t.metric(name, false)
		if m < 0 || t.Metrics[m].States {
			continue
		}
		d := t.several.Number(m)
		for at := x.First; at < to; {
			page, err := s.opts.Samples.Windows(ctx, telemetry.Query{Thing: t.name, Metric: x.Metric, From: at, To: to, Window: primeWindow, Limit: telemetry.PointsMax, Quantiles: true})
			if err != nil {
				return err
			}
			for j := range page.Windows {
				w := &page.Windows[j]
				// Of a normal distribution 68 % are within a deviation.
				deviation := (w.Quantile(0.84) - w.Quantile(0.16)) / 2
				d.Prime(w.Start.Std(), int(w.Count), w.Avg(), deviation, w.Min.Value, w.Max.Value)
			}
			if at = page.Until; page.Complete {
				break
			}
		}
	}
	return nil
}
