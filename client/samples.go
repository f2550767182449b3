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
}

func (q *SamplesQuery) path(thing twin.ThingName) string {
	v := url.Values{"metric": q.Metrics}
	setTime(v, "from", q.From)
	setTime(v, "to", q.To)
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Window > 0 {
		v.Set("window", q.Window.String())
	}
	return twinPath(thing, "/series", "") + "?" + v.Encode()
}

// Samples is telemetry in columns.
type Samples struct {
	From     time.Time      `json:"from"`
	To       time.Time      `json:"to"`
	Until    time.Time      `json:"until"` // how far it goes; if not Complete, go on from here
	Complete bool           `json:"complete"`
	Series   []MetricSeries `json:"series"`

	Raw []byte `json:"-"` // the answer as it came
}

// MetricSeries is one metric of one type: the n-th entry of each column is of the n-th
// time. With windows there are no values, but the figures of the window that starts
// then; nil is what is too great for a number.
type MetricSeries struct {
	Metric string            `json:"metric"`
	Type   string            `json:"type"` // number, boolean, string
	Times  []time.Time       `json:"times"`
	Values []json.RawMessage `json:"values"`
	Count  []int             `json:"count"`
	Min    []*float64        `json:"min"`
	Max    []*float64        `json:"max"`
	Avg    []*float64        `json:"avg"`
	Sum    []*float64        `json:"sum"`
	First  []*float64        `json:"first"`
	Last   []*float64        `json:"last"`
}

// Samples reads telemetry of a thing.
func (c *Client) Samples(ctx context.Context, thing twin.ThingName, q SamplesQuery) (*Samples, error) {
	s := &Samples{}
	raw, err := c.readInto(ctx, q.path(thing), s)
	s.Raw = raw
	return s, err
}

// SamplesTable reads telemetry of a thing as CSV. more says that the table is not at
// its end.
func (c *Client) SamplesTable(ctx context.Context, thing twin.ThingName, q SamplesQuery) (table []byte, more bool, err error) {
	a, err := c.do(ctx, http.MethodGet, q.path(thing), http.Header{"Accept": {string(CSV)}}, nil)
	if err != nil {
		return nil, false, err
	}
	return a.body, a.header.Get("Link") != "", nil
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
