package mqtt

import (
	"context"

	"github.com/twofold-iot/twofold/twin"
)

// Handler takes publishes on the topics of a contract above MQTT.
type Handler interface {
	// Allow says whether a client may publish to the topic: nil, or an error of
	// kind KindDenied or KindInvalid. It is asked for every client publish whose
	// topic begins with "$".
	Allow(topic string) error
	// Publish takes the message if the topic is one of its requests and returns
	// true; done is then called exactly once, maybe before the return, maybe by
	// another goroutine: nil when the packet may be acknowledged, else the reason
	// why not (KindFull, KindUnavailable, …). It must not block.
	Publish(p *twin.Publish, done func(error)) bool
}

// Records is where sessions, queues and retained messages are kept.
type Records interface {
	WriteRecords(orderKey string, ws []twin.RecordWrite, done func(error)) error
	Records(ctx context.Context, kind twin.RecordKind, prefix, after string, limit int) ([]twin.Record, error)
}

// Other parts of the server use these methods of [Broker]:
//
//	Wanted(topic []byte) bool                        somebody is subscribed (no allocation)
//	Stage(ms []twin.Message) twin.Outgoing           see twin.Outgoing; nil if nobody is
//	Send(m twin.Message)                             a message of the server itself
//	SendDirect(d *Direct) (n int, full bool)         one for those who are there, kept by its sender
//	Publish(p *twin.Publish, done func(error))       as if a client had published (HTTP Publish); checks Allow
//	Retained(topic string) (RetainedMessage, bool)
//	ListRetained(after string, limit int) []RetainedMessage
//	Connected(clientID string) bool
