package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/twin"
)

// Options say what the firmware of a kind of device does; the zero value has the defaults.
type Options struct {
	Telemetry time.Duration // between messages of telemetry; 10 s
	Report    time.Duration // between reports; 1 min, and whenever the state changes
	QoS0      bool          // telemetry is not acknowledged
	Delay     time.Duration // until what is desired is applied, on average; 1 s
	Refuse    float64       // the part of desired changes and commands that is refused
	Drift     float64       // of the clock, in parts per million: the spread between devices; 20
	Store     int           // messages kept while there is no connection; 1,000
	Update    time.Duration // that a firmware update takes; 30 s
	Fail      float64       // the part of firmware updates that fails
}

func (o Options) filled() Options {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.Telemetry, 10*time.Second)
	set(&o.Report, time.Minute)
	set(&o.Delay, time.Second)
	set(&o.Update, 30*time.Second)
	if o.Drift == 0 {
		o.Drift = 20
	}
	if o.Store == 0 {
		o.Store = 1000
	}
	return o
}

// Kind is what devices of a kind have in common. It is immutable once devices are made of it.
type Kind struct {
	opts      Options
	signals   []signal
	telemetry []int // signals that telemetry has, by path
	reported  []int // signals that reports have, by path
	states    []state
	attribute []string  // path of the state in reported; nil: there is none
	settings  []setting // what can be desired, by path
	constants []field   // reported as they are
}

// signal is a law with what it names found.
type signal struct {
	model.Signal
	path    []string  // without the section
	in      []float64 // by state; nil: none
	follows int       // signal, -1: none
	setting int       // setting that it follows, -1: none
	tau     float64   // in ms
	memory  float64   // in ms
}

// state is one state with the ways out of it.
type state struct {
	name     string
	min, max float64 // dwell in ms; 0: any
	mean     float64
	to       []int
	weights  []float64 // of to, running sums
}

// setting is something that can be desired.
type setting struct {
	path  []string
	value field   // at first
	n     float64 // the value as a number; NaN: it is none
}

// field is a path and its value in JSON.
type field struct {
	path  []string
	value json.RawMessage
}

func (f field) equal(o field) bool {
	return slices.Equal(f.path, o.path) && bytes.Equal(f.value, o.value)
}

// NewKind makes a kind of a model. What the model has no dynamics for moves as its schema
// says: a number with a range lies in the middle of it, with a noise of a hundredth.
func NewKind(m *model.Model, o Options) (*Kind, error) {
	k := &Kind{opts: o.filled()}
	k.addStates(m)
	k.addSettings(m)
	if d := m.Dynamics(); d != nil {
		for i := range d.Signals {
			if err := k.add(d.Signals[i]); err != nil {
				return nil, err
			}
		}
	}
	k.addSchema(m)
	for i := range k.signals {
		if strings.HasPrefix(k.signals[i].Metric, "telemetry.") {
			k.telemetry = append(k.telemetry, i)
		} else {
			k.reported = append(k.reported, i)
		}
	}
	byPath := func(a, b int) int { return slices.Compare(k.signals[a].path, k.signals[b].path) }
	slices.SortFunc(k.telemetry, byPath)
	slices.SortFunc(k.reported, byPath)
	if len(k.signals) == 0 && k.attribute == nil {
		return nil, fmt.Errorf("the model %s has no schema, no dynamics and no states of an attribute: a virtual device of it would have nothing to say; add dynamics, as in docs/simulate.md", m.Name)
	}
	return k, nil
}

// add adds a signal; those that it follows are there.
func (k *Kind) add(law model.Signal) error {
	section, rest, _ := strings.Cut(law.Metric, ".")
	s := signal{Signal: law, follows: -1, setting: -1, tau: float64(law.Tau), memory: float64(law.Memory)}
	s.path = []string{rest}
	if section == "reported" {
		s.path = strings.Split(rest, ".")
	}
	if len(law.In) > 0 {
		s.in = make([]float64, len(k.states))
		for i := range k.states {
			s.in[i] = law.In[k.states[i].name]
		}
	}
	if law.Follows != "" {
		if err := k.follow(&s); err != nil {
			return err
		}
	}
	k.signals = append(k.signals, s)
	return nil
}

func (k *Kind) follow(s *signal) error {
	if s.follows = slices.IndexFunc(k.signals, func(o signal) bool { return o.Metric == s.Follows }); s.follows >= 0 {
		return nil
	}
	section, rest, _ := strings.Cut(s.Follows, ".")
	path := strings.Split(rest, ".")
	same := func(o setting) bool { return slices.Equal(o.path, path) }
	if s.setting = slices.IndexFunc(k.settings, same); s.setting >= 0 {
		return nil
	}
	if section != "desired" {
		return fmt.Errorf("dynamics.signals.%s follows %s, which is no signal of the model", s.Metric, s.Follows)
	}
	k.settings = append(k.settings, setting{path, field{path: path}, math.NaN()})
	s.setting = len(k.settings) - 1
	return nil
}

// addStates takes the states of a behaviour that goes by an attribute of reported.
func (k *Kind) addStates(m *model.Model) {
	b := m.Behaviour()
	if b == nil || b.Attribute == nil {
		return
	}
	reads := b.Attribute.Reads()
	if len(reads) != 1 || len(reads[0]) < 2 || reads[0][0] != "reported" || b.Attribute.Source() != reads[0].String() {
		return // computed of something that the signals move
	}
	k.attribute = reads[0][1:]
	at := map[string]int{}
	for i := range b.States {
		at[b.States[i].Name] = i
	}
	said := map[string]model.StateDynamics{}
	if d := m.Dynamics(); d != nil {
		for _, s := range d.States {
			said[s.State] = s
		}
	}
	for i := range b.States {
		from := &b.States[i]
		s := state{name: from.Name, min: float64(from.Min), max: float64(from.Max), mean: float64(said[from.Name].Dwell)}
		sum := 0.0
		for _, t := range from.To {
			weight := 1.0
			if d, ok := said[t.To]; ok {
				weight = d.Weight
			}
			if to, ok := at[t.To]; ok && weight > 0 {
				sum += weight
				s.to, s.weights = append(s.to, to), append(s.weights, sum)
			}
		}
		k.states = append(k.states, s)
	}
	// The first state is the one in which the behaviour begins.
	k.begin(b.Initial)
}

// begin makes a state the first.
func (k *Kind) begin(name string) {
	first := slices.IndexFunc(k.states, func(s state) bool { return s.name == name })
	if first <= 0 {
		return
	}
	k.states[0], k.states[first] = k.states[first], k.states[0]
	for i := range k.states {
		for j, to := range k.states[i].to {
			switch to {
			case 0:
				k.states[i].to[j] = first
			case first:
				k.states[i].to[j] = 0
			}
		}
	}
}

func (k *Kind) addSettings(m *model.Model) {
	s := m.Schema("desired")
	if s == nil {
		return
	}
	for i := range s.Properties {
		p := &s.Properties[i]
		if slices.Contains([]string{"object", "array"}, p.Type) {
			continue
		}
		x := setting{path: p.Path[1:], n: math.NaN()}
		x.value = field{x.path, first(p)}
		var n float64
		if json.Unmarshal(x.value.value, &n) == nil {
			x.n = n
		}
		if x.value.value != nil {
			k.settings = append(k.settings, x)
		}
	}
}

// addSchema adds what the schema knows and the dynamics do not say.
func (k *Kind) addSchema(m *model.Model) {
	for _, section := range []string{"reported", "telemetry"} {
		s := m.Schema(section)
		if s == nil {
			continue
		}
		for i := range s.Properties {
			k.addProperty(section, &s.Properties[i])
		}
	}
}

func (k *Kind) addProperty(section string, p *model.Property) {
	path := []string(p.Path[1:])
	metric := section + "." + strings.Join(path, ".")
	if slices.ContainsFunc(k.signals, func(s signal) bool { return s.Metric == metric }) {
		return
	}
	if section == "reported" {
		if slices.Equal(path, k.attribute) || slices.ContainsFunc(k.settings, func(s setting) bool { return slices.Equal(s.path, path) }) {
			return
		}
	}
	if (p.Type == "number" || p.Type == "integer") && len(p.Enum) == 0 {
		low, high := bounds(p)
		law := model.Signal{Metric: metric, Level: (low + high) / 2, Noise: (high - low) / 100, Memory: twin.Time(time.Minute.Milliseconds()), Min: p.Min, Max: p.Max, Digits: 3}
		if p.Type == "integer" {
			law.Digits = 0
		}
		_ = k.add(law) // it follows nothing
		return
	}
	if v := first(p); v != nil && section == "reported" {
		k.constants = append(k.constants, field{path, v})
	}
}

// bounds are those of a number, and where there are none, what a sensor may well say.
func bounds(p *model.Property) (low, high float64) {
	const width = 40
	switch {
	case p.Min != nil && p.Max != nil:
		return *p.Min, *p.Max
	case p.Min != nil:
		return *p.Min, *p.Min + width
	case p.Max != nil:
		return *p.Max - width, *p.Max
	}
	return 0, width
}

// first is what a property is at first; nil: nothing that could be made up.
func first(p *model.Property) json.RawMessage {
	switch {
	case len(p.Enum) > 0:
		return json.RawMessage(p.Enum[0])
	case p.Type == "boolean":
		return json.RawMessage("false")
	case p.Type == "number" || p.Type == "integer":
		low, high := bounds(p)
		middle := (low + high) / 2
		if p.Type == "integer" {
			middle = math.Floor(middle)
		}
		b, _ := json.Marshal(middle)
		return b
	}
	return nil
}

// Metrics are the signals by name, in the order of [Plant.Value].
func (k *Kind) Metrics() []string {
	names := make([]string, len(k.signals))
	for i := range k.signals {
		names[i] = k.signals[i].Metric
	}
	return names
}

// signal returns the place of a signal, -1 if there is none.
func (k *Kind) signal(metric string) int {
	return slices.IndexFunc(k.signals, func(s signal) bool { return s.Metric == metric })
}
