// Package awsiot is the AWS contract: the shadow topics over MQTT and the HTTP data
// plane of AWS IoT, with the documents and errors of the real service.
package awsiot

import (
	"context"

	"github.com/twofold-iot/twofold/twin"
)

// Engine is the write path and the durable reads this door needs.
type Engine interface {
	Submit(u twin.Update, done func(twin.Result)) error
	Shadow(ctx context.Context, key twin.ShadowKey) (*twin.Shadow, error)
	ShadowNames(ctx context.Context, thing twin.ThingName, after twin.ShadowName, limit int) ([]twin.ShadowName, error)
	Now() twin.Time
	Limits() twin.Limits
}

// Broker is the MQTT side.
type Broker interface {
	// Wanted reports whether anybody is subscribed to the topic.
	Wanted(topic []byte) bool
	// Stage prepares messages; nil if nobody is subscribed.
	Stage(ms []twin.Message) twin.Outgoing
	// Publish publishes as a client would.
	Publish(p *twin.Publish, done func(error))
}
