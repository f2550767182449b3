package fleet

import (
	"slices"
	"strings"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// root is a part of a twin that has columns.
type root int

const (
	tags root = iota
	reported
	desired
	delta
	shadows // the named ones
	computed
	telemetry
	alarms
	sampled // when the values of telemetry were measured, in milliseconds since the epoch
	rootsCount
)

var rootNames = [...]string{tags: "tags", reported: "reported", desired: "desired", delta: "delta", shadows: "shadows", computed: "computed", telemetry: "telemetry", alarms: "alarms", sampled: ""}

// rootOf returns the part that a variable of an expression names.
func rootOf(variable string) (root, bool) {
	i := slices.Index(rootNames[:sampled], variable)
	return root(i), i >= 0
}

// ofShadow reports whether the part is a tree of objects; others have names with dots.
func (r root) ofShadow() bool { return r <= shadows && r != tags }

// cohort is the twins of one model.
type cohort struct {
	model string
	texts *texts
	ids   []twin.ThingName
	rows  []row
	roots [rootsCount]branch
	state branch // of the behaviour
}

// row is what every twin has.
type row struct {
	version    twin.Version // of the classic shadow, 0: there is none
	reportedAt twin.Time    // when the newest reported value came
	sampleAt   twin.Time    // of the newest sample
	driftSince twin.Time    // 0: no delta
	stateSince twin.Time    // 0: no state
	// intentSince is since when something is asked for; 0: nothing ever was.
	intentSince twin.Time
	connected   bool
	alarms      uint16 // raised
	intents     uint16 // open
}

// seen is when the device was last heard of; 0: never.
func (r *row) seen() twin.Time { return max(r.reportedAt, r.sampleAt) }

func (s *cohort) add(thing twin.ThingName) int {
	s.ids, s.rows = append(s.ids, thing), append(s.rows, row{})
	return len(s.ids) - 1
}

// set puts a cell; its text is held already.
func (s *cohort) set(b *branch, row int, x cell) {
	before := b.set(row, len(s.ids), x)
	if before.holdsText() && before != x {
		s.texts.drop(uint32(before.value))
	}
}

// clear takes what is at a path and below it from a row, and paths that no twin has.
func (s *cohort) clear(b *branch, row int) {
	if b.at(row).kind != absent {
		s.set(b, row, cell{})
	}
	s.clearBelow(b, row)
}

func (s *cohort) clearBelow(b *branch, row int) {
	for i, k := range slices.Backward(b.order) {
		s.clear(k, row)
		b.prune(i)
	}
}

// prune takes away a path that no twin has any more.
func (b *branch) prune(i int) {
	if k := b.order[i]; k.count == 0 && len(k.order) == 0 {
		delete(b.kids, k.name)
		b.order = slices.Delete(b.order, i, i+1)
	}
}

// put lets a row have under a path what a node has.
func (s *cohort) put(b *branch, row int, n *twin.Node) {
	if n.IsObject() {
		if n != nil {
			s.set(b, row, cell{kind: object})
		}
		s.putMembers(b, row, n)
		return
	}
	s.clearBelow(b, row)
	if n.IsArray() {
		s.putText(b, row, array, string(n.AppendJSON(nil)))
		return
	}
	v, ok := n.Value()
	if !ok {
		s.set(b, row, cell{kind: odd})
		return
	}
	s.putValue(b, row, v)
}

func (s *cohort) putValue(b *branch, row int, v twin.Value) {
	switch v.Type {
	case twin.ValueNumber:
		s.set(b, row, cell{number, v.Number})
	case twin.ValueBool:
		s.set(b, row, cell{boolean, v.Number})
	case twin.ValueText:
		s.putText(b, row, text, v.Text)
	default:
		s.set(b, row, cell{kind: odd})
	}
}

func (s *cohort) putText(b *branch, row int, k kind, t string) {
	if x := b.at(row); x.kind == k && s.texts.text(uint32(x.value)) == t {
		return
	}
	s.set(b, row, cell{k, float64(s.texts.hold(t))})
}

// putMembers lets a row have the members of an object below a path, and no others.
func (s *cohort) putMembers(b *branch, row int, n *twin.Node) {
	there := 0
	for i := range n.Len() {
		m := n.At(i)
		s.put(b.grow(m.Name()), row, m)
		there++
	}
	if there == len(b.order) {
		return
	}
	for i, k := range slices.Backward(b.order) {
		if k.at(row).kind != absent && n.Member(k.name) == nil {
			s.clear(k, row)
			b.prune(i)
		}
	}
}

// putValues lets a row have these values below a part without objects, and no others.
func (s *cohort) putValues(b *branch, row int, values expr.Map) {
	for name, v := range values {
		s.putValue(b.grow(name), row, v)
	}
	for i, k := range slices.Backward(b.order) {
		if _, ok := values[k.name]; !ok {
			s.clear(k, row)
			b.prune(i)
		}
	}
}

// remove takes a row away; the last one comes into its place. It returns which that was,
// empty if the row was the last itself.
func (s *cohort) remove(row int) (moved twin.ThingName) {
	last := len(s.ids) - 1
	for _, b := range s.all() {
		s.clearBelow(b, row)
		if row != last {
			s.moveBelow(b, last, row)
		}
	}
	if row != last {
		moved = s.ids[last]
		s.ids[row], s.rows[row] = s.ids[last], s.rows[last]
	}
	s.ids, s.rows = s.ids[:last], s.rows[:last]
	for _, b := range s.all() {
		b.truncate(last)
	}
	return moved
}

// all are the branches of the cohort, whose cells are below them.
func (s *cohort) all() []*branch {
	list := make([]*branch, 0, rootsCount+1)
	for r := range s.roots {
		list = append(list, &s.roots[r])
	}
	return append(list, &s.state)
}

func (s *cohort) moveBelow(b *branch, from, to int) {
	for _, k := range b.order {
		if x := k.at(from); x.kind != absent {
			k.set(to, len(s.ids), x)
			k.set(from, len(s.ids), cell{})
		}
		s.moveBelow(k, from, to)
	}
}

// truncate forgets the cells of rows that are no more; all are absent.
func (b *branch) truncate(rows int) {
	for _, k := range b.order {
		if len(k.kinds) > rows {
			k.kinds, k.values = k.kinds[:rows], k.values[:rows]
		}
		k.truncate(rows)
	}
}

// carry copies a row into another cohort, telling where it is there.
func (s *cohort) carry(row int, to *cohort) int {
	at := to.add(s.ids[row])
	to.rows[at] = s.rows[row]
	into := to.all()
	for i, b := range s.all() {
		s.carryBelow(b, row, to, into[i], at)
	}
	return at
}

func (s *cohort) carryBelow(b *branch, row int, to *cohort, into *branch, at int) {
	for _, k := range b.order {
		x := k.at(row)
		if x.kind != absent {
			if x.holdsText() {
				x.value = float64(to.texts.hold(s.texts.text(uint32(x.value))))
			}
			to.set(into.grow(k.name), at, x)
		}
		if x.kind == object {
			s.carryBelow(k, row, to, into.grow(k.name), at)
		}
	}
}

// node makes the node of a path again; nil if there is nothing.
func (s *cohort) node(b *branch, row int) *twin.Node {
	switch x := b.at(row); x.kind {
	case object:
		return s.objectNode(b, row)
	case array:
		n, err := twin.ParseNode([]byte(s.texts.text(uint32(x.value))))
		if err != nil { // it was an array of a shadow
			return nil
		}
		return n
	case absent, odd:
		return nil
	default:
		return twin.ScalarNode(s.value(x))
	}
}

func (s *cohort) objectNode(b *branch, row int) *twin.Node {
	var names []string
	var nodes []*twin.Node
	for _, k := range b.order {
		if n := s.node(k, row); n != nil {
			names, nodes = append(names, k.name), append(nodes, n)
		}
	}
	return twin.ObjectNode(names, nodes)
}

// value is the scalar of a cell that has one.
func (s *cohort) value(x cell) twin.Value {
	switch x.kind {
	case boolean:
		return twin.BoolValue(x.value != 0)
	case number:
		return twin.NumberValue(x.value)
	case text:
		return twin.TextValue(s.texts.text(uint32(x.value)))
	}
	return twin.Value{}
}

// values are what a row has in a part without objects.
type values struct {
	s   *cohort
	b   *branch
	row int
}

// Value implements [expr.Values].
func (v values) Value(name string) (twin.Value, bool) {
	k := v.b.kid(name)
	if k == nil {
		return twin.Value{}, false
	}
	x := v.s.value(k.at(v.row))
	return x, x.Type != 0
}

// Under implements [expr.Values].
func (v values) Under(prefix string) bool {
	for _, k := range v.b.order {
		if strings.HasPrefix(k.name, prefix) && k.at(v.row).kind != absent {
			return true
		}
	}
	return false
}
