package bridge_test

import (
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/bridge"
)

func TestOptions_Check(t *testing.T) {
	for _, c := range []struct {
		url, id, topics, back, fault string
	}{
		{"mqtt://b:1883", "x", "twins/# $share/g/$aws/things/+/shadow/update", "$aws/things/+/shadow/update/delta", ""},
		{"mqtts://b:8883", "x", "#", "$aws/things/+/shadow/update/delta", ""},
		{"http://b:1883", "x", "a", "", "is not an address"},
		{"mqtt://u:p@b:1883", "x", "a", "", "settings of their own"},
		{"mqtt://b:1883", "", "a", "", "client id"},
		{"mqtt://b:1883", "x", "", "", "no topics"},
		{"mqtt://b:1883", "x", "a/#/b", "", "no topic filter"},
		{"mqtt://b:1883", "x", "$share/g", "", "no topic filter"},
		{"mqtt://b:1883", "x", "a", "b+", "no topic filter"},
		{"mqtt://b:1883", "x", "$aws/things/#", "$aws/things/+/shadow/update/delta", "a loop"},
		{"mqtt://b:1883", "x", "$share/g/a/+/c", "a/b/#", "a loop"},
		{"mqtt://b:1883", "x", "a/b", "a/b/#", "a loop"},
		{"mqtt://b:1883", "x", "a/b", "a/+/c", ""},
		{"mqtt://b:1883", "x", strings.Repeat("a ", bridge.FiltersMax+1), "", "more than"},
	} {
		o := bridge.Options{URL: c.url, ClientID: c.id, Topics: strings.Fields(c.topics), Back: strings.Fields(c.back)}
		err := o.Check()
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%+v: %v, want %q", c, err, c.fault)
		}
	}
}
