package twin_test

import (
	"testing"

	"github.com/twofold-iot/twofold/twin"
)

// benchState is a realistic shadow: a pump with what it reports and what is asked.
const benchState = `{"state":{"desired":{"power":"on","setpoint":21.5,"mode":"eco","schedule":{"on":"06:00","off":"22:00"},"limits":{"max":80,"min":5}},` +
	`"reported":{"power":"on","setpoint":21,"mode":"eco","temperature":20.25,"humidity":48,"pressure":1013.2,"fan":{"speed":1200,"target":1250},` +
	`"schedule":{"on":"06:00","off":"22:00"},"limits":{"max":80,"min":5},"firmware":{"version":"4.2.1","channel":"stable"},"rssi":-61,"uptime":86400,"alarms":[]}}}`

// benchUpdate is 250 bytes.
const benchUpdate = `{"state":{"reported":{"temperature":20.75,"humidity":47.5,"pressure":1013.1,"fan":{"speed":1210,"target":1250,"state":"running"},` +
	`"power":"on","setpoint":21,"rssi":-63,"uptime":86460,"alarms":["filter"],"position":[53.5511,9.9937]}},"clientToken":"p7"}`

var benchKey = twin.ShadowKey{Thing: "pump-7"}

func benchShadow(b testing.TB) *twin.Shadow {
	b.Helper()
	req, err := twin.ParseRequest([]byte(benchState), twin.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	c, err := twin.NewChange(benchKey, nil, req, 1_700_000_000_000, twin.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	return c.Current
}

// BenchmarkUpdate is what issue 2 sets a goal for: parse, merge and delta of an
// update of 250 bytes, at most 5 µs and 10 allocations.
func BenchmarkUpdate(b *testing.B) {
	prev, payload := benchShadow(b), []byte(benchUpdate)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		req, err := twin.ParseRequest(payload, twin.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		c, err := twin.NewChange(benchKey, prev, req, 1_700_000_060_000, twin.Limits{})
		if err != nil || !c.HasDelta() {
			b.Fatal(err)
		}
	}
}

// BenchmarkUpdateStored is what the engine does for each update.
func BenchmarkUpdateStored(b *testing.B) {
	stored, payload := benchShadow(b).AppendBinary(nil), []byte(benchUpdate)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		prev, err := twin.DecodeShadow(stored)
		if err != nil {
			b.Fatal(err)
		}
		req, err := twin.ParseRequest(payload, twin.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		c, err := twin.NewChange(benchKey, prev, req, 1_700_000_060_000, twin.Limits{})
		if err != nil || !c.HasDelta() {
			b.Fatal(err)
		}
		out = c.Current.AppendBinary(out[:0])
	}
}

// BenchmarkDocuments renders all that an update publishes.
func BenchmarkDocuments(b *testing.B) {
	req, err := twin.ParseRequest([]byte(benchUpdate), twin.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	c, err := twin.NewChange(benchKey, benchShadow(b), req, 1_700_000_060_000, twin.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = c.AppendAccepted(out[:0])
		out = c.AppendDelta(out)
		out = c.AppendDocuments(out)
	}
}
