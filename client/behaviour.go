package client

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Behaviour is what a model says that a twin does, beside what it did, and what its past says by
// itself. Lengths are in seconds.
type Behaviour struct {
	DeviceID     twin.ThingName
	Model        string // empty: none that is in force has a behaviour, and Declared and Observed are empty
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
		From, To                 time.Time
		Complete                 bool
		States                   []StateFigures
		Transitions              []TransitionFigures
		Illegal, Early, Overruns int
	}
	Learned struct {
		From, To   time.Time
		Complete   bool // false: of the newest events, or some attributes
		Attributes []struct {
			Of, State   string // such as reported.mode, and its last state
			States      []StateFigures
			Transitions []TransitionFigures
		}
	}
	Raw json.RawMessage `json:"-"`
}

// StateFigures is how often a state was entered and left, and how long it lasted.
type StateFigures struct {
	State                string
	Entered, Left        int
	Median, P95, Longest float64
	Share                float64 // of the time; 0 if it is not known
}

// TransitionFigures is how often one state followed another.
type TransitionFigures struct {
	From, To string
	Count    int
	Illegal  int     // of these, as the model was when it happened
	Share    float64 // of all that left From
}

// Behaviour reads the behaviour of a twin between two times; zero: in the last 30 days.
func (c *Client) Behaviour(ctx context.Context, thing twin.ThingName, from, to time.Time) (*Behaviour, error) {
	v := url.Values{}
	setTime(v, "from", from)
	setTime(v, "to", to)
	b := &Behaviour{}
	return b, c.getRaw(ctx, twinPath(thing, "/behaviour", "")+"?"+v.Encode(), b, &b.Raw)
}
