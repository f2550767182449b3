package awsiot

import (
	"errors"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// DeviceJobs brings jobs to things: what a device may ask and say. Nothing blocks; each done
// is called exactly once, maybe before the return.
type DeviceJobs interface {
	// Pending lists the executions of a thing that have not ended, in order.
	Pending(thing twin.ThingName) []twin.JobExecution
	// Next returns the execution that is next, without starting it.
	Next(thing twin.ThingName) *twin.JobAnswer
	StartNext(thing twin.ThingName, details map[string]string, stepMinutes int, origin twin.Origin, done func(*twin.JobAnswer, error))
	Describe(thing twin.ThingName, id twin.JobID, done func(*twin.JobAnswer, error))
	Update(thing twin.ThingName, id twin.JobID, update twin.JobStep, origin twin.Origin, done func(*twin.JobAnswer, error))
}

// JobDoor speaks the device side of AWS IoT Jobs over MQTT:
//
//	$aws/things/{thing}/jobs/get                  the executions that are pending
//	$aws/things/{thing}/jobs/start-next           start the next one
//	$aws/things/{thing}/jobs/{jobId}/get          read one; $next is the next one
//	$aws/things/{thing}/jobs/{jobId}/update       say how far it is
//	…/accepted, …/rejected                        the answers
//	$aws/things/{thing}/jobs/notify               which executions are pending has changed
//	$aws/things/{thing}/jobs/notify-next          which is the next one has changed
//
// Times are whole seconds, and the document is an object, both as the service does it
// though its guide has examples of other forms. Answers go to those who have subscribed.
//
// Source: AWS IoT Developer Guide, "Jobs device MQTT API operations" and "Jobs
// notifications".
type JobDoor struct {
	jobs   DeviceJobs
	log    EventLog
	now    func() twin.Time
	broker Broker
}

// NewJobs returns a door; its Connect comes before the first publish. now is the clock of
// the answers.
func NewJobs(j DeviceJobs, log EventLog, now func() twin.Time) *JobDoor {
	return &JobDoor{jobs: j, log: log, now: now}
}

// Connect gives the door what it answers by.
func (d *JobDoor) Connect(b Broker) { d.broker = b }

// jobOp is what a request about jobs asks.
type jobOp uint8

const (
	jobPending jobOp = 1 + iota
	jobStartNext
	jobDescribe
	jobUpdate
)

// jobTopic is a topic of jobs taken apart.
type jobTopic struct {
	thing twin.ThingName
	id    twin.JobID // of jobDescribe and jobUpdate
	op    jobOp
}

// nextJob stands for the execution that is next.
const nextJob = "$next"

// parseJobTopic takes the topic of a request apart.
func parseJobTopic(topic string) (t jobTopic, ok bool) {
	rest, ok := strings.CutPrefix(topic, topicPrefix)
	if !ok {
		return t, false
	}
	thing, rest, ok := strings.Cut(rest, "/jobs/")
	if !ok || strings.Contains(thing, "/") {
		return t, false
	}
	t.thing = twin.ThingName(thing)
	switch rest {
	case "get":
		t.op = jobPending
		return t, true
	case "start-next":
		t.op = jobStartNext
		return t, true
	}
	id, what, ok := strings.Cut(rest, "/")
	t.id = twin.JobID(id)
	switch {
	case ok && what == "get":
		t.op = jobDescribe
	case ok && what == "update" && id != nextJob:
		t.op = jobUpdate
	default:
		return t, false
	}
	return t, true
}

// Serves reports whether a topic is one of AWS IoT Jobs.
func (d *JobDoor) Serves(topic string) bool {
	rest, ok := strings.CutPrefix(topic, topicPrefix)
	_, rest, cut := strings.Cut(rest, "/")
	return ok && cut && (rest == "jobs" || strings.HasPrefix(rest, "jobs/"))
}

// Allow says whether a client may publish to a topic that Serves.
func (d *JobDoor) Allow(topic string) error {
	if _, ok := parseJobTopic(topic); ok && !strings.ContainsAny(topic, "+#\x00") {
		return nil
	}
	return twin.NewError(twin.KindDenied, "Clients publish to $aws/things/{thing}/jobs/get, …/jobs/start-next, …/jobs/{jobId}/get and …/jobs/{jobId}/update "+
		"only, and subscribe to their accepted and rejected topics, to …/jobs/notify and …/jobs/notify-next")
}

// Publish takes a request of a device. What is refused for what it says is told on the
// rejected topic, and acknowledged.
func (d *JobDoor) Publish(p *twin.Publish, done func(error)) bool {
	t, ok := parseJobTopic(p.Topic)
	if !ok || p.Will {
		return false
	}
	req, err := parseJobRequest(t.op, p.Payload)
	if err == nil {
		err = t.check()
	}
	if err != nil {
		d.log.Reject(twin.ShadowKey{Thing: t.thing}, p.Origin, req.ClientToken, err)
		d.reject(p.Topic, &req, err, done)
		return true
	}
	answer := func(a *twin.JobAnswer, err error) { d.answer(p.Topic, t, &req, a, err, done) }
	switch {
	case t.op == jobPending:
		d.accept(p.Topic, pendingBody(d.jobs.Pending(t.thing), &req, d.now()), done)
	case t.op == jobStartNext:
		d.jobs.StartNext(t.thing, req.StatusDetails, req.StepTimeout.int(), p.Origin, answer)
	case t.op == jobUpdate:
		d.jobs.Update(t.thing, t.id, req.step(), p.Origin, answer)
	case t.id == nextJob:
		answer(d.jobs.Next(t.thing), nil)
	default:
		d.jobs.Describe(t.thing, t.id, answer)
	}
	return true
}

func (t jobTopic) check() error {
	switch {
	case !t.thing.Valid():
		return invalid(messageBadThing)
	case (t.op == jobDescribe || t.op == jobUpdate) && t.id != nextJob && !t.id.Valid():
		return invalid(messageBadJob)
	}
	return nil
}

// answer tells the outcome of a request about one execution.
func (d *JobDoor) answer(topic string, t jobTopic, req *jobRequest, a *twin.JobAnswer, err error, done func(error)) {
	if err == nil {
		err = req.describable(t, a)
	}
	if err != nil {
		d.reject(topic, req, err, done)
		return
	}
	body := jobBody{Timestamp: a.At.Seconds(), ClientToken: req.ClientToken}
	if t.op == jobUpdate {
		if req.IncludeState {
			body.State = newExecutionState(a.Execution)
		}
		if req.IncludeDocument.or(false) {
			body.Document = a.Document
		}
	} else if a.Execution != nil {
		var document []byte
		if t.op == jobStartNext || req.IncludeDocument.or(true) {
			document = a.Document
		}
		body.Execution = newExecutionBody(a.Execution, document, a.At)
	}
	d.accept(topic, &body, done)
}

// describable refuses to describe what has ended, and executions that there are not.
func (r *jobRequest) describable(t jobTopic, a *twin.JobAnswer) error {
	if t.op != jobDescribe || a.Execution == nil {
		return nil
	}
	if n := r.ExecutionNumber.int(); n != 0 && n != twin.ExecutionNumber {
		return twin.NewError(twin.KindNotFound, "There is no execution of that number; the number of each is 1")
	}
	if a.Execution.Status.Final() {
		return a.Execution.Refuse(twin.JobTerminal, "The execution of %s is in the terminal state %s", a.Execution.Job, awsStatus(a.Execution.Status))
	}
	return nil
}

func (d *JobDoor) accept(topic string, body *jobBody, done func(error)) {
	d.send(topic+"/accepted", body)
	done(nil)
}

// reject tells why a request was refused.
func (d *JobDoor) reject(topic string, req *jobRequest, err error, done func(error)) {
	body := jobBody{Code: jobErrorCode(err), Message: twin.ErrorMessage(err), ClientToken: req.ClientToken, Timestamp: d.now().Seconds()}
	if refused := (*twin.JobError)(nil); errors.As(err, &refused) {
		body.State = newExecutionState(&refused.Execution)
	}
	d.send(topic+"/rejected", &body)
	if ackable(err) {
		err = nil
	}
	done(err)
}

func (d *JobDoor) send(topic string, body *jobBody) {
	if len(topic) <= mqttStringBytesMax && d.broker.Wanted([]byte(topic)) {
		d.broker.Send(twin.Message{Topic: topic, Payload: body.encode(), QoS: 1})
	}
}

// notifyListMax is the most executions in a notification.
//
// Source: AWS IoT Developer Guide, "Jobs notifications".
const notifyListMax = 15

// JobsChanged publishes what has changed in the pending executions of a thing.
func (d *JobDoor) JobsChanged(c *twin.JobChange) {
	base := topicPrefix + string(c.Thing) + "/jobs/"
	d.send(base+"notify", notifyBody(c))
	if !c.NextIsNew {
		return
	}
	body := &jobBody{Timestamp: c.At.Seconds()}
	if len(c.Pending) > 0 {
		body.Execution = newExecutionBody(&c.Pending[0], c.Document, c.At)
	}
	d.send(base+"notify-next", body)
}

// jobErrorCode maps an error to the ErrorCode of the contract.
//
// Source: AWS IoT Developer Guide, "Jobs device MQTT and HTTPS data types", ErrorCode.
func jobErrorCode(err error) string {
	if refused := (*twin.JobError)(nil); errors.As(err, &refused) {
		switch refused.Code {
		case twin.JobVersionMismatch:
			return "VersionMismatch"
		case twin.JobTerminal:
			return "TerminalStateReached"
		case twin.JobInvalidTransition:
		}
		return "InvalidStateTransition"
	}
	switch twin.Kind(err) {
	case twin.KindEncoding:
		return "InvalidJson"
	case twin.KindInvalid, twin.KindTooLarge:
		return "InvalidRequest"
	case twin.KindConflict:
		return "InvalidStateTransition"
	case twin.KindNotFound:
		return "ResourceNotFound"
	case twin.KindThrottled, twin.KindFull:
		return "RequestThrottled"
	case twin.KindInternal, twin.KindUnauthenticated, twin.KindDenied, twin.KindUnavailable:
	}
	return "InternalError"
}
