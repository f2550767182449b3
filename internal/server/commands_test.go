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

// nextCommand passes over what an earlier connection of a persistent session had but not
// acknowledged: that comes again.
func (d *device) nextCommand(t *testing.T) paho.Message {
	t.Helper()
	for {
		if m := d.nextMessage(t); m.Topic() != "sentinel" {
			return m
		}
	}
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

// commandsOf is a client with a persistent session that takes the commands of pump-7.
func (r *running) commandsOf(t *testing.T, id, filter string, clean bool) *device {
	t.Helper()
	d := &device{got: make(chan paho.Message, 10_000)}
	opts := paho.NewClientOptions().AddBroker("tcp://" + r.addr(t, "mqtt")).SetClientID(id).SetCleanSession(clean).
		SetConnectTimeout(waitMax).SetAutoReconnect(false).SetConnectRetry(false).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { d.got <- m })
	d.Client = paho.NewClient(opts)
	d.wait(t, d.Connect())
	t.Cleanup(func() { d.Disconnect(0) })
	if filter != "" {
		d.wait(t, d.Subscribe(filter, 1, nil))
	}
	return d
}

func (d *device) noMessage(t *testing.T) {
	t.Helper()
	// What was published before the answer to this has come before it.
	d.wait(t, d.Subscribe("sentinel", 1, nil))
	d.publish(t, "sentinel", "x")
	if m := d.nextMessage(t); m.Topic() != "sentinel" {
		t.Fatalf("%s on %s", m.Payload(), m.Topic())
	}
}

// A device that returns gets what is pending, in order and once: not what was cancelled,
// what it had, or what is done; also over a restart of the server, and with a session
// that persists.
func TestCommands_returns(t *testing.T) {
	for _, clean := range []bool{true, false} {
		for _, filter := range []string{"twins/pump-7/commands/+", "$aws/commands/things/pump-7/executions/+/request/#"} {
			t.Run(fmt.Sprintf("clean=%v %s", clean, filter[:4]), func(t *testing.T) { returns(t, clean, filter) })
		}
	}
}

func returns(t *testing.T, clean bool, filter string) {
	conf := config(t)
	r := start(t, conf)
	r.createTwin(t, "pump-7")
	idOf := func(m paho.Message) string {
		if id, own := strings.CutPrefix(m.Topic(), "twins/pump-7/commands/"); own {
			return id
		}
		return strings.Split(m.Topic(), "/")[5]
	}
	d := r.commandsOf(t, "pump-7", filter, clean)
	r.send(t, "pump-7", `{"id":"had","name":"a"}`)
	if got := idOf(d.nextMessage(t)); got != "had" {
		t.Fatalf("got %s", got)
	}
	until(t, "it is delivered", func() bool { return r.ended0(t, "pump-7", "had").State == "delivered" })
	d.Disconnect(0)
	until(t, "it is gone", func() bool {
		_, body := r.call(t, "GET", "/api/v1/twins/pump-7?history=false", "")
		return strings.Contains(body, `"connected":false`)
	})
	for i := range 10 {
		r.send(t, "pump-7", fmt.Sprintf(`{"id":"p%d","name":"a"}`, i))
	}
	r.call(t, "POST", "/api/v1/twins/pump-7/commands/p4/cancel", "")
	d = r.commandsOf(t, "pump-7", filter, clean)
	want := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			if got := idOf(d.nextCommand(t)); got != id {
				t.Fatalf("got %s, want %s", got, id)
			}
		}
	}
	want("p0", "p1", "p2", "p3", "p5", "p6", "p7", "p8", "p9")
	d.noMessage(t)
	until(t, "all are delivered", func() bool { return r.ended0(t, "pump-7", "p9").State == "delivered" })
	d.Disconnect(0)
	until(t, "it is gone", func() bool {
		_, body := r.call(t, "GET", "/api/v1/twins/pump-7?history=false", "")
		return strings.Contains(body, `"connected":false`)
	})
	r.send(t, "pump-7", `{"id":"q1","name":"a"}`)
	r.send(t, "pump-7", `{"id":"q2","name":"a"}`)
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	r = start(t, conf)
	d = r.commandsOf(t, "pump-7", "", clean)
	if clean {
		d.wait(t, d.Subscribe(filter, 1, nil))
	}
	want("q1", "q2")
	d.noMessage(t)
	d.publish(t, "twins/pump-7/commands/q1/status", `{"status":"done"}`)
	if got := r.ended(t, "pump-7", "q1"); got.State != "done" {
		t.Errorf("%+v", got)
	}
}

// ended0 reads a command at once.
func (r *running) ended0(t *testing.T, thing, id string) command {
	t.Helper()
	status, answer := r.call(t, "GET", "/api/v1/twins/"+thing+"/commands/"+id, "")
	if status != 200 {
		t.Fatalf("GET command: %d %s", status, answer)
	}
	return parseCommand(t, answer)
}

// Who looks on by a wildcard does not take a command away from its device.
func TestCommands_watched(t *testing.T) {
	r := start(t, config(t))
	r.createTwin(t, "pump-7")
	watcher := r.commandsOf(t, "watcher", "twins/+/commands/#", true)
	r.send(t, "pump-7", `{"id":"c1","name":"a"}`)
	watcher.noMessage(t)
	d := r.commandsOf(t, "pump-7", "twins/pump-7/#", true)
	if m := d.nextMessage(t); m.Topic() != "twins/pump-7/commands/c1" {
		t.Errorf("got %s", m.Topic())
	}
	if m := watcher.nextMessage(t); m.Topic() != "twins/pump-7/commands/c1" {
		t.Errorf("the watcher got %s", m.Topic())
	}
}

// A device that is subscribed to both families of topics gets one of them.
func TestCommands_oneForm(t *testing.T) {
	r := start(t, config(t))
	r.createTwin(t, "pump-7")
	d := r.commandsOf(t, "pump-7", "twins/pump-7/commands/+", true)
	d.wait(t, d.Subscribe("$aws/commands/things/pump-7/executions/+/request/json", 1, nil))
	for i := range 5 {
		r.send(t, "pump-7", fmt.Sprintf(`{"id":"c%d","name":"a"}`, i))
		if m := d.nextMessage(t); m.Topic() != fmt.Sprintf("twins/pump-7/commands/c%d", i) {
			t.Errorf("got %s", m.Topic())
		}
	}
	d.noMessage(t)
}

// What is expired is not delivered, and says so.
func TestCommands_expires(t *testing.T) {
	r := start(t, config(t))
	r.createTwin(t, "pump-7")
	c := r.send(t, "pump-7", `{"id":"c1","name":"a","expiresIn":"1s"}`)
	if got := r.ended(t, "pump-7", c.ID); got.State != "expired" {
		t.Fatalf("%+v", got)
	}
	d := r.commandsOf(t, "pump-7", "twins/pump-7/commands/+", true)
	d.noMessage(t)
	d.publish(t, "twins/pump-7/commands/c1/status", `{"status":"done"}`)
	if got := r.ended(t, "pump-7", "c1"); got.State != "expired" {
		t.Errorf("an answer after the expiry: %+v", got)
	}
	if types := r.eventTypes(t, "pump-7", "c1"); types != "queued expired" {
		t.Errorf("events: %s", types)
	}
	const execution = "$aws/commands/things/pump-7/executions/c1/response/"
	d.wait(t, d.Subscribe(execution+"rejected/json", 1, nil))
	d.publish(t, execution+"json", `{"status":"IN_PROGRESS"}`)
	if m := d.nextMessage(t); !strings.Contains(string(m.Payload()), "InvalidStateTransition") || !strings.Contains(string(m.Payload()), "is expired since") {
		t.Errorf("an answer of AWS after the expiry: %s on %s", m.Payload(), m.Topic())
	}
}

// Answers that make no sense are noted, and disturb nothing; so are topics that are not
// for devices.
func TestCommands_badAnswers(t *testing.T) {
	r := start(t, config(t))
	r.createTwin(t, "lamp-1")
	d := connect(t, "tcp://"+r.addr(t, "mqtt"), nil)
	d.subscribe(t, "twins/lamp-1/commands/+")
	r.send(t, "lamp-1", `{"id":"c1","name":"a"}`)
	d.nextMessage(t)
	for _, bad := range []string{`{}`, `[]`, `{"status":"fine"}`, `{"status":"done","progress":200}`, ``, "\xff"} {
		d.publish(t, "twins/lamp-1/commands/c1/status", bad)
	}
	d.publish(t, "twins/lamp-1/commands/none/status", `{"status":"done"}`)
	d.publish(t, "twins/lamp-1/commands/c1/status", `{"status":"done"}`)
	if got := r.ended(t, "lamp-1", "c1"); got.State != "done" {
		t.Errorf("%+v", got)
	}
	_, body := r.call(t, "GET", "/api/v1/twins/lamp-1/events?kind=rejected", "")
	if !strings.Contains(body, "Invalid answer to a command") {
		t.Errorf("rejections: %s", body)
	}
	// A 3.1.1 client that publishes where only the server may is cut off.
	d.Publish("$aws/commands/things/lamp-1/executions/c1/request/json", 0, false, "{}")
	until(t, "it is cut off", func() bool { return !d.IsConnected() })
}

// A behaviour sends a command: once, also over a restart.
func TestCommands_ofBehaviour(t *testing.T) {
	c := config(t)
	r := start(t, c)
	r.createTwin(t, "pump-1")
	if status, body := r.call(t, "PATCH", "/api/v1/twins/pump-1", `{"model":"pump"}`); status != 200 {
		t.Fatal(body)
	}
	const source = "name: pump\nbehaviour:\n  states:\n    clean: {to: {dirty: reported.turbidity > 5}}\n    dirty: {to: {clean: reported.turbidity < 2}, enter: [{command: {name: flush, parameters: {seconds: 30}, expiresIn: 10m}, severity: warning}]}\n"
	if status, body := r.call(t, "POST", "/api/v1/models", source); status != 200 {
		t.Fatal(body)
	}
	sent := func() int {
		_, body := r.call(t, "GET", "/api/v1/twins/pump-1/commands", "")
		return strings.Count(body, `"name":"flush","parameters":{"seconds":30}`)
	}
	report := func(x string) { r.call(t, "PATCH", "/api/v1/twins/pump-1/reported", `{"turbidity":`+x+`}`) }
	report("9")
	until(t, "one command", func() bool { return sent() == 1 })
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	r = start(t, c)
	report("1")
	report("8")
	until(t, "two commands", func() bool { return sent() == 2 })
	_, body := r.call(t, "GET", "/api/v1/twins/pump-1/events?kind=behaviour&type=command", "")
	if strings.Count(body, `"severity":"warning"`) != 2 || !strings.Contains(body, `"command":{"name":"flush","parameters":{"seconds":30},"expiresIn":"10m0s"}`) {
		t.Error(body)
	}
}
