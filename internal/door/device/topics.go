package device

import (
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// prefix begins the topics of this door.
const prefix = "twins/"

// ownKind is what a topic of this door is for.
type ownKind uint8

const (
	topicOther ownKind = iota
	topicEvents
	topicTelemetry
)

// ownTopic returns the thing of a topic twins/{thing}/events or twins/{thing}/telemetry.
func ownTopic(topic string) (twin.ThingName, ownKind) {
	rest, ok := strings.CutPrefix(topic, prefix)
	if !ok {
		return "", topicOther
	}
	thing, what, ok := strings.Cut(rest, "/")
	switch {
	case ok && what == "events":
		return twin.ThingName(thing), topicEvents
	case ok && what == "telemetry":
		return twin.ThingName(thing), topicTelemetry
	}
	return "", topicOther
}

// ThingOf returns the thing that a client stands for when it uses a topic or filter:
// the one named in $aws/things/{thing}/…, $aws/commands/things/{thing}/… or twins/{thing}/…. A wildcard in the name
// stands for no thing.
func ThingOf(topic string) (twin.ThingName, bool) {
	rest, ok := strings.CutPrefix(topic, "$aws/things/")
	if !ok {
		rest, ok = strings.CutPrefix(topic, "$aws/commands/things/")
	}
	if !ok {
		rest, ok = strings.CutPrefix(topic, prefix)
	}
	if !ok {
		return "", false
	}
	name, _, more := strings.Cut(rest, "/")
	thing := twin.ThingName(name)
	return thing, more && thing.Valid()
}
