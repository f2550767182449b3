package predict

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/anomaly"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of one step of reading.
const (
	samplesPage = 4096
	eventsPage  = 512
	// aheadMax is how far ahead of the clock a sample may be; one further ahead waits for its time.
	aheadMax = twin.Time(5 * time.Minute / time.Millisecond)
	// partsKept is how many contributions are shown.
	partsKept = 5
	// leastSamples is how many instants are learned from before an episode can start.
	leastSamples = 100
	// quietEnd is how many usual instants in a row end an episode.
	quietEnd = 10
)

// DefaultThreshold is the surprise from which on a rising moment starts an episode. It is to be
// rare on what is normal; make bench-predict tells how rare.
const DefaultThreshold = 4

// instant is the values of a thing at a time.
type instant struct {
	time     twin.Time
	readings []anomaly.Reading
}

// catchUp reads what is new of a thing until there is no more. t.mu is held.
func (s *Service) catchUp(ctx context.Context, t *thing) error {
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		sampled, err := s.samples(ctx, t)
		if err != nil {
			return err
		}
		reported, err := s.events(ctx, t)
		if err != nil {
			return err
		}
		more = sampled || reported
	}
	return nil
}

// samples takes a page of telemetry; more says that there may be another.
func (s *Service) samples(ctx context.Context, t *thing) (more bool, err error) {
	rules := s.rules(t.name)
	f, err := s.opts.Samples.Fresh(ctx, telemetry.FreshQuery{
		Thing: t.name, After: t.Rows, Seen: t.Seen, Again: t.Midway, Places: t.places(), To: s.opts.Now() + aheadMax, Limit: samplesPage,
		Skip: func(m twin.MetricName) bool { return !t.watches(&rules, sampled+string(m)) },
	})
	if err != nil {
		return false, err
	}
	if len(t.Metrics) == 0 && len(f.Samples) > 0 {
		if err := s.prime(ctx, t, f.Samples); err != nil {
			return false, err
		}
	}
	t.Midway = len(f.Samples) > 0
	for i := 0; i < len(f.Samples); {
		at := instant{time: f.Samples[i].Time}
		for ; i < len(f.Samples) && f.Samples[i].Time == at.time; i++ {
			x := &f.Samples[i]
			at.add(t, &rules, sampled+string(x.Metric), x.Value)
		}
		if err := s.judge(ctx, t, &rules, &at); err != nil {
			return false, err
		}
	}
	if f.Rows > t.Rows || f.Late > 0 || len(f.Samples) > 0 {
		t.changed = true
	}
	t.Rows, t.Seen, t.Midway = f.Rows, f.Seen, false
	t.Late += f.Late
	return !f.Complete && len(f.Samples) > 0, nil
}

// sampled is the prefix of the metrics of telemetry.
const sampled = "telemetry."

// places are how far the telemetry has been read.
func (t *thing) places() map[twin.MetricName]twin.Time {
	all := make(map[twin.MetricName]twin.Time, len(t.Metrics))
	for _, m := range t.Metrics {
		if name, ok := strings.CutPrefix(m.Name, sampled); ok {
			all[twin.MetricName(name)] = m.At
		}
	}
	return all
}

// watches reports whether a metric is read: one that is neither ignored nor one too many. All
// that is read gets a place, else it would be read again and again.
func (t *thing) watches(rules *Rules, name string) bool {
	if rules.ignores(name) {
		return false
	}
	_, known := t.index[name]
	if !known && len(t.Metrics) == MetricsMax {
		t.Left = true
		return false
	}
	return true
}

// events takes a page of what was reported.
func (s *Service) events(ctx context.Context, t *thing) (more bool, err error) {
	list, err := s.opts.History.Since(ctx, t.name, t.Seq, t.SeqTime, eventsPage)
	if err != nil {
		return false, err
	}
	rules := s.rules(t.name)
	for i := range list {
		ev := &list[i]
		if state := reportedOf(ev); state != nil {
			at := instant{time: timeOf(ev)}
			walk(state, "reported", func(path string, v twin.Value) { at.add(t, &rules, path, v) })
			if err := s.judge(ctx, t, &rules, &at); err != nil {
				return false, err
			}
		}
		t.Seq, t.SeqTime, t.changed = ev.Seq, ev.Time, true
	}
	return len(list) == eventsPage, nil
}

// reportedOf is what a device reported with an event; nil: nothing.
func reportedOf(ev *twin.Event) *twin.Node {
	if ev.Kind != twin.EventUpdated || ev.Shadow != "" || len(ev.Patch) == 0 {
		return nil
	}
	state, err := twin.ParseNode(ev.Patch)
	if err != nil {
		return nil
	}
	return state.Member("reported")
}

// timeOf is when what an event tells happened.
func timeOf(ev *twin.Event) twin.Time {
	if ev.OriginTime != 0 {
		return ev.OriginTime
	}
	return ev.Time
}

// walk visits the scalars of an object, not those in arrays.
func walk(n *twin.Node, path string, visit func(string, twin.Value)) {
	if n == nil || n.IsArray() {
		return
	}
	if !n.IsObject() {
		if v, ok := n.Value(); ok {
			visit(path, v)
		}
		return
	}
	for i := range n.Len() {
		walk(n.At(i), path+"."+n.At(i).Name(), visit)
	}
}

// add takes a value into an instant, if its metric is watched.
func (at *instant) add(t *thing, rules *Rules, name string, v twin.Value) {
	if rules.ignores(name) {
		return
	}
	r := anomaly.Reading{Number: v.Number}
	states := v.Type != twin.ValueNumber
	switch v.Type {
	case twin.ValueText:
		r.State = v.Text
	case twin.ValueBool:
		r.State = strconv.FormatBool(v.Number != 0)
	}
	if r.Metric = t.metric(name, states); r.Metric < 0 {
		return
	}
	m := &t.Metrics[r.Metric]
	if at.time > m.At || m.At == 0 {
		m.At = at.time
	}
	if m.States != states || states && r.State == "" {
		return // it was something else when it came up, or is no state
	}
	at.readings = append(at.readings, r)
}

// judge lets an instant be judged, and tells of the episodes that come of it.
func (s *Service) judge(ctx context.Context, t *thing, rules *Rules, at *instant) error {
	if len(at.readings) == 0 {
		return nil
	}
	when := at.time.Std()
	usual := make(map[int]anomaly.Usual, len(at.readings)) // before it is taken in
	for _, x := range at.readings {
		if d := t.several.Number(x.Metric); d != nil {
			usual[x.Metric] = d.Usual(when)
		}
	}
	r, parts := t.several.Add(when, at.readings)
	if len(parts) > 0 {
		t.judged(at, r, parts, usual)
		for _, told := range t.unusual(rules, &r) {
			if err := s.tell(ctx, t, told); err != nil {
				return err
			}
		}
	}
	for _, x := range at.readings {
		d := t.several.Number(x.Metric)
		if d == nil {
			continue
		}
		for _, told := range t.drift(rules, at.time, x.Metric, d) {
			if err := s.tell(ctx, t, told); err != nil {
				return err
			}
		}
	}
	return nil
}

// judged keeps what is said of an instant.
func (t *thing) judged(at *instant, r anomaly.Result, parts []anomaly.Part, usual map[int]anomaly.Usual) {
	j := &Judgement{Time: at.time, Score: r.Score, Surprise: r.Surprise}
	slices.SortStableFunc(parts, func(a, b anomaly.Part) int {
		switch {
		case a.Surprise > b.Surprise:
			return -1
		case a.Surprise < b.Surprise:
			return 1
		}
		return 0
	})
	for i := range parts[:min(len(parts), partsKept)] {
		x := &parts[i]
		p := Part{Metric: t.Metrics[x.Metric].Name, Share: x.Share, Score: x.Score, Surprise: x.Surprise, Signal: x.Signal}
		if d := t.several.Number(x.Metric); d != nil {
			u := usual[x.Metric]
			p.Value, p.Mean, p.Deviation = d.Last(), u.Mean, u.Deviation
		} else {
			p.State = t.several.States(x.Metric).Now()
		}
		j.Parts = append(j.Parts, p)
	}
	t.Last = j
}

// bandWidth is how many deviations around the mean are usual: of what is normal, 99.7 %.
const bandWidth = 3

// told is an episode to be told of.
type told struct {
	what string
	Episode
}

// The types of events of kind anomaly.
const (
	Started = "started"
	Ended   = "ended"
	Judged  = "verdict"
	Changed = "changed" // threshold or mute
)

// unusual starts, follows or ends the episode that a judgement belongs to.
func (t *thing) unusual(rules *Rules, r *anomaly.Result) []told {
	j := t.Last
	top := &j.Parts[0]
	limit := t.threshold(rules, top.Metric)
	i := t.open(Unusual, "")
	if i < 0 {
		if !r.Rising || r.Surprise < limit || t.several.Samples() < leastSamples || j.Time < t.Muted {
			return nil
		}
		e := Episode{Number: t.Next, Kind: Unusual, Start: j.Time}
		e.rise(j)
		t.Next++
		t.Open = append(t.Open, e)
		return []told{{Started, e}}
	}
	e := &t.Open[i]
	if r.Surprise > e.Surprise {
		e.rise(j)
	}
	if r.Surprise >= limit/2 {
		e.Quiet, e.Last = 0, j.Time
		return nil
	}
	if e.Quiet++; e.Quiet < quietEnd {
		return nil
	}
	return []told{t.end(i, max(e.Last, e.Start))}
}

func (e *Episode) rise(j *Judgement) {
	p := &j.Parts[0]
	e.Metric, e.Signal, e.Peak, e.Surprise, e.Score, e.Value = p.Metric, p.Signal, j.Time, j.Surprise, j.Score, p.Value
	e.Low, e.High = p.Mean-bandWidth*p.Deviation, p.Mean+bandWidth*p.Deviation
}

// end moves an episode to the past.
func (t *thing) end(i int, at twin.Time) told {
	e := t.Open[i]
	e.End = at
	t.Open = slices.Delete(t.Open, i, i+1)
	t.Past = append(t.Past, e)
	if n := len(t.Past) - pastMax; n > 0 {
		t.Past = slices.Delete(t.Past, 0, n)
	}
	return told{Ended, e}
}

// drift starts, follows or ends the drift of a metric.
func (t *thing) drift(rules *Rules, at twin.Time, metric int, d *anomaly.Detector) []told {
	by := d.Drift()
	name := t.Metrics[metric].Name
	i := t.open(Drifting, name)
	far := math.Abs(by)
	limit := anomaly.DriftLimit * t.threshold(rules, name) / DefaultThreshold
	if i < 0 {
		if far < limit || at < t.Muted {
			return nil
		}
		e := Episode{Number: t.Next, Kind: Drifting, Metric: name, Signal: "drift", Start: at}
		e.driftTo(at, by, d)
		t.Next++
		t.Open = append(t.Open, e)
		return []told{{Started, e}}
	}
	e := &t.Open[i]
	if far > e.Surprise {
		e.driftTo(at, by, d)
	}
	if far >= limit/2 {
		return nil
	}
	return []told{t.end(i, at)}
}

func (e *Episode) driftTo(at twin.Time, by float64, d *anomaly.Detector) {
	mean, deviation := d.DailyMeans()
	e.Peak, e.Surprise, e.Value = at, math.Abs(by), mean+by*deviation
	e.Low, e.High = mean-bandWidth*deviation, mean+bandWidth*deviation
}

// threshold is the surprise that starts an episode of a metric.
func (t *thing) threshold(rules *Rules, metric string) float64 {
	limit := t.Threshold
	if limit == 0 {
		limit = rules.Threshold
	}
	if limit == 0 {
		limit = DefaultThreshold
	}
	if f, ok := t.Adjusted[metric]; ok {
		limit *= f
	}
	return limit
}

// says tells in a sentence what an episode is about.
func (e *Episode) says() string {
	if e.Kind == Drifting {
		return fmt.Sprintf("%s drifts: %.4g on the last days, usual are %.4g to %.4g", e.Metric, e.Value, e.Low, e.High)
	}
	if e.Low == 0 && e.High == 0 {
		return fmt.Sprintf("%s is unusual: %s", e.Metric, e.Signal)
	}
	return fmt.Sprintf("%s is unusual: %s; it is %.4g, usual are %.4g to %.4g", e.Metric, e.Signal, e.Value, e.Low, e.High)
}
