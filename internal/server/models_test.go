package server_test

import (
	"strings"
	"testing"
)

const freezer = `name: freezer
alarms:
  warm:
    when: telemetry.temperature > -10
    severity: error
    message: "{telemetry.temperature} degrees"
  gone:
    when: "!connected"
    for: 1s
`

// alarms returns the types and names of the alarm events of a thing, oldest first.
func (r *running) alarms(t *testing.T, thing string) string {
	t.Helper()
	status, body := r.call(t, "GET", "/api/v1/twins/"+thing+"/events?kind=alarm&order=oldest&format=ndjson", "")
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	var texts []string
	for line := range strings.Lines(body) {
		texts = append(texts, between(t, line, `"correlationId":"`)+" "+between(t, line, `"type":"`))
	}
	return strings.Join(texts, ", ")
}

func between(t *testing.T, text, before string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, before)
	if !ok {
		t.Fatalf("%s is not in %s", before, text)
	}
	inside, _, _ := strings.Cut(rest, `"`)
	return inside
}

// Telemetry and the connection raise and clear alarms; what is raised stays so over a
// restart, and what is pending goes on.
func TestModels_telemetryAndConnection(t *testing.T) {
	c := config(t)
	r := start(t, c)
	if status, body := r.call(t, "POST", "/api/v1/twins", `{"deviceId":"freezer-1","model":"freezer"}`); status != 201 {
		t.Fatal(body)
	}
	r.call(t, "POST", "/api/v1/twins", `{"deviceId":"freezer-2","model":"freezer"}`)
	device := connectAs(t, "tcp://"+r.addr(t, "mqtt"), "freezer-1", nil)
	until(t, "connected", func() bool {
		_, body := r.call(t, "GET", "/api/v1/twins/freezer-1", "")
		return strings.Contains(body, `"connected":true`)
	})
	device.publish(t, "twins/freezer-1/telemetry", `{"temperature":-4}`)
	if status, body := r.call(t, "POST", "/api/v1/models", freezer); status != 200 {
		t.Fatal(body)
	}
	until(t, "a model that comes after the sample", func() bool { return r.alarms(t, "freezer-1") == "warm raised" })
	// Each sample is seen, also one that the next follows at once.
	for range 20 {
		device.Publish("twins/freezer-1/telemetry", 1, false, `{"temperature":-20}`)
		device.Publish("twins/freezer-1/telemetry", 1, false, `{"temperature":-4.5}`)
	}
	want := "warm raised" + strings.Repeat(", warm cleared, warm raised", 20)
	until(t, "each sample", func() bool { return r.alarms(t, "freezer-1") == want })
	until(t, "one that never came", func() bool { return r.alarms(t, "freezer-2") == "gone raised" })
	device.Disconnect(0)
	until(t, "the disconnect", func() bool { return r.alarms(t, "freezer-1") == want+", gone raised" })
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	r = start(t, c)
	if _, body := r.call(t, "GET", "/api/v1/alarms", ""); !strings.Contains(body, `"total":3`) {
		t.Errorf("after a restart: %s", body)
	}
	connectAs(t, "tcp://"+r.addr(t, "mqtt"), "freezer-2", nil)
	until(t, "it comes", func() bool { return r.alarms(t, "freezer-2") == "gone raised, gone cleared" })
	r.call(t, "POST", "/api/v1/twins/freezer-1/telemetry", `{"temperature":-20}`)
	until(t, "cold again", func() bool { return r.alarms(t, "freezer-1") == want+", gone raised, warm cleared" })
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
}
