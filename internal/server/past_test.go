package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/internal/server"
)

// watch returns the next n events after a cursor, and the cursor of the last.
func watch(t *testing.T, r *running, after string, n int) (versions []uint64, cursor string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c, err := client.New("http://"+r.addr(t, "http"), client.Options{HTTP: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	for w, err := range c.Watch(ctx, client.WatchQuery{After: after}) {
		if err != nil {
			t.Fatal(err)
		}
		versions, cursor = append(versions, uint64(w.Version)), w.Cursor
		if len(versions) == n {
			return versions, cursor
		}
	}
	t.Fatalf("only %d of %d events came", len(versions), n)
	return nil, ""
}

// A reader of the stream goes on over a restart of the server, without gap or repeat.
func TestStream_resumeOverRestart(t *testing.T) {
	c := config(t)
	r := start(t, c)
	for range 3 {
		r.call(t, http.MethodPatch, "/api/v1/twins/a/reported", `{"x":1}`)
	}
	got, cursor := watch(t, r, "0", 2)
	if d := cmp.Diff([]uint64{1, 2}, got); d != "" {
		t.Fatal(d)
	}
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	r = start(t, c)
	r.call(t, http.MethodPatch, "/api/v1/twins/a/reported", `{"x":2}`)
	got, _ = watch(t, r, cursor, 2)
	if d := cmp.Diff([]uint64{3, 4}, got); d != "" {
		t.Errorf("after the restart: %s", d)
	}
}

// The whole of the past, through a real server and over a restart.
func TestPast_day(t *testing.T) {
	c := config(t)
	r := start(t, c)
	must := func(method, path, body string, status int) string {
		t.Helper()
		code, answer := r.call(t, method, path, body)
		if code != status {
			t.Fatalf("%s %s: %d %s", method, path, code, answer)
		}
		return answer
	}
	must("POST", "/api/v1/twins", `{"deviceId":"pump-7","model":"pump","tags":{"site":"hh1"}}`, 201)
	must("PATCH", "/api/v1/twins/pump-7/reported", `{"temperature":40,"mode":"running"}`, 200)
	must("PATCH", "/api/v1/twins/pump-7/desired", `{"tempSetpoint":21}`, 200)
	must("PATCH", "/api/v1/twins/pump-7/desired", `{"a":{"b":{"c":{"d":{"e":{"f":{"g":{"h":{"i":1}}}}}}}}}`, 400)
	must("POST", "/api/v1/twins/pump-7/events", `{"type":"error","severity":"error","message":"pressure"}`, 201)
	must("DELETE", "/api/v1/twins/pump-7", "", 200)
	must("PATCH", "/api/v1/twins/pump-7/reported", `{"temperature":41}`, 200)
	before := map[string]string{}
	for _, path := range []string{
		"/twins/pump-7?version=1", "/twins/pump-7?version=2", "/api/v1/twins/pump-7/history?form=patches", "/api/v1/twins/pump-7/history",
		"/api/v1/twins/pump-7/events?severity=error", "/api/v1/twins/pump-7/diff?from=v1&to=v4", "/api/v1/history?model=pump",
	} {
		before[path] = must("GET", path, "", 200)
	}
	if !strings.Contains(before["/twins/pump-7?version=2"], `"delta":{"tempSetpoint":21}`) {
		t.Errorf("version 2: %s", before["/twins/pump-7?version=2"])
	}
	var doc struct {
		Model   string
		History []struct{ Version uint64 }
	}
	if err := json.Unmarshal([]byte(must("GET", "/twins/pump-7", "", 200)), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Model != "pump" || len(doc.History) != 2 {
		t.Errorf("twin %+v", doc)
	}
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	r = start(t, c)
	for path, want := range before {
		if got := must("GET", path, "", 200); got != want {
			t.Errorf("%s after a restart: %s, was %s", path, got, want)
		}
	}
}

func TestOffline_missing(t *testing.T) {
	if _, err := server.OpenOffline(t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "there is no store") {
		t.Errorf("an empty folder: %v", err)
	}
}
