package device

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Options tune a Door; the zero value takes no telemetry.
type Options struct {
	Telemetry Telemetry // nil: telemetry is a message like any other
	Rules     twin.TelemetryRules
	Admit     func(rows []twin.Row) error // refuses samples that models do not allow; nil: all are taken
	Patterns  []Pattern                   // of topics that carry telemetry too; the first that matches counts
	Now       func() time.Time            // the clock; time.Now
}

// Door takes the messages of devices on twins/{thing}/events and
// twins/{thing}/telemetry, and on topics that are configured to carry telemetry.
type Door struct {
	log    *slog.Logger
	engine Engine
	opts   Options
	drops  drops
}

// New returns the door.
func New(log *slog.Logger, e Engine, opts Options) *Door {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Door{log: log, engine: e, opts: opts}
}

// Publish takes a message if it is for this door, and then calls done when it may be
// acknowledged. A message that is not what belongs on its topic is acknowledged too, as
// sending it again would not help; that it was rejected is in the event log.
func (d *Door) Publish(p *twin.Publish, done func(error)) bool {
	thing, kind := ownTopic(p.Topic)
	if kind == topicTelemetry && d.opts.Telemetry == nil {
		return false
	}
	if kind == topicOther {
		thing, metric, ok := patterns(d.opts.Patterns).match(p.Topic)
		if !ok || d.opts.Telemetry == nil {
			return false
		}
		d.telemetry(p, thing, metric, done)
		return true
	}
	if !thing.Valid() {
		done(twin.NewError(twin.KindInvalid, fmt.Sprintf("%q is no thing name", thing)))
		return true
	}
	if kind == topicTelemetry {
		d.telemetry(p, thing, "", done)
		return true
	}
	d.event(p, thing, done)
	return true
}

func (d *Door) event(p *twin.Publish, thing twin.ThingName, done func(error)) {
	ev, err := twin.ParseReport(p.Payload)
	if err != nil {
		d.engine.Reject(twin.ShadowKey{Thing: thing}, p.Origin, "", err)
		done(nil)
		return
	}
	ev.Thing, ev.Origin = thing, p.Origin
	if err := d.engine.Append(twin.Entry{Event: ev}, func(r twin.EntryResult) { done(r.Err) }); err != nil {
		done(err)
	}
}
