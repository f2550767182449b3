package awsiot

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twofold-iot/twofold/twin"
)

// Commands leads commands through their life.
type Commands interface {
	// Answer takes what a device says to a command. It never blocks; done is called
	// exactly once, maybe before the return.
	Answer(thing twin.ThingName, id twin.CommandID, answer twin.CommandStep, origin twin.Origin, done func(error))
}

// CommandDoor speaks the device side of AWS IoT Commands over MQTT:
//
//	$aws/commands/things/{thing}/executions/{id}/request/json             to the device
//	$aws/commands/things/{thing}/executions/{id}/response[/json]          from it
//	$aws/commands/things/{thing}/executions/{id}/response/accepted[/json]  to it
//	$aws/commands/things/{thing}/executions/{id}/response/rejected[/json]  to it
//
// The payload of a request is the parameters of the command as they are. CBOR is not
// spoken.
//
// Source: AWS IoT Developer Guide, "Commands topics" and "Command execution status".
type CommandDoor struct {
	commands Commands
	log      EventLog
	broker   Broker
}

// NewCommands returns a door; its Connect comes before the first publish.
func NewCommands(c Commands, log EventLog) *CommandDoor {
	return &CommandDoor{commands: c, log: log}
}

// Connect gives the door what it answers by.
func (d *CommandDoor) Connect(b Broker) { d.broker = b }

const commandPrefix = "$aws/commands/"

// commandTopic is a topic of commands taken apart.
type commandTopic struct {
	thing  twin.ThingName
	id     twin.CommandID
	what   string // request or response
	suffix string // "", json, accepted/json …
}

func parseCommandTopic(topic string) (t commandTopic, ok bool) {
	rest, ok := strings.CutPrefix(topic, commandPrefix+"things/")
	if !ok {
		return t, false
	}
	thing, rest, ok := strings.Cut(rest, "/executions/")
	if !ok || strings.Contains(thing, "/") {
		return t, false
	}
	id, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return t, false
	}
	t.thing, t.id = twin.ThingName(thing), twin.CommandID(id)
	t.what, t.suffix, _ = strings.Cut(rest, "/")
	return t, t.what == "request" || t.what == "response"
}

// answered returns the topic of an answer: accepted or rejected.
func (t commandTopic) answered(how string) string {
	topic := commandPrefix + "things/" + string(t.thing) + "/executions/" + string(t.id) + "/response/" + how
	if t.suffix != "" {
		topic += "/" + t.suffix
	}
	return topic
}

// Serves reports whether a topic is one of AWS IoT Commands.
func (d *CommandDoor) Serves(topic string) bool { return strings.HasPrefix(topic, commandPrefix) }

// Allow says whether a client may publish to a topic that Serves.
func (d *CommandDoor) Allow(topic string) error {
	t, ok := parseCommandTopic(topic)
	switch {
	case ok && t.what == "response" && (t.suffix == "" || t.suffix == "json"):
		return nil
	case ok && t.what == "response" && t.suffix == "cbor":
		return twin.NewError(twin.KindDenied, "CBOR is not spoken here; answer on …/response/json")
	}
	return twin.NewError(twin.KindDenied, "Clients publish to $aws/commands/things/{thing}/executions/{id}/response/json only, and subscribe to "+
		"…/request/json, …/response/accepted/json and …/response/rejected/json")
}

// Publish takes an answer of a device. What is refused for what it says is told on the
// rejected topic, and acknowledged.
func (d *CommandDoor) Publish(p *twin.Publish, done func(error)) bool {
	t, ok := parseCommandTopic(p.Topic)
	if !ok || t.what != "response" || t.suffix != "" && t.suffix != "json" || p.Will {
		return false
	}
	answer, err := parseCommandAnswer(p.Payload)
	if err == nil && !t.thing.Valid() {
		err = twin.NewError(twin.KindInvalid, messageBadThing)
	}
	if err != nil {
		d.log.Reject(twin.ShadowKey{Thing: t.thing}, p.Origin, string(t.id), err)
		d.finish(t, err, done)
		return true
	}
	d.commands.Answer(t.thing, t.id, answer, p.Origin, func(err error) { d.finish(t, err, done) })
	return true
}

func (d *CommandDoor) finish(t commandTopic, err error, done func(error)) {
	how, body := "accepted", map[string]string{"executionId": string(t.id)}
	if err != nil {
		how = "rejected"
		body["error"], body["errorMessage"] = commandErrorCode(err), twin.ErrorMessage(err)
	}
	topic := t.answered(how)
	if len(topic) <= mqttStringBytesMax && d.broker.Wanted([]byte(topic)) {
		b, jerr := json.Marshal(body)
		if jerr != nil {
			panic("awsiot: strings have a JSON form: " + jerr.Error())
		}
		d.broker.Send(twin.Message{Topic: topic, Payload: b, QoS: 1})
	}
	if ackable(err) {
		err = nil
	}
	done(err)
}

// commandErrorCode maps an error to the RejectedErrorCode of the device SDKs.
func commandErrorCode(err error) string {
	switch twin.Kind(err) {
	case twin.KindEncoding:
		return "InvalidJson"
	case twin.KindInvalid, twin.KindTooLarge:
		return "InvalidRequest"
	case twin.KindConflict:
		return "InvalidStateTransition"
	case twin.KindNotFound:
		return "ResourceNotFound"
	case twin.KindThrottled, twin.KindFull:
		return "RequestThrottled"
	case twin.KindInternal, twin.KindUnauthenticated, twin.KindDenied, twin.KindUnavailable:
	}
	return "InternalError"
}

// parseCommandAnswer reads an UpdateCommandExecution of a device. Members that are not
// known are ignored: the SDKs send what is in the topic along.
func parseCommandAnswer(payload []byte) (twin.CommandStep, error) {
	var s twin.CommandStep
	var in struct {
		Status       string `json:"status"`
		StatusReason struct {
			Code        string `json:"reasonCode"`
			Description string `json:"reasonDescription"`
		} `json:"statusReason"`
		Result json.RawMessage `json:"result"`
	}
	if !utf8.Valid(payload) {
		return s, twin.NewError(twin.KindEncoding, "The payload is not UTF-8")
	}
	if !json.Valid(payload) {
		return s, twin.NewError(twin.KindEncoding, "The payload is not JSON")
	}
	if err := json.Unmarshal(payload, &in); err != nil {
		return s, twin.NewError(twin.KindInvalid, "The payload is not an object with the members status, statusReason and result: "+err.Error())
	}
	s = twin.CommandStep{Message: in.StatusReason.Description, Reason: in.StatusReason.Code, Result: in.Result}
	switch in.Status {
	case "IN_PROGRESS":
		s.State = twin.CommandAccepted
	case "SUCCEEDED":
		s.State = twin.CommandDone
	case "FAILED":
		s.State = twin.CommandFailed
	case "REJECTED":
		s.State = twin.CommandRejected
	case "TIMED_OUT":
		s.State = twin.CommandFailed
		if s.Reason == "" {
			s.Reason = "TIMED_OUT"
		}
	default:
		return s, twin.NewError(twin.KindInvalid, fmt.Sprintf("status %.40q is none of IN_PROGRESS, SUCCEEDED, FAILED, REJECTED, TIMED_OUT", in.Status))
	}
	if strings.ContainsFunc(s.Reason, notOfReasonCode) {
		return s, twin.NewError(twin.KindInvalid, fmt.Sprintf("reasonCode %.70q has characters other than A-Z 0-9 _ -", s.Reason))
	}
	return s, s.Check()
}

// notOfReasonCode: the pattern of AWS is [A-Z0-9_-]+.
func notOfReasonCode(r rune) bool {
	return !('A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-')
}

// CommandsOf returns the thing whose commands a client gets that uses a filter. A topic
// of answers is none.
func CommandsOf(filter string) (twin.ThingName, bool) {
	rest, ok := strings.CutPrefix(filter, commandPrefix+"things/")
	if !ok {
		return "", false
	}
	name, rest, ok := strings.Cut(rest, "/")
	thing := twin.ThingName(name)
	return thing, ok && thing.Valid() && !strings.Contains(rest, "/response")
}

// CommandMessage returns a command as AWS sends it, and with what the filters of its
// receivers begin. left is the time until it expires.
func CommandMessage(c *twin.Command, left time.Duration) (m twin.Message, own string) {
	own = commandPrefix + "things/" + string(c.Thing) + "/"
	topic := own + "executions/" + string(c.ID) + "/"
	return twin.Message{
		Topic: topic + "request/json", Payload: c.Parameters, QoS: 1,
		Properties: &twin.MessageProperties{
			PayloadFormat: 1, ContentType: "application/json",
			ExpirySeconds: uint32(max(1, (left+time.Second-1)/time.Second)),
			ResponseTopic: topic + "response/json", CorrelationData: []byte(c.ID),
			User: []twin.UserProperty{{Key: "command", Value: c.Name}},
		},
	}, own
}
