package awsiot

import (
	"github.com/twofold-iot/twofold/twin"
)

// Publish takes a message on a request topic of a shadow: true, and done is called
// exactly once. Any other topic is none of its business, and so is a last will:
// the shadow service ignores it, though plain subscribers get it.
//
// A request that is refused for what it says (400, 404, 409, 413 …) has been
// dealt with: done gets nil, the packet is acknowledged, and the reason goes to
// the rejected topic. A full queue, an unknown outcome or a fault of the server
// goes to done as well, so that the packet is not acknowledged as a success.
//
// The broker has refused a retained publish to such a topic before.
//
// Source of the will rule: AWS IoT Developer Guide, "Device Shadows in apps".
func (d *Door) Publish(p *twin.Publish, done func(error)) bool {
	t, ok := ParseTopic(p.Topic)
	if !ok || t.Answer != Request || p.Will {
		return false
	}
	req, err := d.parse(t, p.Payload)
	switch {
	case err != nil:
		if t.Op == OpUpdate {
			d.note(t.Key, p.Origin, req, err)
		}
		d.finish(t, err, req, done)
	case t.Op == OpGet:
		d.get(t, req, done)
	default:
		d.submit(twin.Update{
			Key:     t.Key,
			Delete:  t.Op == OpDelete,
			Request: req,
			Origin:  p.Origin,
			Resent:  p.Resent,
		}, func(r twin.Result) { d.finish(t, r.Err, req, done) })
	}
	return true
}

// parse checks the names, the size and the body of a request. The request it
// returns beside an error holds the clientToken to echo, if that could be read.
func (d *Door) parse(t Topic, payload []byte) (*twin.Request, error) {
	if len(payload) > d.opts.PayloadBytesMax {
		return nil, errTooLarge
	}
	if t.Op == OpUpdate {
		req, err := twin.ParseRequest(payload, d.limits)
		if bad := t.Check(); bad != nil {
			err = bad
		}
		return req, err
	}
	req, err := twin.ParseToken(payload, d.limits)
	if t.Op == OpDelete && err != nil {
		// "The content of the message is ignored" [AWS guide, /delete].
		req, err = &twin.Request{}, nil
	}
	if bad := t.Check(); bad != nil {
		err = bad
	}
	return req, err
}

// note puts a malformed update into the event log of its twin.
func (d *Door) note(key twin.ShadowKey, origin twin.Origin, req *twin.Request, err error) {
	token := ""
	if req != nil {
		token = req.ClientToken
	}
	d.engine.Reject(key, origin, token, err)
}

// finish tells the outcome of a request: the rejection if there is one, then the
// acknowledgement. An accepted change has been published by [Door.Stage].
func (d *Door) finish(t Topic, err error, req *twin.Request, done func(error)) {
	if err != nil {
		d.reject(t, err, req)
	}
	if ackable(err) {
		err = nil
	}
	done(err)
}

// reject publishes why a request was refused, if anybody listens.
func (d *Door) reject(t Topic, err error, req *twin.Request) {
	if topic, ok := d.wanted(t.With(Rejected)); ok {
		d.send(topic, appendRejected(nil, err, req))
	}
}

// send publishes an answer with QoS 1: the QoS granted to each subscriber decides
// how it gets there. Answers are never retained.
func (d *Door) send(topic string, payload []byte) {
	d.broker.Send(twin.Message{Topic: topic, Payload: payload, QoS: 1})
}

// wanted returns the topic as text if anybody is subscribed to it.
func (d *Door) wanted(t Topic) (string, bool) {
	s := d.scratch.Get().(*stage)
	defer d.scratch.Put(s)
	s.topic = t.Append(s.topic[:0])
	// A request topic with a name of 65 KB leaves no room for the answer's.
	if len(s.topic) > mqttStringBytesMax || !d.broker.Wanted(s.topic) {
		return "", false
	}
	return string(s.topic), true
}

// stage is the scratch memory of one message: a topic that is asked for, a document
// before its length is known.
type stage struct {
	topic, doc []byte
}

// docScratchBytesMax is the largest document buffer that is kept for reuse.
const docScratchBytesMax = 64 << 10

// Stage turns an accepted change into its messages: accepted, delta if there is
// one, documents. It runs inside the commit, for changes from every door; with
// nobody subscribed it allocates nothing.
//
// Source: AWS IoT Developer Guide, "Device Shadow MQTT topics".
func (d *Door) Stage(c *twin.Change) twin.Outgoing {
	if d.broker == nil {
		return nil
	}
	s := d.scratch.Get().(*stage)
	defer d.scratch.Put(s)
	var ms []twin.Message
	t := Topic{Key: c.Key, Named: c.Key.Shadow != ""}
	if c.Kind == twin.EventDeleted {
		t.Op = OpDelete
		ms = d.stageOne(ms, s, t.With(Accepted), c, (*twin.Change).AppendAccepted)
	} else {
		t.Op = OpUpdate
		ms = d.stageOne(ms, s, t.With(Accepted), c, (*twin.Change).AppendAccepted)
		ms = d.stageOne(ms, s, t.With(Delta), c, (*twin.Change).AppendDelta)
		ms = d.stageOne(ms, s, t.With(Documents), c, (*twin.Change).AppendDocuments)
	}
	if len(ms) == 0 {
		return nil
	}
	return d.broker.Stage(ms)
}

// stageOne appends one message if anybody wants it and there is a document.
func (d *Door) stageOne(ms []twin.Message, s *stage, t Topic, c *twin.Change,
	document func(*twin.Change, []byte) []byte,
) []twin.Message {
	s.topic = t.Append(s.topic[:0])
	if !d.broker.Wanted(s.topic) {
		return ms
	}
	s.doc = document(c, s.doc[:0])
	if len(s.doc) == 0 {
		return ms // no delta
	}
	// The bytes belong to the receiver, so they are copied out of the scratch
	// memory, once and at their exact length: a queue may keep them for days.
	payload := make([]byte, len(s.doc))
	copy(payload, s.doc)
	if cap(s.doc) > docScratchBytesMax {
		s.doc = nil
	}
	return append(ms, twin.Message{Topic: string(s.topic), Payload: payload, QoS: 1})
}
