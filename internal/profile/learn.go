package profile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of what is learned.
const (
	StatesMax     = 20 // distinct values of an attribute; one with more has no states
	AttributesMax = 50 // attributes and metrics of a thing, by name
	WeeksMax      = 53 // of a profile

	pathsMax = 1000 // attributes that are followed
)

// Learner learns from the past of twins.
type Learner struct {
	History *history.Reader
	Samples *telemetry.Reader
}

// Learned is what a twin did in a window.
type Learned struct {
	From, To   twin.Time
	Complete   bool // false: of more than the limits the newest events, or the first attributes
	Attributes []Attribute
}

// Attribute is an attribute or metric that is a text or a truth value, and has changed.
type Attribute struct {
	Of          string // such as reported.mode or telemetry.door
	Now         string // the last state of the window
	States      []State
	Transitions []Transition
}

// States learns how the texts and truth values of a thing follow each other.
func (l *Learner) States(ctx context.Context, thing twin.ThingName, from, to twin.Time) (*Learned, error) {
	out := &Learned{From: from, To: to, Complete: true}
	moments, err := l.History.Moments(ctx, twin.ShadowKey{Thing: thing}, from, to, history.MomentsMax)
	if err != nil {
		return nil, err
	}
	cut := len(moments) > 0 && moments[0].Time > from
	since := from
	if cut {
		since, out.Complete = moments[0].Time, false
	}
	all := reportedLines(moments, to, func(v twin.Value) bool { return v.Type == twin.ValueText || v.Type == twin.ValueBool })
	list, err := l.strips(ctx, thing, from, to)
	if err != nil {
		return nil, err
	}
	for _, s := range append(all, list...) {
		if a, ok := s.learn(since, to); ok {
			out.Attributes = append(out.Attributes, a)
		}
	}
	if len(out.Attributes) > AttributesMax {
		out.Attributes, out.Complete = out.Attributes[:AttributesMax], false
	}
	return out, nil
}

// strip is the values of an attribute in order; each holds until the next.
type strip struct {
	of     string
	values []change
}

type change struct {
	time  twin.Time
	value twin.Value // Type 0: there is none
}

// reportedLines follows the leaves of reported whose values pass, by path.
func reportedLines(moments []history.Moment, to twin.Time, passes func(twin.Value) bool) []strip {
	at := map[string]*strip{}
	seen := map[string]int{}
	for i, m := range moments {
		if m.Time >= to {
			break
		}
		if m.Shadow.Exists() {
			walk(m.Shadow.Reported, "reported", func(path string, v twin.Value) {
				if !passes(v) {
					return
				}
				s := at[path]
				if s == nil {
					if len(at) == pathsMax {
						return
					}
					s = &strip{of: path}
					at[path] = s
				}
				seen[path] = i + 1
				if n := len(s.values); n == 0 || s.values[n-1].value != v {
					s.values = append(s.values, change{m.Time, v})
				}
			})
		}
		for path, s := range at {
			if n := len(s.values); seen[path] != i+1 && s.values[n-1].value.Type != 0 {
				s.values = append(s.values, change{time: m.Time})
			}
		}
	}
	list := make([]strip, 0, len(at))
	for _, s := range at {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b strip) int { return cmp.Compare(a.of, b.of) })
	return list
}

// walk visits the scalars of an object, not those in arrays.
func walk(n *twin.Node, path string, visit func(string, twin.Value)) {
	if n == nil || n.IsArray() {
		return
	}
	if !n.IsObject() {
		if v, ok := n.Value(); ok {
			visit(path, v)
		}
		return
	}
	for i := range n.Len() {
		walk(n.At(i), path+"."+n.At(i).Name(), visit)
	}
}

// strips reads the states of telemetry.
func (l *Learner) strips(ctx context.Context, thing twin.ThingName, from, to twin.Time) ([]strip, error) {
	if l.Samples == nil {
		return nil, nil
	}
	infos, _, err := l.Samples.Series(ctx, thing)
	if err != nil {
		return nil, err
	}
	var list []strip
	for i := range infos {
		x := &infos[i]
		if x.Type == twin.ValueNumber || i > 0 && infos[i-1].Metric == x.Metric && infos[i-1].Type != twin.ValueNumber || len(list) == AttributesMax {
			continue
		}
		strips, err := l.Samples.Strips(ctx, telemetry.Query{Thing: thing, Metric: x.Metric, From: from, To: to, Limit: telemetry.PointsMax})
		if err != nil {
			return nil, err
		}
		for j := range strips {
			s := strip{of: "telemetry." + string(x.Metric)}
			if b := strips[j].Before; b != nil {
				s.values = append(s.values, change{from, b.Value})
			}
			for _, p := range strips[j].Changes {
				s.values = append(s.values, change{p.Time, p.Value})
			}
			list = append(list, s)
		}
	}
	return list, nil
}

// learn counts what a strip says; false if it has not changed, or has too many states.
func (s *strip) learn(since, to twin.Time) (Attribute, bool) {
	a := Attribute{Of: s.of}
	var m Moves
	names := map[string]bool{}
	state, entered, known := "", since, false // known: the time it was entered is
	var moved bool
	hold := func(until twin.Time) {
		if state != "" && until > entered {
			m.Hold(state, until-entered)
		}
	}
	for _, c := range s.values {
		next := nameOf(c.value)
		if next == state {
			continue
		}
		hold(c.time)
		if state != "" && next != "" {
			dwell := twin.Time(-1)
			if known {
				dwell = c.time - entered
			}
			m.Move(state, next, dwell, false)
			moved = true
		}
		// What is there at the beginning was entered before, who knows when.
		known = c.time > since
		if next != "" && known {
			m.Enter(next)
		}
		if next != "" {
			names[next] = true
		}
		if len(names) > StatesMax {
			return a, false
		}
		state, entered = next, c.time
	}
	hold(to)
	a.Now, a.States, a.Transitions = state, m.States(), m.Transitions()
	return a, moved
}

// nameOf is a value as a state; empty for none, and for the empty text.
func nameOf(v twin.Value) string {
	switch {
	case v.Type == twin.ValueText:
		return v.Text
	case v.Type == twin.ValueBool && v.Number != 0:
		return "true"
	case v.Type == twin.ValueBool:
		return "false"
	}
	return ""
}

// Weekly learns what the numbers of a thing are like at each hour of the week, in a zone: those
// of the names in of, or all of them.
func (l *Learner) Weekly(ctx context.Context, thing twin.ThingName, from, to twin.Time, zone *time.Location, of []string) ([]Week, bool, error) {
	if most := WeeksMax * 7 * 24 * twin.Time(time.Hour/time.Millisecond); to-from > most {
		return nil, false, twin.NewError(twin.KindInvalid, fmt.Sprintf("from: a profile is of at most %d weeks", WeeksMax))
	}
	moments, err := l.History.Moments(ctx, twin.ShadowKey{Thing: thing}, from, to, history.MomentsMax)
	if err != nil {
		return nil, false, err
	}
	complete := len(moments) == 0 || moments[0].Time == from
	wanted := func(name string) bool { return len(of) == 0 || slices.Contains(of, name) }
	length := windowOf(zone, from, to)
	var list []Week
	for _, s := range reportedLines(moments, to, func(v twin.Value) bool { return v.Type == twin.ValueNumber }) {
		if !wanted(s.of) {
			continue
		}
		if len(list) == AttributesMax {
			complete = false
			break
		}
		w := weeks{week: Week{Of: s.of}, zone: zone}
		windows := series.RollUp(s.points(to, length), length)
		for i := range windows {
			w.add(&windows[i])
		}
		list = append(list, w.week)
	}
	sampled, whole, err := l.weeksOfSamples(ctx, thing, from, to, length, zone, wanted)
	return append(list, sampled...), complete && whole, err
}

func (l *Learner) weeksOfSamples(ctx context.Context, thing twin.ThingName, from, to, length twin.Time, zone *time.Location, wanted func(string) bool) (list []Week, complete bool, err error) {
	if l.Samples == nil {
		return nil, true, nil
	}
	infos, complete, err := l.Samples.Series(ctx, thing)
	if err != nil {
		return nil, false, err
	}
	for i := range infos {
		name := "telemetry." + string(infos[i].Metric)
		if infos[i].Type != twin.ValueNumber || !wanted(name) {
			continue
		}
		if len(list) == AttributesMax {
			return list, false, nil
		}
		w := weeks{week: Week{Of: name}, zone: zone}
		for at := from; at < to; {
			page, err := l.Samples.Windows(ctx, telemetry.Query{Thing: thing, Metric: infos[i].Metric, From: at, To: to, Window: length, Limit: telemetry.PointsMax, Quantiles: true})
			if err != nil {
				return nil, false, err
			}
			for j := range page.Windows {
				w.add(&page.Windows[j].Rollup)
			}
			if at = page.Until; page.Complete {
				break
			}
		}
		if w.week.Samples > 0 {
			list = append(list, w.week)
		}
	}
	return list, complete, nil
}

// points are the numbers of a strip as samples: one whenever it changed, and what is in
// force at the start of each window, as a thing that reports changes alone has a value
// all the time.
func (s *strip) points(to, length twin.Time) []series.Point {
	var list []series.Point
	for i, c := range s.values {
		if c.value.Type == 0 {
			continue
		}
		end := to
		if i+1 < len(s.values) {
			end = s.values[i+1].time
		}
		if c.time < end {
			list = append(list, series.Point{Time: c.time, Value: c.value.Number})
		}
		for t := series.StartOf(c.time, length) + length; t < end; t += length {
			list = append(list, series.Point{Time: t, Value: c.value.Number})
		}
	}
	return list
}
