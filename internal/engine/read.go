package engine

import (
	"context"
	"fmt"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Shadow returns the durable shadow: nil if it never existed, a tombstone if it
// was deleted. What is being committed is not seen yet; what a Submit has
// reported done is.
func (e *Engine) Shadow(ctx context.Context, key twin.ShadowKey) (*twin.Shadow, error) {
	doc, known := e.committer(key.Thing.Shard()).cache.durable(key)
	if !known {
		stored, err := e.store.Shadows(ctx, []twin.ShadowKey{key})
		if err != nil {
			return nil, fmt.Errorf("read shadow %s: %w", key, err)
		}
		doc = stored[0].Doc
	}
	if doc == nil {
		return nil, nil
	}
	s, err := twin.DecodeShadow(doc)
	if err != nil {
		return nil, fmt.Errorf("read shadow %s: %w", key, err)
	}
	return s, nil
}

// NamedShadows lists the live named shadows of all things in order, after one.
func (e *Engine) NamedShadows(ctx context.Context, after twin.ShadowKey, limit int) ([]twin.ShadowKey, error) {
	return e.store.NamedShadows(ctx, after, limit)
}

// ShadowNames lists the live named shadows of a thing in order, after a name.
func (e *Engine) ShadowNames(ctx context.Context, thing twin.ThingName, after twin.ShadowName, limit int) ([]twin.ShadowName, error) {
	return e.store.ShadowNames(ctx, thing, after, limit)
}

// Things lists things with a live shadow in order, after a name.
func (e *Engine) Things(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	return e.store.Things(ctx, after, limit)
}

// Records lists durable records of a kind, in key order, by prefix, after a key.
func (e *Engine) Records(ctx context.Context, kind twin.RecordKind, prefix, after string, limit int) ([]twin.Record, error) {
	return e.store.ListRecords(ctx, store.RecordRange{Kind: kind, Prefix: prefix, After: after, Limit: limit})
}
