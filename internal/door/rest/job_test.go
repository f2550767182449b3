package rest_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/job"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// newJobs is a service that runs until the test ends.
func newJobs(t *testing.T, e *engine.Engine, s store.Reader, now func() time.Time) *job.Service {
	t.Helper()
	known := func(ctx context.Context, things []twin.ThingName) (missing []twin.ThingName, err error) {
		heads, err := s.Heads(ctx, things)
		for i := range heads {
			if heads[i].Seq == 0 {
				missing = append(missing, things[i])
			}
		}
		return missing, err
	}
	j, err := job.Open(slog.New(slog.DiscardHandler), e, job.Options{Now: now, Known: known})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { j.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return j
}

func expand(s *job.Service) func(*http.Request, *twin.JobRequest) error {
	return func(r *http.Request, q *twin.JobRequest) error { return s.Expand(q, "http://"+r.Host) }
}

// From the file to the thing that has it: an artifact, a job that brings it, the twin.
func TestJobs_firmware(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"firmware":"1.0"}`)
	body := w.ok(t, "GET", "/api/v1/twins/pump-7?history=false", "").Body.String()
	if !strings.Contains(body, `"firmware":{"version":"1.0","reported":"1.0"}`) {
		t.Errorf("the twin before: %s", body)
	}
	content := strings.Repeat("0123456789abcdef", 40_000) // three parts
	sum := sha256.Sum256([]byte(content))
	digest := hex.EncodeToString(sum[:])
	const path = "/api/v1/artifacts/pump-2.bin"
	for query, fault := range map[string]string{
		"?sha256=" + strings.Repeat("0", 64): `not \"0000`,
		"?sha256=abc":                        "64 hexadecimal digits",
	} {
		if res := w.call("PUT", path+query, content); res.Code != 400 || !strings.Contains(res.Body.String(), fault) {
			t.Errorf("%s: %d %s", query, res.Code, res.Body)
		}
	}
	if res := w.call("GET", path, ""); res.Code != 404 {
		t.Errorf("something was kept: %d", res.Code)
	}
	want(t, w.call("PUT", path+"?sha256="+digest, content), 201,
		`{"name":"pump-2.bin","url":"/api/v1/artifacts/pump-2.bin","size":640000,"sha256":"`+digest+`","by":"192.0.2.1","createdAt":"2026-11-22T12:00:00.000Z"}`)
	if res := w.call("PUT", path, content); res.Code != 201 || res.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same again: %d %s", res.Code, res.Body)
	}
	if res := w.call("PUT", path, "other"); res.Code != 409 {
		t.Errorf("other content: %d %s", res.Code, res.Body)
	}
	res := w.call("GET", path, "")
	if res.Code != 200 || res.Body.String() != content || res.Header().Get("ETag") != `"`+digest+`"` ||
		res.Header().Get("Repr-Digest") != "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":" {
		t.Errorf("content: %d, %d bytes, %v", res.Code, res.Body.Len(), res.Header())
	}
	for header, part := range map[string]string{"bytes=262140-262151": content[262140:262152], "bytes=-5": content[len(content)-5:], "bytes=639990-": content[639990:]} {
		if res := w.call("GET", path, "", "Range: "+header); res.Code != 206 || res.Body.String() != part {
			t.Errorf("%s: %d %q, want %q", header, res.Code, res.Body, part)
		}
	}
	if res := w.call("GET", path, "", "Range: bytes=640000-"); res.Code != 416 {
		t.Errorf("a range behind the end: %d", res.Code)
	}
	res = w.call("POST", "/api/v1/jobs", `{"id":"fw-2","document":{"version":"2.0","file":"${artifact:pump-2.bin}","u":"${artifact:pump-2.bin:url}","n":"${artifact:pump-2.bin:size}"},"things":["pump-7"]}`)
	if document := `"document":{"version":"2.0","file":{"name":"pump-2.bin","url":"http://example.com/api/v1/artifacts/pump-2.bin","sha256":"` + digest +
		`","size":640000},"u":"http://example.com/api/v1/artifacts/pump-2.bin","n":640000}`; res.Code != 201 || !strings.Contains(res.Body.String(), document) {
		t.Errorf("the job: %d %s, want %s", res.Code, res.Body, document)
	}
	for document, fault := range map[string]string{`{"f":"${artifact:none}"}`: "there is no artifact none", `{"f":"see ${artifact:pump-2.bin}"}`: "a placeholder is a whole string"} {
		if res := w.call("POST", "/api/v1/jobs", `{"document":`+document+`,"things":["pump-7"]}`); res.Code != 400 || !strings.Contains(res.Body.String(), fault) {
			t.Errorf("%s: %d %s", document, res.Code, res.Body)
		}
	}
	if res := w.call("DELETE", path, ""); res.Code != 409 || !strings.Contains(res.Body.String(), "fw-2") {
		t.Errorf("delete what a job brings: %d %s", res.Code, res.Body)
	}
	done := make(chan error, 1)
	update := func(s twin.ExecutionStatus) error {
		w.jobs.Update("pump-7", "fw-2", twin.JobStep{Status: s, Details: map[string]string{"sha256": digest}}, twin.Origin{}, func(_ *twin.JobAnswer, err error) { done <- err })
		return <-done
	}
	// The job has been made, and is sent to its things after that.
	err := update(twin.ExecutionInProgress)
	for end := time.Now().Add(10 * time.Second); twin.Kind(err) == twin.KindNotFound && time.Now().Before(end); {
		runtime.Gosched()
		err = update(twin.ExecutionInProgress)
	}
	if err := errors.Join(err, update(twin.ExecutionSucceeded)); err != nil {
		t.Fatal(err)
	}
	body = w.ok(t, "GET", "/api/v1/twins/pump-7?history=false", "").Body.String()
	if !strings.Contains(body, `"firmware":{"version":"2.0","since":"2026-11-22T12:00:00.000Z","job":"fw-2","reported":"1.0","history":[{"version":"2.0","job":"fw-2","status":"succeeded","at":"2026-11-22T12:00:00.000Z"}]}`) {
		t.Errorf("the twin after: %s", body)
	}
}

func TestJobs_badInput(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"on":true}`)
	const valid = `"document":{"a":1},"things":["pump-7"]`
	for body, fault := range map[string]string{
		`{}`:                                  "document: it is missing",
		`{"document":[],"things":["pump-7"]}`: "a JSON object is needed",
		`{"document":{"a":1,"a":2},"things":["pump-7"]}`:                              "duplicate",
		`{"document":{"a":"` + strings.Repeat("x", 33000) + `"},"things":["pump-7"]}`: "over the limit of 32768",
		`{"document":{}}`:                                                        "things: none is named",
		`{"document":{},"things":["a/b"]}`:                                       "is no thing name",
		`{"document":{},"things":["pump-7","nobody"]}`:                           "1 of 2 have no twin, the first is nobody",
		`{"document":{},"model":"nothing"}`:                                      "no thing is of the model",
		`{"id":"a:b",` + valid + `}`:                                             "is not 1 to 64 characters",
		`{"waves":[{"pause":"1m"}],` + valid + `}`:                               "needs a size, or a percent",
		`{"waves":[{"size":1,"pause":"soon"}],` + valid + `}`:                    "no duration",
		`{"waves":[{"percent":101}],` + valid + `}`:                              "not within 0 and 100",
		`{"ratePerMinute":-1,` + valid + `}`:                                     "ratePerMinute",
		`{"timeoutMinutes":10081,` + valid + `}`:                                 "timeoutMinutes",
		`{"abort":[{"failure":"bored","percent":1,"minEnded":1}],` + valid + `}`: "none of failed, rejected",
		`{"abort":[{"failure":"all","percent":0,"minEnded":1}],` + valid + `}`:   "not over 0",
		`{"abort":[{"failure":"all","percent":10,"minEnded":0}],` + valid + `}`:  "minEnded 0",
		`{"color":"red",` + valid + `}`:                                          "color: there is no such member",
	} {
		res := w.call("POST", "/api/v1/jobs", body)
		if res.Code < 400 || res.Code > 499 || !strings.Contains(res.Body.String(), fault) {
			t.Errorf("%.80s: %d %s, want %q", body, res.Code, res.Body, fault)
		}
	}
	want(t, w.call("GET", "/api/v1/jobs", ""), 200, `{"jobs":[]}`) // nothing is kept
	if res := w.call("GET", "/api/v1/jobs/none", ""); res.Code != 404 {
		t.Errorf("no job: %d", res.Code)
	}
	if res := w.call("POST", "/api/v1/jobs", `{"id":"one",`+valid+`}`); res.Code != 201 {
		t.Errorf("a job: %d %s", res.Code, res.Body)
	}
	if res := w.call("POST", "/api/v1/jobs", `{"id":"one",`+valid+`}`); res.Code != 409 {
		t.Errorf("the id again: %d %s", res.Code, res.Body)
	}
}
