package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// nextMessage returns the next message of a device.
func (d *device) nextMessage(t *testing.T) paho.Message {
	t.Helper()
	return receive(t, d.got)
}

// command is what the REST door shows of one.
type command struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	State      string          `json:"state"`
	Progress   *int            `json:"progress"`
	Message    string          `json:"message"`
	Reason     string          `json:"reason"`
	Parameters json.RawMessage `json:"parameters"`
	Result     json.RawMessage `json:"result"`
	Delivered  string          `json:"deliveredAt"`
	Accepted   string          `json:"acceptedAt"`
	Ended      string          `json:"endedAt"`
}

func (r *running) send(t *testing.T, thing, body string) command {
	t.Helper()
	status, answer := r.call(t, "POST", "/api/v1/twins/"+thing+"/commands", body)
	if status != 201 {
		t.Fatalf("POST command: %d %s", status, answer)
	}
	return parseCommand(t, answer)
}

func parseCommand(t *testing.T, body string) command {
	t.Helper()
	var c command
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return c
}

// ended waits for the end of a command.
func (r *running) ended(t *testing.T, thing, id string) command {
	t.Helper()
	status, answer := r.call(t, "GET", "/api/v1/twins/"+thing+"/commands/"+id+"?wait=10s", "")
	if status != 200 {
		t.Fatalf("GET command: %d %s", status, answer)
	}
	return parseCommand(t, answer)
}

// eventTypes returns the types of the command events of a thing with one id, oldest first.
func (r *running) eventTypes(t *testing.T, thing, id string) string {
	t.Helper()
	status, body := r.call(t, "GET", "/api/v1/twins/"+thing+"/events?kind=command&order=oldest&correlation="+id, "")
	if status != 200 {
		t.Fatalf("events: %d %s", status, body)
	}
	var page struct{ Events []struct{ Type string } }
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, e := range page.Events {
		types = append(types, e.Type)
	}
	return strings.Join(types, " ")
}

func (r *running) createTwin(t *testing.T, thing string) {
	t.Helper()
	if status, body := r.call(t, "POST", "/api/v1/twins", fmt.Sprintf(`{"deviceId":%q}`, thing)); status != 201 {
		t.Fatalf("create %s: %d %s", thing, status, body)
	}
}

// A command goes to a device that is there, and its answers come back, each an event.
func TestCommands_life(t *testing.T) {
	r := start(t, config(t))
	r.createTwin(t, "lamp-1")
	d := connect(t, "tcp://"+r.addr(t, "mqtt"), nil)
	d.subscribe(t, "twins/lamp-1/commands/+")
	c := r.send(t, "lamp-1", `{"name":"blink","parameters":{"times": 3},"expiresIn":"1m"}`)
	if c.State != "queued" || c.Name != "blink" {
		t.Errorf("queued: %+v", c)
	}
	m := d.nextMessage(t)
	if m.Topic() != "twins/lamp-1/commands/"+c.ID || m.Qos() != 1 {
		t.Fatalf("the message came on %s with QoS %d", m.Topic(), m.Qos())
	}
	if got := parseCommand(t, string(m.Payload())); got.ID != c.ID || got.Name != "blink" || string(got.Parameters) != `{"times":3}` {
		t.Errorf("the device got %s", m.Payload())
	}
	status := "twins/lamp-1/commands/" + c.ID + "/status"
	d.publish(t, status, `{"status":"accepted"}`)
	d.publish(t, status, `{"status":"in_progress","progress":50,"message":"half way"}`)
	d.publish(t, status, `{"status":"done","result":{"blinked": 3}}`)
	d.publish(t, status, `{"status":"done","result":{"blinked":3}}`) // says the same again
	got := r.ended(t, "lamp-1", c.ID)
	if got.State != "done" || *got.Progress != 50 || got.Message != "half way" || string(got.Result) != `{"blinked":3}` || got.Accepted == "" || got.Ended == "" {
		t.Errorf("done: %+v", got)
	}
	if types := r.eventTypes(t, "lamp-1", c.ID); types != "queued delivered accepted progress done" && types != "queued accepted progress done" {
		t.Errorf("events: %s", types)
	}
	// A second, other end changes nothing, and is noted.
	d.publish(t, status, `{"status":"failed"}`)
	if got := r.ended(t, "lamp-1", c.ID); got.State != "done" {
		t.Errorf("after its end: %+v", got)
	}
	until(t, "the late answer is noted", func() bool {
		_, body := r.call(t, "GET", "/api/v1/twins/lamp-1/events?kind=rejected&severity=warning", "")
		return strings.Contains(body, "is done since") && strings.Contains(body, c.ID)
	})
}

// A device of AWS IoT Commands is served as it is used to.
func TestCommands_aws(t *testing.T) {
	r := start(t, config(t))
	r.createTwin(t, "lamp-1")
	d := connect(t, "tcp://"+r.addr(t, "mqtt"), nil)
	const base = "$aws/commands/things/lamp-1/executions/"
	d.subscribe(t, base+"+/request/+")
	d.subscribe(t, base+"+/response/accepted/json")
	d.subscribe(t, base+"+/response/rejected/json")
	c := r.send(t, "lamp-1", `{"id":"exec-1","name":"reboot","parameters":{"operation":"restart"}}`)
	if m := d.nextMessage(t); m.Topic() != base+"exec-1/request/json" || string(m.Payload()) != `{"operation":"restart"}` {
		t.Fatalf("got %s on %s", m.Payload(), m.Topic())
	}
	answer := func(payload, how, want string) {
		t.Helper()
		d.publish(t, base+"exec-1/response/json", payload)
		if m := d.nextMessage(t); m.Topic() != base+"exec-1/response/"+how+"/json" || !strings.Contains(string(m.Payload()), want) {
			t.Errorf("%s: %s on %s, want %s with %s", payload, m.Payload(), m.Topic(), how, want)
		}
	}
	answer(`{"status":"IN_PROGRESS","statusReason":{"reasonCode":"PROCESSING","reasonDescription":"at work"}}`, "accepted", `{"executionId":"exec-1"}`)
	answer(`{"status":"FINE"}`, "rejected", `"error":"InvalidRequest"`)
	answer(`{"status":"FAILED","statusReason":{"reasonCode":"bad one"}}`, "rejected", `"error":"InvalidRequest"`)
	answer(`no`, "rejected", `"error":"InvalidJson"`)
	answer(`{"status":"SUCCEEDED","result":{"took":{"s":"3"}},"executionId":"exec-1","deviceType":"things"}`, "accepted", `"exec-1"`)
	answer(`{"status":"FAILED"}`, "rejected", `"error":"InvalidStateTransition"`)
	if got := r.ended(t, "lamp-1", c.ID); got.State != "done" || got.Reason != "PROCESSING" || string(got.Result) != `{"took":{"s":"3"}}` {
		t.Errorf("%+v", got)
	}
	d.subscribe(t, base+"none/response/rejected/json")
	d.publish(t, base+"none/response/json", `{"status":"SUCCEEDED"}`)
	if m := d.nextMessage(t); !strings.Contains(string(m.Payload()), "ResourceNotFound") {
		t.Errorf("unknown: %s", m.Payload())
	}
}
