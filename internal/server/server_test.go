package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"github.com/twofold-iot/twofold/internal/server"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// waitMax is how long a test waits for something that should happen at once.
const waitMax = 10 * time.Second

// config is a server on free ports with a store of its own.
func config(t *testing.T) server.Config {
	c := server.Default()
	c.Data = filepath.Join(t.TempDir(), "data")
	c.HTTP.Listen, c.MQTT.Listen = "127.0.0.1:0", "127.0.0.1:0"
	return c
}

// running is a server that serves until the test ends.
type running struct {
	*server.Server
	stop context.CancelFunc
	done chan error // what Run returned
}

func start(t *testing.T, c server.Config) *running {
	t.Helper()
	return startWith(t, c, pebblestore.Options{})
}

func startWith(t *testing.T, c server.Config, stored pebblestore.Options) *running {
	t.Helper()
	before := goleak.IgnoreCurrent() // a fenced store parks goroutines for good
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	s, err := server.OpenWith(c, slog.New(slog.DiscardHandler), stored)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, s)
}

// serve runs a server until the test ends.
func serve(t *testing.T, s *server.Server) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Server: s, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

// wait returns what Run returned.
func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(waitMax):
		t.Fatal("Run does not return")
		return nil
	}
}

func (r *running) addr(t *testing.T, name string) string {
	t.Helper()
	for _, a := range r.Addresses() {
		if a.Name == name {
			return a.Addr
		}
	}
	t.Fatalf("no listener is called %s", name)
	return ""
}

// call makes an HTTP request and returns status and body.
func (r *running) call(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	kind := ""
	if method == http.MethodPatch {
		kind = "application/merge-patch+json"
	}
	return r.callType(t, method, path, body, kind)
}

func (r *running) callType(t *testing.T, method, path, body, kind string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+r.addr(t, "http")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	b, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// refusal opens what must not open.
func refusal(t *testing.T, c server.Config) error {
	t.Helper()
	s, err := server.Open(c, slog.New(slog.DiscardHandler))
	if err == nil {
		t.Fatalf("it opened: %v", errors.Join(nil, s.Close()))
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has more than one line: %v", err)
	}
	return err
}

func TestOpen_portInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	c := config(t)
	c.MQTT.Listen = ln.Addr().String()
	got := refusal(t, c).Error()
	for _, want := range []string{"mqtt.listen: " + ln.Addr().String() + " is in use by ", "server.test (pid ", "--mqtt"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
	if _, err := os.Stat(c.Data); err == nil {
		t.Error("the data folder was made although the port is in use")
	}
}

func TestOpen_lockedStore(t *testing.T) {
	c := config(t)
	start(t, c)
	if got := refusal(t, c).Error(); !strings.Contains(got, "in use by another server") || !strings.Contains(got, c.Data) {
		t.Errorf("%q does not say that the folder %s is in use", got, c.Data)
	}
}

func TestOpen_folderIsAFile(t *testing.T) {
	c := config(t)
	if err := os.WriteFile(c.Data, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := refusal(t, c).Error(); !strings.Contains(got, c.Data) || !strings.Contains(got, "choose another data folder") {
		t.Errorf("%q does not name %s and what to do", got, c.Data)
	}
}

func TestOpen_foreignFolder(t *testing.T) {
	c := config(t)
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Data, "thesis.odt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := refusal(t, c).Error(); !strings.Contains(got, "thesis.odt") || !strings.Contains(got, "choose an empty or new folder") {
		t.Errorf("%q does not say what is in the way", got)
	}
}

func TestOpen_unknownFormat(t *testing.T) {
	c := config(t)
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Data, "FORMAT"), []byte("twofold store 99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := refusal(t, c).Error(); !strings.Contains(got, "unknown format") || !strings.Contains(got, "store 99") {
		t.Errorf("%q does not name the format", got)
	}
}

func TestOpen_refusesOtherMachines(t *testing.T) {
	c := config(t)
	c.MQTT.Listen = "0.0.0.0:0" // set behind the back of Load
	var ce *server.ConfigError
	if err := refusal(t, c); !errors.As(err, &ce) {
		t.Errorf("%v is not a ConfigError", err)
	}
}

func TestRun_stopsGracefully(t *testing.T) {
	c := config(t)
	r := start(t, c)
	if status, body := r.call(t, "PATCH", "/api/v1/twins/lamp-1/desired", `{"level":80}`); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	began := time.Now()
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatalf("Run: %v", err)
	}
	if took := time.Since(began); took > c.StopTime {
		t.Errorf("stop took %s", took)
	}
	for _, name := range []string{"http", "mqtt"} {
		if conn, err := net.Dial("tcp", r.addr(t, name)); err == nil {
			t.Errorf("%s still accepts connections", name)
			_ = conn.Close()
		}
	}
	// Everything is there after a restart, and the folder is free.
	again := start(t, c)
	if status, body := again.call(t, "GET", "/twins/lamp-1", ""); status != 200 || !strings.Contains(body, `"version":1`) {
		t.Errorf("after a restart: %d %s", status, body)
	}
}

// A request that is being sent when the server stops is answered; one that does not
// come to its end is cut when the time is over.
func TestRun_stopWaitsForRequests(t *testing.T) {
	c := config(t)
	c.StopTime = time.Second
	r := start(t, c)
	conn, err := net.Dial("tcp", r.addr(t, "http"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	head := "PATCH /api/v1/twins/lamp-1/desired HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 64)); err != nil { // 100 Continue: the handler reads the body
		t.Fatal(err)
	}
	began := time.Now()
	r.stop()
	if err := r.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took < c.StopTime/2 || took > c.StopTime {
		t.Errorf("stop took %s, want the half of %s that a request in flight is given", took, c.StopTime)
	}
}

func TestReady(t *testing.T) {
	c := config(t)
	free := uint64(1 << 40)
	low := make(chan struct{})
	opts := pebblestore.Options{Interval: time.Millisecond, FreeSpace: func() (uint64, error) {
		select {
		case <-low:
			return 1 << 20, nil
		default:
			return free, nil
		}
	}}
	r := startWith(t, c, opts)
	if status, body := r.call(t, "GET", "/healthz", ""); status != 200 || !strings.Contains(body, `"alive"`) {
		t.Errorf("/healthz: %d %s", status, body)
	}
	if status, body := r.call(t, "GET", "/readyz", ""); status != 200 || !strings.Contains(body, `"status":"ready"`) {
		t.Errorf("/readyz: %d %s", status, body)
	}
	close(low)
	var ready struct {
		Status string
		Checks []server.Check
	}
	until(t, "the server to say that the disk is full", func() bool {
		status, body := r.call(t, "GET", "/readyz", "")
		if err := json.Unmarshal([]byte(body), &ready); err != nil {
			t.Fatal(err)
		}
		return status == 503
	})
	if disk := ready.Checks[2]; disk.Name != "disk" || disk.OK || !strings.Contains(disk.Reason, "only 1 MiB are free") {
		t.Errorf("the reason is %+v", ready)
	}
	if status, body := r.call(t, "PATCH", "/api/v1/twins/lamp-1/desired", `{"a":1}`); status != 507 || !strings.Contains(body, "/problems/full") {
		t.Errorf("an update of a full disk: %d %s", status, body)
	}
}

// until polls without sleeping until the condition holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(waitMax)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s for %s", waitMax, what)
		}
	}
}

func TestRun_fencedStore(t *testing.T) {
	broken := make(chan struct{})
	fs := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		select {
		case <-broken:
			if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileWrite {
				return errors.New("input/output error")
			}
		default:
		}
		return nil
	}))
	s, err := server.OpenWith(config(t), slog.New(slog.DiscardHandler), pebblestore.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Server: s, stop: func() {}, done: make(chan error, 1)}
	go func() { r.done <- s.Run(context.Background()) }()
	if status, body := r.call(t, "PATCH", "/api/v1/twins/lamp-1/desired", `{"a":1}`); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	close(broken)
	var fault *server.FaultError
	status, body := r.call(t, "PATCH", "/api/v1/twins/lamp-1/desired", `{"a":2}`)
	if status != 503 || !strings.Contains(body, "/problems/unavailable") {
		t.Errorf("an update whose commit failed: %d %s", status, body)
	}
	got := r.wait(t)
	if !errors.As(got, &fault) || !strings.Contains(got.Error(), "input/output error") || twin.Kind(got) != twin.KindUnavailable {
		t.Errorf("Run gave %v, want the fault of the store", got)
	}
	if strings.Contains(got.Error(), "\n") {
		t.Errorf("the fault has more than one line: %v", got)
	}
}

// receive waits for a value.
func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(waitMax):
		t.Fatal("nothing comes")
		panic("not reached")
	}
}
