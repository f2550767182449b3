package client

import (
	"context"
	"encoding/json"

	"github.com/twofold-iot/twofold/twin"
)

// FleetChangesQuery asks what is different between two instants (RFC 3339).
type FleetChangesQuery struct {
	From   string   `json:"from"`
	To     string   `json:"to,omitempty"`     // empty: now
	Where  string   `json:"where,omitempty"`  // of twins for which it holds at one of them; empty: all
	Select []string `json:"select,omitempty"` // what is compared; empty: what Where reads, without it reported and desired
	Limit  int      `json:"limit,omitempty"`  // 0: 100
	Cursor string   `json:"cursor,omitempty"` // Next of the page before
}

// FleetChanges is what is different. The counts are of all pages.
type FleetChanges struct {
	Columns                []string
	Before, After          int // for how many twins the condition held
	Entered, Left, Changed int
	Twins                  []struct {
		DeviceID      twin.ThingName
		Kind          string                     // entered, left, changed
		Before, After map[string]json.RawMessage // nil: the condition did not hold, or does not
	}
	Next string
	Raw  json.RawMessage `json:"-"`
}

// FleetChanges compares all twins at two instants.
func (c *Client) FleetChanges(ctx context.Context, q *FleetChangesQuery) (*FleetChanges, error) {
	f := &FleetChanges{}
	return f, c.postRaw(ctx, "/api/v1/fleet/changes", q, f, &f.Raw)
}
