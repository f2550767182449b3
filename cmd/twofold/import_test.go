package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/internal/server"
	"github.com/twofold-iot/twofold/twin"
)

// site is a server that a test starts and stops.
type site struct {
	t    *testing.T
	data string
	url  string
	c    *client.Client
	stop func()
}

func newSite(t *testing.T, data string) *site {
	t.Helper()
	conf := server.Default()
	conf.Data, conf.HTTP.Listen, conf.MQTT.Listen = data, "127.0.0.1:0", "127.0.0.1:0"
	srv, err := server.Open(conf, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	s := &site{t: t, data: data}
	for _, a := range srv.Addresses() {
		if a.Name == "http" {
			s.url = "http://" + a.Addr
		}
	}
	s.stop = func() {
		t.Helper()
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		s.stop = func() {}
	}
	t.Cleanup(func() { s.stop() })
	if s.c, err = client.New(s.url, client.Options{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// command runs a command line and returns what it printed.
func command(args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	cmd := newRoot()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	err = cmd.ExecuteContext(context.Background())
	return out.String(), errs.String(), err
}

// shadow is the document of a shadow by the AWS contract, without the time of the answer.
func (s *site) shadow(key twin.ShadowKey) string {
	s.t.Helper()
	path := "/things/" + string(key.Thing) + "/shadow"
	if key.Shadow != "" {
		path += "?name=" + string(key.Shadow)
	}
	res, err := http.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		s.t.Fatal(err)
	}
	if res.StatusCode == http.StatusNotFound {
		return "none"
	}
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %d %s", path, res.StatusCode, b)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		s.t.Fatalf("%v: %s", err, b)
	}
	delete(doc, "timestamp")
	out, err := json.Marshal(doc)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(out)
}

// past lists version and state of every state of a shadow that is kept.
func (s *site) past(key twin.ShadowKey) []string {
	s.t.Helper()
	var all []string
	for st, err := range s.c.History(s.t.Context(), key.Thing, client.HistoryQuery{Shadow: key.Shadow, Oldest: true}) {
		if err != nil {
			s.t.Fatal(err)
		}
		if st.Kind != "deleted" {
			all = append(all, fmt.Sprint(st.Version, " ", string(st.Reported), " ", string(st.Desired)))
		}
	}
	return all
}

var importKeys = []twin.ShadowKey{
	{Thing: "pump-7"}, {Thing: "pump-7", Shadow: "net"}, {Thing: "pump-7", Shadow: "old"}, {Thing: "lamp-1"}, {Thing: "only-named", Shadow: "x"},
}

// script lets a site live: updates, deletes, a shadow that is made anew, model and tags, events.
func (s *site) script() {
	s.t.Helper()
	ok := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	report := func(key twin.ShadowKey, body string) {
		s.t.Helper()
		_, err := s.c.PatchReported(s.t.Context(), key.Thing, json.RawMessage(body), client.ChangeOptions{Shadow: key.Shadow})
		ok(err)
	}
	ctx := s.t.Context()
	_, err := s.c.Create(ctx, client.Attributes{DeviceID: "pump-7", Model: "pump", Tags: map[string]string{"site": "hh1", "gone": "x"}})
	ok(err)
	_, err = s.c.Create(ctx, client.Attributes{DeviceID: "empty", Model: "pump"})
	ok(err)
	_, err = s.c.SetAttributes(ctx, "pump-7", nil, map[string]*string{"gone": nil})
	ok(err)
	for i := range 300 { // more than from one snapshot to the next
		report(importKeys[0], fmt.Sprintf(`{"temperature":%d.5,"mode":"run","list":[%d]}`, i, i%3))
	}
	_, err = s.c.PatchDesired(ctx, "pump-7", json.RawMessage(`{"tempSetpoint":21,"deep":{"a":{"b":null,"c":1}}}`), client.ChangeOptions{})
	ok(err)
	report(importKeys[0], `{"mode":null,"text":"grüße <&> \u2028"}`)
	report(importKeys[1], `{"rssi":-40}`)
	report(importKeys[2], `{"v":1}`)
	report(importKeys[2], `{"v":2}`)
	_, err = s.c.Delete(ctx, "pump-7", client.ChangeOptions{Shadow: "old"})
	ok(err)
	report(importKeys[3], `{"on":true}`)
	_, err = s.c.Delete(ctx, "lamp-1", client.ChangeOptions{})
	ok(err)
	report(importKeys[3], `{"on":false}`)
	report(importKeys[4], `{"n":1}`)
	_, err = s.c.AddEvent(ctx, "lamp-1", client.NewEvent{Type: "error", Message: "flicker"})
	ok(err)
}

type importView struct {
	Shadows map[string]string
	Past    map[string][]string
	Twin    string
}

func (s *site) view() importView {
	s.t.Helper()
	v := importView{Shadows: map[string]string{}, Past: map[string][]string{}}
	for _, k := range importKeys {
		v.Shadows[k.String()], v.Past[k.String()] = s.shadow(k), s.past(k)
	}
	tw, err := s.c.Twin(s.t.Context(), "pump-7", "")
	if err != nil {
		s.t.Fatal(err)
	}
	empty, err := s.c.Twin(s.t.Context(), "empty", "")
	if err != nil {
		s.t.Fatal(err)
	}
	v.Twin = fmt.Sprint(tw.Model, tw.Tags, empty.Model)
	return v
}

// What an export brings to another server is what there was: every shadow with its version
// and the times of its values, and its past; done twice it changes nothing.
func TestImport(t *testing.T) {
	dir := t.TempDir()
	a := newSite(t, filepath.Join(dir, "a"))
	a.script()
	want := a.view()
	if len(want.Past["pump-7"]) != 302 || want.Shadows[importKeys[2].String()] != "none" {
		t.Fatalf("the script has left %d states, %v", len(want.Past["pump-7"]), want.Shadows)
	}
	a.stop()
	file := filepath.Join(dir, "twins.ndjson")
	if _, _, err := command("export", file, "--data", a.data); err != nil {
		t.Fatal(err)
	}
	b := newSite(t, filepath.Join(dir, "b"))
	out, errs, err := command("import", file, "--server", b.url)
	if err != nil || errs != "" || !strings.Contains(out, " 308 states: 308 new, 0 late, 0 known before; 1 shadows deleted; ") {
		t.Fatalf("%q, %q, %v", out, errs, err)
	}
	if d := cmp.Diff(want, b.view()); d != "" {
		t.Fatalf("(-exported +imported):\n%s", d)
	}
	out, errs, err = command("import", file, "--server", b.url)
	if err != nil || errs != "" || !strings.Contains(out, " 308 states: 0 new, 0 late, 308 known before; 0 shadows deleted; ") {
		t.Fatalf("again: %q, %q, %v", out, errs, err)
	}
	if d := cmp.Diff(want, b.view()); d != "" {
		t.Fatalf("again (-exported +imported):\n%s", d)
	}
	heads := b.events()
	if _, _, err := command("import", file, "--server", b.url); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(heads, b.events()); d != "" {
		t.Fatalf("a third import has left something (-before +after):\n%s", d)
	}
	b.stop()
	if out, errs, err := command("verify", "--rebuild", "--data", b.data); err != nil {
		t.Fatalf("%s%s%v", out, errs, err)
	}
}

// events counts the events of each thing.
func (s *site) events() map[string]int {
	s.t.Helper()
	n := map[string]int{}
	for _, thing := range []twin.ThingName{"pump-7", "lamp-1", "only-named", "empty"} {
		for _, err := range s.c.Events(s.t.Context(), thing, client.EventQuery{}) {
			if err != nil {
				s.t.Fatal(err)
			}
			n[string(thing)]++
		}
	}
	return n
}

// fleetFile exports a thousand things of one event each.
func fleetFile(t *testing.T, dir string, things int) string {
	t.Helper()
	a := newSite(t, filepath.Join(dir, "fleet"))
	for i := range things {
		if _, err := a.c.PatchReported(t.Context(), twin.ThingName(fmt.Sprintf("t-%04d", i)), json.RawMessage(`{"n":1}`), client.ChangeOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	a.stop()
	file := filepath.Join(dir, "fleet.ndjson")
	if _, _, err := command("export", file, "--data", a.data); err != nil {
		t.Fatal(err)
	}
	return file
}

// One wrong line among many is named, and all others are in.
func TestImport_wrongLine(t *testing.T) {
	dir := t.TempDir()
	const things = 300
	file := fleetFile(t, dir, things)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	at := 0 // of the event of the 7th thing
	for i, l := range lines {
		if bytes.Contains(l, []byte(`"event"`)) && bytes.Contains(l, []byte(`"t-0006"`)) {
			at = i
		}
	}
	for name, change := range map[string]func(line []byte) []byte{
		"no JSON":        func([]byte) []byte { return []byte("{nonsense\n") },
		"no event":       func(l []byte) []byte { return bytes.Replace(l, []byte(`"bytes":"`), []byte(`"bytes":"AAAA`), 1) },
		"another's seq":  func(l []byte) []byte { return bytes.Replace(l, []byte(`"seq":1`), []byte(`"seq":2`), 1) },
		"unknown kind":   func(l []byte) []byte { return bytes.Replace(l, []byte(`"event"`), []byte(`"evnt"`), 1) },
		"bytes are none": func(l []byte) []byte { return bytes.Replace(l, []byte(`"bytes":"`), []byte(`"bytes":"*`), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			to := newSite(t, filepath.Join(t.TempDir(), "b"))
			changed := bytes.Join([][]byte{bytes.Join(lines[:at], nil), change(lines[at]), bytes.Join(lines[at+1:], nil)}, nil)
			bad := filepath.Join(t.TempDir(), "bad.ndjson")
			if err := os.WriteFile(bad, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			out, errs, err := command("import", bad, "--server", to.url)
			if err == nil || exitCode(err) != exitError {
				t.Errorf("it ended with %v, code %d", err, exitCode(err))
			}
			if want := fmt.Sprintf("%s:%d: ", bad, at+1); !strings.HasPrefix(errs, want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("errors %q, want one of line %d", errs, at+1)
			}
			if !strings.Contains(out, fmt.Sprintf(" %d states: %d new", things-1, things-1)) || !strings.Contains(out, "; 1 failed") {
				t.Errorf("summary %q", out)
			}
			if got := to.shadow(twin.ShadowKey{Thing: "t-0006"}); got != "none" {
				t.Errorf("of the wrong line came %s", got)
			}
		})
	}
}

// A line that is lost in the middle of a shadow's life: what rests on it is not made up, and
// from the next snapshot on all is there.
func TestImport_hole(t *testing.T) {
	dir := t.TempDir()
	a := newSite(t, filepath.Join(dir, "a"))
	a.script()
	want := a.shadow(importKeys[0])
	a.stop()
	file := filepath.Join(dir, "twins.ndjson")
	if _, _, err := command("export", file, "--data", a.data); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	for i, l := range lines {
		if bytes.Contains(l, []byte(`"temperature":100.5`)) {
			lines[i] = []byte("\n")
		}
	}
	if err := os.WriteFile(file, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	to := newSite(t, filepath.Join(dir, "b"))
	out, errs, err := command("import", file, "--server", to.url)
	if err == nil || strings.Count(errs, "\n") != 2 || !strings.Contains(errs, "up to the next snapshot") {
		t.Errorf("%v: %s%s", err, out, errs)
	}
	if got := to.shadow(importKeys[0]); got != want {
		t.Errorf("the shadow is %s, want %s", got, want)
	}
	for _, state := range to.past(importKeys[0]) {
		version, _, _ := strings.Cut(state, " ")
		var v int
		if _, err := fmt.Sscan(version, &v); err != nil || v > 100 && v < 257 {
			t.Fatalf("version %s is there, but what it was is not in the file (%v)", version, err)
		}
	}
}

// What is no export, a file cut short and a server that is not there are told.
func TestImport_refused(t *testing.T) {
	dir := t.TempDir()
	file := fleetFile(t, dir, 20)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	to := newSite(t, filepath.Join(dir, "b"))
	for name, c := range map[string]struct {
		file, server, want string
		code, states       int
	}{
		"no export":      {write("text", []byte("hello\n")), to.url, "line 1: it is not the first line of an audit file", exitError, 0},
		"another format": {write("new", []byte(`{"line":"audit","format":9}`+"\n")), to.url, "format 9 is unknown", exitError, 0},
		"cut short":      {write("cut", b[:len(b)/2]), to.url, "cut short", exitError, 1},
		"no server":      {file, "http://127.0.0.1:1", "lines 3 to ", exitUnreachable, 0},
		"no file":        {filepath.Join(dir, "nowhere"), to.url, "nowhere", exitError, 0},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, err := command("import", c.file, "--server", c.server)
			if err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != c.code {
				t.Errorf("%v (code %d), want %q (%d); %s%s", err, exitCode(err), c.want, c.code, out, errs)
			}
			if c.states > 0 && !strings.Contains(out, " new, 0 late") {
				t.Errorf("what came before the cut is not in: %s", out)
			}
		})
	}
}

// A shadow that was itself mirrored from a cloud, some of its documents late and one made
// anew there, has the same past at every instant.
func TestImport_mirrored(t *testing.T) {
	dir := t.TempDir()
	a := newSite(t, filepath.Join(dir, "a"))
	start := time.Now().Add(-100 * time.Hour).Truncate(time.Second)
	document := func(version int, after time.Duration, previous string) json.RawMessage {
		at := start.Add(after).Unix()
		state := func(v int) string {
			return fmt.Sprintf(`{"state":{"reported":{"n":%d}},"metadata":{"reported":{"n":{"timestamp":%d}}},"version":%d}`, v*10, at, v)
		}
		if previous == "" {
			previous = "null"
		}
		return json.RawMessage(fmt.Sprintf(`{"previous":%s,"current":%s,"timestamp":%d,"thing":"cloud-1"}`, previous, state(version), at))
	}
	for _, d := range []json.RawMessage{
		document(1, 0, ""), document(2, 10*time.Minute, ""), document(5, 50*time.Minute, ""), document(3, 20*time.Minute, ""),
		document(4, 40*time.Minute, ""), document(1, 60*time.Hour, ""), document(2, 61*time.Hour, ""),
	} {
		res, err := a.c.IngestDocuments(t.Context(), twin.ShadowKey{}, []json.RawMessage{d})
		if err != nil || res[0].Result == client.IngestFailed {
			t.Fatalf("%+v, %v", res, err)
		}
	}
	view := func(s *site) map[string]string {
		v := map[string]string{"now": s.shadow(twin.ShadowKey{Thing: "cloud-1"})}
		for after := time.Duration(0); after < 62*time.Hour; after += 5*time.Minute + time.Second {
			tw, err := s.c.PastTwin(t.Context(), "cloud-1", "", start.Add(after), 0)
			if err != nil {
				t.Fatalf("after %s: %v", after, err)
			}
			v[after.String()] = fmt.Sprint(tw.Version, string(tw.CurrentState))
		}
		return v
	}
	want := view(a)
	a.stop()
	file := filepath.Join(dir, "twins.ndjson")
	if _, _, err := command("export", file, "--data", a.data); err != nil {
		t.Fatal(err)
	}
	b := newSite(t, filepath.Join(dir, "b"))
	for range 2 {
		if out, errs, err := command("import", file, "--server", b.url); err != nil || !strings.Contains(out, " 7 states: ") {
			t.Fatalf("%s%s%v", out, errs, err)
		}
		if d := cmp.Diff(want, view(b)); d != "" {
			t.Fatalf("(-exported +imported):\n%s", d)
		}
	}
}
