package server_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/server"
)

// file writes a configuration file and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "twofold.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// faults loads what must not load and returns what is said about it.
func faults(t *testing.T, src server.Source) []string {
	t.Helper()
	_, err := server.Load(src)
	var ce *server.ConfigError
	if !errors.As(err, &ce) {
		t.Fatalf("Load gave %v, want a ConfigError", err)
	}
	return ce.Faults
}

func TestLoad_origin(t *testing.T) {
	path := file(t, "data: /a\nhttp:\n  listen: 127.0.0.1:1\nmqtt:\n  listen: localhost:2\n")
	loaded, err := server.Load(server.Source{
		File:  path,
		Env:   []string{"TWOFOLD_DATA=/b", "TWOFOLD_LOG_LEVEL=warn", "HOME=/root", "TWOFOLD_SERVER=http://x", "TWOFOLD_PORT=tcp://10.0.0.1:1"},
		Flags: map[string]string{"data": "/c"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][2]string{}
	for _, s := range loaded.Settings {
		got[s.Key] = [2]string{s.Value, s.Origin.String()}
	}
	for key, want := range map[string][2]string{
		"data":                      {"/c", "flag --data"},
		"http.listen":               {"127.0.0.1:1", "file " + path + ":3"},
		"mqtt.listen":               {"localhost:2", "file " + path + ":5"},
		"log.level":                 {"warn", "env TWOFOLD_LOG_LEVEL"},
		"shadow.depth_max":          {"8", "default"},
		"engine.cache_bytes_max":    {"64MiB", "default"},
		"http.header_timeout":       {"5s", "default"},
		"shadow.document_bytes_max": {"8192", "default"},
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if loaded.Config.Data != "/c" || loaded.Config.Log.Level != "warn" {
		t.Errorf("the configuration does not have the values that are shown: %+v", loaded.Config)
	}
	if want := []string{"TWOFOLD_PORT is no setting and is ignored"}; !cmp.Equal(loaded.Warnings, want) {
		t.Errorf("warnings %q, want %q", loaded.Warnings, want)
	}
}

func TestLoad_faults(t *testing.T) {
	for name, c := range map[string]struct {
		yaml string
		want []string // PATH stands for the file
	}{
		"unknown key":     {"data: x\nhttp:\n  listn: 127.0.0.1:1\n", []string{"PATH:3: unknown key http.listn; did you mean http.listen?"}},
		"unknown section": {"frobnicate:\n  deep: 1\n", []string{"PATH:2: unknown key frobnicate.deep; `twofold config print` lists the keys"}},
		"wrong section":   {"mqtt:\n  header_timeout: 5s\n", []string{"PATH:2: unknown key mqtt.header_timeout; did you mean http.header_timeout?"}},
		"all at once": {"shadow:\n  depth_max: many\nlog:\n  level: loud\n", []string{
			`PATH:2: shadow.depth_max: "many" is not a whole number`,
			`PATH:4: log.level: "loud" is not one of debug, info, warn, error`,
		}},
		"out of range":    {"shadow: {depth_max: 99}\n", []string{"PATH:1: shadow.depth_max: 99 is not between 6 and 32"}},
		"duration":        {"stop_timeout: 10\n", []string{`PATH:1: stop_timeout: "10" is not a duration such as 30s or 5m`}},
		"bytes":           {"engine: {cache_bytes_max: lots}\n", []string{`PATH:1: engine.cache_bytes_max: "lots" is not a number of bytes such as 67108864, 64MiB or 20GB`}},
		"no value":        {"data:\n", []string{"PATH:1: data has no value; leave the key out to keep the default"}},
		"list for a text": {"data: [a, b]\n", []string{"PATH:1: data takes one value, not a list"}},
		"duplicate":       {"data: a\ndata: b\n", []string{`PATH:2: mapping key "data" already defined at [1:1]`}},
		"alias":           {"data: &x a\n", []string{"PATH:1: data takes a plain value (anchors, aliases and tags are not supported)"}},
		"two documents":   {"data: a\n---\ndata: b\n", []string{"PATH:3: one YAML document is expected"}},
		"a list":          {"- data\n", []string{"PATH:1: a mapping of settings is expected, such as data: ./twofold-data"}},
		"not expanded":    {"http: {listen: \"$HOST:1\"}\n", []string{"PATH:1: http.listen: $HOST:1: the host name does not resolve; use 127.0.0.1:1"}},
		"tls without certificate": {"mqtt: {tls_listen: 127.0.0.1:0}\n", []string{
			"PATH:1: mqtt.tls_listen: TLS needs a certificate and its key; give --tls-cert FILE and --tls-key FILE",
		}},
		"certificate without tls": {"tls: {cert: a.pem}\n", []string{
			"PATH:1: tls.cert: is set but nothing listens with TLS; give --mqtts ADDR or --wss ADDR",
		}},
		"client certificates without authorities": {"tls: {client_cert: required}\n", []string{
			"PATH:1: tls.client_cert: needs the authorities that sign client certificates; give --client-ca FILE",
		}},
		"telemetry topic": {"data: x\ntelemetry:\n  topics: ['dt/+/{thing}/#', 'dt/{device}/#']\n  late_max: 1s\n", []string{
			"PATH:4: telemetry.late_max: 1s is not between 1m0s and 876000h0m0s",
			`PATH:3: telemetry.topics: topic pattern "dt/{device}/#": level 2, "{device}": +, #, {thing} and {metric} each fill a level of their own`,
		}},
		"model": {"retention:\n  models:\n    pump: {history: soon, evts: 1y}\n    'a b': {events: 1d}\n", []string{
			`PATH:3: retention.models.pump.history: "soon" is not a time to keep history, such as 90d, 1y or forever`,
			"PATH:3: retention.models.pump.evts: of a model there are history, events, telemetry, rollups, such as retention.models.pump.history",
			`PATH:4: retention.models.a b.events: "a b" is no name of a model: 1 to 64 characters of [a-zA-Z0-9:_-]`,
		}},
		"telemetry kept": {"retention:\n  telemetry: 3y\n  metrics: ['debug.* soon', 'x 1d']\nstorage: {budget: 3MB}\n", []string{
			"retention.rollups: 2y is shorter than the 3y of retention.telemetry",
			`PATH:3: retention.metrics: "debug.* soon": "soon" is not a time to keep history, such as 90d, 1y or forever`,
			"PATH:4: storage.budget: 3MB is less than 256MB, of which the log of the newest writes may take a good part",
		}},
		"origin": {"http: {origins: [localhost]}\n", []string{`PATH:1: http.origins: "localhost" is not an origin such as http://localhost:3000`}},
	} {
		t.Run(name, func(t *testing.T) {
			path := file(t, c.yaml)
			var want []string
			for _, w := range c.want {
				want = append(want, strings.ReplaceAll(w, "PATH", path))
			}
			if d := cmp.Diff(want, faults(t, server.Source{File: path})); d != "" {
				t.Errorf("faults (-want +got):\n%s", d)
			}
		})
	}
}

func TestLoad_layers(t *testing.T) {
	got := faults(t, server.Source{File: "/nowhere/twofold.yaml"})
	if want := "/nowhere/twofold.yaml: no such file or directory; check --config"; got[0] != want {
		t.Errorf("missing file: %q, want %q", got[0], want)
	}
	got = faults(t, server.Source{Env: []string{"TWOFOLD_LOG_FORMAT=xml"}})
	if want := `TWOFOLD_LOG_FORMAT: log.format: "xml" is not one of text, json`; got[0] != want {
		t.Errorf("environment: %q, want %q", got[0], want)
	}
	got = faults(t, server.Source{Flags: map[string]string{"tls.client_cert": "maybe"}})
	if want := `--client-cert: tls.client_cert: "maybe" is not one of optional, required`; got[0] != want {
		t.Errorf("flag: %q, want %q", got[0], want)
	}
}

func TestWriteYAML_roundTrip(t *testing.T) {
	flags := map[string]string{"data": "C:\\odd: path #1", "log.level": "debug"}
	env := []string{"TWOFOLD_HTTP_HOSTS=a.local, b.local", "TWOFOLD_HTTP_ORIGINS=http://localhost:3000"}
	models := "retention:\n  models:\n    pump: {history: 30d, events: 2y}\n    a: {events: forever}\n    'c:d': {history: 1d}\n  events: 3y\n"
	first, err := server.Load(server.Source{File: file(t, models), Flags: flags, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	if m := first.Config.Retention.Models; len(m) != 3 || m["pump"].History != 30*24*time.Hour || m["a"].Events != 0 {
		t.Fatalf("models: %+v", m)
	}
	for _, comments := range []bool{false, true} {
		var b bytes.Buffer
		if err := server.WriteYAML(&b, first.Settings, comments); err != nil {
			t.Fatal(err)
		}
		second, err := server.Load(server.Source{File: file(t, b.String())})
		if err != nil {
			t.Fatalf("what was printed does not load: %v\n%s", err, b.String())
		}
		if d := cmp.Diff(first.Config, second.Config); d != "" {
			t.Errorf("printed and read back (-want +got):\n%s", d)
		}
	}
}

func TestFlags_haveKeys(t *testing.T) {
	for _, f := range server.Flags() {
		if _, err := server.Load(server.Source{Flags: map[string]string{f.Key: f.Default}}); err != nil {
			t.Errorf("the default %q of --%s does not load: %v", f.Default, f.Name, err)
		}
	}
}
