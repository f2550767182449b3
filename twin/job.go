package twin

import (
	"bytes"
	"fmt"
	"math"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// JobID names a job: 1 to 64 characters of [a-zA-Z0-9_-].
//
// Source: the service model of AWS IoT Jobs.
type JobID string

// Limits of jobs. Those of the document, of the details and of the timeouts are AWS's.
const (
	JobIDBytesMax          = 64
	JobDocumentBytesMax    = 32 << 10
	JobDescriptionBytesMax = 2028
	JobThingsMax           = 100_000
	JobWavesMax            = 64
	JobAbortsMax           = 10
	JobRateMax             = 1_000_000 // executions a minute
	JobArtifactsMax        = 16        // named in one document
	JobPauseMax            = 30 * 24 * time.Hour
	JobTimeoutMinutesMax   = 10_080 // 7 days
	JobReasonBytesMax      = 1024
)

// Valid reports whether the id is legal.
func (id JobID) Valid() bool {
	return validName(string(id), JobIDBytesMax, false) && !bytes.ContainsRune([]byte(id), ':')
}

// JobState is where a job stands. The names are on disk.
type JobState string

// The states of a job.
const (
	JobRunning   JobState = "running"   // things get it, wave by wave
	JobPaused    JobState = "paused"    // no further thing gets it
	JobCompleted JobState = "completed" // all executions have ended
	JobCanceled  JobState = "canceled"  // no further thing gets it, and what was queued is canceled
)

// Final reports whether the job does not go on.
func (s JobState) Final() bool { return s == JobCompleted || s == JobCanceled }

// JobWave is a part of the things of a job that get it together. One of Size and
// Percent is set; Percent is of all things.
type JobWave struct {
	Size    int     `json:"size,omitzero"`
	Percent float64 `json:"percent,omitzero"`
	Pause   int64   `json:"pause,omitzero"` // ms after this wave before the next
}

// JobAbort cancels a job when so many percent of the executions that have ended failed.
type JobAbort struct {
	Failure  string  `json:"failure"` // failed, rejected, timed_out or all
	Percent  float64 `json:"percent"`
	MinEnded int     `json:"minEnded"`
}

// JobArtifact is firmware that the document of a job names.
type JobArtifact struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // hex
}

// Job is work for many things: each gets a [JobExecution] of its own.
type Job struct {
	ID          JobID          `json:"id"`
	Document    jsontext.Value `json:"document"` // an object, compact, placeholders filled in
	Description string         `json:"description,omitempty"`
	Version     string         `json:"version,omitempty"` // of the firmware, as the document says
	Model       string         `json:"model,omitempty"`   // of which the things were taken
	Things      int            `json:"things"`
	Waves       []JobWave      `json:"waves,omitempty"` // none: all at once; the last one repeats
	Rate        int            `json:"rate,omitzero"`   // executions a minute; 0: no limit
	Aborts      []JobAbort     `json:"aborts,omitempty"`
	Timeout     int            `json:"timeout,omitzero"` // minutes in progress; 0: no limit
	Artifacts   []JobArtifact  `json:"artifacts,omitempty"`
	State       JobState       `json:"state"`
	Force       bool           `json:"force,omitzero"`    // canceled with what is in progress
	Deleting    bool           `json:"deleting,omitzero"` // it and its executions are being removed
	Code        string         `json:"code,omitempty"`    // why it was canceled, in a word
	Reason      string         `json:"reason,omitempty"`  // the same for people
	By          string         `json:"by,omitempty"`
	Created     Time           `json:"created"`
	Changed     Time           `json:"changed"`
	Ended       Time           `json:"ended,omitzero"`
	// Counts is set when nothing of the job can change any more.
	Counts *JobCounts `json:"counts,omitempty"`
}

// JobRequest asks for a job.
type JobRequest struct {
	ID          JobID
	Document    []byte // a JSON object
	Description string
	Model       string
	Things      []ThingName
	Waves       []JobWave
	Rate        int
	Aborts      []JobAbort
	Timeout     int // minutes
	Artifacts   []JobArtifact
}

// Check completes a request and reports what is wrong with it, as an error of kind
// [KindInvalid] that begins with the name of the member at fault.
func (r *JobRequest) Check() error {
	if !r.ID.Valid() {
		return invalidJob("id: %q is not 1 to %d characters of a-z A-Z 0-9 _ -", clip(string(r.ID)), JobIDBytesMax)
	}
	document, err := jobDocument(r.Document)
	if err != nil {
		return err
	}
	r.Document = document
	switch {
	case len(r.Description) > JobDescriptionBytesMax:
		return invalidJob("description: %d bytes are over the limit of %d", len(r.Description), JobDescriptionBytesMax)
	case r.Rate < 0 || r.Rate > JobRateMax:
		return invalidJob("ratePerMinute: %d is not within 1 and %d", r.Rate, JobRateMax)
	case r.Timeout < 0 || r.Timeout > JobTimeoutMinutesMax:
		return invalidJob("timeoutMinutes: %d is not within 1 and %d", r.Timeout, JobTimeoutMinutesMax)
	case len(r.Artifacts) > JobArtifactsMax:
		return invalidJob("document: it names %d artifacts, the limit is %d", len(r.Artifacts), JobArtifactsMax)
	}
	if err := r.checkThings(); err != nil {
		return err
	}
	return r.checkRollout()
}

// checkThings drops things that are named twice.
func (r *JobRequest) checkThings() error {
	if len(r.Things) == 0 {
		return invalidJob("things: none is named")
	}
	seen := make(map[ThingName]bool, len(r.Things))
	once := make([]ThingName, 0, len(r.Things))
	for _, name := range r.Things {
		if !name.Valid() {
			return invalidJob("things: %q is no thing name", clip(string(name)))
		}
		if !seen[name] {
			seen[name] = true
			once = append(once, name)
		}
	}
	if len(once) > JobThingsMax {
		return invalidJob("things: %d are over the limit of %d", len(once), JobThingsMax)
	}
	r.Things = once
	return nil
}

func (r *JobRequest) checkRollout() error {
	if len(r.Waves) > JobWavesMax {
		return invalidJob("waves: %d are over the limit of %d", len(r.Waves), JobWavesMax)
	}
	for i, w := range r.Waves {
		switch {
		case (w.Size != 0) == (w.Percent != 0):
			return invalidJob("waves: wave %d needs a size, or a percent of the things", i+1)
		case w.Size < 0:
			return invalidJob("waves: the size %d of wave %d is not positive", w.Size, i+1)
		case math.IsNaN(w.Percent) || w.Percent < 0 || w.Percent > 100:
			return invalidJob("waves: %g percent in wave %d is not within 0 and 100", w.Percent, i+1)
		case w.Pause < 0 || w.Pause > JobPauseMax.Milliseconds():
			return invalidJob("waves: the pause after wave %d is not within 0 and %s (30 days)", i+1, JobPauseMax)
		}
	}
	if len(r.Aborts) > JobAbortsMax {
		return invalidJob("abort: %d rules are over the limit of %d", len(r.Aborts), JobAbortsMax)
	}
	for i, a := range r.Aborts {
		switch a.Failure {
		case JobFailureAll, string(ExecutionFailed), string(ExecutionRejected), string(ExecutionTimedOut):
		default:
			return invalidJob("abort: failure %q of rule %d is none of failed, rejected, timed_out, all", clip(a.Failure), i+1)
		}
		if math.IsNaN(a.Percent) || a.Percent <= 0 || a.Percent > 100 {
			return invalidJob("abort: %g percent of rule %d is not over 0 and up to 100", a.Percent, i+1)
		}
		if a.MinEnded < 1 {
			return invalidJob("abort: minEnded %d of rule %d is not positive", a.MinEnded, i+1)
		}
	}
	return nil
}

// JobFailureAll counts every failure for a [JobAbort].
const JobFailureAll = "all"

func jobDocument(b []byte) (jsontext.Value, error) {
	v := jsontext.Value(bytes.Clone(b))
	if len(v) == 0 {
		return nil, invalidJob("document: it is missing")
	}
	if err := compactStrict(&v); err != nil {
		return nil, invalidJob("document: %v", err)
	}
	if v.Kind() != '{' {
		return nil, invalidJob("document: a JSON object is needed, such as {\"operation\":\"reboot\"}")
	}
	if len(v) > JobDocumentBytesMax {
		return nil, invalidJob("document: %d bytes are over the limit of %d", len(v), JobDocumentBytesMax)
	}
	return v, nil
}

func invalidJob(format string, args ...any) error {
	return NewError(KindInvalid, fmt.Sprintf(format, args...))
}

// NewJob returns the job of a request that was checked.
func NewJob(r *JobRequest, by string, at Time) Job {
	return Job{
		ID: r.ID, Document: r.Document, Description: r.Description, Version: firmwareVersion(r.Document), Model: r.Model,
		Things: len(r.Things), Waves: r.Waves, Rate: r.Rate, Aborts: r.Aborts, Timeout: r.Timeout, Artifacts: r.Artifacts,
		State: JobRunning, By: by, Created: at, Changed: at,
	}
}

// firmwareVersionBytesMax is the longest version that is taken from a document.
const firmwareVersionBytesMax = 64

// firmwareVersion finds the version of the firmware that a document brings: the member
// version, or that of the member firmware.
func firmwareVersion(document []byte) string {
	var d struct {
		Version  jsontext.Value `json:"version"`
		Firmware jsontext.Value `json:"firmware"`
	}
	if json.Unmarshal(document, &d) != nil {
		return ""
	}
	for _, v := range []jsontext.Value{d.Version, memberVersion(d.Firmware)} {
		var s string
		if v.Kind() == '"' && json.Unmarshal(v, &s) == nil && s != "" && len(s) <= firmwareVersionBytesMax {
			return s
		}
	}
	return ""
}

func memberVersion(v jsontext.Value) jsontext.Value {
	var d struct {
		Version jsontext.Value `json:"version"`
	}
	if v.Kind() != '{' || json.Unmarshal(v, &d) != nil {
		return nil
	}
	return d.Version
}

// WaveEnd returns how many things have got the job when the wave is out in which the
// thing after the first n gets it, and how long to wait before that thing if the wave
// before has just ended.
func (j *Job) WaveEnd(n int) (end int, pause time.Duration) {
	if len(j.Waves) == 0 {
		return j.Things, 0
	}
	for i := 0; end < j.Things; i++ {
		w := j.Waves[min(i, len(j.Waves)-1)]
		size := w.Size
		if w.Percent > 0 {
			size = max(1, int(math.Ceil(w.Percent*float64(j.Things)/100)))
		}
		if i >= len(j.Waves) && end+size <= n { // the last wave repeats
			more := (n - end) / size
			end += more * size
			if n == end {
				pause = time.Duration(w.Pause) * time.Millisecond
			}
			continue
		}
		if end += size; n < end {
			return min(end, j.Things), pause
		}
		pause = 0
		if n == end {
			pause = time.Duration(w.Pause) * time.Millisecond
		}
	}
	return j.Things, pause
}

// JobCounts says how many things of a job stand where. The sum is the number of things.
type JobCounts struct {
	Waiting    int `json:"waiting"` // have not got it yet
	Queued     int `json:"queued"`
	InProgress int `json:"inProgress"`
	Succeeded  int `json:"succeeded"`
	Failed     int `json:"failed"`
	TimedOut   int `json:"timedOut"`
	Rejected   int `json:"rejected"`
	Removed    int `json:"removed"`
	Canceled   int `json:"canceled"`
}

// Of returns the place of a status; the empty one is that of things that wait.
func (c *JobCounts) Of(s ExecutionStatus) *int {
	switch s {
	case ExecutionQueued:
		return &c.Queued
	case ExecutionInProgress:
		return &c.InProgress
	case ExecutionSucceeded:
		return &c.Succeeded
	case ExecutionFailed:
		return &c.Failed
	case ExecutionTimedOut:
		return &c.TimedOut
	case ExecutionRejected:
		return &c.Rejected
	case ExecutionRemoved:
		return &c.Removed
	case ExecutionCanceled:
		return &c.Canceled
	}
	return &c.Waiting
}

// Exceeds returns the rule by which a job is to be aborted, nil if there is none.
func (j *Job) Exceeds(c *JobCounts) *JobAbort {
	ended := c.Succeeded + c.Failed + c.TimedOut + c.Rejected
	for i := range j.Aborts {
		a := &j.Aborts[i]
		failed := c.Failed + c.TimedOut + c.Rejected
		if a.Failure != JobFailureAll {
			failed = *c.Of(ExecutionStatus(a.Failure))
		}
		if ended >= a.MinEnded && float64(failed)*100 >= a.Percent*float64(ended) && failed > 0 {
			return a
		}
	}
	return nil
}

// JobReport is a job and how many of its things stand where.
type JobReport struct {
	Job
	Counts JobCounts // hides the one of the record
}
