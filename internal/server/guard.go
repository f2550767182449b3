package server

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// guard keeps web pages out. A loopback port can be reached by any page in a
// browser on the same machine: directly (the Origin header tells), and by a name
// that the page's owner lets resolve to 127.0.0.1, DNS rebinding (the Host header
// tells). Devices and backends send no Origin and are not affected.
type guard struct {
	next   http.Handler
	hosts  []string
	origin *http.CrossOriginProtection
}

func newGuard(next http.Handler, c *HTTPConfig) (*guard, error) {
	g := &guard{next: next, hosts: c.Hosts, origin: http.NewCrossOriginProtection()}
	for _, o := range c.Origins {
		if err := g.origin.AddTrustedOrigin(o); err != nil {
			return nil, &ConfigError{Faults: []string{"http.origins: " + err.Error()}}
		}
	}
	return g, nil
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.hostAllowed(r.Host) {
		refuse(w, http.StatusMisdirectedRequest, "Host "+printable(r.Host)+
			" is not a name of this server; use http://127.0.0.1 or list the name in the setting http.hosts")
		return
	}
	check := r
	if r.Header.Get("Upgrade") != "" {
		// An upgrade to WebSocket is a GET, but it opens a door to everything.
		check = r.Clone(r.Context())
		check.Method = http.MethodPost
	}
	if g.origin.Check(check) != nil {
		refuse(w, http.StatusForbidden, "a web page of "+printable(r.Header.Get("Origin"))+
			" may not change things here; list its origin in the setting http.origins")
		return
	}
	g.next.ServeHTTP(w, r)
}

// hostAllowed: any loopback address (a page cannot give itself one as origin),
// localhost, and what is configured. No Host at all is HTTP/1.0, which no browser
// speaks.
func (g *guard) hostAllowed(hostport string) bool {
	if hostport == "" {
		return true
	}
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return host == "localhost" || slices.ContainsFunc(g.hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// printableMax is the longest part of a header that is shown back.
const printableMax = 100

// printable quotes what a client sent, cut to a sensible length.
func printable(s string) string {
	if len(s) > printableMax {
		s = s[:printableMax] + "…"
	}
	b, _ := json.Marshal(s) // a string always marshals
	return string(b)
}

// refuse answers with a problem document (RFC 9457) without a type of its own.
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct { // the client may be gone
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(status), status, detail})
}
