package rest_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// measured puts samples of the minute before now into the store.
func (w *world) measured(t *testing.T) {
	t.Helper()
	now := twin.TimeOf(w.now)
	add := func(ago twin.Time, values ...twin.Measurement) {
		r := twin.Row{Thing: "pump-7", Time: now - ago, Arrival: now, Values: values}
		row := store.SampleRow{Thing: r.Thing, Time: r.Time, Arrival: r.Arrival, Values: r.AppendValues(nil)}
		if err := w.store.AppendRows(t.Context(), []store.SampleRow{row}, true); err != nil {
			t.Fatal(err)
		}
	}
	m := func(name twin.MetricName, v twin.Value) twin.Measurement {
		return twin.Measurement{Metric: name, Value: v}
	}
	add(10_000, m("t", twin.NumberValue(9)), m("on", twin.BoolValue(true)))
	add(30_000, m("t", twin.NumberValue(1)))
	add(20_000, m("t", twin.NumberValue(2.5)))
	add(5_000, m("t", twin.TextValue("=broken")))
	add(10_000, m("t", twin.NumberValue(4))) // the later arrival counts
}

const seriesPath = "/api/v1/twins/pump-7/series"

func TestSamples(t *testing.T) {
	w := newWorld(t)
	w.measured(t)
	for query, part := range map[string]string{
		"?metric=t&metric=on": `"complete":true,"series":[` +
			`{"metric":"t","type":"number","times":["2026-11-22T11:59:30.000Z","2026-11-22T11:59:40.000Z","2026-11-22T11:59:50.000Z"],"values":[1,2.5,4]},` +
			`{"metric":"t","type":"string","times":["2026-11-22T11:59:55.000Z"],"values":["=broken"]},` +
			`{"metric":"on","type":"boolean","times":["2026-11-22T11:59:50.000Z"],"values":[true]}]`,
		"?metric=t&metric=on&limit=1": `"until":"2026-11-22T11:59:40.000Z","complete":false,"series":[` +
			`{"metric":"t","type":"number","times":["2026-11-22T11:59:30.000Z"],"values":[1]}]`,
		"?metric=none": `"series":[]`,
		"?metric=t&window=1m": `{"metric":"t","type":"number","times":["2026-11-22T11:59:00.000Z"],` +
			`"count":[3],"min":[1],"max":[4],"avg":[2.5],"sum":[7.5],"first":[1],"last":[4]}`,
		"?metric=t&limit=1&arrivals=true": `"times":["2026-11-22T11:59:30.000Z"],"values":[1],"arrivals":["2026-11-22T12:00:00.000Z"]}`,
		"?metric=t&window=30s&fn=twa,delta&fn=rate": `{"metric":"t","type":"number","times":["2026-11-22T11:59:30.000Z"],` +
			`"twa":[2.5],"delta":[3],"rate":[0.15]}`,
		"?metric=t&window=15s&fn=count,delta&from=2026-11-22T11:59:45Z": `"times":["2026-11-22T11:59:45.000Z"],"count":[1],"delta":[1.5]}`,
		"?metric=on&metric=t&window=1m&fn=duration": `"series":[{"metric":"on","type":"boolean","state":true,"times":["2026-11-22T11:59:00.000Z"],"duration":[10]},` +
			`{"metric":"t","type":"string","state":"=broken","times":["2026-11-22T11:59:00.000Z"],"duration":[5]}]`,
		"?metric=t&metric=on&points=2": `"complete":true,"window":"12h0m0s","series":[` +
			`{"metric":"t","type":"number","times":["2026-11-22T11:59:30.000Z","2026-11-22T11:59:50.000Z"],"values":[1,4]},` +
			`{"metric":"t","type":"string","times":["2026-11-22T11:59:55.000Z"],"values":["=broken"]},` +
			`{"metric":"on","type":"boolean","times":["2026-11-22T11:59:50.000Z"],"values":[true]}]`,
		"?metric=t&points=10&from=2026-11-22T11:59:40Z&to=2026-11-22T12:00:00Z": `"window":"2s","series":[{"metric":"t","type":"number",` +
			`"before":{"time":"2026-11-22T11:59:30.000Z","value":1},"times":["2026-11-22T11:59:40.000Z","2026-11-22T11:59:50.000Z"],"values":[2.5,4]}`,
	} {
		if got := w.ok(t, "GET", seriesPath+query, "").Body.String(); !strings.Contains(got, part) {
			t.Errorf("%s:\ngot  %s\nwant %s", query, got, part)
		}
	}
	got := w.ok(t, "GET", "/api/v1/twins/pump-7/metrics", "").Body.String()
	if part := `{"metric":"t","type":"number","first":"2026-11-22T11:59:30.000Z","last":"2026-11-22T11:59:50.000Z","count":4,"value":4}`; !strings.Contains(got, part) {
		t.Errorf("got %s, want %s", got, part)
	}
}

func TestSamples_csv(t *testing.T) {
	w := newWorld(t)
	w.measured(t)
	res := w.ok(t, "GET", seriesPath+"?metric=t&limit=3", "", "Accept: text/csv")
	want := "time,metric,type,value\n2026-11-22T11:59:30.000Z,t,number,1\n2026-11-22T11:59:40.000Z,t,number,2.5\n2026-11-22T11:59:50.000Z,t,number,4\n"
	if got := res.Body.String(); got != want {
		t.Errorf("got %s", got)
	}
	next, _, _ := strings.Cut(strings.TrimPrefix(res.Header().Get("Link"), "<"), ">")
	res = w.ok(t, "GET", next, "", "Accept: text/csv")
	if got := res.Body.String(); !strings.Contains(got, `2026-11-22T11:59:55.000Z,t,string,"""=broken"""`) || res.Header().Get("Link") != "" {
		t.Errorf("got %s, %q", got, res.Header())
	}
	res = w.ok(t, "GET", seriesPath+"?metric=t&window=30s", "", "Accept: text/csv")
	if got := res.Body.String(); !strings.HasSuffix(got, "\n2026-11-22T11:59:30.000Z,t,3,1,4,2.5,7.5,1,4\n") {
		t.Errorf("got %s", got)
	}
	res = w.ok(t, "GET", seriesPath+"?metric=t&window=1m&fn=max,duration", "", "Accept: text/csv")
	if got := res.Body.String(); got != "time,metric,max,state,duration\n2026-11-22T11:59:00.000Z,t,,\"\"\"=broken\"\"\",5\n2026-11-22T11:59:00.000Z,t,4,,\n" {
		t.Errorf("got %s", got)
	}
}

func TestSamples_invalid(t *testing.T) {
	w := newWorld(t)
	for query, parameter := range map[string]string{
		"":                                    "path",
		"?metric=t&path=reported.t":           "path",
		"?metric=t&shadow=x":                  "shadow",
		"?metric=":                            "metric",
		"?metric=t&window=x":                  "window",
		"?metric=t&window=":                   "window",
		"?path=reported.t&window=1m":          "window",
		"?metric=t&fn=avg":                    "fn",
		"?metric=t&window=1m&fn=median":       "fn",
		"?metric=t&window=1m&fn=":             "fn",
		"?metric=t&points=0":                  "points",
		"?metric=t&points=10001":              "points",
		"?metric=t&points=5&window=1m":        "points",
		"?metric=t&limit=0":                   "limit",
		"?metric=t&from=2026-11-23":           "from",
		"?" + strings.Repeat("metric=t&", 21): "metric",
	} {
		res := w.call("GET", seriesPath+query, "")
		if res.Code != http.StatusBadRequest || !strings.Contains(res.Body.String(), `"parameter":"`+parameter+`"`) {
			t.Errorf("%s: %d %s", query, res.Code, res.Body)
		}
	}
}

func TestSamples_severalThings(t *testing.T) {
	w := newWorld(t)
	w.measured(t)
	const path = "/api/v1/series?thing=pump-7&thing=pump-8&metric=t"
	got := w.ok(t, "GET", path+"&limit=1", "").Body.String()
	if part := `"until":"2026-11-22T11:59:40.000Z","complete":false,"series":[{"deviceId":"pump-7","metric":"t","type":"number","times":["2026-11-22T11:59:30.000Z"],"values":[1]}]`; !strings.Contains(got, part) {
		t.Errorf("got %s, want %s", got, part)
	}
	got = w.ok(t, "GET", path+"&window=1m&fn=max", "", "Accept: text/csv").Body.String()
	if want := "time,thing,metric,max\n2026-11-22T11:59:00.000Z,pump-7,t,4\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for query, parameter := range map[string]string{
		"metric=t": "thing", "thing=pump-7": "metric", "thing=a%20b&metric=t": "thing", "thing=a&thing=b&thing=c&metric=t&metric=u&metric=v&metric=w&metric=x&metric=y&metric=z&limit=10000": "limit",
	} {
		res := w.call("GET", "/api/v1/series?"+query, "")
		if res.Code != http.StatusBadRequest || !strings.Contains(res.Body.String(), `"parameter":"`+parameter+`"`) {
			t.Errorf("%s: %d %s", query, res.Code, res.Body)
		}
	}
}

func TestSamples_ndjson(t *testing.T) {
	w := newWorld(t)
	w.measured(t)
	got := w.ok(t, "GET", seriesPath+"?metric=on&metric=t&limit=9", "", "Accept: application/x-ndjson").Body.String()
	if line := `{"metric":"on","time":"2026-11-22T11:59:50.000Z","value":true}` + "\n"; !strings.HasPrefix(got, line) || strings.Count(got, "\n") != 5 {
		t.Errorf("got %s", got)
	}
	got = w.ok(t, "GET", seriesPath+"?metric=on&window=1m&fn=count,duration", "", "Accept: application/x-ndjson").Body.String()
	if want := `{"metric":"on","time":"2026-11-22T11:59:00.000Z","state":true,"figures":{"duration":10}}` + "\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSamples_parquet(t *testing.T) {
	w := newWorld(t)
	w.measured(t)
	type row struct {
		Thing    string    `parquet:"thing"`
		Metric   string    `parquet:"metric"`
		Time     time.Time `parquet:"time,timestamp(millisecond)"`
		Number   *float64  `parquet:"number,optional"`
		Boolean  *bool     `parquet:"boolean,optional"`
		Text     *string   `parquet:"text,optional"`
		Max      *float64  `parquet:"max,optional"`
		Duration *float64  `parquet:"duration,optional"`
	}
	read := func(query string) []row {
		t.Helper()
		b := w.ok(t, "GET", seriesPath+query, "", "Accept: application/vnd.apache.parquet").Body.Bytes()
		rows, err := parquet.Read[row](bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	rows := read("?metric=t&metric=on")
	if len(rows) != 5 || rows[0].Thing != "pump-7" || rows[0].Metric != "t" || *rows[0].Number != 1 || *rows[3].Text != "=broken" || !*rows[4].Boolean ||
		!rows[0].Time.Equal(w.now.Add(-30*time.Second)) || rows[0].Max != nil || rows[4].Number != nil {
		t.Errorf("got %+v", rows)
	}
	rows = read("?metric=t&metric=on&window=1m&fn=max,duration")
	if len(rows) != 3 || *rows[0].Text != "=broken" || *rows[0].Duration != 5 || *rows[1].Max != 4 || !*rows[2].Boolean || *rows[2].Duration != 10 {
		t.Errorf("got %+v", rows)
	}
}

// The twin has the means of its metrics beside those of its attributes.
func TestSamples_means(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	w.measured(t)
	got := w.ok(t, "GET", "/twins/pump-7?history=false", "").Body.String()
	if !strings.Contains(got, `"avgT":2.5`) {
		t.Errorf("got %s", got)
	}
}
