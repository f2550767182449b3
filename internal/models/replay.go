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

// replay lets a model live through the past of one twin: its updates, the samples that the
// model reads, its connections and the times that are due come to it in the order of their
// times, as if it had been in force. Nothing is written. Samples count at their own time, not
// at that of their arrival.
type replay struct {
	viewer *Viewer
	model  *model.Model
	thing  twin.ThingName
	// from <= time < to. What was before from is known from the beginning.
	from, to twin.Time
	metrics  []twin.MetricName
	ticks    twin.Time // an instant without a change every so many milliseconds; 0: none
	budget   *budget
	// step is told of each step; ev is the update that led to it, nil for all others.
	step func(in *expr.Inputs, ev *twin.Event, out *model.Step) error

	memory    *model.Memory
	in        expr.Inputs
	telemetry expr.Map
	sampled   map[string]twin.Time
	computed  expr.Map
	due       twin.Time
}

// budget bounds what one request replays.
type budget struct {
	left             int
	updates, samples int
}

var errBudget = errors.New("more happened than one request replays")

// source gives one kind of what happened, in order.
type source interface {
	// peek returns the time of what comes next; false: nothing does.
	peek(ctx context.Context) (twin.Time, bool, error)
	// take makes it so, and says which paths may have another value; nil: all.
	take(r *replay) ([]expr.Path, *twin.Event)
}

// run is the whole past. The error is errBudget if that is used up.
func (r *replay) run(ctx context.Context) error {
	sources, err := r.begin(ctx)
	if err != nil {
		return err
	}
	if err := r.make(r.from, nil, nil); err != nil {
		return err
	}
	for {
		var next source
		var at twin.Time
		for _, s := range sources {
			t, ok, err := s.peek(ctx)
			if err != nil {
				return fmt.Errorf("replay %s: %w", r.thing, err)
			}
			if ok && (next == nil || t < at) {
				next, at = s, t
			}
		}
		if next == nil {
			return r.pass(r.to - 1)
		}
		if r.budget.left--; r.budget.left < 0 {
			return errBudget
		}
		if err := r.pass(at); err != nil {
			return err
		}
		paths, ev := next.take(r)
		if _, ok := next.(*ticking); !ok {
			r.in.LastSeen = at
		}
		if err := r.make(at, paths, ev); err != nil {
			return err
		}
	}
}

// pass lets time go on to an instant: what is due by then is done.
func (r *replay) pass(to twin.Time) error {
	for r.due != 0 && r.due <= to {
		if r.budget.left--; r.budget.left < 0 {
			return errBudget
		}
		if err := r.make(r.due, []expr.Path{}, nil); err != nil {
			return err
		}
	}
	return nil
}

func (r *replay) make(now twin.Time, changed []expr.Path, ev *twin.Event) error {
	r.in.Now = now
	out := r.model.Step(r.memory, r.in, changed, r.computed)
	r.computed, r.due = out.Computed, out.Due
	if out.Memory != nil {
		r.memory = out.Memory
	}
	return r.step(&r.in, ev, &out)
}

// begin finds out how it was at first, and where the rest comes from.
func (r *replay) begin(ctx context.Context) ([]source, error) {
	v := r.viewer
	at := v.Registry.engine.Attributes(r.thing)
	r.telemetry, r.sampled = expr.Map{}, map[string]twin.Time{}
	r.in = expr.Inputs{ID: r.thing, Model: at.Model, Tags: at.Tags, Connected: twin.BoolValue(false), Telemetry: r.telemetry, Sampled: r.sampled}
	shadow, _, err := v.History.At(ctx, twin.ShadowKey{Thing: r.thing}, history.Point{Time: r.from})
	if err != nil && twin.Kind(err) != twin.KindNotFound {
		return nil, fmt.Errorf("read the state of %s at the beginning: %w", r.thing, err)
	}
	r.in.Shadow = shadow
	before, err := v.History.Log(ctx, history.LogQuery{Thing: r.thing, Newest: true, Limit: 1, Filter: history.Filter{Kinds: connections, To: r.from}})
	if err != nil {
		return nil, fmt.Errorf("read the connections of %s: %w", r.thing, err)
	}
	if len(before.Events) == 1 {
		r.in.Connected = twin.BoolValue(before.Events[0].Kind == twin.EventConnected)
	}
	sources := []source{
		&updates{reader: v.History, query: history.Query{Key: twin.ShadowKey{Thing: r.thing}, From: r.from, To: r.to, Limit: history.PageMax, Form: history.States}, newest: r.from},
		&links{reader: v.History, query: history.LogQuery{Thing: r.thing, Limit: history.PageMax, Filter: history.Filter{Kinds: connections, From: r.from, To: r.to}}},
	}
	for _, name := range r.metrics {
		path := append(expr.Path{"telemetry"}, strings.Split(string(name), ".")...)
		s := &points{reader: v.Samples, query: telemetry.Query{Thing: r.thing, Metric: name, From: r.from, To: r.to, Limit: samplesPage}, path: path}
		if err := r.last(ctx, name); err != nil {
			return nil, err
		}
		sources = append(sources, s)
	}
	if r.ticks != 0 {
		sources = append(sources, &ticking{next: r.from + r.ticks, every: r.ticks, to: r.to})
	}
	return sources, nil
}

var connections = []twin.EventKind{twin.EventConnected, twin.EventDisconnected} //nolint:gochecknoglobals // read only

const (
	samplesPage = 2000
	// lastReach is how far back the last sample before the beginning is looked for.
	lastReach = dayLength
)

// last reads the value that a metric had at the beginning.
func (r *replay) last(ctx context.Context, name twin.MetricName) error {
	q := telemetry.Query{Thing: r.thing, Metric: name, From: max(0, r.from-lastReach), To: r.from, Limit: samplesPage}
	for {
		res, err := r.viewer.Samples.Points(ctx, q)
		if err != nil {
			return fmt.Errorf("read %s of %s: %w", name, r.thing, err)
		}
		if n := len(res.Points); n > 0 {
			r.telemetry[string(name)], r.sampled[string(name)] = res.Points[n-1].Value, res.Points[n-1].Time
		}
		if res.Complete {
			return nil
		}
		q.From = res.Until
	}
}

// updates are those of the classic shadow.
type updates struct {
	reader *history.Reader
	query  history.Query
	page   []history.State
	ended  bool
	newest twin.Time
}

func (s *updates) peek(ctx context.Context) (twin.Time, bool, error) {
	for {
		for len(s.page) > 0 && s.page[0].Event.Time < s.newest { // a state that came late, of before
			s.page = s.page[1:]
		}
		if len(s.page) > 0 {
			return s.page[0].Event.Time, true, nil
		}
		if s.ended {
			return 0, false, nil
		}
		p, err := s.reader.States(ctx, s.query)
		if err != nil {
			return 0, false, err
		}
		s.page, s.query.Cursor, s.ended = p.States, p.Next, p.Next == ""
	}
}

func (s *updates) take(r *replay) ([]expr.Path, *twin.Event) {
	x := &s.page[0]
	s.page, s.newest = s.page[1:], x.Event.Time
	r.budget.updates++
	r.in.Shadow = x.Shadow
	return nil, &x.Event
}

// links are the connections.
type links struct {
	reader *history.Reader
	query  history.LogQuery
	page   []twin.Event
	ended  bool
}

func (s *links) peek(ctx context.Context) (twin.Time, bool, error) {
	for len(s.page) == 0 {
		if s.ended {
			return 0, false, nil
		}
		p, err := s.reader.Log(ctx, s.query)
		if err != nil {
			return 0, false, err
		}
		s.page, s.query.Cursor, s.ended = p.Events, p.Next, p.Next == ""
	}
	return s.page[0].Time, true, nil
}

func (s *links) take(r *replay) ([]expr.Path, *twin.Event) {
	r.in.Connected = twin.BoolValue(s.page[0].Kind == twin.EventConnected)
	s.page = s.page[1:]
	return []expr.Path{{"connected"}}, nil
}

// points are the samples of a metric.
type points struct {
	reader *telemetry.Reader
	query  telemetry.Query
	path   expr.Path
	page   []telemetry.Point
	ended  bool
}

func (s *points) peek(ctx context.Context) (twin.Time, bool, error) {
	for len(s.page) == 0 {
		if s.ended {
			return 0, false, nil
		}
		p, err := s.reader.Points(ctx, s.query)
		if err != nil {
			return 0, false, err
		}
		s.page, s.query.From, s.ended = p.Points, p.Until, p.Complete
	}
	return s.page[0].Time, true, nil
}

func (s *points) take(r *replay) ([]expr.Path, *twin.Event) {
	r.budget.samples++
	name, value := string(s.query.Metric), s.page[0].Value
	r.sampled[name] = s.page[0].Time
	was := r.telemetry[name]
	r.telemetry[name], s.page = value, s.page[1:]
	if was == value {
		return []expr.Path{}, nil
	}
	return []expr.Path{s.path}, nil
}

// ticking is time alone.
type ticking struct{ next, every, to twin.Time }

func (s *ticking) peek(context.Context) (twin.Time, bool, error) { return s.next, s.next < s.to, nil }

func (s *ticking) take(*replay) ([]expr.Path, *twin.Event) {
	s.next += s.every
	return []expr.Path{}, nil
}
