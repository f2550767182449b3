package device

import (
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// prefix begins the topics of this door.
const prefix = "twins/"

// eventsTopic returns the thing of a topic twins/{thing}/events.
func eventsTopic(topic string) (twin.ThingName, bool) {
	rest, ok := strings.CutPrefix(topic, prefix)
	if !ok {
		return "", false
	}
	thing, ok := strings.CutSuffix(rest, "/events")
	if !ok || strings.Contains(thing, "/") {
		return "", false
	}
	return twin.ThingName(thing), true
}

// ThingOf returns the thing that a client stands for when it uses a topic or filter:
// the one named in $aws/things/{thing}/… or twins/{thing}/…. A wildcard in the name
// stands for no thing.
func ThingOf(topic string) (twin.ThingName, bool) {
	rest, ok := strings.CutPrefix(topic, "$aws/things/")
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
