package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Job is a job as the server shows it.
type Job struct {
	ID       twin.JobID      `json:"id"`
	State    twin.JobState   `json:"state"`
	Document json.RawMessage `json:"document"` // empty in a list
	Version  string          `json:"version"`
	Model    string          `json:"model"`
	Things   int             `json:"things"`
	Counts   twin.JobCounts  `json:"counts"`
	Code     string          `json:"code"`
	Reason   string          `json:"reason"`
	Created  time.Time       `json:"createdAt"`
	Ended    time.Time       `json:"endedAt"` // zero if it has not

	Raw json.RawMessage `json:"-"` // as sent
}

// JobWave is a part of the things of a job that get it together: so many, or so many
// percent of all.
type JobWave struct {
	Size    int     `json:"size,omitempty"`
	Percent float64 `json:"percent,omitempty"`
	Pause   string  `json:"pause,omitempty"` // before the next wave, such as "10m"
}

// JobAbort cancels a job when so many percent of the executions that ended failed.
type JobAbort struct {
	Failure  string  `json:"failure"` // failed, rejected, timed_out or all
	Percent  float64 `json:"percent"`
	MinEnded int     `json:"minEnded"`
}

// NewJob asks for a job.
type NewJob struct {
	ID          twin.JobID       `json:"id,omitempty"` // empty: the server makes one
	Document    json.RawMessage  `json:"document"`     // a JSON object
	Description string           `json:"description,omitempty"`
	Things      []twin.ThingName `json:"things,omitempty"`
	Model       string           `json:"model,omitempty"` // its things too
	Where       string           `json:"where,omitempty"` // and all that a condition holds for
	Waves       []JobWave        `json:"waves,omitempty"` // none: all at once; the last one repeats
	Rate        int              `json:"ratePerMinute,omitempty"`
	Aborts      []JobAbort       `json:"abort,omitempty"`
	Timeout     int              `json:"timeoutMinutes,omitempty"`
}

// CreateJob makes a job.
func (c *Client) CreateJob(ctx context.Context, n NewJob) (*Job, error) {
	j := &Job{}
	raw, err := c.send(ctx, http.MethodPost, "/api/v1/jobs", n, j)
	j.Raw = raw
	return j, err
}

func jobPath(id twin.JobID) string { return "/api/v1/jobs/" + url.PathEscape(string(id)) }

// Job reads a job.
func (c *Client) Job(ctx context.Context, id twin.JobID) (*Job, error) {
	return c.jobCall(ctx, http.MethodGet, jobPath(id), nil)
}

// PauseJob lets a job reach no further things.
func (c *Client) PauseJob(ctx context.Context, id twin.JobID) (*Job, error) {
	return c.jobCall(ctx, http.MethodPost, jobPath(id)+"/pause", nil)
}

// ResumeJob lets a paused job go on.
func (c *Client) ResumeJob(ctx context.Context, id twin.JobID) (*Job, error) {
	return c.jobCall(ctx, http.MethodPost, jobPath(id)+"/resume", nil)
}

// CancelJob ends a job, with force also on things where it is in progress.
func (c *Client) CancelJob(ctx context.Context, id twin.JobID, force bool, reason string) (*Job, error) {
	body, err := json.Marshal(struct {
		Force  bool   `json:"force,omitempty"`
		Reason string `json:"reason,omitempty"`
	}{force, reason})
	if err != nil {
		return nil, fmt.Errorf("cancel job %s: %w", id, err)
	}
	return c.jobCall(ctx, http.MethodPost, jobPath(id)+"/cancel", body)
}

func (c *Client) jobCall(ctx context.Context, method, path string, body []byte) (*Job, error) {
	h := http.Header{}
	if body != nil {
		h.Set("Content-Type", "application/json")
	}
	a, err := c.do(ctx, method, path, h, body)
	if err != nil {
		return nil, err
	}
	j := &Job{Raw: a.body}
	if err := json.Unmarshal(a.body, j); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return j, nil
}

// Jobs lists jobs page by page as the loop goes on, the newest first; an error ends it.
// Limit 0 is no limit.
func (c *Client) Jobs(ctx context.Context, limit int) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		for raw, err := range c.items(ctx, "/api/v1/jobs", url.Values{}, "jobs", limit) {
			j := Job{Raw: raw}
			if err == nil {
				err = json.Unmarshal(raw, &j)
			}
			if !yield(j, err) || err != nil {
				return
			}
		}
	}
}

// Execution is a job on one thing as the server shows it.
type Execution struct {
	Job      twin.JobID           `json:"job"`
	DeviceID twin.ThingName       `json:"deviceId"`
	Status   twin.ExecutionStatus `json:"status"`
	Details  map[string]string    `json:"statusDetails"`
	Version  uint64               `json:"version"`
	Reason   string               `json:"reason"`
	Firmware string               `json:"firmware"`
	Updated  time.Time            `json:"updatedAt"`

	Raw json.RawMessage `json:"-"` // as sent
}

// JobExecutions lists the executions of a job by thing, page by page as the loop goes on;
// an error ends it. Statuses are names of statuses, or "pending"; none: all.
func (c *Client) JobExecutions(ctx context.Context, id twin.JobID, statuses []string, limit int) iter.Seq2[Execution, error] {
	return c.executions(ctx, jobPath(id)+"/executions", statuses, limit)
}

// ThingJobs lists the executions of a thing, those queued last first, likewise.
func (c *Client) ThingJobs(ctx context.Context, thing twin.ThingName, statuses []string, limit int) iter.Seq2[Execution, error] {
	return c.executions(ctx, twinPath(thing, "/jobs", ""), statuses, limit)
}

func (c *Client) executions(ctx context.Context, path string, statuses []string, limit int) iter.Seq2[Execution, error] {
	v := url.Values{}
	setText(v, "status", strings.Join(statuses, ","))
	return func(yield func(Execution, error) bool) {
		for raw, err := range c.items(ctx, path, v, "executions", limit) {
			e := Execution{Raw: raw}
			if err == nil {
				err = json.Unmarshal(raw, &e)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}
