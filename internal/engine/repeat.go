package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// One effect for a request that is sent again. Over MQTT a packet with DUP is
// looked up among the thing's latest events, which carry session, packet id and
// patch: no extra write. Over HTTP the answer to an Idempotency-Key is a
// record in the same commit.

const (
	// repeatWindow and repeatEventsMax bound how far back a resent packet is looked
	// for. A client has at most 65,535 packets in flight and resends as soon as it
	// is back.
	repeatWindow    = 24 * time.Hour
	repeatEventsMax = 1024

	sweepEvery = 10 * time.Minute
	sweepPage  = 500
)

// repeated reports whether a job has had its effect before, or repeats one that is
// in flight, and then sets its result.
func (c *committer) repeated(g *group, j *job) bool {
	u := &j.update
	var same func(*job) bool
	switch {
	case u.Resent && u.Origin.PacketID != 0:
		same = func(o *job) bool { return o.update.Origin == u.Origin }
	case u.IdempotencyKey != "":
		same = func(o *job) bool { return o.update.IdempotencyKey == u.IdempotencyKey }
	default:
		return false
	}
	for _, jobs := range [][]*job{g.jobs[:len(g.jobs)-1], c.flyingJobs()} {
		for _, o := range jobs {
			if o.isUpdate() && o.mutation >= 0 && o.update.Key == u.Key && same(o) {
				j.original = o
				return true
			}
		}
	}
	if u.IdempotencyKey != "" {
		return c.repeatedKey(j)
	}
	return c.repeatedPacket(j)
}

func (c *committer) flyingJobs() []*job {
	if c.flying == nil {
		return nil
	}
	return c.flying.jobs
}

// repeatOf is the answer to a job whose original was in flight with it.
func repeatOf(o twin.Result) twin.Result {
	if o.Err != nil {
		return o
	}
	return twin.Result{Duplicate: true, Version: o.Version, Answer: o.Change.AppendAccepted(nil)}
}

// repeatedPacket looks for the event that an earlier copy of the packet made. The
// newest event with the packet's session and id decides: ids are used again.
func (c *committer) repeatedPacket(j *job) bool {
	u := &j.update
	events, err := c.engine.store.Events(context.Background(), store.EventRange{
		Key: u.Key, From: c.engine.Now() - twin.Time(repeatWindow.Milliseconds()),
		Newest: true, Limit: repeatEventsMax,
	})
	if err != nil {
		j.result.Err = fmt.Errorf("look for a resent packet: %w", err)
		return true
	}
	for _, b := range events {
		ev, err := twin.DecodeEvent(b)
		if err != nil {
			j.result.Err = fmt.Errorf("look for a resent packet: %w", err)
			return true
		}
		if ev.Origin.Session != u.Origin.Session || ev.Origin.PacketID != u.Origin.PacketID {
			continue
		}
		if !sameRequest(&ev, u) {
			return false
		}
		j.result = twin.Result{Duplicate: true, Version: shownVersion(ev)}
		return true
	}
	return false
}

// sameRequest reports whether an event came of a request like u.
func sameRequest(ev *twin.Event, u *twin.Update) bool {
	return u.Delete == (ev.Kind == twin.EventDeleted) && ev.Correlation == u.Request.ClientToken &&
		string(ev.Patch) == u.Request.State()
}

// shownVersion is the version a client was told for an event: a delete answers
// with the version it deleted.
func shownVersion(ev twin.Event) twin.Version {
	if ev.Kind == twin.EventDeleted {
		return ev.Version - 1
	}
	return ev.Version
}

// An idempotency record: expiry (8 bytes, ms), payload hash (4 bytes), version
// (uvarint), the answer.
const idempotencyHeaderBytes = 12

func idempotencyRecordKey(u *twin.Update) string {
	return string(u.Key.Thing) + "\x00" + string(u.Key.Shadow) + "\x00" + u.IdempotencyKey
}

func (c *committer) repeatedKey(j *job) bool {
	u := &j.update
	r, ok, err := c.engine.store.Record(context.Background(), twin.RecordIdempotency, idempotencyRecordKey(u))
	if err != nil {
		j.result.Err = fmt.Errorf("look for an idempotency key: %w", err)
		return true
	}
	if !ok || len(r.Value) <= idempotencyHeaderBytes || idempotencyExpiry(r.Value) <= c.engine.Now() {
		return false
	}
	if binary.BigEndian.Uint32(r.Value[8:]) != u.Origin.PayloadHash {
		j.result.Err = twin.NewError(twin.KindInvalid, "The Idempotency-Key was used for another request")
		return true
	}
	rest := r.Value[idempotencyHeaderBytes:]
	version, n := binary.Uvarint(rest)
	if n <= 0 {
		j.result.Err = fmt.Errorf("idempotency record of %s is damaged", u.Key)
		return true
	}
	j.result = twin.Result{Duplicate: true, Version: twin.Version(version), Answer: rest[n:]}
	return true
}

func idempotencyExpiry(value []byte) twin.Time {
	return twin.Time(binary.BigEndian.Uint64(value))
}

// remember is the record of an idempotent request that was accepted.
func (c *committer) remember(j *job, change *twin.Change) twin.RecordWrite {
	u := &j.update
	expiry := change.Time + twin.Time(c.engine.opts.IdempotencyTTL.Milliseconds())
	v := binary.BigEndian.AppendUint64(nil, uint64(expiry))
	v = binary.BigEndian.AppendUint32(v, u.Origin.PayloadHash)
	v = binary.AppendUvarint(v, uint64(change.Version))
	v = change.AppendAccepted(v)
	return twin.RecordWrite{Kind: twin.RecordIdempotency, Key: idempotencyRecordKey(u), Value: v}
}

// sweepIdempotency deletes the records of keys that have expired, from time to
// time, until ctx ends.
func (e *Engine) sweepIdempotency(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := e.sweepOnce(ctx); err != nil {
				e.log.LogAttrs(ctx, slog.LevelWarn, "idempotency keys not swept", slog.String("error", err.Error()))
			}
		}
	}
}

func (e *Engine) sweepOnce(ctx context.Context) error {
	now := e.Now()
	for after := ""; ; {
		page, err := e.Records(ctx, twin.RecordIdempotency, "", after, sweepPage)
		if err != nil || len(page) == 0 {
			return err
		}
		var expired []twin.RecordWrite
		for _, r := range page {
			if len(r.Value) < idempotencyHeaderBytes || idempotencyExpiry(r.Value) <= now {
				expired = append(expired, twin.RecordWrite{Kind: r.Kind, Key: r.Key, Expect: r.Revision})
			}
		}
		if len(expired) > 0 {
			if err := e.WriteRecords("", expired, func(error) {}); err != nil {
				return err
			}
		}
		after = page[len(page)-1].Key
	}
}
