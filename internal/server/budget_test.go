package server

import (
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

func TestBudgetSteps(t *testing.T) {
	days := func(list ...uint32) (stats []store.DayStats) {
		for _, d := range list {
			stats = append(stats, store.DayStats{Day: d, Bytes: uint64(d)})
		}
		return stats
	}
	for _, c := range []struct {
		name            string
		samples, events []store.DayStats
		want            []budgetStep
	}{
		{"telemetry first, today stays", days(5, 7, 9), days(3, 9), []budgetStep{{stepTelemetry, 5, 5}, {stepTelemetry, 7, 7}, {stepHistory, 3, 3}}},
		{"the newest day of events stays", nil, days(3, 4), []budgetStep{{stepHistory, 3, 3}}},
		{"a clock that has jumped back", days(10, 11), days(10, 12), nil},
		{"nothing", nil, nil, nil},
	} {
		if got := budgetSteps(c.samples, c.events, 9); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// Over its budget the store loses the oldest telemetry, no more of it than needed, and
// what came today stays.
func TestBudget(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	st, err := pebblestore.Open(filepath.Join(t.TempDir(), "store"), pebblestore.Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	tel, err := telemetry.Open(quiet, st, telemetry.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tel.Close() }()
	now := time.Now()
	var rows []store.SampleRow
	noise := uint64(1)
	for d := range 10 {
		for i := range 20_000 {
			noise = noise*6364136223846793005 + 1
			at := twin.TimeOf(now) - twin.Time(int64(d)*ageDay.Milliseconds()) - twin.Time(i)
			r := twin.Row{Thing: "a", Time: at, Arrival: at, Values: []twin.Measurement{{Metric: "m", Value: twin.NumberValue(float64(noise>>11) / (1 << 53))}}}
			rows = append(rows, store.SampleRow{Thing: "a", Time: at, Arrival: at, Values: r.AppendValues(nil)})
		}
	}
	if err := st.AppendRows(t.Context(), rows, true); err != nil {
		t.Fatal(err)
	}
	if err := tel.Fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	days := func() []store.DayStats {
		list, err := st.ColumnDays(t.Context(), store.ClassSamples)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	before, size := days(), st.Size()
	s := &Server{store: st, telemetry: tel, log: quiet}
	s.config.StorageBudget = int64(size - before[0].Bytes - before[1].Bytes/2)
	if err := s.meetBudget(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if got := days(); len(got) != len(before)-2 || got[0].Day != before[2].Day {
		t.Fatalf("kept %v of %v", got, before)
	}
	s.config.StorageBudget = 1
	if err := s.meetBudget(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if got := days(); len(got) == 0 || got[0].Day != twin.TimeOf(now).Day() {
		t.Fatalf("today is not kept: %v", got)
	}
	report, err := s.budgetReport(t.Context(), now, nil)
	if err != nil || report.Reached != nil || report.Why == "" || len(report.Next) != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
}

func TestMetricRules(t *testing.T) {
	c := RetentionConfig{Telemetry: 30 * ageDay, Rollups: 2 * ageYear, Metrics: []string{"pump:vibration.* 7d 1y", "debug.* 1d", "total forever forever"}}
	keep, err := c.telemetry(func(thing twin.ThingName) string { m, _, _ := strings.Cut(string(thing), "-"); return m })
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		thing  twin.ThingName
		metric twin.MetricName
		want   telemetry.Ages
	}{
		{"pump-1", "vibration.x", telemetry.NewAges(7*ageDay, ageYear)},
		{"fan-1", "vibration.x", telemetry.NewAges(30*ageDay, 2*ageYear)},
		{"fan-1", "debug.y", telemetry.NewAges(ageDay, 2*ageYear)},
		{"fan-1", "total", telemetry.NewAges(0, 0)},
	} {
		if got := keep.Of(x.thing, x.metric); got != x.want {
			t.Errorf("%s of %s: %v, want %v", x.metric, x.thing, got, x.want)
		}
	}
	for _, text := range []string{"", "a", "a 1d 1d 1d", "a 1h", "a 1d soon", "a*b 1d", "x y:a 1d", "a b:a 1d", ":a 1d", "pump: 1d"} {
		if _, err := c.parseMetricRule(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
	var faults []string
	c = RetentionConfig{Telemetry: 30 * ageDay, Rollups: 7 * ageDay, Metrics: []string{"a forever 1y", "b 1d 1d"}, Models: map[string]*ModelRetention{"pump": {Telemetry: 3 * ageDay, Rollups: 2 * ageDay}}}
	c.check(func(key, _ string, _ ...any) { faults = append(faults, key) })
	if want := []string{"retention.rollups", "retention.models.pump.rollups", "retention.metrics"}; !slices.Equal(faults, want) {
		t.Errorf("faults %q, want %q", faults, want)
	}
}
