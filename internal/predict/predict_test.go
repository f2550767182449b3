package predict_test

import (
	"context"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/predict"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

const (
	minute = twin.Time(60_000)
	hour   = 60 * minute
	day    = 24 * hour
)

type twins struct{ *engine.Engine }

func (t twins) Managed(context.Context, string, twin.ThingName, int) ([]twin.ThingName, error) {
	return nil, nil
}

func (t twins) ThingsOfModel(context.Context, string, twin.ThingName, int) ([]twin.ThingName, error) {
	return nil, nil
}

// world is a server's parts with a clock of its own.
type world struct {
	store   *store.Memory
	engine  *engine.Engine
	samples *telemetry.Telemetry
	service *predict.Service
	clock   atomic.Int64
	rules   predict.Rules
	fold    int
}

func newWorld(t *testing.T, rules predict.Rules, fold int) *world {
	t.Helper()
	w := &world{store: store.NewMemory(), rules: rules, fold: fold}
	w.clock.Store(int64(200 * day))
	w.open(t)
	return w
}

func (w *world) now() time.Time { return time.UnixMilli(w.clock.Load()) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func (w *world) open(t *testing.T) {
	t.Helper()
	var err error
	if w.engine, err = engine.Open(quiet, w.store, engine.Options{Now: w.now}); err != nil {
		t.Fatal(err)
	}
	if w.samples, err = telemetry.Open(quiet, w.store, telemetry.Options{Now: w.now, FoldRows: w.fold}); err != nil {
		t.Fatal(err)
	}
	w.service = w.watch(t)
	e, s := w.engine, w.samples
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// watch opens a service, as after a restart.
func (w *world) watch(t *testing.T) *predict.Service {
	t.Helper()
	s, err := predict.New(quiet, w.engine, predict.Options{
		Samples: w.samples.Reader(), History: history.New(w.store, twins{w.engine}), Now: w.engine.Now, Rules: func(twin.ThingName) predict.Rules { return w.rules },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// send takes samples of one metric.
func (w *world) send(t *testing.T, thing twin.ThingName, metric string, from, every twin.Time, values []float64) {
	t.Helper()
	rows := make([]twin.Row, len(values))
	for i, v := range values {
		at := from + twin.Time(i)*every
		rows[i] = twin.Row{Thing: thing, Time: at, Arrival: at, Values: []twin.Measurement{{Metric: twin.MetricName(metric), Value: twin.NumberValue(v)}}}
	}
	done := make(chan error, 1)
	if err := w.samples.Ingest(rows, true, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func (w *world) look(t *testing.T, thing twin.ThingName) *predict.Report {
	t.Helper()
	r, err := w.service.Look(t.Context(), thing)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// log lists the events of a kind, as type and correlation.
func (w *world) log(t *testing.T, thing twin.ThingName, kind twin.EventKind) []string {
	t.Helper()
	p, err := history.New(w.store, twins{w.engine}).Log(t.Context(), history.LogQuery{Thing: thing, Filter: history.Filter{Kinds: []twin.EventKind{kind}}, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, ev := range p.Events {
		list = append(list, strings.TrimSpace(ev.Type+" "+ev.Correlation))
	}
	return list
}

// wave is a healthy sensor: the wave of a day, and noise.
func wave(seed uint64, n int, every twin.Time) []float64 {
	rng := rand.New(rand.NewPCG(seed, 1))
	v := make([]float64, n)
	for i := range v {
		v[i] = 2 + 0.15*math.Sin(2*math.Pi*float64(twin.Time(i)*every)/float64(day)) + 0.12*rng.NormFloat64()
	}
	return v
}

// The seed example: of two pumps over six months one drifts towards its limit. It is flagged
// before it fails, with a date; the other is not.
func TestSixMonths(t *testing.T) {
	w := newWorld(t, predict.Rules{Failure: &predict.Failure{Metric: "telemetry.vibration", Limit: 7.1}}, 4096)
	const every, days = 30 * minute, 180
	bad, good := wave(1, days*48, every), wave(2, days*48, every)
	curve := func(d float64) float64 { return 0.25 * math.Expm1(max(0, d-110)/30) }
	fails := 110 + 30*math.Log1p((7.1-2)/0.25)
	for i := range bad {
		bad[i] += curve(float64(i) / 48)
	}
	start := 20 * day
	w.clock.Store(int64(start + days*day))
	w.send(t, "bad", "vibration", start, every, bad)
	w.send(t, "good", "vibration", start, every, good)
	r := w.look(t, "bad")
	if !slices.ContainsFunc(r.Open, func(e predict.Episode) bool {
		return e.Kind == predict.Drifting && e.Start-start < 150*day && e.Start-start > 110*day
	}) {
		t.Errorf("episodes %+v", r.Open)
	}
	if r.Judgement.Score < 0.999 || !strings.Contains(r.Says(), "telemetry.vibration drifts") {
		t.Errorf("score %g: %s", r.Judgement.Score, r.Says())
	}
	p := r.Predicted
	real := start + twin.Time(fails*float64(day))
	if p.Date == 0 || p.Date < start+days*day || real < p.Interval90[0] || p.Interval90[1] != 0 && real > p.Interval90[1] {
		t.Errorf("it fails %s, predicted %s, %v %s", real.Std(), p.Date.Std(), p.Interval90, p.Reason)
	}
	t.Logf("it fails in %.0f days, predicted in %.0f, with 90 %% in %.0f to %.0f", fails-days, float64(p.Date-start)/float64(day)-days,
		float64(p.Interval90[0]-start)/float64(day)-days, float64(p.Interval90[1]-start)/float64(day)-days)
	if got := w.log(t, "bad", twin.EventPrediction); !cmp.Equal(got, []string{"made"}) {
		t.Errorf("events of predictions: %q", got)
	}
	if e := w.service.Expected(); len(e) != 1 || e[0].Thing != "bad" {
		t.Errorf("expected to fail: %+v", e)
	}
	r = w.look(t, "good")
	if len(r.Open) > 0 || len(r.Past) > 0 || r.Predicted.Date != 0 || !strings.Contains(r.Predicted.Reason, "no trend") {
		t.Errorf("the healthy one: %+v %+v %s", r.Open, r.Past, r.Predicted.Reason)
	}
	if len(w.log(t, "good", twin.EventAnomaly))+len(w.log(t, "good", twin.EventPrediction)) > 0 {
		t.Error("the healthy one has events")
	}
	b, err := w.service.Backtest(t.Context(), "bad")
	if err != nil || len(b.Points) < 15 || b.Failed != 0 {
		t.Errorf("back-test %+v %v", b, err)
	}
}

// What is said does not depend on when it was looked at, nor on restarts, crashes and folds between.
func TestLook_anyTime(t *testing.T) {
	const n = 3000
	values := wave(3, n, minute)
	for i := 2000; i < 2030; i++ {
		values[i] += 3
	}
	start := 100 * day
	whole := newWorld(t, predict.Rules{}, 1<<20)
	whole.send(t, "a", "x", start, minute, values)
	want := whole.look(t, "a")
	if len(want.Past)+len(want.Open) == 0 || want.Judgement == nil {
		t.Fatal("nothing is unusual")
	}
	events := whole.log(t, "a", twin.EventAnomaly)
	rng := rand.New(rand.NewPCG(5, 5))
	for range 5 {
		w := newWorld(t, predict.Rules{}, 200+rng.IntN(500))
		for i := 0; i < n; {
			k := min(n-i, 1+rng.IntN(400))
			w.send(t, "a", "x", start+twin.Time(i)*minute, minute, values[i:i+k])
			i += k
			switch rng.IntN(3) {
			case 0:
				w.look(t, "a")
			case 1: // a crash: what was not written is read again
				w.look(t, "a")
				w.service = w.watch(t)
			}
		}
		got := w.look(t, "a")
		if diff := cmp.Diff(want.Judgement, got.Judgement); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(events, w.log(t, "a", twin.EventAnomaly)); diff != "" {
			t.Error(diff)
		}
		if got.Samples != want.Samples || got.Late != 0 {
			t.Errorf("%d samples, %d late; of the whole %d", got.Samples, got.Late, want.Samples)
		}
	}
}

// Run writes what it has learned when it ends: nothing is read twice.
func TestRun_keeps(t *testing.T) {
	w := newWorld(t, predict.Rules{}, 4096)
	w.send(t, "a", "x", 100*day, minute, wave(3, 500, minute))
	s := w.watch(t)
	s.Changed("a")
	w.look(t, "a")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	stop()
	<-ended
	if _, err := w.service.Judge(t.Context(), "a", 0, predict.Maintenance, "", twin.Origin{}); err != nil {
		t.Fatal(err)
	}
	if r := w.look(t, "a"); r.Life == 0 || r.Samples != 500-20 {
		t.Errorf("%+v", r)
	}
	page, err := w.engine.Records(t.Context(), twin.RecordPredictor, "", "", 10)
	if err != nil || len(page) != 1 || page[0].Key != "a" {
		t.Fatalf("%d records, %v", len(page), err)
	}
	if len(page[0].Value) > 16<<10 {
		t.Errorf("the state of one metric has %d bytes", len(page[0].Value))
	}
	// A damaged record is learned again.
	done := make(chan error, 1)
	if err := w.engine.WriteRecords("a", []twin.RecordWrite{{Kind: twin.RecordPredictor, Key: "a", Value: page[0].Value[:40]}}, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.service = w.watch(t)
	if r := w.look(t, "a"); r.Samples != 500-20 || r.Life != 0 {
		t.Errorf("after damage: %+v", r)
	}
}

// However little room there is, what is said is the same.
func TestLook_room(t *testing.T) {
	w, small := newWorld(t, predict.Rules{}, 4096), newWorld(t, predict.Rules{}, 4096)
	s, err := predict.New(quiet, small.engine, predict.Options{
		Samples: small.samples.Reader(), History: history.New(small.store, twins{small.engine}), Now: small.engine.Now, CacheBytesMax: 20_000,
	})
	if err != nil {
		t.Fatal(err)
	}
	small.service = s
	things := []twin.ThingName{"a", "b", "c", "d", "e", "f"}
	var sent atomic.Bool
	var looking sync.WaitGroup
	for k := range 8 {
		looking.Go(func() {
			for i := k; !sent.Load(); i++ {
				if _, err := s.Look(t.Context(), things[i%len(things)]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for part := range 60 {
		for i, thing := range things {
			values := wave(uint64(10*part+i), 50, minute)
			if part%8 == 7 {
				values[20] += 9
			}
			for _, x := range []*world{w, small} {
				x.send(t, thing, "x", 100*day+twin.Time(50*part)*minute, minute, values)
			}
		}
	}
	sent.Store(true)
	looking.Wait()
	for _, thing := range things {
		want, got := w.look(t, thing), small.look(t, thing)
		if diff := cmp.Diff(want.Judgement, got.Judgement); diff != "" || got.Late != 0 {
			t.Errorf("%s: %d late %s", thing, got.Late, diff)
		}
		if diff := cmp.Diff(w.log(t, thing, twin.EventAnomaly), small.log(t, thing, twin.EventAnomaly)); diff != "" {
			t.Errorf("%s: %s", thing, diff)
		}
	}
}

// Numbers near the largest that there are disturb nothing.
func TestLook_huge(t *testing.T) {
	w := newWorld(t, predict.Rules{Failure: &predict.Failure{Metric: "telemetry.x", Limit: 1e305}}, 4096)
	values := wave(1, 400, minute)
	for i := range values {
		values[i] *= 1e300 * float64(1+i%3)
	}
	w.send(t, "a", "x", 100*day, minute, values)
	if r := w.look(t, "a"); r.Judgement == nil || r.Predicted.Date != 0 {
		t.Errorf("%+v", r)
	}
	if _, err := w.service.Judge(t.Context(), "a", 0, predict.Maintenance, "", twin.Origin{}); err != nil {
		t.Error(err)
	}
}

// What is not watched, of another type than before, or one metric too many is read once and no
// more, however much of it there is in columns.
func TestLook_unwatched(t *testing.T) {
	const n = 9000 // more than are read at a time
	w := newWorld(t, predict.Rules{Ignore: []string{"telemetry.noise"}}, 500)
	start := 100 * day
	rows := make([]twin.Row, n)
	for i := range rows {
		at := start + twin.Time(i)*minute
		rows[i] = twin.Row{Thing: "a", Time: at, Arrival: at, Values: []twin.Measurement{
			{Metric: "noise", Value: twin.NumberValue(float64(i))}, {Metric: "empty", Value: twin.TextValue("")}, {Metric: "x", Value: twin.NumberValue(float64(i % 5))},
		}}
		if i > 10 {
			rows[i].Values[2].Value = twin.TextValue("x" + string(rune('a'+i%3)))
		}
	}
	for part := range slices.Chunk(rows, 1000) {
		done := make(chan error, 1)
		if err := w.samples.Ingest(part, true, func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for i := range predict.MetricsMax + 5 {
		w.send(t, "a", "m"+string(rune('A'+i)), start, minute, wave(uint64(i), 300, minute))
	}
	if err := w.samples.Fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	for range 2 {
		r, err := w.service.Look(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		if !r.Left || len(r.Metrics) != predict.MetricsMax || slices.ContainsFunc(r.Metrics, func(m predict.Metric) bool { return m.Name == "telemetry.noise" }) {
			t.Errorf("%+v", r.Metrics)
		}
	}
}

// What comes late is counted and passed over, what is ahead of the clock waits.
func TestLook_order(t *testing.T) {
	w := newWorld(t, predict.Rules{}, 4096)
	now := twin.Time(w.clock.Load())
	w.send(t, "a", "x", now-500*minute, minute, wave(3, 500, minute))
	w.look(t, "a")
	w.send(t, "a", "x", now-900*minute, minute, wave(3, 10, minute))
	w.send(t, "a", "x", now+600*minute, minute, []float64{99})
	w.send(t, "a", "x", now, minute, []float64{2})
	r := w.look(t, "a")
	if r.Late != 10 || r.Judgement.Time != now || r.Judgement.Score > 0.999 {
		t.Errorf("%d late, %+v", r.Late, r.Judgement)
	}
	w.clock.Add(int64(601 * minute))
	if r := w.look(t, "a"); r.Judgement.Parts[0].Value != 99 || r.Late != 10 {
		t.Errorf("%d late, %+v", r.Late, r.Judgement)
	}
}

func TestJudge(t *testing.T) {
	w := newWorld(t, predict.Rules{Threshold: 4, Ignore: []string{"telemetry.noise"}}, 4096)
	start := 100 * day
	values := wave(3, 2000, minute)
	values[1500] += 3
	w.send(t, "a", "x", start, minute, values)
	w.send(t, "a", "noise", start, minute, values)
	r := w.look(t, "a")
	if len(r.Past) != 1 || len(r.Metrics) != 1 || r.Past[0].Metric != "telemetry.x" || r.Past[0].Start != start+1500*minute {
		t.Fatalf("%+v %+v", r.Past, r.Metrics)
	}
	before := r.Metrics[0].Threshold
	judge := func(v predict.Verdict) *predict.Report {
		t.Helper()
		r, err := w.service.Judge(t.Context(), "a", r.Past[0].Number, v, "seen", twin.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if got := judge(predict.FalseAlarm); got.Metrics[0].Threshold <= r.Past[0].Surprise || got.Past[0].Verdict != predict.FalseAlarm {
		t.Errorf("after a false alarm of %.2f the threshold is %.2f", r.Past[0].Surprise, got.Metrics[0].Threshold)
	}
	if got := judge(predict.Real); got.Metrics[0].Threshold >= before {
		t.Errorf("after a real one the threshold is %.2f, was %.2f", got.Metrics[0].Threshold, before)
	}
	if got := judge(predict.Maintenance); got.Life == 0 || got.Metrics[0].Threshold != before {
		t.Errorf("after maintenance: %+v", got)
	}
	if _, err := w.service.Judge(t.Context(), "a", 77, predict.Real, "", twin.Origin{}); twin.Kind(err) != twin.KindNotFound {
		t.Errorf("of no episode: %v", err)
	}
	if _, err := w.service.Judge(t.Context(), "a", 1, "maybe", "", twin.Origin{}); twin.Kind(err) != twin.KindInvalid {
		t.Errorf("no verdict: %v", err)
	}
	if got := w.log(t, "a", twin.EventAnomaly); len(got) != 5 {
		t.Errorf("events %q", got)
	}
}

// While a thing is muted no episode starts; a preview tells what thresholds would have told.
func TestSet(t *testing.T) {
	w := newWorld(t, predict.Rules{}, 4096)
	now := twin.Time(w.clock.Load())
	until, threshold := now+day, 4.5
	values := wave(3, 20*24*60/5, 5*minute)
	from := now - twin.Time(len(values))*5*minute
	values[len(values)-500] += 4
	w.send(t, "a", "x", from, 5*minute, values)
	if _, err := w.service.Set(t.Context(), "a", &threshold, &until, twin.Origin{}); err != nil {
		t.Fatal(err)
	}
	w.clock.Add(int64(20 * minute))
	w.send(t, "a", "x", now+minute, minute, []float64{50, 50})
	r := w.look(t, "a")
	if r.Muted != until || r.Threshold != 4.5 || len(r.Open) != 0 || len(r.Past) != 1 {
		t.Errorf("%+v", r)
	}
	_, list, err := w.service.Preview(t.Context(), "a", []float64{2, 4, 19})
	if err != nil {
		t.Fatal(err)
	}
	if n := []int{len(list[0].Episodes), len(list[1].Episodes), len(list[2].Episodes)}; n[0] <= n[1] || n[1] < 1 || n[2] != 0 {
		t.Errorf("episodes with 2, 4 and 19: %v", n)
	}
	high := 99.0
	if _, err := w.service.Set(t.Context(), "a", &high, nil, twin.Origin{}); twin.Kind(err) != twin.KindInvalid {
		t.Errorf("a threshold of 99: %v", err)
	}
}

// What devices report is watched as telemetry is, states too.
func TestLook_reported(t *testing.T) {
	w := newWorld(t, predict.Rules{}, 4096)
	rng := rand.New(rand.NewPCG(1, 1))
	report := func(body string) {
		t.Helper()
		req, err := twin.ParseRequest([]byte(body), twin.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		if err := w.engine.Submit(twin.Update{Key: twin.ShadowKey{Thing: "a"}, Request: req}, func(r twin.Result) { done <- r.Err }); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		w.clock.Add(int64(minute))
	}
	for i := range 600 {
		report(`{"state":{"reported":{"engine":{"rpm":` + string(twin.NumberValue(1500+20*rng.NormFloat64()).AppendJSON(nil)) + `},"mode":"` + []string{"idle", "run"}[i/3%2] + `"}}}`)
	}
	if r := w.look(t, "a"); len(r.Metrics) != 2 || len(r.Open)+len(r.Past) > 0 {
		t.Errorf("%+v", r)
	}
	report(`{"state":{"reported":{"engine":{"rpm":3100}}}}`)
	r := w.look(t, "a")
	if len(r.Open) != 1 || r.Open[0].Metric != "reported.engine.rpm" || r.Judgement.Score < 0.99 || r.Judgement.Parts[0].Share < 0.5 {
		t.Errorf("%+v %+v", r.Open, r.Judgement)
	}
	if !strings.Contains(r.Says(), "reported.engine.rpm is 3100") {
		t.Error(r.Says())
	}
}
