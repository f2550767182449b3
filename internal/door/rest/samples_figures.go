package rest

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// figure is what can be asked of the numbers of a window.
type figure struct {
	name   string
	column func(*metricSeries) *[]*json.Number
	of     func(w *telemetry.Window, end twin.Time) *json.Number
	needs  need
}

// need is what a figure needs beside the numbers of the window.
type need int

const (
	needNothing need = iota
	needBefore
	needQuantiles
)

const (
	figureCount    = "count"
	figureDuration = "duration" // of states
)

var figuresDefault = []string{figureCount, "min", "max", "avg", "sum", "first", "last"}

// figures are those of numbers, in the order of the columns; the count is a column of its own.
var figures = []figure{
	{name: figureCount},
	{"min", func(s *metricSeries) *[]*json.Number { return &s.Min }, func(w *telemetry.Window, _ twin.Time) *json.Number { return finite(w.Min.Value) }, needNothing},
	{"max", func(s *metricSeries) *[]*json.Number { return &s.Max }, func(w *telemetry.Window, _ twin.Time) *json.Number { return finite(w.Max.Value) }, needNothing},
	{"avg", func(s *metricSeries) *[]*json.Number { return &s.Avg }, func(w *telemetry.Window, _ twin.Time) *json.Number { return finite(w.Avg()) }, needNothing},
	{"sum", func(s *metricSeries) *[]*json.Number { return &s.Sum }, func(w *telemetry.Window, _ twin.Time) *json.Number { return finite(w.Sum) }, needNothing},
	{"first", func(s *metricSeries) *[]*json.Number { return &s.First }, func(w *telemetry.Window, _ twin.Time) *json.Number { return finite(w.First.Value) }, needNothing},
	{"last", func(s *metricSeries) *[]*json.Number { return &s.Last }, func(w *telemetry.Window, _ twin.Time) *json.Number { return finite(w.Last.Value) }, needNothing},
	{"twa", func(s *metricSeries) *[]*json.Number { return &s.TWA }, timeWeighted, needBefore},
	{"delta", func(s *metricSeries) *[]*json.Number { return &s.Delta }, func(w *telemetry.Window, _ twin.Time) *json.Number { d, _ := w.Delta(); return finite(d) }, needBefore},
	{"rate", func(s *metricSeries) *[]*json.Number { return &s.Rate }, rate, needBefore},
	{"p50", func(s *metricSeries) *[]*json.Number { return &s.P50 }, quantile(0.5), needQuantiles},
	{"p95", func(s *metricSeries) *[]*json.Number { return &s.P95 }, quantile(0.95), needQuantiles},
	{"p99", func(s *metricSeries) *[]*json.Number { return &s.P99 }, quantile(0.99), needQuantiles},
}

func figureNames() string {
	names := make([]string, 0, len(figures)+1)
	for _, f := range figures {
		names = append(names, f.name)
	}
	return strings.Join(append(names, figureDuration), ", ")
}

func timeWeighted(w *telemetry.Window, end twin.Time) *json.Number {
	v, ok := w.TimeWeighted(w.Before, end)
	if !ok {
		return nil
	}
	return finite(v)
}

func rate(w *telemetry.Window, _ twin.Time) *json.Number {
	d, ms := w.Delta()
	if ms <= 0 {
		return nil
	}
	return finite(d / (float64(ms) / 1000))
}

func quantile(q float64) func(*telemetry.Window, twin.Time) *json.Number {
	return func(w *telemetry.Window, _ twin.Time) *json.Number { return finite(w.Quantile(q)) }
}

// samplesAnswer is an answer under way.
type samplesAnswer struct {
	reader  *telemetry.Reader
	query   telemetry.Query
	now     twin.Time // the states of today hold until then
	figures []string  // of windows
	chart   bool
	// arrivals of points are asked for, too.
	arrivals bool
	fleet    bool // of several things
	doc      seriesDocument
}

// add reads one metric and returns how far it goes.
func (a *samplesAnswer) add(ctx context.Context) (twin.Time, error) {
	switch {
	case a.chart:
		return a.addChart(ctx)
	case a.query.Window > 0:
		return a.addWindows(ctx)
	}
	p, err := a.reader.Points(ctx, a.query)
	if err != nil {
		return 0, err
	}
	for _, kind := range []twin.ValueType{twin.ValueNumber, twin.ValueBool, twin.ValueText} {
		var of []telemetry.Point
		for _, x := range p.Points {
			if x.Value.Type == kind {
				of = append(of, x)
			}
		}
		if err := a.addPoints(kind, nil, of); err != nil {
			return 0, err
		}
	}
	return p.Until, nil
}

func (a *samplesAnswer) put(s metricSeries) {
	if a.fleet {
		s.DeviceID = a.query.Thing
	}
	a.doc.Series = append(a.doc.Series, s)
}

// addPoints adds a series of points, if there is one.
func (a *samplesAnswer) addPoints(kind twin.ValueType, before *telemetry.Point, points []telemetry.Point) error {
	if before == nil && len(points) == 0 {
		return nil
	}
	s := metricSeries{Metric: a.query.Metric, Type: kind.String(), Times: []string{}, Values: []json.RawMessage{}}
	if before != nil {
		v, err := sampleValue(before.Value)
		if err != nil {
			return err
		}
		s.Before = &samplePoint{timeText(before.Time), v}
	}
	for _, x := range points {
		v, err := sampleValue(x.Value)
		if err != nil {
			return err
		}
		s.Times, s.Values = append(s.Times, timeText(x.Time)), append(s.Values, v)
	}
	a.put(s)
	return nil
}

// addArrivals says of each point when it came.
func (a *samplesAnswer) addArrivals(ctx context.Context, things []twin.ThingName, from, to twin.Time) error {
	for _, thing := range things {
		list, err := a.reader.Arrivals(ctx, thing, from, to)
		if err != nil {
			return err
		}
		came := make(map[string]string, len(list))
		for _, p := range list {
			came[timeText(p.Time)] = timeText(p.Time + twin.Time(p.Value))
		}
		for i := range a.doc.Series {
			s := &a.doc.Series[i]
			if a.fleet && s.DeviceID != thing {
				continue
			}
			s.Arrivals = make([]string, len(s.Times))
			for n, t := range s.Times {
				s.Arrivals[n] = came[t]
			}
		}
	}
	return nil
}

// addChart adds what a chart shows of a metric: of numbers the first, lowest, highest and
// last of each column of pixels, of states their changes.
func (a *samplesAnswer) addChart(ctx context.Context) (twin.Time, error) {
	q := a.query
	q.Before = true
	w, err := a.reader.Windows(ctx, q)
	if err != nil {
		return 0, err
	}
	var points []telemetry.Point
	for i := range w.Windows {
		for _, p := range w.Windows[i].M4(nil) {
			points = append(points, telemetry.Point{Time: p.Time, Value: twin.NumberValue(p.Value)})
		}
	}
	var before *telemetry.Point
	if len(w.Windows) > 0 && w.Windows[0].Before != nil {
		before = &telemetry.Point{Time: w.Windows[0].Before.Time, Value: twin.NumberValue(w.Windows[0].Before.Value)}
	}
	if err := a.addPoints(twin.ValueNumber, before, points); err != nil {
		return 0, err
	}
	strips, err := a.reader.Strips(ctx, q)
	until := w.Until
	for i := range strips {
		until = min(until, strips[i].Until)
		if err := a.addPoints(strips[i].Type, strips[i].Before, strips[i].Changes); err != nil {
			return 0, err
		}
	}
	return until, err
}

func (a *samplesAnswer) asks(name string) bool { return slices.Contains(a.figures, name) }

func (a *samplesAnswer) addWindows(ctx context.Context) (twin.Time, error) {
	until := a.query.To
	if a.asks(figureDuration) {
		end, err := a.addStays(ctx)
		if err != nil || len(a.figures) == 1 {
			return end, err
		}
		until = end
	}
	q := a.query
	for _, f := range figures {
		q.Before = q.Before || f.needs == needBefore && a.asks(f.name)
		q.Quantiles = q.Quantiles || f.needs == needQuantiles && a.asks(f.name)
	}
	res, err := a.reader.Windows(ctx, q)
	if err != nil || len(res.Windows) == 0 {
		return min(until, res.Until), err
	}
	s := metricSeries{Metric: a.query.Metric, Type: twin.ValueNumber.String()}
	for i := range res.Windows {
		x := &res.Windows[i]
		end := min(x.Start+q.Window, q.To, a.now)
		s.Times = append(s.Times, startText(x.Start))
		for _, f := range figures {
			switch {
			case !a.asks(f.name):
			case f.column == nil:
				s.Count = append(s.Count, int(x.Count))
			default:
				column := f.column(&s)
				*column = append(*column, f.of(x, end))
			}
		}
	}
	a.put(s)
	return min(until, res.Until), nil
}

// addStays adds a series for each state of a metric: how long it held in each window.
func (a *samplesAnswer) addStays(ctx context.Context) (twin.Time, error) {
	strips, err := a.reader.Strips(ctx, a.query)
	if err != nil {
		return 0, err
	}
	until := a.query.To
	for i := range strips {
		until = min(until, strips[i].Until)
		var order []twin.Value
		series := make(map[twin.Value]*metricSeries)
		for _, stay := range strips[i].Stays(a.query.From, min(a.query.To, a.now), a.query.Window) {
			s := series[stay.State]
			if s == nil {
				state, err := sampleValue(stay.State)
				if err != nil {
					return 0, err
				}
				s = &metricSeries{Metric: a.query.Metric, Type: strips[i].Type.String(), State: state}
				series[stay.State] = s
				order = append(order, stay.State)
			}
			s.Times, s.Duration = append(s.Times, startText(stay.Start)), append(s.Duration, finite(float64(stay.Held)/1000))
		}
		for _, state := range order {
			a.put(*series[state])
		}
	}
	return until, nil
}
