//go:build race

package twin_test

// The race detector makes everything slower and pools empty.
const (
	raceEnabled = true
	slowness    = 20
)
