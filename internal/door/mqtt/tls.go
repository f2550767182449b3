package mqtt

import (
	"crypto/tls"
	"slices"
)

// ALPN is the protocol name that the AWS SDKs offer for MQTT, on any port.
const ALPN = "x-amzn-mqtt-ca"

// TLSConfig returns a copy of base for the MQTT listener: at least TLS 1.2, and
// [ALPN] is selected if it is offered. A client that offers only other names, or
// none, is served as well; crypto/tls alone would fail its handshake.
func TLSConfig(base *tls.Config) *tls.Config {
	cfg := base.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	cfg.NextProtos = []string{ALPN}
	plain := cfg.Clone()
	plain.NextProtos = nil
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		chosen := cfg
		if !slices.Contains(hello.SupportedProtos, ALPN) {
			chosen = plain
		}
		if base.GetConfigForClient == nil {
			return chosen, nil
		}
		own, err := base.GetConfigForClient(hello)
		if own == nil || err != nil {
			return chosen, err
		}
		own = own.Clone()
		own.NextProtos = chosen.NextProtos
		return own, nil
	}
	return cfg
}
