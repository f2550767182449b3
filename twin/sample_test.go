package twin_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/twin"
)

func TestRow_values(t *testing.T) {
	row := twin.Row{Values: []twin.Measurement{
		{Metric: "temperature", Value: twin.NumberValue(-20.25)},
		{Metric: "zero", Value: twin.NumberValue(math.Copysign(0, -1))},
		{Metric: "on", Value: twin.BoolValue(true)},
		{Metric: "off", Value: twin.BoolValue(false)},
		{Metric: "mode", Value: twin.TextValue("läuft")},
		{Metric: "empty", Value: twin.TextValue("")},
	}}
	b := row.AppendValues(nil)
	walk := func(b []byte) (got []twin.Measurement, err error) {
		err = twin.WalkValues(b, func(metric []byte, v twin.RawValue) bool {
			got = append(got, twin.Measurement{Metric: twin.MetricName(metric), Value: v.Own()})
			return true
		})
		return got, err
	}
	got, err := walk(b)
	if diff := cmp.Diff(row.Values, got); err != nil || diff != "" {
		t.Fatalf("%v (-written +read):\n%s", err, diff)
	}
	whole := map[int]bool{0: true}
	for i := range row.Values {
		part := twin.Row{Values: row.Values[:i+1]}
		whole[len(part.AppendValues(nil))] = true
	}
	for n := range b {
		if _, err := walk(b[:n]); (err == nil) != whole[n] {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func TestMetricName(t *testing.T) {
	for name, want := range map[twin.MetricName]bool{
		"temperature": true, "motor.speed [1/min]": true, "tempé": true,
		"": false, "a\x00b": false, "a\nb": false, "\xff": false,
		twin.MetricName(make([]byte, 300)): false,
	} {
		if err := name.Check(); (err == nil) != want || err != nil && twin.Kind(err) != twin.KindInvalid {
			t.Errorf("%.20q: %v", name, err)
		}
	}
}
