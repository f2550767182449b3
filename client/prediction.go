package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Anomaly is how unusual the measurements of a thing are.
type Anomaly struct {
	Raw json.RawMessage `json:"-"` // as the server wrote it

	DeviceID      twin.ThingName
	Score         *float64 // 0 to 1; nil: see Why
	At            time.Time
	Why           string
	Contributions []struct {
		Metric string
		Share  float64
		Signal string
		Value  *float64
		State  string
		Usual  *float64
	}
	Episodes   []Episode // the newest first, those that go on before the others
	Samples    int
	Threshold  float64
	MutedUntil time.Time
}

// Episode is a time in which something was unusual.
type Episode struct {
	Episode            int
	Kind               string // anomaly or drift
	Metric, Signal     string
	Start, Peak, End   time.Time // no End: it goes on
	Value              *float64
	UsualFrom, UsualTo *float64
	Verdict            string
}

// Prediction is when a thing is expected to fail.
type Prediction struct {
	Raw json.RawMessage `json:"-"` // as the server wrote it

	DeviceID             twin.ThingName
	PredictedFailureDate time.Time // zero: see Why
	Why                  string
	Reached              bool
	Interval50           Dates
	Interval90           Dates
	Probability          []struct {
		Days        float64
		Probability float64
	}
}

// Dates hold a date; a zero end is farther away than can be said.
type Dates struct{ From, To time.Time }

// Anomaly reads how unusual the measurements of a thing are.
func (c *Client) Anomaly(ctx context.Context, thing twin.ThingName) (*Anomaly, error) {
	a := &Anomaly{}
	return a, c.getRaw(ctx, twinPath(thing, "/anomaly", ""), a, &a.Raw)
}

// JudgeAnomaly says of an episode "false alarm", "real" or "maintenance done"; the last may be of
// none, 0.
func (c *Client) JudgeAnomaly(ctx context.Context, thing twin.ThingName, episode int, verdict, note string) (*Anomaly, error) {
	a := &Anomaly{}
	var err error
	a.Raw, err = c.send(ctx, http.MethodPost, twinPath(thing, "/anomaly/verdicts", ""), map[string]any{"episode": episode, "verdict": verdict, "note": note}, a)
	return a, err
}

// Prediction reads when a thing is expected to fail.
func (c *Client) Prediction(ctx context.Context, thing twin.ThingName) (*Prediction, error) {
	p := &Prediction{}
	return p, c.getRaw(ctx, twinPath(thing, "/prediction", ""), p, &p.Raw)
}

// Maintenance reads which things are expected to fail within days, 0 for all, in a format: json,
// csv or ics.
func (c *Client) Maintenance(ctx context.Context, days int, format string) ([]byte, error) {
	path := "/api/v1/maintenance?format=" + format
	if days > 0 {
		path += "&days=" + strconv.Itoa(days)
	}
	a, err := c.do(ctx, http.MethodGet, path, nil, nil)
	return a.body, err
}
