//go:build race

package pebblestore_test

// raceEnabled shortens the long random tests: the detector makes them ten times slower.
const raceEnabled = true
