package server

import (
	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/internal/door/device"
	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/twin"
)

// topics splits what clients publish between the doors above MQTT: each takes the
// topics that are its own.
type topics struct {
	aws    *awsiot.Door
	device *device.Door
}

func (t topics) Allow(topic string) error { return t.aws.Allow(topic) }

func (t topics) Publish(p *twin.Publish, done func(error)) bool {
	return t.aws.Publish(p, done) || t.device.Publish(p, done)
}

// presence shows the tracker to the broker.
type presence struct{ tracker *device.Tracker }

func (p presence) Connected(client string) mqtt.Visit { return p.tracker.Begin(client) }
