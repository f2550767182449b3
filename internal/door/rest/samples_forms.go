package rest

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/twofold-iot/twofold/twin"
)

// windows says that the answer has figures of windows, and not values.
func (a *samplesAnswer) windows() bool { return a.query.Window > 0 && !a.chart }

// writeCSV writes a line per point or window (RFC 4180).
func (a *samplesAnswer) writeCSV(w http.ResponseWriter) error {
	var b bytes.Buffer
	table := csv.NewWriter(&b)
	windows := a.windows()
	head := []string{"time", "metric", "type", "value"}
	if windows {
		head = []string{"time", "metric"}
		for _, f := range figures {
			if a.asks(f.name) {
				head = append(head, f.name)
			}
		}
		if a.asks(figureDuration) {
			head = append(head, "state", figureDuration)
		}
	}
	if a.fleet {
		head = slices.Insert(head, 1, "thing")
	}
	_ = table.Write(head) // a buffer never fails
	for i := range a.doc.Series {
		s := &a.doc.Series[i]
		for n, at := range s.Times {
			line := []string{at, cell(string(s.Metric))}
			if a.fleet {
				line = slices.Insert(line, 1, string(s.DeviceID))
			}
			if windows {
				line = a.csvFigures(line, s, n)
			} else {
				line = append(line, s.Type, s.csvValue(s.Values[n]))
			}
			_ = table.Write(line)
		}
	}
	table.Flush()
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	_, _ = w.Write(b.Bytes()) // the client may be gone
	return nil
}

func (a *samplesAnswer) csvFigures(line []string, s *metricSeries, n int) []string {
	number := func(column []*json.Number) string {
		if n >= len(column) || column[n] == nil {
			return ""
		}
		return column[n].String()
	}
	for _, f := range figures {
		switch {
		case !a.asks(f.name):
		case f.column != nil:
			line = append(line, number(*f.column(s)))
		case n < len(s.Count):
			line = append(line, strconv.Itoa(s.Count[n]))
		default:
			line = append(line, "")
		}
	}
	if !a.asks(figureDuration) {
		return line
	}
	state := ""
	if s.State != nil {
		state = s.csvValue(s.State)
	}
	return append(line, state, number(s.Duration))
}

func (s *metricSeries) csvValue(v json.RawMessage) string {
	var text string
	if s.Type == twin.ValueText.String() && json.Unmarshal(v, &text) == nil {
		return cell(text)
	}
	return string(v)
}

// seriesLine is a point or a window as a line of NDJSON.
type seriesLine struct {
	DeviceID twin.ThingName  `json:"deviceId,omitempty"`
	Metric   twin.MetricName `json:"metric"`
	Time     string          `json:"time"`
	Value    json.RawMessage `json:"value,omitempty"`
	State    json.RawMessage `json:"state,omitempty"`
	Count    int             `json:"count,omitzero"`
	Figures  map[string]any  `json:"figures,omitempty"`
}

// writeNDJSON writes a line per point or window; the figures of a window are in "figures".
func (a *samplesAnswer) writeNDJSON(w http.ResponseWriter) error {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	for i := range a.doc.Series {
		s := &a.doc.Series[i]
		for n, at := range s.Times {
			line := seriesLine{DeviceID: s.DeviceID, Metric: s.Metric, Time: at, State: s.State}
			if !a.windows() {
				line.Value = s.Values[n]
			} else {
				line.Figures = a.figuresOf(s, n)
			}
			if err := out.Encode(line); err != nil {
				return fmt.Errorf("write a line of %s: %w", s.Metric, err)
			}
		}
	}
	w.Header().Set("Content-Type", typeNDJSON)
	_, _ = w.Write(b.Bytes()) // the client may be gone
	return nil
}

// figuresOf are the figures of the n-th window that were asked for.
func (a *samplesAnswer) figuresOf(s *metricSeries, n int) map[string]any {
	m := make(map[string]any)
	for _, f := range figures {
		switch {
		case !a.asks(f.name):
		case f.column == nil:
			if n < len(s.Count) {
				m[f.name] = s.Count[n]
			}
		case n < len(*f.column(s)):
			m[f.name] = (*f.column(s))[n]
		}
	}
	if n < len(s.Duration) {
		m[figureDuration] = s.Duration[n]
	}
	return m
}

// parquetRow is a point or a window as a row of Parquet; columns that were not asked for
// are null.
type parquetRow struct {
	Thing    string    `parquet:"thing,dict"`
	Metric   string    `parquet:"metric,dict"`
	Time     time.Time `parquet:"time,timestamp(millisecond)"`
	Number   *float64  `parquet:"number,optional"`
	Boolean  *bool     `parquet:"boolean,optional"`
	Text     *string   `parquet:"text,optional,dict"`
	Count    *int64    `parquet:"count,optional"`
	Min      *float64  `parquet:"min,optional"`
	Max      *float64  `parquet:"max,optional"`
	Avg      *float64  `parquet:"avg,optional"`
	Sum      *float64  `parquet:"sum,optional"`
	First    *float64  `parquet:"first,optional"`
	Last     *float64  `parquet:"last,optional"`
	TWA      *float64  `parquet:"twa,optional"`
	Delta    *float64  `parquet:"delta,optional"`
	Rate     *float64  `parquet:"rate,optional"`
	P50      *float64  `parquet:"p50,optional"`
	P95      *float64  `parquet:"p95,optional"`
	P99      *float64  `parquet:"p99,optional"`
	Duration *float64  `parquet:"duration,optional"` // of the state in boolean or text, seconds
}

// writeParquet writes a row per point or window, zstd-compressed.
func (a *samplesAnswer) writeParquet(w http.ResponseWriter) error {
	var b bytes.Buffer
	table := parquet.NewGenericWriter[parquetRow](&b, parquet.Compression(&parquet.Zstd))
	for i := range a.doc.Series {
		s := &a.doc.Series[i]
		rows := make([]parquetRow, len(s.Times))
		for n := range rows {
			if err := a.parquetRow(&rows[n], s, n); err != nil {
				return fmt.Errorf("write a row of %s: %w", s.Metric, err)
			}
		}
		if _, err := table.Write(rows); err != nil {
			return fmt.Errorf("write rows of %s: %w", s.Metric, err)
		}
	}
	if err := table.Close(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	w.Header().Set("Content-Type", typeParquet)
	_, _ = w.Write(b.Bytes()) // the client may be gone
	return nil
}

func (a *samplesAnswer) parquetRow(row *parquetRow, s *metricSeries, n int) (err error) {
	row.Thing, row.Metric = string(a.query.Thing), string(s.Metric)
	if a.fleet {
		row.Thing = string(s.DeviceID)
	}
	if row.Time, err = time.Parse(time.RFC3339Nano, s.Times[n]); err != nil {
		return err
	}
	if !a.windows() {
		return row.value(s.Type, s.Values[n])
	}
	if s.State != nil {
		if err := row.value(s.Type, s.State); err != nil {
			return err
		}
	}
	if n < len(s.Count) {
		count := int64(s.Count[n])
		row.Count = &count
	}
	for _, c := range [...]struct {
		to   **float64
		from []*json.Number
	}{
		{&row.Min, s.Min},
		{&row.Max, s.Max},
		{&row.Avg, s.Avg},
		{&row.Sum, s.Sum},
		{&row.First, s.First},
		{&row.Last, s.Last},
		{&row.TWA, s.TWA},
		{&row.Delta, s.Delta},
		{&row.Rate, s.Rate},
		{&row.P50, s.P50},
		{&row.P95, s.P95},
		{&row.P99, s.P99},
		{&row.Duration, s.Duration},
	} {
		if n < len(c.from) && c.from[n] != nil {
			v, err := c.from[n].Float64()
			if err != nil {
				return err
			}
			*c.to = &v
		}
	}
	return nil
}

// value sets the column of a type.
func (row *parquetRow) value(kind string, v json.RawMessage) error {
	switch kind {
	case twin.ValueNumber.String():
		return json.Unmarshal(v, &row.Number)
	case twin.ValueBool.String():
		return json.Unmarshal(v, &row.Boolean)
	}
	return json.Unmarshal(v, &row.Text)
}
