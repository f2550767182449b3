package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/twofold-iot/twofold/internal/store/pebblestore"
)

// Loopback is loopback with a resolver that knows only the given names.
func Loopback(address string, names map[string][]string) (string, error) {
	addr, err := loopback(address, func(_ context.Context, host string) ([]netip.Addr, error) {
		var found []netip.Addr
		for _, a := range names[host] {
			found = append(found, netip.MustParseAddr(a))
		}
		return found, nil
	})
	return addr.String(), err
}

// NewGuard is newGuard.
func NewGuard(next http.Handler, c HTTPConfig) (http.Handler, error) { return newGuard(next, &c) }

// OpenWith opens a server on a store with options.
func OpenWith(c Config, log *slog.Logger, opts pebblestore.Options) (*Server, error) {
	return open(World{}, c, log, opts)
}

// FeedError is feedError.
func FeedError(err error) error { return feedError(err) }
