package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/twin"
)

// samples keeps telemetry as a queue and a disk do: rows are acknowledged in order, by
// another goroutine, unless hold is set.
type samples struct {
	mu      sync.Mutex
	rows    []string // on disk
	refuse  func(call int) error
	sync    func(call int) error // outcome of a batch
	calls   int
	batches []int
	hold    bool
	held    []func()
}

func (s *samples) Ingest(rows []twin.Row, durable bool, done func(error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.refuse != nil {
		if err := s.refuse(s.calls); err != nil {
			return err
		}
	}
	if !durable {
		return errors.New("http waits for the disk")
	}
	s.batches = append(s.batches, len(rows))
	var texts []string
	for _, r := range rows {
		text := fmt.Sprintf("%s %+d", r.Thing, r.Time-r.Arrival)
		for _, m := range r.Values {
			v := fmt.Sprint(m.Value.Number)
			switch m.Value.Type {
			case twin.ValueBool:
				v = fmt.Sprint(m.Value.Number == 1)
			case twin.ValueText:
				v = fmt.Sprintf("%q", m.Value.Text)
			}
			text += " " + string(m.Metric) + "=" + v
		}
		texts = append(texts, text)
	}
	clear(rows) // the rows belong to the caller again
	call := s.calls
	finish := func() {
		s.mu.Lock()
		var err error
		if s.sync != nil {
			err = s.sync(call)
		}
		if err == nil {
			s.rows = append(s.rows, texts...)
		}
		s.mu.Unlock()
		done(err)
	}
	if s.hold {
		s.held = append(s.held, finish)
		return nil
	}
	go finish()
	return nil
}

func (s *samples) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := s.rows
	s.rows = nil
	slices.Sort(rows) // two batches may be acknowledged at once
	return rows
}

func (s *samples) want(t *testing.T, rows ...string) {
	t.Helper()
	slices.Sort(rows)
	if got := s.take(); !slices.Equal(got, rows) {
		t.Errorf("got  %q\nwant %q", got, rows)
	}
}

func telemetryAPI(t *testing.T) (*api, *samples) {
	f, log, s := newFake(), &bytes.Buffer{}, &samples{}
	h := rest.New(slog.New(slog.NewTextHandler(log, nil)), f, rest.Options{
		NewID: func() string { return "01ID" }, Now: f.now.Std, Telemetry: s,
	})
	return &api{f, t, h, log, newConformer(t, h)}, s
}

const (
	asLines = "Content-Type: application/x-ndjson"
	asTable = "Content-Type: text/csv; charset=utf-8"
	asArray = "Content-Type: application/json"
)

func TestTelemetry_thing(t *testing.T) {
	a, s := telemetryAPI(t)
	want(t, a.ok(t, "POST", "/api/v1/twins/pump-7/telemetry", `[{"a":1,"b":{"c":true}},{"ts":"2026-11-22T20:25:30Z","a":2}]`), 200, `{"accepted":2,"rejected":0}`)
	s.want(t, "pump-7 +0 a=1 b.c=true", "pump-7 -1000 a=2")
	want(t, a.ok(t, "POST", "/api/v1/twins/pump-7/telemetry", `{"a":null}`), 200, `{"accepted":0,"rejected":0}`)
	f := func(id, body string, status int, parts ...string) {
		t.Helper()
		w := a.call("POST", "/api/v1/twins/"+id+"/telemetry", body)
		for _, part := range parts {
			if w.Code != status || !strings.Contains(w.Body.String(), part) {
				t.Errorf("%.60s: %d %s, want %d and %s", body, w.Code, w.Body, status, part)
			}
		}
	}
	f("pump-7", `[{"a":1},{"m":{"s":1e999}}]`, 400, `"pointer":"#/1/m/s"`, `"detail":"Invalid telemetry: /1/m/s: 1e999 is outside of the numbers`)
	f("pump-7", `21`, 400, "a point is a JSON object")
	f("pump-7", ``, 400, "it is empty")
	f("pump-7", `{"ts":1795379131,"a":1}`, 400, "it looks like seconds")
	f("pump-7", `{"`+strings.Repeat("n", 300)+`":1}`, 400, "the limit is 128")
	f("pump-7", `{"a":"`+strings.Repeat("n", 2<<20)+`"}`, 413, "longer than 1048576 bytes")
	f("pump-7", `{`+strings.Repeat(`"a":1,`, 10_000)+`"b":1}`, 400, "given twice")
	f("no%20thing", `{"a":1}`, 400, "no thing name")
	if w := a.call("POST", "/api/v1/twins/pump-7/telemetry", "a=1", "Content-Type: application/x-www-form-urlencoded"); w.Code != 415 {
		t.Errorf("form: %d %s", w.Code, w.Body)
	}
	s.refuse = func(int) error { return twin.NewError(twin.KindFull, "Too much telemetry is waiting") }
	f("pump-7", `{"a":1}`, 507, "Too much telemetry is waiting")
	s.refuse, s.sync = nil, func(int) error { return errors.New("disk secret") }
	f("pump-7", `{"a":1}`, 500, "Internal service failure")
	s.want(t)
}

func TestTelemetry_afterSync(t *testing.T) {
	a, s := telemetryAPI(t)
	s.hold = true
	ctx, cancel := context.WithCancel(context.Background())
	for _, target := range []string{"/api/v1/twins/pump-7/telemetry", "/api/v1/telemetry"} {
		answered := make(chan int, 1)
		r := httptest.NewRequestWithContext(ctx, "POST", target, strings.NewReader(`{"thing":"pump-7","a":1}`))
		w := httptest.NewRecorder()
		go func() { a.handler.ServeHTTP(w, r); answered <- w.Code }()
		held := func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.held) > 0 }
		for deadline := time.Now().Add(10 * time.Second); !held() && time.Now().Before(deadline); {
			select {
			case code := <-answered:
				t.Fatalf("%s: %d before the rows were taken", target, code)
			case <-time.After(time.Millisecond):
			}
		}
		select {
		case code := <-answered:
			t.Fatalf("%s: %d before the sync", target, code)
		case <-time.After(20 * time.Millisecond):
		}
		s.held[0]()
		s.held = nil
		if code := <-answered; code != 200 {
			t.Errorf("%s: %d", target, code)
		}
	}
	cancel() // a client that is gone is told nothing, and nothing waits for it
	r := httptest.NewRequestWithContext(ctx, "POST", "/api/v1/telemetry", strings.NewReader(`{"thing":"pump-7","a":1}`))
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	if w.Code != 503 {
		t.Errorf("client gone: %d", w.Code)
	}
}

func TestTelemetry_ndjson(t *testing.T) {
	a, s := telemetryAPI(t)
	body := "\ufeff" + `{"thing":"pump-7","a":1,"b":{"c":true}}` + "\r\n\n" +
		`{"thing":"pump-8","ts":"2026-11-22T20:25:30Z","values":{"a":"x"}}` + "\n" +
		`{"thing":"pump-8","values":{"thing":1}}` + "\n" + `{"thing":"pump-9","a":null}`
	want(t, a.ok(t, "POST", "/api/v1/telemetry", body, asLines), 200, `{"accepted":4,"rejected":0}`)
	s.want(t, "pump-7 +0 a=1 b.c=true", `pump-8 -1000 a="x"`, "pump-8 +0 thing=1")
	want(t, a.ok(t, "POST", "/api/v1/telemetry", "", asLines), 200, `{"accepted":0,"rejected":0}`)
	want(t, a.ok(t, "POST", "/api/v1/telemetry", `{"thing":"x","a":null}`, asLines), 200, `{"accepted":1,"rejected":0}`)
}

// Line 7 of 1,000 is broken: 999 are stored, line 7 is reported.
func TestTelemetry_line7(t *testing.T) {
	a, s := telemetryAPI(t)
	var lines, table, array strings.Builder
	table.WriteString("thing,ts,metric,value\n")
	for i := 1; i <= 1000; i++ {
		separator := ","
		if i == 1000 {
			separator = ""
		}
		if i == 7 {
			lines.WriteString(`{"thing":"pump-7","a":NaN}` + "\n")
			table.WriteString("pump-7,,a,NaN\n")
			array.WriteString(`{"thing":"pump-7","a":1e999},`)
			continue
		}
		fmt.Fprintf(&lines, "{\"thing\":\"pump-%d\",\"a\":1}\n", i)
		fmt.Fprintf(&table, "pump-%d,,a,1\n", i)
		fmt.Fprintf(&array, `{"thing":"pump-%d","a":1}%s`, i, separator)
	}
	for _, c := range [][3]string{
		{asLines, lines.String(), `{"line":7,"pointer":"/a","message":"Invalid telemetry: /a: it is not valid JSON at byte 22: invalid character 'N' at start of value; JSON has no NaN and no Infinity: leave the metric out, or send null"}`},
		{asTable, table.String(), `{"line":8,"message":"a: NaN is no number that can be kept; leave the field empty"}`},
		{asArray, "[" + array.String() + "]", `{"line":7,"pointer":"/a","message":"Invalid telemetry: /a: 1e999 is outside of the numbers of 64 bits (IEEE 754)"}`},
	} {
		want(t, a.ok(t, "POST", "/api/v1/telemetry", c[1], c[0]), 200, `{"accepted":999,"rejected":1,"errors":[`+c[2]+`]}`)
		if got := s.take(); len(got) != 999 {
			t.Errorf("%s: %d rows", c[0], len(got))
		}
	}
}

func TestTelemetry_bulkErrors(t *testing.T) {
	a, s := telemetryAPI(t)
	f := func(contentType, body string, accepted, rejected int, parts ...string) {
		t.Helper()
		w := a.call("POST", "/api/v1/telemetry", body, contentType)
		var got struct {
			Accepted, Rejected int
			Errors             []struct{ Line int }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		status := 200
		if accepted == 0 {
			status = 400
		}
		if w.Code != status || got.Accepted != accepted || got.Rejected != rejected || len(s.take()) != accepted {
			t.Errorf("%.70q: %d %s, want %d with %d and %d", body, w.Code, w.Body, status, accepted, rejected)
		}
		for _, part := range parts {
			if !strings.Contains(w.Body.String(), part) {
				t.Errorf("%.70q: %s, want %s", body, w.Body, part)
			}
		}
	}
	good := `{"thing":"x","a":1}`
	f(asLines, good+"\nhello\n[1]\n"+`{"a":1}`+"\n"+good+good+"\n"+good, 2, 4, `"line":2,`, `"line":3,`, `"line":4,`, `"line":5,`, "there is more after the JSON value", `\"thing\" is missing`)
	f(asLines, "hello", 0, 1, `"detail":"none of 1 lines is accepted; line 1: Invalid telemetry: it is not valid JSON at byte 0`, `/problems/invalid-request`)
	f(asLines, `{"thing":"x","a":"`+strings.Repeat("x", 100<<10)+`"}`+"\n"+good, 1, 1, `{"line":1,"message":"the line is longer than 65536 bytes"}`)
	f(asLines, good+"\n"+strings.Repeat("x", 1<<20), 1, 1, `"line":2`)
	f(asLines, good+strings.Repeat("\nx", 500), 1, 500, `"line":101`)
	f(asLines, good+"\n"+`{"thing":"x","a":1,"ts":4294967296000}`, 1, 1, `"line":2,"pointer":"/ts","message":"Invalid telemetry: /ts: ts 4294967296000 is 2106-02-07T06:28:16.000Z, more than`)
	f(asArray, "["+good+","+good+",x]", 2, 1, `"line":3,"message":"it is not valid JSON: invalid character 'x' looking for beginning of value; what follows is not read"`)
	f(asArray, "["+good+","+good, 2, 1, "the body ends before the JSON value does")
	f(asArray, "["+good+"]"+good, 1, 1, "for one object per line the Content-Type is application/x-ndjson")
	f(asArray, good+good, 1, 1, "for one object per line")
	f(asArray, "", 0, 1, "the body ends before the JSON value does")
	f(asArray, "[1]", 0, 1, "not a number")
	f(asArray, `[{"thing":"x","a":"`+strings.Repeat("x", 100<<10)+`"},`+good+"]", 0, 1, "the element is longer than 65536 bytes; what follows is not read")
	f(asArray, "["+good+","+`{"thing":"x","a":"`+strings.Repeat("x", 60<<10)+`"},`+good+"]", 2, 1, "the text has 61440 bytes")
	w := a.call("POST", "/api/v1/telemetry", strings.Repeat("\nx", 500), asLines)
	if got := strings.Count(w.Body.String(), `"line":`); got != 100 {
		t.Errorf("%d errors are listed, want 100", got)
	}
	want(t, a.ok(t, "POST", "/api/v1/telemetry", "[]"), 200, `{"accepted":0,"rejected":0}`)
	if w := a.call("POST", "/api/v1/telemetry", good, "Content-Type: text/plain"); w.Code != 415 || !strings.Contains(w.Body.String(), "application/json, application/x-ndjson, text/csv") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTelemetry_csv(t *testing.T) {
	a, s := telemetryAPI(t)
	f := func(body string, rows ...string) {
		t.Helper()
		w := a.call("POST", "/api/v1/telemetry", body, asTable)
		if w.Code != 200 || !strings.Contains(w.Body.String(), `"rejected":0`) {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
		s.want(t, rows...)
	}
	f("thing,ts,temperature,on,mode\r\npump-7,2026-11-22T20:25:30Z,21.5,true,eco\r\npump-8,,-1e3,False,\"a \"\"b\"\", c\"\r\npump-9,,,,\r\n",
		`pump-7 -1000 temperature=21.5 on=true mode="eco"`, `pump-8 +0 temperature=-1000 on=false mode="a \"b\", c"`)
	f("value,metric,thing\n21.5,a,pump-7\n,b,pump-7\n", "pump-7 +0 a=21.5")
	f("thing,ts,metric,value\nx,1795379130000,a,1\nx,1795379130000,b,2\nx,1795379130000,a,3\ny,1795379130000,c,4\nx,1795379130001,a,5\n",
		"x -1000 a=1 b=2", "x -1000 a=3", "y -1000 c=4", "x -999 a=5")
	f("\ufeffthing,metric\nx,5\n", "x +0 metric=5") // one of the two words alone is a metric
	f("thing,\"a,b\"\nx,.5\n", "x +0 a,b=0.5")
	f("thing,a\n") // no line
	bad := func(body, want string) {
		t.Helper()
		w := a.call("POST", "/api/v1/telemetry", body, asTable)
		if w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q: %d %s, want %s", body, w.Code, w.Body, want)
		}
	}
	bad("", "the body is empty; it begins with a header")
	bad("ts,a\n", "the header, line 1: there is no column thing")
	bad("thing,ts\n", "no column with values")
	bad("thing,a,a\n", `the column \"a\" is there twice`)
	bad("thing,\n", "column 2: Invalid metric name: it is empty")
	bad("thing,"+strings.Repeat("n", 300)+"\n", "the limit is 128")
	bad("thing,\"a\n", "the quote is not closed")
	line := func(body, want string) {
		t.Helper()
		bad(body, `"errors":[{"line":2,"message":"`+want)
	}
	line("thing,a\nx\n", "the line has 1 fields, the header has 2")
	line("thing,a\nx,1,2\n", "the line has 3 fields, the header has 2")
	line("thing,a\nno thing,1\n", `thing: \"no thing\" is no thing name`)
	line("thing,a\n,1\n", `thing: \"\" is no thing name`)
	line("thing,ts,a\nx,1795379131,1\n", "ts 1795379131 is 1970-01-21T")
	line("thing,a\nx,1e999\n", "a: 1e999 is outside")
	line("thing,a\nx,-Infinity\n", "a: -Infinity is no number")
	line("thing,a\nx,\"open\n", "field 2: the quote is not closed on the line")
	line("thing,a\nx,\"b\"c\n", "field 2: there is more after the closing quote")
	line("thing,a\nx,b\"c\n", "field 2 has a quote inside")
	line("thing,a\nx,\xff\n", "a: the text is not UTF-8")
	line("thing,a\nx,"+strings.Repeat("y", 1025)+"\n", "a: the text has 1025 bytes")
	line("thing,metric,value\nx,,1\n", "Invalid metric name: it is empty")
	f("thing,a\nx,0x10\nx,1_000\nx,12abc\nx,--\n", `x +0 a="0x10"`, `x +0 a="1_000"`, `x +0 a="12abc"`, `x +0 a="--"`)
	s.want(t)
}

// A body that is longer than a batch is read on while batches are written, no further
// than some ahead; a queue that is full slows the reading.
func TestTelemetry_backpressure(t *testing.T) {
	a, s := telemetryAPI(t)
	const lines = 25_000
	s.refuse = func(call int) error {
		if call%3 != 0 {
			return twin.NewError(twin.KindFull, "full")
		}
		return nil
	}
	body, w := io.Pipe()
	go func() {
		for i := range lines {
			fmt.Fprintf(w, "{\"thing\":\"pump-%d\",\"a\":%d}\n", i%10, i)
		}
		w.Close()
	}()
	r := httptest.NewRequest("POST", "/api/v1/telemetry", body)
	r.Header.Set("Content-Type", "application/x-ndjson")
	answer := httptest.NewRecorder()
	a.handler.ServeHTTP(answer, r)
	want(t, answer, 200, fmt.Sprintf(`{"accepted":%d,"rejected":0}`, lines))
	if got := len(s.take()); got != lines || slices.Max(s.batches) > 1000 || len(s.batches) != lines/1000 {
		t.Errorf("%d rows in batches of %v", got, s.batches)
	}
}

// A write that fails ends the request, which says how far it came.
func TestTelemetry_stopped(t *testing.T) {
	a, s := telemetryAPI(t)
	s.sync = func(call int) error {
		if call > 3 {
			return twin.NewError(twin.KindUnavailable, "The server is stopping")
		}
		return nil
	}
	w := a.call("POST", "/api/v1/telemetry", "x\n"+strings.Repeat("{\"thing\":\"pump\",\"a\":1}\n", 10_000), asLines)
	var p struct {
		Accepted, Rejected int
		Detail             string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if got := len(s.take()); w.Code != 503 || p.Accepted != 3000 || got != 3000 || p.Rejected != 1 ||
		!strings.Contains(p.Detail, "The server is stopping; everything up to line 3001 is done, go on with the next") {
		t.Errorf("%d rows, %d %s", got, w.Code, w.Body)
	}
	s.sync = func(int) error { return errors.New("disk secret") }
	w = a.call("POST", "/api/v1/telemetry", `{"thing":"pump","a":1}`, asLines)
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") || !strings.Contains(a.log.String(), "secret") {
		t.Errorf("%d %s, log %s", w.Code, w.Body, a.log)
	}
}

func FuzzTelemetry_csv(f *testing.F) {
	f.Add("thing,ts,metric,value\nx,,a,1\n")
	f.Add("thing,a,b\nx,\"1\",\"a\"\"b\"\n")
	f.Fuzz(func(t *testing.T, body string) {
		a, s := telemetryAPI(t)
		w := a.call("POST", "/api/v1/telemetry", body, asTable)
		if w.Code >= 500 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		for _, row := range s.take() {
			if strings.Contains(row, "=NaN") || strings.Contains(row, "=+Inf") || strings.Contains(row, "=-Inf") {
				t.Fatal(row)
			}
		}
	})
}

func BenchmarkTelemetry_bulk(b *testing.B) {
	var lines, table strings.Builder
	table.WriteString("thing,ts,a,b,c,d,e,f,g,h,i,j\n")
	for i := range 10_000 {
		fmt.Fprintf(&lines, "{\"thing\":\"pump-%d\",\"a\":1.25,\"b\":%d,\"c\":3.5,\"d\":4,\"e\":5,\"f\":6,\"g\":7.75,\"h\":8,\"i\":9,\"j\":10}\n", i%100, i)
		fmt.Fprintf(&table, "pump-%d,,1.25,%d,3.5,4,5,6,7.75,8,9,10\n", i%100, i)
	}
	h := rest.New(slog.New(slog.DiscardHandler), newFake(), rest.Options{Telemetry: nowhere{}})
	for _, c := range []struct{ name, contentType, body string }{{"ndjson", "application/x-ndjson", lines.String()}, {"csv", "text/csv", table.String()}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				r := httptest.NewRequest("POST", "/api/v1/telemetry", strings.NewReader(c.body))
				r.Header.Set("Content-Type", c.contentType)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != 200 {
					b.Fatal(w.Body)
				}
			}
			b.ReportMetric(float64(b.N)*100_000/b.Elapsed().Seconds(), "samples/s")
		})
	}
}

type nowhere struct{}

func (nowhere) Ingest(_ []twin.Row, _ bool, done func(error)) error { done(nil); return nil }

// Last seen is the newest of what was reported and what was measured.
func TestTelemetry_lastSeen(t *testing.T) {
	f := newFake()
	sample := map[twin.ThingName]twin.Time{}
	h := rest.New(slog.New(slog.DiscardHandler), f, rest.Options{Now: f.now.Std, LastSeen: func(thing twin.ThingName) twin.Time { return sample[thing] }})
	a := &api{f, t, h, &bytes.Buffer{}, newConformer(t, h)}
	a.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"a":1}`)
	for _, c := range []struct {
		sample twin.Time
		want   string
	}{
		{0, "2026-11-22T20:25:31Z"},
		{f.now - 1, "2026-11-22T20:25:31Z"},
		{f.now + 250, "2026-11-22T20:25:31.250Z"},
	} {
		sample["pump-7"] = c.sample
		for _, path := range []string{"/api/v1/twins/pump-7", "/api/v1/twins"} {
			if w := a.ok(t, "GET", path, ""); !strings.Contains(w.Body.String(), `"lastSeen":"`+c.want+`"`) {
				t.Errorf("%s: %s, want %s", path, w.Body, c.want)
			}
		}
	}
}

// No more than two batches are on their way at a time, however long the body is.
func TestTelemetry_inFlight(t *testing.T) {
	a, s := telemetryAPI(t)
	s.hold = true
	answered := make(chan *httptest.ResponseRecorder, 1)
	r := httptest.NewRequest("POST", "/api/v1/telemetry", strings.NewReader(strings.Repeat("{\"thing\":\"pump\",\"a\":1}\n", 10_000)))
	r.Header.Set("Content-Type", "application/x-ndjson")
	go func() {
		w := httptest.NewRecorder()
		a.handler.ServeHTTP(w, r)
		answered <- w
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	quiet := 0 // how long nothing has come
	for deadline := time.After(10 * time.Second); ; {
		select {
		case w := <-answered:
			want(t, w, 200, `{"accepted":10000,"rejected":0}`)
			return
		case <-deadline:
			t.Fatal("no answer")
		case <-tick.C:
		}
		s.mu.Lock()
		held := s.held
		if quiet++; quiet > 20 && len(held) > 0 {
			s.held, quiet = held[1:], 0
		} else {
			held = nil
		}
		n := len(s.held)
		s.mu.Unlock()
		if n > 2 {
			t.Fatalf("%d batches are on their way", n)
		}
		if len(held) > 0 {
			held[0]()
		}
	}
}

// A body may take longer than the server allows for a request, as long as something
// arrives.
func TestTelemetry_slowBody(t *testing.T) {
	a, s := telemetryAPI(t)
	server := httptest.NewUnstartedServer(a.handler)
	server.Config.ReadTimeout, server.Config.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	server.Start()
	defer server.Close()
	body, w := io.Pipe()
	go func() {
		tick := time.NewTicker(30 * time.Millisecond)
		defer tick.Stop()
		for range 10 {
			<-tick.C
			fmt.Fprintln(w, `{"thing":"pump","a":1}`)
		}
		w.Close()
	}()
	res, err := http.Post(server.URL+"/api/v1/telemetry", "application/x-ndjson", body)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || !strings.Contains(string(b), `"accepted":10`) {
		t.Errorf("%d %s %v", res.StatusCode, b, err)
	}
	if n := len(s.take()); n != 10 {
		t.Errorf("%d rows", n)
	}
}
