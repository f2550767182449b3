package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/twofold-iot/twofold/bench/table"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// epoch is the start of a UTC day.
var epoch = time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)

const secondsOfDay = 86_400

// noise is a number of two decimals with uniform noise of ±50 steps.
func noise(rng *rand.Rand) float64 { return float64(2000+rng.IntN(101)-50) / 100 }

// samples is a store with telemetry in this process.
type samples struct {
	store     *pebblestore.Store
	telemetry *telemetry.Telemetry
}

func openSamples(dir string) (*samples, error) {
	quiet := slog.New(slog.DiscardHandler)
	s, err := pebblestore.Open(dir, pebblestore.Options{Log: quiet, NoSync: true})
	if err != nil {
		return nil, err
	}
	t, err := telemetry.Open(quiet, s, telemetry.Options{Now: time.Now})
	if err != nil {
		return nil, err
	}
	return &samples{s, t}, nil
}

func (s *samples) close() error { return errors.Join(s.telemetry.Close(), s.store.Close()) }

// add appends a row for each instant of a day, 4,096 in a write.
func (s *samples) add(ctx context.Context, thing twin.ThingName, start time.Time, every time.Duration, n int, values func(i int) []twin.Measurement) error {
	var rows []store.SampleRow
	for i := range n {
		at := twin.TimeOf(start.Add(time.Duration(i) * every))
		r := twin.Row{Thing: thing, Time: at, Arrival: at, Values: values(i)}
		rows = append(rows, store.SampleRow{Thing: thing, Time: at, Arrival: at, Values: r.AppendValues(nil)})
		if len(rows) == 4096 || i == n-1 {
			if err := s.store.AppendRows(ctx, rows, false); err != nil {
				return err
			}
			rows = rows[:0]
		}
	}
	return s.telemetry.Fold(ctx)
}

// telemetryBytes is what telemetry takes on disk after compaction.
func (s *samples) telemetryBytes(ctx context.Context) (uint64, error) {
	if err := s.store.Compact(ctx); err != nil {
		return 0, err
	}
	stats, err := s.store.Stats(ctx, 0)
	if err != nil {
		return 0, err
	}
	for _, k := range stats.Kinds {
		if k.Kind == "telemetry" {
			return k.Bytes, nil
		}
	}
	return 0, errors.New("the store tells nothing of telemetry")
}

// diskFigures is what a sample takes, of things that send one metric at 1 Hz for a day.
func diskFigures(ctx context.Context, dir string, c *config) (fs []table.Figure, err error) {
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // noise
	modes := []string{"off", "eco", "heat", "boost"}
	mode := modes[0]
	for _, kind := range []struct {
		what, goal string
		value      func() twin.Value
	}{
		{"number, 2 decimals, uniform noise of ±50 steps", "≤ 1.5 bytes", func() twin.Value { return twin.NumberValue(noise(rng)) }},
		{"state, one of 4, for ten minutes on average", "≤ 0.1 bytes", func() twin.Value {
			if rng.IntN(600) == 0 {
				mode = modes[rng.IntN(len(modes))]
			}
			return twin.TextValue(mode)
		}},
	} {
		s, err := openSamples(filepath.Join(dir, "disk"+kind.goal[len(kind.goal)-9:len(kind.goal)-6]))
		if err != nil {
			return nil, err
		}
		start := time.Now()
		for i := range c.things {
			err := s.add(ctx, twin.ThingName(fmt.Sprintf("sensor-%04d", i)), epoch, time.Second, secondsOfDay, func(int) []twin.Measurement {
				return []twin.Measurement{{Metric: "value", Value: kind.value()}}
			})
			if err != nil {
				return nil, err
			}
		}
		took := time.Since(start)
		all, err := s.telemetryBytes(ctx)
		if err != nil {
			return nil, err
		}
		if err := s.store.DropColumns(ctx, store.ClassRollups, 1<<31); err != nil {
			return nil, err
		}
		raw, err := s.telemetryBytes(ctx)
		if err != nil {
			return nil, err
		}
		n := float64(c.things * secondsOfDay)
		fs = append(fs,
			table.Figure{What: "disk per sample: " + kind.what, Value: fmt.Sprintf("%.2f bytes, %.2f without rollups", float64(all)/n, float64(raw)/n), Goal: kind.goal},
			table.Figure{What: "  append and fold in this process", Value: fmt.Sprintf("%.2f M samples/s", n/took.Seconds()/1e6)})
		if err := s.close(); err != nil {
			return nil, err
		}
	}
	return fs, nil
}

// readFigures is how long charts take: of a day at 1 Hz and of 90 days at a sample a
// minute.
func readFigures(ctx context.Context, dir string, _ *config) (fs []table.Figure, err error) {
	s, err := openSamples(filepath.Join(dir, "reads"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	rng := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // noise
	value := func(int) []twin.Measurement {
		return []twin.Measurement{{Metric: "value", Value: twin.NumberValue(noise(rng))}}
	}
	if err := s.add(ctx, "second", epoch, time.Second, secondsOfDay, value); err != nil {
		return nil, err
	}
	if err := s.add(ctx, "minute", epoch, time.Minute, 90*1440, value); err != nil {
		return nil, err
	}
	if err := s.store.Compact(ctx); err != nil {
		return nil, err
	}
	r := s.telemetry.Reader()
	chart := func(thing twin.ThingName, length time.Duration) (table.Latencies, error) {
		q := telemetry.Query{Thing: thing, Metric: "value", From: twin.TimeOf(epoch), To: twin.TimeOf(epoch.Add(length)), Limit: telemetry.PointsMax}
		q.Window = telemetry.ChartWindow(q.From, q.To, 600)
		read := func(int) error {
			w, err := r.Windows(ctx, q)
			if err == nil && len(w.Windows) < 300 {
				err = fmt.Errorf("a chart of %d windows", len(w.Windows))
			}
			return err
		}
		if _, err := table.Measure(50, read); err != nil {
			return nil, err
		}
		return table.Measure(300, read)
	}
	day, err := chart("second", 24*time.Hour)
	if err != nil {
		return nil, err
	}
	quarter, err := chart("minute", 90*24*time.Hour)
	if err != nil {
		return nil, err
	}
	return []table.Figure{
		{What: "chart of 600 columns, 24 h at 1 Hz", Value: day.String(), Goal: "p50 ≤ 3 ms"},
		{What: "chart of 600 columns, 90 days at 1/min, from rollups", Value: quarter.String(), Goal: "p50 ≤ 5 ms"},
	}, nil
}

// postgresFigures does the same in PostgreSQL: a row per sample, a chart by date_bin with
// lowest, highest and mean, which is less than the first and last beside them.
func postgresFigures(ctx context.Context, dir string, c *config) (fs []table.Figure, err error) {
	p, err := startPostgres(ctx, dir, c)
	if err != nil || p == nil {
		return []table.Figure{{What: "PostgreSQL is not installed: left out"}}, err
	}
	defer func() { err = errors.Join(err, p.Stop(context.WithoutCancel(ctx))) }()
	if _, err := p.SQL(ctx, `create table samples (thing text, metric text, at timestamptz, value double precision, primary key (thing, metric, at));
insert into samples select 'second', 'value', timestamptz '2026-08-01' + n * interval '1 s', 20 + round((random() - 0.5)::numeric, 2) from generate_series(0, 86399) n;
insert into samples select 'minute', 'value', timestamptz '2026-08-01' + n * interval '1 min', 20 + round((random() - 0.5)::numeric, 2) from generate_series(0, 90 * 1440 - 1) n;
`); err != nil {
		return nil, err
	}
	if _, err := p.SQL(ctx, "vacuum analyze samples"); err != nil {
		return nil, err
	}
	size, err := p.SQL(ctx, "select round(pg_total_relation_size('samples')::numeric / count(*)) from samples")
	if err != nil {
		return nil, err
	}
	fs = append(fs, table.Figure{What: "PostgreSQL: disk per sample with its index", Value: size[:len(size)-1] + " bytes"})
	for _, q := range []struct{ thing, bin, what string }{
		{"second", "3 min", "24 h at 1 Hz"}, {"minute", "4 hours", "90 days at 1/min"},
	} {
		took, err := p.Time(ctx, fmt.Sprintf("select date_bin('%s', at, timestamptz '2026-08-01') b, min(value), max(value), avg(value) from samples where thing = '%s' and metric = 'value' group by b order by b;\n", q.bin, q.thing), 20, 100)
		if err != nil {
			return nil, err
		}
		fs = append(fs, table.Figure{What: "PostgreSQL: chart, " + q.what + ", prepared, over its socket", Value: table.Latencies(took).String()})
	}
	return fs, nil
}
