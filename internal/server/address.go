package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// lookupTimeout bounds how long a host name in an address may take to resolve.
const lookupTimeout = 3 * time.Second

// lookup resolves a host name; it is a parameter so that tests need no DNS.
type lookup func(ctx context.Context, host string) ([]netip.Addr, error)

func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// loopback checks that a listen address reaches this machine only and returns it
// with the host resolved, so that what was checked is what is bound.
//
// There is no authentication yet, so everybody who reaches a port may read and
// change every twin. That is why all other addresses are refused, rather than
// warned of.
func loopback(address string, find lookup) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not an address such as 127.0.0.1:1883", address)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q has no port between 0 and 65535; use an address such as 127.0.0.1:1883", address)
	}
	if host == "" {
		return netip.AddrPort{}, refused(address, "it names no host and so means every network of this machine", port)
	}
	addrs := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, ip)
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
		defer cancel()
		if addrs, err = find(ctx, host); err != nil || len(addrs) == 0 {
			return netip.AddrPort{}, fmt.Errorf("%s: the host name does not resolve; use 127.0.0.1:%s", address, port)
		}
	}
	for _, a := range addrs {
		if a = a.Unmap(); !a.IsLoopback() {
			why := a.String() + " can be reached from other machines"
			if a.IsUnspecified() {
				why = "it means every network of this machine"
			}
			return netip.AddrPort{}, refused(address, why, port)
		}
	}
	return netip.AddrPortFrom(addrs[0].Unmap().WithZone(""), uint16(n)), nil
}

func refused(address, why, port string) error {
	return fmt.Errorf("%s is refused: %s and there is no authentication yet, so anybody could change every twin; use 127.0.0.1:%s", address, why, port)
}
