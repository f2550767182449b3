package rest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/twin"
)

// documentOf is an update/documents message, of a thing if that is not empty.
func documentOf(thing string, version int) string {
	const at = 1795348700 // a little before the clock of the tests
	stamp := at + version
	s := fmt.Sprintf(`{"previous":null,"current":{"state":{"reported":{"n":%d}},"metadata":{"reported":{"n":{"timestamp":%d}}},"version":%d},"timestamp":%d`,
		version, stamp, version, stamp)
	if thing != "" {
		s += fmt.Sprintf(`,"thing":%q`, thing)
	}
	return s + "}"
}

const ingestPath = "/api/v1/ingest/shadow-documents"

func TestIngest(t *testing.T) {
	w := newWorld(t)
	want(t, w.call("POST", ingestPath+"/m1", documentOf("", 5)), 200, `{"results":[{"deviceId":"m1","version":5,"result":"applied"}]}`)
	want(t, w.call("POST", ingestPath+"/m1", documentOf("m1", 5)), 200, `{"results":[{"deviceId":"m1","version":5,"result":"known"}]}`)
	want(t, w.call("POST", ingestPath, documentOf("m1", 3)), 200, `{"results":[{"deviceId":"m1","version":3,"result":"recorded"}]}`)
	want(t, w.call("POST", ingestPath+"/m1/config", documentOf("", 1)), 200, `{"results":[{"deviceId":"m1","shadow":"config","version":1,"result":"applied"}]}`)

	got := w.ok(t, "GET", "/api/v1/twins/m1?history=false", "").Body.String()
	if !strings.Contains(got, `"version":5`) || !strings.Contains(got, `"currentState":{"n":5}`) {
		t.Errorf("the twin is %s", got)
	}
	got = w.ok(t, "GET", "/api/v1/twins/m1?version=3", "").Body.String()
	if !strings.Contains(got, `"currentState":{"n":3}`) || !strings.Contains(got, `"asOf":"2026-11-22T11:58:23.000Z"`) {
		t.Errorf("version 3 is %s", got)
	}
	got = w.ok(t, "GET", "/api/v1/twins/m1?at=2026-11-22T11:58:24Z", "").Body.String()
	if !strings.Contains(got, `"currentState":{"n":3}`) {
		t.Errorf("at 11:58:24 it was %s", got)
	}
	got = w.ok(t, "GET", "/api/v1/twins/m1/events", "").Body.String()
	if !strings.Contains(got, `"door":"cloud"`) || !strings.Contains(got, `"data":{"timestamp":1795348703,"stamps":[1795348703]}`) {
		t.Errorf("the events are %s", got)
	}
}

func TestIngest_batch(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "POST", ingestPath, documentOf("m1", 2))
	body := "[" + strings.Join([]string{
		documentOf("m1", 3), documentOf("m1", 1), documentOf("m1", 3), documentOf("", 9), strings.Replace(documentOf("m1", 2), `"n":2`, `"n":7`, 1), documentOf("m2", 1),
	}, ",") + "]"
	var answer struct {
		Results []struct {
			DeviceID, Result string
			Version          int
			Problem          *struct {
				Status          int
				Detail, Pointer string
			}
		}
	}
	if err := json.Unmarshal(w.ok(t, "POST", ingestPath, body).Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"applied", "recorded", "known", "failed 400 #/3/thing", "failed 409 #/4/current/version", "applied"} {
		r := answer.Results[i]
		got := r.Result
		if r.Problem != nil {
			got = fmt.Sprint(got, " ", r.Problem.Status, " ", r.Problem.Pointer)
		}
		if got != want {
			t.Errorf("item %d: %s, want %s", i, got, want)
		}
	}
}

func TestIngest_badInput(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "POST", ingestPath, documentOf("m1", 5))
	version := func(v string) string { return strings.Replace(documentOf("m1", 6), `"version":6`, v, 1) }
	for name, c := range map[string]struct {
		path, body string
		status     int
		pointer    string
		detail     string
	}{
		"no version":      {"", version(`"x":6`), 400, "#/current/version", "current.version: it is missing"},
		"version text":    {"", version(`"version":"6"`), 400, "#/current/version", "not a whole number"},
		"empty":           {"", "", 400, "#", "not a JSON object"},
		"no object":       {"", `"x"`, 400, "#", "not a JSON object"},
		"cut short":       {"", documentOf("m1", 6)[:40], 400, "#", "not valid JSON"},
		"batch cut short": {"", "[" + documentOf("m1", 6), 400, "#", "not valid JSON"},
		"empty batch":     {"", "[]", 400, "#", "0 documents"},
		"many":            {"", "[" + strings.Repeat("1,", 1000) + "1]", 400, "#", "1001 documents"},
		"no thing":        {"", documentOf("", 6), 400, "#/thing", "topic(3) AS thing"},
		"other thing":     {"/m2", documentOf("m1", 6), 400, "#/thing", "m1 is not m2"},
		"other shadow":    {"/m1/a", strings.Replace(documentOf("m1", 6), `{"prev`, `{"shadow":"b","prev`, 1), 400, "#/shadow", "b is not a"},
		"bad thing":       {"/a.b", documentOf("", 6), 400, "", "no thing name"},
		"bad shadow":      {"/m1/a.b", documentOf("", 6), 400, "", "no shadow name"},
		"2106":            {"", strings.ReplaceAll(documentOf("m1", 6), "1795348706", "4294967295"), 400, "#/timestamp", "2106-02-07T06:28:15Z is in the future"},
		"milliseconds":    {"", strings.ReplaceAll(documentOf("m1", 6), "1795348706", "1795348706000"), 400, "#/timestamp", "not in seconds"},
		"another content": {"", strings.Replace(documentOf("m1", 5), `"n":5`, `"n":7`, 1), 409, "#/current/version", "another content"},
		"too large":       {"", strings.Replace(documentOf("m1", 6), `"n":6`, `"n":"`+strings.Repeat("x", 9000)+`"`, 1), 413, "#/current/state", ""},
		"huge":            {"", strings.Repeat(" ", 5<<20), 413, "", "longer than"},
		"latin 1":         {"", "{\"a\":\"\xe4\"}", 415, "", ""},
		"parameter":       {"?x=1", documentOf("m1", 6), 400, "", "no parameter"},
	} {
		t.Run(name, func(t *testing.T) {
			res := w.call("POST", ingestPath+c.path, c.body)
			var p struct{ Detail, Pointer string }
			if err := json.Unmarshal(res.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if res.Code != c.status || p.Pointer != c.pointer || !strings.Contains(p.Detail, c.detail) {
				t.Errorf("%d %s, want %d %s %s", res.Code, res.Body, c.status, c.pointer, c.detail)
			}
		})
	}
	if got := w.ok(t, "GET", "/api/v1/twins/m1?history=false", "").Body.String(); !strings.Contains(got, `"version":5`) {
		t.Errorf("the twin is %s", got)
	}
}

// busy is a mirror whose queue is full at the second document.
type busy struct{ calls int }

func (b *busy) Mirror(_ twin.MirrorRequest, done func(twin.MirrorResult)) error {
	if b.calls++; b.calls == 2 {
		return &twin.Error{Kind: twin.KindFull, Message: "Too many updates are waiting"}
	}
	done(twin.MirrorResult{Outcome: twin.MirrorApplied})
	return nil
}

// AWS sends a batch again only as a whole; each of it has one effect then.
func TestIngest_batchToSendAgain(t *testing.T) {
	b := &busy{}
	h := rest.New(slog.New(slog.DiscardHandler), newFake(), rest.Options{Mirror: b})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", ingestPath, strings.NewReader("["+documentOf("a", 1)+","+documentOf("b", 1)+","+documentOf("c", 1)+"]")))
	if w.Code != http.StatusInsufficientStorage || b.calls != 3 {
		t.Errorf("%d after %d calls: %s", w.Code, b.calls, w.Body)
	}
}

const confirmURL = "https://iot.us-east-1.amazonaws.com/confirmdestination/AYADeMXLrPrNY2wq"

func confirmationOf(enableURL string) string {
	return fmt.Sprintf(`{"arn":"arn:aws:iot:us-east-1:123456789012:ruledestination/http/7a28","confirmationToken":"AYADeMXLrPrNY2wq","enableUrl":%q,"messageType":"DestinationConfirmation"}`, enableURL)
}

const confirmHeader = "x-amz-rules-engine-message-type: DestinationConfirmation"

func TestIngest_confirmation(t *testing.T) {
	w := newWorld(t)
	for _, header := range []string{confirmHeader, "x-other: 1"} {
		res := w.ok(t, "POST", ingestPath+"?confirmationToken=AYADeMXLrPrNY2wq", confirmationOf(confirmURL), header)
		if !strings.Contains(res.Body.String(), `"state":"waiting"`) {
			t.Errorf("%s", res.Body)
		}
	}
	// AWS puts a slash after the address that it was given.
	r := httptest.NewRequest("POST", ingestPath+"/m1/?confirmationToken=x", strings.NewReader(confirmationOf(confirmURL)))
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	if rec.Code != http.StatusOK {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	want(t, w.call("GET", "/api/v1/ingest/confirmations", ""), 200, `{"confirmations":[{"arn":"arn:aws:iot:us-east-1:123456789012:ruledestination/http/7a28",`+
		`"enableUrl":"`+confirmURL+`","received":"2026-11-22T12:00:00Z","state":"waiting"}]}`)
	if !strings.Contains(w.log.String(), confirmURL) || !strings.Contains(w.log.String(), "level=INFO") {
		t.Errorf("the log does not have the address: %s", w.log)
	}
	for _, address := range []string{
		"", "http://iot.us-east-1.amazonaws.com/x", "https://iot.us-east-1.amazonaws.com.evil.example/x", "https://evil.example/x",
		"https://bucket.s3.amazonaws.com/x", "https://iot.us-east-1.amazonaws.com@evil.example/x", "https://iot.us-east-1.amazonaws.com:8443/x",
		"https://169.254.169.254/latest", "https://iot.us-east-1.amazonaws.com%2f@evil.example/", "https://u:p@iot.us-east-1.amazonaws.com/x", "file:///etc/passwd",
		"https://iot.a.b.amazonaws.com/x", "https://xiot.us-east-1.amazonaws.com/x", "//iot.us-east-1.amazonaws.com/x",
	} {
		if res := w.call("POST", ingestPath, confirmationOf(address), confirmHeader); res.Code != 400 || !strings.Contains(res.Body.String(), `"pointer":"#/enableUrl"`) {
			t.Errorf("%q: %d %s", address, res.Code, res.Body)
		}
	}
}

// aws answers what is asked of AWS.
type aws struct {
	status int
	asked  []string
	fail   error
}

func (a *aws) RoundTrip(r *http.Request) (*http.Response, error) {
	a.asked = append(a.asked, r.Method+" "+r.URL.String())
	if a.fail != nil {
		return nil, a.fail
	}
	h := http.Header{"Location": {"https://169.254.169.254/"}}
	return &http.Response{StatusCode: a.status, Status: fmt.Sprint(a.status), Header: h, Body: io.NopCloser(strings.NewReader("x")), Request: r}, nil
}

func TestIngest_confirms(t *testing.T) {
	for name, c := range map[string]struct {
		aws   aws
		state string
	}{
		"confirmed":   {aws{status: 200}, `"state":"confirmed"`},
		"redirected":  {aws{status: 302}, `"state":"failed","error":"open the address: AWS answered 302"`},
		"refused":     {aws{status: 403}, `"state":"failed"`},
		"unreachable": {aws{fail: errors.New("no route")}, `"state":"failed","error":"open the address: Get \"` + confirmURL + `\": no route"`},
	} {
		t.Run(name, func(t *testing.T) {
			log := &bytes.Buffer{}
			h := rest.New(slog.New(slog.NewTextHandler(log, nil)), newFake(), rest.Options{Mirror: &busy{}, Confirm: &http.Client{Transport: &c.aws}})
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", ingestPath, strings.NewReader(confirmationOf(confirmURL))))
			if w.Code != http.StatusOK || !w.Flushed {
				t.Errorf("%d, flushed %t: %s", w.Code, w.Flushed, w.Body)
			}
			if len(c.aws.asked) != 1 || c.aws.asked[0] != "GET "+confirmURL {
				t.Errorf("AWS was asked %v", c.aws.asked)
			}
			w = httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/ingest/confirmations", nil))
			if !strings.Contains(w.Body.String(), c.state) {
				t.Errorf("%s, want %s", w.Body, c.state)
			}
		})
	}
}
