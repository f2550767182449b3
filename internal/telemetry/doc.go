// Package telemetry is the way of samples from a door to the disk and back.
//
// [Telemetry] takes rows ([Telemetry.Ingest]) and appends them in groups to the store.
package telemetry
