package sim

import (
	"math"
	"slices"

	"github.com/twofold-iot/twofold/twin"
)

// active is a fault under way, with what it remembers.
type active struct {
	Fault

	begun twin.Time
	until twin.Time       // never: until it is taken back
	next  twin.Time       // when it does something by itself
	held  map[int]float64 // what a stuck sensor says
}

// Inject lets something go wrong from now on. Faults of the way to the server are the
// link's; see [Fault.Link].
func (d *Device) Inject(now twin.Time, f Fault) {
	a := &active{Fault: f, begun: now, until: never, next: never}
	if f.For > 0 {
		a.until = now + ms(f.For)
	}
	switch f.Verb {
	case "repair":
		d.plant.Repair()
		d.skew, d.faults, d.failed = 0, nil, false
		return
	case "clock-skew":
		d.skew += f.Size * 1000
	case "reboot":
		d.Reboot(now)
		if f.Every == 0 {
			return
		}
		a.next = now + ms(f.Every)
	case "wear", "battery":
		d.wear(now, &f)
		return
	}
	d.faults = append(d.faults, a)
}

// wear lets a signal degrade.
func (d *Device) wear(now twin.Time, f *Fault) {
	i := d.kind.signal(f.Metric)
	if i < 0 {
		return
	}
	d.plant.To(now)
	if f.Verb == "battery" {
		d.plant.Wear(i, -d.plant.Value(i), ms(f.Time), 0)
		return
	}
	const shape = 5
	d.plant.Wear(i, f.Size, ms(f.Time), shape)
	d.failed = false
}

// endFaults ends what was only for a time, and lets happen what is due.
func (d *Device) endFaults(now twin.Time) {
	d.faults = slices.DeleteFunc(d.faults, func(a *active) bool {
		if now < a.until {
			return false
		}
		if a.Verb == "clock-skew" {
			d.skew -= a.Size * 1000
		}
		return true
	})
	for _, a := range d.faults {
		if now >= a.next {
			d.Reboot(now)
			a.next = now + ms(a.Every)
		}
	}
}

// hit reports whether a fault strikes this time.
func (d *Device) hit(verb string) bool {
	for _, a := range d.faults {
		if a.Verb == verb && (a.P == 0 || a.P == 1 || d.rand.Float64() < a.P) {
			return true
		}
	}
	return false
}

// reading is what the sensor of a signal says; false: nothing.
func (d *Device) reading(i int, now twin.Time) (float64, bool) {
	law := &d.kind.signals[i]
	v := d.plant.Value(i)
	for _, a := range d.faults {
		if a.Metric != "" && a.Metric != law.Metric {
			continue
		}
		switch a.Verb {
		case "stuck":
			if a.held == nil {
				a.held = map[int]float64{}
			}
			if _, ok := a.held[i]; !ok {
				a.held[i] = v
			}
			v = a.held[i]
		case "drift":
			v += a.Size * float64(now-a.begun) / hour
		case "spike":
			if d.rand.Float64() < a.part() {
				v += a.Size
			}
		case "noise":
			v += a.Size * d.rand.NormFloat64()
		case "missing":
			if a.P == 0 || d.rand.Float64() < a.P {
				return math.NaN(), false
			}
		}
	}
	return rounded(law.clamp(v), law.Digits), true
}
