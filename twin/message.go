package twin

// Message is a published message as it crosses between doors. Its bytes belong to
// the receiver once handed over; nobody writes to them again.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte // 0, 1 or 2
	Retain  bool

	// The MQTT 5 properties that travel with a message; nil when there are none.
	Properties *MessageProperties
}

// MessageProperties are the MQTT 5 PUBLISH properties that are forwarded
// unaltered [MQTT-3.3.2-17].
type MessageProperties struct {
	PayloadFormat   byte   // 1: UTF-8
	ExpirySeconds   uint32 // 0: none
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	User            []UserProperty
}

// UserProperty is one key and value; keys may repeat and order counts.
type UserProperty struct{ Key, Value string }

// Publish is a message on its way in, with what is known of its sender.
type Publish struct {
	Message
	Origin Origin
	// Resent: the DUP flag was set, the session was resumed, and so this may be a
	// packet whose first copy was already committed.
	Resent bool
	// Will: the message is a last will, which the shadow service ignores.
	Will bool
}

// Outgoing is what one accepted change sends out. It is staged before the commit,
// so that messages for persistent sessions are durable with the change itself,
// and delivered after it.
type Outgoing interface {
	// Records are the queue entries that must be in the same commit.
	Records() []RecordWrite
	// Deliver sends to the live subscribers. It is called at most once, only when
	// the commit is durable, in commit order within a shard, and must not block.
	Deliver()
}
