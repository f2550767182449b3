package awsiot

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// createJobBody is a CreateJobRequest. What cannot be done here is refused by name.
type createJobBody struct {
	Targets         []string `json:"targets"`
	Document        string   `json:"document"`
	DocumentSource  string   `json:"documentSource"`
	Description     string   `json:"description"`
	TargetSelection string   `json:"targetSelection"`
	Rollout         struct {
		MaximumPerMinute int `json:"maximumPerMinute"`
		ExponentialRate  any `json:"exponentialRate"`
	} `json:"jobExecutionsRolloutConfig"`
	Abort struct {
		Criteria []abortCriterion `json:"criteriaList"`
	} `json:"abortConfig"`
	Timeout struct {
		InProgress int `json:"inProgressTimeoutInMinutes"`
	} `json:"timeoutConfig"`
	NamespaceID        string `json:"namespaceId"`
	JobTemplateARN     string `json:"jobTemplateArn"`
	DocumentParameters any    `json:"documentParameters"`
	Retry              any    `json:"jobExecutionsRetryConfig"`
	Scheduling         any    `json:"schedulingConfig"`
	PresignedURL       any    `json:"presignedUrlConfig"`
	Packages           any    `json:"destinationPackageVersions"`
}

type abortCriterion struct {
	FailureType string  `json:"failureType"`
	Action      string  `json:"action"`
	Percentage  float64 `json:"thresholdPercentage"`
	MinExecuted int     `json:"minNumberOfExecutedThings"`
}

// unsupported names the member that this server cannot do, empty if there is none.
func (b *createJobBody) unsupported() string {
	switch {
	case b.DocumentSource != "":
		return "documentSource (give document)"
	case b.TargetSelection != "" && b.TargetSelection != targetSnapshot:
		return "targetSelection " + b.TargetSelection
	case b.Rollout.ExponentialRate != nil:
		return "exponentialRate"
	case b.NamespaceID != "":
		return "namespaceId"
	case b.JobTemplateARN != "":
		return "jobTemplateArn"
	case b.DocumentParameters != nil:
		return "documentParameters"
	case b.Retry != nil:
		return "jobExecutionsRetryConfig"
	case b.Scheduling != nil:
		return "schedulingConfig"
	case b.PresignedURL != nil:
		return "presignedUrlConfig"
	case b.Packages != nil:
		return "destinationPackageVersions"
	}
	return ""
}

const targetSnapshot = "SNAPSHOT"

// request returns what is asked for.
func (b *createJobBody) request(id twin.JobID) (*twin.JobRequest, error) {
	if name := b.unsupported(); name != "" {
		return nil, invalid("Not supported here: " + name)
	}
	q := &twin.JobRequest{
		ID: id, Document: []byte(b.Document), Description: b.Description, Rate: b.Rollout.MaximumPerMinute, Timeout: b.Timeout.InProgress,
	}
	for _, target := range b.Targets {
		name := target
		if strings.HasPrefix(target, "arn:") {
			_, after, ok := strings.Cut(target, ":thing/")
			if !ok {
				return nil, invalid(fmt.Sprintf("targets: %.200q is not the ARN of a thing; groups are not known here", target))
			}
			name = after
		}
		q.Things = append(q.Things, twin.ThingName(name))
	}
	for _, c := range b.Abort.Criteria {
		if c.Action != "CANCEL" {
			return nil, invalid(fmt.Sprintf("abortConfig: the action %.40q is not CANCEL", c.Action))
		}
		q.Aborts = append(q.Aborts, twin.JobAbort{Failure: strings.ToLower(c.FailureType), Percent: c.Percentage, MinEnded: c.MinExecuted})
	}
	return q, nil
}

// jobControl serves the operations of the control plane on jobs.
func (x *exchange) jobControl(p jobPath) {
	var err error
	switch p.op { //nolint:exhaustive // the others do not come here
	case httpCreateJob:
		err = x.createJob(p.id)
	case httpDescribeJob:
		err = x.describeJob(p.id)
	case httpListJobs:
		err = x.listJobs()
	case httpCancelJob:
		err = x.cancelJob(p.id)
	case httpDeleteJob:
		if err = x.door.jobs.Delete(x.r.Context(), p.id, x.query.Get("force") == "true"); err == nil {
			x.replyJSON(http.StatusOK, struct{}{})
		}
	case httpDocument:
		report, ok := x.door.jobs.Job(p.id)
		if !ok {
			err = errNoJob(p.id)
			break
		}
		x.replyJSON(http.StatusOK, map[string]string{"document": string(report.Document)})
	case httpListForJob:
		err = x.listForJob(p.id)
	}
	switch {
	case err == nil:
	case twin.Kind(err) == twin.KindConflict && p.op == httpCreateJob:
		x.fault(Status{http.StatusConflict, "ResourceAlreadyExistsException"}, twin.ErrorMessage(err))
	case twin.Kind(err) == twin.KindConflict:
		x.fault(Status{http.StatusConflict, "InvalidStateTransitionException"}, twin.ErrorMessage(err))
	case twin.Kind(err) == twin.KindFull && p.op == httpCreateJob:
		x.fault(Status{http.StatusGone, "LimitExceededException"}, twin.ErrorMessage(err))
	default:
		x.failJob(err)
	}
}

func errNoJob(id twin.JobID) error {
	return twin.NewError(twin.KindNotFound, fmt.Sprintf("There is no job %.80q", id))
}

func (x *exchange) createJob(id twin.JobID) error {
	var b createJobBody
	if err := x.jobBodyOf(&b); err != nil {
		return err
	}
	q, err := b.request(id)
	if err != nil {
		return err
	}
	if x.door.expand != nil {
		if err := x.door.expand(x.r, q); err != nil {
			return err
		}
	}
	report, err := x.door.jobs.Create(x.r.Context(), q, x.origin())
	if err != nil {
		return err
	}
	x.replyJobID(&report)
	return nil
}

func (x *exchange) replyJobID(report *twin.JobReport) {
	x.replyJSON(http.StatusOK, struct {
		ARN         string     `json:"jobArn"`
		ID          twin.JobID `json:"jobId"`
		Description string     `json:"description,omitempty"`
	}{x.arn("job/" + string(report.ID)), report.ID, report.Description})
}

// arn returns a name as AWS writes it; the account is none, the region that of the request.
func (x *exchange) arn(resource string) string {
	region := "us-east-1"
	if _, scope, ok := strings.Cut(x.r.Header.Get("Authorization"), "Credential="); ok {
		if parts := strings.SplitN(scope, "/", 5); len(parts) == 5 && !strings.ContainsAny(parts[2], " :,") {
			region = parts[2]
		}
	}
	return "arn:aws:iot:" + region + ":000000000000:" + resource
}

func (x *exchange) cancelJob(id twin.JobID) error {
	var b struct {
		ReasonCode string `json:"reasonCode"`
		Comment    string `json:"comment"`
	}
	if err := x.jobBodyOf(&b); err != nil {
		return err
	}
	if len(b.ReasonCode) > jobCodeBytesMax || len(b.Comment) > twin.JobDescriptionBytesMax {
		return invalid("reasonCode or comment is too long")
	}
	report, err := x.door.jobs.Cancel(x.r.Context(), id, x.query.Get("force") == "true", b.ReasonCode, b.Comment)
	if err != nil {
		return err
	}
	x.replyJobID(&report)
	return nil
}

// jobCodeBytesMax is AWS's.
const jobCodeBytesMax = 128

// jobTargetsShown is the most things that DescribeJob names.
const jobTargetsShown = 1000

func (x *exchange) describeJob(id twin.JobID) error {
	r, ok := x.door.jobs.Job(id)
	if !ok {
		return errNoJob(id)
	}
	things, err := x.door.jobs.Targets(x.r.Context(), id, jobTargetsShown)
	if err != nil {
		return err
	}
	j := jobView{
		jobSummary: x.newJobSummary(&r), ForceCanceled: r.Force, ReasonCode: r.Code, Comment: r.Reason, Description: r.Description,
		Details: processDetails{
			r.Counts.Canceled, r.Counts.Succeeded, r.Counts.Failed, r.Counts.Rejected,
			r.Counts.Queued, r.Counts.InProgress, r.Counts.Removed, r.Counts.TimedOut,
		},
		Targets: make([]string, len(things)),
	}
	for i, name := range things {
		j.Targets[i] = x.arn("thing/" + string(name))
	}
	if r.Rate > 0 {
		j.Rollout = &rolloutView{r.Rate}
	}
	if r.Timeout > 0 {
		j.Timeout = &timeoutView{r.Timeout}
	}
	if len(r.Aborts) > 0 {
		j.Abort = &abortView{}
		for _, a := range r.Aborts {
			j.Abort.Criteria = append(j.Abort.Criteria, abortCriterion{strings.ToUpper(a.Failure), "CANCEL", a.Percent, a.MinEnded})
		}
	}
	x.replyJSON(http.StatusOK, map[string]any{"job": &j})
	return nil
}

// jobView is a Job of the control plane.
type jobView struct {
	jobSummary
	ForceCanceled bool           `json:"forceCanceled,omitempty"`
	ReasonCode    string         `json:"reasonCode,omitempty"`
	Comment       string         `json:"comment,omitempty"`
	Targets       []string       `json:"targets"`
	Description   string         `json:"description,omitempty"`
	Rollout       *rolloutView   `json:"jobExecutionsRolloutConfig,omitempty"`
	Abort         *abortView     `json:"abortConfig,omitempty"`
	Timeout       *timeoutView   `json:"timeoutConfig,omitempty"`
	Details       processDetails `json:"jobProcessDetails"`
}

type rolloutView struct {
	MaximumPerMinute int `json:"maximumPerMinute"`
}

type timeoutView struct {
	InProgress int `json:"inProgressTimeoutInMinutes"`
}

type abortView struct {
	Criteria []abortCriterion `json:"criteriaList"`
}

type processDetails struct {
	Canceled   int `json:"numberOfCanceledThings"`
	Succeeded  int `json:"numberOfSucceededThings"`
	Failed     int `json:"numberOfFailedThings"`
	Rejected   int `json:"numberOfRejectedThings"`
	Queued     int `json:"numberOfQueuedThings"`
	InProgress int `json:"numberOfInProgressThings"`
	Removed    int `json:"numberOfRemovedThings"`
	TimedOut   int `json:"numberOfTimedOutThings"`
}

type jobSummary struct {
	ARN             string     `json:"jobArn"`
	ID              twin.JobID `json:"jobId"`
	TargetSelection string     `json:"targetSelection"`
	Status          string     `json:"status"`
	CreatedAt       float64    `json:"createdAt"`
	LastUpdatedAt   float64    `json:"lastUpdatedAt"`
	CompletedAt     float64    `json:"completedAt,omitempty"`
}

func (x *exchange) newJobSummary(r *twin.JobReport) jobSummary {
	return jobSummary{
		x.arn("job/" + string(r.ID)), r.ID, targetSnapshot, jobStatus(r), awsTime(r.Created), awsTime(r.Changed), awsTime(r.Ended),
	}
}

// awsTime is a time of the control plane: seconds, with a fraction.
func awsTime(t twin.Time) float64 { return float64(t) / 1000 }

// jobStatus is the state of a job in the words of AWS, which has none for a paused one.
func jobStatus(r *twin.JobReport) string {
	switch {
	case r.Deleting:
		return "DELETION_IN_PROGRESS"
	case r.State == twin.JobCompleted:
		return "COMPLETED"
	case r.State == twin.JobCanceled:
		return "CANCELED"
	}
	return "IN_PROGRESS"
}

func (x *exchange) listJobs() error {
	limit, after, err := x.jobPage()
	if err != nil {
		return err
	}
	status := x.query.Get("status")
	answer := struct {
		Jobs []jobSummary `json:"jobs"`
		Next string       `json:"nextToken,omitempty"`
	}{Jobs: []jobSummary{}}
	past := after == ""
	for _, r := range x.door.jobs.Jobs() {
		if !past || status != "" && jobStatus(&r) != status {
			past = past || string(r.ID) == after
			continue
		}
		if len(answer.Jobs) == limit {
			answer.Next = pageToken(tokenJobs, string(answer.Jobs[limit-1].ID))
			break
		}
		answer.Jobs = append(answer.Jobs, x.newJobSummary(&r))
	}
	if !past {
		return invalid("Invalid nextToken: the job at which it stands is gone; begin anew")
	}
	x.replyJSON(http.StatusOK, answer)
	return nil
}

// executionList is an answer of the two lists of executions.
type executionList struct {
	Summaries []executionEntry `json:"executionSummaries"`
	Next      string           `json:"nextToken,omitempty"`
}

type executionEntry struct {
	ThingARN string           `json:"thingArn,omitempty"`
	JobID    twin.JobID       `json:"jobId,omitempty"`
	Summary  controlExecution `json:"jobExecutionSummary"`
}

// controlExecution is an execution as the control plane shows it.
type controlExecution struct {
	JobID         twin.JobID      `json:"jobId,omitempty"`
	Status        string          `json:"status"`
	ForceCanceled bool            `json:"forceCanceled,omitempty"`
	Details       *controlDetails `json:"statusDetails,omitempty"`
	ThingARN      string          `json:"thingArn,omitempty"`
	QueuedAt      float64         `json:"queuedAt"`
	StartedAt     float64         `json:"startedAt,omitempty"`
	LastUpdatedAt float64         `json:"lastUpdatedAt"`
	Number        int             `json:"executionNumber"`
	Version       uint64          `json:"versionNumber,omitempty"`
	SecondsLeft   *int64          `json:"approximateSecondsBeforeTimedOut,omitempty"`
}

type controlDetails struct {
	Map map[string]string `json:"detailsMap"`
}

func newControlExecution(e *twin.JobExecution) controlExecution {
	return controlExecution{
		Status: awsStatus(e.Status), QueuedAt: awsTime(e.Queued), StartedAt: awsTime(e.Started), LastUpdatedAt: awsTime(e.Updated), Number: twin.ExecutionNumber,
	}
}

// statuses reads the status of a query.
func (x *exchange) statuses() ([]twin.ExecutionStatus, error) {
	text := x.query.Get("status")
	if text == "" {
		return nil, nil
	}
	for _, s := range twin.ExecutionStatuses() {
		if awsStatus(s) == text {
			return []twin.ExecutionStatus{s}, nil
		}
	}
	return nil, invalid(fmt.Sprintf("Invalid status %.40q", text))
}

func (x *exchange) listForJob(id twin.JobID) error {
	limit, after, err := x.jobPage()
	if err != nil {
		return err
	}
	statuses, err := x.statuses()
	if err != nil {
		return err
	}
	list, err := x.door.jobs.Executions(x.r.Context(), id, statuses, twin.ThingName(after), limit+1)
	if err != nil {
		return err
	}
	answer := executionList{Summaries: []executionEntry{}}
	if len(list) > limit {
		list = list[:limit]
		answer.Next = pageToken(tokenJobs, string(list[limit-1].Thing))
	}
	for i := range list {
		answer.Summaries = append(answer.Summaries, executionEntry{ThingARN: x.arn("thing/" + string(list[i].Thing)), Summary: newControlExecution(&list[i])})
	}
	x.replyJSON(http.StatusOK, answer)
	return nil
}

// jobExecutions serves the operations of the control plane on executions of a thing.
func (x *exchange) jobExecutions(p jobPath) {
	switch p.op { //nolint:exhaustive // the others do not come here
	case httpListForThing:
		if err := x.listForThing(p.thing); err != nil {
			x.failJob(err)
		}
	case httpDescribeExecution:
		x.awaitJob(func(done func(*twin.JobAnswer, error)) { x.door.jobs.Describe(p.thing, p.id, done) }, func(a *twin.JobAnswer) {
			e := newControlExecution(a.Execution)
			e.JobID, e.ThingARN, e.Version, e.SecondsLeft = a.Execution.Job, x.arn("thing/"+string(p.thing)), a.Execution.Version, secondsLeft(a.Execution, a.At)
			if len(a.Execution.Details) > 0 {
				e.Details = &controlDetails{a.Execution.Details}
			}
			x.replyJSON(http.StatusOK, map[string]any{"execution": &e})
		})
	case httpCancelExecution:
		var b struct {
			ExpectedVersion uint64            `json:"expectedVersion"`
			StatusDetails   map[string]string `json:"statusDetails"`
		}
		if err := x.jobBodyOf(&b); err != nil {
			x.failJob(err)
			return
		}
		step := twin.JobStep{Details: b.StatusDetails, ExpectedVersion: b.ExpectedVersion, Force: x.query.Get("force") == "true"}
		x.awaitJob(func(done func(*twin.JobAnswer, error)) {
			x.door.jobs.CancelExecution(p.thing, p.id, step, x.origin(), done)
		},
			func(*twin.JobAnswer) { x.replyJSON(http.StatusOK, struct{}{}) })
	}
}

func (x *exchange) listForThing(thing twin.ThingName) error {
	limit, after, err := x.jobPage()
	if err != nil {
		return err
	}
	statuses, err := x.statuses()
	if err != nil {
		return err
	}
	var before uint64
	if after != "" {
		if before, err = strconv.ParseUint(after, 10, 64); err != nil {
			return invalid("Invalid nextToken: use the one of the page before")
		}
	}
	list, err := x.door.jobs.OfThing(x.r.Context(), thing, statuses, twin.Seq(before), limit+1)
	if err != nil {
		return err
	}
	answer := executionList{Summaries: []executionEntry{}}
	if len(list) > limit {
		list = list[:limit]
		answer.Next = pageToken(tokenJobs, strconv.FormatUint(uint64(list[limit-1].Number), 10))
	}
	for i := range list {
		answer.Summaries = append(answer.Summaries, executionEntry{JobID: list[i].Job, Summary: newControlExecution(&list[i])})
	}
	x.replyJSON(http.StatusOK, answer)
	return nil
}
