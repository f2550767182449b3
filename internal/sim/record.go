package sim

import (
	"strconv"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// Record is what a device has said, for a check of what became of it.
type Record struct {
	Metrics  []string // of telemetry, without the section
	Samples  []Sample
	Events   []Said
	Last     []byte            // what the last report said, in JSON
	Reports  uint64            // client tokens run-1 to run-Reports were given
	Lost     map[uint64]bool   // numbers of reports that never left the device: its store was full
	Rejected map[uint64]string // those that the server has refused, and why
}

// Sample is one message of telemetry. Values are those of Metrics; NaN: it had none.
type Sample struct {
	At     twin.Time
	Values []float64
	Lost   bool
}

// Said is one event.
type Said struct {
	Type string
	Lost bool
}

// Keep lets a device record what it says. It is to be called before it acts.
func (d *Device) Keep() *Record {
	r := &Record{Lost: map[uint64]bool{}, Rejected: map[uint64]string{}}
	for _, i := range d.kind.telemetry {
		r.Metrics = append(r.Metrics, d.kind.signals[i].path[0])
	}
	d.record = r
	return r
}

// Token is the client token of a report.
func (d *Device) Token(n uint64) string { return d.run + "-" + strconv.FormatUint(n, 10) }

func (r *Record) sample(at twin.Time, values []float64) uint64 {
	r.Samples = append(r.Samples, Sample{At: at, Values: values})
	return uint64(len(r.Samples))
}

func (r *Record) event(kind string) uint64 {
	r.Events = append(r.Events, Said{Type: kind})
	return uint64(len(r.Events))
}

func (r *Record) reject(run, token, message string) {
	number, ok := strings.CutPrefix(token, run+"-")
	if n, err := strconv.ParseUint(number, 10, 64); ok && err == nil {
		r.Rejected[n] = message
	}
}

// lose notes that a message has not left the device.
func (r *Record) lose(m *Message) {
	if r == nil || m.Number == 0 {
		return
	}
	switch m.Kind {
	case Report:
		r.Lost[m.Number] = true
	case Telemetry:
		r.Samples[m.Number-1].Lost = true
	case Event:
		r.Events[m.Number-1].Lost = true
	}
}
