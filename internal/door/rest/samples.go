package rest

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// metricsMax is how many metrics one request reads: the rows are read for each.
const metricsMax = 20

// The shortest and the longest window.
const (
	sampleWindowMin = time.Millisecond
	sampleWindowMax = 366 * 24 * time.Hour
)

// metricSeries is one metric of one type in columns: the n-th value is of the n-th time.
// With windows the times are their starts, and there is a column for each figure.
type metricSeries struct {
	Metric twin.MetricName   `json:"metric"`
	Type   string            `json:"type"` // number, boolean, string
	Times  []string          `json:"times"`
	Values []json.RawMessage `json:"values,omitzero"`
	Count  []int             `json:"count,omitzero"`
	Min    []*json.Number    `json:"min,omitzero"`
	Max    []*json.Number    `json:"max,omitzero"`
	Avg    []*json.Number    `json:"avg,omitzero"` // null: the numbers are too great to add
	Sum    []*json.Number    `json:"sum,omitzero"`
	First  []*json.Number    `json:"first,omitzero"`
	Last   []*json.Number    `json:"last,omitzero"`
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

// getSamples answers with metrics over a window. Of several metrics all end where the
// first of them ends, so that one can go on from there with all.
func (d *door) getSamples(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	q, metrics, err := d.samplesQuery(r, key.Thing)
	if err != nil {
		return err
	}
	a := samplesAnswer{reader: d.opts.Samples, query: q, doc: seriesDocument{DeviceID: key.Thing, Complete: true}}
	until := q.To
	for range 2 {
		// The second time no metric goes further than the others.
		a.query.To, a.doc.Series = until, []metricSeries{}
		for _, m := range metrics {
			a.query.Metric = m
			end, err := a.add(r.Context())
			if err != nil {
				return pastError(err)
			}
			until = min(until, end)
		}
		if until == a.query.To {
			break
		}
	}
	a.doc.From, a.doc.To, a.doc.Until, a.doc.Complete = timeText(q.From), timeText(q.To), timeText(until), until == q.To
	if !strings.Contains(r.Header.Get("Accept"), typeCSV) {
		return writeJSON(w, a.doc)
	}
	if !a.doc.Complete {
		next := r.URL.Query()
		next.Set("from", a.doc.Until)
		next.Set("to", a.doc.To)
		w.Header().Set("Link", "<"+r.URL.EscapedPath()+"?"+next.Encode()+`>; rel="next"`)
	}
	return a.writeCSV(w)
}

func (d *door) samplesQuery(r *http.Request, thing twin.ThingName) (telemetry.Query, []twin.MetricName, error) {
	p := d.params(r)
	q := telemetry.Query{Thing: thing, Limit: p.limit(telemetry.PointsMax), Window: p.windowLen()}
	q.From, q.To = p.window()
	if q.Limit == 0 {
		q.Limit = telemetry.PointsMax
	}
	if q.To == 0 {
		q.To = twin.TimeOf(p.now) + 1
	}
	if q.From == 0 {
		q.From = max(q.To-dayLen, 1)
	}
	if q.From > q.To {
		p.bad("from", "from: %s is after to: %s", timeText(q.From), timeText(q.To))
	}
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
	return q, metrics, p.err
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

// samplesAnswer is an answer under way.
type samplesAnswer struct {
	reader *telemetry.Reader
	query  telemetry.Query
	doc    seriesDocument
}

// add reads one metric and returns how far it goes.
func (a *samplesAnswer) add(ctx context.Context) (twin.Time, error) {
	if a.query.Window > 0 {
		return a.addWindows(ctx)
	}
	p, err := a.reader.Points(ctx, a.query)
	if err != nil {
		return 0, err
	}
	for _, kind := range []twin.ValueType{twin.ValueNumber, twin.ValueBool, twin.ValueText} {
		s := metricSeries{Metric: a.query.Metric, Type: kind.String(), Times: []string{}, Values: []json.RawMessage{}}
		for _, x := range p.Points {
			if x.Value.Type != kind {
				continue
			}
			v, err := sampleValue(x.Value)
			if err != nil {
				return 0, err
			}
			s.Times, s.Values = append(s.Times, timeText(x.Time)), append(s.Values, v)
		}
		if len(s.Times) > 0 {
			a.doc.Series = append(a.doc.Series, s)
		}
	}
	return p.Until, nil
}

func (a *samplesAnswer) addWindows(ctx context.Context) (twin.Time, error) {
	res, err := a.reader.Windows(ctx, a.query)
	if err != nil || len(res.Windows) == 0 {
		return res.Until, err
	}
	s := metricSeries{Metric: a.query.Metric, Type: twin.ValueNumber.String()}
	for i := range res.Windows {
		x := &res.Windows[i]
		s.Times, s.Count = append(s.Times, startText(x.Start)), append(s.Count, x.Count)
		s.Min, s.Max = append(s.Min, finite(x.Min)), append(s.Max, finite(x.Max))
		s.Avg, s.Sum = append(s.Avg, finite(x.Avg())), append(s.Sum, finite(x.Sum))
		s.First, s.Last = append(s.First, finite(x.First)), append(s.Last, finite(x.Last))
	}
	a.doc.Series = append(a.doc.Series, s)
	return res.Until, nil
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

// writeCSV writes a line per point or window (RFC 4180).
func (a *samplesAnswer) writeCSV(w http.ResponseWriter) error {
	var b bytes.Buffer
	table := csv.NewWriter(&b)
	head := []string{"time", "metric", "type", "value"}
	if a.query.Window > 0 {
		head = []string{"time", "metric", "count", "min", "max", "avg", "sum", "first", "last"}
	}
	_ = table.Write(head) // a buffer never fails
	for i := range a.doc.Series {
		s := &a.doc.Series[i]
		for n, at := range s.Times {
			line := []string{at, cell(string(s.Metric))}
			if a.query.Window == 0 {
				_ = table.Write(append(line, s.Type, s.csvValue(n)))
				continue
			}
			line = append(line, strconv.Itoa(s.Count[n]))
			for _, column := range [][]*json.Number{s.Min, s.Max, s.Avg, s.Sum, s.First, s.Last} {
				text := ""
				if column[n] != nil {
					text = column[n].String()
				}
				line = append(line, text)
			}
			_ = table.Write(line)
		}
	}
	table.Flush()
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	_, _ = w.Write(b.Bytes()) // the client may be gone
	return nil
}

func (s *metricSeries) csvValue(n int) string {
	var text string
	if s.Type == twin.ValueText.String() && json.Unmarshal(s.Values[n], &text) == nil {
		return cell(text)
	}
	return string(s.Values[n])
}
