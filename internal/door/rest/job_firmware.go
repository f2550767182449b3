package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/twofold-iot/twofold/twin"
)

// firmwareHistoryMax is how many executions a twin shows.
const firmwareHistoryMax = 10

// firmware is what runs on a thing, as far as jobs or the device say, and which jobs
// brought it.
type firmware struct {
	Version  string         `json:"version,omitempty"`
	Since    string         `json:"since,omitempty"`    // when the job that brought it succeeded
	Job      twin.JobID     `json:"job,omitempty"`      // the same job
	Reported string         `json:"reported,omitempty"` // what the device reports in firmware, firmware.version or firmwareVersion
	History  []firmwareStep `json:"history,omitempty"`  // the newest first
}

type firmwareStep struct {
	Version string     `json:"version"`
	Job     twin.JobID `json:"job"`
	Status  string     `json:"status"`
	Reason  string     `json:"reason,omitempty"`
	At      string     `json:"at"` // when it came to be so
}

// firmware returns nil if nothing is known.
func (d *door) firmware(ctx context.Context, thing twin.ThingName, reported []byte) (*firmware, error) {
	f := &firmware{Reported: reportedFirmware(reported)}
	if d.opts.Jobs != nil {
		list, err := d.opts.Jobs.OfThing(ctx, thing, nil, 0, firmwareHistoryMax)
		if err != nil {
			return nil, fmt.Errorf("read the firmware of %s: %w", thing, err)
		}
		for i := range list {
			f.add(&list[i])
		}
	}
	if f.Version == "" {
		f.Version = f.Reported
	}
	if f.Version == "" && f.History == nil {
		return nil, nil
	}
	return f, nil
}

// add takes an execution, one that is older than those before it.
func (f *firmware) add(e *twin.JobExecution) {
	if e.Firmware == "" {
		return
	}
	f.History = append(f.History, firmwareStep{e.Firmware, e.Job, string(e.Status), e.Reason, timeText(e.Updated)})
	if f.Job == "" && e.Status == twin.ExecutionSucceeded {
		f.Version, f.Job, f.Since = e.Firmware, e.Job, timeText(e.Ended)
	}
}

// reportedFirmware finds the version that a device reports.
func reportedFirmware(reported []byte) string {
	if !bytes.Contains(reported, []byte(`"firmware`)) {
		return ""
	}
	var s struct {
		Firmware json.RawMessage `json:"firmware"`
		Version  json.RawMessage `json:"firmwareVersion"`
	}
	if json.Unmarshal(reported, &s) != nil {
		return ""
	}
	var inner struct {
		Version json.RawMessage `json:"version"`
	}
	if len(s.Firmware) > 0 && s.Firmware[0] == '{' {
		_ = json.Unmarshal(s.Firmware, &inner) // it is JSON
	}
	for _, v := range []json.RawMessage{s.Firmware, inner.Version, s.Version} {
		var text string
		if len(v) > 0 && v[0] == '"' && json.Unmarshal(v, &text) == nil && text != "" {
			return text
		}
	}
	return ""
}
