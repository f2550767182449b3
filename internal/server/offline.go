package server

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// Offline is the store of a server that does not run.
type Offline struct {
	store *pebblestore.Store
}

// OpenOffline opens the store in a data folder, which must be there: to look at a
// folder must not make one.
func OpenOffline(dir string, log *slog.Logger) (*Offline, error) {
	if _, err := os.Stat(filepath.Join(dir, "FORMAT")); err != nil {
		return nil, fmt.Errorf("there is no store in %s; give the data folder of a server with --data", dir)
	}
	s, err := pebblestore.Open(dir, pebblestore.Options{Log: log})
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return &Offline{s}, nil
}

// Source is what proofs read.
func (o *Offline) Source() proof.ShadowSource { return o.store }

// Expired says what has expired, for the proofs; never nil.
func (o *Offline) Expired(ctx context.Context) (store.Policy, error) {
	p, _, err := o.store.Expired(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what has expired: %w", err)
	}
	if p == nil {
		p = store.Policy{}
	}
	return p, nil
}

// Known reports whether a thing has any event.
func (o *Offline) Known(ctx context.Context, thing twin.ThingName) (bool, error) {
	heads, err := o.store.Heads(ctx, []twin.ThingName{thing})
	if err != nil {
		return false, fmt.Errorf("read the head of %s: %w", thing, err)
	}
	return heads[0].Seq > 0, nil
}

// Close closes the store.
func (o *Offline) Close() error { return o.store.Close() }
