package mqtt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// The records of this door; docs/format/mqtt.md has the bytes. Each value begins
// with a format byte.
const recordFormat = 1

// loadPage is how many records are read at once.
const loadPage = 1000

// subscriptionKey is the key of a subscription beside its session: a client id
// holds no NUL [MQTT-1.5.4-2].
func subscriptionKey(client, filter string) string { return client + "\x00" + filter }

func queueKey(client string, num uint64) string {
	return string(binary.BigEndian.AppendUint64(append([]byte(client), 0), num))
}

func numberKey(num uint64) string { return string(binary.BigEndian.AppendUint64(nil, num)) }

// record is the session's own record. offline is when its connection ended, zero:
// it is connected.
func (s *session) record(offline time.Time) twin.RecordWrite {
	v := binary.AppendUvarint([]byte{recordFormat}, uint64(s.expiry/time.Second))
	at := int64(0)
	if !offline.IsZero() {
		at = offline.UnixMilli()
	}
	return twin.RecordWrite{Kind: twin.RecordSession, Key: s.id, Value: binary.AppendVarint(v, at)}
}

const (
	subNoLocal           = 1 << 2
	subRetainAsPublished = 1 << 3
)

func (sub *subscription) record() twin.RecordWrite {
	flags := sub.qos
	if sub.noLocal {
		flags |= subNoLocal
	}
	if sub.retainAsPublished {
		flags |= subRetainAsPublished
	}
	return twin.RecordWrite{
		Kind: twin.RecordSession, Key: subscriptionKey(sub.s.id, sub.filter),
		Value: binary.AppendUvarint([]byte{recordFormat, flags}, uint64(sub.id)),
	}
}

const (
	entryRetain = 1 << 0
	entryShared = 1 << 1
)

func appendEntry(dst []byte, e *entry) []byte {
	var flags byte
	if e.retain {
		flags |= entryRetain
	}
	if e.body != nil {
		flags |= entryShared
	}
	dst = append(dst, recordFormat, flags)
	dst = binary.AppendUvarint(dst, uint64(len(e.subIDs)))
	for _, id := range e.subIDs {
		dst = binary.AppendUvarint(dst, uint64(id))
	}
	if e.body != nil {
		return binary.BigEndian.AppendUint64(dst, e.body.num)
	}
	return appendBody(dst, e.msg)
}

func appendRetained(dst []byte, r *retained) []byte {
	dst = binary.AppendVarint(append(dst, recordFormat), int64(r.modified))
	return appendBody(dst, &r.message)
}

func appendBody(dst []byte, m *message) []byte {
	dst = append(dst, recordFormat, m.QoS)
	dst = binary.AppendVarint(dst, int64(m.expiresAt))
	dst = appendField(dst, m.Topic)
	if p := m.Properties; p == nil {
		dst = append(dst, 0)
	} else {
		dst = append(dst, 1, p.PayloadFormat)
		dst = binary.AppendUvarint(dst, uint64(p.ExpirySeconds))
		dst = appendField(dst, p.ContentType)
		dst = appendField(dst, p.ResponseTopic)
		if p.CorrelationData == nil {
			dst = append(dst, 0)
		} else {
			dst = appendField(append(dst, 1), p.CorrelationData)
		}
		dst = binary.AppendUvarint(dst, uint64(len(p.User)))
		for _, u := range p.User {
			dst = appendField(appendField(dst, u.Key), u.Value)
		}
	}
	return append(dst, m.Payload...)
}

func appendField[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// reader reads a record; after the first fault it returns zero values.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) uint64() uint64 {
	if len(r.b) < 8 {
		r.b, r.bad = nil, true
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) field() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) format() {
	if r.byte() != recordFormat {
		r.b, r.bad = nil, true
	}
}

// message reads what appendBody wrote; the payload is the rest.
func (r *reader) message() *message {
	r.format()
	m := &message{}
	m.QoS = r.byte()
	m.expiresAt = twin.Time(r.varint())
	m.Topic = string(r.field())
	if r.byte() == 1 {
		p := &twin.MessageProperties{PayloadFormat: r.byte()}
		p.ExpirySeconds = uint32(r.uvarint())
		p.ContentType = string(r.field())
		p.ResponseTopic = string(r.field())
		if r.byte() == 1 {
			p.CorrelationData = r.field()
		}
		for n := r.uvarint(); n > 0 && !r.bad; n-- {
			key := string(r.field())
			p.User = append(p.User, twin.UserProperty{Key: key, Value: string(r.field())})
		}
		m.Properties = p
	}
	m.Payload = r.b
	r.b = nil
	if m.Topic == "" {
		r.bad = true
	}
	return m
}

var errRecord = errors.New("record is damaged or of an unknown format")

// each calls f for every record of a kind, in key order.
func (b *Broker) each(ctx context.Context, kind twin.RecordKind, f func(key string, r *reader) error) error {
	after := ""
	for {
		page, err := b.records.Records(ctx, kind, "", after, loadPage)
		if err != nil {
			return fmt.Errorf("read mqtt records of kind %d: %w", kind, err)
		}
		for i := range page {
			r := reader{b: page[i].Value}
			err := f(page[i].Key, &r)
			if err == nil && (r.bad || len(r.b) > 0) {
				err = errRecord
			}
			if err != nil {
				return fmt.Errorf("mqtt record of kind %d, key %q: %w", kind, page[i].Key, err)
			}
		}
		if len(page) < loadPage {
			return nil
		}
		after = page[len(page)-1].Key
	}
}

// load reads sessions, queues and retained messages from the records.
func (b *Broker) load(ctx context.Context) error {
	if b.records == nil {
		return nil
	}
	if err := b.loadRetained(ctx); err != nil {
		return err
	}
	if err := b.loadSessions(ctx); err != nil {
		return err
	}
	return b.loadQueues(ctx)
}

func (b *Broker) loadRetained(ctx context.Context) error {
	return b.each(ctx, twin.RecordRetained, func(_ string, r *reader) error {
		r.format()
		modified := twin.Time(r.varint())
		if m := r.message(); !r.bad {
			b.retained.set(&retained{message: *m, modified: modified})
		}
		return nil
	})
}

// loadSessions reads sessions with their subscriptions; a session's record comes
// before those of its subscriptions.
func (b *Broker) loadSessions(ctx context.Context) error {
	now, wall := time.Now(), b.opts.Now()
	err := b.each(ctx, twin.RecordSession, func(key string, r *reader) error {
		client, filter, isSub := strings.Cut(key, "\x00")
		r.format()
		if isSub {
			flags := r.byte()
			sub := &subscription{
				filter: filter, id: uint32(r.uvarint()), qos: flags & 3,
				noLocal: flags&subNoLocal != 0, retainAsPublished: flags&subRetainAsPublished != 0,
			}
			s := b.sessions[client]
			if r.bad || s == nil {
				return nil // left over: goes with the next session of this client
			}
			sub.s = s
			s.subs[filter] = sub
			b.index.add(sub, nil)
			return nil
		}
		s := &session{b: b, id: client, subs: make(map[string]*subscription), stored: true}
		s.expiry = time.Duration(r.uvarint()) * time.Second
		offline := r.varint()
		// A session that was connected when the process ended begins its absence now.
		s.endsAt = now.Add(s.expiry)
		if offline != 0 {
			s.endsAt = now.Add(s.expiry - wall.Sub(time.UnixMilli(offline)))
		} else {
			s.wasOnline = true
		}
		b.sessions[client] = s
		b.janitor.schedule(s)
		return nil
	})
	return err
}

// loadQueues reads the queues. Entries without session and messages without entry
// are removed: they were on their way out when the process ended.
func (b *Broker) loadQueues(ctx context.Context) error {
	bodies := make(map[uint64]*body)
	messages := make(map[uint64]*message)
	top := uint64(0)
	err := b.each(ctx, twin.RecordMessage, func(key string, r *reader) error {
		k := reader{b: []byte(key)}
		num := k.uint64()
		messages[num], bodies[num] = r.message(), &body{num: num}
		top = max(top, num)
		return nil
	})
	if err != nil {
		return err
	}
	err = b.each(ctx, twin.RecordQueued, func(key string, r *reader) error {
		client, rest, _ := strings.Cut(key, "\x00")
		k := reader{b: []byte(rest)}
		e := &entry{num: k.uint64()}
		top = max(top, e.num)
		r.format()
		flags := r.byte()
		e.retain = flags&entryRetain != 0
		for n := r.uvarint(); n > 0 && !r.bad; n-- {
			e.subIDs = append(e.subIDs, uint32(r.uvarint()))
		}
		if flags&entryShared != 0 {
			num := r.uint64()
			e.msg, e.body = messages[num], bodies[num]
			if e.msg == nil && !r.bad {
				return errors.New("the message it refers to is missing")
			}
			e.body.refs.Add(1)
		} else {
			e.msg = r.message()
		}
		if k.bad || r.bad {
			return errRecord
		}
		s := b.sessions[client]
		if s == nil {
			b.janitor.forget(client, e)
			return nil
		}
		e.dup = s.wasOnline // it may have been sent [MQTT-3.3.1-1]
		s.appendLocked(e)
		return nil
	})
	if err != nil {
		return err
	}
	for num, body := range bodies {
		if body.refs.Load() == 0 {
			b.janitor.remove(twin.RecordWrite{Kind: twin.RecordMessage, Key: numberKey(num)})
		}
	}
	b.number.Store(top)
	return nil
}
