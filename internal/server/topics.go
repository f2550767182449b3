package server

import (
	"context"
	"fmt"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/internal/door/device"
	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/twin"
)

// topics splits what clients publish between the doors above MQTT: each takes the
// topics that are its own.
type topics struct {
	aws      *awsiot.Door
	device   *device.Door
	commands *commands
	jobs     *awsiot.JobDoor
	intents  *device.IntentDoor
}

func (t topics) Allow(topic string) error {
	if t.commands.aws.Serves(topic) {
		return t.commands.aws.Allow(topic)
	}
	if t.jobs.Serves(topic) {
		return t.jobs.Allow(topic)
	}
	return t.aws.Allow(topic)
}

func (t topics) Publish(p *twin.Publish, done func(error)) bool {
	return t.aws.Publish(p, done) || t.commands.device.Publish(p, done) || t.commands.aws.Publish(p, done) || t.jobs.Publish(p, done) || t.intents.Publish(p, done) || t.device.Publish(p, done)
}

// deviceOptions makes the options of the device door of what is configured.
func deviceOptions(c *TelemetryConfig, t device.Telemetry) (device.Options, error) {
	o := device.Options{Telemetry: t, Rules: telemetryRules(c)}
	for _, text := range c.Topics {
		p, err := device.ParsePattern(text)
		if err != nil {
			return o, fmt.Errorf("telemetry.topics: %w", err)
		}
		o.Patterns = append(o.Patterns, p)
	}
	return o, nil
}

func telemetryRules(c *TelemetryConfig) twin.TelemetryRules {
	return twin.TelemetryRules{AheadMax: c.AheadMax, LateMax: c.LateMax}
}

// presence shows the tracker to the broker.
type presence struct {
	tracker  *device.Tracker
	commands *commands
}

func (p presence) Connected(client string) mqtt.Visit {
	return visit{p.tracker.Begin(client), p.commands}
}

// lastSeen is when the newest sample of a thing came, zero if there is none. What came
// before the server started is looked up once.
func (s *Server) lastSeen(thing twin.ThingName) twin.Time {
	if last, known := s.heard.LastSeen(thing); known {
		return last
	}
	last, err := s.telemetry.Reader().LastArrival(context.Background(), thing)
	if err != nil {
		s.log.Error("last sample not found", "thing", string(thing), "error", err.Error())
		return 0
	}
	return s.heard.Remember(thing, last)
}
