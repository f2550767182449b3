package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Address is an open listener.
type Address struct {
	Name string // http, wss, mqtt, mqtts
	Addr string // host:port, the port as picked
	TLS  bool
}

// URL returns the address as a client types it.
func (a Address) URL() string {
	switch a.Name {
	case "wss":
		return "wss://" + a.Addr + "/mqtt"
	default:
		return a.Name + "://" + a.Addr
	}
}

// socket is an address that is bound but not served yet.
type socket struct {
	net.Listener
	at     Address
	config *tls.Config // of a TLS listener
}

// listen binds all addresses, or none.
func listen(c *Config) (open []*socket, err error) {
	defer func() {
		if err != nil {
			closeSockets(open)
			open = nil
		}
	}()
	for _, l := range c.listeners() {
		addr, err := loopback(l.address, systemLookup)
		if err != nil {
			return open, &ConfigError{Faults: []string{l.key + ": " + err.Error()}}
		}
		s := &socket{at: Address{Name: l.name, TLS: l.tls}}
		if l.tls {
			protocols := []string{alpnMQTT}
			if l.name == "wss" {
				protocols = []string{"h2", "http/1.1"}
			}
			if s.config, err = c.TLS.tlsConfig(protocols...); err != nil {
				return open, &ConfigError{Faults: []string{err.Error()}}
			}
		}
		var lc net.ListenConfig
		if s.Listener, err = lc.Listen(context.Background(), "tcp", addr.String()); err != nil {
			return open, listenError(l, addr.String(), err)
		}
		s.at.Addr = s.Addr().String()
		open = append(open, s)
	}
	return open, nil
}

func closeSockets(open []*socket) {
	for _, s := range open {
		_ = s.Close() // nothing was served on it yet
	}
}

// listenError says what to do about an address that cannot be bound.
func listenError(l listener, addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %s is in use by %s; stop it, or choose another port with --%s (port 0 picks a free one)", l.key, addr, portUser(addr), l.name)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: %s may not be opened by this user: ports below 1024 need a right; choose another with --%s", l.key, addr, l.name)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: %s is not an address of this machine; use 127.0.0.1 with --%s", l.key, addr, l.name)
	}
	return fmt.Errorf("%s: listen at %s: %w; choose another address with --%s", l.key, addr, err, l.name)
}

// overHTTP: the listener serves HTTP, else MQTT.
func (a Address) overHTTP() bool { return a.Name == "http" || a.Name == "wss" }

// forMQTT returns the listener that the MQTT door accepts from.
func (s *socket) forMQTT() net.Listener {
	if s.config != nil {
		return tls.NewListener(s.Listener, s.config)
	}
	return s.Listener
}
