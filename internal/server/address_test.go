package server_test

import (
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/server"
)

// Without authentication nothing but this machine may reach a port. Each address
// here is one by which another machine could, or one that nobody can mean.
func TestLoopback_refused(t *testing.T) {
	names := map[string][]string{
		"plant.example":  {"192.0.2.7"},
		"both.example":   {"127.0.0.1", "192.0.2.7"},
		"mapped.example": {"::ffff:10.0.0.1"},
	}
	for address, want := range map[string]string{
		":1883":                   "every network of this machine",
		"0.0.0.0:1883":            "every network of this machine",
		"[::]:1883":               "every network of this machine",
		"[::ffff:0.0.0.0]:1883":   "every network of this machine",
		"192.168.1.10:1883":       "192.168.1.10 can be reached from other machines",
		"10.0.0.5:0":              "10.0.0.5 can be reached from other machines",
		"169.254.1.1:1883":        "can be reached from other machines",
		"[fe80::1]:1883":          "can be reached from other machines",
		"[2001:db8::1]:1883":      "can be reached from other machines",
		"[::ffff:192.0.2.7]:1883": "can be reached from other machines",
		"plant.example:1883":      "192.0.2.7 can be reached from other machines",
		"both.example:1883":       "192.0.2.7 can be reached from other machines",
		"mapped.example:1883":     "10.0.0.1 can be reached from other machines",
	} {
		_, err := server.Loopback(address, names)
		if err == nil {
			t.Errorf("%s is accepted", address)
			continue
		}
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "no authentication yet") || !strings.Contains(err.Error(), "use 127.0.0.1:") {
			t.Errorf("%s: %q does not say %q, the reason and what to use", address, err, want)
		}
	}
}

func TestLoopback_malformed(t *testing.T) {
	for address, want := range map[string]string{
		"1883":               `"1883" is not an address such as 127.0.0.1:1883`,
		"127.0.0.1":          `"127.0.0.1" is not an address such as 127.0.0.1:1883`,
		"::1:1883":           `"::1:1883" is not an address such as 127.0.0.1:1883`,
		"127.0.0.1:mqtt":     `"127.0.0.1:mqtt" has no port between 0 and 65535; use an address such as 127.0.0.1:1883`,
		"127.0.0.1:65536":    `"127.0.0.1:65536" has no port between 0 and 65535; use an address such as 127.0.0.1:1883`,
		"*:1883":             "*:1883: the host name does not resolve; use 127.0.0.1:1883",
		"nowhere.example:80": "nowhere.example:80: the host name does not resolve; use 127.0.0.1:80",
	} {
		if _, err := server.Loopback(address, nil); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
}

func TestLoopback_accepted(t *testing.T) {
	names := map[string][]string{"localhost": {"127.0.0.1", "::1"}, "six": {"::1"}}
	for address, want := range map[string]string{
		"127.0.0.1:0":             "127.0.0.1:0",
		"127.9.8.7:1883":          "127.9.8.7:1883",
		"[::1]:1883":              "[::1]:1883",
		"[::ffff:127.0.0.1]:1883": "127.0.0.1:1883",
		"localhost:1883":          "127.0.0.1:1883", // what was checked is what is bound
		"six:1":                   "[::1]:1",
	} {
		if got, err := server.Loopback(address, names); err != nil || got != want {
			t.Errorf("%s: %s %v, want %s", address, got, err, want)
		}
	}
}
