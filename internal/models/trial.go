package models

import (
	"context"
	"fmt"
	"slices"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/twin"
)

// ExamplesMax is how many twins a trial tells of by name.
const ExamplesMax = 10

// Trial is what a model would make of the twins that name it.
type Trial struct {
	Twins    int // of the model
	Changed  int // whose computed attributes of the state would change
	Failing  int // of which an attribute would have no value by an error
	Examples []Example
	Refused  int            // whose state the schema would refuse, and does not now
	Refusal  string         // what of the first of them
	Alarms   map[string]int // on how many twins an alarm would be raised that is not now, at once or when it has held for long enough
}

// Example is one attribute of one twin.
type Example struct {
	Thing     twin.ThingName
	Attribute string
	Before    twin.Value // Type 0: none
	After     twin.Value
	Reason    string // why there is none after
}

// try evaluates a model on the shadows as they are now, beside the one in force.
func (r *Registry) try(ctx context.Context, next, now *model.Model) (Trial, error) {
	var t Trial
	for _, thing := range r.engine.ThingsOf(next.Name) {
		if err := ctx.Err(); err != nil {
			return t, fmt.Errorf("try model %s: %w", next.Name, err)
		}
		s, err := r.engine.Shadow(ctx, twin.ShadowKey{Thing: thing})
		if err != nil {
			return t, err
		}
		at := r.engine.Attributes(thing)
		t.add(thing, at, s, next, now)
		in := expr.Inputs{ID: thing, Model: at.Model, Tags: at.Tags, Shadow: s, Now: trialTime}
		if r.beside != nil && next.ReadsBeside() {
			r.beside.Fill(&in)
		}
		if faults := next.Rejects(&in); faults != "" && (now == nil || now.Rejects(&in) == "") {
			if t.Refused++; t.Refused == 1 {
				t.Refusal = string(thing) + ": " + faults
			}
			continue
		}
		t.alarms(r.engine.Memory(thing), in, next)
	}
	return t, nil
}

func (t *Trial) add(thing twin.ThingName, at *twin.Attributes, s *twin.Shadow, next, now *model.Model) {
	in := expr.Inputs{ID: thing, Model: at.Model, Tags: at.Tags, Shadow: s}
	t.Twins++
	var before expr.Map
	if now != nil {
		before, _ = now.Evaluate(in, nil, nil)
	}
	after, why := next.Evaluate(in, nil, nil)
	var changed, failing bool
	for _, name := range names(before, after, why) {
		x := Example{Thing: thing, Attribute: name, Before: before[name], After: after[name], Reason: why[name].Reason}
		fails := why[name].Failed
		if x.Before == x.After && !fails {
			continue
		}
		changed = changed || x.Before != x.After
		failing = failing || fails
		if len(t.Examples) < ExamplesMax {
			t.Examples = append(t.Examples, x)
		}
	}
	if changed {
		t.Changed++
	}
	if failing {
		t.Failing++
	}
}

// trialTime is before all times: nothing that waits is due.
const trialTime twin.Time = 1

// alarms counts what a step of the model would raise, now or in time.
func (t *Trial) alarms(mem *model.Memory, in expr.Inputs, next *model.Model) {
	raised := map[string]bool{}
	for _, a := range mem.Alarms() {
		raised[a.Name] = a.Raised()
	}
	out := next.Step(mem, in, nil, nil)
	for _, a := range out.Memory.Alarms() {
		if !raised[a.Name] && a.State >= model.AlarmPending {
			if t.Alarms == nil {
				t.Alarms = map[string]int{}
			}
			t.Alarms[a.Name]++
		}
	}
}

func names(before, after expr.Map, why map[string]model.Why) []string {
	all := map[string]bool{}
	for name := range before {
		all[name] = true
	}
	for name := range after {
		all[name] = true
	}
	for name := range why {
		all[name] = true
	}
	list := make([]string, 0, len(all))
	for name := range all {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}
