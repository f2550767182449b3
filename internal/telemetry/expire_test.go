package telemetry_test

import (
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

const dayMillis = 86_400_000

// Samples and rollups go by whole days, each series at its age; what has been condensed
// stays, and a late sample of a day that has gone is in the rollups still.
func TestExpire(t *testing.T) {
	mem := store.NewMemory()
	tel := openUnfolded(t, mem)
	ctx := t.Context()
	put := func(thing twin.ThingName, metric twin.MetricName, at twin.Time, v float64) {
		t.Helper()
		r := twin.Row{Thing: thing, Time: at, Arrival: at, Values: []twin.Measurement{{Metric: metric, Value: twin.NumberValue(v)}}}
		if err := mem.AppendRows(ctx, []store.SampleRow{{Thing: thing, Time: at, Arrival: at, Values: r.AppendValues(nil)}}, true); err != nil {
			t.Fatal(err)
		}
	}
	const first = 20_000 // day
	at := func(day int) twin.Time { return twin.Time(day)*dayMillis + 5 }
	for d := range 40 {
		put("pump-1", "t", at(first+d), float64(d))
		put("pump-1", "debug.x", at(first+d), float64(d))
		put("fan-1", "t", at(first+d), float64(d))
	}
	if err := tel.Fold(ctx); err != nil {
		t.Fatal(err)
	}
	common, pumps, debug := telemetry.NewAges(30*24*time.Hour, 0), telemetry.NewAges(10*24*time.Hour, 35*24*time.Hour), telemetry.NewAges(24*time.Hour, 2*24*time.Hour)
	keep := telemetry.Retention{All: []telemetry.Ages{common, pumps, debug}, Of: func(thing twin.ThingName, m twin.MetricName) telemetry.Ages {
		switch {
		case m == "debug.x":
			return debug
		case thing == "pump-1":
			return pumps
		}
		return common
	}}
	now := at(first + 40).Std()
	e, err := tel.Expire(ctx, now, keep)
	if err != nil || e.Days == 0 {
		t.Fatal(e, err)
	}
	read := func(thing twin.ThingName, metric twin.MetricName) (samples, rolled int) {
		t.Helper()
		q := telemetry.Query{Thing: thing, Metric: metric, From: 1, To: at(first + 50), Limit: 100, Window: dayMillis}
		p, err := tel.Reader().Points(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		w, err := tel.Reader().Windows(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for i := range w.Windows {
			rolled += int(w.Windows[i].Count)
		}
		return len(p.Points), rolled
	}
	check := func(what string, thing twin.ThingName, metric twin.MetricName, samples, rolled int) {
		t.Helper()
		if s, r := read(thing, metric); s != samples || r != rolled {
			t.Errorf("%s: %d samples and %d in rollups, want %d and %d", what, s, r, samples, rolled)
		}
	}
	// Rollups of days come in columns of 32 days that go with their last one.
	check("fans", "fan-1", "t", 30, 40)
	check("pumps", "pump-1", "t", 10, 40)
	check("debug", "pump-1", "debug.x", 1, 8)
	if e, err := tel.Expire(ctx, now, keep); err != nil || e != (telemetry.Expired{}) {
		t.Errorf("once more: %+v, %v", e, err)
	}

	put("fan-1", "t", at(first+3)+7, 1)
	if err := tel.Fold(ctx); err != nil {
		t.Fatal(err)
	}
	check("a late one", "fan-1", "t", 30, 41)

	d, ok, err := tel.DropOldest(ctx, uint32(first+11))
	if err != nil || !ok || d.Day != first+10 {
		t.Fatal(d, ok, err)
	}
	if _, ok, err := tel.DropOldest(ctx, uint32(first+11)); ok || err != nil {
		t.Fatal("dropped a day that is to be kept", err)
	}
	check("without the oldest", "fan-1", "t", 29, 41)
}

func TestRuleOf(t *testing.T) {
	rules := []telemetry.MetricRule{
		{Model: "pump", Metric: "vibration.*", Ages: telemetry.NewAges(1, 1)}, {Metric: "t", Ages: telemetry.NewAges(2, 2)}, {Metric: "*", Model: "fan", Ages: telemetry.NewAges(3, 3)},
	}
	for _, c := range []struct {
		model  string
		metric twin.MetricName
		want   time.Duration
	}{{"pump", "vibration.x", 1}, {"fan", "vibration.x", 3}, {"pump", "t", 2}, {"pump", "tt", 0}, {"", "vibration.x", 0}, {"fan", "u", 3}} {
		got := time.Duration(0)
		if r := telemetry.RuleOf(rules, c.model, c.metric); r != nil {
			got = r.Ages[0]
		}
		if got != c.want {
			t.Errorf("%s of %s: rule %d, want %d", c.metric, c.model, got, c.want)
		}
	}
}
