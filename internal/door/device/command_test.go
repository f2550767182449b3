package device_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/door/device"
	"github.com/twofold-iot/twofold/twin"
)

// answers are commands that write down what they are told.
type answers struct {
	got []string
	err error
}

func (a *answers) Answer(thing twin.ThingName, id twin.CommandID, s twin.CommandStep, o twin.Origin, done func(error)) {
	a.got = append(a.got, string(thing)+" "+string(id)+" "+string(s.State)+" by "+o.Session)
	done(a.err)
}

func TestCommandDoor_Publish(t *testing.T) {
	f, a := newFake(), &answers{}
	d := device.NewCommands(a, f)
	publish := func(topic, payload string) (taken bool, err error) {
		p := &twin.Publish{Message: twin.Message{Topic: topic, Payload: []byte(payload)}, Origin: twin.Origin{Session: "gw"}}
		taken = d.Publish(p, func(e error) { err = e })
		return taken, err
	}
	for _, other := range []string{
		"twins/a/commands/1", "twins/a/commands/status", "twins/a/b/commands/1/status", "twins/a/commands/1/2/status",
		"twins/a/events", "twin/a/commands/1/status", "twins/commands/1/status", "x",
	} {
		if taken, _ := publish(other, `{"status":"done"}`); taken {
			t.Errorf("%s is taken", other)
		}
	}
	const status = "twins/a/commands/1/status"
	if taken, err := publish(status, `{"status":"in_progress"}`); !taken || err != nil || len(a.got) != 1 || a.got[0] != "a 1 accepted by gw" {
		t.Errorf("taken %v, %v, got %v", taken, err, a.got)
	}
	// What would be refused again if it were sent again is acknowledged.
	for kind, acked := range map[twin.ErrorKind]bool{
		twin.KindConflict: true, twin.KindNotFound: true,
		twin.KindFull: false, twin.KindUnavailable: false, twin.KindThrottled: false, twin.KindInternal: false,
	} {
		a.err = twin.NewError(kind, "no")
		if _, err := publish(status, `{"status":"done"}`); (err == nil) != acked {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := publish(status, `{}`); err != nil || len(f.rejected) != 1 {
		t.Errorf("no answer at all: %v, rejected %v", err, f.rejected)
	}
	if _, err := publish("twins/a b/commands/1/status", `{"status":"done"}`); twin.Kind(err) != twin.KindInvalid {
		t.Errorf("no thing name: %v", err)
	}
}

func TestCommandsOf(t *testing.T) {
	for filter, want := range map[string]twin.ThingName{
		"twins/a/commands/+": "a", "twins/a/commands/#": "a", "twins/a/#": "a", "twins/a/+/+": "a", "twins/a/commands/7": "a",
		"twins/a/commands/7/status": "", "twins/a/telemetry": "", "twins/+/commands/+": "", "twins/#": "", "#": "", "twins/a": "",
		"$aws/things/a/shadow/update/delta": "",
	} {
		got, ok := device.CommandsOf(filter)
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("%s: %q, want %q", filter, got, want)
		}
	}
}

func TestCommandMessage(t *testing.T) {
	at := twin.TimeOf(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	c := twin.NewCommand("a", &twin.CommandRequest{ID: "7", Name: "go", Parameters: []byte(`{"x":9007199254740993}`), ExpiresIn: time.Minute}, "", 1, at)
	m, own, err := device.CommandMessage(&c, 1500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"7","name":"go","parameters":{"x":9007199254740993},"createdAt":"2026-11-22T12:00:00Z","expiresAt":"2026-11-22T12:01:00Z"}`
	if m.Topic != "twins/a/commands/7" || own != "twins/a/" || string(m.Payload) != want || !json.Valid(m.Payload) {
		t.Errorf("%s %s (own %s)", m.Topic, m.Payload, own)
	}
	if p := m.Properties; p.ExpirySeconds != 2 || p.ResponseTopic != "twins/a/commands/7/status" || string(p.CorrelationData) != "7" {
		t.Errorf("%+v", p)
	}
	if m, _, _ := device.CommandMessage(&c, -time.Second); m.Properties.ExpirySeconds != 1 {
		t.Errorf("one that has expired never would: %d s", m.Properties.ExpirySeconds)
	}
}
