package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// SamplesQuery selects telemetry of a thing.
type SamplesQuery struct {
	Metrics  []string
	From, To time.Time     // from <= time < to; zero: the last day, now
	Limit    int           // points of a metric, or windows; 0: what the server gives at most
	Window   time.Duration // figures of windows of this length; 0: the points
	Figures  []string      // of windows, such as "avg"; none: the usual ones
	Points   int           // a chart of so many columns of pixels; without Limit, Window and Figures
}

func (q *SamplesQuery) path(thing twin.ThingName) string {
	return twinPath(thing, "/series", "") + "?" + q.values().Encode()
}

func (q *SamplesQuery) values() url.Values {
	v := url.Values{"metric": q.Metrics}
	setTime(v, "from", q.From)
	setTime(v, "to", q.To)
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Window > 0 {
		v.Set("window", q.Window.String())
	}
	if len(q.Figures) > 0 {
		v["fn"] = q.Figures
	}
	if q.Points > 0 {
		v.Set("points", strconv.Itoa(q.Points))
	}
	return v
}

// Samples is telemetry in columns.
type Samples struct {
	From     time.Time      `json:"from"`
	To       time.Time      `json:"to"`
	Until    time.Time      `json:"until"` // how far it goes; if not Complete, go on from here
	Complete bool           `json:"complete"`
	Window   string         `json:"window"` // what a column of a chart has
	Series   []MetricSeries `json:"series"`

	Raw []byte `json:"-"` // the answer as it came
}

// MetricSeries is one metric of one type: the n-th entry of each column is of the n-th
// time. With windows there are no values, but the figures of the window that starts
// then, those that were asked for; nil is what is too great for a number, or not there.
type MetricSeries struct {
	DeviceID twin.ThingName    `json:"deviceId"` // of FleetSamples
	Metric   string            `json:"metric"`
	Type     string            `json:"type"`   // number, boolean, string
	State    json.RawMessage   `json:"state"`  // that Duration is of
	Before   *Sample           `json:"before"` // the newest before the times; of a chart
	Times    []time.Time       `json:"times"`
	Values   []json.RawMessage `json:"values"`
	Count    []int             `json:"count"`
	Min      []*float64        `json:"min"`
	Max      []*float64        `json:"max"`
	Avg      []*float64        `json:"avg"`
	Sum      []*float64        `json:"sum"`
	First    []*float64        `json:"first"`
	Last     []*float64        `json:"last"`
	TWA      []*float64        `json:"twa"`   // the mean by time
	Delta    []*float64        `json:"delta"` // from the number before the window
	Rate     []*float64        `json:"rate"`  // Delta a second
	P50      []*float64        `json:"p50"`
	P95      []*float64        `json:"p95"`
	P99      []*float64        `json:"p99"`
	Duration []*float64        `json:"duration"` // of State, seconds
}

// Sample is a value at a time.
type Sample struct {
	Time  time.Time       `json:"time"`
	Value json.RawMessage `json:"value"`
}

// Figure is the column of a figure by its name, nil if it is not there.
func (m *MetricSeries) Figure(name string) []*float64 {
	return map[string][]*float64{
		"min": m.Min, "max": m.Max, "avg": m.Avg, "sum": m.Sum, "first": m.First, "last": m.Last, "twa": m.TWA,
		"delta": m.Delta, "rate": m.Rate, "p50": m.P50, "p95": m.P95, "p99": m.P99, "duration": m.Duration,
	}[name]
}

// Samples reads telemetry of a thing.
func (c *Client) Samples(ctx context.Context, thing twin.ThingName, q SamplesQuery) (*Samples, error) {
	s := &Samples{}
	raw, err := c.readInto(ctx, q.path(thing), s)
	s.Raw = raw
	return s, err
}

// SamplesAs reads telemetry of a thing in a format. more says that it is not at its end.
func (c *Client) SamplesAs(ctx context.Context, thing twin.ThingName, q SamplesQuery, f TelemetryFormat) (b []byte, more bool, err error) {
	a, err := c.do(ctx, http.MethodGet, q.path(thing), http.Header{"Accept": {string(f)}}, nil)
	if err != nil {
		return nil, false, err
	}
	return a.body, a.header.Get("Link") != "", nil
}

// FleetSamples reads the same metrics of several things.
func (c *Client) FleetSamples(ctx context.Context, things []twin.ThingName, q SamplesQuery) (*Samples, error) {
	v := q.values()
	for _, thing := range things {
		v.Add("thing", string(thing))
	}
	s := &Samples{}
	raw, err := c.readInto(ctx, "/api/v1/series?"+v.Encode(), s)
	s.Raw = raw
	return s, err
}

// Metrics is what a thing measures.
type Metrics struct {
	Complete bool     `json:"complete"` // false: there are too many to list
	Metrics  []Metric `json:"metrics"`

	Raw []byte `json:"-"` // the answer as it came
}

// Metric is one metric of one type.
type Metric struct {
	Metric string          `json:"metric"`
	Type   string          `json:"type"`
	First  time.Time       `json:"first"`
	Last   time.Time       `json:"last"`
	Count  int             `json:"count"`
	Value  json.RawMessage `json:"value"` // at Last
}

// Metrics lists what a thing measures.
func (c *Client) Metrics(ctx context.Context, thing twin.ThingName) (*Metrics, error) {
	m := &Metrics{}
	raw, err := c.readInto(ctx, twinPath(thing, "/metrics", ""), m)
	m.Raw = raw
	return m, err
}

func (c *Client) readInto(ctx context.Context, path string, v any) ([]byte, error) {
	a, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return a.body, nil
}
