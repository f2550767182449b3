package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/twofold-iot/twofold/twin"
)

// FleetQuery asks for twins. Each text is an expression; see docs/fleet.md.
type FleetQuery struct {
	Where   string   `json:"where,omitempty"`  // which twins; empty: all
	Select  []string `json:"select,omitempty"` // what of each; empty: id, model and what Where reads
	Sort    []string `json:"sort,omitempty"`   // with a leading "-" the greatest first; empty: by id
	Limit   int      `json:"limit,omitempty"`  // 0: 100
	Cursor  string   `json:"cursor,omitempty"` // Next of the page before
	At      string   `json:"at,omitempty"`     // an instant of the past, RFC 3339; empty: now
	Explain bool     `json:"explain,omitempty"`
}

// FleetPage is a part of what a query finds.
type FleetPage struct {
	Columns []string
	Twins   []FleetTwin
	Total   int      // of all pages
	Next    string   // empty: the last page
	Hints   []string // of paths that no twin has
	Explain *FleetExplain
	Raw     json.RawMessage `json:"-"` // the page as it came
}

// FleetTwin is one twin, with a JSON value for each column.
type FleetTwin struct {
	DeviceID twin.ThingName
	Values   map[string]json.RawMessage
}

// FleetExplain says how a query was answered.
type FleetExplain struct {
	Twins, ByColumns, Interpreted, Matched, Models int
	Reads, Interpreter                             []string
	Seconds                                        float64
}

// FleetAggregate asks for figures over twins.
type FleetAggregate struct {
	Where   string   `json:"where,omitempty"`
	GroupBy []string `json:"groupBy,omitempty"`
	Figures []string `json:"figures"`         // such as count(), avg(reported.temp), p95(telemetry.power)
	Limit   int      `json:"limit,omitempty"` // of groups, 100
	At      string   `json:"at,omitempty"`    // as in FleetQuery
	Explain bool     `json:"explain,omitempty"`
}

// FleetFigures are figures by group, the largest group first.
type FleetFigures struct {
	Groups []struct {
		Key     map[string]json.RawMessage
		Twins   int
		Figures map[string]json.RawMessage
	}
	Total, Matched int
	Hints          []string
	Explain        *FleetExplain
	Raw            json.RawMessage `json:"-"`
}

// Fleet finds twins.
func (c *Client) Fleet(ctx context.Context, q *FleetQuery) (*FleetPage, error) {
	page := &FleetPage{}
	return page, c.postRaw(ctx, "/api/v1/fleet/query", q, page, &page.Raw)
}

// FleetFigures gives figures over twins.
func (c *Client) FleetFigures(ctx context.Context, q *FleetAggregate) (*FleetFigures, error) {
	f := &FleetFigures{}
	return f, c.postRaw(ctx, "/api/v1/fleet/aggregate", q, f, &f.Raw)
}

func (c *Client) postRaw(ctx context.Context, path string, body, into any, raw *json.RawMessage) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	a, err := c.do(ctx, http.MethodPost, path, http.Header{"Content-Type": {"application/json"}}, b)
	if err != nil {
		return err
	}
	*raw = a.body
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return nil
}

// FleetAct is something to be done to all twins that a condition holds for. Exactly one of
// Desired, Tags and Command says what.
type FleetAct struct {
	Where string `json:"where"`
	// Expect is how many twins it may touch; nil: nothing is done, and the answer says what
	// would be.
	Expect  *int            `json:"expect,omitempty"`
	Desired json.RawMessage `json:"desired,omitempty"` // a merge patch
	// ExpiresIn is how long desired is asked for, such as 24h; empty: for ever.
	ExpiresIn string             `json:"expiresIn,omitempty"`
	Tags      map[string]*string `json:"tags,omitempty"` // nil removes a tag
	Command   *FleetCommand      `json:"command,omitempty"`
}

// FleetCommand is a command to many things.
type FleetCommand struct {
	Name       string          `json:"name"`
	Parameters json.RawMessage `json:"parameters,omitempty"`
	ExpiresIn  string          `json:"expiresIn,omitempty"` // such as 90s
}

// FleetActed is what was done, or would be.
type FleetActed struct {
	DryRun                bool
	Matched, Done, Failed int
	Twins                 []twin.ThingName // the first of those that it touches, in a dry run
	Errors                []struct {
		DeviceID twin.ThingName
		Detail   string
	}
	Raw json.RawMessage `json:"-"`
}

// FleetAct does something to many twins, or says what it would touch. If a condition holds
// for another number of twins than expected, nothing is done.
func (c *Client) FleetAct(ctx context.Context, a *FleetAct) (*FleetActed, error) {
	done := &FleetActed{}
	return done, c.postRaw(ctx, "/api/v1/fleet/act", a, done, &done.Raw)
}
