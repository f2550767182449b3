//go:build race

package awsiot_test

// raceEnabled: the race detector slows everything, so durations say nothing.
const raceEnabled = true
