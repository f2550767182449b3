package device

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Commands leads commands through their life.
type Commands interface {
	// Answer takes what a device says to a command. It never blocks; done is called
	// exactly once, maybe before the return.
	Answer(thing twin.ThingName, id twin.CommandID, answer twin.CommandStep, origin twin.Origin, done func(error))
}

// Rejections keeps what was refused.
type Rejections interface {
	Reject(key twin.ShadowKey, origin twin.Origin, token string, cause error)
}

// CommandDoor takes the answers of devices on twins/{thing}/commands/{id}/status.
type CommandDoor struct {
	commands   Commands
	rejections Rejections
}

// NewCommands returns the door.
func NewCommands(c Commands, r Rejections) *CommandDoor { return &CommandDoor{c, r} }

// Publish takes a message if it is for this door. An answer that makes no sense, comes
// too late or is for no command is acknowledged, as sending it again would not help;
// that it was rejected is in the event log.
func (d *CommandDoor) Publish(p *twin.Publish, done func(error)) bool {
	thing, id, ok := statusTopic(p.Topic)
	if !ok {
		return false
	}
	if !thing.Valid() {
		done(twin.NewError(twin.KindInvalid, fmt.Sprintf("%q is no thing name", thing)))
		return true
	}
	answer, err := twin.ParseCommandAnswer(p.Payload)
	if err != nil {
		d.rejections.Reject(twin.ShadowKey{Thing: thing}, p.Origin, string(id), err)
		done(nil)
		return true
	}
	d.commands.Answer(thing, id, answer, p.Origin, func(err error) {
		switch twin.Kind(err) {
		case twin.KindConflict, twin.KindNotFound:
			err = nil
		case twin.KindInternal, twin.KindInvalid, twin.KindUnauthenticated, twin.KindDenied, twin.KindTooLarge,
			twin.KindEncoding, twin.KindThrottled, twin.KindUnavailable, twin.KindFull:
		}
		done(err)
	})
	return true
}

const (
	commandsLevel = "/commands/"
	statusLevel   = "/status"
)

// statusTopic takes a topic twins/{thing}/commands/{id}/status apart.
func statusTopic(topic string) (thing twin.ThingName, id twin.CommandID, ok bool) {
	rest, ok := strings.CutPrefix(topic, prefix)
	if !ok {
		return "", "", false
	}
	if rest, ok = strings.CutSuffix(rest, statusLevel); !ok {
		return "", "", false
	}
	name, command, ok := strings.Cut(rest, commandsLevel)
	if !ok || strings.Contains(name, "/") || strings.Contains(command, "/") {
		return "", "", false
	}
	return twin.ThingName(name), twin.CommandID(command), true
}

// CommandsOf returns the thing whose commands a client gets that uses a filter: one
// that names the thing and has its commands in it. A topic to publish to is none.
func CommandsOf(filter string) (twin.ThingName, bool) {
	rest, ok := strings.CutPrefix(filter, prefix)
	if !ok || strings.HasSuffix(rest, statusLevel) {
		return "", false
	}
	name, rest, ok := strings.Cut(rest, "/")
	level, _, _ := strings.Cut(rest, "/")
	thing := twin.ThingName(name)
	return thing, ok && thing.Valid() && (level == "commands" || level == "+" || level == "#")
}

// CommandMessage returns a command as it is sent to its device on
// twins/{thing}/commands/{id}, and with what the filters of its receivers begin. left is
// the time until it expires.
func CommandMessage(c *twin.Command, left time.Duration) (m twin.Message, own string, err error) {
	body, err := json.Marshal(struct {
		ID         twin.CommandID  `json:"id"`
		Name       string          `json:"name"`
		Parameters json.RawMessage `json:"parameters"`
		Created    time.Time       `json:"createdAt"`
		Expires    time.Time       `json:"expiresAt"`
	}{c.ID, c.Name, json.RawMessage(c.Parameters), c.Created.Std(), c.Expires.Std()})
	if err != nil {
		return m, "", fmt.Errorf("encode command %s of %s: %w", c.ID, c.Thing, err)
	}
	own = prefix + string(c.Thing) + "/"
	topic := prefix + string(c.Thing) + commandsLevel + string(c.ID)
	m = twin.Message{Topic: topic, Payload: body, QoS: 1, Properties: &twin.MessageProperties{
		PayloadFormat: 1, ContentType: "application/json", ExpirySeconds: seconds(left),
		ResponseTopic: topic + statusLevel, CorrelationData: []byte(c.ID),
	}}
	return m, own, nil
}

// seconds rounds up, as an expiry of 0 would be none.
func seconds(d time.Duration) uint32 { return uint32(max(1, (d+time.Second-1)/time.Second)) }
