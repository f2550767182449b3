package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// broker starts Debian's mosquitto on a free port.
func broker(t *testing.T) (addr string) {
	t.Helper()
	const path = "/usr/sbin/mosquitto"
	if _, err := os.Stat(path); err != nil {
		t.Skip("SKIPPED: mosquitto is not installed (apt-get install mosquitto), so the bridge is not tested")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	_ = ln.Close()
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := "listener " + strings.TrimPrefix(addr, "127.0.0.1:") + " 127.0.0.1\nallow_anonymous true\nlog_dest none\nmax_queued_messages 0\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	until(t, "mosquitto is ready", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return addr
}

// What devices send to the external broker while the server is killed again and again is all
// in the twin in the end.
func TestBridge_kill(t *testing.T) {
	addr := broker(t)
	dir := t.TempDir()
	env := []string{"TWOFOLD_BRIDGE_URL=mqtt://" + addr, "TWOFOLD_BRIDGE_TOPICS=$aws/things/+/shadow/update"}
	device := paho.NewClient(paho.NewClientOptions().AddBroker("mqtt://" + addr).SetClientID("far-1"))
	if token := device.Connect(); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer device.Disconnect(0)
	sent := 0
	send := func() {
		t.Helper()
		token := device.Publish("$aws/things/far-1/shadow/update", 1, false, fmt.Sprintf(`{"state":{"reported":{"k%d":%d}}}`, sent, sent))
		if token.Wait() && token.Error() != nil {
			t.Fatal(token.Error())
		}
		sent++
	}
	state := func(url string) string {
		res, err := http.Get(url + "/api/v1/twins/far-1")
		if err != nil {
			return ""
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		return string(body)
	}
	cmd, url := serving(t, dir, env...)
	// From the first one that comes through on, the external broker keeps the session.
	until(t, "the bridge is connected", func() bool { send(); return strings.Contains(state(url), `"k`) })
	first := sent - 1
	for range 4 {
		for range 40 {
			send()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for range 10 {
			send() // while there is no server
		}
		cmd, url = serving(t, dir, env...)
	}
	until(t, "the last one has come", func() bool { return strings.Contains(state(url), fmt.Sprintf(`"k%d":`, sent-1)) })
	missing := func() (list []int) {
		body := state(url)
		for i := first; i < sent; i++ {
			if !strings.Contains(body, fmt.Sprintf(`"k%d":%d`, i, i)) {
				list = append(list, i)
			}
		}
		return list
	}
	until(t, "all have come", func() bool { return len(missing()) == 0 })
}
