package device

import (
	"fmt"
	"log/slog"

	"github.com/twofold-iot/twofold/twin"
)

// Door takes the messages of devices on twins/{thing}/events.
type Door struct {
	log    *slog.Logger
	engine Engine
}

// New returns the door.
func New(log *slog.Logger, e Engine) *Door { return &Door{log: log, engine: e} }

// Publish takes a message if it is for this door, and then calls done when it may be
// acknowledged. A message that is no event is acknowledged too, as sending it again
// would not help; that it was rejected is in the event log.
func (d *Door) Publish(p *twin.Publish, done func(error)) bool {
	thing, ok := eventsTopic(p.Topic)
	if !ok {
		return false
	}
	key := twin.ShadowKey{Thing: thing}
	if !thing.Valid() {
		done(twin.NewError(twin.KindInvalid, fmt.Sprintf("%q is no thing name", thing)))
		return true
	}
	ev, err := twin.ParseReport(p.Payload)
	if err != nil {
		d.engine.Reject(key, p.Origin, "", err)
		done(nil)
		return true
	}
	ev.Thing, ev.Origin = thing, p.Origin
	if err := d.engine.Append(twin.Entry{Event: ev}, func(r twin.EntryResult) { done(r.Err) }); err != nil {
		done(err)
	}
	return true
}
