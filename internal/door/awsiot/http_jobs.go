package awsiot

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// JobControl changes jobs and executions.
type JobControl interface {
	Create(ctx context.Context, r *twin.JobRequest, origin twin.Origin) (twin.JobReport, error)
	Cancel(ctx context.Context, id twin.JobID, force bool, code, reason string) (twin.JobReport, error)
	Delete(ctx context.Context, id twin.JobID, force bool) error
	CancelExecution(thing twin.ThingName, id twin.JobID, cancel twin.JobStep, origin twin.Origin, done func(*twin.JobAnswer, error))
}

// JobReader reads jobs as they are durable.
type JobReader interface {
	Job(id twin.JobID) (twin.JobReport, bool)
	Jobs() []twin.JobReport // the newest first
	Executions(ctx context.Context, id twin.JobID, statuses []twin.ExecutionStatus, after twin.ThingName, limit int) ([]twin.JobExecution, error)
	OfThing(ctx context.Context, thing twin.ThingName, statuses []twin.ExecutionStatus, before twin.Seq, limit int) ([]twin.JobExecution, error)
	Targets(ctx context.Context, id twin.JobID, limit int) ([]twin.ThingName, error)
}

// JobService is all that the HTTP planes of AWS IoT Jobs need.
type JobService interface {
	DeviceJobs
	JobControl
	JobReader
}

// jobsDataService is the name in the scope of a signature that tells the data plane of jobs
// from the control plane, where both have a path.
//
// Source: the service models of iot-jobs-data and iot, signingName.
const jobsDataService = "iot-jobs-data"

// jobPath is a path of one of the two planes of jobs taken apart.
type jobPath struct {
	op    jobHTTPOp
	thing twin.ThingName
	id    twin.JobID
}

// jobHTTPOp is an operation of either plane.
type jobHTTPOp uint8

const (
	httpPending jobHTTPOp = 1 + iota // data plane
	httpStartNext
	httpDescribeData
	httpUpdate
	httpCreateJob // control plane
	httpDescribeJob
	httpListJobs
	httpCancelJob
	httpDeleteJob
	httpDocument
	httpListForJob
	httpListForThing
	httpDescribeExecution
	httpCancelExecution
)

// jobRouteOf reports whether an escaped path is one of jobs.
func jobRouteOf(escapedPath string) bool {
	if escapedPath == "/jobs" || strings.HasPrefix(escapedPath, "/jobs/") {
		return true
	}
	rest, ok := strings.CutPrefix(escapedPath, "/things/")
	_, rest, cut := strings.Cut(rest, "/")
	return ok && cut && (rest == "jobs" || strings.HasPrefix(rest, "jobs/"))
}

// parseJobPath finds the operation; allowed are the methods of the path if that is not
// one of them.
func parseJobPath(method, escapedPath string, data bool) (p jobPath, allowed []string, err error) {
	parts := strings.Split(strings.TrimPrefix(escapedPath, "/"), "/")
	for i := range parts {
		if parts[i], err = url.PathUnescape(parts[i]); err != nil {
			return p, nil, invalid("Invalid percent-encoding in the path")
		}
	}
	var ops map[string]jobHTTPOp
	switch {
	case parts[0] == "jobs":
		if len(parts) > 1 {
			p.id = twin.JobID(parts[1])
		}
		ops = controlOps(parts)
	case len(parts) == 3:
		p.thing = twin.ThingName(parts[1])
		ops = map[string]jobHTTPOp{http.MethodGet: httpListForThing}
		if data {
			ops = map[string]jobHTTPOp{http.MethodGet: httpPending}
		}
	case len(parts) == 4:
		p.thing, p.id = twin.ThingName(parts[1]), twin.JobID(parts[3])
		ops = map[string]jobHTTPOp{http.MethodGet: httpDescribeExecution, http.MethodPost: httpUpdate}
		if data {
			ops[http.MethodGet] = httpDescribeData
		}
		if p.id == nextJob {
			ops = map[string]jobHTTPOp{http.MethodGet: httpDescribeData, http.MethodPut: httpStartNext}
		}
	case len(parts) == 5 && parts[4] == "cancel":
		p.thing, p.id = twin.ThingName(parts[1]), twin.JobID(parts[3])
		ops = map[string]jobHTTPOp{http.MethodPut: httpCancelExecution}
	}
	if p.op = ops[method]; p.op == 0 {
		for m := range ops {
			allowed = append(allowed, m)
		}
	}
	return p, allowed, nil
}

func controlOps(parts []string) map[string]jobHTTPOp {
	switch {
	case len(parts) == 1:
		return map[string]jobHTTPOp{http.MethodGet: httpListJobs}
	case len(parts) == 2:
		return map[string]jobHTTPOp{http.MethodPut: httpCreateJob, http.MethodGet: httpDescribeJob, http.MethodDelete: httpDeleteJob}
	case len(parts) == 3 && parts[2] == "cancel":
		return map[string]jobHTTPOp{http.MethodPut: httpCancelJob}
	case len(parts) == 3 && parts[2] == "job-document":
		return map[string]jobHTTPOp{http.MethodGet: httpDocument}
	case len(parts) == 3 && parts[2] == "things":
		return map[string]jobHTTPOp{http.MethodGet: httpListForJob}
	}
	return nil
}

// ofDataPlane reports whether a request is for the data plane of jobs: its signature says
// so, or it has none, as one of a device that shows a certificate.
func ofDataPlane(r *http.Request) bool {
	auth := r.Header.Get("Authorization")
	if auth == "" {
		auth = r.URL.Query().Get("X-Amz-Credential")
	}
	if auth == "" {
		return true
	}
	return strings.Contains(auth, "/"+jobsDataService+"/aws4_request")
}

// jobs serves both planes of AWS IoT Jobs.
func (x *exchange) jobs() {
	data := ofDataPlane(x.r)
	p, allowed, err := parseJobPath(x.r.Method, x.r.URL.EscapedPath(), data)
	switch {
	case err != nil:
		x.fail(err)
		return
	case p.op == 0 && len(allowed) == 0:
		x.fault(Status{http.StatusNotFound, "UnknownOperationException"}, "No operation of AWS IoT Jobs has this path here")
		return
	case p.op == 0:
		x.w.Header().Set("Allow", strings.Join(allowed, ", "))
		x.fault(Status{http.StatusMethodNotAllowed, "MethodNotAllowedException"}, "Method "+x.r.Method+" is not allowed here; use "+strings.Join(allowed, ", "))
		return
	}
	if err := p.check(); err != nil {
		x.fail(err)
		return
	}
	switch p.op {
	case httpPending, httpStartNext, httpDescribeData, httpUpdate:
		x.jobsData(p)
	case httpListForThing, httpDescribeExecution, httpCancelExecution:
		x.jobExecutions(p)
	case httpCreateJob, httpDescribeJob, httpListJobs, httpCancelJob, httpDeleteJob, httpDocument, httpListForJob:
		x.jobControl(p)
	}
}

func (p jobPath) check() error {
	ofThing := p.op == httpPending || p.op == httpStartNext || p.op == httpDescribeData || p.op == httpUpdate ||
		p.op == httpListForThing || p.op == httpDescribeExecution || p.op == httpCancelExecution
	switch {
	case ofThing && !p.thing.Valid():
		return invalid(messageBadThing)
	case p.op != httpPending && p.op != httpListForThing && p.op != httpListJobs && p.id != nextJob && !p.id.Valid():
		return invalid(messageBadJob)
	}
	return nil
}

const messageBadJob = "Invalid job id: use 1 to 64 characters of a-z A-Z 0-9 _ -"

// jobsData serves the data plane: what a device asks and says.
func (x *exchange) jobsData(p jobPath) {
	body, err := x.body()
	if err != nil {
		x.fail(err)
		return
	}
	t := jobTopic{thing: p.thing, id: p.id, op: jobUpdate}
	if p.op != httpUpdate {
		t.op = jobDescribe
	}
	req, err := parseJobRequest(t.op, body)
	if err != nil {
		if p.op == httpUpdate {
			x.door.note(twin.ShadowKey{Thing: p.thing}, x.origin(), nil, err)
		}
		x.failJob(err)
		return
	}
	jobs := x.door.jobs
	switch {
	case p.op == httpPending:
		b := struct {
			InProgress []executionSummary `json:"inProgressJobs"`
			Queued     []executionSummary `json:"queuedJobs"`
		}{}
		b.InProgress, b.Queued = splitPending(jobs.Pending(p.thing))
		x.replyJSON(http.StatusOK, b)
	case p.op == httpStartNext:
		x.awaitJob(func(done func(*twin.JobAnswer, error)) {
			jobs.StartNext(p.thing, req.StatusDetails, req.StepTimeout.int(), x.origin(), done)
		}, func(a *twin.JobAnswer) { x.replyExecution(a, true) })
	case p.op == httpUpdate:
		x.awaitJob(func(done func(*twin.JobAnswer, error)) { jobs.Update(p.thing, p.id, req.step(), x.origin(), done) },
			func(a *twin.JobAnswer) { x.replyUpdate(&req, a) })
	case p.id == nextJob:
		x.replyExecution(jobs.Next(p.thing), x.query.Get("includeJobDocument") == "true")
	default:
		req.ExecutionNumber = jobNumber(x.query.Get("executionNumber"))
		x.awaitJob(func(done func(*twin.JobAnswer, error)) { jobs.Describe(p.thing, p.id, done) }, func(a *twin.JobAnswer) {
			if err := req.describable(t, a); err != nil {
				x.failJob(err)
				return
			}
			x.replyExecution(a, x.query.Get("includeJobDocument") == "true")
		})
	}
}

// awaitJob waits for the outcome of a request about an execution. A client that goes away
// in the meantime changes nothing about it.
func (x *exchange) awaitJob(start func(func(*twin.JobAnswer, error)), reply func(*twin.JobAnswer)) {
	type outcome struct {
		a   *twin.JobAnswer
		err error
	}
	got := make(chan outcome, 1)
	start(func(a *twin.JobAnswer, err error) { got <- outcome{a, err} })
	select {
	case o := <-got:
		if o.err != nil {
			x.failJob(o.err)
			return
		}
		reply(o.a)
	case <-x.r.Context().Done():
	}
}

// executionHTTP is an execution as the HTTP data plane shows it: the document is a string.
type executionHTTP struct {
	*executionBody
	Document string `json:"jobDocument,omitempty"`
}

func (x *exchange) replyExecution(a *twin.JobAnswer, withDocument bool) {
	b := struct {
		Execution *executionHTTP `json:"execution,omitempty"`
	}{}
	if a.Execution != nil {
		b.Execution = &executionHTTP{executionBody: newExecutionBody(a.Execution, nil, a.At)}
		if withDocument {
			b.Execution.Document = string(a.Document)
		}
	}
	x.replyJSON(http.StatusOK, b)
}

func (x *exchange) replyUpdate(req *jobRequest, a *twin.JobAnswer) {
	b := struct {
		State    *executionState `json:"executionState,omitempty"`
		Document string          `json:"jobDocument,omitempty"`
	}{}
	if req.IncludeState {
		b.State = newExecutionState(a.Execution)
	}
	if req.IncludeDocument.or(false) {
		b.Document = string(a.Document)
	}
	x.replyJSON(http.StatusOK, b)
}

// failJob answers with an error of jobs, whose classes are others than those of shadows.
//
// Source: the service models of iot-jobs-data and iot.
func (x *exchange) failJob(err error) {
	s := StatusOf(twin.Kind(err))
	var state *executionState
	if refused := (*twin.JobError)(nil); errors.As(err, &refused) {
		state = newExecutionState(&refused.Execution)
		switch refused.Code {
		case twin.JobVersionMismatch:
			s = Status{http.StatusConflict, "VersionMismatchException"}
			if !ofDataPlane(x.r) {
				s.Type = "VersionConflictException"
			}
		case twin.JobInvalidTransition:
			s = Status{http.StatusConflict, "InvalidStateTransitionException"}
		case twin.JobTerminal:
			s = Status{http.StatusGone, "TerminalStateException"}
		}
	} else if s.Code == http.StatusRequestEntityTooLarge || s.Code == http.StatusUnsupportedMediaType {
		s = StatusOf(twin.KindInvalid)
	}
	x.w.Header()["x-amzn-ErrorType"] = []string{s.Type + ":"}
	x.replyJSON(s.Code, struct {
		Message string          `json:"message"`
		State   *executionState `json:"executionState,omitempty"`
		TraceID string          `json:"traceId"`
	}{twin.ErrorMessage(err), state, x.id})
}

// jobBodyOf reads the body of the control plane into v. As on AWS, members that are not known
// are passed over.
func (x *exchange) jobBodyOf(v any) error {
	body, err := x.readBody(jobCreateBytesMax)
	if err != nil || len(body) == 0 {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return invalid("The body is not as it should be: " + err.Error())
	}
	return nil
}

// jobCreateBytesMax has room for the ARNs of as many things as a job may have.
const jobCreateBytesMax = twin.JobThingsMax*256 + 256<<10

// jobToken is the page after a key of a list of jobs.
func (x *exchange) jobPage() (limit int, after string, err error) {
	limit = jobResultsMax
	if text := x.query.Get("maxResults"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > jobResultsMax {
			return 0, "", invalid("Invalid maxResults: use a number from 1 to " + strconv.Itoa(jobResultsMax))
		}
	}
	if text := x.query.Get("nextToken"); text != "" {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(b) < 2 || b[0] != byte(tokenJobs) {
			return 0, "", invalid("Invalid nextToken: use the one of the page before")
		}
		after = string(b[1:])
	}
	return limit, after, nil
}

// jobResultsMax is the longest page.
//
// Source: the service model of iot, LaserMaxResults.
const jobResultsMax = 250
