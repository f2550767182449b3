package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/job"
	"github.com/twofold-iot/twofold/internal/models"
	"github.com/twofold-iot/twofold/internal/predict"
	"github.com/twofold-iot/twofold/internal/profile"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// world is the door on a real engine over the reference store, with a clock that the
// test sets.
type world struct {
	store *store.Memory
	*api
	engine    *engine.Engine
	connected map[twin.ThingName]bool
	samples   samples
	jobs      *job.Service
	backup    rest.Backup // what a backup does

	mu    sync.Mutex
	now   time.Time
	watch predict.Rules // of all things
}

func (w *world) rules(twin.ThingName) predict.Rules { return w.watch }

func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// managed is what the server makes of an engine.
type managed struct{ *engine.Engine }

func (m managed) Managed(ctx context.Context, model string, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	records, err := m.Records(ctx, twin.RecordTwin, "", string(after), 1000)
	var things []twin.ThingName
	for _, r := range records {
		if thing := twin.ThingName(r.Key); len(things) < limit && (model == "" || m.Attributes(thing).Model == model) {
			things = append(things, thing)
		}
	}
	return things, err
}

func (m managed) ThingsOfModel(ctx context.Context, model string, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	return m.Managed(ctx, model, after, limit)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), connected: map[twin.ThingName]bool{}}
	log := &bytes.Buffer{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	s := store.NewMemory()
	registry, err := models.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	all := &allTwins{}
	e, err := engine.Open(logger, s, engine.Options{Now: w.Now, Models: registry, Settled: all.settled, Intents: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := registry.Load(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	all.open(t, e, w)
	m := managed{e}
	past, connected := history.New(s, m), func(thing twin.ThingName) bool { return w.connected[thing] }
	jobs := newJobs(t, e, s, w.Now)
	viewer := &models.Viewer{
		Registry: registry, Samples: telemetry.NewReader(s), History: past, Connected: connected, Now: e.Now,
		LastSeen: func(twin.ThingName) twin.Time { return 0 },
	}
	watch, err := predict.New(logger, e, predict.Options{Samples: telemetry.NewReader(s), History: past, Now: e.Now, Rules: w.rules})
	if err != nil {
		t.Fatal(err)
	}
	h := rest.New(logger, e, rest.Options{
		Predictions: watch,
		NewID:       func() string { return "01ID" }, Now: w.Now,
		Past: past, Twins: m, Storage: w.storage, Backup: w.back, Mirror: e, Telemetry: &w.samples, Samples: telemetry.NewReader(s), Commands: newCommands(t, e, w.Now), Jobs: jobs, Artifacts: jobs, Expand: expand(jobs), Webhooks: newWebhooks(t, e, s, w.Now),
		Fleet: all.queries, Connected: connected, Models: registry, Alarms: registry, Computed: viewer, Behaviours: viewer, Learner: &profile.Learner{History: past, Samples: telemetry.NewReader(s)}, Groups: newGroups(t, e, all.queries), Intents: e,
	})
	w.jobs = jobs
	w.store, w.engine, w.api = s, e, &api{t: t, handler: h, log: log, conform: newConformer(t, h)}
	return w
}

// back writes a backup of nothing, or does what a test wants.
func (w *world) back(ctx context.Context, out io.Writer) error {
	if w.backup != nil {
		return w.backup(ctx, out)
	}
	_, err := io.WriteString(out, "whole")
	return err
}

// storage is that of a server which has hardly run.
func (w *world) storage(context.Context) (rest.StorageReport, error) {
	growth := uint64(1000)
	r := rest.StorageReport{
		UsedBytes: 3000, FreeBytes: 12_500, GrowthBytes: &growth, Things: 1,
		Kinds: []rest.StorageKind{{Kind: "history", Bytes: 2000}}, Days: []rest.StorageDay{{Day: "2026-11-21", Bytes: 1000}, {Day: "2026-11-22", Bytes: 500}},
		Largest: []rest.StorageThing{{Thing: "pump-7", Events: 9}}, Retention: rest.StorageRetention{History: "90d", Events: "1y"},
	}
	r.Forecast(w.now, 0)
	return r, nil
}

// append adds an entry to the log of a thing.
func (w *world) append(t *testing.T, en twin.Entry) {
	t.Helper()
	done := make(chan twin.EntryResult, 1)
	if err := w.engine.Append(en, func(r twin.EntryResult) { done <- r }); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.Err != nil || !r.Written {
		t.Fatalf("append %+v: %+v", en, r)
	}
}

func (w *world) connects(t *testing.T, thing twin.ThingName) {
	t.Helper()
	w.connected[thing] = true
	w.append(t, twin.Entry{Event: twin.Event{Thing: thing, Kind: twin.EventConnected, Origin: twin.Origin{Door: twin.DoorMQTT, Session: string(thing)}}})
}

// pump lives through three hours: 40 °C, an hour later 42, an hour later it is asked for
// 21, an hour later 44; then it is read.
func (w *world) pump(t *testing.T) {
	t.Helper()
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"temperature":40,"mode":"running"}`)
	w.connects(t, "pump-7")
	w.pass(time.Hour)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"temperature":42}`)
	w.pass(time.Hour)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/desired", `{"tempSetpoint":21}`)
	w.pass(time.Hour)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"temperature":44.5}`)
}

// wantJSON compares two documents as values.
func wantJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, x any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &x); err != nil {
		t.Fatalf("%v: %s", err, want)
	}
	if d := cmp.Diff(x, g); d != "" {
		t.Errorf("body (-want +got):\n%s", d)
	}
}

func TestTwin_sample(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	for _, path := range []string{"/twins/pump-7", "/api/v1/twins/pump-7"} {
		res := w.ok(t, "GET", path, "")
		if got := res.Header().Get("ETag"); got != `"v4"` {
			t.Errorf("ETag %s", got)
		}
		// 40 and 42 were in force for an hour and two, the window is what there is.
		wantJSON(t, res.Body.String(), `{
			"deviceId": "pump-7", "version": 4, "connected": true, "lastSeen": "2026-11-22T15:00:00.000Z",
			"currentState": {"temperature": 44.5, "mode": "running"}, "desiredState": {"tempSetpoint": 21}, "delta": {"tempSetpoint": 21},
			"metadata": {"reported": {"temperature": {"timestamp": 1795359600}, "mode": {"timestamp": 1795348800}},
				"desired": {"tempSetpoint": {"timestamp": 1795356000}}},
			"history": [
				{"timestamp": "2026-11-22T15:00:00.000Z", "version": 4, "state": {"temperature": 44.5, "mode": "running"}},
				{"timestamp": "2026-11-22T13:00:00.000Z", "version": 2, "state": {"temperature": 42, "mode": "running"}},
				{"timestamp": "2026-11-22T12:00:00.000Z", "version": 1, "state": {"temperature": 40, "mode": "running"}}],
			"computed": {"uptimeHours": 3, "avgTemperature": 41.3333336, "anomalyScore": null, "predictedFailureDate": null},
			"why": {"anomalyScore": "not enough data: 3 of 21 samples", "predictedFailureDate": "the model of the thing does not say when it has failed: give it a failure section"}}`)
	}
	var without map[string]any
	if err := json.Unmarshal(w.ok(t, "GET", "/twins/pump-7?history=false", "").Body.Bytes(), &without); err != nil {
		t.Fatal(err)
	}
	if _, ok := without["history"]; ok || without["computed"] == nil {
		t.Errorf("history=false: %v", without)
	}
}

func TestTwin_historyPages(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	var versions []float64
	target := "/twins/pump-7?limit=1"
	for range 10 {
		var page struct {
			History                             []map[string]any
			HistoryNext, HistoryFrom, HistoryTo string
		}
		if err := json.Unmarshal(w.ok(t, "GET", target, "").Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		for _, h := range page.History {
			versions = append(versions, h["version"].(float64))
		}
		if page.HistoryNext == "" {
			break
		}
		target = "/twins/pump-7?limit=1&from=" + page.HistoryFrom + "&to=" + page.HistoryTo + "&cursor=" + page.HistoryNext
		w.pass(time.Minute) // the window does not move with the clock
	}
	if d := cmp.Diff([]float64{4, 2, 1}, versions); d != "" {
		t.Error(d)
	}
}

func TestTwin_uptime(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "PATCH", "/api/v1/twins/a/reported", `{"x":1}`)
	w.pass(90 * time.Minute)
	hours := func() (any, string) {
		var doc struct {
			Computed map[string]any
			Why      map[string]string
		}
		if err := json.Unmarshal(w.ok(t, "GET", "/twins/a", "").Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		return doc.Computed["uptimeHours"], doc.Why["uptimeHours"]
	}
	if got, _ := hours(); got != 1.5 {
		t.Errorf("never connected: %v hours since first contact, want 1.5", got)
	}
	w.connects(t, "a")
	w.pass(time.Hour)
	if got, _ := hours(); got != 1.0 {
		t.Errorf("connected for an hour: %v", got)
	}
	w.connected["a"] = false // the server has crashed, say: the log knows of no disconnect
	if got, why := hours(); got != nil || why != "the thing is not connected" {
		t.Errorf("not connected: %v, why %q", got, why)
	}
}

func TestTwin_past(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	first := `{"deviceId":"pump-7","version":1,"asOf":"2026-11-22T12:00:00.000Z","lastSeen":"2026-11-22T12:00:00Z","currentState":{"temperature":40,"mode":"running"},` +
		`"metadata":{"reported":{"temperature":{"timestamp":1795348800},"mode":{"timestamp":1795348800}}}}`
	for _, query := range []string{"version=1", "at=2026-11-22T12:00:00Z", "at=2026-11-22T12:59:59.999Z", "at=2026-11-22T13:30:00%2B01:00"} {
		want(t, w.call("GET", "/twins/pump-7?"+query, ""), 200, first)
	}
	if got := w.ok(t, "GET", "/twins/pump-7?at=2026-11-22T13:00:00Z", "").Body.String(); !strings.Contains(got, `"version":2`) {
		t.Errorf("the instant of an event does not include it: %s", got)
	}
	w.ok(t, "DELETE", "/api/v1/twins/pump-7", "")
	want(t, w.call("GET", "/twins/pump-7?version=1", ""), 200, first) // history outlives the shadow
	for query, detail := range map[string]string{
		"at=2026-11-22T11:00:00Z": "has no state for 2026-11-22T11:00:00.000Z: the first is of 2026-11-22T12:00:00.000Z, version 1",
		"version=99":              "has no state for version 99",
		"at=2026-11-22T15:00:00Z": "was deleted at 2026-11-22T15:00:00.000Z",
	} {
		if res := w.call("GET", "/twins/pump-7?"+query, ""); res.Code != 404 || !strings.Contains(res.Body.String(), detail) {
			t.Errorf("%s: %d %s", query, res.Code, res.Body)
		}
	}
}

func TestHistory(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported?shadow=net", `{"rssi":-40}`)
	res := w.ok(t, "GET", "/api/v1/twins/pump-7/history?limit=2&order=oldest", "")
	if !strings.HasPrefix(res.Header().Get("Link"), "</api/v1/twins/pump-7/history?cursor=") {
		t.Errorf("Link %s", res.Header().Get("Link"))
	}
	var page struct{ Next string }
	if err := json.Unmarshal(res.Body.Bytes(), &page); err != nil {
		t.Fatal(err)
	}
	wantJSON(t, strings.Replace(res.Body.String(), page.Next, "N", 1), `{"deviceId":"pump-7","next":"N","states":[
		{"timestamp":"2026-11-22T12:00:00.000Z","version":1,"seq":1,"kind":"updated","door":"rest","by":"192.0.2.1","reported":{"temperature":40,"mode":"running"}},
		{"timestamp":"2026-11-22T13:00:00.000Z","version":2,"seq":3,"kind":"updated","door":"rest","by":"192.0.2.1","reported":{"temperature":42,"mode":"running"}}]}`)
	res = w.ok(t, "GET", "/api/v1/twins/pump-7/history?order=oldest&form=patches&cursor="+page.Next, "")
	wantJSON(t, res.Body.String(), `{"deviceId":"pump-7","states":[
		{"timestamp":"2026-11-22T14:00:00.000Z","version":3,"seq":4,"kind":"updated","door":"rest","by":"192.0.2.1","patch":{"desired":{"tempSetpoint":21}}},
		{"timestamp":"2026-11-22T15:00:00.000Z","version":4,"seq":5,"kind":"updated","door":"rest","by":"192.0.2.1","patch":{"reported":{"temperature":44.5}}}]}`)
	if got := w.ok(t, "GET", "/api/v1/twins/pump-7/history?allShadows=true&limit=1", "").Body.String(); !strings.Contains(got, `"shadow":"net"`) {
		t.Errorf("all shadows, newest: %s", got)
	}
	if got := w.ok(t, "GET", "/api/v1/twins/pump-7/history?fromVersion=2&toVersion=3&format=ndjson", "").Body.String(); strings.Count(got, "\n") != 2 ||
		!strings.HasPrefix(got, `{"timestamp":"2026-11-22T14:00:00.000Z","version":3,`) {
		t.Errorf("versions 2 to 3: %s", got)
	}
}

func TestHistory_csv(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "PATCH", "/api/v1/twins/a/reported", `{"t":-1.50,"note":"=1+1","s":"x, y","n":{"a.b":[1,2],"e":{}}}`)
	w.ok(t, "PATCH", "/api/v1/twins/a/desired", `{"t":2,"s":"7"}`)
	res := w.ok(t, "GET", "/api/v1/twins/a/history?format=csv", "")
	if got := res.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/csv") {
		t.Error(got)
	}
	// Numbers as sent; a string that looks like a number or a formula keeps its quotes.
	want(t, res, 200, `timestamp,thing,shadow,version,seq,kind,door,by,reported.t,reported.note,reported.s,"reported.n.""a.b""",reported.n.e,desired.t,desired.s
2026-11-22T12:00:00.000Z,,,2,2,updated,rest,192.0.2.1,-1.50,"""=1+1""","x, y","[1,2]",{},2,"""7"""
2026-11-22T12:00:00.000Z,,,1,1,updated,rest,192.0.2.1,-1.50,"""=1+1""","x, y","[1,2]",{},,`)
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	res := w.call("POST", "/api/v1/twins/pump-7/events", `{"type":"error","message":"Pressure high","severity":"error","correlationId":"job-9","time":"2026-11-22T14:59:00Z","data":{"bar": 9.50}}`, "Content-Type: application/json")
	want(t, res, 201, `{"thing":"pump-7","seq":6,"kind":"reported","time":"2026-11-22T15:00:00.000Z","originTime":"2026-11-22T14:59:00.000Z","door":"rest","by":"192.0.2.1",`+
		`"type":"error","severity":"error","message":"Pressure high","correlationId":"job-9","data":{"bar":9.50}}`)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"temperature":45}`)
	for query, seqs := range map[string][]float64{
		"":                           {7, 6, 5, 4, 3, 2, 1},
		"order=oldest&limit=2":       {1, 2},
		"kind=reported":              {6},
		"kind=reported,connected":    {6, 2},
		"severity=warning":           {6},
		"severity=critical":          {},
		"text=PRESSURE":              {6},
		"correlation=job-9":          {6},
		"type=error":                 {6},
		"to=2026-11-22T13:00:00Z":    {2, 1},
		"from=2026-11-22T15:00:00Z":  {7, 6, 5},
		"kind=updated&text=setpoint": {4},
	} {
		var page struct{ Events []map[string]any }
		if err := json.Unmarshal(w.ok(t, "GET", "/api/v1/twins/pump-7/events?"+query, "").Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		got := []float64{}
		for _, e := range page.Events {
			got = append(got, e["seq"].(float64))
		}
		if d := cmp.Diff(seqs, got); d != "" {
			t.Errorf("%s: %s", query, d)
		}
	}
	if res := w.call("POST", "/api/v1/twins/unknown/events", `{"type":"error"}`); res.Code != 404 {
		t.Errorf("an event made a twin: %d %s", res.Code, res.Body)
	}
}

func TestDiff(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	doc := `{"deviceId":"pump-7","from":{"exists":true,"version":1,"timestamp":"2026-11-22T12:00:00.000Z","seq":1},"to":{"exists":true,"version":4,"timestamp":"2026-11-22T15:00:00.000Z","seq":5},` +
		`"changes":[{"path":"desired.tempSetpoint","op":"added","after":21},{"path":"reported.temperature","op":"changed","before":40,"after":44.5}],` +
		`"patch":{"desired":{"tempSetpoint":21},"reported":{"temperature":44.5}}}`
	for _, query := range []string{"from=v1&to=v4", "from=v1", "from=2026-11-22T12:10:00Z&to=2026-11-22T15:00:00Z"} {
		want(t, w.call("GET", "/api/v1/twins/pump-7/diff?"+query, ""), 200, doc)
	}
}

func TestSeries(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	want(t, w.call("GET", "/api/v1/twins/pump-7/series?path=reported.temperature&from=2026-11-22T12:30:00Z&to=2026-11-22T14:00:00Z", ""), 200,
		`{"deviceId":"pump-7","path":"reported.temperature","from":"2026-11-22T12:30:00.000Z","until":"2026-11-22T14:00:00.000Z","complete":true,`+
			`"samples":[{"timestamp":"2026-11-22T12:30:00.000Z","value":40},{"timestamp":"2026-11-22T13:00:00.000Z","value":42}]}`)
}

func TestPast_badInput(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	var page struct{ Next string }
	if err := json.Unmarshal(w.ok(t, "GET", "/api/v1/twins/pump-7/history?limit=1", "").Body.Bytes(), &page); err != nil {
		t.Fatal(err)
	}
	edited := "B" + page.Next[1:]
	if page.Next[0] == 'B' {
		edited = "C" + page.Next[1:]
	}
	base := "/api/v1/twins/pump-7/"
	for _, c := range []struct{ target, parameter, detail string }{
		{base + "history?cursor=" + edited, "cursor", "cursor"},
		{base + "history?cursor=%00", "cursor", "damaged"},
		{base + "history?order=oldest&cursor=" + page.Next, "cursor", "belongs to another query"},
		{base + "history?from=2026-11-22T12:00:00Z&to=2026-11-22T11:00:00Z", "from", "is after to"},
		{base + "history?limit=1000000000", "limit", "between 1 and 10000"},
		{base + "history?limit=-1", "limit", "between 1 and 10000"},
		{base + "history?to=2106-02-07T06:28:16Z", "to", "in the future"},
		{base + "history?from=yesterday", "from", "RFC 3339"},
		{base + "history?from=2026-11-22T12:00:00+01:00", "from", "%2B"},
		{base + "history?from=1969-01-01T00:00:00Z", "from", "1970"},
		{base + "history?form=states&fromVersion=3&toVersion=2", "fromVersion", "after toVersion"},
		{base + "history?format=xml", "format", "json, ndjson, csv"},
		{base + "history?form=x", "form", "states, patches"},
		{base + "history?since=x", "since", "no parameter here"},
		{base + "events?kind=unheard", "kind", "updated, deleted"},
		{base + "events?severity=bad", "severity", "info, warning"},
		{base + "events?text=" + strings.Repeat("x", 257), "text", "limit"},
		{base + "diff?from=v0", "from", "no version"},
		{base + "diff?to=v1", "from", "needs"},
		{base + "diff?from=2026-11-22T14:00:00Z&to=2026-11-22T13:00:00Z", "from", "after to"},
		{base + "series?path=temperature", "path", "reported or desired"},
		{base + "series", "path", "needs"},
		{"/twins/pump-7?at=2106-01-01T00:00:00Z", "at", "in the future"},
		{"/twins/pump-7?at=2026-11-22T12:00:00Z&version=1", "version", "one of them"},
		{"/twins/pump-7?version=1&limit=4", "limit", "no history"},
		{"/twins/pump-7?version=x", "version", "whole number"},
		{"/twins/pump-7?limit=1001", "limit", "between 1 and 1000"},
		{"/twins/pump-7?cursor=x", "cursor", "one window"},
		{"/api/v1/history", "model", "needs"},
		{"/api/v1/history?model=pump&limit=1001", "limit", "1000"},
	} {
		res := w.call("GET", strings.ReplaceAll(c.target, " ", "+"), "")
		var p struct{ Detail, Parameter string }
		if err := json.Unmarshal(res.Body.Bytes(), &p); err != nil {
			t.Fatalf("%s: %v: %s", c.target, err, res.Body)
		}
		if res.Code != 400 || p.Parameter != c.parameter || !strings.Contains(p.Detail, c.detail) {
			t.Errorf("%s: %d %s, want parameter %s and %q", c.target, res.Code, res.Body, c.parameter, c.detail)
		}
	}
	for body, pointer := range map[string]string{
		`{}`: "#/type", `{"type":"a\u0007"}`: "#/type", `{"type":7}`: "#/type", `{"type":"e","severity":"bad"}`: "#/severity",
		`{"type":"e","massage":"x"}`: "#/massage", `{"type":"e","time":"2106-01-01T00:00:00Z"}`: "#/time", `[]`: "#", `{"type":"e"} {}`: "#",
		`{"type":"e","message":"` + strings.Repeat("x", 2049) + `"}`: "#/message",
		`{"type":"e","data":"` + strings.Repeat("x", 8192) + `"}`:    "#/data",
	} {
		res := w.call("POST", base+"events", body)
		var p struct{ Pointer string }
		if err := json.Unmarshal(res.Body.Bytes(), &p); err != nil || res.Code != 400 || p.Pointer != pointer {
			t.Errorf("%.80s: %d %s, want pointer %s", body, res.Code, res.Body, pointer)
		}
	}
	var events struct{ Events []any }
	if err := json.Unmarshal(w.ok(t, "GET", base+"events", "").Body.Bytes(), &events); err != nil || len(events.Events) != 5 {
		t.Errorf("bad input left something behind: %d events, %v", len(events.Events), err)
	}
}
