package client

import (
	"context"
	"encoding/json"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Behaviour is what a model says that a twin does, beside what it did. Lengths are in seconds.
type Behaviour struct {
	DeviceID     twin.ThingName
	Model        string
	ModelVersion uint32
	State        string // empty: not known
	Since        time.Time
	Overrun      bool // it lasts longer than it may
	Declared     struct {
		Attribute, Initial string
		States             []struct {
			State    string
			Min, Max float64
			To       []struct {
				To, When string
				After    float64
			}
		}
	}
	Observed struct {
		From, To time.Time
		Complete bool
		States   []struct {
			State                string
			Entered, Left        int
			Median, P95, Longest float64
		}
		Transitions []struct {
			From, To string
			Count    int
			Illegal  int
			Share    float64
		}
		Illegal, Early, Overruns int
	}
	Raw json.RawMessage `json:"-"`
}

// Behaviour reads the behaviour of a twin in the last 30 days.
func (c *Client) Behaviour(ctx context.Context, thing twin.ThingName) (*Behaviour, error) {
	b := &Behaviour{}
	return b, c.getRaw(ctx, twinPath(thing, "/behaviour", ""), b, &b.Raw)
}
