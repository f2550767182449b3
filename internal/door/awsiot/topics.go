package awsiot

import (
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// Operation is what a shadow topic is about.
type Operation uint8

// The operations.
const (
	OpGet Operation = iota
	OpUpdate
	OpDelete
)

// Answer says which message of an operation a topic carries. The request itself is
// published by clients, everything else by the server.
type Answer uint8

// The answers.
const (
	Request Answer = iota
	Accepted
	Rejected
	Delta
	Documents
)

// Topic is a shadow topic taken apart:
//
//	$aws/things/{thing}/shadow[/name/{shadow}]/{get|update|delete}[/{answer}]
//
// Source: AWS IoT Developer Guide, "Device Shadow MQTT topics".
type Topic struct {
	// Key may hold names that are not legal: the topic has the right shape and is
	// answered with a rejection. See [Topic.Check].
	Key twin.ShadowKey
	// Named: the topic is that of a named shadow, even if the name is empty.
	Named  bool
	Op     Operation
	Answer Answer
}

const (
	topicPrefix = "$aws/things/"

	messageBadThing  = "Invalid thing name: use 1 to 128 characters of a-z A-Z 0-9 : _ -"
	messageBadShadow = "Invalid shadow name: use 1 to 64 characters of a-z A-Z 0-9 : _ - $"
)

// ParseTopic takes a topic apart; false if it is not a shadow topic. It does not
// allocate: the names share the memory of the topic.
func ParseTopic(topic string) (Topic, bool) {
	var t Topic
	rest, ok := strings.CutPrefix(topic, topicPrefix)
	if !ok {
		return Topic{}, false
	}
	thing, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return Topic{}, false
	}
	if rest, ok = strings.CutPrefix(rest, "shadow/"); !ok {
		return Topic{}, false
	}
	t.Key.Thing = twin.ThingName(thing)
	if named, ok := strings.CutPrefix(rest, "name/"); ok {
		name, after, ok := strings.Cut(named, "/")
		if !ok {
			return Topic{}, false
		}
		t.Key.Shadow, t.Named, rest = twin.ShadowName(name), true, after
	}
	op, answer, has := strings.Cut(rest, "/")
	switch op {
	case "get":
		t.Op = OpGet
	case "update":
		t.Op = OpUpdate
	case "delete":
		t.Op = OpDelete
	default:
		return Topic{}, false
	}
	if !has {
		return t, true
	}
	switch {
	case answer == "accepted":
		t.Answer = Accepted
	case answer == "rejected":
		t.Answer = Rejected
	case answer == "delta" && t.Op == OpUpdate:
		t.Answer = Delta
	case answer == "documents" && t.Op == OpUpdate:
		t.Answer = Documents
	default:
		return Topic{}, false
	}
	return t, true
}

// With returns the topic of another message of the same operation.
func (t Topic) With(a Answer) Topic {
	t.Answer = a
	return t
}

// Append appends the topic as text.
func (t Topic) Append(dst []byte) []byte {
	dst = append(dst, topicPrefix...)
	dst = append(dst, t.Key.Thing...)
	dst = append(dst, "/shadow/"...)
	if t.Named {
		dst = append(dst, "name/"...)
		dst = append(dst, t.Key.Shadow...)
		dst = append(dst, '/')
	}
	switch t.Op {
	case OpGet:
		dst = append(dst, "get"...)
	case OpUpdate:
		dst = append(dst, "update"...)
	case OpDelete:
		dst = append(dst, "delete"...)
	}
	switch t.Answer {
	case Request:
	case Accepted:
		dst = append(dst, "/accepted"...)
	case Rejected:
		dst = append(dst, "/rejected"...)
	case Delta:
		dst = append(dst, "/delta"...)
	case Documents:
		dst = append(dst, "/documents"...)
	}
	return dst
}

// String returns the topic as text.
func (t Topic) String() string { return string(t.Append(nil)) }

// Check says whether the names are legal: nil or an error of kind KindInvalid.
func (t Topic) Check() error {
	if !t.Key.Thing.Valid() {
		return twin.NewError(twin.KindInvalid, messageBadThing)
	}
	if t.Named && !t.Key.Shadow.Valid() {
		return twin.NewError(twin.KindInvalid, messageBadShadow)
	}
	return nil
}

// Allow says whether a client may publish to a topic that begins with "$": only
// the request topics of shadows, all others belong to the server. Illegal names
// pass: they are answered with a rejection that says what is wrong.
//
// Source: AWS IoT Developer Guide, "Reserved topics".
func (d *Door) Allow(topic string) error {
	t, ok := ParseTopic(topic)
	if ok && t.Answer == Request {
		return nil
	}
	if strings.ContainsAny(topic, "+#\x00") {
		return twin.NewError(twin.KindInvalid, "A topic to publish to holds no '+', '#' or NUL character")
	}
	if ok {
		return twin.NewError(twin.KindDenied, "Only the server publishes to accepted, rejected, delta and documents topics; subscribe to them")
	}
	return twin.NewError(twin.KindDenied, "Topics that begin with '$' are reserved; clients publish to "+
		"$aws/things/{thing}/shadow/{get|update|delete} and $aws/things/{thing}/shadow/name/{shadow}/{get|update|delete} only")
}
