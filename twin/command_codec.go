package twin

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// commandFormat is the first byte of the record of a command; the rest is JSON, see
// docs/format/command.md.
const commandFormat = 1

// AppendBinary appends the form in which a command is kept.
func (c *Command) AppendBinary(dst []byte) ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode command: %w", err)
	}
	return append(append(dst, commandFormat), b...), nil
}

// DecodeCommand reads what [Command.AppendBinary] wrote.
func DecodeCommand(b []byte) (Command, error) {
	var c Command
	if len(b) == 0 || b[0] != commandFormat {
		return c, fmt.Errorf("decode command: the format %.1x is unknown", b)
	}
	if err := json.Unmarshal(b[1:], &c, json.RejectUnknownMembers(true)); err != nil {
		return c, fmt.Errorf("decode command: %w", err)
	}
	if !slices.Contains(CommandStates(), c.State) || !c.ID.Valid() || !c.Thing.Valid() {
		return c, errors.New("decode command: its names or its state are none")
	}
	return c, nil
}

// CommandKey is the key of a command's record: the commands of a thing are in order,
// the one that was queued last comes first.
func CommandKey(thing ThingName, number Seq) string {
	return string(binary.BigEndian.AppendUint64([]byte(CommandKeys(thing)), ^uint64(number)))
}

// CommandKeys begins the keys of all commands of a thing.
func CommandKeys(thing ThingName) string { return string(thing) + "\x00" }

// CommandIDKey is the key of the record that leads from the id of a command to its
// number.
func CommandIDKey(thing ThingName, id CommandID) string { return CommandKeys(thing) + string(id) }

// AppendCommandNumber appends the value of the record at a [CommandIDKey].
func AppendCommandNumber(dst []byte, number Seq) []byte {
	return binary.BigEndian.AppendUint64(append(dst, commandFormat), uint64(number))
}

// DecodeCommandNumber reads what [AppendCommandNumber] wrote.
func DecodeCommandNumber(b []byte) (Seq, error) {
	if len(b) != 9 || b[0] != commandFormat {
		return 0, fmt.Errorf("decode command number: %x is none", b)
	}
	return Seq(binary.BigEndian.Uint64(b[1:])), nil
}

// commandAnswerBytesMax is the longest answer of a device, with room for the members
// beside the result.
const commandAnswerBytesMax = CommandResultBytesMax + 8<<10

// ParseCommandAnswer parses what a device says to a command on
// twins/{thing}/commands/{id}/status: a JSON object with "status" (required:
// "accepted", "in_progress", "done", "failed" or "rejected"), "progress" (0 to 100),
// "message" and "result" (any JSON). Other members are refused, so that a misspelt
// one is not lost in silence.
func ParseCommandAnswer(body []byte) (CommandStep, error) {
	var s CommandStep
	if len(body) > commandAnswerBytesMax {
		return s, NewError(KindTooLarge, fmt.Sprintf("An answer to a command is at most %d bytes, this one has %d", commandAnswerBytesMax, len(body)))
	}
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return s, invalidAnswer(`it is not a JSON object such as {"status":"done"}`)
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return s, invalidAnswer("it is not valid JSON: " + err.Error())
		}
		field := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return s, invalidAnswer("it is not valid JSON: " + err.Error())
		}
		if err := s.setAnswer(field, value); err != nil {
			return s, err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return s, invalidAnswer("it is not valid JSON: " + err.Error())
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return s, invalidAnswer("there is more after the JSON object")
	}
	if s.State == "" {
		return s, invalidAnswer(`"status" is missing`)
	}
	return s, s.Check()
}

func (s *CommandStep) setAnswer(field string, v jsontext.Value) error {
	switch field {
	case "status":
		var status string
		if err := json.Unmarshal(v, &status); err != nil {
			return invalidAnswer(`"status" is not a string`)
		}
		if s.State = CommandState(status); status == "in_progress" {
			s.State = CommandAccepted
		}
		switch s.State {
		case CommandAccepted, CommandDone, CommandFailed, CommandRejected:
		case CommandQueued, CommandDelivered, CommandExpired, CommandCancelled:
			return invalidAnswer(fmt.Sprintf(`"status" %q is not for the device to say; accepted, in_progress, done, failed and rejected are`, status))
		default:
			return invalidAnswer(fmt.Sprintf(`"status" %q is none of accepted, in_progress, done, failed, rejected`, clip(status)))
		}
	case "progress":
		var n int
		if err := json.Unmarshal(v, &n); err != nil || v.Kind() != '0' {
			return invalidAnswer(`"progress" is not a whole number of percent`)
		}
		s.Progress = &n
	case "message":
		if err := json.Unmarshal(v, &s.Message); err != nil || v.Kind() != '"' {
			return invalidAnswer(`"message" is not a string`)
		}
	case "result":
		s.Result = bytes.Clone(v)
	default:
		return invalidAnswer(fmt.Sprintf("%q is not known; an answer has status, progress, message and result", clip(field)))
	}
	return nil
}

// Check reports what is over a limit in an answer, as an error of kind
// [KindInvalid] or [KindTooLarge], and makes the result compact.
func (s *CommandStep) Check() error {
	if len(s.Result) > 0 {
		v := jsontext.Value(s.Result)
		if err := compactStrict(&v); err != nil {
			return invalidAnswer(`"result": ` + err.Error())
		}
		s.Result = v
	}
	switch {
	case s.Progress != nil && (*s.Progress < 0 || *s.Progress > 100):
		return invalidAnswer(fmt.Sprintf(`"progress" %d is not within 0 and 100 percent`, *s.Progress))
	case len(s.Message) > CommandMessageBytesMax:
		return invalidAnswer(fmt.Sprintf("the message has %d bytes, the limit is %d", len(s.Message), CommandMessageBytesMax))
	case len(s.Reason) > CommandReasonBytesMax:
		return invalidAnswer(fmt.Sprintf("the reason code has %d bytes, the limit is %d", len(s.Reason), CommandReasonBytesMax))
	case len(s.Result) > CommandResultBytesMax:
		return NewError(KindTooLarge, fmt.Sprintf("The result of a command is at most %d bytes, this one has %d", CommandResultBytesMax, len(s.Result)))
	}
	return nil
}

func invalidAnswer(what string) error {
	return NewError(KindInvalid, "Invalid answer to a command: "+what)
}

// compactStrict makes a value compact and refuses duplicate names and bad UTF-8, which
// Compact by itself passes and which could not be kept.
func compactStrict(v *jsontext.Value) error {
	return v.Compact(jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false))
}
