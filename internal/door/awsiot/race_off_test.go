//go:build !race

package awsiot_test

const raceEnabled = false
