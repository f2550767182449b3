package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

// alpnMQTT is the ALPN name that AWS clients offer for MQTT with a client
// certificate on port 443 (AWS IoT Developer Guide, "Device communication
// protocols"). Its sibling x-amzn-http-ca is left unselected: net/http serves the
// names it knows and none at all, and clients accept none.
const alpnMQTT = "x-amzn-mqtt-ca"

// tlsConfig reads the certificates and returns the configuration of a TLS listener
// that knows the given ALPN names.
func (c *TLSConfig) tlsConfig(protocols ...string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("read certificate %s and key %s: %w; check --tls-cert and --tls-key", c.Cert, c.Key, err)
	}
	base := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if c.ClientCA != "" {
		if base.ClientCAs, err = readPool(c.ClientCA); err != nil {
			return nil, err
		}
		base.ClientAuth = tls.RequireAndVerifyClientCert
		if c.ClientCert == "optional" {
			base.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		return pickProtocol(base, hello, protocols), nil
	}
	return base, nil
}

// pickProtocol offers a client the first protocol that it names itself, and none if
// it names none of ours: a server that names protocols fails the handshake of a
// client that wants others (RFC 7301 section 3.2), and many MQTT clients do.
func pickProtocol(base *tls.Config, hello *tls.ClientHelloInfo, protocols []string) *tls.Config {
	c := base.Clone()
	c.GetConfigForClient = nil
	c.NextProtos = nil
	for _, p := range protocols {
		if slices.Contains(hello.SupportedProtos, p) {
			c.NextProtos = []string{p}
			break
		}
	}
	return c
}

func readPool(path string) (*x509.CertPool, error) {
	pem, err := readFile(path)
	if err == nil {
		pool := x509.NewCertPool()
		if pool.AppendCertsFromPEM(pem) {
			return pool, nil
		}
		err = errors.New("it holds no PEM certificate")
	}
	return nil, fmt.Errorf("read client authorities %s: %w; check --client-ca", path, err)
}
