package device_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/door/device"
	"github.com/twofold-iot/twofold/twin"
)

// samples is a store of telemetry that writes down what it is given.
type samples struct {
	took    []string
	waiting []func(error) // of durable rows
	refuse  error
}

func (s *samples) Ingest(rows []twin.Row, durable bool, done func(error)) error {
	if s.refuse != nil {
		return s.refuse
	}
	for _, r := range rows {
		text := fmt.Sprintf("%s %+d", r.Thing, r.Time-r.Arrival)
		for _, m := range r.Values {
			text += fmt.Sprintf(" %s=%g%s", m.Metric, m.Value.Number, m.Value.Text)
		}
		s.took = append(s.took, text)
	}
	if durable {
		s.waiting = append(s.waiting, done)
		return nil
	}
	done(nil)
	return nil
}

func (s *samples) take() string {
	text := strings.Join(s.took, "; ")
	s.took = nil
	return text
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func pattern(t *testing.T, text string) device.Pattern {
	t.Helper()
	p, err := device.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func telemetryDoor(t *testing.T, log *slog.Logger, clock func() time.Time, texts ...string) (*device.Door, *fake, *samples) {
	t.Helper()
	f, s := newFake(), &samples{}
	opts := device.Options{Telemetry: s, Now: clock}
	for _, text := range texts {
		opts.Patterns = append(opts.Patterns, pattern(t, text))
	}
	return device.New(log, f, opts), f, s
}

func atNoon() time.Time { return noon }

// send publishes and says what became of it: "open" until done is called.
func send(d *device.Door, topic, payload string, qos byte) (taken bool, state func() string) {
	answers := []string{}
	taken = d.Publish(&twin.Publish{Message: twin.Message{Topic: topic, Payload: []byte(payload), QoS: qos}}, func(err error) {
		answers = append(answers, fmt.Sprintf("done %v", err))
	})
	return taken, func() string {
		if len(answers) == 0 {
			return "open"
		}
		return strings.Join(answers, ", ")
	}
}

func TestDoor_telemetry(t *testing.T) {
	d, f, s := telemetryDoor(t, quiet, atNoon)
	taken, state := send(d, "twins/pump-7/telemetry", `{"a":1,"b":{"c":"x"},"ts":"2026-11-23T11:59:59Z"}`, 0)
	if !taken || state() != "done <nil>" || s.take() != "pump-7 -1000 a=1 b.c=0x" {
		t.Errorf("QoS 0: %v %s %q", taken, state(), s.took)
	}
	_, state = send(d, "twins/pump-7/telemetry", `[{"a":1},{"a":2}]`, 1)
	if state() != "open" || s.take() != "pump-7 +0 a=1; pump-7 +0 a=2" {
		t.Errorf("QoS 1: %s before the sync", state())
	}
	s.waiting[0](nil)
	if state() != "done <nil>" {
		t.Errorf("QoS 1: %s after the sync", state())
	}
	_, state = send(d, "twins/pump-7/telemetry", `{"a":1}`, 2)
	s.waiting[1](errors.New("disk"))
	if state() != "done disk" {
		t.Errorf("QoS 2: %s", state())
	}
	s.take()
	if _, state = send(d, "twins/pump-7/telemetry", `{"a":null}`, 1); state() != "done <nil>" || s.take() != "" {
		t.Errorf("nothing to store: %s", state())
	}
	if len(f.entries) > 0 || len(f.rejected) > 0 {
		t.Errorf("%d events, %d rejections: telemetry makes none", len(f.entries), len(f.rejected))
	}
}

func TestDoor_telemetryRefused(t *testing.T) {
	d, f, s := telemetryDoor(t, quiet, atNoon, "dt/{thing}/#")
	for i, bad := range []struct{ topic, payload, want string }{
		{"twins/pump-7/telemetry", `hello`, "not valid JSON"},
		{"twins/pump-7/telemetry", `21.5`, "a point is a JSON object"},
		{"twins/pump-7/telemetry", `[{"a":1},{"a":NaN}]`, "/1/a"},
		{"twins/pump-7/telemetry", `{"ts":1795410000,"a":1}`, "it looks like seconds"},
		{"dt/pump-7/" + strings.Repeat("x", 300), `1`, "it has 300 bytes, the limit is 128"},
		{"dt/pump-7/a\ab", `1`, "control character"},
	} {
		taken, state := send(d, bad.topic, bad.payload, 1)
		if !taken || state() != "done <nil>" || len(f.rejected) != i+1 {
			t.Fatalf("%s: %v %s, %d noted; want it acknowledged and noted", bad.payload, taken, state(), len(f.rejected))
		}
		if got := f.rejected[i].Error(); !strings.Contains(got, bad.want) {
			t.Errorf("%s: got %s, want %s", bad.payload, got, bad.want)
		}
	}
	if taken, state := send(d, "twins/no thing/telemetry", `{"a":1}`, 1); !taken || !strings.Contains(state(), "no thing name") {
		t.Errorf("bad name: %v %s", taken, state())
	}
	if got := s.take(); got != "" {
		t.Errorf("took %q", got)
	}
}

func TestDoor_telemetryFull(t *testing.T) {
	var log bytes.Buffer
	now := noon
	d, f, s := telemetryDoor(t, slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now })
	s.refuse = twin.NewError(twin.KindFull, "full")
	for range 5 {
		if _, state := send(d, "twins/pump-7/telemetry", `{"a":1}`, 0); state() != "done <nil>" {
			t.Fatalf("QoS 0: %s, want it dropped", state())
		}
	}
	if _, state := send(d, "twins/pump-7/telemetry", `{"a":1}`, 1); state() != "done full" {
		t.Errorf("QoS 1: %s, want no acknowledgement", state())
	}
	if d.Dropped() != 5 || len(f.rejected) != 5 {
		t.Errorf("%d dropped, %d noted, want 5", d.Dropped(), len(f.rejected))
	}
	now = now.Add(10 * time.Second)
	send(d, "twins/pump-7/telemetry", `{"a":1}`, 0)
	if got := strings.Count(log.String(), "\n"); got != 2 || !strings.Contains(log.String(), "messages=5") {
		t.Errorf("%d lines, want 2, the second about 5 messages:\n%s", got, log.String())
	}
	s.refuse = twin.NewError(twin.KindUnavailable, "stopping")
	if _, state := send(d, "twins/pump-7/telemetry", `{"a":1}`, 0); state() != "done stopping" || d.Dropped() != 6 {
		t.Errorf("stopping: %s", state())
	}
}

func TestDoor_patterns(t *testing.T) {
	d, _, s := telemetryDoor(t, quiet, atNoon, "dt/+/{thing}/#", "site/{metric}/{thing}", "m/{thing}/{metric}/#")
	f := func(topic, payload, want string) {
		t.Helper()
		taken, _ := send(d, topic, payload, 0)
		if got := s.take(); got != want || taken != (want != "") {
			t.Errorf("%s %s: %v %q, want %q", topic, payload, taken, got, want)
		}
	}
	f("dt/hh1/pump-7", `{"a":1}`, "pump-7 +0 a=1")
	f("dt/hh1/pump-7/", `{"a":1}`, "pump-7 +0 a=1")
	f("dt/hh1/pump-7/motor/speed", `1480`, "pump-7 +0 motor.speed=1480")
	f("dt/hh1/pump-7/motor", `{"a":1,"b":[2]}`, "pump-7 +0 motor.a=1 motor.b.0=2")
	f("site/temp/pump-7", `{"ts":"2026-11-23T11:59:59Z","values":{"a":1}}`, "pump-7 -1000 temp.a=1")
	f("site/temp/pump-7", `"hot"`, "pump-7 +0 temp=0hot")
	f("m/pump-7/motor", `true`, "pump-7 +0 motor=1")
	f("m/pump-7/motor/x/y", `1`, "pump-7 +0 motor.x.y=1")
	f("site/temp/pump-7/more", `1`, "")
	f("site/temp", `1`, "")
	f("dt/hh1", `{"a":1}`, "")
	f("dt/hh1/no thing/x", `1`, "")
	f("dtx/hh1/pump-7", `{"a":1}`, "")
	f("twins/pump-7/other", `{"a":1}`, "")
}

func TestParsePattern(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		p, err := device.ParsePattern(text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want == "" && p.String() != text:
			t.Errorf("%s became %s", text, p)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	f("dt/+/{thing}/#", "")
	f("{thing}", "")
	f("{thing}/{metric}", "")
	f("/a//{thing}/#", "")
	f("+/+/{thing}", "")
	f("", "it is empty; use something like dt/+/{thing}/#")
	f("dt/+/#", "{thing} is missing")
	f("dt/{thing}/{thing}", "{thing} is there twice")
	f("{metric}/{thing}/{metric}", "{metric} is there twice")
	f("dt/#/{thing}", "# stands only at the end")
	f("dt/{thing}-x", `level 2, "{thing}-x"`)
	f("dt/{device}", `level 2, "{device}"`)
	f("dt+/{thing}", `level 1, "dt+"`)
	f("dt/{thing}/a#", `level 3, "a#"`)
	f("$aws/things/{thing}", "begin with $")
	f("twins/{thing}/#", "topics below twins/ are taken")
	f("twins", "taken")
	f(strings.Repeat("x", 2000)+"/{thing}", "the limit is 1024")
	// Wildcards do not reach what is the server's own [MQTT-4.7.2-1].
	for _, topic := range []string{"$aws/things/pump-7/shadow/update", "twins/pump-7/x", "$SYS/pump-7"} {
		if thing, _, ok := pattern(t, "+/{thing}/#").Match(topic); ok {
			t.Errorf("%s is telemetry of %s", topic, thing)
		}
		if thing, _, ok := pattern(t, "+/+/{thing}/#").Match(topic); ok {
			t.Errorf("%s is telemetry of %s", topic, thing)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("dt/+/{thing}/#", "dt/hh1/pump-7/motor/speed")
	f.Add("{metric}/{thing}", "a/b")
	f.Fuzz(func(t *testing.T, text, topic string) {
		p, err := device.ParsePattern(text)
		if err != nil {
			return
		}
		thing, metric, ok := p.Match(topic)
		if !ok {
			return
		}
		levels := strings.Split(topic, "/")
		if !thing.Valid() || !slices.Contains(levels, string(thing)) {
			t.Errorf("%s of %s: thing %q", text, topic, thing)
		}
		if metric != "" && !strings.Contains(strings.ReplaceAll(topic, "/", "."), strings.Split(string(metric), ".")[0]) {
			t.Errorf("%s of %s: metric %q", text, topic, metric)
		}
	})
}

func TestTracker_patterns(t *testing.T) {
	tr := device.NewTracker(quiet, newFake(), time.Now, pattern(t, "dt/+/{thing}/#"))
	v := tr.Begin("gate way")
	v.Uses("dt/hh1/pump-7/motor")
	v.Uses("dt/hh1/pump-8/#") // a filter
	v.Uses("dt/hh1/+/#")
	v.Uses("other/hh1/pump-9")
	if !tr.Connected("pump-7") || !tr.Connected("pump-8") || tr.Connected("pump-9") {
		t.Error("wrong about who is connected")
	}
	v.Ended("bye")
}

func BenchmarkDoor_telemetry(b *testing.B) {
	p, err := device.ParsePattern("dt/+/{thing}/#")
	if err != nil {
		b.Fatal(err)
	}
	d := device.New(quiet, newFake(), device.Options{Telemetry: nowhere{}, Now: atNoon, Patterns: []device.Pattern{p}})
	m := &twin.Publish{Message: twin.Message{Topic: "dt/hh1/pump-7", Payload: []byte(
		`{"temperature":21.57,"pressure":1013.25,"humidity":45.1,"voltage":230.4,"current":1.25,"power":288.0,"rpm":1480,"vibration":0.0031,"running":true,"mode":"normal"}`)}}
	b.ReportAllocs()
	for b.Loop() {
		d.Publish(m, func(error) {})
	}
}

type nowhere struct{}

func (nowhere) Ingest(_ []twin.Row, _ bool, done func(error)) error { done(nil); return nil }

// twins are attributes and what was appended, made durable on demand.
type twins struct {
	attributes map[twin.ThingName]*twin.Attributes
	waiting    []func()
	events     []string
	refuse     error
}

func (w *twins) Attributes(thing twin.ThingName) *twin.Attributes {
	if a := w.attributes[thing]; a != nil {
		return a
	}
	return &twin.Attributes{}
}

func (w *twins) Append(en twin.Entry, done func(twin.EntryResult)) error {
	if w.refuse != nil {
		return w.refuse
	}
	w.waiting = append(w.waiting, func() {
		thing := en.Event.Thing
		next, err := en.Attributes(w.Attributes(thing))
		if err == nil {
			w.attributes[thing] = &next
			w.events = append(w.events, fmt.Sprintf("%s %s %s", thing, en.Event.Kind, en.Event.Message))
		}
		done(twin.EntryResult{Event: en.Event, Written: err == nil, Err: err})
	})
	return nil
}

func (w *twins) commit() (n int) {
	for _, f := range w.waiting {
		f()
	}
	n, w.waiting = len(w.waiting), nil
	return n
}

func TestHeard(t *testing.T) {
	var log bytes.Buffer
	w := &twins{attributes: map[twin.ThingName]*twin.Attributes{"lamp-1": {Model: "lamp"}}}
	s := &samples{}
	h := device.NewHeard(slog.New(slog.NewTextHandler(&log, nil)), w, s)
	start := twin.TimeOf(noon)
	measure := func(thing twin.ThingName, at, arrival twin.Time) {
		t.Helper()
		rows := []twin.Row{
			{Thing: thing, Time: at - 5, Arrival: arrival, Values: []twin.Measurement{{Metric: "a", Value: twin.NumberValue(1)}}},
			{Thing: thing, Time: at, Arrival: arrival, Values: []twin.Measurement{{Metric: "a", Value: twin.NumberValue(2)}}},
		}
		if err := h.Ingest(rows, false, func(error) {}); err != nil {
			t.Fatal(err)
		}
	}
	measure("pump-7", start, start)
	measure("pump-7", start+10, start+10) // its first event is on its way
	if n := w.commit(); n != 1 {
		t.Errorf("%d entries, want one", n)
	}
	measure("pump-7", start+20, start+20)
	measure("lamp-1", start+100, start+30) // a clock ahead of ours; known by its model
	if n := w.commit(); n != 0 {
		t.Errorf("%d entries of twins that are known", n)
	}
	if got, want := fmt.Sprint(w.events), "[pump-7 reported first telemetry]"; got != want || w.attributes["pump-7"].Found != start {
		t.Errorf("%s, found at %d", got, w.attributes["pump-7"].Found)
	}
	measure("pump-7", start-1000, start+40) // late
	for thing, want := range map[twin.ThingName]twin.Time{"pump-7": start + 20, "lamp-1": start + 30, "nobody": 0} {
		if got, _ := h.LastSeen(thing); got != want {
			t.Errorf("%s: last seen %d, want %d", thing, got-start, want-start)
		}
	}
	delete(w.attributes, "pump-7") // deleted as a whole; what it sends next makes it again
	measure("pump-7", start+20_000, start+20_000)
	if w.commit(); len(w.events) != 2 {
		t.Errorf("events %q", w.events)
	}
	w.refuse = twin.NewError(twin.KindFull, "full")
	measure("pump-9", start, start)
	w.refuse = nil
	measure("pump-9", start+1, start+1)
	measure("pump-9", start+10_001, start+10_001)
	w.attributes["pump-9"] = &twin.Attributes{Created: 1} // meanwhile
	if w.commit(); len(w.events) != 2 || w.attributes["pump-9"].Created != 1 {
		t.Errorf("events %q", w.events)
	}
	if log.Len() > 0 {
		t.Errorf("log %s", log.String())
	}
	s.refuse = twin.NewError(twin.KindFull, "full")
	if err := h.Ingest([]twin.Row{{Thing: "pump-10", Time: 1, Arrival: 1}}, true, nil); twin.Kind(err) != twin.KindFull {
		t.Errorf("refused: %v", err)
	}
	if _, known := h.LastSeen("pump-10"); known {
		t.Error("what was refused counts as seen")
	}
	if h.Remember("pump-10", 7) != 7 || h.Remember("pump-10", 3) != 7 {
		t.Error("what is remembered is not the newest")
	}
}
