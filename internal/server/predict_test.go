package server_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// What a thing measures by telemetry is judged, and so it is after a restart.
func TestAnomaly(t *testing.T) {
	c := config(t)
	r := start(t, c)
	rng := rand.New(rand.NewPCG(1, 2))
	var lines strings.Builder
	begin := time.Now().Add(-10 * time.Hour)
	for i := range 500 {
		fmt.Fprintf(&lines, "{\"thing\":\"pump-1\",\"ts\":%d,\"values\":{\"flow\":%.3f}}\n", begin.Add(time.Duration(i)*time.Minute).UnixMilli(), 10+rng.NormFloat64())
	}
	if status, body := r.callType(t, "POST", "/api/v1/telemetry", lines.String(), "application/x-ndjson"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := r.call(t, "POST", "/api/v1/twins", `{"deviceId":"pump-1"}`); status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	read := func() (a struct {
		Score    *float64
		Samples  int
		Late     int
		Episodes []struct{ Metric, Kind string }
	},
	) {
		t.Helper()
		status, body := r.call(t, "GET", "/api/v1/twins/pump-1/anomaly", "")
		if err := json.Unmarshal([]byte(body), &a); err != nil || status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		return a
	}
	before := read()
	if before.Score == nil || before.Samples != 480 || before.Late != 0 || len(before.Episodes) != 0 {
		t.Errorf("%+v", before)
	}
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	r = start(t, c)
	if after := read(); *after.Score != *before.Score || after.Samples != before.Samples || after.Late != 0 {
		t.Errorf("%+v, before a restart %+v", after, before)
	}
	line := fmt.Sprintf("{\"thing\":\"pump-1\",\"ts\":%d,\"values\":{\"flow\":900}}\n", time.Now().UnixMilli())
	if status, body := r.callType(t, "POST", "/api/v1/telemetry", line, "application/x-ndjson"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	// Nobody asks: it is looked at by itself.
	until(t, "an episode", func() bool {
		_, body := r.call(t, "GET", "/api/v1/twins/pump-1/events?kind=anomaly", "")
		return strings.Contains(body, `"started"`) && strings.Contains(body, "telemetry.flow is unusual")
	})
}

// With predict.enabled: false the twin says why it has no score.
func TestAnomaly_off(t *testing.T) {
	c := config(t)
	c.Predict.Enabled = false
	r := start(t, c)
	if status, body := r.call(t, "PATCH", "/api/v1/twins/a/reported", `{"x":1}`); status >= 300 {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := r.call(t, "GET", "/twins/a", ""); status != 200 || !strings.Contains(body, "this server watches no measurements") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := r.call(t, "GET", "/api/v1/twins/a/anomaly", ""); status != 404 {
		t.Errorf("%d", status)
	}
}
