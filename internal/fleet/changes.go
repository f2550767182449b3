package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/twofold-iot/twofold/twin"
)

// ChangesRequest asks what is different between two instants.
type ChangesRequest struct {
	From   string   `json:"from"`             // the earlier instant (RFC 3339)
	To     string   `json:"to,omitempty"`     // the later; empty: now
	Where  string   `json:"where,omitempty"`  // of twins for which it holds at one of them; empty: all
	Select []string `json:"select,omitempty"` // what is compared; empty: what Where reads, without it reported and desired
	Limit  int      `json:"limit,omitempty"`  // of a page, 100
	Cursor string   `json:"cursor,omitempty"` // next of the page before
}

// How a twin is different.
const (
	ChangeEntered = "entered" // the condition holds for it now, and did not; or it is new
	ChangeLeft    = "left"    // the other way round
	ChangeValues  = "changed" // it holds as before, and what is selected is different
)

// Changes is what is different. Entered, Left and Changed count all pages.
type Changes struct {
	Columns                []string
	Before, After          int // for how many twins the condition held
	Entered, Left, Changed int
	Twins                  []Changed
	Next                   string
}

// Changed is one twin that is different, with a JSON value for each column.
type Changed struct {
	ID            twin.ThingName
	Kind          string
	Before, After []json.RawMessage // nil: the condition did not hold, or does not
}

// Changes compares all twins at two instants.
func (e *Engine) Changes(ctx context.Context, r *ChangesRequest) (*Changes, error) {
	if r.From == "" {
		return nil, &Error{"/from", "the earlier instant is missing"}
	}
	chosen := r.Select
	if len(chosen) == 0 && r.Where == "" {
		chosen = []string{"reported", "desired"}
	}
	q, err := e.prepare(&Request{Where: r.Where, Select: chosen, Limit: r.Limit, At: r.From})
	if err != nil {
		return nil, renamed(err, "/at", "/from")
	}
	if len(r.Select) == 0 && r.Where != "" {
		q.chosen = q.chosen[2:] // id and model
	}
	later := twin.Time(0)
	if r.To != "" {
		if later, err = e.instant(r.To, append(q.chosen, q.where)); err != nil {
			return nil, renamed(err, "/at", "/to")
		}
		if later < q.at {
			return nil, &Error{"/to", fmt.Sprintf("%s is before from", r.To)}
		}
	}
	q.tag += "\x00" + r.To
	if r.Cursor != "" {
		if q.after, err = q.readCursor(r.Cursor); err != nil {
			return nil, err
		}
	}
	before, err := e.selected(ctx, q, q.at)
	if err != nil {
		return nil, err
	}
	after, err := e.selected(ctx, q, later)
	if err != nil {
		return nil, err
	}
	return q.compare(before, after), nil
}

func renamed(err error, from, to string) error {
	if at, ok := err.(*Error); ok && at.Pointer == from { //nolint:errorlint // it is not wrapped
		return &Error{to, at.Reason}
	}
	return err
}

// selected gives the columns of all twins that the condition holds for at an instant.
func (e *Engine) selected(ctx context.Context, q *query, at twin.Time) (map[twin.ThingName][]json.RawMessage, error) {
	index, now, err := e.lock(ctx, at)
	if err != nil {
		return nil, err
	}
	defer index.mu.RUnlock()
	all := make(map[twin.ThingName][]json.RawMessage)
	s := scan{where: q.where, now: now}
	err = s.run(ctx, index, func(seg *cohort, row int, _ []value) {
		f := found{cohort: seg, row: row, id: seg.ids[row]}
		all[f.id] = q.row(&f, now).Values
	})
	return all, err
}

func (q *query) compare(before, after map[twin.ThingName][]json.RawMessage) *Changes {
	c := &Changes{Columns: q.columns(), Before: len(before), After: len(after)}
	ids := slices.Collect(maps.Keys(after))
	for id := range before {
		if after[id] == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		x := Changed{ID: id, Before: before[id], After: after[id]}
		switch {
		case x.Before == nil:
			x.Kind = ChangeEntered
			c.Entered++
		case x.After == nil:
			x.Kind = ChangeLeft
			c.Left++
		case !slices.EqualFunc(x.Before, x.After, sameJSON):
			x.Kind = ChangeValues
			c.Changed++
		default:
			continue
		}
		switch {
		case q.after != nil && id <= q.after.id:
		case len(c.Twins) < q.limit:
			c.Twins = append(c.Twins, x)
		case c.Next == "":
			c.Next = q.cursorOf(&found{id: c.Twins[q.limit-1].ID})
		}
	}
	return c
}

// sameJSON compares values. The members of an object come in the order in which an index has met
// them.
func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if len(a) == 0 || len(b) == 0 || a[0] != b[0] || a[0] != '{' && a[0] != '[' {
		return false
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
