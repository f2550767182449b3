package rest_test

import (
	"context"
	"log/slog"
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
