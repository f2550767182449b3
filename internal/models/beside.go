package models

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// Beside keeps what the models in force read of twins beside their shadows: the last
// values of some metrics, and whether they are connected. It is safe for concurrent use.
type Beside struct {
	log       *slog.Logger
	registry  *Registry
	samples   *telemetry.Reader
	connected func(twin.ThingName) bool

	mu   sync.RWMutex
	last map[twin.ThingName]map[string]lastValue

	waiting  sync.Mutex
	unloaded []twin.ThingName // whose model has changed
	wake     chan struct{}
}

type lastValue struct {
	time  twin.Time
	value twin.Value
}

// NewBeside returns one for a registry that is loaded, and reads what models keep in mind
// already: an alarm that is pending must not find its metric absent.
func NewBeside(ctx context.Context, log *slog.Logger, r *Registry, samples *telemetry.Reader, connected func(twin.ThingName) bool) *Beside {
	b := &Beside{log: log, registry: r, samples: samples, connected: connected, last: make(map[twin.ThingName]map[string]lastValue), wake: make(chan struct{}, 1)}
	for thing := range r.engine.AllMemories() {
		if err := b.load(ctx, thing); err != nil { // one that cannot be read hurts nobody else
			log.Error("last values are not read", slog.String("error", err.Error()))
		}
	}
	r.beside = b
	for _, v := range r.List() {
		if m, _ := r.Model(v.Name); m.ReadsBeside() {
			b.renew(r.engine.ThingsOf(v.Name))
		}
	}
	return b
}

// renew lets the model of things make a step when their last values have been read.
func (b *Beside) renew(things []twin.ThingName) {
	b.waiting.Lock()
	b.unloaded = append(b.unloaded, things...)
	b.waiting.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Run reads last values of things whose model has changed, until ctx ends.
func (b *Beside) Run(ctx context.Context) {
	for {
		b.waiting.Lock()
		things := b.unloaded
		b.unloaded = nil
		b.waiting.Unlock()
		for _, thing := range things {
			if err := b.load(ctx, thing); err != nil {
				if errors.Is(err, context.Canceled) {
					return
				}
				b.log.Error("last values are not read", slog.String("error", err.Error()))
			}
			b.registry.engine.StepSoon([]twin.ThingName{thing})
		}
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		}
	}
}

// load reads the last values of the metrics that the model of a thing reads.
func (b *Beside) load(ctx context.Context, thing twin.ThingName) error {
	m, _ := b.registry.Model(b.registry.engine.Attributes(thing).Model)
	if m == nil || len(m.Metrics()) == 0 {
		return nil
	}
	infos, _, err := b.samples.Series(ctx, thing)
	if err != nil {
		return fmt.Errorf("read the last values of %s: %w", thing, err)
	}
	wanted := map[string]bool{}
	for _, name := range m.Metrics() {
		wanted[string(name)] = true
	}
	for i := range infos {
		if x := &infos[i]; wanted[string(x.Metric)] {
			b.keep(thing, string(x.Metric), lastValue{x.Last, x.Value})
		}
	}
	return nil
}

// keep notes a value unless a newer one is known, and reports whether it is another.
func (b *Beside) keep(thing twin.ThingName, metric string, v lastValue) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.last[thing]
	if all == nil {
		all = map[string]lastValue{}
		b.last[thing] = all
	}
	have, ok := all[metric]
	if ok && have.time > v.time {
		return false
	}
	all[metric] = v
	return !ok || have.value != v.value
}

// Fill is [engine.Options].Beside.
func (b *Beside) Fill(in *expr.Inputs) {
	in.Connected = twin.BoolValue(b.connected(in.ID))
	in.Telemetry, in.Sampled = b.values(in.ID)
}

// values returns a copy of the last values of a thing, and when they were measured.
func (b *Beside) values(thing twin.ThingName) (expr.Map, map[string]twin.Time) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	values, times := make(expr.Map, len(b.last[thing])), make(map[string]twin.Time, len(b.last[thing]))
	for name, v := range b.last[thing] {
		values[name], times[name] = v.value, v.time
	}
	return values, times
}

// Heard is what models want to know of samples; see [Beside.Listen].
type Heard []heardRow

type heardRow struct {
	thing   twin.ThingName
	time    twin.Time
	metrics []twin.MetricName
	values  []twin.Value
}

// Listen picks out of samples what models read, before they are taken; the rows may be
// altered by who takes them.
func (b *Beside) Listen(rows []twin.Row) (list Heard) {
	for i := range rows {
		r := &rows[i]
		m, _ := b.registry.Model(b.registry.engine.Attributes(r.Thing).Model)
		if m == nil || !m.ReadsBeside() {
			continue
		}
		var h heardRow
		for _, name := range m.Metrics() {
			for k := range r.Values {
				if v := &r.Values[k]; v.Metric == name {
					value := v.Value
					value.Text = strings.Clone(value.Text)
					h.metrics, h.values = append(h.metrics, name), append(h.values, value)
				}
			}
		}
		if h.metrics != nil {
			h.thing, h.time = twin.ThingName(strings.Clone(string(r.Thing))), r.Time
			list = append(list, h)
		}
	}
	return list
}

// Take lets models make a step with each of the samples, which have been taken. Of a value
// that is older than the last one they hear nothing.
func (b *Beside) Take(list Heard) {
	for i := range list {
		h := &list[i]
		var changed []expr.Path
		for k, name := range h.metrics {
			if b.keep(h.thing, string(name), lastValue{h.time, h.values[k]}) || b.missed(h.thing, name) {
				changed = append(changed, append(expr.Path{"telemetry"}, strings.Split(string(name), ".")...))
			}
		}
		if changed == nil {
			continue
		}
		values, times := b.values(h.thing)
		err := b.registry.engine.Changed(h.thing, changed, func(in *expr.Inputs) {
			in.Connected, in.Telemetry, in.Sampled = twin.BoolValue(b.connected(in.ID)), values, times
		})
		if err != nil { // a full queue: when there is room, with what is the last value then
			b.registry.engine.StepSoon([]twin.ThingName{h.thing})
		}
	}
}

// missed reports whether an alarm says that a metric has had no value for too long.
func (b *Beside) missed(thing twin.ThingName, metric twin.MetricName) bool {
	kept := b.registry.engine.Memory(thing).Alarms()
	if len(kept) == 0 {
		return false
	}
	m, _ := b.registry.Model(b.registry.engine.Attributes(thing).Model)
	return m != nil && m.Stale(metric) != 0 && slices.ContainsFunc(kept, func(a model.AlarmMemory) bool {
		return a.Raised() && a.Name == model.StaleAlarm(metric)
	})
}
