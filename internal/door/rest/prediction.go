package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/predict"
	"github.com/twofold-iot/twofold/twin"
)

// Predictions watch the measurements of things.
type Predictions interface {
	// Look brings what is said of a thing up to date.
	Look(ctx context.Context, thing twin.ThingName) (*predict.Report, error)
	// Judge takes a verdict on an episode; 0: of none.
	Judge(ctx context.Context, thing twin.ThingName, episode int, v predict.Verdict, note string, o twin.Origin) (*predict.Report, error)
	// Set changes the threshold of a thing, and until when it is muted; nil: not.
	Set(ctx context.Context, thing twin.ThingName, threshold *float64, muted *twin.Time, o twin.Origin) (*predict.Report, error)
	Previewer
	Due
}

// Previewer tells what would have been.
type Previewer interface {
	// Preview tells which episodes there would have been with thresholds.
	Preview(ctx context.Context, thing twin.ThingName, thresholds []float64) (from twin.Time, list []predict.Preview, err error)
	// Backtest tells what would have been predicted in the past.
	Backtest(ctx context.Context, thing twin.ThingName) (*predict.Backtest, error)
}

// anomalyDocument is how unusual the measurements of a thing are.
type anomalyDocument struct {
	DeviceID  twin.ThingName    `json:"deviceId"`
	Score     *float64          `json:"score"` // null: see why
	Surprise  *float64          `json:"surprise"`
	At        string            `json:"at,omitempty"`
	Why       string            `json:"why"`
	Parts     []partDocument    `json:"contributions"` // the largest first
	Episodes  []episodeDocument `json:"episodes"`      // the newest first, those that go on before the others
	Metrics   []metricDocument  `json:"metrics"`
	Samples   int               `json:"samples"` // instants judged
	Learning  string            `json:"learning,omitempty"`
	Late      int               `json:"late"`      // values that came after later ones
	Complete  bool              `json:"complete"`  // false: the thing has more metrics than are watched
	Threshold float64           `json:"threshold"` // surprise from which on an episode starts
	Muted     string            `json:"mutedUntil,omitempty"`
	Life      string            `json:"maintainedAt,omitempty"`
}

type partDocument struct {
	Metric   string   `json:"metric"`
	Share    float64  `json:"share"`
	Score    float64  `json:"score"`
	Signal   string   `json:"signal,omitempty"`
	Value    *float64 `json:"value,omitempty"`
	State    string   `json:"state,omitempty"`
	Usual    *float64 `json:"usual,omitempty"`
	Residual *float64 `json:"residual,omitempty"` // value less usual
}

type episodeDocument struct {
	Episode  int      `json:"episode"`
	Kind     string   `json:"kind"` // anomaly or drift
	Metric   string   `json:"metric"`
	Signal   string   `json:"signal"`
	Start    string   `json:"start"`
	Peak     string   `json:"peak"`
	End      string   `json:"end,omitempty"` // none: it goes on
	Surprise float64  `json:"surprise"`      // of a drift the deviations of daily means
	Score    float64  `json:"score"`
	Value    *float64 `json:"value"`
	Low      *float64 `json:"usualFrom"`
	High     *float64 `json:"usualTo"`
	Verdict  string   `json:"verdict,omitempty"`
}

type metricDocument struct {
	Metric    string   `json:"metric"`
	At        string   `json:"at"`
	State     string   `json:"state,omitempty"`
	Value     *float64 `json:"value,omitempty"`
	Rate      bool     `json:"rate,omitempty"` // a counter: the figures are of its change in a second
	Usual     *float64 `json:"usual,omitempty"`
	Low       *float64 `json:"usualFrom,omitempty"`
	High      *float64 `json:"usualTo,omitempty"`
	ByHour    bool     `json:"byHour,omitempty"` // usual is that of the hour of the day
	Drift     float64  `json:"drift"`            // of the last days, in deviations of daily means
	Samples   int      `json:"samples"`
	Learning  bool     `json:"learning,omitempty"`
	Threshold float64  `json:"threshold"`
}

// anomalyChange is what can be set.
type anomalyChange struct {
	Threshold *float64 `json:"threshold,omitempty"` // 0: that of the model
	MuteFor   *string  `json:"muteFor,omitempty"`   // a duration; 0s: no longer
}

type verdictDocument struct {
	Episode int    `json:"episode"`
	Verdict string `json:"verdict"`
	Note    string `json:"note,omitempty"`
}

type previewOfThreshold struct {
	Threshold float64           `json:"threshold"`
	Count     int               `json:"count"`
	Episodes  []episodeDocument `json:"episodes"`
}

type anomalyPreview struct {
	DeviceID   twin.ThingName       `json:"deviceId"`
	From       string               `json:"from"`
	Thresholds []previewOfThreshold `json:"thresholds"`
}

func (d *door) predictionRoutes() []route {
	return []route{
		{
			method: "GET", path: "/api/v1/twins/{id}/anomaly", name: "getAnomaly", summary: "Read how unusual the measurements of a thing are, what contributes, and the last episodes",
			answer: anomalyDocument{}, handler: d.getAnomaly,
		}, {
			method: "PATCH", path: "/api/v1/twins/{id}/anomaly", name: "setAnomaly", summary: "Set the threshold of a thing, or mute it for a time",
			body: anomalyChange{}, answer: anomalyDocument{}, handler: d.setAnomaly,
		}, {
			method: "POST", path: "/api/v1/twins/{id}/anomaly/verdicts", name: "judgeAnomaly", summary: "Say of an episode that it was a false alarm, or real, or that maintenance was done",
			body: verdictDocument{}, answer: anomalyDocument{}, handler: d.judgeAnomaly,
		}, {
			method: "GET", path: "/api/v1/twins/{id}/anomaly/preview", name: "previewAnomaly", summary: "Try thresholds on the last 30 days",
			query: []string{"threshold"}, answer: anomalyPreview{}, handler: d.previewAnomaly,
		}, {
			method: "GET", path: "/api/v1/twins/{id}/prediction", name: "getPrediction", summary: "Read when a thing is expected to fail, how sure that is, and why",
			query: []string{"days"}, answer: predictionDocument{}, handler: d.getPrediction,
		}, {
			method: "GET", path: "/api/v1/twins/{id}/prediction/backtest", name: "backtestPrediction", summary: "Read what would have been predicted at instants of the past, and what came",
			answer: backtestDocument{}, handler: d.backtest,
		}, {
			method: "GET", path: "/api/v1/maintenance", name: "listMaintenance", summary: "List the things that are expected to fail, the next first; as JSON, CSV or iCalendar",
			query: []string{"days", "format", "limit"}, answer: maintenanceDocument{}, types: []string{"application/json", "text/csv", "text/calendar"}, handler: d.listMaintenance,
		},
	}
}

// look brings what is said of the thing of a request up to date.
func (d *door) look(r *http.Request) (*predict.Report, error) {
	key, err := d.known(r)
	if err != nil {
		return nil, err
	}
	return d.opts.Predictions.Look(r.Context(), key.Thing)
}

// known is the thing of a request, which has to be there.
func (d *door) known(r *http.Request) (twin.ShadowKey, error) {
	key, err := keyOf(r)
	if err != nil {
		return key, err
	}
	if exists, err := d.exists(r, key.Thing); err != nil || !exists {
		return key, orNoTwin(err, key.Thing)
	}
	return key, nil
}

// addPrediction puts the score and the date of failure beside what is computed. Of one name
// that of the model counts.
func (d *door) addPrediction(ctx context.Context, key twin.ShadowKey, doc *document) error {
	score, date := []byte("null"), []byte("null")
	why := [2]string{"a named shadow has no score: ask for the twin", "a named shadow has no date: ask for the twin"}
	switch {
	case key.Shadow != "":
	case d.opts.Predictions == nil:
		why = [2]string{"this server watches no measurements", "this server makes no predictions"}
	default:
		rep, err := d.opts.Predictions.Look(ctx, key.Thing)
		if err != nil {
			return err
		}
		why = [2]string{rep.Says(), rep.Predicted.Says(twin.TimeOf(d.opts.Now()))}
		if rep.Judgement != nil {
			score = strconv.AppendFloat(nil, roundTo(rep.Judgement.Score, figureDigits), 'g', -1, 64)
		}
		if rep.Predicted.Date != 0 {
			date = []byte(`"` + timeText(rep.Predicted.Date) + `"`)
		}
	}
	for i, name := range []string{"anomalyScore", "predictedFailureDate"} {
		if _, ofModel := doc.Why[name]; ofModel || bytes.Contains(doc.Computed, []byte(`"`+name+`":`)) {
			continue
		}
		doc.Why[name] = why[i]
		fields := append(bytes.TrimSuffix(doc.Computed, []byte("}")), `,"`+name+`":`...)
		doc.Computed = append(append(fields, [][]byte{score, date}[i]...), '}')
		doc.Computed = json.RawMessage(strings.Replace(string(doc.Computed), "{,", "{", 1))
	}
	return nil
}

func (d *door) getAnomaly(w http.ResponseWriter, r *http.Request) error {
	rep, err := d.look(r)
	if err != nil {
		return err
	}
	return writeJSON(w, newAnomalyDocument(rep))
}

// shown is a figure as it is shown; null if it is none.
func shown(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	v = roundTo(v, figureDigits)
	return &v
}

func newAnomalyDocument(rep *predict.Report) anomalyDocument {
	doc := anomalyDocument{
		DeviceID: rep.Thing, Why: rep.Says(), Parts: []partDocument{}, Episodes: []episodeDocument{}, Metrics: []metricDocument{}, Samples: int(rep.Samples),
		Learning: rep.Learning, Late: rep.Late, Complete: !rep.Left, Threshold: rep.Threshold, Muted: timeText(rep.Muted), Life: timeText(rep.Life),
	}
	if j := rep.Judgement; j != nil {
		doc.Score, doc.Surprise, doc.At = shown(j.Score), shown(j.Surprise), timeText(j.Time)
		for _, p := range j.Parts {
			x := partDocument{Metric: p.Metric, Share: roundTo(p.Share, 3), Score: roundTo(p.Score, figureDigits), Signal: p.Signal, State: p.State}
			if p.State == "" {
				x.Value, x.Usual, x.Residual = shown(p.Value), shown(p.Mean), shown(p.Value-p.Mean)
			}
			doc.Parts = append(doc.Parts, x)
		}
	}
	for _, list := range [][]predict.Episode{rep.Open, rep.Past} {
		for i := len(list) - 1; i >= 0; i-- {
			doc.Episodes = append(doc.Episodes, newEpisodeDocument(&list[i]))
		}
	}
	for i := range rep.Metrics {
		doc.Metrics = append(doc.Metrics, newMetricDocument(&rep.Metrics[i]))
	}
	return doc
}

func newMetricDocument(m *predict.Metric) metricDocument {
	x := metricDocument{Metric: m.Name, At: timeText(m.Time), State: m.State, Samples: int(m.Samples), Learning: m.Learning, Threshold: roundTo(m.Threshold, figureDigits)}
	if !m.States {
		x.Value, x.Rate, x.Usual, x.Low, x.High, x.ByHour = shown(m.Value), m.Rate, shown(m.Mean), shown(m.Low), shown(m.High), m.ByHour
		x.Drift = roundTo(m.Drift, 4)
	}
	return x
}

func newEpisodeDocument(e *predict.Episode) episodeDocument {
	return episodeDocument{
		Episode: e.Number, Kind: e.Kind, Metric: e.Metric, Signal: e.Signal, Start: timeText(e.Start), Peak: timeText(e.Peak), End: timeText(e.End),
		Surprise: roundTo(e.Surprise, 4), Score: roundTo(e.Score, figureDigits), Value: shown(e.Value), Low: shown(e.Low), High: shown(e.High), Verdict: string(e.Verdict),
	}
}

func (d *door) setAnomaly(w http.ResponseWriter, r *http.Request) error {
	key, err := d.known(r)
	if err != nil {
		return err
	}
	var c anomalyChange
	if err := d.decode(w, r, &c); err != nil {
		return err
	}
	if c.Threshold == nil && c.MuteFor == nil {
		return invalidf("there is nothing to set: give threshold, muteFor or both")
	}
	var until *twin.Time
	if c.MuteFor != nil {
		length, err := time.ParseDuration(*c.MuteFor)
		if err != nil || length < 0 || length > muteMax {
			return invalidf("muteFor: %.80q is no duration between 0s and 8784h such as 2h", *c.MuteFor)
		}
		t := twin.Time(0)
		if length > 0 {
			t = twin.TimeOf(d.opts.Now().Add(length))
		}
		until = &t
	}
	rep, err := d.opts.Predictions.Set(r.Context(), key.Thing, c.Threshold, until, origin(r))
	if err != nil {
		return err
	}
	return writeJSON(w, newAnomalyDocument(rep))
}

// noteBytesMax bounds what is noted with a verdict.
const noteBytesMax = 1024

func (d *door) judgeAnomaly(w http.ResponseWriter, r *http.Request) error {
	key, err := d.known(r)
	if err != nil {
		return err
	}
	var v verdictDocument
	if err := d.decode(w, r, &v); err != nil {
		return err
	}
	if len(v.Note) > noteBytesMax {
		return invalidf("note: %d bytes are over the limit of %d", len(v.Note), noteBytesMax)
	}
	rep, err := d.opts.Predictions.Judge(r.Context(), key.Thing, v.Episode, predict.Verdict(v.Verdict), v.Note, origin(r))
	if err != nil {
		return err
	}
	return writeJSON(w, newAnomalyDocument(rep))
}

// thresholdsMax is how many thresholds one call tries.
const thresholdsMax = 10

func (d *door) previewAnomaly(w http.ResponseWriter, r *http.Request) error {
	key, err := d.known(r)
	if err != nil {
		return err
	}
	limits := []float64{3, 3.5, predict.DefaultThreshold, 4.5, 5}
	if texts := listOf(r.URL.Query()["threshold"]); len(texts) > 0 {
		if len(texts) > thresholdsMax {
			return badParam("threshold", "threshold: %d are over the limit of %d", len(texts), thresholdsMax)
		}
		limits = limits[:0]
		for _, text := range texts {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil || !(v >= predict.ThresholdMin && v <= predict.ThresholdMax) {
				return badParam("threshold", "threshold: %.40q is no number from %g to %g", text, predict.ThresholdMin, float64(predict.ThresholdMax))
			}
			limits = append(limits, v)
		}
	}
	from, list, err := d.opts.Predictions.Preview(r.Context(), key.Thing, limits)
	if err != nil {
		return err
	}
	doc := anomalyPreview{DeviceID: key.Thing, From: timeText(from), Thresholds: []previewOfThreshold{}}
	for i := range list {
		x := previewOfThreshold{Threshold: list[i].Threshold, Count: len(list[i].Episodes), Episodes: []episodeDocument{}}
		for j := range list[i].Episodes {
			x.Episodes = append(x.Episodes, newEpisodeDocument(&list[i].Episodes[j]))
		}
		doc.Thresholds = append(doc.Thresholds, x)
	}
	return writeJSON(w, doc)
}
