package rest

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// executionDocument is an execution of a job as this door shows it.
type executionDocument struct {
	Job      twin.JobID        `json:"job"`
	DeviceID twin.ThingName    `json:"deviceId"`
	Status   string            `json:"status"`
	Details  map[string]string `json:"statusDetails,omitempty"`
	Version  uint64            `json:"version"`
	Reason   string            `json:"reason,omitempty"`
	Firmware string            `json:"firmware,omitempty"`
	Queued   string            `json:"queuedAt"`
	Started  string            `json:"startedAt,omitempty"`
	Updated  string            `json:"updatedAt"`
	Ended    string            `json:"endedAt,omitempty"`
	TimesOut string            `json:"timesOutAt,omitempty"`
}

func newExecutionDocument(e *twin.JobExecution) executionDocument {
	return executionDocument{
		Job: e.Job, DeviceID: e.Thing, Status: string(e.Status), Details: e.Details, Version: e.Version, Reason: e.Reason,
		Firmware: e.Firmware, Queued: timeText(e.Queued), Started: timeText(e.Started), Updated: timeText(e.Updated),
		Ended: timeText(e.Ended), TimesOut: timeText(e.Deadline()),
	}
}

type executionPage struct {
	Executions []executionDocument `json:"executions"`
	Next       string              `json:"next,omitempty"`
}

func newExecutionPage(list []twin.JobExecution) executionPage {
	page := executionPage{Executions: make([]executionDocument, len(list))}
	for i := range list {
		page.Executions[i] = newExecutionDocument(&list[i])
	}
	return page
}

// listJobExecutions lists the executions of a job; its cursor is the name of a thing.
func (d *door) listJobExecutions(w http.ResponseWriter, r *http.Request) error {
	id, err := jobOf(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	statuses := p.executionStatuses("status")
	limit := p.limit(pageMax)
	if limit == 0 {
		limit = pageDefault
	}
	after := twin.ThingName(p.text("cursor"))
	if after != "" && !after.Valid() {
		p.bad("cursor", "The cursor %.80q is none of this list", after)
	}
	if p.err != nil {
		return p.err
	}
	list, err := d.opts.Jobs.Executions(r.Context(), id, statuses, after, limit)
	if err != nil {
		return err
	}
	page := newExecutionPage(list)
	if len(list) == limit {
		page.Next = string(list[limit-1].Thing)
	}
	linkNext(w, r, page.Next)
	return writeJSON(w, page)
}

// listThingJobs lists the executions of a thing.
func (d *door) listThingJobs(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	statuses := p.executionStatuses("status")
	limit := p.limit(pageMax)
	if limit == 0 {
		limit = pageDefault
	}
	before := p.jobCursor("cursor")
	if p.err != nil {
		return p.err
	}
	list, err := d.opts.Jobs.OfThing(r.Context(), key.Thing, statuses, before, limit)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		if err := d.mustBeKnown(r, key); err != nil {
			return err
		}
	}
	page := newExecutionPage(list)
	if len(list) == limit {
		page.Next = "j" + strconv.FormatUint(uint64(list[limit-1].Number), 36)
	}
	linkNext(w, r, page.Next)
	return writeJSON(w, page)
}

func (p *params) jobCursor(name string) twin.Seq {
	text := p.text(name)
	if text == "" {
		return 0
	}
	digits, ok := strings.CutPrefix(text, "j")
	n, err := strconv.ParseUint(digits, 36, 64)
	if !ok || err != nil || n == 0 {
		p.bad(name, "The cursor %.80q is none of this list", text)
	}
	return twin.Seq(n)
}
