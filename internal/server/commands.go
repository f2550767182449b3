package server

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/twofold-iot/twofold/internal/clock"
	"github.com/twofold-iot/twofold/internal/command"
	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/internal/door/device"
	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/twin"
)

// commands are the service and its two doors over MQTT.
type commands struct {
	*command.Service
	device *device.CommandDoor
	aws    *awsiot.CommandDoor

	stop context.CancelFunc
	done chan struct{}
}

// openCommands reads the open commands and runs the service. Nothing is sent before
// connect.
func openCommands(log *slog.Logger, e *engine.Engine, clk *clock.Clock) (*commands, error) {
	s, err := command.Open(log, e, command.Options{Now: clk.Now, Speed: clk.Speed()})
	if err != nil {
		return nil, fmt.Errorf("open commands: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &commands{
		Service: s, device: device.NewCommands(s, e), aws: awsiot.NewCommands(s, e),
		stop: stop, done: make(chan struct{}),
	}
	go func() {
		defer close(c.done)
		s.Run(ctx)
	}()
	return c, nil
}

// connect lets commands go out by the broker.
func (c *commands) connect(log *slog.Logger, b *mqtt.Broker, clk *clock.Clock) {
	c.aws.Connect(b)
	c.Connect(commandSender{log, b, clk})
}

// close ends the service; the engine has to work until it returns.
func (c *commands) close() {
	c.stop()
	<-c.done
}

// arrived tells the service of a client that uses a filter.
func (c *commands) arrived(filter string) {
	if thing, ok := device.CommandsOf(filter); ok {
		c.Arrived(thing)
	} else if thing, ok := awsiot.CommandsOf(filter); ok {
		c.Arrived(thing)
	}
}

// commandSender shows the broker to the service.
type commandSender struct {
	log    *slog.Logger
	broker *mqtt.Broker
	clock  *clock.Clock
}

// SendCommand sends a command in the form to which its device is subscribed: Twofold's,
// or else that of AWS.
func (s commandSender) SendCommand(c *twin.Command, still func() bool, taken func(string)) (n int, full bool) {
	left := c.Expires.Std().Sub(s.clock.Now())
	own, prefix, err := device.CommandMessage(c, left)
	if err != nil {
		s.log.Error("command not sent", slog.String("error", err.Error()))
		return 0, false
	}
	aws, awsPrefix := awsiot.CommandMessage(c, left)
	return s.broker.SendDirect(&mqtt.Direct{
		Key:   twin.CommandIDKey(c.Thing, c.ID),
		Forms: []mqtt.DirectForm{{Message: own, Own: prefix}, {Message: aws, Own: awsPrefix}},
		Still: still, Taken: taken,
	})
}

// visit tells the tracker and the service what a client uses.
type visit struct {
	mqtt.Visit
	commands *commands
}

// Uses implements [mqtt.Visit].
func (v visit) Uses(topic string) {
	v.Visit.Uses(topic)
	v.commands.arrived(topic)
}

// restCommands shows the service to the REST door.
type restCommands struct{ *command.Service }

func (c restCommands) ListCommands(ctx context.Context, thing twin.ThingName, states []twin.CommandState, before twin.Seq, limit int) ([]twin.Command, error) {
	return c.List(ctx, thing, command.Query{States: states, Before: before, Limit: limit})
}
