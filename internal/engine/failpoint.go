package engine

// failpoint names a moment in the life of a group at which a test may stop the
// world.
type failpoint uint8

const (
	beforeCommit failpoint = iota
	afterCommit
	beforeAnswer
	afterAnswer
)

// failpoints are the tests' hooks; nil does nothing.
type failpoints struct {
	onHit func(failpoint)
}

func (f failpoints) hit(p failpoint) {
	if f.onHit != nil {
		f.onHit(p)
	}
}
