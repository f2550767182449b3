package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

func (r *running) client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New("http://"+r.addr(t, "http"), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Of many who change the same version, one wins, whichever door they come by.
func TestDoors_oneWins(t *testing.T) {
	const rounds, racers = 20, 8
	r := start(t, config(t))
	c, ctx := r.client(t), context.Background()
	d := connect(t, "tcp://"+r.addr(t, "mqtt"), nil)
	d.subscribe(t, lamp+"/accepted")
	for version := range twin.Version(rounds) {
		if version == 0 {
			if _, err := c.PatchDesired(ctx, "lamp-1", json.RawMessage(`{"n":0}`), client.ChangeOptions{}); err != nil {
				t.Fatal(err)
			}
			d.next(t, lamp+"/accepted")
			continue
		}
		var won atomic.Int32
		var race sync.WaitGroup
		for i := range racers {
			race.Go(func() {
				_, err := c.PatchDesired(ctx, "lamp-1", json.RawMessage(fmt.Sprintf(`{"n":%d}`, i)), client.ChangeOptions{IfVersion: version})
				if err == nil {
					won.Add(1)
				} else if !client.IsConflict(err) {
					t.Error(err)
				}
			})
		}
		race.Go(func() { d.publish(t, lamp, fmt.Sprintf(`{"state":{"desired":{"n":99}},"version":%d}`, version)) })
		race.Wait()
		got, err := c.Twin(ctx, "lamp-1", "")
		if err != nil {
			t.Fatal(err)
		}
		if got.Version != version+1 || won.Load() > 1 {
			t.Fatalf("%d changes of version %d by REST won, the twin is at version %d", won.Load(), version, got.Version)
		}
		// The one accepted message is the winner's.
		if state := d.next(t, lamp+"/accepted"); state != `{"desired":`+string(got.DesiredState)+`}` {
			t.Fatalf("accepted %s, the twin has %s", state, got.DesiredState)
		}
	}
}

// The same Idempotency-Key has one effect: at the same time, later, and after a
// restart; another request under it is refused.
func TestDoors_idempotencyKey(t *testing.T) {
	conf := config(t)
	r := start(t, conf)
	c, ctx := r.client(t), context.Background()
	once := client.ChangeOptions{IdempotencyKey: "order-7"}
	body := json.RawMessage(`{"level":80}`)
	var fresh atomic.Int32
	var race sync.WaitGroup
	for range 8 {
		race.Go(func() {
			ch, err := c.PatchDesired(ctx, "lamp-1", body, once)
			if err != nil || ch.Version != 1 {
				t.Errorf("%+v %v", ch, err)
			} else if !ch.Replayed {
				fresh.Add(1)
			}
		})
	}
	race.Wait()
	if fresh.Load() != 1 {
		t.Errorf("%d requests took effect", fresh.Load())
	}
	if _, err := c.PatchDesired(ctx, "lamp-1", json.RawMessage(`{"level":90}`), client.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	c = start(t, conf).client(t)
	if ch, err := c.PatchDesired(ctx, "lamp-1", body, once); err != nil || !ch.Replayed || ch.Version != 1 {
		t.Errorf("after a restart: %+v %v", ch, err)
	}
	if ch, err := c.PatchDesired(ctx, "lamp-1", json.RawMessage(`{"level":1}`), once); err == nil {
		t.Errorf("another request under the key is accepted: %+v", ch)
	}
	got, err := c.Twin(ctx, "lamp-1", "")
	if err != nil || got.Version != 2 || string(got.DesiredState) != `{"level":90}` {
		t.Errorf("%+v %v", got, err)
	}
}

// A persistent MQTT 5 session gets the deltas of the time it was away, in order,
// also after the server was restarted.
func TestDoors_sessionSurvivesRestart(t *testing.T) {
	conf := config(t)
	r := start(t, conf)
	conf.MQTT.Listen = r.addr(t, "mqtt") // the same port again
	got := make(chan string, 10)
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	connect5 := func() *autopaho.ConnectionManager {
		cm, err := autopaho.NewConnection(ctx, autopaho.ClientConfig{
			ServerUrls: []*url.URL{{Scheme: "mqtt", Host: conf.MQTT.Listen}}, SessionExpiryInterval: 3600, KeepAlive: 30,
			ClientConfig: paho.ClientConfig{ClientID: "lamp-1", OnPublishReceived: []func(paho.PublishReceived) (bool, error){
				func(p paho.PublishReceived) (bool, error) { got <- string(p.Packet.Payload); return true, nil },
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := cm.AwaitConnection(ctx); err != nil {
			t.Fatal(err)
		}
		return cm
	}
	cm := connect5()
	if _, err := cm.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: lamp + "/delta", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := cm.Disconnect(ctx); err != nil {
		t.Fatal(err)
	}
	c := r.client(t)
	for level := range 3 {
		if _, err := c.PatchDesired(ctx, "lamp-1", json.RawMessage(fmt.Sprintf(`{"level":%d}`, level)), client.ChangeOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	start(t, conf)
	cm = connect5()
	for level := range 3 {
		var delta struct {
			Version int
			State   struct{ Level int }
		}
		if err := json.Unmarshal([]byte(receive(t, got)), &delta); err != nil {
			t.Fatal(err)
		}
		if delta.Version != level+1 || delta.State.Level != level {
			t.Errorf("delta %d is %+v", level, delta)
		}
	}
	if err := cm.Disconnect(ctx); err != nil {
		t.Fatal(err)
	}
}
