package rest

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// metricsMax is how many metrics one request reads.
const metricsMax = 20

// The shortest and the longest window.
const (
	sampleWindowMin = time.Millisecond
	sampleWindowMax = 366 * 24 * time.Hour
)

// metricSeries is one metric of one type in columns: the n-th value is of the n-th time.
// With windows the times are their starts, and there is a column for each figure.
type metricSeries struct {
	DeviceID twin.ThingName    `json:"deviceId,omitempty"` // if several things are asked for
	Metric   twin.MetricName   `json:"metric"`
	Type     string            `json:"type"`            // number, boolean, string
	State    json.RawMessage   `json:"state,omitempty"` // that the durations are of
	Before   *samplePoint      `json:"before,omitempty"`
	Times    []string          `json:"times"`
	Values   []json.RawMessage `json:"values,omitzero"`
	// Arrivals are when the points came here, if they are asked for.
	Arrivals []string       `json:"arrivals,omitzero"`
	Count    []int          `json:"count,omitzero"`
	Min      []*json.Number `json:"min,omitzero"`
	Max      []*json.Number `json:"max,omitzero"`
	Avg      []*json.Number `json:"avg,omitzero"` // null: the numbers are too great to add
	Sum      []*json.Number `json:"sum,omitzero"`
	First    []*json.Number `json:"first,omitzero"`
	Last     []*json.Number `json:"last,omitzero"`
	TWA      []*json.Number `json:"twa,omitzero"`
	Delta    []*json.Number `json:"delta,omitzero"`
	Rate     []*json.Number `json:"rate,omitzero"`
	P50      []*json.Number `json:"p50,omitzero"`
	P95      []*json.Number `json:"p95,omitzero"`
	P99      []*json.Number `json:"p99,omitzero"`
	// Duration is in seconds.
	Duration []*json.Number `json:"duration,omitzero"`
}

// fleetSeriesDocument is metrics of several things.
type fleetSeriesDocument struct {
	From     string         `json:"from"`
	To       string         `json:"to"`
	Until    string         `json:"until"` // how far the series go; if before to, go on from here
	Complete bool           `json:"complete"`
	Window   string         `json:"window,omitempty"` // of a chart: what a column of it has
	Series   []metricSeries `json:"series"`
}

// samplePoint is the sample before a window.
type samplePoint struct {
	Time  string          `json:"time"`
	Value json.RawMessage `json:"value"`
}

// metricList is the series of a thing.
type metricList struct {
	DeviceID twin.ThingName `json:"deviceId"`
	Complete bool           `json:"complete"`
	Metrics  []metricInfo   `json:"metrics"`
}

type metricInfo struct {
	Metric twin.MetricName `json:"metric"`
	Type   string          `json:"type"`
	First  string          `json:"first"`
	Last   string          `json:"last"`
	Count  int             `json:"count"` // samples that came
	Value  json.RawMessage `json:"value"` // at Last
}

// listMetrics answers with the series of the telemetry of a thing.
func (d *door) listMetrics(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	list, complete, err := d.opts.Samples.Series(r.Context(), key.Thing)
	if err != nil {
		return err
	}
	doc := metricList{DeviceID: key.Thing, Complete: complete, Metrics: make([]metricInfo, len(list))}
	for i, s := range list {
		v, err := sampleValue(s.Value)
		if err != nil {
			return err
		}
		doc.Metrics[i] = metricInfo{s.Metric, s.Type.String(), timeText(s.First), timeText(s.Last), s.Count, v}
	}
	return writeJSON(w, doc)
}

// getSamples answers with metrics of a thing over a window.
func (d *door) getSamples(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	a, metrics := d.samplesQuery(p)
	if p.err != nil {
		return p.err
	}
	a.doc.DeviceID = key.Thing
	return a.answer(w, r, []twin.ThingName{key.Thing}, metrics)
}

// The most things of one request, and the most points, or windows, of its answer.
const (
	seriesThingsMax = 100
	seriesPointsMax = 200_000
)

// getFleetSamples answers with metrics of several things over a window.
func (d *door) getFleetSamples(w http.ResponseWriter, r *http.Request) error {
	p := d.params(r)
	a, metrics := d.samplesQuery(p)
	var things []twin.ThingName
	for _, text := range p.values["thing"] {
		thing := twin.ThingName(text)
		if !thing.Valid() {
			p.bad("thing", "thing: %.40q is no name of a thing", text)
		}
		if !slices.Contains(things, thing) {
			things = append(things, thing)
		}
	}
	if len(things) == 0 || len(things) > seriesThingsMax {
		p.bad("thing", "thing: %d of them, give 1 to %d", len(things), seriesThingsMax)
	}
	if len(metrics) == 0 {
		p.bad("metric", "metric: give one or more, such as metric=temperature")
	}
	if p.err != nil {
		return p.err
	}
	if most := seriesPointsMax / (len(things) * len(metrics)); a.query.Limit > most {
		if p.values.Has("limit") {
			p.bad("limit", "limit: %d for each of %d metrics of %d things are over %d", a.query.Limit, len(metrics), len(things), seriesPointsMax)
			return p.err
		}
		a.query.Limit = most
	}
	a.fleet = true
	return a.answer(w, r, things, metrics)
}

// answer reads all metrics of all things. All end where the first of them ends, so that
// one can go on from there with all.
func (a *samplesAnswer) answer(w http.ResponseWriter, r *http.Request, things []twin.ThingName, metrics []twin.MetricName) error {
	q := a.query
	until := q.To
	for range 2 {
		// The second time no metric goes further than the others.
		a.query.To, a.doc.Series = until, []metricSeries{}
		for _, a.query.Thing = range things {
			for _, a.query.Metric = range metrics {
				end, err := a.add(r.Context())
				if err != nil {
					return pastError(err)
				}
				until = min(until, end)
			}
		}
		if until == a.query.To {
			break
		}
	}
	if a.arrivals {
		if err := a.addArrivals(r.Context(), things, q.From, until); err != nil {
			return pastError(err)
		}
	}
	a.doc.From, a.doc.To, a.doc.Until, a.doc.Complete = timeText(q.From), timeText(q.To), timeText(until), until == q.To
	form := seriesForm(r.Header.Get("Accept"))
	switch {
	case form == typeJSON && a.fleet:
		return writeJSON(w, fleetSeriesDocument{a.doc.From, a.doc.To, a.doc.Until, a.doc.Complete, a.doc.Window, a.doc.Series})
	case form == typeJSON:
		return writeJSON(w, a.doc)
	}
	if !a.doc.Complete {
		next := r.URL.Query()
		next.Set("from", a.doc.Until)
		next.Set("to", a.doc.To)
		w.Header().Set("Link", "<"+r.URL.EscapedPath()+"?"+next.Encode()+`>; rel="next"`)
	}
	switch form {
	case typeCSV:
		return a.writeCSV(w)
	case typeNDJSON:
		return a.writeNDJSON(w)
	}
	return a.writeParquet(w)
}

// typeParquet is the media type of Apache Parquet.
const typeParquet = "application/vnd.apache.parquet"

// seriesTypes are the forms of an answer.
var seriesTypes = []string{typeJSON, typeCSV, typeNDJSON, typeParquet}

// seriesForm chooses a form.
func seriesForm(accept string) string {
	for _, form := range seriesTypes[1:] {
		if strings.Contains(accept, form) {
			return form
		}
	}
	return typeJSON
}

func (d *door) samplesQuery(p *params) (*samplesAnswer, []twin.MetricName) {
	q := telemetry.Query{Limit: p.limit(telemetry.PointsMax), Window: p.windowLen()}
	q.From, q.To = p.window()
	if q.Limit == 0 {
		q.Limit = telemetry.PointsMax
	}
	now := twin.TimeOf(p.now) + 1
	if q.To == 0 {
		q.To = now
	}
	if q.From == 0 {
		q.From = max(q.To-dayLen, 1)
	}
	if q.From > q.To {
		p.bad("from", "from: %s is after to: %s", timeText(q.From), timeText(q.To))
	}
	a := &samplesAnswer{reader: d.opts.Samples, query: q, now: now - 1, doc: seriesDocument{Complete: true}}
	p.figures(a)
	a.arrivals = p.choice("arrivals", "false", "true") == "true"
	if a.arrivals && (a.query.Window > 0 || a.chart) {
		p.bad("arrivals", "arrivals: they are of points, without window and points")
	}
	return a, p.metrics()
}

// figures reads what is asked of windows, or of a chart.
func (p *params) figures(a *samplesAnswer) {
	if p.values.Has("points") {
		n, err := strconv.Atoi(p.text("points"))
		if err != nil || n < 1 || n > telemetry.PointsMax {
			p.bad("points", "points: %.20q is not between 1 and %d", p.text("points"), telemetry.PointsMax)
		}
		if p.values.Has("window") || p.values.Has("fn") || p.values.Has("limit") {
			p.bad("points", "points: it is for a chart, and goes without window, fn and limit")
		}
		if p.err == nil {
			a.chart, a.query.Window = true, telemetry.ChartWindow(a.query.From, a.query.To, n)
			a.doc.Window = (time.Duration(a.query.Window) * time.Millisecond).String()
		}
		return
	}
	if !p.values.Has("fn") {
		a.figures = figuresDefault
		return
	}
	if a.query.Window == 0 {
		p.bad("fn", "fn: it is of windows; give their length, window=1h")
	}
	for _, text := range p.values["fn"] {
		for name := range strings.SplitSeq(text, ",") {
			if !slices.ContainsFunc(figures, func(f figure) bool { return f.name == name }) && name != figureDuration {
				p.bad("fn", "fn: %.40q is none of %s", name, figureNames())
				return
			}
			a.figures = append(a.figures, name)
		}
	}
}

// metrics reads the metrics that are asked for, each once.
func (p *params) metrics() []twin.MetricName {
	for _, name := range []string{"path", "shadow"} {
		if p.values.Has(name) {
			p.bad(name, "%s: it is about the shadow, metric about telemetry; give one of path and metric", name)
		}
	}
	texts := p.values["metric"]
	if len(texts) > metricsMax {
		p.bad("metric", "metric: %d of them, the limit is %d", len(texts), metricsMax)
	}
	metrics := make([]twin.MetricName, 0, len(texts))
	seen := map[twin.MetricName]bool{}
	for _, text := range texts {
		m := twin.MetricName(text)
		if err := m.Check(); err != nil {
			p.bad("metric", "metric: %s", twin.ErrorMessage(err))
		}
		if !seen[m] {
			metrics = append(metrics, m)
		}
		seen[m] = true
	}
	return metrics
}

// windowLen reads the length of windows, zero if it is not given.
func (p *params) windowLen() twin.Time {
	text := p.text("window")
	if text == "" && !p.values.Has("window") {
		return 0
	}
	l, err := time.ParseDuration(text)
	if err != nil || l < sampleWindowMin || l > sampleWindowMax || l%time.Millisecond != 0 {
		p.bad("window", "window: %.80q is no length such as 1m or 24h, of whole milliseconds and at most %s", text, sampleWindowMax)
		return 0
	}
	return twin.Time(l.Milliseconds())
}

// startText writes a time that may be that of 1970, the start of a long window.
func startText(t twin.Time) string {
	if t == 0 {
		return "1970-01-01T00:00:00.000Z"
	}
	return timeText(t)
}

// finite is a number as JSON has it; nil for what JSON does not have.
func finite(v float64) *json.Number {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return nil
	}
	n := json.Number(strconv.FormatFloat(v, 'g', -1, 64))
	return &n
}

func sampleValue(v twin.Value) (json.RawMessage, error) {
	var b []byte
	var err error
	switch v.Type {
	case twin.ValueNumber:
		b, err = json.Marshal(v.Number)
	case twin.ValueBool:
		b, err = json.Marshal(v.Number == 1)
	default:
		b, err = marshal(v.Text)
	}
	return bytes.TrimSpace(b), err
}
