package sim

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/twofold-iot/twofold/twin"
)

// Device is the firmware of one virtual device over its plant: it measures, reports, applies
// what is desired, answers commands, updates itself and starts again. It knows no network:
// what it says is in [Device.Say], and it acts at times that the caller brings, at the
// times of [Device.Next], so that the same seed and the same course of events give the same bytes.
// It is not safe for concurrent use.
type Device struct {
	Name string

	kind  *Kind
	plant *Plant
	rand  *rand.Rand // of the firmware; the plant has its own
	run   string     // begins the client tokens

	born        twin.Time
	down        twin.Time // it starts again until then
	ppm         float64   // how wrong the clock is
	skew        float64   // ms
	telemetryAt twin.Time
	reportAt    twin.Time
	settings    [][]byte // values in JSON, by the settings of the kind; nil: not set
	extra       []field  // applied, though the kind does not know it
	pending     change   // what is to be applied
	refused     []field  // what of the last change was not applied, and is not tried again
	version     int64    // of the shadow, as far as seen
	tasks       []task   // commands and updates under way
	firmware    string
	failed      bool
	faults      []*active
	reports     uint64
	said        []Message
	buf         []byte
	record      *Record
}

// Message is what a device says. Payload is valid until the device acts again.
type Message struct {
	Topic   string
	Payload []byte
	QoS0    bool
	Kind    MessageKind
	Number  uint64 // of its kind, from 1; 0: not counted
}

// MessageKind is what a message is for.
type MessageKind uint8

// The kinds of messages.
const (
	Other MessageKind = iota
	Report
	Telemetry
	Event
)

// change is what is desired and not yet applied.
type change struct {
	due     twin.Time // never: nothing
	version int64
	fields  []field
}

const (
	rebootFor     = 5 * 1000 // ms
	firmwareFirst = "1.0.0"
)

// NewDevice returns a device of a kind. Seed and number say what is random in it; run begins
// its client tokens, and is to be another for each run against the same server.
func NewDevice(k *Kind, name, run string, seed, number uint64, now twin.Time) *Device {
	const firmware = 0x5bd1e995 // so that firmware and plant have streams of their own
	d := &Device{
		Name: name, kind: k, run: run, born: now,
		plant:    NewPlant(k, seed, number, now),
		rand:     rand.New(rand.NewPCG(seed^firmware, number)),
		pending:  change{due: never},
		firmware: firmwareFirst,
	}
	d.ppm = k.opts.Drift * d.rand.NormFloat64()
	d.settings = make([][]byte, len(k.settings))
	for i := range k.settings {
		d.settings[i] = k.settings[i].value.value
	}
	d.reportAt = now + 1
	d.telemetryAt = now + 1 + twin.Time(d.rand.Float64()*float64(ms(k.opts.Telemetry)))
	return d
}

// Next is when the device acts by itself.
func (d *Device) Next() twin.Time {
	if d.down != 0 {
		return d.down
	}
	next := min(d.reportAt, d.pending.due, d.plant.Next())
	if len(d.kind.telemetry) > 0 {
		next = min(next, d.telemetryAt)
	}
	if end, wears := d.plant.FailsAt(); wears && !d.failed {
		next = min(next, end)
	}
	for i := range d.tasks {
		next = min(next, d.tasks[i].due)
	}
	for _, f := range d.faults {
		next = min(next, f.until, f.next)
	}
	return next
}

// Say is what the device has said since it was asked last.
func (d *Device) Say() []Message {
	said := d.said
	d.said = d.said[:0]
	return said
}

// Act does all that is due at a time, which is one of [Device.Next].
func (d *Device) Act(now twin.Time) {
	d.buf = d.buf[:0]
	if d.down != 0 {
		if now < d.down {
			return
		}
		d.start(now)
	}
	d.endFaults(now)
	if d.down != 0 {
		return
	}
	if now >= d.plant.Next() {
		before := d.plant.State()
		d.plant.To(now)
		if d.plant.State() != before && now < d.reportAt {
			d.reportAt = now
		}
	}
	if end, wears := d.plant.FailsAt(); wears && !d.failed && now >= end {
		d.failed = true
		d.event("failure", "critical", "worn out")
	}
	if now >= d.pending.due {
		d.apply()
	}
	if now >= d.telemetryAt && len(d.kind.telemetry) > 0 {
		d.plant.To(now)
		d.sample(now)
		d.telemetryAt += max(ms(d.kind.opts.Telemetry), 1)
	}
	if now >= d.reportAt {
		d.plant.To(now)
		d.report()
		d.reportAt = now + max(ms(d.kind.opts.Report), 1)
	}
	for i := 0; i < len(d.tasks); i++ {
		if now >= d.tasks[i].due && d.step(i, now) {
			d.tasks = slices.Delete(d.tasks, i, i+1)
			i--
		}
		if d.down != 0 {
			return
		}
	}
}

// start is a boot: what was only in memory is gone.
func (d *Device) start(now twin.Time) {
	d.down = 0
	d.pending = change{due: never}
	d.refused, d.version = nil, 0
	d.plant.To(now)
	for d.telemetryAt < now { // nothing was measured meanwhile
		d.telemetryAt += max(ms(d.kind.opts.Telemetry), 1)
	}
	d.reportAt = now
	d.event("reboot", "info", "started again")
}

// Down reports whether the device starts again just now, and is on no network.
func (d *Device) Down() bool { return d.down != 0 }

// Reboot starts the device again.
func (d *Device) Reboot(now twin.Time) { d.down = now + rebootFor }

// Connected tells the device that it has a connection, with all subscriptions. It asks for
// the shadow, as nobody knows what was said meanwhile, and at first for a job.
func (d *Device) Connected(first bool) {
	d.say(Message{Topic: "$aws/things/" + d.Name + "/shadow/get"}, nil)
	if first {
		d.say(Message{Topic: "$aws/things/" + d.Name + "/jobs/start-next"}, []byte("{}"))
	}
}

// Filters are what a device subscribes to.
func (d *Device) Filters() []string {
	aws := "$aws/things/" + d.Name
	return []string{
		aws + "/shadow/update/delta", aws + "/shadow/update/rejected", aws + "/shadow/get/accepted",
		aws + "/jobs/notify-next", aws + "/jobs/start-next/accepted", "twins/" + d.Name + "/commands/+",
	}
}

// Final lets the device report all it is; with nothing under way this is what the twin must
// be like. After that it says nothing by itself.
func (d *Device) Final() {
	d.buf = d.buf[:0]
	d.reportAt, d.telemetryAt = never, never
	d.report()
}

// Plant is the physics of the device.
func (d *Device) Plant() *Plant { return d.plant }

// Firmware is the version that runs.
func (d *Device) Firmware() string { return d.firmware }

// say adds a message; the payload is copied to where it is valid until the next act.
func (d *Device) say(m Message, payload []byte) {
	from := len(d.buf)
	d.buf = append(d.buf, payload...)
	m.Payload = d.buf[from:len(d.buf):len(d.buf)]
	d.said = append(d.said, m)
}

// clock is the time that the device believes it is.
func (d *Device) clock(now twin.Time) twin.Time {
	return now + twin.Time(math.Round(d.skew+d.ppm*1e-6*float64(now-d.born)))
}

// sample sends what the sensors of telemetry say.
func (d *Device) sample(now twin.Time) {
	ts := d.clock(now)
	b := append(d.scratch(), `{"ts":`...)
	b = strconv.AppendInt(b, int64(ts), 10)
	b = append(b, `,"values":{`...)
	values := 0
	var kept []float64
	for _, i := range d.kind.telemetry {
		v, ok := d.reading(i, now)
		if d.record != nil {
			kept = append(kept, v)
		}
		if !ok {
			continue
		}
		if values++; values > 1 {
			b = append(b, ',')
		}
		b = appendText(b, d.kind.signals[i].path[0])
		b = append(b, ':')
		b = appendFigure(b, v, d.kind.signals[i].Digits)
	}
	if values == 0 {
		return
	}
	b = append(b, "}}"...)
	m := Message{Topic: "twins/" + d.Name + "/telemetry", QoS0: d.kind.opts.QoS0, Kind: Telemetry}
	if d.record != nil {
		m.Number = d.record.sample(ts, kept)
	}
	d.said = append(d.said, d.own(m, b))
}

// scratch is room for a payload at the end of the buffer.
func (d *Device) scratch() []byte { return d.buf[len(d.buf):] }

// own makes a payload that was built in scratch the message's.
func (d *Device) own(m Message, b []byte) Message {
	if cap(d.buf)-len(d.buf) >= len(b) && len(b) > 0 && &d.buf[:len(d.buf)+1][len(d.buf)] == &b[0] {
		d.buf = d.buf[:len(d.buf)+len(b)]
	} else { // it has grown elsewhere: what was said before keeps its memory
		d.buf = b
	}
	m.Payload = b[:len(b):len(b)]
	return m
}

// event sends an event.
func (d *Device) event(kind, severity, message string) {
	b := append(d.scratch(), `{"type":`...)
	b = appendText(b, kind)
	b = append(b, `,"severity":`...)
	b = appendText(b, severity)
	b = append(b, `,"message":`...)
	b = appendText(b, message)
	b = append(b, '}')
	m := Message{Topic: "twins/" + d.Name + "/events", Kind: Event}
	if d.record != nil {
		m.Number = d.record.event(kind)
	}
	d.said = append(d.said, d.own(m, b))
}

// appendFigure appends a number with so many digits after the point.
func appendFigure(b []byte, v float64, digits int) []byte {
	return strconv.AppendFloat(b, rounded(v, digits), 'f', -1, 64)
}

// rounded is a number with so many digits after the point.
func rounded(v float64, digits int) float64 {
	scale := powers[digits]
	if r := math.Round(v*scale) / scale; !math.IsInf(r, 0) && !math.IsNaN(r) {
		return r + 0 // no -0
	}
	return v
}

var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}
