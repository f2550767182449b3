package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// delivered notes what a receiver of webhooks gets.
type delivered struct {
	mu      sync.Mutex
	newest  int               // seq up to which all have come, in order
	bodies  map[string]string // by webhook-id
	repeats int
	faults  []string
}

func (d *delivered) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var m struct {
		Data struct{ Events []struct{ Seq int } }
	}
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.faults = append(d.faults, err.Error())
		return
	}
	id := r.Header.Get("webhook-id")
	if before, again := d.bodies[id]; again {
		d.repeats++
		if before != string(body) {
			d.faults = append(d.faults, fmt.Sprintf("%s came as %s and as %s", id, before, body))
		}
		return
	}
	d.bodies[id] = string(body)
	for _, ev := range m.Data.Events {
		if ev.Seq != d.newest+1 {
			d.faults = append(d.faults, fmt.Sprintf("%d came after %d", ev.Seq, d.newest))
		}
		d.newest = ev.Seq
	}
}

func (d *delivered) seq() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.newest
}

// serving starts a server and waits until it is ready.
func serving(t *testing.T, dir string, env ...string) (cmd *exec.Cmd, url string) {
	t.Helper()
	ready := filepath.Join(dir, "ready.json")
	_ = os.Remove(ready)
	cmd = exec.Command("twofold", "serve", "--data", filepath.Join(dir, "data"), "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--ready-file", ready)
	cmd.Env = append(os.Environ(), "TWOFOLD_WEBHOOKS_ENABLED=true", "TWOFOLD_WEBHOOKS_ALLOW_PRIVATE=127.0.0.1")
	cmd.Env = append(cmd.Env, env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var at struct{ HTTP string }
	until(t, "the server is ready", func() bool {
		b, err := os.ReadFile(ready)
		return err == nil && json.Unmarshal(b, &at) == nil
	})
	return cmd, "http://" + at.HTTP
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		}
	}
}

func request(t *testing.T, method, url, body string) error {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	answer, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode > 299 {
		return fmt.Errorf("%s %s: %d %s", method, url, res.StatusCode, answer)
	}
	return nil
}

// TestWebhook_kill: kill -9 again and again while events go out loses none of those that
// were acknowledged, changes no order, and what comes twice has the same id and body.
func TestWebhook_kill(t *testing.T) {
	d := &delivered{bodies: map[string]string{}}
	receiver := httptest.NewServer(d)
	t.Cleanup(receiver.Close)
	dir := t.TempDir()
	cmd, url := serving(t, dir)
	if err := request(t, "POST", url+"/api/v1/webhooks", `{"name":"crm","url":"`+receiver.URL+`","batch":3}`); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	for range 5 {
		goal := d.seq() + 20
		var writing sync.WaitGroup
		writing.Go(func() {
			for i := range 10_000 {
				if request(t, "PATCH", url+"/api/v1/twins/pump-7/reported", fmt.Sprintf(`{"t":%d}`, i)) != nil {
					return // killed
				}
				acknowledged++
			}
		})
		until(t, "events go out", func() bool { return d.seq() >= goal })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		writing.Wait()
		cmd, url = serving(t, dir)
	}
	until(t, "all that was acknowledged has come", func() bool { return d.seq() >= acknowledged })
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.faults) > 0 || acknowledged < 80 {
		t.Errorf("%d acknowledged, %d faults: %.1000q", acknowledged, len(d.faults), d.faults)
	}
	t.Logf("%d acknowledged, %d requests, %d of them twice", acknowledged, len(d.bodies), d.repeats)
}
