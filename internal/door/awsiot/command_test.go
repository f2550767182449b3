package awsiot_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/twin"
)

func TestCommandDoor_Allow(t *testing.T) {
	d := awsiot.NewCommands(nil, nil)
	const base = "$aws/commands/things/a/executions/7/"
	for topic, want := range map[string]string{
		base + "response":                                    "",
		base + "response/json":                               "",
		base + "response/cbor":                               "CBOR is not spoken",
		base + "response/accepted/json":                      "Clients publish to",
		base + "response/rejected":                           "Clients publish to",
		base + "request/json":                                "Clients publish to",
		base + "request":                                     "Clients publish to",
		"$aws/commands/clients/a/executions/7/response/json": "Clients publish to",
		"$aws/commands/things/a/b/executions/7/response":     "Clients publish to",
		"$aws/commands/things/a":                             "Clients publish to",
	} {
		if !d.Serves(topic) {
			t.Errorf("%s is not served", topic)
		}
		err := d.Allow(topic)
		if want == "" && err != nil || want != "" && (twin.Kind(err) != twin.KindDenied || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", topic, err, want)
		}
	}
	if d.Serves("$aws/things/a/shadow/update") {
		t.Error("a topic of shadows is served")
	}
}

func TestCommandsOf(t *testing.T) {
	for filter, want := range map[string]twin.ThingName{
		"$aws/commands/things/a/executions/+/request/json":           "a",
		"$aws/commands/things/a/executions/+/request/#":              "a",
		"$aws/commands/things/a/#":                                   "a",
		"$aws/commands/things/a/executions/+/response/accepted/json": "",
		"$aws/commands/things/+/executions/+/request/json":           "",
		"twins/a/commands/+":                                         "",
	} {
		got, ok := awsiot.CommandsOf(filter)
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("%s: %q, want %q", filter, got, want)
		}
	}
}

func TestCommandMessage(t *testing.T) {
	c := twin.NewCommand("a", &twin.CommandRequest{ID: "7", Name: "reboot", Parameters: []byte(`{"operation":"restart"}`), ExpiresIn: time.Minute}, "", 1, 1)
	m, own := awsiot.CommandMessage(&c, 90*time.Second)
	if m.Topic != "$aws/commands/things/a/executions/7/request/json" || string(m.Payload) != `{"operation":"restart"}` || own != "$aws/commands/things/a/" || m.QoS != 1 {
		t.Errorf("%+v own %s", m, own)
	}
	if p := m.Properties; p.ExpirySeconds != 90 || p.ResponseTopic != "$aws/commands/things/a/executions/7/response/json" || p.User[0].Value != "reboot" {
		t.Errorf("%+v", p)
	}
}
