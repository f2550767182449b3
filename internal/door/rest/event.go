package rest

import (
	"encoding/json"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// eventDocument is an event as this door shows it.
type eventDocument struct {
	Thing       twin.ThingName  `json:"thing"`
	Shadow      twin.ShadowName `json:"shadow,omitempty"`
	Seq         twin.Seq        `json:"seq"`
	Kind        string          `json:"kind"`
	Version     twin.Version    `json:"version,omitempty"`
	Time        string          `json:"time"`
	OriginTime  string          `json:"originTime,omitempty"`
	Door        string          `json:"door,omitempty"`
	By          string          `json:"by,omitempty"`
	Model       string          `json:"model,omitempty"`
	Type        string          `json:"type,omitempty"`
	Severity    string          `json:"severity,omitempty"`
	Message     string          `json:"message,omitempty"`
	Correlation string          `json:"correlationId,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	Patch       json.RawMessage `json:"patch,omitempty"`
	// Computed is what the event changed of the computed attributes; null: gone.
	Computed     json.RawMessage `json:"computed,omitempty"`
	ModelVersion uint32          `json:"modelVersion,omitempty"`
}

func newEventDocument(ev *twin.Event) *eventDocument {
	d := &eventDocument{
		Thing: ev.Thing, Shadow: ev.Shadow, Seq: ev.Seq, Kind: ev.Kind.String(), Version: ev.Version,
		Time: timeText(ev.Time), OriginTime: timeText(ev.OriginTime), By: ev.Origin.Session,
		Model: ev.Model, Type: ev.Type, Severity: ev.Severity.String(), Message: ev.Message,
		Correlation: ev.Correlation, Data: ev.Data, Patch: ev.Patch,
		Computed: ev.Computed, ModelVersion: ev.ModelVersion,
	}
	if ev.Origin.Door != 0 {
		d.Door = ev.Origin.Door.String()
	}
	return d
}

// timeText is RFC 3339 in UTC with milliseconds; empty for a time that is not set.
func timeText(t twin.Time) string {
	if t == 0 {
		return ""
	}
	// The package time is fast for this layout, and not for one with milliseconds.
	var room [32]byte
	b := t.Std().AppendFormat(room[:0], time.RFC3339)
	ms := (t%1000 + 1000) % 1000
	b = append(b[:len(b)-1], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
	return string(b)
}
