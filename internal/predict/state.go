package predict

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/twofold-iot/twofold/internal/anomaly"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// MetricsMax is how many metrics of a thing are watched, the first by the time at which they
// came up.
const MetricsMax = 32

// thing is what is known of a thing. mu guards the rest.
type thing struct {
	name twin.ThingName
	mu   sync.Mutex
	kept
	several *anomaly.Several
	index   map[string]int // of Metrics by name

	changed  bool       // since it was written
	written  twin.Time  // when
	used     uint64     // for the choice of who leaves the memory
	bytes    int64      // in memory, about
	broken   bool       // not read yet, or an event was not written: what is in memory is ahead
	forecast *Predicted // the newest
}

// kept is the part of a state that is written as JSON.
type kept struct {
	Rows    store.RowNumber `json:"rows"`
	Seen    store.RowNumber `json:"seen"`
	Midway  bool            `json:"midway,omitempty"` // written between two samples of those rows
	Seq     twin.Seq        `json:"seq"`
	SeqTime twin.Time       `json:"seqTime"`
	Metrics []metric        `json:"metrics"`
	Left    bool            `json:"left,omitempty"` // there are more than MetricsMax
	Late    int             `json:"late,omitempty"`

	Last *Judgement `json:"last,omitempty"`
	Open []Episode  `json:"open,omitempty"`
	Past []Episode  `json:"past,omitempty"` // the newest last
	Next int        `json:"next"`           // number of the next episode

	Threshold float64            `json:"threshold,omitempty"` // 0: as the model says
	Muted     twin.Time          `json:"muted,omitempty"`     // until then no episode starts
	Adjusted  map[string]float64 `json:"adjusted,omitempty"`  // factors of the threshold by metric, from verdicts
	Life      twin.Time          `json:"life,omitempty"`      // since when it lives: the last maintenance

	Predicted *Predicted `json:"predicted,omitempty"` // the last that was told
}

type metric struct {
	Name   string    `json:"name"` // such as telemetry.flow, reported.engine.rpm
	At     twin.Time `json:"at"`   // of the last value
	States bool      `json:"states,omitempty"`
}

// Judgement is what is said of an instant.
type Judgement struct {
	Time     twin.Time `json:"time"`
	Score    float64   `json:"score"`    // see [anomaly.Result]
	Surprise float64   `json:"surprise"` // in nats
	Parts    []Part    `json:"parts"`
}

// Part is what one metric contributes.
type Part struct {
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"` // of a counter its change in a second; 0 for a state
	State     string  `json:"state,omitempty"`
	Share     float64 `json:"share"`
	Score     float64 `json:"score"`
	Surprise  float64 `json:"surprise"`
	Signal    string  `json:"signal,omitempty"`
	Mean      float64 `json:"mean"` // that is usual, before this value; and the deviation from it
	Deviation float64 `json:"deviation"`
}

// The kinds of episodes.
const (
	Unusual  = "anomaly" // a moment as there are few
	Drifting = "drift"   // days in a row that lie away from the months before
)

// Episode is a time in which something was unusual.
type Episode struct {
	Number   int       `json:"episode"`
	Kind     string    `json:"kind"`
	Metric   string    `json:"metric"`
	Signal   string    `json:"signal"`
	Start    twin.Time `json:"start"`
	Peak     twin.Time `json:"peak"`
	End      twin.Time `json:"end,omitempty"` // zero: it goes on
	Surprise float64   `json:"surprise"`      // at the peak; of a drift the deviations of daily means
	Score    float64   `json:"score"`
	Value    float64   `json:"value"`
	Low      float64   `json:"usualFrom"` // at the peak
	High     float64   `json:"usualTo"`
	Verdict  Verdict   `json:"verdict,omitempty"`

	Quiet int       `json:"-"` // instants in a row that were usual
	Last  twin.Time `json:"-"` // instant that was not
}

// pastMax is how many episodes are kept at hand; all are in the event log.
const pastMax = 20

const recordFormat = 1

// encode writes a state as it is kept, see docs/format/predict.md.
func (t *thing) encode() ([]byte, error) {
	text, err := json.Marshal(t.kept)
	if err != nil {
		return nil, fmt.Errorf("write what is learned of %s: %w", t.name, err)
	}
	b := binary.AppendUvarint([]byte{recordFormat}, uint64(len(text)))
	return t.several.AppendBinary(append(b, text...)), nil
}

var errRecord = errors.New("damaged: what is learned of a thing")

// decode reads a state back.
func (t *thing) decode(b []byte) error {
	k, rest, err := readKept(b)
	if err != nil {
		return err
	}
	t.kept = k
	if t.several, err = anomaly.ReadSeveral(rest); err != nil {
		return err
	}
	t.index = make(map[string]int, len(t.Metrics))
	for i, m := range t.Metrics {
		if t.index[m.Name] = i; i >= t.several.Len() || m.States != (t.several.States(i) != nil) {
			return errRecord
		}
	}
	if t.several.Len() != len(t.Metrics) {
		return errRecord
	}
	t.size()
	return nil
}

func newThing(name twin.ThingName) *thing {
	t := &thing{name: name, several: anomaly.NewSeveral(0), index: map[string]int{}}
	t.Next = 1
	t.size()
	return t
}

// size works out how much memory it takes.
func (t *thing) size() {
	t.bytes = int64(t.several.StateBytes()) + int64(len(t.Metrics))*128 + int64(len(t.Past)+len(t.Open))*200 + 1024
}

// metric finds a metric, a new one if there is room; -1: there is none.
func (t *thing) metric(name string, states bool) int {
	if i, ok := t.index[name]; ok {
		return i
	}
	if len(t.Metrics) == MetricsMax {
		t.Left = true
		return -1
	}
	i := t.several.Extend(states)
	t.Metrics = append(t.Metrics, metric{Name: name, States: states})
	t.index[name] = i
	t.size()
	return i
}

// open finds the episode of a kind that goes on, of a metric for a drift.
func (t *thing) open(kind, metric string) int {
	return slices.IndexFunc(t.Open, func(e Episode) bool { return e.Kind == kind && (kind == Unusual || e.Metric == metric) })
}

// episode finds an episode by its number.
func (t *thing) episode(number int) *Episode {
	for _, list := range [][]Episode{t.Open, t.Past} {
		for i := range list {
			if list[i].Number == number {
				return &list[i]
			}
		}
	}
	return nil
}
