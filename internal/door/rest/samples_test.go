package rest_test

import (
	"net/http"
	"strings"
	"testing"

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
