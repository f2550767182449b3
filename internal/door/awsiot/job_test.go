package awsiot_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/twin"
)

// jobsFake answers with one execution, or an error.
type jobsFake struct {
	execution *twin.JobExecution
	err       error
	asked     []string
}

func (f *jobsFake) Pending(thing twin.ThingName) []twin.JobExecution {
	f.asked = append(f.asked, "pending "+string(thing))
	return nil
}

func (f *jobsFake) answer(what string, done func(*twin.JobAnswer, error)) {
	f.asked = append(f.asked, what)
	done(&twin.JobAnswer{Execution: f.execution, Document: []byte(`{"a":1}`), At: 1_700_000_000_500}, f.err)
}

func (f *jobsFake) Next(thing twin.ThingName) (a *twin.JobAnswer) {
	f.answer("next "+string(thing), func(b *twin.JobAnswer, _ error) { a = b })
	return a
}

func (f *jobsFake) StartNext(thing twin.ThingName, _ map[string]string, _ int, _ twin.Origin, done func(*twin.JobAnswer, error)) {
	f.answer("start "+string(thing), done)
}

func (f *jobsFake) Describe(thing twin.ThingName, id twin.JobID, done func(*twin.JobAnswer, error)) {
	f.answer("describe "+string(thing)+" "+string(id), done)
}

func (f *jobsFake) Update(thing twin.ThingName, id twin.JobID, s twin.JobStep, _ twin.Origin, done func(*twin.JobAnswer, error)) {
	if err := s.Check(); err != nil {
		done(nil, err)
		return
	}
	f.answer("update "+string(thing)+" "+string(id)+" "+string(s.Status), done)
}

// jobBroker keeps what is sent.
type jobBroker struct {
	awsiot.Broker
	sent []string
}

func (b *jobBroker) Wanted([]byte) bool { return true }

func (b *jobBroker) Send(m twin.Message) {
	b.sent = append(b.sent, strings.TrimPrefix(m.Topic, "$aws/things/pump-7/jobs/")+" "+string(m.Payload))
}

type rejections struct{ codes []string }

func (r *rejections) Reject(key twin.ShadowKey, _ twin.Origin, _ string, cause error) {
	r.codes = append(r.codes, string(key.Thing)+": "+cause.Error())
}

func newJobDoor(f *jobsFake) (*awsiot.JobDoor, *jobBroker, *rejections) {
	b, r := &jobBroker{}, &rejections{}
	d := awsiot.NewJobs(f, r, func() twin.Time { return 1_700_000_000_000 })
	d.Connect(b)
	return d, b, r
}

func TestJobDoor_Allow(t *testing.T) {
	d, _, _ := newJobDoor(&jobsFake{})
	const base = "$aws/things/pump-7/jobs/"
	for topic, allowed := range map[string]bool{
		base + "get": true, base + "start-next": true, base + "fw-2/get": true, base + "$next/get": true, base + "fw-2/update": true,
		base + "get/accepted": false, base + "start-next/rejected": false, base + "fw-2/update/accepted": false, base + "notify": false,
		base + "notify-next": false, base + "$next/update": false, base + "fw-2/delete": false, base: false, "$aws/things/pump-7/jobs": false,
		base + "+/get": false, base + "a/b/get": false,
	} {
		if !d.Serves(topic) {
			t.Errorf("%s is not served", topic)
		}
		if err := d.Allow(topic); (err == nil) != allowed || err != nil && twin.Kind(err) != twin.KindDenied {
			t.Errorf("%s: %v, want allowed %v", topic, err, allowed)
		}
	}
	for _, topic := range []string{"$aws/things/pump-7/shadow/get", "$aws/things/jobs/shadow/get", "twins/a/jobs/get"} {
		if d.Serves(topic) {
			t.Errorf("%s is served", topic)
		}
	}
}

func TestJobDoor_Publish(t *testing.T) {
	e := &twin.JobExecution{Job: "fw-2", Thing: "pump-7", Status: twin.ExecutionInProgress, Version: 2, Queued: 1_699_999_999_000, Started: 1_700_000_000_000, Updated: 1_700_000_000_000}
	over := *e
	over.Status = twin.ExecutionSucceeded
	const shown = `{"jobId":"fw-2","thingName":"pump-7","status":"IN_PROGRESS","queuedAt":1699999999,"startedAt":1700000000,"lastUpdatedAt":1700000000,"versionNumber":2,"executionNumber":1`
	for _, c := range []struct {
		topic, payload string
		execution      *twin.JobExecution
		err            error
		want           string
	}{
		{"get", ``, nil, nil, `get/accepted {"inProgressJobs":[],"queuedJobs":[],"timestamp":1700000000}`},
		{"get", `[1]`, nil, nil, `get/rejected {"code":"InvalidJson","message":"The payload is not a JSON object","timestamp":1700000000}`},
		{"get", "{\"clientToken\":\"\xff\"}", nil, nil, `get/rejected {"code":"InvalidJson","message":"The payload is not a JSON object","timestamp":1700000000}`},
		{"start-next", `{"clientToken":"c"}`, nil, nil, `start-next/accepted {"timestamp":1700000000,"clientToken":"c"}`},
		{"start-next", `{}`, e, nil, `start-next/accepted {"execution":` + shown + `,"jobDocument":{"a":1}},"timestamp":1700000000}`},
		{"start-next", `{"statusDetails":{"a":1},"clientToken":"c"}`, e, nil, `start-next/rejected {"code":"InvalidRequest","message":"The payload is not as it should be: json: cannot unmarshal number into Go struct field jobRequest.statusDetails of type string","timestamp":1700000000,"clientToken":"c"}`},
		{"$next/get", `{"includeJobDocument":false}`, e, nil, `$next/get/accepted {"execution":` + shown + `},"timestamp":1700000000}`},
		{"fw-2/get", `{"executionNumber":2}`, e, nil, `fw-2/get/rejected {"code":"ResourceNotFound","message":"There is no execution of that number; the number of each is 1","timestamp":1700000000}`},
		{"fw-2/get", `{}`, &over, nil, `fw-2/get/rejected {"code":"TerminalStateReached","message":"The execution of fw-2 is in the terminal state SUCCEEDED","executionState":{"status":"SUCCEEDED","versionNumber":2},"timestamp":1700000000}`},
		{"a:b/get", `{}`, e, nil, `a:b/get/rejected {"code":"InvalidRequest","message":"Invalid job id: use 1 to 64 characters of a-z A-Z 0-9 _ -","timestamp":1700000000}`},
		{"fw-2/update", `{"status":"SUCCEEDED"}`, e, nil, `fw-2/update/accepted {"timestamp":1700000000}`},
		{"fw-2/update", `{"status":"SUCCEEDED","expectedVersion":"2","includeJobExecutionState":true,"includeJobDocument":true}`, e, nil, `fw-2/update/accepted {"executionState":{"status":"IN_PROGRESS","versionNumber":2},"jobDocument":{"a":1},"timestamp":1700000000}`},
		{"fw-2/update", `{}`, e, nil, `fw-2/update/rejected {"code":"InvalidRequest","message":"status: it is missing; IN_PROGRESS, SUCCEEDED, FAILED or REJECTED is needed","timestamp":1700000000}`},
		{"fw-2/update", ``, e, nil, `fw-2/update/rejected {"code":"InvalidJson","message":"The payload is not a JSON object","timestamp":1700000000}`},
		{"fw-2/update", `{"status":"DONE"}`, e, nil, `fw-2/update/rejected {"code":"InvalidRequest","message":"status: \"DONE\" is none of IN_PROGRESS, SUCCEEDED, FAILED, REJECTED","timestamp":1700000000}`},
		{"fw-2/update", `{"status":"FAILED","expectedVersion":"x"}`, e, nil, `fw-2/update/rejected {"code":"InvalidRequest","message":"The payload is not as it should be: \"x\" is no whole number","timestamp":1700000000}`},
		{"fw-2/update", `{"status":"FAILED"}`, e, e.Refuse(twin.JobVersionMismatch, "Expected version 9 but found version 2"), `fw-2/update/rejected {"code":"VersionMismatch","message":"Expected version 9 but found version 2","executionState":{"status":"IN_PROGRESS","versionNumber":2},"timestamp":1700000000}`},
		{"fw-2/update", `{"status":"FAILED"}`, e, twin.NewError(twin.KindThrottled, "Too many"), `fw-2/update/rejected {"code":"RequestThrottled","message":"Too many","timestamp":1700000000}`},
	} {
		d, b, _ := newJobDoor(&jobsFake{execution: c.execution, err: c.err})
		acked := errors.New("not at all")
		p := &twin.Publish{Message: twin.Message{Topic: "$aws/things/pump-7/jobs/" + c.topic, Payload: []byte(c.payload), QoS: 1}}
		if !d.Publish(p, func(err error) { acked = err }) || acked != nil {
			t.Errorf("%s %s: taken with %v", c.topic, c.payload, acked)
		}
		if got := strings.Join(b.sent, "\n"); got != c.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.topic, c.payload, got, c.want)
		}
	}
}

// A request that the server could not take is not acknowledged; one that is wrong is, and
// is in the log of the thing.
func TestJobDoor_acknowledge(t *testing.T) {
	for kind, acked := range map[twin.ErrorKind]bool{twin.KindFull: false, twin.KindUnavailable: false, twin.KindConflict: true, twin.KindNotFound: true} {
		d, _, _ := newJobDoor(&jobsFake{err: twin.NewError(kind, "no")})
		p := &twin.Publish{Message: twin.Message{Topic: "$aws/things/pump-7/jobs/start-next", Payload: []byte(`{}`)}}
		d.Publish(p, func(err error) {
			if (err == nil) != acked {
				t.Errorf("%s: %v, want acknowledged %v", kind, err, acked)
			}
		})
	}
	d, _, r := newJobDoor(&jobsFake{})
	d.Publish(&twin.Publish{Message: twin.Message{Topic: "$aws/things/pump-7/jobs/fw-2/update", Payload: []byte(`{`)}}, func(error) {})
	if len(r.codes) != 1 || r.codes[0] != "pump-7: The payload is not a JSON object" {
		t.Errorf("rejections: %q", r.codes)
	}
	if d.Publish(&twin.Publish{Message: twin.Message{Topic: "$aws/things/pump-7/jobs/get"}, Will: true}, func(error) {}) {
		t.Error("a last will is a request")
	}
}

func TestJobDoor_JobsChanged(t *testing.T) {
	d, b, _ := newJobDoor(&jobsFake{})
	pending := make([]twin.JobExecution, 20)
	for i := range pending {
		pending[i] = twin.JobExecution{Job: "fw-2", Thing: "pump-7", Status: twin.ExecutionQueued, Version: 1}
	}
	d.JobsChanged(&twin.JobChange{Thing: "pump-7", At: 1_700_000_000_000, Pending: pending})
	if len(b.sent) != 1 || strings.Count(b.sent[0], "jobId") != 15 {
		t.Errorf("of 20 pending: %q", b.sent)
	}
	b.sent = nil
	d.JobsChanged(&twin.JobChange{Thing: "pump-7", At: 1_700_000_000_000, NextIsNew: true})
	if got := strings.Join(b.sent, "\n"); got != `notify {"jobs":{},"timestamp":1700000000}`+"\n"+`notify-next {"timestamp":1700000000}` {
		t.Errorf("when all is done: %s", got)
	}
}

// Whatever a device sends about jobs is answered once, in JSON.
func FuzzJobDoor_Publish(f *testing.F) {
	for _, payload := range []string{`{}`, `{"status":"SUCCEEDED","expectedVersion":"2","clientToken":"c"}`, `[`, `{"statusDetails":{"a":"b"},"stepTimeoutInMinutes":-1}`} {
		for what := range 4 {
			f.Add(uint8(what), "fw-2", []byte(payload))
		}
	}
	f.Fuzz(func(t *testing.T, what uint8, id string, payload []byte) {
		e := &twin.JobExecution{Job: "fw-2", Thing: "pump-7", Status: twin.ExecutionQueued, Version: 1}
		d, b, _ := newJobDoor(&jobsFake{execution: e})
		topic := "$aws/things/pump-7/jobs/" + [...]string{"get", "start-next", id + "/get", id + "/update"}[what%4]
		answers := 0
		if !d.Publish(&twin.Publish{Message: twin.Message{Topic: topic, Payload: payload}}, func(error) { answers++ }) {
			return
		}
		if answers != 1 || len(b.sent) != 1 {
			t.Fatalf("%d acknowledgements, %d answers: %q", answers, len(b.sent), b.sent)
		}
		if _, body, ok := strings.Cut(b.sent[0], " {"); !ok || !json.Valid([]byte("{"+body)) && !strings.Contains(id, " {") {
			t.Fatalf("no JSON: %q", b.sent[0])
		}
	})
}
