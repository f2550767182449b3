package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Alarm is one alarm of one twin.
type Alarm struct {
	DeviceID       twin.ThingName `json:"deviceId"`
	Model          string         `json:"model"`
	Name           string         `json:"name"`
	State          string         `json:"state"` // idle, pending, raised or acknowledged
	Severity       string         `json:"severity"`
	Since          time.Time      `json:"since"`      // zero: idle
	MutedUntil     time.Time      `json:"mutedUntil"` // zero: not muted
	AcknowledgedBy string         `json:"acknowledgedBy"`
}

// AlarmFilter says which alarms are asked for.
type AlarmFilter struct {
	Severity string // at least; empty: all
	Model    string // empty: all
	Limit    int    // 0: 100
}

// Alarms lists the raised alarms of all twins, newest first, and says how many there are.
func (c *Client) Alarms(ctx context.Context, f AlarmFilter) (alarms []Alarm, total int, raw json.RawMessage, err error) {
	q := url.Values{}
	for name, value := range map[string]string{"severity": f.Severity, "model": f.Model} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Limit != 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	var answer struct {
		Alarms []Alarm
		Total  int
	}
	err = c.getRaw(ctx, "/api/v1/alarms?"+q.Encode(), &answer, &raw)
	return answer.Alarms, answer.Total, raw, err
}

// TwinAlarms lists the alarms that the model of a thing has.
func (c *Client) TwinAlarms(ctx context.Context, thing twin.ThingName) ([]Alarm, json.RawMessage, error) {
	var raw json.RawMessage
	var answer struct{ Alarms []Alarm }
	err := c.getRaw(ctx, twinPath(thing, "/alarms", ""), &answer, &raw)
	return answer.Alarms, raw, err
}

// AcknowledgeAlarm says that somebody has seen a raised alarm; by may be empty.
func (c *Client) AcknowledgeAlarm(ctx context.Context, thing twin.ThingName, alarm, by string) error {
	return c.alarmAct(ctx, thing, alarm, "/acknowledge?"+url.Values{"by": {by}}.Encode())
}

// MuteAlarm marks what an alarm tells as muted for a time; 0: no longer.
func (c *Client) MuteAlarm(ctx context.Context, thing twin.ThingName, alarm string, length time.Duration) error {
	return c.alarmAct(ctx, thing, alarm, "/mute?"+url.Values{"for": {length.String()}}.Encode())
}

func (c *Client) alarmAct(ctx context.Context, thing twin.ThingName, alarm, act string) error {
	a, err := c.do(ctx, http.MethodPost, twinPath(thing, "/alarms/"+url.PathEscape(alarm)+act, ""), nil, nil)
	if err != nil {
		return err
	}
	if !json.Valid(a.body) {
		return fmt.Errorf("the answer to %s is not JSON", a.request)
	}
	return nil
}
