package server_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/server"
)

func TestGuard(t *testing.T) {
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	g, err := server.NewGuard(next, server.HTTPConfig{Hosts: []string{"twins.lan"}, Origins: []string{"http://localhost:3000"}})
	if err != nil {
		t.Fatal(err)
	}
	const ok, misdirected, forbidden = http.StatusNoContent, http.StatusMisdirectedRequest, http.StatusForbidden
	for name, c := range map[string]struct {
		method, host string
		header       map[string]string
		want         int
	}{
		"device posts, no origin":            {"POST", "127.0.0.1:8080", nil, ok},
		"localhost":                          {"GET", "localhost:8080", nil, ok},
		"localhost, capital and root dot":    {"GET", "LocalHost.:8080", nil, ok},
		"ipv6":                               {"GET", "[::1]:8080", nil, ok},
		"ipv6 without port":                  {"GET", "[::1]", nil, ok},
		"listed host":                        {"GET", "TWINS.lan", nil, ok},
		"http 1.0":                           {"GET", "", nil, ok},
		"rebound name":                       {"GET", "evil.example:8080", nil, misdirected},
		"name that begins like localhost":    {"GET", "localhost.evil.example", nil, misdirected},
		"name that begins like an address":   {"GET", "127.0.0.1.evil.example:8080", nil, misdirected},
		"address of another machine":         {"GET", "192.0.2.1:8080", nil, misdirected},
		"page reads":                         {"GET", "127.0.0.1:8080", map[string]string{"Origin": "http://evil.example"}, ok},
		"page of ours changes":               {"PATCH", "127.0.0.1:8080", map[string]string{"Origin": "http://127.0.0.1:8080"}, ok},
		"listed page changes":                {"POST", "127.0.0.1:8080", map[string]string{"Origin": "http://localhost:3000"}, ok},
		"foreign page changes":               {"POST", "127.0.0.1:8080", map[string]string{"Origin": "http://evil.example"}, forbidden},
		"other port is foreign":              {"DELETE", "127.0.0.1:8080", map[string]string{"Origin": "http://127.0.0.1:9999"}, forbidden},
		"page without origin":                {"POST", "127.0.0.1:8080", map[string]string{"Origin": "null"}, forbidden},
		"fetch metadata says foreign":        {"POST", "127.0.0.1:8080", map[string]string{"Sec-Fetch-Site": "cross-site"}, forbidden},
		"device opens a websocket":           {"GET", "127.0.0.1:8080", map[string]string{"Upgrade": "websocket"}, ok},
		"page of ours opens a websocket":     {"GET", "127.0.0.1:8080", map[string]string{"Upgrade": "websocket", "Origin": "http://127.0.0.1:8080"}, ok},
		"listed page opens a websocket":      {"GET", "127.0.0.1:8080", map[string]string{"Upgrade": "WebSocket", "Origin": "http://localhost:3000"}, ok},
		"foreign page opens a websocket":     {"GET", "127.0.0.1:8080", map[string]string{"Upgrade": "WebSocket", "Origin": "http://evil.example"}, forbidden},
		"foreign page, upgrade among others": {"GET", "127.0.0.1:8080", map[string]string{"Upgrade": "h2c, websocket", "Origin": "http://evil.example"}, forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, "/api/v1/twins", nil)
			r.Host = c.host
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			body, _ := io.ReadAll(w.Result().Body)
			if w.Code != c.want {
				t.Fatalf("status %d, want %d: %s", w.Code, c.want, body)
			}
			if c.want != ok && (w.Header().Get("Content-Type") != "application/problem+json" || !strings.Contains(string(body), "setting http.")) {
				t.Errorf("refusal does not say what to do: %s", body)
			}
		})
	}
}
