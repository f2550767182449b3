// Command certs writes a throw-away authority with a server certificate for
// localhost and two device certificates into a folder, for the tests with foreign
// clients. RSA, because that is what AWS IoT gives to devices.
package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	keyBits  = 2048
	lifetime = 24 * time.Hour
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "certs:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("want one argument, the folder to write into")
	}
	if err := os.MkdirAll(args[0], 0o700); err != nil {
		return err
	}
	ca, err := newPair("Twofold test authority", nil)
	if err != nil {
		return err
	}
	if err := ca.write(args[0], "ca"); err != nil {
		return err
	}
	// The stranger is signed by an authority that the server does not know.
	other, err := newPair("Another authority", nil)
	if err != nil {
		return err
	}
	for _, leaf := range []struct {
		name   string
		signer *pair
	}{{"server", ca}, {"device", ca}, {"stranger", other}} {
		p, err := newPair(leaf.name, leaf.signer)
		if err != nil {
			return err
		}
		if err := p.write(args[0], leaf.name); err != nil {
			return err
		}
	}
	return nil
}

// pair is a certificate and its key.
type pair struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// newPair makes a leaf signed by signer, or an authority if signer is nil.
func newPair(name string, signer *pair) (*pair, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("make key of %s: %w", name, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make serial of %s: %w", name, err)
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(lifetime),
	}
	parent := &pair{t, key}
	if signer == nil {
		t.IsCA, t.BasicConstraintsValid = true, true
		t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	} else {
		parent = signer
		t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		t.DNSNames = []string{"localhost"}
		t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent.cert, &key.PublicKey, parent.key)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back %s: %w", name, err)
	}
	return &pair{cert, key}, nil
}

func (p *pair) write(dir, name string) error {
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
	if err := os.WriteFile(filepath.Join(dir, name+".pem"), cert, 0o600); err != nil {
		return err
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(p.key)})
	return os.WriteFile(filepath.Join(dir, name+".key"), key, 0o600)
}
