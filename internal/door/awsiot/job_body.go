package awsiot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twofold-iot/twofold/twin"
)

// jobRequest is what a device sends about jobs, by MQTT and by HTTP. Members that are not
// known are ignored: the SDKs send what is in the topic along.
type jobRequest struct {
	ClientToken     string            `json:"clientToken"`
	Status          string            `json:"status"`
	StatusDetails   map[string]string `json:"statusDetails"`
	ExpectedVersion jobNumber         `json:"expectedVersion"`
	ExecutionNumber jobNumber         `json:"executionNumber"`
	IncludeState    bool              `json:"includeJobExecutionState"`
	IncludeDocument jobBool           `json:"includeJobDocument"`
	StepTimeout     jobNumber         `json:"stepTimeoutInMinutes"`
}

// jobNumber is a whole number, which some firmware sends as a string.
type jobNumber string

// UnmarshalJSON implements [json.Unmarshaler].
func (n *jobNumber) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "null" {
		return nil
	}
	if _, err := strconv.ParseInt(text, 10, 32); err != nil {
		return fmt.Errorf("%.40s is no whole number", b)
	}
	*n = jobNumber(text)
	return nil
}

func (n jobNumber) int() int {
	v, _ := strconv.Atoi(string(n)) // it was parsed before; empty is 0
	return v
}

// jobBool is a bool that may be absent.
type jobBool struct{ set, value bool }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *jobBool) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	v.set = true
	return json.Unmarshal(b, &v.value)
}

func (v jobBool) or(absent bool) bool {
	if v.set {
		return v.value
	}
	return absent
}

// jobPayloadBytesMax is the longest request: ten details of the longest kind have room.
const jobPayloadBytesMax = 64 << 10

// parseJobRequest reads a request. An empty one is {}; what it returns beside an error
// holds the clientToken, if that could be read.
func parseJobRequest(op jobOp, payload []byte) (jobRequest, error) {
	r := jobRequest{}
	switch {
	case len(payload) > jobPayloadBytesMax:
		return r, errTooLarge
	case len(bytes.TrimSpace(payload)) == 0 && op != jobUpdate:
		return r, nil
	case !utf8.Valid(payload) || !json.Valid(payload) || bytes.TrimSpace(payload)[0] != '{':
		return r, twin.NewError(twin.KindEncoding, "The payload is not a JSON object")
	}
	var token struct {
		ClientToken string `json:"clientToken"`
	}
	_ = json.Unmarshal(payload, &token) // the second time tells what is wrong
	if err := json.Unmarshal(payload, &r); err != nil {
		return jobRequest{ClientToken: token.ClientToken}, invalid("The payload is not as it should be: " + err.Error())
	}
	if len(r.ClientToken) > clientTokenBytesMax {
		return jobRequest{}, invalid(fmt.Sprintf("clientToken: %d bytes are over the limit of %d", len(r.ClientToken), clientTokenBytesMax))
	}
	if op == jobUpdate && r.Status == "" {
		return r, invalid("status: it is missing; IN_PROGRESS, SUCCEEDED, FAILED or REJECTED is needed")
	}
	if op == jobUpdate && r.ExecutionNumber.int() > twin.ExecutionNumber {
		return r, twin.NewError(twin.KindNotFound, "There is no execution of that number; the number of each is 1")
	}
	if r.ExpectedVersion.int() < 0 || r.ExecutionNumber.int() < 0 {
		return r, invalid("expectedVersion and executionNumber are not negative")
	}
	return r, nil
}

// clientTokenBytesMax is the longest clientToken; AWS names no limit here.
const clientTokenBytesMax = 1024

func (r *jobRequest) step() twin.JobStep {
	status := twin.ExecutionStatus(r.Status)
	for _, s := range twin.ExecutionStatuses() {
		if awsStatus(s) == r.Status {
			status = s
		}
	}
	return twin.JobStep{
		Status: status, Details: r.StatusDetails, StepMinutes: r.StepTimeout.int(), ExpectedVersion: uint64(r.ExpectedVersion.int()),
	}
}

// awsStatus is a status as AWS writes it.
func awsStatus(s twin.ExecutionStatus) string { return strings.ToUpper(string(s)) }

// jobBody is the body of every message about jobs by MQTT; what it has not is left out.
type jobBody struct {
	Code        string             `json:"code,omitempty"`
	Message     string             `json:"message,omitempty"`
	InProgress  []executionSummary `json:"inProgressJobs,omitzero"`
	Queued      []executionSummary `json:"queuedJobs,omitzero"`
	Jobs        jobLists           `json:"jobs,omitzero"`
	Execution   *executionBody     `json:"execution,omitempty"`
	State       *executionState    `json:"executionState,omitempty"`
	Document    json.RawMessage    `json:"jobDocument,omitempty"`
	Timestamp   int64              `json:"timestamp"`
	ClientToken string             `json:"clientToken,omitempty"`
}

// jobLists are pending executions by status.
type jobLists map[string][]executionSummary

func (b *jobBody) encode() []byte {
	v, err := json.Marshal(b)
	if err != nil {
		panic("awsiot: a message about jobs has a JSON form: " + err.Error())
	}
	return v
}

type executionSummary struct {
	JobID           twin.JobID `json:"jobId"`
	QueuedAt        int64      `json:"queuedAt"`
	StartedAt       int64      `json:"startedAt,omitempty"`
	LastUpdatedAt   int64      `json:"lastUpdatedAt"`
	ExecutionNumber int        `json:"executionNumber"`
	VersionNumber   uint64     `json:"versionNumber"`
}

func newExecutionSummary(e *twin.JobExecution) executionSummary {
	return executionSummary{
		e.Job, e.Queued.Seconds(), e.Started.Seconds(), e.Updated.Seconds(), twin.ExecutionNumber, e.Version,
	}
}

type executionBody struct {
	JobID         twin.JobID        `json:"jobId"`
	ThingName     twin.ThingName    `json:"thingName"`
	Status        string            `json:"status"`
	StatusDetails map[string]string `json:"statusDetails,omitempty"`
	QueuedAt      int64             `json:"queuedAt"`
	StartedAt     int64             `json:"startedAt,omitempty"`
	LastUpdatedAt int64             `json:"lastUpdatedAt"`
	SecondsLeft   *int64            `json:"approximateSecondsBeforeTimedOut,omitempty"`
	VersionNumber uint64            `json:"versionNumber"`
	Number        int               `json:"executionNumber"`
	Document      json.RawMessage   `json:"jobDocument,omitempty"`
}

func newExecutionBody(e *twin.JobExecution, document []byte, at twin.Time) *executionBody {
	return &executionBody{
		JobID: e.Job, ThingName: e.Thing, Status: awsStatus(e.Status), StatusDetails: e.Details,
		QueuedAt: e.Queued.Seconds(), StartedAt: e.Started.Seconds(), LastUpdatedAt: e.Updated.Seconds(), SecondsLeft: secondsLeft(e, at),
		VersionNumber: e.Version, Number: twin.ExecutionNumber, Document: document,
	}
}

// secondsLeft is the time until an execution times out, nil if it does not.
func secondsLeft(e *twin.JobExecution, at twin.Time) *int64 {
	if e.Deadline() == 0 {
		return nil
	}
	left := max(0, int64(e.Deadline()-at)/1000)
	return &left
}

type executionState struct {
	Status        string            `json:"status"`
	StatusDetails map[string]string `json:"statusDetails,omitempty"`
	VersionNumber uint64            `json:"versionNumber"`
}

func newExecutionState(e *twin.JobExecution) *executionState {
	return &executionState{awsStatus(e.Status), e.Details, e.Version}
}

// splitPending makes summaries of pending executions, by status.
func splitPending(pending []twin.JobExecution) (inProgress, queued []executionSummary) {
	inProgress, queued = []executionSummary{}, []executionSummary{}
	for i := range pending {
		if pending[i].Status == twin.ExecutionInProgress {
			inProgress = append(inProgress, newExecutionSummary(&pending[i]))
		} else {
			queued = append(queued, newExecutionSummary(&pending[i]))
		}
	}
	return inProgress, queued
}

func pendingBody(pending []twin.JobExecution, req *jobRequest, at twin.Time) *jobBody {
	b := &jobBody{ClientToken: req.ClientToken, Timestamp: at.Seconds()}
	b.InProgress, b.Queued = splitPending(pending)
	return b
}

func notifyBody(c *twin.JobChange) *jobBody {
	inProgress, queued := splitPending(c.Pending[:min(len(c.Pending), notifyListMax)])
	b := &jobBody{Timestamp: c.At.Seconds(), Jobs: jobLists{}}
	if len(inProgress) > 0 {
		b.Jobs["IN_PROGRESS"] = inProgress
	}
	if len(queued) > 0 {
		b.Jobs["QUEUED"] = queued
	}
	return b
}
