package fleet_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/twin"
)

// pumps is a world of so many twins: pump-i reports temp i%7, but every fifth none, and
// mode on or off.
func pumps(t testing.TB, n int) *world {
	w := newWorld(t, 1)
	for i := range n {
		thing := twin.ThingName(fmt.Sprintf("pump-%d", i))
		w.attribute(thing, twin.Attributes{Model: []string{"pump", "motor"}[i%2], Tags: map[string]string{"site": fmt.Sprint("s", i%3)}})
		w.update(thing, fmt.Sprintf(`{"reported":{"mode":%q}}`, []string{"on", "off", "on", "idle"}[i%4]))
		if i%5 != 0 {
			w.update(thing, fmt.Sprintf(`{"reported":{"temp":%d}}`, i%7))
		}
	}
	return w
}

func (w *world) query(r fleet.Request) *fleet.Page {
	w.t.Helper()
	page, err := w.engine.Query(w.t.Context(), &r)
	if err != nil {
		w.t.Fatal(err)
	}
	return page
}

// Pages put together are the whole in its order, whatever is inserted between them before
// the place where they are.
func TestQuery_pages(t *testing.T) {
	w := pumps(t, 2500)
	for _, sort := range [][]string{nil, {"reported.temp"}, {"-reported.temp", "id"}, {"tags.site", "-reported.temp"}, {"reported.mode", "-lastSeen"}} {
		whole := w.query(fleet.Request{Sort: sort, Limit: 1000, Select: []string{"id", "reported.temp"}})
		var paged []fleet.Row
		for cursor := ""; len(paged) < 1000; {
			page := w.query(fleet.Request{Sort: sort, Limit: 37, Cursor: cursor, Select: []string{"id", "reported.temp"}})
			if page.Total != 2500 {
				t.Fatalf("the total is %d, want 2500", page.Total)
			}
			paged = append(paged, page.Rows...)
			cursor = page.Next
		}
		if diff := cmp.Diff(whole.Rows, paged[:1000]); diff != "" {
			t.Fatalf("sort %v (-whole +paged):\n%s", sort, diff)
		}
	}
	last := w.query(fleet.Request{Where: "reported.temp == 6", Limit: 1000})
	if len(last.Rows) != last.Total || last.Next != "" {
		t.Fatalf("%d of %d rows, next %q: want all in one page", len(last.Rows), last.Total, last.Next)
	}
}

// What is absent comes last, upwards and downwards.
func TestQuery_absentLast(t *testing.T) {
	w := pumps(t, 10)
	for _, sort := range []string{"reported.temp", "-reported.temp"} {
		rows := w.query(fleet.Request{Sort: []string{sort}, Select: []string{"reported.temp"}}).Rows
		for i, r := range rows {
			if null := string(r.Values[0]) == "null"; null != (i >= 8) {
				t.Errorf("%s: row %d has %s", sort, i, r.Values[0])
			}
		}
	}
}

func TestQuery_select(t *testing.T) {
	w := newWorld(t, 1)
	w.attribute("a", twin.Attributes{Model: "pump", Tags: map[string]string{"site": "hh1"}})
	w.update("a", `{"reported":{"m":{"speed":1480,"on":true},"list":[1,{"x":"y"}],"text":"q\"u","empty":{}},"desired":{"m":{"speed":1500}}}`)
	w.sample("a", w.now, twin.Measurement{Metric: "motor.speed", Value: twin.NumberValue(1479)}, twin.Measurement{Metric: "motor.on", Value: twin.BoolValue(true)})
	for source, want := range map[string]string{
		"id": `"a"`, "model": `"pump"`, "tags": `{"site":"hh1"}`, "reported.m": `{"speed":1480,"on":true}`, "reported.list": `[1,{"x":"y"}]`, "reported.text": `"q\"u"`,
		"reported.empty": `{}`, "delta": `{"m":{"speed":1500}}`, "delta.m.speed": `1500`, "telemetry": `{"motor.on":true,"motor.speed":1479}`, "telemetry.motor": `{"on":true,"speed":1479}`,
		"telemetry.motor.speed": `1479`, "reported.m.speed * 2": `2960`, "reported.list[1].x": `"y"`, "reported.nothing": `null`, "connected": `false`, "size(reported.list)": `2`,
		"now - lastSeen": `3600`, "driftSince": `"2026-11-23T02:53:20Z"`, "reported.m.speed > 5": `true`, `reported.text + "!"`: `"q\"u!"`, "desired": `{"m":{"speed":1500}}`,
		"1 / 0": `null`, "alarms": `{}`, "computed.x": `null`, "reported.m.speed > 5 ? reported.text : id": `"q\"u"`, "reported.m.speed < 5 ? reported.text : id": `"a"`,
		"timestamp(\"2026-01-02T03:04:05.5Z\")": `"2026-01-02T03:04:05.5Z"`,
	} {
		got := string(w.query(fleet.Request{Select: []string{source}}).Rows[0].Values[0])
		if source == "driftSince" || source == "now - lastSeen" { // by the clock of the world
			if got == "null" {
				t.Errorf("%s is null", source)
			}
			continue
		}
		if got != want {
			t.Errorf("%s is %s, want %s", source, got, want)
		}
	}
}

func TestQuery_badInput(t *testing.T) {
	w := pumps(t, 5)
	long := make([]string, 65)
	for i := range long {
		long[i] = "id"
	}
	cursor := w.query(fleet.Request{Sort: []string{"id"}, Limit: 1}).Next
	for want, r := range map[string]fleet.Request{
		"/where: 1:17: ":                       {Where: "reported.temp > "},
		"there is no reportd":                  {Where: "reportd.temp > 5"},
		"not a boolean":                        {Where: "size(id)"},
		"over time is not part of a query":     {Where: `avg(telemetry.power, "1h") > 5`},
		"/select/1: 1:1: ":                     {Select: []string{"id", "nothing"}},
		"/sort/0: 1:1: ":                       {Sort: []string{"-nothing"}},
		"/limit: 1001 is not 1 to 1000":        {Limit: 1001},
		"/limit: -1 is not":                    {Limit: -1},
		"/select: 65 columns":                  {Select: long},
		"/cursor: this is no cursor":           {Cursor: "%"},
		"/cursor: the cursor is of another":    {Sort: []string{"model"}, Cursor: cursor},
		"/where: 1:1: the expression may cost": {Where: "reported.exists(a, reported.exists(b, reported[a] == reported[b] && reported.mode.matches('(a+)+$')))"},
	} {
		_, err := w.engine.Query(t.Context(), &r)
		var at *fleet.Error
		if !errors.As(err, &at) || !strings.Contains(at.Pointer+": "+at.Reason, want) {
			t.Errorf("%+v: got %v, want an error with %q", r, err, want)
		}
	}
}

func TestQuery_hints(t *testing.T) {
	w := pumps(t, 5)
	for where, want := range map[string]string{
		"reported.tmp > 5": "no twin has reported.tmp; did you mean reported.temp?", "reported.temp > 99": "", "tags.sit == \"x\"": "no twin has tags.sit; did you mean tags.site?",
		"telemetry.power > 5": "no twin has telemetry.power",
	} {
		if got := strings.Join(w.query(fleet.Request{Where: where}).Hints, "|"); got != want {
			t.Errorf("%s: hints %q, want %q", where, got, want)
		}
	}
}

// Figures are those of the values, taken by hand.
func TestAggregate(t *testing.T) {
	w := pumps(t, 3000)
	got, err := w.engine.Aggregate(t.Context(), &fleet.AggregateRequest{
		Where: `id != "pump-1"`, GroupBy: []string{"model", "tags.site"},
		Figures: []string{
			"count()", "count(reported.temp)", "avg(reported.temp)", "min(reported.temp)", "max(id)", "sum(reported.temp)", "p95(reported.temp)", "percentile(reported.temp, 50)",
			"distinct(reported.mode)", "top(reported.mode, 1)", "histogram(reported.temp, 2)",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Total != 6 || got.Matched != 2999 || len(got.Groups) != 6 {
		t.Fatalf("%d of %d groups over %d twins, want 6 over 2999", len(got.Groups), got.Total, got.Matched)
	}
	for _, g := range got.Groups {
		var temps []float64
		modes, last, twins := map[string]int{}, "", 0
		for i := range 3000 {
			if i == 1 || fmt.Sprintf(`"%s"`, []string{"pump", "motor"}[i%2]) != string(g.Key[0]) || fmt.Sprintf(`"s%d"`, i%3) != string(g.Key[1]) {
				continue
			}
			twins++
			last = max(last, fmt.Sprintf("pump-%d", i))
			modes[[]string{"on", "off", "on", "idle"}[i%4]]++
			if i%5 != 0 {
				temps = append(temps, float64(i%7))
			}
		}
		slices.Sort(temps)
		sum, low := 0.0, 0
		for _, x := range temps {
			sum += x
			if x < 3 {
				low++
			}
		}
		best := ""
		for m := range modes {
			if best == "" || modes[m] > modes[best] || modes[m] == modes[best] && m < best {
				best = m
			}
		}
		want := fmt.Sprintf(`[%d %d %v 0 "%s" %v %v %v %d [{"value":"%s","count":%d}] [{"from":0,"to":3,"count":%d},{"from":3,"to":6,"count":%d}]]`,
			twins, len(temps), sum/float64(len(temps)), last, sum, rank(temps, 0.95), rank(temps, 0.5), len(modes), best, modes[best], low, len(temps)-low)
		if figures := fmt.Sprintf("%s", g.Figures); figures != want {
			t.Errorf("%s %s:\n got %s\nwant %s", g.Key[0], g.Key[1], figures, want)
		}
	}
}

func rank(sorted []float64, p float64) float64 {
	at := p * float64(len(sorted)-1)
	low, rest := math.Modf(at)
	return sorted[int(low)]*(1-rest) + sorted[min(int(low)+1, len(sorted)-1)]*rest
}

func TestAggregate_badInput(t *testing.T) {
	w := pumps(t, 5)
	for want, r := range map[string]fleet.AggregateRequest{
		"/figures: no figure":                 {},
		"/figures/0: p200: a percentile":      {Figures: []string{"p200(reported.temp)"}},
		"percentile: 101 is not 0 to 100":     {Figures: []string{"percentile(reported.temp, 101)"}},
		"/figures/1: there is no figure":      {Figures: []string{"count()", "median(reported.temp)"}},
		"avg needs what it is of":             {Figures: []string{"avg()"}},
		"top has two arguments":               {Figures: []string{"top(reported.mode)"}},
		"top: 1.5 is no whole number":         {Figures: []string{"top(reported.mode, 1.5)"}},
		"is no figure":                        {Figures: []string{"count"}},
		"there is no nothing":                 {Figures: []string{"avg(nothing)"}},
		"/groupBy/0: 1:1: there is no nowher": {Figures: []string{"count()"}, GroupBy: []string{"nowhere"}},
		"/groupBy: 5 expressions":             {Figures: []string{"count()"}, GroupBy: make([]string, 5)},
		"/limit: 10001":                       {Figures: []string{"count()"}, Limit: 10001},
	} {
		_, err := w.engine.Aggregate(t.Context(), &r)
		var at *fleet.Error
		if !errors.As(err, &at) || !strings.Contains(at.Pointer+": "+at.Reason, want) {
			t.Errorf("%+v: got %v, want an error with %q", r, err, want)
		}
	}
}

// What twins do not have any more takes no memory: paths, texts, rows.
func TestIndex_forgets(t *testing.T) {
	w := pumps(t, 50)
	w.bring()
	before := w.index.Kept()
	for round := range 20 {
		for i := range 50 {
			w.update(twin.ThingName(fmt.Sprintf("pump-%d", i)), fmt.Sprintf(`{"reported":{"k%d-%d":{"at":"t%d-%d"},"mode":"m%d"}}`, round, i, round, i, round*50+i))
		}
		w.bring()
		for i := range 50 {
			w.update(twin.ThingName(fmt.Sprintf("pump-%d", i)), fmt.Sprintf(`{"reported":{"k%d-%d":null,"mode":%q}}`, round, i, []string{"on", "off", "on", "idle"}[i%4]))
		}
		w.bring()
	}
	if after := w.index.Kept(); after != before {
		t.Errorf("it keeps %+v, before %+v", after, before)
	}
	if _, err := json.Marshal(before); err != nil {
		t.Error(err)
	}
}
