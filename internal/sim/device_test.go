package sim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/sim"
	"github.com/twofold-iot/twofold/twin"
)

const thermostat = `
name: thermostat
schema:
  desired:
    properties:
      setpoint: {type: number, minimum: 5, maximum: 35}
      mode: {type: string, enum: [eco, comfort]}
behaviour:
  attribute: reported.power
  initial: idle
  states:
    idle: {min: 1m, max: 10m, to: [heating]}
    heating: {min: 1m, max: 5m, to: [idle]}
dynamics:
  signals:
    telemetry.temperature: {follows: desired.setpoint, tau: 5m, noise: 0.05, memory: 1m, digits: 2}
    telemetry.watts: {level: 2, in: {heating: 1500}, noise: 1, digits: 0}
    reported.room.temperature: {follows: telemetry.temperature, digits: 1}
`

var start = twin.Time(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC).UnixMilli())

func kind(t testing.TB, source string, o sim.Options) *sim.Kind {
	t.Helper()
	env, err := expr.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Parse([]byte(source), env)
	if err != nil {
		t.Fatal(err)
	}
	k, err := sim.NewKind(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// live lets a device live until a time and returns what it says.
func live(d *sim.Device, to twin.Time, hear func(at twin.Time, m sim.Message)) {
	for d.Next() <= to {
		at := d.Next()
		d.Act(at)
		for _, m := range d.Say() {
			hear(at, m)
		}
	}
}

func diary(k *sim.Kind, seed, number uint64) string {
	d := sim.NewDevice(k, "t-1", "run", seed, number, start)
	var b strings.Builder
	live(d, start+6*3600_000, func(at twin.Time, m sim.Message) {
		fmt.Fprintln(&b, at, m.Topic, string(m.Payload))
	})
	return b.String()
}

// The same seed gives the same bytes; another seed, or another device, others.
func TestDevice_deterministic(t *testing.T) {
	k := kind(t, thermostat, sim.Options{})
	a := diary(k, 7, 1)
	if b := diary(k, 7, 1); a != b {
		t.Error("the same seed and number say something else")
	}
	if diary(k, 8, 1) == a || diary(k, 7, 2) == a {
		t.Error("another seed or number says the same")
	}
	for line := range strings.Lines(a) {
		_, payload, _ := strings.Cut(line, "{")
		if !json.Valid([]byte("{" + payload)) {
			t.Fatalf("no JSON: %s", line)
		}
	}
	if n := strings.Count(a, "/telemetry"); n < 2150 || n > 2165 {
		t.Errorf("%d messages of telemetry in six hours, at one in ten seconds", n)
	}
}

func TestDevice_appliesWhatIsDesired(t *testing.T) {
	k := kind(t, thermostat, sim.Options{Delay: 2 * time.Second})
	d := sim.NewDevice(k, "t-1", "run", 1, 1, start)
	live(d, start+60_000, func(twin.Time, sim.Message) {})
	d.Receive(start+60_000, "$aws/things/t-1/shadow/update/delta", []byte(`{"version":3,"state":{"setpoint":30.5,"mode":"comfort"}}`))
	// An older one, overtaken on the way, changes nothing.
	d.Receive(start+60_100, "$aws/things/t-1/shadow/update/delta", []byte(`{"version":2,"state":{"setpoint":10}}`))
	var applied twin.Time
	var last []byte
	live(d, start+2*3600_000, func(at twin.Time, m sim.Message) {
		if m.Kind == sim.Report && bytes.Contains(m.Payload, []byte(`"setpoint":30.5`)) && applied == 0 {
			applied = at
		}
		if m.Kind == sim.Report {
			last = bytes.Clone(m.Payload)
		}
	})
	if late := applied - start - 60_000; late <= 0 || late > 20_000 {
		t.Errorf("applied after %d ms", late)
	}
	var m struct {
		State struct {
			Reported struct {
				Mode, Power, Firmware string
				Room                  struct{ Temperature float64 }
			}
		}
	}
	if err := json.Unmarshal(last, &m); err != nil {
		t.Fatal(err, string(last))
	}
	r := m.State.Reported
	if r.Mode != "comfort" || r.Firmware != "1.0.0" || (r.Power != "idle" && r.Power != "heating") {
		t.Errorf("%s", last)
	}
	if math.Abs(r.Room.Temperature-30.5) > 0.5 { // two hours are 24 time constants
		t.Errorf("the plant has not followed: %s", last)
	}
}

func TestDevice_updatesAndFails(t *testing.T) {
	k := kind(t, thermostat, sim.Options{Update: 10 * time.Second})
	d := sim.NewDevice(k, "t-1", "run", 1, 1, start)
	live(d, start+1000, func(twin.Time, sim.Message) {})
	d.Receive(start+1000, "$aws/things/t-1/jobs/start-next/accepted", []byte(`{"execution":{"jobId":"j1","jobDocument":{"firmware":{"version":"2.1.0"}}}}`))
	d.Receive(start+1000, "twins/t-1/commands/c1", []byte(`{"id":"c1","name":"flush"}`))
	var said []string
	for _, m := range d.Say() {
		said = append(said, m.Topic+string(m.Payload))
	}
	live(d, start+120_000, func(_ twin.Time, m sim.Message) {
		if m.Kind == sim.Other || m.Kind == sim.Event {
			said = append(said, m.Topic+string(m.Payload))
		}
	})
	all := strings.Join(said, "\n")
	for _, want := range []string{
		`twins/t-1/commands/c1/status{"status":"accepted"}`, `twins/t-1/commands/c1/status{"status":"done"}`,
		`jobs/j1/update{"status":"IN_PROGRESS"`, `twins/t-1/events{"type":"reboot"`, `jobs/j1/update{"status":"SUCCEEDED"`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("not said: %s\n%s", want, all)
		}
	}
	if d.Firmware() != "2.1.0" {
		t.Error(d.Firmware())
	}
}

// Each fault of a device changes what it says in its way.
func TestDevice_faults(t *testing.T) {
	k := kind(t, thermostat, sim.Options{})
	readings := func(f *sim.Fault) (list []float64, times []int64, events string) {
		d := sim.NewDevice(k, "t-1", "run", 1, 1, start)
		if f != nil {
			d.Inject(start, *f)
		}
		live(d, start+3600_000, func(_ twin.Time, m sim.Message) {
			if m.Kind == sim.Event {
				events += string(m.Payload)
			}
			var p struct {
				TS     int64
				Values map[string]float64
			}
			if m.Kind != sim.Telemetry || json.Unmarshal(m.Payload, &p) != nil {
				return
			}
			times = append(times, p.TS)
			if v, ok := p.Values["temperature"]; ok {
				list = append(list, v)
			}
		})
		return list, times, events
	}
	sound, times, _ := readings(nil)
	end := func(list []float64) float64 { return list[len(list)-1] - sound[len(sound)-1] }
	spread := func(list []float64) float64 {
		low, high := list[0], list[0]
		for _, v := range list {
			low, high = min(low, v), max(high, v)
		}
		return high - low
	}
	const metric = "telemetry.temperature"
	if v, _, _ := readings(&sim.Fault{Verb: "stuck", Metric: metric}); spread(v) != 0 {
		t.Error("stuck moves", spread(v))
	}
	if v, _, _ := readings(&sim.Fault{Verb: "drift", Metric: metric, Size: 4}); math.Abs(end(v)-4) > 0.1 {
		t.Error("drift", end(v))
	}
	if v, _, _ := readings(&sim.Fault{Verb: "spike", Metric: metric, P: 0.1, Size: 100}); spread(v) < 99 {
		t.Error("no spike", spread(v))
	}
	if v, _, _ := readings(&sim.Fault{Verb: "noise", Metric: metric, Size: 3}); spread(v) < 10 {
		t.Error("no noise", spread(v))
	}
	if v, _, _ := readings(&sim.Fault{Verb: "missing", Metric: metric, For: 30 * time.Minute}); len(v) > len(sound)/2+2 || len(v) < len(sound)/2-2 {
		t.Errorf("%d readings, %d without the fault for half the time", len(v), len(sound))
	}
	if _, at, _ := readings(&sim.Fault{Verb: "clock-skew", Size: 60}); at[0]-times[0] != 60_000 {
		t.Error("skew", at[0]-times[0])
	}
	if v, _, e := readings(&sim.Fault{Verb: "wear", Metric: metric, Size: 10, Time: 50 * time.Minute}); math.Abs(end(v)-10) > 1 || strings.Count(e, "failure") != 1 {
		t.Error("wear", end(v), e)
	}
	if v, _, _ := readings(&sim.Fault{Verb: "battery", Metric: metric, Time: 30 * time.Minute}); v[len(v)-1] > 1 {
		t.Error("battery", v[len(v)-1])
	}
	if _, _, e := readings(&sim.Fault{Verb: "reboot", Every: 10 * time.Minute}); strings.Count(e, "reboot") != 6 {
		t.Error("reboot loop", e)
	}
}

func TestFault_Check(t *testing.T) {
	for _, f := range []struct {
		sim.Fault
		want string
	}{
		{sim.Fault{Verb: "melt"}, "there is no fault"},
		{sim.Fault{Verb: "drop"}, "needs p"},
		{sim.Fault{Verb: "drop", P: 2}, "not 0 to 1"},
		{sim.Fault{Verb: "offline", Size: 3}, "has no size"},
		{sim.Fault{Verb: "flapping", Every: time.Second, Time: time.Minute}, "not shorter"},
	} {
		if err := f.Check(); err == nil || !strings.Contains(err.Error(), f.want) {
			t.Errorf("%+v: %v", f.Fault, err)
		}
	}
	if err := (&sim.Fault{Verb: "flapping", Every: time.Minute, Time: time.Second}).Check(); err != nil {
		t.Error(err)
	}
}

// BenchmarkDevice prints what a tick without network takes: physics, firmware and bytes of
// one message of telemetry.
func BenchmarkDevice(b *testing.B) {
	k := kind(b, thermostat, sim.Options{Report: 24 * time.Hour})
	d := sim.NewDevice(k, "t-1", "run", 1, 1, start)
	bytes := 0
	b.ReportAllocs()
	for b.Loop() {
		d.Act(d.Next())
		for _, m := range d.Say() {
			bytes += len(m.Payload)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ticks/s")
}
