package awsiot

import (
	"context"

	"github.com/twofold-iot/twofold/twin"
)

// EventLog keeps what happens to twins beside their changes.
type EventLog interface {
	// Reject notes an update that was refused before the engine saw it. It never
	// blocks and never makes a twin.
	Reject(key twin.ShadowKey, origin twin.Origin, token string, cause error)
}

// Engine is the write path and the durable reads this door needs.
type Engine interface {
	EventLog
	// Submit queues an update and never blocks. Unless it returns an error, done is
	// called exactly once when the outcome is durable, and must not block.
	Submit(u twin.Update, done func(twin.Result)) error
	// Shadow returns the durable shadow, nil if it never was, maybe a tombstone. It
	// sees every change whose done was called before. It may wait for the disk.
	Shadow(ctx context.Context, key twin.ShadowKey) (*twin.Shadow, error)
	// ShadowNames lists the live named shadows of a thing in order, after a name.
	ShadowNames(ctx context.Context, thing twin.ThingName, after twin.ShadowName, limit int) ([]twin.ShadowName, error)
	// Now is the clock of the answers.
	Now() twin.Time
	// Limits are the limits of shadows in force.
	Limits() twin.Limits
}

// Broker is the MQTT side.
type Broker interface {
	// Wanted reports whether anybody is subscribed to the topic. It keeps nothing of
	// the slice.
	Wanted(topic []byte) bool
	// Stage prepares messages to be queued in a commit and delivered after it; nil
	// if nobody is subscribed.
	Stage(ms []twin.Message) twin.Outgoing
	// Send publishes a message of the server itself; it never blocks.
	Send(m twin.Message)
	// Publish publishes as a client would, with the checks of a client's publish;
	// done is called exactly once, maybe before the return.
	Publish(p *twin.Publish, done func(error))
}

// Retained reads the retained messages of the broker.
type Retained interface {
	// Retained returns the retained message of a topic.
	Retained(topic string) (RetainedMessage, bool)
	// ListRetained lists retained messages by topic, greater than after.
	ListRetained(after string, limit int) []RetainedMessage
}

// RetainedMessage is a retained message with the time at which it was stored.
type RetainedMessage struct {
	twin.Message
	Modified twin.Time
}
