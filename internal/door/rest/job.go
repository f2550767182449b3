package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Jobs brings jobs to things.
type Jobs interface {
	JobReader
	// Create makes a job; an id that is taken is an error of kind KindConflict.
	Create(ctx context.Context, r *twin.JobRequest, origin twin.Origin) (twin.JobReport, error)
	Pause(ctx context.Context, id twin.JobID) (twin.JobReport, error)
	Resume(ctx context.Context, id twin.JobID) (twin.JobReport, error)
	// Cancel ends a job, with force also on things where it is in progress.
	Cancel(ctx context.Context, id twin.JobID, force bool, code, reason string) (twin.JobReport, error)
	// Delete removes a job and its executions, some time after the return; one that has not
	// ended is an error of kind KindConflict without force.
	Delete(ctx context.Context, id twin.JobID, force bool) error
}

// JobReader reads jobs as they are durable.
type JobReader interface {
	Job(id twin.JobID) (twin.JobReport, bool)
	Jobs() []twin.JobReport // the newest first
	// Executions lists those of a job by thing, greater than after; of some statuses if
	// there are any.
	Executions(ctx context.Context, id twin.JobID, statuses []twin.ExecutionStatus, after twin.ThingName, limit int) ([]twin.JobExecution, error)
	// OfThing lists those of a thing, the one queued last first, with a smaller number than
	// before (0: all).
	OfThing(ctx context.Context, thing twin.ThingName, statuses []twin.ExecutionStatus, before twin.Seq, limit int) ([]twin.JobExecution, error)
}

// jobBodyBytesMax has room for the names of as many things as a job may have.
const jobBodyBytesMax = twin.JobThingsMax*(twin.ThingNameBytesMax+4) + 256<<10

// jobDocument is a job as this door shows it.
type jobDocument struct {
	ID          twin.JobID      `json:"id"`
	State       string          `json:"state"`
	Document    json.RawMessage `json:"document,omitempty"`
	Description string          `json:"description,omitempty"`
	Version     string          `json:"version,omitempty"`
	Model       string          `json:"model,omitempty"`
	Things      int             `json:"things"`
	Counts      twin.JobCounts  `json:"counts"`
	Waves       []jobWave       `json:"waves,omitempty"`
	Rate        int             `json:"ratePerMinute,omitempty"`
	Aborts      []jobAbort      `json:"abort,omitempty"`
	Timeout     int             `json:"timeoutMinutes,omitempty"`
	Code        string          `json:"code,omitempty"`
	Reason      string          `json:"reason,omitempty"`
	By          string          `json:"by,omitempty"`
	Created     string          `json:"createdAt"`
	Changed     string          `json:"changedAt"`
	Ended       string          `json:"endedAt,omitempty"`
}

func newJobDocument(r *twin.JobReport) *jobDocument {
	d := &jobDocument{
		ID: r.ID, State: string(r.State), Document: json.RawMessage(r.Document), Description: r.Description, Version: r.Version, Model: r.Model,
		Things: r.Things, Counts: r.Counts, Rate: r.Rate, Timeout: r.Timeout, Code: r.Code, Reason: r.Reason, By: r.By,
		Created: timeText(r.Created), Changed: timeText(r.Changed), Ended: timeText(r.Ended),
	}
	for _, w := range r.Waves {
		shown := jobWave{Size: w.Size, Percent: w.Percent}
		if w.Pause > 0 {
			shown.Pause = (time.Duration(w.Pause) * time.Millisecond).String()
		}
		d.Waves = append(d.Waves, shown)
	}
	for _, a := range r.Aborts {
		d.Aborts = append(d.Aborts, jobAbort(a))
	}
	return d
}

// jobWave is a part of the things that get a job together.
type jobWave struct {
	Size    int     `json:"size,omitempty"`
	Percent float64 `json:"percent,omitempty"`
	Pause   string  `json:"pause,omitempty"` // before the next wave, such as "10m"
}

// jobAbort cancels a job when too many executions ended badly.
type jobAbort struct {
	Failure  string  `json:"failure"`
	Percent  float64 `json:"percent"`
	MinEnded int     `json:"minEnded"`
}

// newJob is a request for a job.
type newJob struct {
	ID          twin.JobID       `json:"id,omitempty"`
	Document    json.RawMessage  `json:"document"`
	Description string           `json:"description,omitempty"`
	Things      []twin.ThingName `json:"things,omitempty"`
	Model       string           `json:"model,omitempty"` // its things, beside those that are named
	Where       string           `json:"where,omitempty"` // and all that a condition holds for
	Waves       []jobWave        `json:"waves,omitempty"` // none: all at once; the last one repeats
	Rate        int              `json:"ratePerMinute,omitempty"`
	Aborts      []jobAbort       `json:"abort,omitempty"`
	Timeout     int              `json:"timeoutMinutes,omitempty"`
}

type jobPage struct {
	Jobs []*jobDocument `json:"jobs"`
	Next string         `json:"next,omitempty"`
}

// cancelJob is a request to cancel a job.
type cancelJob struct {
	Force  bool   `json:"force,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (d *door) jobRoutes() []route {
	return []route{
		{
			method: "POST", path: "/api/v1/jobs", name: "createJob", summary: "Make a job for things or a model; it reaches them wave by wave",
			body: newJob{}, answer: jobDocument{}, status: http.StatusCreated, handler: d.createJob,
		}, {
			method: "GET", path: "/api/v1/jobs", name: "listJobs", summary: "List jobs with their counts, the newest first",
			query: []string{"limit", "cursor"}, answer: jobPage{}, handler: d.listJobs,
		}, {
			method: "GET", path: "/api/v1/jobs/{job}", name: "getJob", summary: "Read a job with exact counts",
			answer: jobDocument{}, handler: d.getJob,
		}, {
			method: "DELETE", path: "/api/v1/jobs/{job}", name: "deleteJob", summary: "Remove a job that has ended, with force any, and its executions; their events stay",
			query: []string{"force"}, answer: jobDeleted{}, status: http.StatusAccepted, handler: d.deleteJob,
		}, {
			method: "POST", path: "/api/v1/jobs/{job}/pause", name: "pauseJob", summary: "Let a job reach no further things",
			answer: jobDocument{}, handler: d.changeJob(d.pauseJob),
		}, {
			method: "POST", path: "/api/v1/jobs/{job}/resume", name: "resumeJob", summary: "Let a paused job go on",
			answer: jobDocument{}, handler: d.changeJob(d.resumeJob),
		}, {
			method: "POST", path: "/api/v1/jobs/{job}/cancel", name: "cancelJob", summary: "Cancel a job and the executions that are queued; with force also those in progress",
			body: cancelJob{}, answer: jobDocument{}, handler: d.cancelJob,
		}, {
			method: "GET", path: "/api/v1/jobs/{job}/executions", name: "listJobExecutions", summary: "List the executions of a job by thing",
			query: []string{"status", "limit", "cursor"}, answer: executionPage{}, handler: d.listJobExecutions,
		}, {
			method: "GET", path: "/api/v1/twins/{id}/jobs", name: "listThingJobs", summary: "List the executions of a thing, those queued last first",
			query: []string{"status", "limit", "cursor"}, answer: executionPage{}, handler: d.listThingJobs,
		},
	}
}

// createJob makes a job.
func (d *door) createJob(w http.ResponseWriter, r *http.Request) error {
	var n newJob
	if err := d.decodeUpTo(w, r, jobBodyBytesMax, &n); err != nil {
		return err
	}
	q, err := d.jobRequest(r, &n)
	if err != nil {
		return err
	}
	if d.opts.Expand != nil {
		if err := d.opts.Expand(r, q); err != nil {
			return attributeError(err)
		}
	}
	report, err := d.opts.Jobs.Create(r.Context(), q, origin(r))
	if err != nil {
		return attributeError(err)
	}
	w.Header().Set("Location", "/api/v1/jobs/"+string(report.ID))
	return writeStatus(w, http.StatusCreated, newJobDocument(&report))
}

// thingsWhere lists the things that a condition holds for; none is an error.
func (d *door) thingsWhere(ctx context.Context, where string) ([]twin.ThingName, error) {
	if d.opts.Fleet == nil {
		return nil, badBody("#/where", "where: this server has no index")
	}
	found, err := d.opts.Fleet.Find(ctx, where)
	if err != nil {
		return nil, fleetError(err)
	}
	if len(found) == 0 {
		return nil, badBody("#/where", "where: the condition holds for no twin")
	}
	return found, nil
}

// jobRequest returns what is asked for, with the things of the model.
func (d *door) jobRequest(r *http.Request, n *newJob) (*twin.JobRequest, error) {
	q := &twin.JobRequest{
		ID: n.ID, Document: n.Document, Description: n.Description, Model: n.Model, Things: n.Things, Rate: n.Rate, Timeout: n.Timeout,
	}
	if q.ID == "" {
		q.ID = twin.JobID(d.opts.NewID())
	}
	for i, wave := range n.Waves {
		var pause time.Duration
		if wave.Pause != "" {
			var err error
			if pause, err = time.ParseDuration(wave.Pause); err != nil {
				return nil, badBody(fmt.Sprintf("#/waves/%d/pause", i), `pause: %.80q is no duration such as "10m"`, wave.Pause)
			}
		}
		q.Waves = append(q.Waves, twin.JobWave{Size: wave.Size, Percent: wave.Percent, Pause: pause.Milliseconds()})
	}
	for _, a := range n.Aborts {
		q.Aborts = append(q.Aborts, twin.JobAbort(a))
	}
	if n.Where != "" {
		found, err := d.thingsWhere(r.Context(), n.Where)
		if err != nil {
			return nil, err
		}
		q.Things = append(q.Things, found...)
	}
	if n.Model == "" {
		return q, nil
	}
	if d.opts.Twins == nil {
		return nil, badBody("#/model", "model: this server has no models")
	}
	of, err := d.opts.Twins.Managed(r.Context(), n.Model, "", twin.JobThingsMax+1)
	if err != nil {
		return nil, err
	}
	if len(of) == 0 {
		return nil, badBody("#/model", "model: no thing is of the model %.80q", n.Model)
	}
	q.Things = append(q.Things, of...)
	return q, nil
}

func jobOf(r *http.Request) (twin.JobID, error) {
	id := twin.JobID(r.PathValue("job"))
	if !id.Valid() {
		return "", noJob(id)
	}
	return id, nil
}

func noJob(id twin.JobID) error {
	return &problem{slug: slugNotFound, Detail: fmt.Sprintf("There is no job %.80q", id)}
}

func (d *door) getJob(w http.ResponseWriter, r *http.Request) error {
	id, err := jobOf(r)
	if err != nil {
		return err
	}
	report, ok := d.opts.Jobs.Job(id)
	if !ok {
		return noJob(id)
	}
	return writeJSON(w, newJobDocument(&report))
}

type jobDeleted struct {
	ID      twin.JobID `json:"id"`
	Deleted bool       `json:"deleted"`
}

func (d *door) deleteJob(w http.ResponseWriter, r *http.Request) error {
	id, err := jobOf(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	force := p.choice("force", "false", "true") == "true"
	if p.err != nil {
		return p.err
	}
	if err := d.opts.Jobs.Delete(r.Context(), id, force); err != nil {
		return err
	}
	return writeStatus(w, http.StatusAccepted, jobDeleted{id, true})
}

// changeJob answers with a job after a change of its state.
func (d *door) changeJob(change func(*http.Request, twin.JobID) (twin.JobReport, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := jobOf(r)
		if err != nil {
			return err
		}
		report, err := change(r, id)
		if err != nil {
			return err
		}
		return writeJSON(w, newJobDocument(&report))
	}
}

func (d *door) pauseJob(r *http.Request, id twin.JobID) (twin.JobReport, error) {
	return d.opts.Jobs.Pause(r.Context(), id)
}

func (d *door) resumeJob(r *http.Request, id twin.JobID) (twin.JobReport, error) {
	return d.opts.Jobs.Resume(r.Context(), id)
}

func (d *door) cancelJob(w http.ResponseWriter, r *http.Request) error {
	var c cancelJob
	if r.ContentLength != 0 {
		if err := d.decode(w, r, &c); err != nil {
			return err
		}
	}
	if len(c.Reason) > twin.JobReasonBytesMax {
		return badBody("#/reason", "reason: %d bytes are over the limit of %d", len(c.Reason), twin.JobReasonBytesMax)
	}
	return d.changeJob(func(r *http.Request, id twin.JobID) (twin.JobReport, error) {
		return d.opts.Jobs.Cancel(r.Context(), id, c.Force, "", c.Reason)
	})(w, r)
}

// listJobs lists jobs without their documents. Its cursor is the id of a job.
func (d *door) listJobs(w http.ResponseWriter, r *http.Request) error {
	p := d.params(r)
	limit := p.limit(pageMax)
	if limit == 0 {
		limit = pageDefault
	}
	if p.err != nil {
		return p.err
	}
	all := d.opts.Jobs.Jobs()
	if after := twin.JobID(p.text("cursor")); after != "" {
		at := slices.IndexFunc(all, func(j twin.JobReport) bool { return j.ID == after })
		if at < 0 {
			return badParam("cursor", "The cursor %.80q is none of this list", after)
		}
		all = all[at+1:]
	}
	answer := jobPage{Jobs: []*jobDocument{}}
	for i := range all[:min(len(all), limit)] {
		doc := newJobDocument(&all[i])
		doc.Document = nil
		answer.Jobs = append(answer.Jobs, doc)
	}
	if len(all) > limit {
		answer.Next = string(all[limit-1].ID)
	}
	linkNext(w, r, answer.Next)
	return writeJSON(w, answer)
}

// statusesOf reads names of statuses, or pending for those that are no end.
func (p *params) executionStatuses(name string) []twin.ExecutionStatus {
	var list []twin.ExecutionStatus
	for _, value := range p.values[name] {
		for text := range strings.SplitSeq(value, ",") {
			if text == pending {
				list = append(list, twin.ExecutionQueued, twin.ExecutionInProgress)
				continue
			}
			if !slices.Contains(twin.ExecutionStatuses(), twin.ExecutionStatus(text)) {
				p.bad(name, "%s: %.80q is no status; there are pending, %s", name, text, joined(twin.ExecutionStatuses()))
				return nil
			}
			list = append(list, twin.ExecutionStatus(text))
		}
	}
	return list
}

func joined[T ~string](names []T) string {
	var b strings.Builder
	for i, n := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(n))
	}
	return b.String()
}
