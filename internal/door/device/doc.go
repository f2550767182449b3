// Package device is what devices and Twofold say to each other over MQTT beside the
// AWS contract: the topics twins/{thing}/…, and which things are connected.
//
// [Door] takes the messages, events and telemetry; a [Pattern] names further topics
// that carry telemetry; [Tracker] follows who is there.
package device

import "github.com/twofold-iot/twofold/twin"

// Engine is the part of the write path this door needs.
type Engine interface {
	Append(en twin.Entry, done func(twin.EntryResult)) error
	Reject(key twin.ShadowKey, origin twin.Origin, token string, cause error)
}
