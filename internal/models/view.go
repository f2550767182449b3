package models

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// Viewer gives the computed attributes of twins as they are now.
type Viewer struct {
	Registry  *Registry
	Samples   *telemetry.Reader
	History   *history.Reader
	Connected func(twin.ThingName) bool
	LastSeen  func(twin.ThingName) twin.Time
	Now       func() twin.Time
}

// View is the computed attributes of one twin.
type View struct {
	Model      string
	Version    uint32
	Time       twin.Time
	Attributes []Attribute // in the order in which they are evaluated
}

// Attribute is one computed attribute with why it has its value, or has none.
type Attribute struct {
	Name       string
	Value      twin.Value // Type 0: there is none
	Type       string     // number, boolean, string; empty: any
	Unit       string
	Expression string
	OfState    bool
	Inputs     []Input
	Reason     string // why there is no value
}

// Input is something that an expression reads, or a figure of the past that it asks for.
type Input struct {
	Path  string
	Value twin.Value // Type 0: not there, or an object or array
	There bool
}

// View evaluates the model of a twin; false if it has none that is in force.
func (v *Viewer) View(ctx context.Context, thing twin.ThingName) (View, bool, error) {
	at := v.Registry.engine.Attributes(thing)
	m, number := v.Registry.Model(at.Model)
	if m == nil {
		return View{}, false, nil
	}
	s, err := v.Registry.engine.Shadow(ctx, twin.ShadowKey{Thing: thing})
	if err != nil {
		return View{}, false, err
	}
	now := v.Now()
	in := expr.Inputs{
		ID: thing, Model: at.Model, Tags: at.Tags, Shadow: s, Now: now,
		Connected: twin.BoolValue(v.Connected(thing)), LastSeen: v.LastSeen(thing),
	}
	if in.Telemetry, err = v.lastValues(ctx, thing, m); err != nil {
		return View{}, false, err
	}
	figures := &asked{past: Past{Context: ctx, Thing: thing, Now: now, Samples: v.Samples, History: v.History, Telemetry: in.Telemetry}, known: map[string]figureOf{}}
	in.Past = figures
	values, why := m.View(in)
	if figures.past.Err != nil {
		return View{}, false, figures.past.Err
	}
	out := View{Model: m.Name, Version: number, Time: now}
	for i := range m.Computed() {
		a := &m.Computed()[i]
		w := why[a.Name]
		kind := string(a.Type)
		if a.Type == expr.TypeAny {
			kind = ""
		}
		out.Attributes = append(out.Attributes, Attribute{
			Name: a.Name, Type: kind, Value: values[a.Name], Unit: a.Unit, Expression: w.Expression, OfState: a.OfState,
			Inputs: figures.inputs(a, &w), Reason: figures.reason(a, &w),
		})
	}
	return out, true, nil
}

// lastValues reads the last values of metrics if the model asks for any.
func (v *Viewer) lastValues(ctx context.Context, thing twin.ThingName, m *model.Model) (expr.Values, error) {
	if !readsTelemetry(m) {
		return nil, nil
	}
	infos, _, err := v.Samples.Series(ctx, thing)
	if err != nil {
		return nil, fmt.Errorf("read the last values of %s: %w", thing, err)
	}
	last := expr.Map{}
	times := map[string]twin.Time{}
	for i := range infos {
		x := &infos[i]
		name := string(x.Metric)
		if t, ok := times[name]; ok && t > x.Last {
			continue
		}
		last[name], times[name] = x.Value, x.Last
	}
	return last, nil
}

func readsTelemetry(m *model.Model) bool {
	for i := range m.Computed() {
		p := m.Computed()[i].Program
		for _, path := range p.Reads() {
			if path[0] == "telemetry" {
				return true
			}
		}
		for _, c := range p.Calls() {
			if c.Function == "last" {
				return true
			}
		}
	}
	return false
}

// asked is a Past that remembers what it answered, for the answer to "why".
type asked struct {
	past  Past
	known map[string]figureOf
}

type figureOf struct {
	value twin.Value
	ok    bool
}

// Past implements [expr.Past]. Of two calls that are the same the second costs nothing.
func (a *asked) Past(c *expr.Call) (twin.Value, bool) {
	key := callText(c)
	f, ok := a.known[key]
	if !ok {
		f.value, f.ok = a.past.Past(c)
		a.known[key] = f
	}
	return f.value, f.ok
}

// callText writes a call about as it was written.
func callText(c *expr.Call) string {
	name := c.Function
	if name == "percentile" {
		name = fmt.Sprintf("p%g", c.Percentile)
	}
	text := name + "(" + c.Path.String()
	if c.State.Type != 0 {
		text += " == " + string(c.State.AppendJSON(nil))
	}
	if c.Window != 0 {
		text += fmt.Sprintf(", %q", strings.TrimSuffix(strings.TrimSuffix(c.Window.String(), "0s"), "0m"))
	}
	return text + ")"
}

func (a *asked) inputs(at *model.Attribute, w *model.Why) []Input {
	var list []Input
	for i := range w.Inputs {
		in := &w.Inputs[i]
		list = append(list, Input{Path: in.Path.String(), Value: in.Value.Value, There: in.Value.Status == expr.Known})
	}
	calls := at.Program.Calls()
	for i := range calls {
		f := a.known[callText(&calls[i])]
		list = append(list, Input{Path: callText(&calls[i]), Value: f.value, There: f.ok})
	}
	return list
}

// reason names the figures that are not there, which the model cannot know.
func (a *asked) reason(at *model.Attribute, w *model.Why) string {
	if w.Reason == "" || w.Failed {
		return w.Reason
	}
	var missing []string
	for _, in := range a.inputs(at, w) {
		if !in.There {
			missing = append(missing, in.Path)
		}
	}
	if missing == nil {
		return w.Reason
	}
	return "there is no " + strings.Join(missing, ", no ")
}

// readable turns what is wrong with a model into an error that a caller is told.
func readable(err error) error {
	var e *model.Error
	if errors.As(err, &e) {
		return &twin.Error{Kind: twin.KindInvalid, Message: fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Reason), Hint: e.Hint, Err: e}
	}
	return err
}
