package device_test

import (
	"fmt"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/device"
	"github.com/twofold-iot/twofold/twin"
)

// said are intents that write down what they are told.
type said struct {
	got []string
	err error
}

func (s *said) IntentAnswered(key twin.ShadowKey, v twin.Version, status, message string, o twin.Origin, done func(error)) error {
	s.got = append(s.got, fmt.Sprintf("%s/%s v%d %s %q by %s", key.Thing, key.Shadow, v, status, message, o.Session))
	done(s.err)
	return nil
}

func TestIntentDoor_Publish(t *testing.T) {
	f, s := newFake(), &said{}
	d := device.NewIntents(s, f)
	publish := func(topic, payload string) (taken bool, err error) {
		p := &twin.Publish{Message: twin.Message{Topic: topic, Payload: []byte(payload)}, Origin: twin.Origin{Session: "gw"}}
		taken = d.Publish(p, func(e error) { err = e })
		return taken, err
	}
	for _, other := range []string{"twins/a/intents/1", "twins/a/intents/status", "twins/a/commands/1/status", "twins/a/b/intents/1/status", "x"} {
		if taken, _ := publish(other, `{"status":"rejected"}`); taken {
			t.Errorf("%s is taken", other)
		}
	}
	for topic, payload := range map[string]string{"twins/a/intents/12/status": `{"status":"in_progress"}`, "twins/a/intents/v13/status": `{"status":"rejected","message":"no","shadow":"conf"}`} {
		if taken, err := publish(topic, payload); !taken || err != nil {
			t.Error(topic, taken, err)
		}
	}
	if len(s.got) != 2 || s.got[0] != `a/ v12 in_progress "" by gw` && s.got[1] != `a/ v12 in_progress "" by gw` || s.got[1] != `a/conf v13 rejected "no" by gw` && s.got[0] != `a/conf v13 rejected "no" by gw` {
		t.Errorf("got %q", s.got)
	}
	for topic, payload := range map[string]string{
		"twins/a/intents/1/status": `{"status":"done"}`, "twins/a/intents/2/status": `{"status":"rejected","why":1}`, "twins/a/intents/3/status": `[]`,
		"twins/a/intents/x/status": `{"status":"rejected"}`, "twins/a/intents/4/status": `{"status":"rejected"} {}`, "twins/a/intents/5/status": `{"status":"rejected","shadow":"a b"}`,
	} {
		if taken, err := publish(topic, payload); !taken || err != nil {
			t.Error(topic, payload, taken, err)
		}
	}
	if len(f.rejected) != 6 || len(s.got) != 2 {
		t.Errorf("rejected %q, got %q", f.rejected, s.got)
	}
	// Too late is acknowledged and noted; what may go better later is not acknowledged.
	s.err = twin.NewError(twin.KindNotFound, "not open")
	if _, err := publish("twins/a/intents/1/status", `{"status":"accepted"}`); err != nil || len(f.rejected) != 7 {
		t.Error(err, f.rejected)
	}
	s.err = twin.NewError(twin.KindUnavailable, "stopping")
	if _, err := publish("twins/a/intents/1/status", `{"status":"accepted"}`); err == nil {
		t.Error("an answer that is not kept is acknowledged")
	}
	if _, err := publish("twins/a b/intents/1/status", `{"status":"accepted"}`); twin.Kind(err) != twin.KindInvalid {
		t.Error(err)
	}
}
