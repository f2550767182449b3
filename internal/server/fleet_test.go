package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// find returns the ids of the twins for which a condition holds.
func (r *running) find(t *testing.T, where string, more ...string) []string {
	t.Helper()
	status, body := r.call(t, "GET", "/api/v1/fleet?select=id&limit=1000&where="+url.QueryEscape(where)+strings.Join(more, ""), "")
	if status != 200 {
		t.Fatalf("%s: %d %s", where, status, body)
	}
	var page struct{ Twins []struct{ DeviceID string } }
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		t.Fatal(err)
	}
	ids := []string{}
	for _, x := range page.Twins {
		ids = append(ids, x.DeviceID)
	}
	return ids
}

func (r *running) finds(t *testing.T, where string, want ...string) {
	t.Helper()
	if got := r.find(t, where); !slices.Equal(got, append([]string{}, want...)) {
		t.Errorf("%s finds %v, want %v", where, got, want)
	}
}

// What was acknowledged is found by the next query: updates and telemetry over MQTT and
// HTTP, from many at once, with queries that keep the rows locked.
func TestFleet_readsItsWrites(t *testing.T) {
	r := start(t, config(t))
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				r.find(t, "reported.exists(k, reported[k] == -1)")
			}
		}
	})
	var writers sync.WaitGroup
	for i := range 6 {
		id := fmt.Sprintf("lamp-%d", i)
		d := connectAs(t, "tcp://"+r.addr(t, "mqtt"), id, nil)
		writers.Go(func() {
			for n := range rounds {
				switch i % 3 {
				case 0:
					d.publish(t, "$aws/things/"+id+"/shadow/update", fmt.Sprintf(`{"state":{"reported":{"n":%d}}}`, n))
					r.finds(t, fmt.Sprintf("id == %q && reported.n == %d", id, n), id)
				case 1:
					if status, body := r.call(t, "PATCH", "/api/v1/twins/"+id+"/desired", fmt.Sprintf(`{"n":%d}`, n)); status != 200 {
						t.Error(body)
						return
					}
					r.finds(t, fmt.Sprintf("id == %q && delta.n == %d", id, n), id)
				default:
					d.publish(t, "twins/"+id+"/telemetry", fmt.Sprintf(`{"n":%d}`, n))
					r.finds(t, fmt.Sprintf("id == %q && telemetry.n == %d", id, n), id)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	busy.Wait()
}

// The feed can be narrowed to twins for which a condition holds.
func TestFleet_feed(t *testing.T) {
	r := start(t, config(t))
	for _, x := range [][2]string{{"hot", `{"temp":90}`}, {"cold", `{"temp":5}`}, {"hot", `{"temp":95}`}, {"cold", `{"temp":99}`}, {"hot", `{"temp":1}`}} {
		if status, body := r.call(t, "PATCH", "/api/v1/twins/"+x[0]+"/reported", x[1]); status != 200 {
			t.Fatal(body)
		}
	}
	if status, body := r.call(t, "GET", "/api/v1/stream?where=reported.temp+%3E", ""); status != 400 || !strings.Contains(body, `"parameter":"where"`) {
		t.Errorf("%d %s", status, body)
	}
	// As the twins are when the events are delivered, cold is hot and hot is not.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+r.addr(t, "http")+"/api/v1/stream?after=0&where="+url.QueryEscape("reported.temp > 80"), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	var things []string
	for len(things) < 2 && lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			things = append(things, between(t, data, `"thing":"`))
		}
	}
	if !slices.Equal(things, []string{"cold", "cold"}) {
		t.Errorf("events of %v", things)
	}
}

// The twins as they were, also those that have changed, come or gone since.
func TestFleet_at(t *testing.T) {
	c := config(t)
	r := start(t, c)
	must := func(method, path, body string) {
		t.Helper()
		if status, body := r.call(t, method, path, body); status >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, status, body)
		}
	}
	must("POST", "/api/v1/models", "name: pump\ncomputed:\n  double: reported.temp * 2\n")
	must("POST", "/api/v1/twins", `{"deviceId":"changed","model":"pump"}`)
	for _, id := range []string{"changed", "same", "gone"} {
		must("PATCH", "/api/v1/twins/"+id+"/reported", `{"temp":20,"old":true}`)
	}
	must("PATCH", "/api/v1/twins/changed/desired", `{"temp":25}`)
	at := time.Now()
	until(t, "a moment later", func() bool { return time.Since(at) > 2*time.Millisecond })
	must("PATCH", "/api/v1/twins/changed/reported", `{"temp":90,"old":null}`)
	must("PATCH", "/api/v1/twins/new/reported", `{"temp":20}`)
	must("DELETE", "/api/v1/twins/gone", "")
	finds := func(where string, want ...string) {
		t.Helper()
		past := "&at=" + url.QueryEscape(at.UTC().Format(time.RFC3339Nano))
		if got := r.find(t, where, past); !slices.Equal(got, append([]string{}, want...)) {
			t.Errorf("%s found %v, want %v", where, got, want)
		}
	}
	for range 2 { // made, and kept
		finds("true", "changed", "gone", "same")
		finds("reported.temp == 20 && reported.old", "changed", "gone", "same")
		finds("computed.double == 40 && delta.temp == 25", "changed")
	}
	r.finds(t, "true", "changed", "new", "same")
	for _, x := range []string{"where=connected&at=2026-11-22T00:00:00Z", "at=yesterday", "at=2999-01-01T00:00:00Z"} {
		if status, body := r.call(t, "GET", "/api/v1/fleet?"+x, ""); status != 400 || !strings.Contains(body, `"parameter":"at"`) {
			t.Errorf("%s: %d %s", x, status, body)
		}
	}
	if status, body := r.call(t, "POST", "/api/v1/fleet/aggregate", `{"figures":["max(reported.temp)","count()"],"at":"`+at.UTC().Format(time.RFC3339Nano)+`"}`); status != 200 || !strings.Contains(body, `{"count()":3,"max(reported.temp)":20}`) {
		t.Errorf("%d %s", status, body)
	}
	changes := func(request, want string) {
		t.Helper()
		if status, body := r.call(t, "POST", "/api/v1/fleet/changes", `{"from":"`+at.UTC().Format(time.RFC3339Nano)+`"`+request+`}`); !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", request, status, body)
		}
	}
	changes("", `"before":3,"after":3,"entered":1,"left":1,"changed":1,"twins":[{"deviceId":"changed","kind":"changed","before":{"desired":{"temp":25},"reported":{"temp":20,"old":true}},"after":{"desired":{"temp":25},"reported":{"temp":90}}},`+
		`{"deviceId":"gone","kind":"left","before":{"desired":{},"reported":{"temp":20,"old":true}}},{"deviceId":"new","kind":"entered","after":`)
	changes(`,"where":"reported.temp > 50"`, `"columns":["reported.temp"],"before":0,"after":1,"entered":1,"left":0,"changed":0,"twins":[{"deviceId":"changed","kind":"entered","after":{"reported.temp":90}}]`)
	changes(`,"select":["computed.double"],"limit":1,"to":"`+at.UTC().Format(time.RFC3339Nano)+`"`, `"before":3,"after":3,"entered":0,"left":0,"changed":0,"twins":[]`)
	changes(`,"limit":2`, `"next":"`)
	changes(`,"to":"2026-01-01T00:00:00Z"`, `"pointer":"#/to"`)
	changes(`,"select":["connected"]`, `"pointer":"#/from"`)
	if status, body := r.call(t, "POST", "/api/v1/fleet/changes", `{}`); status != 400 || !strings.Contains(body, "#/from") {
		t.Errorf("%d %s", status, body)
	}
	if got := r.find(t, "true", "&at=2026-01-01T00:00:00Z"); len(got) != 0 {
		t.Errorf("before all: %v", got)
	}
}

// All that a twin has is found, and found again after a restart.
func TestFleet_restart(t *testing.T) {
	c := config(t)
	r := start(t, c)
	d := connectAs(t, "tcp://"+r.addr(t, "mqtt"), "pump-1", nil)
	for _, x := range [][3]string{
		{"POST", "/api/v1/models", "name: pump\ncomputed:\n  double: reported.temp * 2\nalarms:\n  hot: {when: reported.temp > 80, severity: error}\n"},
		{"POST", "/api/v1/twins", `{"deviceId":"pump-1","model":"pump","tags":{"site":"hh1"}}`},
		{"POST", "/api/v1/twins", `{"deviceId":"only-tags","tags":{"site":"b2"}}`},
		{"PATCH", "/api/v1/twins/named/reported?shadow=config", `{"x":1}`},
		{"PATCH", "/api/v1/twins/pump-1/desired", `{"temp":20}`},
		{"PATCH", "/api/v1/twins/gone/reported", `{"temp":1}`},
		{"DELETE", "/api/v1/twins/gone", ""},
	} {
		if status, body := r.call(t, x[0], x[1], x[2]); status >= 300 {
			t.Fatalf("%v: %d %s", x, status, body)
		}
	}
	d.publish(t, "$aws/things/pump-1/shadow/update", `{"state":{"reported":{"temp":90,"list":[1,2]}}}`)
	d.publish(t, "twins/pump-1/telemetry", `{"power":4000}`)
	d.publish(t, "twins/meter-9/telemetry", `{"power":7}`)
	found := map[string][]string{
		"true":                                 {"meter-9", "named", "only-tags", "pump-1"},
		"reported.temp > 80 && delta.temp==20": {"pump-1"}, `tags.site == "b2"`: {"only-tags"}, "computed.double == 180": {"pump-1"},
		`alarms.hot == "raised"`: {"pump-1"}, "alarmCount > 0": {"pump-1"}, "telemetry.power > 0": {"meter-9", "pump-1"}, "2 in reported.list": {"pump-1"},
		`model == "pump" && lastSeen <= now && driftSince <= now`: {"pump-1"},
	}
	for where, want := range found {
		r.finds(t, where, want...)
	}
	until(t, "connected", func() bool { return slices.Equal(r.find(t, "connected"), []string{"meter-9", "pump-1"}) })
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	r = start(t, c)
	for where, want := range found {
		r.finds(t, where, want...)
	}
	r.finds(t, "connected")
	if status, body := r.call(t, "POST", "/api/v1/twins/pump-1/alarms/hot/acknowledge", ""); status != 200 {
		t.Fatal(body)
	}
	r.finds(t, `alarms.hot == "acknowledged"`, "pump-1")
	r.call(t, "DELETE", "/api/v1/models/pump", "")
	r.finds(t, "has(computed.double)")
	r.call(t, "DELETE", "/api/v1/twins/pump-1?whole=true", "")
	r.call(t, "DELETE", "/api/v1/twins/named?shadow=config", "")
	r.finds(t, "true", "meter-9", "only-tags")
	if status, body := r.call(t, "POST", "/api/v1/fleet/aggregate", `{"figures":["count()"]}`); status != 200 || !strings.Contains(body, `"matched":2`) {
		t.Errorf("%d %s", status, body)
	}
}

// Named shadows are found as soon as they are acknowledged, and after a restart; one that is
// deleted is not.
func TestFleet_namedShadows(t *testing.T) {
	c := config(t)
	r := start(t, c)
	put := func(thing, shadow, section, body string) {
		t.Helper()
		if status, answer := r.call(t, "PATCH", "/api/v1/twins/"+thing+"/"+section+"?shadow="+shadow, body); status != 200 {
			t.Fatal(answer)
		}
	}
	put("a", "conf", "reported", `{"interval":5,"net":{"ssid":"x"}}`)
	put("a", "conf", "desired", `{"interval":10}`)
	put("b", "conf", "reported", `{"interval":50}`)
	put("b", "net-1", "reported", `{"up":true}`)
	r.call(t, "PATCH", "/api/v1/twins/c/reported", `{"interval":5}`)
	look := func() {
		t.Helper()
		r.finds(t, `shadows.conf.reported.interval >= 5`, "a", "b")
		r.finds(t, `shadows.conf.delta.interval == 10 && shadows.conf.version == 2`, "a")
		r.finds(t, `shadows.conf.reported.net.ssid.startsWith("x")`, "a")
		r.finds(t, `has(shadows.conf)`, "a", "b")
		r.finds(t, `shadows["net-1"].reported.up`, "b")
		r.finds(t, `!has(shadows.conf)`, "c")
		r.finds(t, `shadows.exists(name, name.startsWith("net"))`, "b")
	}
	look()
	if _, body := r.call(t, "GET", "/api/v1/fleet?select=shadows&where="+url.QueryEscape(`id == "a"`), ""); !strings.Contains(body, `{"conf":{"version":2,"reported":{"interval":5,"net":{"ssid":"x"}},"desired":{"interval":10},"delta":{"interval":10}}}`) {
		t.Error(body)
	}
	r.stop()
	r.wait(t)
	r = start(t, c)
	look()
	r.call(t, "DELETE", "/api/v1/twins/b?shadow=conf", "")
	r.finds(t, `has(shadows.conf)`, "a")
	r.call(t, "DELETE", "/api/v1/twins/b?shadow=net-1", "")
	r.finds(t, "true", "a", "c")
	r.call(t, "DELETE", "/api/v1/twins/a?shadow=conf", "")
	r.finds(t, `has(shadows.conf)`)
	r.stop()
	r.wait(t)
}
