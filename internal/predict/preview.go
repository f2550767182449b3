package predict

import (
	"context"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// PreviewDays is how far a preview looks back.
const PreviewDays = 30

// Preview is which episodes there would have been with a threshold.
type Preview struct {
	Threshold float64
	Episodes  []Episode
}

// previewKept is how many episodes of a threshold are listed; the newest.
const previewKept = 100

// Preview tells which episodes of unusual moments there would have been in the last days at each
// of several thresholds. It learns anew from as many days before, so that it may differ a
// little from what is learned of a longer past.
func (s *Service) Preview(ctx context.Context, name twin.ThingName, thresholds []float64) (from twin.Time, list []Preview, err error) {
	const span = twin.Time(PreviewDays * 24 * time.Hour / time.Millisecond)
	now := s.opts.Now()
	from = now - span
	var all []*thing
	for _, limit := range thresholds {
		t := newThing(name)
		t.Threshold = limit
		all = append(all, t)
		list = append(list, Preview{Threshold: limit})
	}
	rules := s.rules(name)
	each := func(at twin.Time, add func(*thing, *instant)) {
		for i, t := range all {
			x := instant{time: at}
			if add(t, &x); len(x.readings) == 0 {
				continue
			}
			r, parts := t.several.Add(at.Std(), x.readings)
			if len(parts) == 0 {
				continue
			}
			t.judged(&x, r, parts, nil)
			if at < from {
				t.Muted = from // it only learns
			}
			for _, told := range t.unusual(&rules, &r) {
				list[i].take(told)
			}
		}
	}
	if err := s.eachInstant(ctx, name, &rules, from-span, now, each); err != nil {
		return 0, nil, err
	}
	return from, list, nil
}

// take keeps an episode that starts, and its end.
func (p *Preview) take(x told) {
	if i := slices.IndexFunc(p.Episodes, func(e Episode) bool { return e.Number == x.Number }); i >= 0 {
		p.Episodes[i] = x.Episode
		return
	}
	if p.Episodes = append(p.Episodes, x.Episode); len(p.Episodes) > previewKept {
		p.Episodes = p.Episodes[1:]
	}
}

// eachInstant visits what a thing measured between two times: first the telemetry, then what was
// reported.
func (s *Service) eachInstant(ctx context.Context, name twin.ThingName, rules *Rules, from, to twin.Time, visit func(twin.Time, func(*thing, *instant))) error {
	places := map[twin.MetricName]twin.Time{}
	infos, _, err := s.opts.Samples.Series(ctx, name)
	if err != nil {
		return err
	}
	for i := range infos {
		places[infos[i].Metric] = from - 1
	}
	for more := true; more; {
		f, err := s.opts.Samples.Fresh(ctx, telemetry.FreshQuery{Thing: name, Places: places, To: to, Limit: samplesPage})
		if err != nil {
			return err
		}
		for i := 0; i < len(f.Samples); {
			at, first := f.Samples[i].Time, i
			for ; i < len(f.Samples) && f.Samples[i].Time == at; i++ {
				places[f.Samples[i].Metric] = at
			}
			visit(at, func(t *thing, x *instant) {
				for _, sample := range f.Samples[first:i] {
					x.add(t, rules, "telemetry."+string(sample.Metric), sample.Value)
				}
			})
		}
		more = !f.Complete && len(f.Samples) > 0
	}
	return s.eachReported(ctx, name, rules, from, visit)
}

func (s *Service) eachReported(ctx context.Context, name twin.ThingName, rules *Rules, from twin.Time, visit func(twin.Time, func(*thing, *instant))) error {
	for seq, more := twin.Seq(0), true; more; {
		list, err := s.opts.History.Since(ctx, name, seq, from, eventsPage)
		if err != nil {
			return err
		}
		for i := range list {
			ev := &list[i]
			seq, from = ev.Seq, ev.Time
			if state := reportedOf(ev); state != nil {
				visit(timeOf(ev), func(t *thing, x *instant) {
					walk(state, "reported", func(path string, v twin.Value) { x.add(t, rules, path, v) })
				})
			}
		}
		more = len(list) == eventsPage
	}
	return nil
}
