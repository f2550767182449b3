package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Fault is something that goes wrong with a device or with its way to the server. What the
// fields mean, and which a verb needs, is in the table of [Verbs].
type Fault struct {
	Verb   string
	Metric string        // of a sensor; empty: all of them, where that makes sense
	P      float64       // the part of messages, readings or changes that is hit
	Size   float64       // of a spike, a noise or a drift an hour; what wear adds; seconds of skew
	Time   time.Duration // of a delay, an outage, a life
	Every  time.Duration // between outages and reboots
	For    time.Duration // how long the fault lasts; 0: until it is taken back
}

// Link reports whether a fault is one of the way to the server.
func (f *Fault) Link() bool {
	return slices.Contains([]string{"drop", "duplicate", "reorder", "delay", "offline", "flapping"}, f.Verb)
}

// Verb is a kind of fault.
type Verb struct {
	Name  string
	Needs string // the fields that have to be set, of "metric p size time every"
	May   string // those that may
	About string
}

// Verbs lists what can go wrong.
func Verbs() []Verb {
	return []Verb{
		{"drop", "p", "", "messages are lost on the way; the device sends those of QoS 1 again"},
		{"duplicate", "p", "", "messages arrive twice"},
		{"reorder", "p", "", "messages are overtaken by the next"},
		{"delay", "time", "p", "messages come later"},
		{"offline", "", "", "there is no network"},
		{"flapping", "every time", "", "the network goes every so often, for a time"},
		{"reboot", "", "every", "the device starts again, once or every so often"},
		{"clock-skew", "size", "", "the clock is ahead, by so many seconds"},
		{"stuck", "", "metric", "a sensor says the same for ever"},
		{"drift", "metric size", "", "a sensor says more and more, by so much an hour"},
		{"spike", "p size", "metric", "some readings are far off"},
		{"noise", "metric size", "", "a sensor is noisy, with so large a standard deviation"},
		{"missing", "", "metric p", "a sensor says nothing"},
		{"half-applied", "", "p", "of what is desired only a part is applied"},
		{"refuse", "", "p", "what is desired is refused"},
		{"refuse-commands", "", "p", "commands are refused"},
		{"wear", "metric size time", "", "something wears out: a signal goes up by so much until it fails, at the end of the time"},
		{"battery", "metric time", "", "a signal goes to zero evenly"},
		{"repair", "", "", "all wear and all faults end"},
	}
}

// Check says what is missing or too much.
func (f *Fault) Check() error {
	all := Verbs()
	at := slices.IndexFunc(all, func(v Verb) bool { return v.Name == f.Verb })
	if at < 0 {
		names := make([]string, len(all))
		for i := range all {
			names[i] = all[i].Name
		}
		return fmt.Errorf("there is no fault %q; there are %s", f.Verb, strings.Join(names, ", "))
	}
	needs, may := strings.Fields(all[at].Needs), strings.Fields(all[at].May)
	given := map[string]bool{"metric": f.Metric != "", "p": f.P != 0, "size": f.Size != 0, "time": f.Time != 0, "every": f.Every != 0}
	for _, name := range []string{"metric", "p", "size", "time", "every"} {
		switch {
		case slices.Contains(needs, name) && !given[name]:
			return fmt.Errorf("the fault %s needs %s: %s", f.Verb, name, all[at].About)
		case given[name] && !slices.Contains(needs, name) && !slices.Contains(may, name):
			return fmt.Errorf("the fault %s has no %s: %s", f.Verb, name, all[at].About)
		}
	}
	if f.P < 0 || f.P > 1 {
		return fmt.Errorf("the fault %s: p is %g, not 0 to 1", f.Verb, f.P)
	}
	if f.Time < 0 || f.Every < 0 || f.For < 0 {
		return fmt.Errorf("the fault %s: a time is negative", f.Verb)
	}
	if f.Every > 0 && f.Time >= f.Every {
		return fmt.Errorf("the fault %s: time %s is not shorter than every %s", f.Verb, f.Time, f.Every)
	}
	return nil
}

// part is p, or all if it is not said.
func (f *Fault) part() float64 {
	if f.P == 0 {
		return 1
	}
	return f.P
}

func ms(d time.Duration) twin.Time { return twin.Time(d.Milliseconds()) }
