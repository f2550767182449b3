package server_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// The profile of telemetry is that of its numbers, whether they are folded or not.
func TestProfile_telemetry(t *testing.T) {
	c := config(t)
	r := start(t, c)
	at := time.Now().UTC().Add(-3 * 7 * 24 * time.Hour).Truncate(time.Hour).Add(time.Hour)
	const quarters = (3*7*24 - 1) * 4
	var lines strings.Builder
	for i := range quarters {
		x := at.Add(time.Duration(i) * 15 * time.Minute)
		hour := (int(x.Weekday())+6)%7*24 + x.Hour()
		fmt.Fprintf(&lines, `{"thing":"m","ts":%d,"load":%d,"door":%t}`+"\n", x.UnixMilli(), 1+hour, x.Hour() >= 6)
	}
	if status, body := r.callType(t, "POST", "/api/v1/telemetry", lines.String(), "application/x-ndjson"); status != 200 {
		t.Fatal(status, body)
	}
	r.call(t, "PATCH", "/api/v1/twins/m/reported", `{"on":true}`)
	look := func() {
		t.Helper()
		_, body := r.call(t, "GET", "/api/v1/twins/m/profile", "")
		var p struct {
			Complete bool
			Profiles []struct {
				Of           string
				Samples      int
				Weeks, Count []int
				Mean, P95    []*float64
			}
		}
		if err := json.Unmarshal([]byte(body), &p); err != nil || len(p.Profiles) != 1 || !p.Complete {
			t.Fatal(err, body)
		}
		load := p.Profiles[0]
		if load.Of != "telemetry.load" || load.Samples != quarters {
			t.Errorf("%d of %s", load.Samples, load.Of)
		}
		for h := range 168 {
			want := float64(1 + h)
			if *load.Mean[h] != want || math.Abs(*load.P95[h]-want) > want/100 || load.Count[h] != 4*load.Weeks[h] || load.Weeks[h] < 2 || load.Weeks[h] > 3 {
				t.Errorf("hour %d: mean %g, p95 %g, %d numbers in %d weeks", h, *load.Mean[h], *load.P95[h], load.Count[h], load.Weeks[h])
			}
		}
		_, body = r.call(t, "GET", "/api/v1/twins/m/behaviour", "")
		if !strings.Contains(body, `"of":"telemetry.door"`) || !strings.Contains(body, `"median":64800`) || !strings.Contains(body, `{"from":"false","to":"true","count":`) {
			t.Errorf("learned %s", body)
		}
	}
	look()
	r.stop()
	r.wait(t)
	r = start(t, c)
	look()
	r.stop()
	r.wait(t)
}
