package server

import (
	"fmt"
	"net/url"

	"github.com/twofold-iot/twofold/internal/door/device"
)

// listener is one address of the configuration.
type listener struct {
	name    string // http, wss, mqtt, mqtts: the flag and the word in the banner
	key     string
	address string
	tls     bool
}

// listeners lists the addresses that are to be open.
func (c *Config) listeners() []listener {
	all := []listener{
		{"http", "http.listen", c.HTTP.Listen, false},
		{"wss", "http.tls_listen", c.HTTP.TLSListen, true},
		{"mqtt", "mqtt.listen", c.MQTT.Listen, false},
		{"mqtts", "mqtt.tls_listen", c.MQTT.TLSListen, true},
	}
	open := all[:0]
	for _, l := range all {
		if l.address != "" {
			open = append(open, l)
		}
	}
	return open
}

// check looks at what only the whole configuration can tell.
func (l *loader) check() []string {
	c := &l.loaded.Config
	var faults []string
	fault := func(key, format string, args ...any) {
		faults = append(faults, l.place(key)+": "+fmt.Sprintf(format, args...))
	}
	if c.Data == "" {
		fault("data", "is empty; name the folder that holds the twins, such as ./twofold-data")
	}
	if c.HTTP.Listen == "" {
		fault("http.listen", "is empty; use an address such as 127.0.0.1:8080")
	}
	for _, o := range c.HTTP.Origins {
		if u, err := url.Parse(o); err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" {
			fault("http.origins", "%q is not an origin such as http://localhost:3000", o)
		}
	}
	if o := c.HTTP.PublicURL; o != "" {
		if u, err := url.Parse(o); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			fault("http.public_url", "%q is not an address such as https://twofold.example.com", o)
		}
	}
	needsTLS := false
	for _, ln := range c.listeners() {
		needsTLS = needsTLS || ln.tls
		if _, err := loopback(ln.address, systemLookup); err != nil {
			fault(ln.key, "%v", err)
		}
		if ln.tls && (c.TLS.Cert == "" || c.TLS.Key == "") {
			fault(ln.key, "TLS needs a certificate and its key; give --tls-cert FILE and --tls-key FILE")
		}
	}
	if !needsTLS {
		for _, t := range []struct{ key, file string }{{"tls.cert", c.TLS.Cert}, {"tls.key", c.TLS.Key}, {"tls.client_ca", c.TLS.ClientCA}} {
			if t.file != "" {
				fault(t.key, "is set but nothing listens with TLS; give --mqtts ADDR or --wss ADDR")
			}
		}
	}
	if c.TLS.ClientCert != "" && c.TLS.ClientCA == "" {
		fault("tls.client_cert", "needs the authorities that sign client certificates; give --client-ca FILE")
	}
	for _, topic := range c.Telemetry.Topics {
		if _, err := device.ParsePattern(topic); err != nil {
			fault("telemetry.topics", "%v", err)
		}
	}
	if n := len(c.Telemetry.Topics); n > device.PatternsMax {
		fault("telemetry.topics", "%d topics are over the limit of %d", n, device.PatternsMax)
	}
	c.Retention.check(fault)
	if c.Bridge.URL != "" {
		o := c.Bridge.options()
		if err := o.Check(); err != nil {
			fault("bridge", "%v", err)
		}
	}
	if c.StorageBudget > 0 && c.StorageBudget < budgetMin {
		fault("storage.budget", "%s is less than %s, of which the log of the newest writes may take a good part",
			bytesValue{p: &c.StorageBudget}, bytesText(budgetMin))
	}
	return faults
}
