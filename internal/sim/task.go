package sim

import (
	"encoding/json"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// task is a command or a firmware update under way.
type task struct {
	due    twin.Time
	topic  string // where its status goes
	name   string // of a command; empty: an update
	to     string // the firmware that an update installs
	half   bool   // an update has told its progress
	booted bool   // an update has started the device again
}

// command takes {"id","name","parameters"} and answers at once that it is accepted, or
// refused, and after a while that it is done.
func (d *Device) command(now twin.Time, payload []byte) {
	var c struct{ ID, Name string }
	if json.Unmarshal(payload, &c) != nil || c.ID == "" {
		return
	}
	topic := "twins/" + d.Name + "/commands/" + c.ID + "/status"
	for i := range d.tasks {
		if d.tasks[i].topic == topic {
			return // delivered twice
		}
	}
	if d.hit("refuse-commands") || d.rand.Float64() < d.kind.opts.Refuse {
		d.say(Message{Topic: topic}, []byte(`{"status":"rejected","message":"not now"}`))
		return
	}
	d.say(Message{Topic: topic}, []byte(`{"status":"accepted"}`))
	d.tasks = append(d.tasks, task{due: now + d.takes(d.kind.opts.Delay), topic: topic, name: c.Name})
}

// jobWaits takes the message that another job is the next.
func (d *Device) jobWaits(payload []byte) {
	var m struct{ Execution struct{ JobID string } }
	if json.Unmarshal(payload, &m) == nil && m.Execution.JobID != "" {
		d.say(Message{Topic: "$aws/things/" + d.Name + "/jobs/start-next"}, []byte("{}"))
	}
}

// jobStarts begins the job that it was given. The version to install is version, or
// firmware.version, of the document.
func (d *Device) jobStarts(now twin.Time, payload []byte) {
	var m struct {
		Execution struct {
			JobID       string
			JobDocument struct {
				Version  string
				Firmware json.RawMessage
			}
		}
	}
	if json.Unmarshal(payload, &m) != nil || m.Execution.JobID == "" {
		return
	}
	topic := "$aws/things/" + d.Name + "/jobs/" + m.Execution.JobID + "/update"
	for i := range d.tasks {
		if d.tasks[i].topic == topic {
			return
		}
	}
	doc := &m.Execution.JobDocument
	t := task{topic: topic, to: doc.Version}
	var firmware struct{ Version string }
	switch {
	case t.to != "" || len(doc.Firmware) == 0:
	case json.Unmarshal(doc.Firmware, &firmware) == nil && firmware.Version != "":
		t.to = firmware.Version
	default:
		_ = json.Unmarshal(doc.Firmware, &t.to)
	}
	t.due = now + d.takes(d.kind.opts.Update)/2
	d.tasks = append(d.tasks, t)
}

// step brings a task on, and reports whether it is over.
func (d *Device) step(i int, now twin.Time) (over bool) {
	t := &d.tasks[i]
	if t.name != "" {
		d.say(Message{Topic: t.topic}, []byte(`{"status":"done"}`))
		if t.name == "reboot" {
			d.Reboot(now)
		}
		return true
	}
	switch {
	case !t.half:
		t.half = true
		t.due = now + d.takes(d.kind.opts.Update)/2
		d.say(Message{Topic: t.topic}, []byte(`{"status":"IN_PROGRESS","statusDetails":{"progress":"50"}}`))
	case !t.booted:
		if d.rand.Float64() < d.kind.opts.Fail {
			d.say(Message{Topic: t.topic}, []byte(`{"status":"FAILED","statusDetails":{"reason":"checksum"}}`))
			return true
		}
		t.booted = true
		if t.to != "" {
			d.firmware = t.to
		}
		d.Reboot(now)
		t.due = d.down + 1
	default: // it runs: the update is over
		d.say(Message{Topic: t.topic}, []byte(`{"status":"SUCCEEDED","statusDetails":{"version":`+strings.TrimSpace(string(appendText(nil, d.firmware)))+`}}`))
		return true
	}
	return false
}
