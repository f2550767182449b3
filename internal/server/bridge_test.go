package server_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mosquitto starts Debian's broker on a free port and returns its host:port.
func mosquitto(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto"
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("SKIPPED: mosquitto is not installed (apt-get install mosquitto), so the bridge is not tested")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	_, port, _ := net.SplitHostPort(addr)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(conf, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\nlog_dest none\nmax_queued_messages 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	until(t, "mosquitto", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return addr
}

// Devices at an external broker have twins here: what they send is committed, also what they
// send while we are away, and deltas come back to them.
func TestBridge(t *testing.T) {
	broker := mosquitto(t)
	c := config(t)
	c.Bridge.URL = "mqtt://" + broker
	c.Bridge.Topics = []string{"$aws/things/+/shadow/update", "$share/twofold/twins/+/telemetry"}
	r := start(t, c)
	d := connect(t, "tcp://"+broker, nil)
	d.subscribe(t, "$aws/things/far-1/shadow/update/delta")

	has := func(r *running, path, part string) func() bool {
		return func() bool {
			status, body := r.call(t, "GET", path, "")
			return status == 200 && strings.Contains(body, part)
		}
	}
	// The bridge may still be connecting: what came before it subscribed is not ours.
	until(t, "the bridge", func() bool {
		d.publish(t, "$aws/things/far-0/shadow/update", `{"state":{"reported":{"on":true}}}`)
		return has(r, "/api/v1/twins/far-0", `"on":true`)()
	})
	for n := range 50 {
		d.publish(t, "$aws/things/far-1/shadow/update", fmt.Sprintf(`{"state":{"reported":{"n":%d}}}`, n))
	}
	until(t, "50 updates", has(r, "/api/v1/twins/far-1", `"version":50,`))
	until(t, "telemetry through a shared subscription", func() bool {
		d.publish(t, "twins/far-1/telemetry", `{"t":41.5}`)
		return has(r, "/api/v1/twins/far-1/metrics", `"metric":"t"`)()
	})
	if status, body := r.call(t, "PATCH", "/api/v1/twins/far-1/desired", `{"n":7}`); status != 200 {
		t.Fatal(body)
	}
	if delta := d.next(t, "$aws/things/far-1/shadow/update/delta"); !strings.Contains(delta, `"n":7`) {
		t.Errorf("delta %s", delta)
	}
	d.publish(t, "$aws/things/far-1/shadow/update", `not json`) // refused for good, and no stop to what follows

	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		d.publish(t, "$aws/things/far-1/shadow/update", fmt.Sprintf(`{"state":{"reported":{"n":%d}}}`, 100+n))
	}
	r = start(t, c)
	until(t, "what was sent while we were away", has(r, "/api/v1/twins/far-1", `"version":71,`))
	until(t, "its last state", has(r, "/api/v1/twins/far-1", `"n":119`))
	if status, body := r.call(t, "GET", "/api/v1/twins/bridge", ""); status != 404 {
		t.Errorf("the bridge has a twin: %s", body)
	}
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
}
