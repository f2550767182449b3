package rest

import (
	"net/http"

	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/twin"
)

// fleetChanges is what is different between two instants. The counts are of all pages.
type fleetChanges struct {
	Columns []string      `json:"columns"`
	Before  int           `json:"before"` // for how many twins the condition held
	After   int           `json:"after"`
	Entered int           `json:"entered"`
	Left    int           `json:"left"`
	Changed int           `json:"changed"`
	Twins   []fleetChange `json:"twins"`
	Next    string        `json:"next,omitempty"`
}

// fleetChange is one twin; before is left out if the condition did not hold, after if it does
// not.
type fleetChange struct {
	DeviceID twin.ThingName `json:"deviceId"`
	Kind     string         `json:"kind"` // entered, left, changed
	Before   object         `json:"before,omitempty"`
	After    object         `json:"after,omitempty"`
}

func (d *door) fleetChanges(w http.ResponseWriter, r *http.Request) error {
	var q fleet.ChangesRequest
	if err := d.decode(w, r, &q); err != nil {
		return err
	}
	c, err := d.opts.Fleet.Changes(r.Context(), &q)
	if err != nil {
		return fleetError(err)
	}
	answer := fleetChanges{
		Columns: c.Columns, Before: c.Before, After: c.After, Entered: c.Entered, Left: c.Left, Changed: c.Changed,
		Twins: []fleetChange{}, Next: c.Next,
	}
	for i := range c.Twins {
		x := &c.Twins[i]
		doc := fleetChange{DeviceID: x.ID, Kind: x.Kind}
		if x.Before != nil {
			doc.Before = named(c.Columns, x.Before)
		}
		if x.After != nil {
			doc.After = named(c.Columns, x.After)
		}
		answer.Twins = append(answer.Twins, doc)
	}
	return writeJSON(w, answer)
}
