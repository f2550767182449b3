package twin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// jobFormat is the first byte of the records of jobs; the rest is JSON, see
// docs/format/job.md.
const jobFormat = 1

// JobTargetsMax is the most things in one record of the targets of a job.
const JobTargetsMax = 1000

// AppendBinary appends the form in which a job is kept.
func (j *Job) AppendBinary(dst []byte) ([]byte, error) { return appendJobJSON(dst, j) }

// AppendBinary appends the form in which an execution is kept.
func (e *JobExecution) AppendBinary(dst []byte) ([]byte, error) { return appendJobJSON(dst, e) }

// AppendJobTargets appends the form in which things are kept that a job is for.
func AppendJobTargets(dst []byte, things []ThingName) ([]byte, error) {
	return appendJobJSON(dst, things)
}

func appendJobJSON(dst []byte, v any) ([]byte, error) {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode a record of a job: %w", err)
	}
	return append(append(dst, jobFormat), b...), nil
}

func decodeJobJSON(b []byte, v any) error {
	if len(b) == 0 || b[0] != jobFormat {
		return fmt.Errorf("decode a record of a job: the format %.1x is unknown", b)
	}
	if err := json.Unmarshal(b[1:], v, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("decode a record of a job: %w", err)
	}
	return nil
}

// DecodeJob reads what [Job.AppendBinary] wrote.
func DecodeJob(b []byte) (Job, error) {
	var j Job
	if err := decodeJobJSON(b, &j); err != nil {
		return j, err
	}
	if !slices.Contains([]JobState{JobRunning, JobPaused, JobCompleted, JobCanceled}, j.State) || !j.ID.Valid() {
		return j, errors.New("decode a job: its id or its state is none")
	}
	return j, nil
}

// DecodeJobExecution reads what [JobExecution.AppendBinary] wrote.
func DecodeJobExecution(b []byte) (JobExecution, error) {
	var e JobExecution
	if err := decodeJobJSON(b, &e); err != nil {
		return e, err
	}
	if !slices.Contains(ExecutionStatuses(), e.Status) || !e.Job.Valid() || !e.Thing.Valid() || e.Version == 0 {
		return e, errors.New("decode an execution: its names, its status or its version are none")
	}
	return e, nil
}

// DecodeJobTargets reads what [AppendJobTargets] wrote.
func DecodeJobTargets(b []byte) ([]ThingName, error) {
	var things []ThingName
	err := decodeJobJSON(b, &things)
	return things, err
}

// JobExecutionKey is the key of the record of an execution; those of a job are in the
// order of the things.
func JobExecutionKey(job JobID, thing ThingName) string { return JobExecutionKeys(job) + string(thing) }

// JobExecutionKeys begins the keys of all executions of a job.
func JobExecutionKeys(job JobID) string { return string(job) + "\x00" }

// JobTargetsKey is the key of the n-th record of the targets of a job.
func JobTargetsKey(job JobID, n int) string {
	return string(binary.BigEndian.AppendUint32([]byte(JobExecutionKeys(job)), uint32(n)))
}

// ThingJobKey is the key of the record that leads from a thing to a job of it: the job
// that was queued last comes first.
func ThingJobKey(thing ThingName, number Seq, job JobID) string {
	return string(binary.BigEndian.AppendUint64([]byte(ThingJobKeys(thing)), ^uint64(number))) + string(job)
}

// ThingJobKeys begins the keys of all records that lead from a thing to its jobs.
func ThingJobKeys(thing ThingName) string { return string(thing) + "\x00" }

// ThingJobOf returns the job at a [ThingJobKey].
func ThingJobOf(key string) (JobID, error) {
	_, rest, ok := strings.Cut(key, "\x00")
	if !ok || len(rest) < 8 || !JobID(rest[8:]).Valid() {
		return "", fmt.Errorf("the key %q leads to no job", key)
	}
	return JobID(rest[8:]), nil
}
