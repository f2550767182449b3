package fleet

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// Options of an [Index].
type Options struct {
	// Connected reports whether a thing is connected.
	Connected func(twin.ThingName) bool
	// Attributes returns what is kept of a thing beside its shadow, never nil.
	Attributes func(twin.ThingName) *twin.Attributes
	// Exists reports whether there is a twin that has no classic shadow and no attributes,
	// but perhaps a named shadow.
	Exists func(context.Context, twin.ThingName) (bool, error)
	// Drift returns what of the delta of a shadow is drift for twins of a model; nil: all.
	Drift func(model string, s *twin.Shadow) *twin.Node
	// Brought is told of twins that were brought in; it must not wait. nil: nobody is.
	Brought func(things func(yield func(twin.ThingName) bool))
}

// Index is all twins. It is safe for concurrent use.
type Index struct {
	opts Options

	mu      sync.RWMutex // of the rows
	cohorts map[string]*cohort
	order   []*cohort
	places  map[twin.ThingName]place
	texts   *texts

	noting sync.Mutex
	noted  map[twin.ThingName]*Note
	wake   chan struct{}
}

type place struct {
	cohort *cohort
	row    int32
}

// Note is what has become of one twin. What is nil is as before.
type Note struct {
	Thing      twin.ThingName
	Shadow     *twin.Shadow // the classic shadow, or its tombstone
	Attributes *twin.Attributes
	Computed   expr.Map
	Alarms     map[string]bool // those that are raised: whether acknowledged
	State      *State          // of the behaviour
	Intents    *Intents        // what is asked of the thing
	Presence   bool            // it connected or disconnected
	Named      bool            // a named shadow came or went
	// Shadows are named shadows, or their tombstones; others are as before.
	Shadows    map[twin.ShadowName]*twin.Shadow
	samples    map[string]sample
	lastSample twin.Time
}

// State is the state of a behaviour; the zero value is none.
type State struct {
	Name  string
	Since twin.Time
}

// Intents is what is asked of a thing by its classic shadow: the state of the intent that was
// asked first of those that are open, or if none is of the one that ended last, and since when
// it is asked for.
type Intents struct {
	State string
	Since twin.Time
	Open  int
}

type sample struct {
	time  twin.Time
	value twin.Value
}

// New returns an empty index.
func New(opts Options) *Index {
	return &Index{
		opts: opts, cohorts: make(map[string]*cohort), places: make(map[twin.ThingName]place), texts: newTexts(),
		noted: make(map[twin.ThingName]*Note), wake: make(chan struct{}, 1),
	}
}

// Settle notes what has become durable. It is called before that is acknowledged, in the
// order of each twin, and does not wait for queries.
func (x *Index) Settle(n *Note) {
	x.noting.Lock()
	x.note(n.Thing).add(n)
	x.noting.Unlock()
	x.tell()
}

// Measure copies rows, for [Index.Sample] once they have been taken: who takes them may
// alter them.
func Measure(rows []twin.Row) []twin.Row {
	list := make([]twin.Row, len(rows))
	for i := range rows {
		r := &rows[i]
		list[i] = twin.Row{Thing: twin.ThingName(strings.Clone(string(r.Thing))), Time: r.Time, Arrival: r.Arrival, Values: slices.Clone(r.Values)}
		for k := range list[i].Values {
			v := &list[i].Values[k]
			v.Metric, v.Value.Text = twin.MetricName(strings.Clone(string(v.Metric))), strings.Clone(v.Value.Text)
		}
	}
	return list
}

// Sample notes samples that have been taken. The rows are the index's from now on.
func (x *Index) Sample(rows []twin.Row) {
	x.noting.Lock()
	for i := range rows {
		x.note(rows[i].Thing).measure(&rows[i])
	}
	x.noting.Unlock()
	x.tell()
}

// note returns the note of a thing, with the lock held.
func (x *Index) note(thing twin.ThingName) *Note {
	n := x.noted[thing]
	if n == nil {
		n = &Note{Thing: thing}
		x.noted[thing] = n
	}
	return n
}

func (x *Index) tell() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// add joins what came later.
func (n *Note) add(m *Note) {
	if m.Shadow != nil {
		n.Shadow = m.Shadow
	}
	if m.Attributes != nil {
		n.Attributes = m.Attributes
		n.Computed = nil // what the model computed, if it is still that one, comes with them
	}
	if m.Computed != nil {
		n.Computed = m.Computed
	}
	if m.Alarms != nil {
		n.Alarms = m.Alarms
	}
	if m.State != nil {
		n.State = m.State
	}
	if m.Intents != nil {
		n.Intents = m.Intents
	}
	n.Presence = n.Presence || m.Presence
	n.Named = n.Named || m.Named
	if n.Shadows == nil {
		n.Shadows = m.Shadows
	} else {
		maps.Copy(n.Shadows, m.Shadows)
	}
}

func (n *Note) measure(r *twin.Row) {
	if n.samples == nil {
		n.samples = make(map[string]sample, len(r.Values))
	}
	n.lastSample = max(n.lastSample, min(r.Time, r.Arrival))
	for i := range r.Values {
		v := &r.Values[i]
		if have, ok := n.samples[string(v.Metric)]; ok && have.time > r.Time {
			continue
		}
		n.samples[string(v.Metric)] = sample{r.Time, v.Value}
	}
}

// bringAgain is how long notes are gathered before they are brought in without a query.
const bringAgain = 100 * time.Millisecond

// Run brings in what is noted, so that queries find little to do, until ctx ends.
func (x *Index) Run(ctx context.Context) {
	gather := time.NewTimer(0)
	defer gather.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.wake:
		}
		x.bring(ctx)
		gather.Reset(bringAgain)
		select {
		case <-ctx.Done():
			return
		case <-gather.C:
		}
	}
}

// bring brings in what is noted. What was noted before it is called is in the rows when
// they can be locked next, whoever brings it.
func (x *Index) bring(ctx context.Context) {
	x.noting.Lock()
	nothing := len(x.noted) == 0
	x.noting.Unlock()
	if nothing { // or somebody else has it, and the lock
		return
	}
	noted := x.bringNoted(ctx)
	if x.opts.Brought != nil {
		x.opts.Brought(maps.Keys(noted))
	}
}

func (x *Index) bringNoted(ctx context.Context) map[twin.ThingName]*Note {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.noting.Lock()
	noted := x.noted
	x.noted = make(map[twin.ThingName]*Note)
	x.noting.Unlock()
	for _, n := range noted {
		x.apply(ctx, n)
	}
	return noted
}

// apply brings in one note; the rows are locked.
func (x *Index) apply(ctx context.Context, n *Note) {
	at, known := x.places[n.Thing]
	switch {
	case !known:
		if !x.exists(ctx, n) {
			return
		}
		at = x.insert(n)
	case n.Attributes != nil:
		at = x.attribute(at, n)
	}
	s, row := at.cohort, int(at.row)
	if n.Shadow != nil {
		s.putShadow(row, n.Shadow, x.opts.Drift)
	}
	for name, sh := range n.Shadows {
		s.putNamed(row, name, sh)
	}
	if n.Computed != nil {
		s.putValues(&s.roots[computed], row, n.Computed)
	}
	if n.Alarms != nil {
		s.putAlarms(row, n.Alarms)
	}
	if n.State != nil {
		s.putState(row, n.State)
	}
	if n.Intents != nil {
		s.putIntents(row, n.Intents)
	}
	if n.Presence {
		s.rows[row].connected = x.opts.Connected(n.Thing)
	}
	s.putSamples(row, n)
	gone := n.Shadow != nil && !n.Shadow.Exists() || n.Attributes != nil && n.Attributes.Empty() || n.Named
	if known && gone && s.rows[row].version == 0 && !x.exists(ctx, &Note{Thing: n.Thing}) {
		x.remove(at)
	}
}

// exists reports whether there is a twin.
func (x *Index) exists(ctx context.Context, n *Note) bool {
	// What sends telemetry is about to become a twin, unless it has just been deleted.
	if n.samples != nil && (n.Attributes == nil || !n.Attributes.Empty()) {
		return true
	}
	if n.Shadow.Exists() || n.Attributes != nil && !n.Attributes.Empty() || !x.opts.Attributes(n.Thing).Empty() {
		return true
	}
	ok, err := x.opts.Exists(ctx, n.Thing)
	return ok && err == nil
}

func (x *Index) insert(n *Note) place {
	at := n.Attributes
	if at == nil {
		at = x.opts.Attributes(n.Thing)
	}
	s := x.cohort(at.Model)
	row := s.add(n.Thing)
	s.putTags(row, at)
	s.rows[row].connected = x.opts.Connected(n.Thing)
	p := place{s, int32(row)}
	x.places[n.Thing] = p
	return p
}

func (x *Index) cohort(model string) *cohort {
	s := x.cohorts[model]
	if s == nil {
		s = &cohort{model: model, texts: x.texts}
		x.cohorts[model] = s
		x.order = append(x.order, s)
	}
	return s
}

// attribute takes a twin to the cohort of its model, and gives it its tags.
func (x *Index) attribute(at place, n *Note) place {
	if to := x.cohort(n.Attributes.Model); to != at.cohort {
		row := at.cohort.carry(int(at.row), to)
		x.remove(at)
		at = place{to, int32(row)}
		x.places[n.Thing] = at
	}
	at.cohort.putTags(int(at.row), n.Attributes)
	if n.Computed == nil { // a model that is in force would have said
		at.cohort.putValues(&at.cohort.roots[computed], int(at.row), nil)
	}
	return at
}

func (x *Index) remove(at place) {
	s, row := at.cohort, int(at.row)
	delete(x.places, s.ids[row])
	if moved := s.remove(row); moved != "" {
		x.places[moved] = place{s, int32(row)}
	}
}

// Len returns how many twins there are.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.places)
}

func (s *cohort) putTags(row int, at *twin.Attributes) {
	all := make(expr.Map, len(at.Tags))
	for k, v := range at.Tags {
		all[k] = twin.TextValue(v)
	}
	s.putValues(&s.roots[tags], row, all)
}

func (s *cohort) putShadow(row int, sh *twin.Shadow, driftOf func(string, *twin.Shadow) *twin.Node) {
	r := &s.rows[row]
	r.version, r.reportedAt, r.driftSince = 0, 0, 0
	var drift *twin.Node
	var parts twin.Shadow
	if sh.Exists() {
		parts = *sh
		drift = sh.Delta()
		r.version = sh.Version
		r.reportedAt = twin.Time(sh.Reported.NewestStamp() * 1000)
		open := drift
		if driftOf != nil {
			open = driftOf(s.model, sh)
		}
		r.driftSince = twin.Time(open.OldestStamp() * 1000)
	}
	s.putMembers(&s.roots[reported], row, parts.Reported)
	s.putMembers(&s.roots[desired], row, parts.Desired)
	s.putMembers(&s.roots[delta], row, drift)
}

// putNamed lets a row have a named shadow: version, reported, desired and delta.
func (s *cohort) putNamed(row int, name twin.ShadowName, sh *twin.Shadow) {
	b := s.roots[shadows].grow(string(name))
	if !sh.Exists() {
		s.clear(b, row)
		s.roots[shadows].prune(slices.Index(s.roots[shadows].order, b))
		return
	}
	names, nodes := []string{"version"}, []*twin.Node{twin.ScalarNode(twin.NumberValue(float64(sh.Version)))}
	for _, part := range []struct {
		name string
		node *twin.Node
	}{{"reported", sh.Reported}, {"desired", sh.Desired}, {"delta", sh.Delta()}} {
		if part.node != nil {
			names, nodes = append(names, part.name), append(nodes, part.node)
		}
	}
	s.put(b, row, twin.ObjectNode(names, nodes))
}

func (s *cohort) putAlarms(row int, raised map[string]bool) {
	all := make(expr.Map, len(raised))
	for name, acknowledged := range raised {
		state := "raised"
		if acknowledged {
			state = "acknowledged"
		}
		all[name] = twin.TextValue(state)
	}
	s.rows[row].alarms = uint16(min(len(raised), math.MaxUint16))
	s.putValues(&s.roots[alarms], row, all)
}

func (s *cohort) putState(row int, to *State) {
	s.rows[row].stateSince = to.Since
	name := s.state.grow("state")
	if to.Name == "" {
		s.clear(name, row)
		return
	}
	s.putText(name, row, text, to.Name)
}

func (s *cohort) putIntents(row int, to *Intents) {
	s.rows[row].intentSince, s.rows[row].intents = to.Since, uint16(min(to.Open, math.MaxUint16))
	name := s.state.grow("intent")
	if to.State == "" {
		s.clear(name, row)
		return
	}
	s.putText(name, row, text, to.State)
}

func (s *cohort) putSamples(row int, n *Note) {
	s.rows[row].sampleAt = max(s.rows[row].sampleAt, n.lastSample)
	for metric, v := range n.samples {
		when := s.roots[sampled].grow(metric)
		if x := when.at(row); x.kind != absent && twin.Time(x.value) > v.time {
			continue
		}
		s.set(when, row, cell{number, float64(v.time)})
		s.putValue(s.roots[telemetry].grow(metric), row, v.value)
	}
}
