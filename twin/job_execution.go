package twin

import (
	"fmt"
	"maps"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// ExecutionStatus is where a job stands with one thing. The names are on disk; those of
// AWS are the same in capitals.
type ExecutionStatus string

// The statuses. From the first two an execution goes on, the others are its end.
const (
	ExecutionQueued     ExecutionStatus = "queued"
	ExecutionInProgress ExecutionStatus = "in_progress"
	ExecutionSucceeded  ExecutionStatus = "succeeded"
	ExecutionFailed     ExecutionStatus = "failed"
	ExecutionTimedOut   ExecutionStatus = "timed_out"
	ExecutionRejected   ExecutionStatus = "rejected"
	ExecutionRemoved    ExecutionStatus = "removed"
	ExecutionCanceled   ExecutionStatus = "canceled"
)

// ExecutionStatuses lists the statuses in the order of a life.
func ExecutionStatuses() []ExecutionStatus {
	return []ExecutionStatus{
		ExecutionQueued, ExecutionInProgress, ExecutionSucceeded, ExecutionFailed,
		ExecutionTimedOut, ExecutionRejected, ExecutionRemoved, ExecutionCanceled,
	}
}

// Final reports whether the status is the end of an execution.
func (s ExecutionStatus) Final() bool { return s != ExecutionQueued && s != ExecutionInProgress }

// ExecutionNumber is the number of every execution: a thing gets a job once.
const ExecutionNumber = 1

// Limits of what a device says of an execution; AWS's.
const (
	ExecutionDetailsMax     = 10
	ExecutionKeyBytesMax    = 128
	ExecutionValueCharsMax  = 1024
	executionDetailSHA256   = "sha256"
	executionDetailReason   = "reason"
	executionReasonMismatch = "hash mismatch"
)

// JobExecution is a job on one thing. It is a value: [JobExecution.Next] makes the one
// after a step.
type JobExecution struct {
	Job     JobID             `json:"job"`
	Thing   ThingName         `json:"thing"`
	Number  Seq               `json:"number"` // seq of the event by which it was queued
	Status  ExecutionStatus   `json:"status"`
	Details map[string]string `json:"details,omitempty"` // of the device
	Version uint64            `json:"version"`           // from 1, +1 with each change
	Reason  string            `json:"reason,omitempty"`  // why it ended so, if the server says
	// Firmware is the version of the firmware that the job brings.
	Firmware string `json:"firmware,omitempty"`

	Queued  Time `json:"queued"`
	Started Time `json:"started,omitzero"`
	Updated Time `json:"updated"`
	Ended   Time `json:"ended,omitzero"`
	// The times at which it times out: by the job, and by the step timer of the device.
	TimesOut     Time `json:"timesOut,omitzero"`
	StepTimesOut Time `json:"stepTimesOut,omitzero"`
}

// NewExecution returns the execution of a job that is queued by an event.
func (j *Job) NewExecution(thing ThingName, number Seq, at Time) JobExecution {
	return JobExecution{
		Job: j.ID, Thing: thing, Number: number, Status: ExecutionQueued, Version: 1,
		Firmware: j.Version, Queued: at, Updated: at,
	}
}

// Deadline is when the execution times out, 0 if it does not.
func (e *JobExecution) Deadline() Time {
	if e.TimesOut != 0 && (e.StepTimesOut == 0 || e.TimesOut < e.StepTimesOut) {
		return e.TimesOut
	}
	return e.StepTimesOut
}

// JobStep is what brings an execution on.
type JobStep struct {
	Status  ExecutionStatus
	Details map[string]string // nil: as they are
	// StepMinutes sets the step timer; 0: as it is, -1: none.
	StepMinutes     int
	ExpectedVersion uint64 // 0: any
	Reason          string
	Force           bool // of a cancel: also when it is in progress
}

// Check reports what is wrong with a step that a device asks for.
func (s *JobStep) Check() error {
	switch s.Status {
	case ExecutionInProgress, ExecutionSucceeded, ExecutionFailed, ExecutionRejected:
	case ExecutionQueued, ExecutionTimedOut, ExecutionRemoved, ExecutionCanceled:
		return invalidJob("status: %s is not for the device to say; IN_PROGRESS, SUCCEEDED, FAILED and REJECTED are", s.Status)
	default:
		return invalidJob("status: %q is none of IN_PROGRESS, SUCCEEDED, FAILED, REJECTED", clip(string(s.Status)))
	}
	return s.CheckDetails()
}

// CheckDetails reports what is wrong with the details and the step timer.
func (s *JobStep) CheckDetails() error {
	if s.StepMinutes < -1 || s.StepMinutes > JobTimeoutMinutesMax {
		return invalidJob("stepTimeoutInMinutes: %d is not within 1 and %d, nor -1", s.StepMinutes, JobTimeoutMinutesMax)
	}
	if len(s.Details) > ExecutionDetailsMax {
		return invalidJob("statusDetails: %d members are over the limit of %d", len(s.Details), ExecutionDetailsMax)
	}
	for k, v := range s.Details {
		if !validName(k, ExecutionKeyBytesMax, false) {
			return invalidJob("statusDetails: %q is not 1 to %d characters of a-z A-Z 0-9 : _ -", clip(k), ExecutionKeyBytesMax)
		}
		if n := utf8.RuneCountInString(v); n == 0 || n > ExecutionValueCharsMax || !printable(v) {
			return invalidJob("statusDetails: the value of %s is not 1 to %d printable characters", k, ExecutionValueCharsMax)
		}
	}
	return nil
}

func printable(s string) bool {
	for _, r := range s {
		if unicode.Is(unicode.C, r) || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// JobErrorCode tells apart why a step of an execution is refused.
type JobErrorCode uint8

// The codes.
const (
	JobVersionMismatch   JobErrorCode = 1 + iota // it is not at the version expected
	JobInvalidTransition                         // it cannot go there from where it is
	JobTerminal                                  // it has ended
)

// JobError is a refusal with the execution as it is. It wraps an [Error] of kind
// [KindConflict].
type JobError struct {
	Code      JobErrorCode
	Execution JobExecution
	Err       *Error
}

// Error returns the message.
func (e *JobError) Error() string { return e.Err.Error() }

// Unwrap returns the error for clients.
func (e *JobError) Unwrap() error { return e.Err }

// Refuse returns an error about the execution.
func (e *JobExecution) Refuse(code JobErrorCode, format string, args ...any) error {
	return &JobError{code, *e, NewError(KindConflict, fmt.Sprintf(format, args...))}
}

// Next returns the execution after a step at a time:
//
//	queued      → in_progress succeeded failed rejected canceled
//	in_progress → in_progress succeeded failed rejected timed_out canceled (with force)
//
// What has ended stays as it is. A step that is not allowed is a [JobError].
//
// Source: AWS IoT Developer Guide, "Job execution states".
func (e *JobExecution) Next(j *Job, s *JobStep, at Time) (JobExecution, error) {
	next := *e
	switch {
	case s.ExpectedVersion != 0 && s.ExpectedVersion != e.Version:
		return next, e.Refuse(JobVersionMismatch, "Expected version %d but found version %d", s.ExpectedVersion, e.Version)
	case e.Status.Final():
		return next, e.Refuse(JobInvalidTransition, "The execution of %s is %s since %s", e.Job, e.Status, e.Ended.text())
	case s.Status == ExecutionQueued || s.Status == ExecutionRemoved:
		return next, e.Refuse(JobInvalidTransition, "The execution of %s is %s; it cannot become %s", e.Job, e.Status, s.Status)
	case s.Status == ExecutionTimedOut && (e.Deadline() == 0 || at < e.Deadline()):
		return next, e.Refuse(JobInvalidTransition, "The time of the execution of %s is not up", e.Job)
	case s.Status == ExecutionCanceled && e.Status == ExecutionInProgress && !s.Force:
		return next, e.Refuse(JobInvalidTransition, "The execution of %s is in progress; only force cancels it", e.Job)
	}
	next.Status, next.Reason = s.Status, s.Reason
	if s.Details != nil {
		next.Details = maps.Clone(s.Details)
	}
	next.checkHash(j)
	next.Version++
	next.Updated = at
	next.setTimes(e, j, s, at)
	return next, nil
}

// setTimes sets the clocks of an execution after a step.
func (e *JobExecution) setTimes(before *JobExecution, j *Job, s *JobStep, at Time) {
	if e.Status.Final() {
		e.Ended, e.TimesOut, e.StepTimesOut = at, 0, 0
		return
	}
	if before.Status == ExecutionQueued {
		e.Started = at
		if j.Timeout > 0 {
			e.TimesOut = at + minutes(j.Timeout)
		}
	}
	switch {
	case s.StepMinutes > 0:
		e.StepTimesOut = at + minutes(s.StepMinutes)
	case s.StepMinutes < 0:
		e.StepTimesOut = 0
	}
}

func minutes(n int) Time { return Time((time.Duration(n) * time.Minute).Milliseconds()) }

// checkHash fails an execution whose device says, in the detail sha256, that it got
// other firmware than the job names.
func (e *JobExecution) checkHash(j *Job) {
	has := e.Details[executionDetailSHA256]
	if has == "" || len(j.Artifacts) == 0 || e.Status != ExecutionSucceeded && e.Status != ExecutionInProgress {
		return
	}
	for _, a := range j.Artifacts {
		if equalHex(a.SHA256, has) {
			return
		}
	}
	e.Status = ExecutionFailed
	e.Reason = fmt.Sprintf("%s: the device has %s, the job names %s", executionReasonMismatch, clip(has), j.Artifacts[0].SHA256)
}

func equalHex(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// JobAnswer is an execution with the document of its job; without an execution, nothing
// is pending.
type JobAnswer struct {
	Execution *JobExecution
	Document  []byte // JSON, not to be altered
	At        Time
}

// JobChange is what has changed in the pending executions of a thing: which they are,
// or also which is the first.
type JobChange struct {
	Thing     ThingName
	At        Time
	Pending   []JobExecution // in order, those in progress first
	NextIsNew bool
	Document  []byte // of the first one
}

// JobProgress is the type of an event that brings no new status.
const JobProgress = "progress"

// executionData is what an event of a job has in its data.
type executionData struct {
	Job      JobID             `json:"job"`
	Version  uint64            `json:"version"`
	Firmware string            `json:"firmware,omitempty"`
	Details  map[string]string `json:"statusDetails,omitempty"`
}

// Describe completes the event of a step: before is the execution before it, nil if it
// is new, and e the one after it.
func (e *JobExecution) Describe(before *JobExecution, ev *Event) error {
	ev.Kind, ev.Type, ev.Correlation = EventJob, string(e.Status), string(e.Job)
	ev.Message = e.Reason
	if ev.Message == "" && e.Status.Final() {
		ev.Message = e.Details[executionDetailReason]
	}
	d := executionData{Job: e.Job, Version: e.Version, Firmware: e.Firmware}
	if before != nil {
		d.Details = e.Details
		if before.Status == e.Status {
			ev.Type = JobProgress
		}
	}
	ev.Severity = SeverityNone
	switch e.Status {
	case ExecutionFailed, ExecutionTimedOut:
		ev.Severity = SeverityError
	case ExecutionRejected:
		ev.Severity = SeverityWarning
	case ExecutionQueued, ExecutionInProgress, ExecutionSucceeded, ExecutionRemoved, ExecutionCanceled:
	}
	data, err := json.Marshal(&d, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode the data of a job event: %w", err)
	}
	ev.Data = data
	return nil
}
