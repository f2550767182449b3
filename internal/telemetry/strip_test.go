package telemetry_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// strip is the strip of a type by its definition.
func (m model) strip(metric twin.MetricName, kind twin.ValueType, from, to twin.Time) (s telemetry.Strip) {
	for _, p := range m.points(metric, 0, to) {
		switch {
		case p.Value.Type != kind:
			continue
		case p.Time < from:
			s.Before = &p
			continue
		}
		last := s.Before
		if n := len(s.Changes); n > 0 {
			last = &s.Changes[n-1]
		}
		if last == nil || last.Value != p.Value {
			s.Changes = append(s.Changes, p)
		}
	}
	return s
}

func TestReader_strips(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 2))
		m := randomRows(rng, 1+rng.IntN(900))
		r := stored(t, m, rng.IntN(len(m)+1))
		end := int(m[len(m)-1].Time)
		q := telemetry.Query{Thing: "a", Metric: "t", From: twin.Time(rng.IntN(end + 1)), Limit: telemetry.PointsMax}
		q.To = q.From + twin.Time(rng.IntN(end+1))
		got, err := r.Strips(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []twin.ValueType{twin.ValueBool, twin.ValueText} {
			want := m.strip("t", kind, q.From, q.To)
			i := slices.IndexFunc(got, func(s telemetry.Strip) bool { return s.Type == kind })
			if i < 0 {
				if want.Before != nil || len(want.Changes) > 0 {
					t.Fatalf("seed %d: no strip of %s", seed, kind)
				}
				continue
			}
			if !slices.Equal(got[i].Changes, want.Changes) || !got[i].Complete || (got[i].Before == nil) != (want.Before == nil) || want.Before != nil && *got[i].Before != *want.Before {
				t.Fatalf("seed %d, %s:\ngot  %+v\nwant %+v", seed, kind, got[i], want)
			}
		}
	}
}

func TestStrip_stays(t *testing.T) {
	on, off := twin.BoolValue(true), twin.BoolValue(false)
	s := telemetry.Strip{
		Before:  &telemetry.Point{Time: 5, Value: off},
		Changes: []telemetry.Point{{Time: 30, Value: on}, {Time: 110, Value: off}, {Time: 120, Value: on}},
		Until:   1000,
	}
	got := s.Stays(10, 250, 100)
	want := []telemetry.Stay{{0, off, 20}, {0, on, 70}, {100, on, 90}, {100, off, 10}, {200, on, 50}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := (&telemetry.Strip{Until: 9}).Stays(0, 100, 10); len(got) > 0 {
		t.Errorf("stays of nothing: %v", got)
	}
}

// Means are those of one window over all of the time.
func TestReader_means(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 3))
		m := randomRows(rng, 1+rng.IntN(900))
		r := stored(t, m, rng.IntN(len(m)+1))
		end := m[len(m)-1].Time
		from := twin.Time(rng.Int64N(int64(end) + 1))
		to := from + twin.Time(rng.Int64N(int64(end)+1))
		got, complete, err := r.Means(t.Context(), "a", from, to)
		if err != nil || !complete {
			t.Fatal(complete, err)
		}
		for _, metric := range []twin.MetricName{"t", "u"} {
			all := series.Rollup{Start: from}
			var before *series.Point
			for _, p := range m.numbers(metric, 0, to) {
				if p.Time < from {
					before = &p
				} else {
					all.Add(p)
				}
			}
			want, ok := all.TimeWeighted(before, to)
			if from >= to {
				ok = false
			}
			i := slices.IndexFunc(got, func(m telemetry.Mean) bool { return m.Metric == metric })
			if ok != (i >= 0) || ok && math.Abs(got[i].Value-want) > 1e-6 {
				t.Fatalf("seed %d, %s: %v, want %v, %v", seed, metric, got, want, ok)
			}
		}
	}
}

// The arrival of each row is kept, whether it is folded or not.
func TestReader_arrivals(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 4))
		m := randomRows(rng, 1+rng.IntN(900))
		r := stored(t, m, rng.IntN(len(m)+1))
		last := map[twin.Time]twin.Time{}
		for _, row := range m {
			last[row.Time] = row.Arrival
		}
		got, err := r.Arrivals(t.Context(), "a", 0, math.MaxInt64)
		if err != nil || len(got) != len(last) {
			t.Fatalf("seed %d: %d arrivals, want %d, %v", seed, len(got), len(last), err)
		}
		newest := twin.Time(0)
		for _, row := range m {
			newest = max(newest, row.Arrival)
		}
		if at, err := r.LastArrival(t.Context(), "a"); err != nil || at != newest {
			t.Fatalf("seed %d: the last arrival is at %d, want %d, %v", seed, at, newest, err)
		}
		for _, p := range got {
			if p.Time+twin.Time(p.Value) != last[p.Time] {
				t.Fatalf("seed %d: row of %d arrived %v later, want at %d", seed, p.Time, p.Value, last[p.Time])
			}
		}
	}
}
