package model

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/twofold-iot/twofold/twin"
)

// Memory is what a model keeps of one twin between steps. It is immutable; nil is that of
// a twin of which nothing is kept. Alarms are kept by name, so that they outlive a new
// version of the model.
type Memory struct {
	alarms []AlarmMemory // of those that are not idle or are muted, in the order of the model
	state  StateMemory
}

// AlarmState says where an alarm stands. The numbers are on disk.
type AlarmState uint8

// The states of an alarm.
const (
	AlarmIdle    AlarmState = 0
	AlarmPending AlarmState = 1 // the condition holds, not yet for long enough
	AlarmActive  AlarmState = 2 // it is raised, and nobody has acknowledged it
	AlarmAcked   AlarmState = 3 // it is raised, and acknowledged
)

// AlarmMemory is one alarm of one twin.
type AlarmMemory struct {
	Name       string
	State      AlarmState
	Since      twin.Time // when the condition began to hold, once raised: when it was raised
	MutedUntil twin.Time // 0: not muted
	By         string    // who acknowledged it
}

// Raised reports whether the alarm is raised, acknowledged or not.
func (a AlarmMemory) Raised() bool { return a.State >= AlarmActive }

func (a AlarmMemory) empty() bool { return a.State == AlarmIdle && a.MutedUntil == 0 }

// data is what an event tells; since is the word for when the state began.
func (a AlarmMemory) data(since string) map[string]any {
	d := map[string]any{since: a.Since}
	if a.MutedUntil != 0 {
		d["muted"] = true
	}
	return d
}

// Alarms lists the alarms that are pending, raised or muted. The caller must not change it.
func (m *Memory) Alarms() []AlarmMemory {
	if m == nil {
		return nil
	}
	return m.alarms
}

// State returns the state of the behaviour; the zero value is none.
func (m *Memory) State() StateMemory {
	if m == nil {
		return StateMemory{}
	}
	return m.state
}

func (m *Memory) alarm(name string) AlarmMemory {
	for _, a := range m.Alarms() {
		if a.Name == name {
			return a
		}
	}
	return AlarmMemory{Name: name}
}

func (m *Memory) equal(n *Memory) bool {
	return slices.Equal(m.Alarms(), n.Alarms()) && m.State() == n.State()
}

// with returns a memory in which one alarm is as said.
func (m *Memory) with(a AlarmMemory) *Memory {
	n := &Memory{alarms: slices.Clone(m.Alarms()), state: m.State()}
	i := slices.IndexFunc(n.alarms, func(b AlarmMemory) bool { return b.Name == a.Name })
	switch {
	case i < 0 && !a.empty():
		n.alarms = append(n.alarms, a)
	case i >= 0 && a.empty():
		n.alarms = slices.Delete(n.alarms, i, i+1)
	case i >= 0:
		n.alarms[i] = a
	}
	return n
}

// Acknowledge notes that somebody has seen a raised alarm. The error is of kind NotFound
// if the model has no such alarm, Conflict if it is not raised or is acknowledged already.
func (m *Model) Acknowledge(mem *Memory, name, who string) (*Memory, StepEvent, error) {
	a, s := m.alarm(name), mem.alarm(name)
	switch {
	case a == nil:
		return nil, StepEvent{}, m.noAlarm(name)
	case who == "" || len(who) > AckBytesMax:
		return nil, StepEvent{}, twin.NewError(twin.KindInvalid, fmt.Sprintf("who acknowledges has a name of 1 to %d bytes", AckBytesMax))
	case !s.Raised():
		return nil, StepEvent{}, twin.NewError(twin.KindConflict, fmt.Sprintf("alarm %s is not raised", name))
	case s.State == AlarmAcked:
		return nil, StepEvent{}, twin.NewError(twin.KindConflict, fmt.Sprintf("alarm %s is acknowledged already, by %s", name, s.By))
	}
	s.State, s.By = AlarmAcked, who
	return mem.with(s), a.event(AlarmAcknowledged, "", map[string]any{"by": who}), nil
}

// Mute marks what an alarm tells until a time: its events go on, and say that they are
// muted. At that time, or when until is not after now, an event says so.
func (m *Model) Mute(mem *Memory, name string, until, now twin.Time) (*Memory, StepEvent, error) {
	a, s := m.alarm(name), mem.alarm(name)
	if a == nil {
		return nil, StepEvent{}, m.noAlarm(name)
	}
	if until <= now {
		if s.MutedUntil == 0 {
			return nil, StepEvent{}, twin.NewError(twin.KindInvalid, fmt.Sprintf("the time until which alarm %s is muted is not in the future", name))
		}
		s.MutedUntil = 0
		return mem.with(s), a.event(AlarmUnmuted, "", map[string]any{"raised": s.Raised()}), nil
	}
	s.MutedUntil = until
	return mem.with(s), a.event(AlarmMuted, "", map[string]any{"until": until}), nil
}

func (m *Model) noAlarm(name string) error {
	return twin.NewError(twin.KindNotFound, fmt.Sprintf("model %s has no alarm %q", m.Name, name))
}

// The formats; the first is written where there is no state.
const (
	formatAlarms = 1
	formatState  = 2
)

// AppendBinary appends the encoding; its layout is docs/format/model.md.
func (m *Memory) AppendBinary(dst []byte) []byte {
	if s := m.State(); s != (StateMemory{}) {
		dst = append(dst, formatState)
		dst = appendText(dst, s.State)
		dst = binary.AppendUvarint(dst, uint64(s.Since))
		overrun := byte(0)
		if s.Overrun {
			overrun = 1
		}
		dst = append(dst, overrun)
	} else {
		dst = append(dst, formatAlarms)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.Alarms())))
	for _, a := range m.Alarms() {
		dst = appendText(dst, a.Name)
		dst = append(dst, byte(a.State))
		dst = binary.AppendUvarint(dst, uint64(a.Since))
		dst = binary.AppendUvarint(dst, uint64(a.MutedUntil))
		dst = appendText(dst, a.By)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

var errMemory = errors.New("ends too early or has a number that is too large")

// DecodeMemory reads what [Memory.AppendBinary] wrote.
func DecodeMemory(b []byte) (*Memory, error) {
	if len(b) == 0 || b[0] != formatAlarms && b[0] != formatState {
		return nil, errors.New("decode the memory of a model: the format is unknown")
	}
	d := memoryDecoder{b: b[1:]}
	m := &Memory{}
	if b[0] == formatState {
		m.state = StateMemory{State: d.text(), Since: twin.Time(d.number(1 << 62)), Overrun: d.number(1) == 1}
	}
	n := d.number(AlarmsMax * 2) // alarms that another version had are dropped by the next step
	for range n {
		a := AlarmMemory{Name: d.text(), State: AlarmState(d.number(uint64(AlarmAcked)))}
		a.Since, a.MutedUntil = twin.Time(d.number(1<<62)), twin.Time(d.number(1<<62))
		a.By = d.text()
		m.alarms = append(m.alarms, a)
	}
	if len(d.b) > 0 {
		d.bad = true
	}
	if d.bad {
		return nil, fmt.Errorf("decode the memory of a model: %w", errMemory)
	}
	return m, nil
}

type memoryDecoder struct {
	b   []byte
	bad bool
}

func (d *memoryDecoder) number(most uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > most {
		d.b, d.bad = nil, true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *memoryDecoder) text() string {
	n := d.number(uint64(len(d.b)))
	if n > uint64(len(d.b)) {
		d.b, d.bad = nil, true
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}
