package storetest

import (
	"context"

	"github.com/twofold-iot/twofold/internal/store"
)

// Faulty wraps a store with failpoints around its commits, for tests of the layers
// above. Set the fields before it is used; nil ones do nothing. A failpoint that
// blocks delays the commit, one that commits to the wrapped store itself makes real
// conflicts.
type Faulty struct {
	store.Store
	// Before runs before a commit. Its error is returned in place of the commit:
	// the fate is unknown to the caller, and nothing was written.
	Before func(ctx context.Context, ms []store.Mutation) error
	// After runs after a commit that succeeded. Its error is returned in place of
	// the outcomes: the fate is unknown to the caller, and all was written.
	After func(ctx context.Context, ms []store.Mutation, outcomes []store.Outcome) error
}

// Commit implements [store.Writer].
func (f *Faulty) Commit(ctx context.Context, ms []store.Mutation) ([]store.Outcome, error) {
	if f.Before != nil {
		if err := f.Before(ctx, ms); err != nil {
			return nil, err
		}
	}
	outcomes, err := f.Store.Commit(ctx, ms)
	if err != nil || f.After == nil {
		return outcomes, err
	}
	if err := f.After(ctx, ms, outcomes); err != nil {
		return nil, err
	}
	return outcomes, nil
}
