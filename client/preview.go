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

// PreviewModel asks what a model would have told had it been in force.
type PreviewModel struct {
	Name     string
	Source   []byte         // YAML or JSON; empty: the version in force
	From, To time.Time      // zero: the last 30 days
	Thing    twin.ThingName // empty: all twins of the model
}

// Preview is the answer. Lengths are in seconds.
type Preview struct {
	Model            string
	From, To         time.Time
	Twins, Replayed  int // that have the model, and that were looked at as a whole, by name
	Complete         bool
	Updates, Samples int
	Alarms           []struct {
		Name, Severity string
		Count, Twins   int
		Held, Longest  float64
		Recorded       int // raised in fact, by the models in force then
		Newest         []struct {
			DeviceID twin.ThingName
			From, To time.Time // To zero: to the end
			Message  string
		}
	}
	Behaviour map[string]int // events of the state machine, by type

	Raw json.RawMessage `json:"-"` // as sent
}

// PreviewModel replays the past of the twins of a model.
func (c *Client) PreviewModel(ctx context.Context, q PreviewModel) (*Preview, error) {
	v := url.Values{}
	setTime(v, "from", q.From)
	setTime(v, "to", q.To)
	setText(v, "thing", string(q.Thing))
	a, err := c.do(ctx, http.MethodPost, modelPath(q.Name, "/preview")+"?"+v.Encode(), http.Header{"Content-Type": {"application/yaml"}}, q.Source)
	if err != nil {
		return nil, err
	}
	p := &Preview{Raw: a.body}
	if err := json.Unmarshal(a.body, p); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return p, nil
}

// ComputedHistoryQuery asks for the past of a computed attribute.
type ComputedHistoryQuery struct {
	Thing     twin.ThingName
	Attribute string
	From, To  time.Time // zero: the last 24 hours
	Limit     int       // 0: as many as the server gives
	Revise    bool      // compute it anew by the model in force
	Every     time.Duration
}

// ComputedHistory is the past of a computed attribute.
type ComputedHistory struct {
	DeviceID     twin.ThingName
	Model        string
	ModelVersion uint32
	Attribute    string
	Unit         string
	Points       []ComputedPoint
	Until        time.Time
	Complete     bool // false: go on with Until as From

	Raw json.RawMessage `json:"-"` // as sent
}

// ComputedPoint is a value from a time on.
type ComputedPoint struct {
	Time         time.Time
	Version      twin.Version // of the shadow; 0: no update led to it
	Value        json.RawMessage
	ModelVersion uint32
	Revised      bool // computed for this answer, not as it was recorded
	Recorded     json.RawMessage
	RecordedBy   uint32 // version of the model; 0: nothing was recorded
}

// ComputedHistory reads the past of a computed attribute.
func (c *Client) ComputedHistory(ctx context.Context, q ComputedHistoryQuery) (*ComputedHistory, error) {
	v := url.Values{"attribute": {q.Attribute}, "revise": {strconv.FormatBool(q.Revise)}}
	setTime(v, "from", q.From)
	setTime(v, "to", q.To)
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Every > 0 {
		v.Set("every", q.Every.String())
	}
	h := &ComputedHistory{}
	return h, c.getRaw(ctx, twinPath(q.Thing, "/computed/history", "")+"?"+v.Encode(), h, &h.Raw)
}
