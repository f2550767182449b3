package profile

import (
	"cmp"
	"maps"
	"slices"

	"github.com/twofold-iot/twofold/twin"
)

// State is what is known of a state. Lengths are in milliseconds, of the times that it was
// left in the window and had been entered at a known time.
type State struct {
	Name                 string
	Entered, Left        int
	Held                 twin.Time // in the window, over all; 0 if that was not asked for
	Median, P95, Longest twin.Time
}

// Transition is how often one state followed another.
type Transition struct {
	From, To string
	Count    int
	Illegal  int     // of these, as the model was when it happened
	Share    float64 // of all that left From: an estimate of the probability
}

// Moves counts how states follow each other. The zero value is ready.
type Moves struct {
	ways    map[[2]string]*Transition
	left    map[string]int
	dwells  map[string][]twin.Time
	entered map[string]int
	held    map[string]twin.Time
}

// Enter notes that a state was entered.
func (m *Moves) Enter(state string) {
	if m.entered == nil {
		m.entered = map[string]int{}
	}
	m.entered[state]++
}

// Hold notes that a state held for so long in the window, also without an end.
func (m *Moves) Hold(state string, length twin.Time) {
	if m.held == nil {
		m.held = map[string]twin.Time{}
	}
	m.held[state] += length
}

// Move notes that a state was left for another after a dwell; a negative one is not known.
func (m *Moves) Move(from, to string, dwell twin.Time, illegal bool) {
	if m.ways == nil {
		m.ways, m.left, m.dwells = map[[2]string]*Transition{}, map[string]int{}, map[string][]twin.Time{}
	}
	way := [2]string{from, to}
	t := m.ways[way]
	if t == nil {
		t = &Transition{From: from, To: to}
		m.ways[way] = t
	}
	t.Count++
	if illegal {
		t.Illegal++
	}
	m.left[from]++
	if dwell >= 0 {
		m.dwells[from] = append(m.dwells[from], dwell)
	}
}

// States returns the states by name.
func (m *Moves) States() []State {
	names := map[string]bool{}
	for name := range m.entered {
		names[name] = true
	}
	for name := range m.held {
		names[name] = true
	}
	for name := range m.left { // also what was entered before the window
		names[name] = true
	}
	var list []State
	for _, name := range slices.Sorted(maps.Keys(names)) {
		s := State{Name: name, Entered: m.entered[name], Left: m.left[name], Held: m.held[name]}
		if all := m.dwells[name]; len(all) > 0 {
			slices.Sort(all)
			s.Median, s.P95, s.Longest = all[(len(all)-1)/2], all[(len(all)-1)*95/100], all[len(all)-1]
		}
		list = append(list, s)
	}
	return list
}

// Transitions returns the transitions by the state they leave, the most frequent first.
func (m *Moves) Transitions() []Transition {
	list := make([]Transition, 0, len(m.ways))
	for _, t := range m.ways {
		t.Share = float64(t.Count) / float64(m.left[t.From])
		list = append(list, *t)
	}
	slices.SortFunc(list, func(a, b Transition) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(b.Count, a.Count), cmp.Compare(a.To, b.To))
	})
	return list
}
