package twin

import (
	"bytes"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// CommandID names a command within its thing: 1 to 64 characters of [a-zA-Z0-9:_-].
type CommandID string

// Limits of commands.
const (
	CommandIDBytesMax         = 64
	CommandNameBytesMax       = 64
	CommandParametersBytesMax = 32 << 10
	CommandResultBytesMax     = 32 << 10
	CommandMessageBytesMax    = 1024
	CommandReasonBytesMax     = 64

	// CommandExpiresInDefault is how long a command waits for its end if nobody says.
	CommandExpiresInDefault = time.Hour
	CommandExpiresInMin     = time.Second
	CommandExpiresInMax     = 30 * 24 * time.Hour
)

// Valid reports whether the id is legal.
func (id CommandID) Valid() bool { return validName(string(id), CommandIDBytesMax, false) }

// CommandState is where a command stands in its life. The names are on disk.
type CommandState string

// The states. From the first three a command goes on, the others are its end.
const (
	CommandQueued    CommandState = "queued"    // durable, waits for the device
	CommandDelivered CommandState = "delivered" // the device has acknowledged the message
	CommandAccepted  CommandState = "accepted"  // the device works on it
	CommandDone      CommandState = "done"
	CommandFailed    CommandState = "failed"
	CommandRejected  CommandState = "rejected" // the device will not do it
	CommandExpired   CommandState = "expired"  // its time was up before its end
	CommandCancelled CommandState = "cancelled"
)

// CommandStates lists the states in the order of a life.
func CommandStates() []CommandState {
	return []CommandState{
		CommandQueued, CommandDelivered, CommandAccepted,
		CommandDone, CommandFailed, CommandRejected, CommandExpired, CommandCancelled,
	}
}

// Final reports whether the state is the end of a command.
func (s CommandState) Final() bool {
	switch s {
	case CommandDone, CommandFailed, CommandRejected, CommandExpired, CommandCancelled:
		return true
	case CommandQueued, CommandDelivered, CommandAccepted:
	}
	return false
}

// Command is a request to a device with a life. It is a value: [Command.Next] makes
// the one after a step.
type Command struct {
	ID         CommandID      `json:"id"`
	Thing      ThingName      `json:"thing"`
	Number     Seq            `json:"number"` // seq of the event by which it was queued: the order of delivery
	Name       string         `json:"name"`
	Parameters jsontext.Value `json:"parameters"` // an object, compact
	State      CommandState   `json:"state"`
	Progress   *int           `json:"progress,omitempty"` // percent
	Message    string         `json:"message,omitempty"`  // of the device, the newest
	Reason     string         `json:"reason,omitempty"`   // a code of the device
	Result     jsontext.Value `json:"result,omitempty"`   // any JSON, compact
	By         string         `json:"by,omitempty"`       // who asked for it

	Created   Time `json:"created"`
	Expires   Time `json:"expires"`
	Delivered Time `json:"delivered,omitzero"` // when it first came to be so; 0: it was skipped, or is not yet
	Accepted  Time `json:"accepted,omitzero"`
	Ended     Time `json:"ended,omitzero"`
}

// CommandRequest asks for a command.
type CommandRequest struct {
	ID         CommandID
	Name       string
	Parameters []byte        // a JSON object; empty: {}
	ExpiresIn  time.Duration // 0: [CommandExpiresInDefault]
}

// Check completes a request and reports what is wrong with it, as an error of kind
// [KindInvalid] that begins with the name of the member at fault.
func (r *CommandRequest) Check() error {
	if r.ExpiresIn == 0 {
		r.ExpiresIn = CommandExpiresInDefault
	}
	parameters, err := commandObject(r.Parameters)
	switch {
	case !r.ID.Valid():
		return invalidCommand("id: %q is not 1 to %d characters of a-z A-Z 0-9 : _ -", clip(string(r.ID)), CommandIDBytesMax)
	case !validCommandName(r.Name):
		return invalidCommand("name: %q is not 1 to %d characters of a-z A-Z 0-9 . : _ -", clip(r.Name), CommandNameBytesMax)
	case err != nil:
		return err
	case r.ExpiresIn < CommandExpiresInMin || r.ExpiresIn > CommandExpiresInMax:
		return invalidCommand("expiresIn: %s is not within %s and %s (30 days)", r.ExpiresIn, CommandExpiresInMin, CommandExpiresInMax)
	}
	r.Parameters = parameters
	return nil
}

func commandObject(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return []byte("{}"), nil
	}
	v := jsontext.Value(bytes.Clone(b))
	if err := compactStrict(&v); err != nil {
		return nil, invalidCommand("parameters: %v", err)
	}
	if v.Kind() != '{' {
		return nil, invalidCommand("parameters: a JSON object is needed, such as {\"level\":3}")
	}
	if len(v) > CommandParametersBytesMax {
		return nil, invalidCommand("parameters: %d bytes are over the limit of %d", len(v), CommandParametersBytesMax)
	}
	return v, nil
}

func validCommandName(s string) bool {
	for i := range len(s) {
		if s[i] != '.' && !validName(s[i:i+1], 1, false) {
			return false
		}
	}
	return s != "" && len(s) <= CommandNameBytesMax
}

func invalidCommand(format string, args ...any) error {
	return NewError(KindInvalid, fmt.Sprintf(format, args...))
}

// NewCommand returns the command of a request that was checked, queued at a time by
// the event with a seq.
func NewCommand(thing ThingName, r *CommandRequest, by string, number Seq, at Time) Command {
	return Command{
		ID: r.ID, Thing: thing, Number: number, Name: r.Name, Parameters: r.Parameters, State: CommandQueued,
		By: by, Created: at, Expires: at + Time(r.ExpiresIn.Milliseconds()),
	}
}

// Asks reports whether the command is what a request asks for.
func (c *Command) Asks(r *CommandRequest) bool {
	return c.ID == r.ID && c.Name == r.Name && bytes.Equal(c.Parameters, r.Parameters) &&
		c.Expires-c.Created == Time(r.ExpiresIn.Milliseconds())
}

// CommandStep is what brings a command on: the answer of a device, its
// acknowledgement, a cancel, or that its time is up.
type CommandStep struct {
	State    CommandState
	Progress *int // percent
	Message  string
	Reason   string
	Result   []byte // JSON, compact
}

// Next returns the command after a step at a time, and false if the step changes
// nothing because it says what is known already. A step that is not allowed is an
// error of kind [KindConflict]:
//
//	queued    → delivered accepted done failed rejected expired cancelled
//	delivered →           accepted done failed rejected expired cancelled
//	accepted  →           accepted done failed rejected expired cancelled
//
// A delivery that is heard of late, after an answer, changes nothing. What has ended
// stays as it is, and says the same again without an error, so that a device may
// repeat its answer. From the time of its expiry on a command can only expire.
func (c *Command) Next(s *CommandStep, at Time) (Command, bool, error) {
	next := *c
	switch {
	case c.State.Final():
		if s.State == c.State && (s.State == CommandCancelled || c.says(s)) {
			return next, false, nil
		}
		return next, false, NewError(KindConflict, fmt.Sprintf("The command %s is %s since %s", c.ID, c.State, c.Ended.text()))
	case s.State == CommandExpired:
		if at < c.Expires {
			return next, false, NewError(KindConflict, fmt.Sprintf("The command %s expires at %s only", c.ID, c.Expires.text()))
		}
	case at >= c.Expires:
		return next, false, NewError(KindConflict, fmt.Sprintf("The command %s is expired since %s", c.ID, c.Expires.text()))
	case s.State == CommandQueued:
		return next, false, NewError(KindConflict, fmt.Sprintf("The command %s was queued before", c.ID))
	case s.State == CommandDelivered:
		if c.State != CommandQueued {
			return next, false, nil
		}
		next.Delivered = at
	case s.State == CommandAccepted:
		if c.State == CommandAccepted && c.says(s) {
			return next, false, nil
		}
		if c.State != CommandAccepted {
			next.Accepted = at
		}
	}
	next.State = s.State
	next.take(s)
	if next.State.Final() {
		next.Ended = at
	}
	return next, true, nil
}

// says reports whether a step adds nothing to what the device has said.
func (c *Command) says(s *CommandStep) bool {
	progress := s.Progress == nil || c.Progress != nil && *c.Progress == *s.Progress
	return progress && (s.Message == "" || s.Message == c.Message) && (s.Reason == "" || s.Reason == c.Reason) &&
		(len(s.Result) == 0 || bytes.Equal(s.Result, c.Result))
}

func (c *Command) take(s *CommandStep) {
	if s.Progress != nil {
		c.Progress = s.Progress
	}
	if s.Message != "" {
		c.Message = s.Message
	}
	if s.Reason != "" {
		c.Reason = s.Reason
	}
	if len(s.Result) > 0 {
		c.Result = s.Result
	}
}

func (t Time) text() string { return t.Std().Format(time.RFC3339Nano) }

// CommandProgress is the type of an event that brings no new state.
const CommandProgress = "progress"

// commandData is what an event of a command has in its data.
type commandData struct {
	ID         CommandID      `json:"id"`
	Name       string         `json:"name"`
	Parameters jsontext.Value `json:"parameters,omitempty"` // when it is queued
	Expires    string         `json:"expiresAt,omitempty"`  // the same
	Progress   *int           `json:"progress,omitempty"`
	Reason     string         `json:"reason,omitempty"`
	Result     jsontext.Value `json:"result,omitempty"`
}

// Describe completes the event of a step: before is the command before it, nil if
// it is new, and c the one after it.
func (c *Command) Describe(before *Command, s *CommandStep, ev *Event) error {
	ev.Kind, ev.Type, ev.Correlation = EventCommand, string(c.State), string(c.ID)
	d := commandData{ID: c.ID, Name: c.Name}
	if before == nil {
		d.Parameters, d.Expires = c.Parameters, c.Expires.text()
	} else {
		if before.State == c.State {
			ev.Type = CommandProgress
		}
		ev.Message, d.Progress, d.Reason, d.Result = s.Message, s.Progress, s.Reason, s.Result
	}
	ev.Severity = SeverityNone
	switch c.State {
	case CommandFailed:
		ev.Severity = SeverityError
	case CommandRejected, CommandExpired:
		ev.Severity = SeverityWarning
	case CommandQueued, CommandDelivered, CommandAccepted, CommandDone, CommandCancelled:
	}
	data, err := json.Marshal(&d)
	if err != nil {
		return fmt.Errorf("encode the data of a command event: %w", err)
	}
	ev.Data = data
	return nil
}
