package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/client"
)

func TestSendTelemetry(t *testing.T) {
	c, seen := serve(t, ok(`{"accepted":2,"rejected":0}`), answer(400, "application/problem+json", `{"detail":"Invalid telemetry: /a: no","pointer":"#/a"}`))
	got, err := c.SendTelemetry(context.Background(), "pump-7", json.RawMessage(`[{"a":1},{"a":2}]`))
	if err != nil || got.Accepted != 2 {
		t.Fatalf("%+v %v", got, err)
	}
	if want := (exchange{Method: "POST", Target: "/api/v1/twins/pump-7/telemetry", Body: `[{"a":1},{"a":2}]`, Type: "application/json"}); (*seen)[0] != want {
		t.Errorf("asked %+v, want %+v", (*seen)[0], want)
	}
	if _, err := c.SendTelemetry(context.Background(), "pump-7", json.RawMessage(`{"a":[]}`)); err == nil || err.Error() != "Invalid telemetry: /a: no" {
		t.Error(err)
	}
}

// lineServer takes lines but those with "bad" in them, and none that begin with a line
// with "stop".
func lineServer(t *testing.T, header bool) (c *client.Client, got *strings.Builder, requests *int) {
	got, requests = &strings.Builder{}, new(int)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*requests++
		body, _ := io.ReadAll(r.Body)
		var res client.TelemetryResult
		status := 200
		for i, line := range strings.Split(strings.TrimSuffix(string(body), "\n"), "\n") {
			switch {
			case header && i == 0:
				if line != "thing,a" {
					t.Errorf("a request begins with %q", line)
				}
			case strings.TrimSpace(line) == "":
			case strings.HasPrefix(line, "stop"):
				status = 503
			case len(line) > 64<<10, strings.HasPrefix(line, "bad"):
				res.Rejected++
				res.Errors = append(res.Errors, client.LineError{Line: i + 1, Message: line[:3]})
			default:
				res.Accepted++
				got.WriteString(strings.TrimSpace(line) + "\n")
			}
		}
		if res.Accepted == 0 && res.Rejected > 0 {
			status = 400
		}
		if status != 200 {
			w.Header().Set("Content-Type", "application/problem+json")
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"detail": "stopped", "accepted": res.Accepted, "rejected": res.Rejected, "errors": res.Errors})
	}))
	t.Cleanup(s.Close)
	c, err := client.New(s.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c, got, requests
}

func TestImportTelemetry(t *testing.T) {
	for _, format := range []client.TelemetryFormat{client.NDJSON, client.CSV} {
		c, got, requests := lineServer(t, format == client.CSV)
		var file, want strings.Builder
		first := 1
		if format == client.CSV {
			file.WriteString("\r\nthing,a\r\n")
			first = 3
		}
		var bad []client.LineError
		const lines = 50_000
		for i := range lines {
			switch {
			case i == 7 || i == 20_000 || i == lines-1:
				fmt.Fprintf(&file, "bad %d", i)
				bad = append(bad, client.LineError{Line: first + i, Message: "bad"})
			case i == 30_001:
				file.WriteString("xxx" + strings.Repeat("x", 200<<10))
				bad = append(bad, client.LineError{Line: first + i, Message: "xxx"})
			case i%1000 == 999: // empty
			default:
				fmt.Fprintf(&file, "pump-%d,%d", i, i)
				fmt.Fprintf(&want, "pump-%d,%d\n", i, i)
			}
			if i < lines-1 {
				file.WriteString("\n")
			}
		}
		calls := 0
		res, err := c.ImportTelemetry(context.Background(), format, strings.NewReader(file.String()), func(*client.TelemetryResult) { calls++ })
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Errorf("%s: what arrived is not what was sent", format)
		}
		if d := cmp.Diff(&client.TelemetryResult{Accepted: strings.Count(want.String(), "\n"), Rejected: len(bad), Errors: bad}, res); d != "" {
			t.Errorf("%s (-want +got):\n%s", format, d)
		}
		if *requests < 3 || calls != *requests {
			t.Errorf("%s: %d requests, %d times progress", format, *requests, calls)
		}
	}
}

func TestImportTelemetry_stopped(t *testing.T) {
	c, _, _ := lineServer(t, false)
	res, err := c.ImportTelemetry(context.Background(), client.NDJSON, strings.NewReader(strings.Repeat("pump,1\n", 20_000)+"pump,1\nstop\n"), nil)
	var refused *client.Error
	if !errors.As(err, &refused) || err.Error() != "lines 20001 to 20002: stopped" || res.Accepted != 20_001 {
		t.Errorf("%+v %v", res, err)
	}
	if _, err := c.ImportTelemetry(context.Background(), client.CSV, strings.NewReader("\n\n"), nil); err == nil || !strings.Contains(err.Error(), "there is nothing in it") {
		t.Error(err)
	}
	res, err = c.ImportTelemetry(context.Background(), client.NDJSON, strings.NewReader("bad\nbad\n"), nil)
	if err != nil || res.Rejected != 2 || res.Errors[1].Line != 2 {
		t.Errorf("%+v %v", res, err)
	}
	if res, err = c.ImportTelemetry(context.Background(), client.NDJSON, strings.NewReader(""), nil); err != nil || res.Accepted != 0 {
		t.Errorf("%+v %v", res, err)
	}
}
