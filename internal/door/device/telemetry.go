package device

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Telemetry takes samples.
type Telemetry interface {
	// Ingest queues rows, in order. With durable set done is called when they are
	// synced, else before the return. It never blocks: a full queue is an error of kind
	// KindFull, and then done is not called. The rows may be used again after the return.
	Ingest(rows []twin.Row, durable bool, done func(error)) error
}

// telemetry takes one message. With QoS 0 nobody waits for a sync, and what finds the
// queue full is dropped and counted; with QoS 1 and 2 the message is acknowledged when
// it is on disk. One that is no telemetry is acknowledged too, and noted.
func (d *Door) telemetry(p *twin.Publish, thing twin.ThingName, metric twin.MetricName, done func(error)) {
	rules := d.opts.Rules
	rules.Prefix = metric
	var rows []twin.Row
	var err error
	if metric != "" {
		err = metric.Check()
	}
	if err == nil {
		rows, err = twin.ParseTelemetry(p.Payload, twin.TimeOf(d.opts.Now()), rules)
	}
	if err != nil {
		d.engine.Reject(twin.ShadowKey{Thing: thing}, p.Origin, "", err)
		done(nil)
		return
	}
	if len(rows) == 0 { // nulls only
		done(nil)
		return
	}
	for i := range rows {
		rows[i].Thing = thing
	}
	if d.opts.Admit != nil {
		if err := d.opts.Admit(rows); err != nil {
			d.engine.Reject(twin.ShadowKey{Thing: thing}, p.Origin, "", err)
			done(nil)
			return
		}
	}
	durable := p.QoS > 0
	if err := d.opts.Telemetry.Ingest(rows, durable, done); err != nil {
		if !durable && twin.Kind(err) == twin.KindFull {
			d.drops.note(d.log, d.opts.Now())
			d.engine.Reject(twin.ShadowKey{Thing: thing}, p.Origin, "", err)
			err = nil
		}
		done(err)
	}
}

// Dropped counts the messages of QoS 0 that found the queue full.
func (d *Door) Dropped() uint64 { return d.drops.count() }

// dropsLogged is the time between two log lines about dropped messages.
const dropsLogged = 10 * time.Second

// drops counts what is dropped, and logs it now and then.
type drops struct {
	mu     sync.Mutex
	all    uint64
	said   uint64 // of all, when the last line was logged
	saidAt time.Time
}

func (c *drops) count() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

func (c *drops) note(log *slog.Logger, now time.Time) {
	c.mu.Lock()
	c.all++
	fresh := c.all - c.said
	due := c.saidAt.IsZero() || now.Sub(c.saidAt) >= dropsLogged
	if due {
		c.said, c.saidAt = c.all, now
	}
	c.mu.Unlock()
	if due {
		log.LogAttrs(context.Background(), slog.LevelWarn, "telemetry of QoS 0 is dropped because its queue is full",
			slog.Uint64("messages", fresh))
	}
}
