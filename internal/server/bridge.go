package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/twofold-iot/twofold/internal/bridge"
	"github.com/twofold-iot/twofold/internal/door/mqtt"
)

// BridgeConfig is about an external broker; without a URL there is none.
type BridgeConfig struct {
	URL          string
	ClientID     string
	Username     string
	PasswordFile string
	CA           string // PEM file of the authorities that sign the broker's certificate
	Topics       []string
	Back         []string
}

// bridgeBack is what goes back if nothing is set: the deltas of all shadows.
var bridgeBack = []string{"$aws/things/+/shadow/update/delta", "$aws/things/+/shadow/name/+/update/delta"}

func (c *BridgeConfig) options() bridge.Options {
	return bridge.Options{URL: c.URL, ClientID: c.ClientID, Username: c.Username, Topics: c.Topics, Back: c.Back}
}

// openBridge connects the external broker with ours. Its connection to ours is in memory.
func openBridge(log *slog.Logger, b *mqtt.Broker, c *BridgeConfig) (*bridge.Bridge, error) {
	o := c.options()
	if c.PasswordFile != "" {
		text, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("bridge.password_file: %w", err)
		}
		o.Password = strings.TrimRight(string(text), "\r\n")
	}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("bridge.ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("bridge.ca: there is no certificate in %s", c.CA)
		}
		o.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	ln := newMemoryListener()
	go func() {
		if err := b.Serve(ln); err != nil {
			log.Error("the bridge has no broker here", "error", err.Error())
		}
	}()
	o.Accept, o.Dial = b.Publish, ln.dial
	return bridge.Open(log, o)
}

// memoryListener gives connections within the process.
type memoryListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMemoryListener() *memoryListener {
	return &memoryListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *memoryListener) dial() (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, errors.Join(net.ErrClosed, near.Close(), far.Close())
	}
}

// Accept implements [net.Listener].
func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements [net.Listener].
func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "bridge" }
