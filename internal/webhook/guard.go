package webhook

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// Guard says which addresses may be dialed: public ones, and those that are allowed by
// name or number.
type Guard struct {
	hosts map[string]bool
	nets  []netip.Prefix
}

// Limits of the list of what is allowed.
const allowedMax = 1000

// NewGuard reads what is allowed beside public addresses: host names, IP addresses, and
// networks such as 10.1.0.0/16.
func NewGuard(allow []string) (*Guard, error) {
	if len(allow) > allowedMax {
		return nil, fmt.Errorf("%d entries are over the limit of %d", len(allow), allowedMax)
	}
	g := &Guard{hosts: map[string]bool{}}
	for _, text := range allow {
		if p, err := netip.ParsePrefix(text); err == nil {
			g.nets = append(g.nets, p.Masked())
			continue
		}
		if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
			a = a.Unmap().WithZone("")
			g.nets = append(g.nets, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		if text == "" || strings.ContainsAny(text, "/:* @") {
			return nil, fmt.Errorf("%q is no host name, IP address or network such as 10.1.0.0/16", text)
		}
		g.hosts[hostKey(text)] = true
	}
	return g, nil
}

func hostKey(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// special are networks that no public host has: IANA's registries of special-purpose
// addresses, and the ranges that carry other addresses in them (NAT64, 6to4, Teredo), by
// which a private one could be reached.
var special = parseNets( //nolint:gochecknoglobals // read only
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
	"3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	"168.63.129.16/32", // a metadata service with a public number
)

func parseNets(texts ...string) []netip.Prefix {
	nets := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		nets[i] = netip.MustParsePrefix(text)
	}
	return nets
}

// Check returns an error if an address, to which the name of a host has been resolved, may
// not be dialed.
func (g *Guard) Check(host string, a netip.Addr) error {
	if g.hosts[hostKey(host)] {
		return nil
	}
	a = a.Unmap().WithZone("")
	for _, p := range g.nets {
		if p.Contains(a) {
			return nil
		}
	}
	for _, p := range special {
		if p.Contains(a) {
			return fmt.Errorf("%s is no public address; webhooks.allow_private can allow it", a)
		}
	}
	return nil
}

// CheckHost does that for a host that is written as a number; names pass.
func (g *Guard) CheckHost(host string) error {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return nil //nolint:nilerr // a name: it is resolved when it is dialed
	}
	return g.Check(host, a)
}

// dial connects. The check comes after the name is resolved, for each address that is
// tried: a name that gives another address every time passes none that is not allowed.
func (g *Guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	d := net.Dialer{
		Timeout: dialTimeout, KeepAlive: 30 * time.Second,
		Control: func(_, to string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(to)
			if err != nil {
				return fmt.Errorf("address %q: %w", to, err)
			}
			return g.Check(host, at.Addr())
		},
	}
	return d.DialContext(ctx, network, address)
}
