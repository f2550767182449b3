package predict

import (
	"context"
	"fmt"
	"slices"

	"github.com/twofold-iot/twofold/twin"
)

// Report is what is said of a thing.
type Report struct {
	Thing     twin.ThingName
	Judgement *Judgement // nil: nothing was judged yet
	Learning  string     // why there is no judgement, or what is not known yet; empty: all is
	Samples   int64      // instants judged
	Late      int        // values that came after later ones and were passed over
	Metrics   []Metric
	Left      bool // there are more metrics than [MetricsMax]
	Threshold float64
	Muted     twin.Time // zero: it is not
	Life      twin.Time // of the last maintenance
	Open      []Episode // the newest last
	Past      []Episode
	Predicted Predicted
}

// Metric is what is known of a metric.
type Metric struct {
	Name      string
	States    bool // it has states: of the rest only Samples and Value
	State     string
	Time      twin.Time
	Value     float64
	Samples   int64
	Learning  bool
	Mean      float64 // that is usual
	Low, High float64 // band of what is usual
	ByHour    bool    // at this hour of the day
	Rate      bool    // it is a counter: figures are of its change in a second
	Drift     float64 // of the last days, in deviations of daily means; 0: not known, or none
	Threshold float64
}

// Look brings what is said of a thing up to date, and returns it.
func (s *Service) Look(ctx context.Context, name twin.ThingName) (r *Report, err error) {
	err = s.with(ctx, name, func(t *thing) error {
		r, err = s.renew(ctx, t)
		return err
	})
	return r, err
}

// renew reads what is new of a thing and hands on what is said of it then. t.mu is held.
func (s *Service) renew(ctx context.Context, t *thing) (*Report, error) {
	s.clean(t.name) // what comes from here on is looked at again
	if err := s.catchUp(ctx, t); err != nil {
		return nil, err
	}
	if err := s.predict(ctx, t); err != nil {
		return nil, err
	}
	s.note(t)
	r := s.report(t)
	if s.opts.Predicted != nil {
		s.opts.Predicted(t.name, r)
	}
	return r, nil
}

// report is what is said of a thing. t.mu is held.
func (s *Service) report(t *thing) *Report {
	rules := s.rules(t.name)
	r := &Report{
		Thing: t.name, Judgement: t.Last, Samples: t.several.Samples(), Late: t.Late, Left: t.Left,
		Threshold: t.threshold(&rules, ""), Life: t.Life, Open: slices.Clone(t.Open), Past: slices.Clone(t.Past),
	}
	if d := r.drift(); d != nil && r.Judgement != nil && r.Judgement.Score < driftScore {
		j := *r.Judgement
		j.Score = driftScore
		r.Judgement = &j
	}
	if now := s.opts.Now(); t.Muted > now {
		r.Muted = t.Muted
	}
	for i, m := range t.Metrics {
		x := Metric{Name: m.Name, States: m.States, Time: m.At, Threshold: t.threshold(&rules, m.Name)}
		if st := t.several.States(i); st != nil {
			x.State, x.Samples, x.Learning = st.Now(), st.Samples(), st.Learning()
		} else {
			d := t.several.Number(i)
			u := d.Usual(m.At.Std())
			x.Value, x.Samples, x.Learning, x.Drift = d.Last(), u.Samples, d.Learning(), d.Drift()
			x.Mean, x.ByHour, x.Rate = u.Mean, u.ByHour, u.Rate
			x.Low, x.High = u.Mean-bandWidth*u.Deviation, u.Mean+bandWidth*u.Deviation
		}
		r.Metrics = append(r.Metrics, x)
	}
	switch {
	case len(t.Metrics) == 0:
		r.Learning = "the thing has sent no measurements"
	case t.Last == nil:
		r.Learning = fmt.Sprintf("not enough data: %d of %d samples", t.most(), learnSamples)
	case r.Samples < leastSamples:
		r.Learning = fmt.Sprintf("still learning: %d of %d samples before an episode can start", r.Samples, leastSamples)
	}
	r.Predicted = s.predicted(t, &rules)
	return r
}

// driftScore is the least score of a thing that drifts: of normal days that far out there is less
// than one in ten thousand, see [anomaly.DriftLimit].
const driftScore = 0.9999

// drift is the largest drift that goes on; nil: there is none.
func (r *Report) drift() (most *Episode) {
	for i := range r.Open {
		if e := &r.Open[i]; e.Kind == Drifting && (most == nil || e.Surprise > most.Surprise) {
			most = e
		}
	}
	return most
}

// learnSamples is how many samples of a metric are needed for a score.
const learnSamples = 21

// most is the number of samples of the metric that has most.
func (t *thing) most() int64 {
	n := int64(0)
	for i := range t.Metrics {
		if d := t.several.Number(i); d != nil {
			n = max(n, d.Usual(t.Metrics[i].At.Std()).Samples)
		}
	}
	return n
}

// Says tells in a sentence why the score is what it is.
func (r *Report) Says() string {
	if r.Judgement == nil {
		return r.Learning
	}
	if d := r.drift(); d != nil {
		return d.says() + ", since " + d.Start.Std().Format("2006-01-02")
	}
	p := &r.Judgement.Parts[0]
	text := fmt.Sprintf("%s is %.4g, as a rule %.4g ± %.2g", p.Metric, p.Value, p.Mean, bandWidth*p.Deviation)
	if p.State != "" {
		text = fmt.Sprintf("%s is %s", p.Metric, p.State)
	}
	if p.Signal != "" {
		text += "; what counts most is " + p.Signal
	}
	if r.Learning != "" {
		text += "; " + r.Learning
	}
	return text
}
