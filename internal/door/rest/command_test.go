package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/command"
	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/twin"
)

// restCommands is the service as this door needs it.
type restCommands struct{ *command.Service }

func (c restCommands) ListCommands(ctx context.Context, thing twin.ThingName, states []twin.CommandState, before twin.Seq, limit int) ([]twin.Command, error) {
	return c.List(ctx, thing, command.Query{States: states, Before: before, Limit: limit})
}

// newCommands is a service that has no device; it does not run.
func newCommands(t *testing.T, e *engine.Engine, now func() time.Time) restCommands {
	t.Helper()
	s, err := command.Open(slog.New(slog.DiscardHandler), e, command.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return restCommands{s}
}

func TestCommands(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"on":true}`)
	res := w.call("POST", "/api/v1/twins/pump-7/commands", `{"id":"c1","name":"flush","parameters":{ "seconds": 30 },"expiresIn":"10m"}`)
	const c1 = `{"id":"c1","thing":"pump-7","name":"flush","parameters":{"seconds":30},"state":"queued","by":"192.0.2.1",` +
		`"createdAt":"2026-11-22T12:00:00.000Z","expiresAt":"2026-11-22T12:10:00.000Z"}`
	want(t, res, 201, c1)
	if got := res.Header().Get("Location"); got != "/api/v1/twins/pump-7/commands/c1" {
		t.Errorf("Location %s", got)
	}
	want(t, w.call("GET", "/api/v1/twins/pump-7/commands/c1?wait=1ms", ""), 200, c1)
	// The same again, later, is the same command; another is refused.
	w.pass(time.Minute)
	res = w.call("POST", "/api/v1/twins/pump-7/commands", `{"id":"c1","name":"flush","parameters":{"seconds":30},"expiresIn":600}`)
	want(t, res, 201, c1)
	if res.Header().Get("Idempotency-Replayed") != "true" {
		t.Error("nothing says that it is not new")
	}
	if res := w.call("POST", "/api/v1/twins/pump-7/commands", `{"id":"c1","name":"flush"}`); res.Code != 409 {
		t.Errorf("another command: %d %s", res.Code, res.Body)
	}
	want(t, w.call("POST", "/api/v1/twins/pump-7/commands/c1/cancel", ""), 200, strings.Replace(c1[:len(c1)-1], "queued", "cancelled", 1)+`,"endedAt":"2026-11-22T12:01:00.000Z"}`)
	if res := w.call("POST", "/api/v1/twins/pump-7/commands/c1/cancel", ""); res.Code != 200 {
		t.Errorf("cancelled twice: %d %s", res.Code, res.Body)
	}
	events := w.ok(t, "GET", "/api/v1/twins/pump-7/events?kind=command&order=oldest", "").Body.String()
	if !strings.Contains(events, `"type":"queued","correlationId":"c1","data":{"id":"c1","name":"flush","parameters":{"seconds":30},"expiresAt":"2026-11-22T12:10:00Z"}`) ||
		!strings.Contains(events, `"type":"cancelled","correlationId":"c1"`) {
		t.Errorf("events: %s", events)
	}
}

// An Idempotency-Key is as good as an id.
func TestCommands_idempotencyKey(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"on":true}`)
	ids := map[string]bool{}
	for range 3 {
		res := w.call("POST", "/api/v1/twins/pump-7/commands", `{"name":"flush"}`, "Idempotency-Key: order 7")
		var c struct{ ID string }
		if err := json.Unmarshal(res.Body.Bytes(), &c); err != nil || res.Code != 201 || !strings.HasPrefix(c.ID, "key-") {
			t.Fatalf("%d %s", res.Code, res.Body)
		}
		ids[c.ID] = true
	}
	if res := w.call("POST", "/api/v1/twins/pump-7/commands", `{"name":"stop"}`, "Idempotency-Key: order 7"); res.Code != 409 || len(ids) != 1 {
		t.Errorf("another request: %d %s; %d commands were made", res.Code, res.Body, len(ids))
	}
}

func TestCommands_list(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"on":true}`)
	if got := w.ok(t, "GET", "/api/v1/twins/pump-7/commands", "").Body.String(); strings.TrimSpace(got) != `{"deviceId":"pump-7","commands":[]}` {
		t.Errorf("none: %s", got)
	}
	for i := range 5 {
		if res := w.call("POST", "/api/v1/twins/pump-7/commands", fmt.Sprintf(`{"id":"c%d","name":"flush"}`, i)); res.Code != 201 {
			t.Fatalf("%d %s", res.Code, res.Body)
		}
	}
	w.ok(t, "POST", "/api/v1/twins/pump-7/commands/c3/cancel", "")
	for query, want := range map[string]string{
		"?limit=2":                              "c4 c3 c2 c1 c0",
		"?limit=2&state=pending":                "c4 c2 c1 c0",
		"?state=cancelled,done":                 "c3",
		"?state=cancelled&state=queued&limit=3": "c4 c3 c2 c1 c0",
	} {
		var got []string
		for cursor := ""; ; {
			var page struct {
				Commands []struct{ ID string }
				Next     string
			}
			body := w.ok(t, "GET", "/api/v1/twins/pump-7/commands"+query+cursor, "").Body.Bytes()
			if err := json.Unmarshal(body, &page); err != nil {
				t.Fatal(err)
			}
			for _, c := range page.Commands {
				got = append(got, c.ID)
			}
			if page.Next == "" {
				break
			}
			cursor = "&cursor=" + page.Next
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
}

func TestCommands_badInput(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"on":true}`)
	for _, c := range []struct {
		method, path, body string
		code               int
		says               string
	}{
		{"POST", "pump-7/commands", `{}`, 400, "#/name"},
		{"POST", "pump-7/commands", `{"name":"a b"}`, 400, "#/name"},
		{"POST", "pump-7/commands", `{"name":"a","id":"x/y"}`, 400, "#/id"},
		{"POST", "pump-7/commands", `{"name":"a","parameters":[]}`, 400, "#/parameters"},
		{"POST", "pump-7/commands", `{"name":"a","parameters":{"a":1,"a":2}}`, 400, "#/parameters"},
		{"POST", "pump-7/commands", `{"name":"a","parameters":{"a":"` + strings.Repeat("x", 32<<10) + `"}}`, 400, "#/parameters"},
		{"POST", "pump-7/commands", `{"name":"a","expiresIn":"soon"}`, 400, "#/expiresIn"},
		{"POST", "pump-7/commands", `{"name":"a","expiresIn":0}`, 400, "#/expiresIn"},
		{"POST", "pump-7/commands", `{"name":"a","expiresIn":-1}`, 400, "#/expiresIn"},
		{"POST", "pump-7/commands", `{"name":"a","expiresIn":1e300}`, 400, "#/expiresIn"},
		{"POST", "pump-7/commands", `{"name":"a","expiresIn":0.5}`, 400, "#/expiresIn"},
		{"POST", "pump-7/commands", `{"name":"a","expiresIn":"721h"}`, 400, "#/expiresIn"},
		{"POST", "pump-7/commands", `{"name":"a","expiresIn":{}}`, 400, "#/expiresIn"},
		{"POST", "pump-7/commands", `{"name":"a","wait":1}`, 400, "#/wait"},
		{"POST", "nobody/commands", `{"name":"a"}`, 404, "no twin of nobody"},
		{"GET", "nobody/commands", ``, 404, "nobody"},
		{"GET", "pump-7/commands/none", ``, 404, "no command"},
		{"GET", "pump-7/commands/a%20b", ``, 404, "no command"},
		{"GET", "pump-7/commands?state=lost", ``, 400, "is no state"},
		{"GET", "pump-7/commands?cursor=x", ``, 400, "cursor"},
		{"GET", "pump-7/commands/none?wait=1h", ``, 400, "up to 30s"},
		{"POST", "pump-7/commands/none/cancel", ``, 404, "no command"},
		{"DELETE", "pump-7/commands/none", ``, 405, "allowed: GET"},
	} {
		res := w.call(c.method, "/api/v1/twins/"+c.path, c.body)
		if res.Code != c.code || !strings.Contains(res.Body.String(), c.says) {
			t.Errorf("%s %s %.60s: %d %s, want %d with %s", c.method, c.path, c.body, res.Code, res.Body, c.code, c.says)
		}
	}
}
