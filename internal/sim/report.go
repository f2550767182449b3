package sim

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// report sends all that the device reports: settings, constants, state, firmware, signals.
func (d *Device) report() {
	d.reports++
	b := append(d.scratch(), `{"state":{"reported":`...)
	from := len(b)
	b = appendTree(b, d.reported())
	if d.record != nil {
		d.record.Last, d.record.Reports = bytes.Clone(b[from:]), d.reports
	}
	b = append(b, `},"clientToken":"`...)
	b = append(b, d.run...)
	b = append(b, '-')
	b = strconv.AppendUint(b, d.reports, 10)
	b = append(b, `"}`...)
	m := Message{Topic: "$aws/things/" + d.Name + "/shadow/update", Kind: Report, Number: d.reports}
	d.said = append(d.said, d.own(m, b))
}

// reported lists what a report has, by path.
func (d *Device) reported() []field {
	all := slices.Clone(d.kind.constants)
	for i := range d.settings {
		if d.settings[i] != nil {
			all = append(all, field{d.kind.settings[i].path, d.settings[i]})
		}
	}
	all = append(all, d.extra...)
	if d.kind.attribute != nil {
		all = append(all, field{d.kind.attribute, appendText(nil, d.plant.State())})
	}
	for _, i := range d.kind.reported {
		if v, ok := d.reading(i, d.plant.now); ok {
			s := &d.kind.signals[i]
			all = append(all, field{s.path, appendFigure(nil, v, s.Digits)})
		}
	}
	own := []string{"firmware"}
	if !slices.ContainsFunc(all, func(f field) bool { return slices.Equal(f.path, own) }) {
		all = append(all, field{own, appendText(nil, d.firmware)})
	}
	slices.SortStableFunc(all, func(a, b field) int { return slices.Compare(a.path, b.path) })
	// One value for a path: of two the one that was applied, which stands later.
	out := all[:0]
	for i := range all {
		if n := len(out); n > 0 && slices.Equal(out[n-1].path, all[i].path) {
			out[n-1] = all[i]
			continue
		}
		out = append(out, all[i])
	}
	return out
}

// appendTree appends fields, which are sorted by path, as an object.
func appendTree(b []byte, fields []field) []byte {
	var open []string
	b = append(b, '{')
	for i := range fields {
		f := &fields[i]
		shared := 0
		for shared < len(open) && shared < len(f.path)-1 && open[shared] == f.path[shared] {
			shared++
		}
		for range len(open) - shared {
			b = append(b, '}')
		}
		open = open[:shared]
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		for _, name := range f.path[shared : len(f.path)-1] {
			b = appendText(b, name)
			b = append(b, ':', '{')
			open = append(open, name)
		}
		b = appendText(b, f.path[len(f.path)-1])
		b = append(b, ':')
		b = append(b, f.value...)
	}
	for range len(open) + 1 {
		b = append(b, '}')
	}
	return b
}

// appendText appends a text in JSON.
func appendText(b []byte, s string) []byte {
	plain := func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r > '~' }
	if !strings.ContainsFunc(s, plain) {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	text, _ := json.Marshal(s)
	return append(b, text...)
}

// leaves lists the values of an object by path, in order.
func leaves(object map[string]json.RawMessage, path []string, into []field) []field {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		at := append(slices.Clone(path), name)
		var inner map[string]json.RawMessage
		raw := bytes.TrimSpace(object[name])
		if len(raw) > 0 && raw[0] == '{' && json.Unmarshal(raw, &inner) == nil && len(inner) > 0 {
			into = leaves(inner, at, into)
			continue
		}
		into = append(into, field{at, raw})
	}
	return into
}

// Receive takes a message that the device has subscribed to.
func (d *Device) Receive(now twin.Time, topic string, payload []byte) {
	if d.down != 0 {
		return
	}
	d.buf = d.buf[:0]
	rest, aws := strings.CutPrefix(topic, "$aws/things/"+d.Name+"/")
	if !aws {
		if _, command, ok := strings.Cut(topic, "/commands/"); ok && !strings.Contains(command, "/") {
			d.command(now, payload)
		}
		return
	}
	switch rest {
	case "shadow/update/delta":
		var m struct {
			Version int64
			State   map[string]json.RawMessage
		}
		if json.Unmarshal(payload, &m) == nil {
			d.desire(now, m.Version, m.State)
		}
	case "shadow/get/accepted":
		var m struct {
			Version int64
			State   struct{ Delta map[string]json.RawMessage }
		}
		if json.Unmarshal(payload, &m) == nil {
			d.desire(now, m.Version, m.State.Delta)
		}
	case "shadow/update/rejected":
		var m struct{ ClientToken, Message string }
		if json.Unmarshal(payload, &m) == nil && d.record != nil {
			d.record.reject(d.run, m.ClientToken, m.Message)
		}
	case "jobs/notify-next":
		d.jobWaits(payload)
	case "jobs/start-next/accepted":
		d.jobStarts(now, payload)
	}
}

// desire takes a delta. It is all that differs, so it stands for those before.
func (d *Device) desire(now twin.Time, version int64, delta map[string]json.RawMessage) {
	if version < d.version {
		return // overtaken by a newer one
	}
	d.version = version
	due := d.pending.due
	d.pending = change{due: never, version: version, fields: leaves(delta, nil, nil)}
	if len(d.pending.fields) == 0 || slices.EqualFunc(d.pending.fields, d.refused, field.equal) {
		return // what is refused once is told again with each report
	}
	if due == never {
		due = now + d.takes(d.kind.opts.Delay)
	}
	d.pending.due = due
}

// takes is how long something takes this time, of which the mean is known.
func (d *Device) takes(mean time.Duration) twin.Time {
	const spread = 0.5
	return max(twin.Time(float64(ms(mean))*math.Exp(spread*d.rand.NormFloat64()-spread*spread/2)), 1)
}

// apply does what is desired, or a part of it, and says so.
func (d *Device) apply() {
	c := d.pending
	d.pending = change{due: never}
	if d.hit("refuse") || d.rand.Float64() < d.kind.opts.Refuse {
		d.refused = c.fields
		d.refuse(c.version, "not now")
		return
	}
	d.refused = nil
	half := d.hit("half-applied")
	for i := range c.fields {
		if half && i >= (len(c.fields)+1)/2 && len(c.fields) > 1 {
			break
		}
		if half && len(c.fields) == 1 {
			return // half of one is none
		}
		if !d.applyField(&c.fields[i]) {
			d.refused = append(d.refused, c.fields[i])
			d.refuse(c.version, "there is no setting "+strings.Join(c.fields[i].path, "."))
		}
	}
	d.report()
}

// applyField applies one value. A kind that knows its settings has no others.
func (d *Device) applyField(f *field) bool {
	at := slices.IndexFunc(d.kind.settings, func(s setting) bool { return slices.Equal(s.path, f.path) })
	if at >= 0 {
		d.settings[at] = bytes.Clone(f.value)
		var v float64
		if json.Unmarshal(f.value, &v) == nil {
			d.plant.set(at, v)
		}
		return true
	}
	if len(d.kind.settings) > 0 {
		return false
	}
	d.extra = slices.DeleteFunc(d.extra, func(o field) bool { // also those above and below
		n := min(len(o.path), len(f.path))
		return slices.Equal(o.path[:n], f.path[:n])
	})
	if string(f.value) != "null" {
		d.extra = append(d.extra, field{f.path, bytes.Clone(f.value)})
	}
	slices.SortFunc(d.extra, func(a, b field) int { return cmp.Compare(strings.Join(a.path, "."), strings.Join(b.path, ".")) })
	return true
}

func (d *Device) refuse(version int64, message string) {
	b := append([]byte(`{"status":"rejected","message":`), appendText(nil, message)...)
	d.say(Message{Topic: "twins/" + d.Name + "/intents/" + strconv.FormatInt(version, 10) + "/status"}, append(b, '}'))
}
