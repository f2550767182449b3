package engine

import (
	"log/slog"

	"github.com/twofold-iot/twofold/internal/store"
)

// The failpoints, for tests that stop the world at one.
const (
	BeforeCommit = beforeCommit
	AfterCommit  = afterCommit
	BeforeAnswer = beforeAnswer
	AfterAnswer  = afterAnswer
)

// Failpoint is a moment in the life of a group.
type Failpoint = failpoint

// OpenWithFailpoints opens an engine that calls onHit at each failpoint.
func OpenWithFailpoints(log *slog.Logger, s store.Store, o Options, onHit func(Failpoint)) (*Engine, error) {
	return open(log, s, o, failpoints{onHit: onHit})
}

// Sweep deletes expired idempotency records now.
var Sweep = (*Engine).sweepOnce

// ExpireDue submits the withdrawal of what is due by the clock.
func (e *Engine) ExpireDue() { e.expireDue() }

// StepDue submits the steps that are due by the clock.
func (e *Engine) StepDue() { e.stepDue() }
