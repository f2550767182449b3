// Package engine is the write path: the one way by which a twin changes.
//
// An update is queued at the shard of its thing; a committer takes what has queued
// over its shards, applies it in order to the cached shadows, commits the group
// once, and calls back when it is durable. See [Engine.Submit].
package engine

import (
	"context"
	"log/slog"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Publisher turns accepted changes into messages. Stage is called by a committer
// before the commit, once per attempt; it must not block. nil means nobody wants
// to hear of the change.
type Publisher interface {
	Stage(c *twin.Change) twin.Outgoing
}

// Options tune an Engine; the zero value works.
type Options struct {
	Limits        twin.Limits      // of shadows
	Committers    int              // goroutines that commit; 2
	QueueLenMax   int              // updates waiting per committer; 16384
	GroupLenMax   int              // updates in one commit; 2048
	CacheBytesMax int64            // memory of cached shadows; 64 MiB
	Now           func() time.Time // the clock; time.Now
	Publisher     Publisher        // may be nil
}

// Engine owns the write path.
type Engine struct{}

// Open starts an engine on a store. Close stops it before the store is closed.
func Open(log *slog.Logger, s store.Store, opts Options) (*Engine, error) { panic("pending") }

// Submit queues an update. It never blocks: a full queue is an error of kind
// KindFull and done is not called. Otherwise done is called exactly once, by a
// committer, in version order within a shadow, after the change is durable and
// before its messages are delivered; it must not block.
func (e *Engine) Submit(u twin.Update, done func(twin.Result)) error { panic("pending") }

// WriteRecords queues record writes that belong to no twin (a retained message, a
// session). Writes with the same orderKey are committed in the order of the
// calls. done is called as for Submit; a conflict is an error of kind
// KindConflict.
func (e *Engine) WriteRecords(orderKey string, ws []twin.RecordWrite, done func(error)) error {
	panic("pending")
}

// Records lists durable records of a kind, in key order, by prefix, after a key.
func (e *Engine) Records(ctx context.Context, kind twin.RecordKind, prefix, after string, limit int) ([]twin.Record, error) {
	panic("pending")
}

// Shadow returns the durable shadow: nil if it never existed, a tombstone if it
// was deleted.
func (e *Engine) Shadow(ctx context.Context, key twin.ShadowKey) (*twin.Shadow, error) {
	panic("pending")
}

// ShadowNames lists the live named shadows of a thing in order, after a name.
func (e *Engine) ShadowNames(ctx context.Context, thing twin.ThingName, after twin.ShadowName, limit int) ([]twin.ShadowName, error) {
	panic("pending")
}

// Things lists things with a live shadow in order, after a name.
func (e *Engine) Things(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	panic("pending")
}

// Now returns the engine's clock, for answers that carry the time of the answer.
func (e *Engine) Now() twin.Time { panic("pending") }

// Limits returns the limits in force with defaults filled in.
func (e *Engine) Limits() twin.Limits { panic("pending") }

// Close answers what is queued, waits for the committers, and returns. It may be
// called twice.
func (e *Engine) Close() error { panic("pending") }
