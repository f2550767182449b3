package fleet

import (
	"math"
	"strings"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// operator evaluates a [expr.Form] over the rows of a cohort, batch by batch.
type operator struct {
	*expr.Form
	args []*operator
	out  vector

	column *column // of OpPath, OpHas: nil: no row has it
	parent *branch // of OpHas: what must be an object; nil: it is one in every row
	// above are the shorter names of a value with dots in its name: where one of them has
	// a value, the longer is not there.
	above []*column
	below []*column // values whose names begin with that of the path and a dot
	// Of OpHas the path one shorter: whether it has a value, or longer names.
	shorter *column
	outer   []*column
	none    bool // nothing can be there
}

func newOperator(f *expr.Form) *operator {
	o := &operator{Form: f}
	if f.Op == expr.OpIn { // its constants are looked at as they are
		o.args = []*operator{newOperator(f.Args[0])}
		return o
	}
	for _, a := range f.Args {
		o.args = append(o.args, newOperator(a))
	}
	return o
}

// bind lets it read the columns of a cohort.
func (o *operator) bind(s *cohort) {
	for _, a := range o.args {
		a.bind(s)
	}
	if o.Op != expr.OpPath && o.Op != expr.OpHas {
		return
	}
	o.column, o.parent, o.above, o.below, o.shorter, o.outer, o.none = nil, nil, nil, nil, nil, nil, false
	r, ok := rootOf(o.Path[0])
	switch {
	case !ok:
	case r.ofShadow():
		o.bindTree(&s.roots[r])
	case r == tags:
		o.none = len(o.Path) > 3 || len(o.Path) > 2 && o.Op == expr.OpPath
		o.bindTree(&s.roots[r])
	default:
		o.bindNames(&s.roots[r])
	}
}

func (o *operator) bindTree(b *branch) {
	for i, name := range o.Path[1:] {
		if i > 0 && i == len(o.Path)-2 {
			if o.parent = b; b == nil {
				o.none = true
			}
		}
		b = b.kid(name)
	}
	if b != nil {
		o.column = &b.column
	}
}

func (o *operator) bindNames(b *branch) {
	for i := 2; i < len(o.Path); i++ {
		k := b.kid(strings.Join(o.Path[1:i], "."))
		switch {
		case k == nil:
		case o.Op == expr.OpHas && i == len(o.Path)-1:
			o.shorter = &k.column
		default:
			o.above = append(o.above, &k.column)
		}
	}
	name := strings.Join(o.Path[1:], ".")
	if k := b.kid(name); k != nil {
		o.column = &k.column
	}
	o.below = b.under(name + ".")
	if len(o.Path) > 2 {
		o.outer = b.under(strings.Join(o.Path[1:len(o.Path)-1], ".") + ".")
	}
}

func (b *branch) under(prefix string) []*column {
	var list []*column
	for _, k := range b.order {
		if strings.HasPrefix(k.name, prefix) {
			list = append(list, &k.column)
		}
	}
	return list
}

func anyAt(list []*column, row int) bool {
	for _, c := range list {
		if c.at(row).kind != absent {
			return true
		}
	}
	return false
}

// batch is the rows that are looked at: n of a cohort, from a row on.
type batch struct {
	cohort  *cohort
	from, n int
	now     twin.Time
}

// eval gives the value of each row of a batch. The vector is the operator's own and good
// until the next call.
func (o *operator) eval(b *batch) *vector {
	switch o.Op {
	case expr.OpConst:
		o.constant(b)
	case expr.OpPath:
		o.path(b)
	case expr.OpHas:
		o.has(b)
	case expr.OpAnd, expr.OpOr:
		o.logic(b)
	case expr.OpNot:
		o.not(b)
	case expr.OpHolds:
		o.asserts(b)
	case expr.OpIf:
		o.choose(b)
	case expr.OpEqual, expr.OpNotEqual:
		o.equal(b)
	case expr.OpLess, expr.OpLessEqual, expr.OpGreater, expr.OpGreaterEqual:
		o.order(b)
	case expr.OpAdd, expr.OpSubtract, expr.OpMultiply, expr.OpDivide, expr.OpModulo:
		o.arithmetic(b)
	case expr.OpNegate:
		o.negate(b)
	case expr.OpIn:
		o.in(b)
	case expr.OpStartsWith, expr.OpEndsWith, expr.OpContains, expr.OpMatches:
		o.ofText(b)
	default:
		o.out.fill(b.n, ask, 0)
	}
	return &o.out
}

func (o *operator) constant(b *batch) {
	switch o.Type {
	case expr.TypeText:
		o.fillText(b, o.Value.Text)
	case expr.TypeTime:
		o.out.fill(b.n, isTime, o.Value.Number)
	case expr.TypeDuration:
		o.out.fill(b.n, isSpan, o.Value.Number)
	case expr.TypeBool:
		o.out.fill(b.n, isBool, o.Value.Number)
	default:
		o.out.fill(b.n, isNumber, o.Value.Number)
	}
}

// fillText lets all rows have one text: by its number if some cell has it.
func (o *operator) fillText(b *batch, s string) {
	id, ok := b.cohort.texts.ids[s]
	o.out.fill(b.n, isText, float64(id))
	o.out.own = nil
	if !ok {
		own := o.ownTexts(b.n)
		for i := range own {
			own[i] = s
		}
	}
}

func (o *operator) ownTexts(n int) []string {
	if cap(o.out.own) < n {
		o.out.own = make([]string, batchRows)
	}
	o.out.own = o.out.own[:n]
	return o.out.own
}

func (o *operator) path(b *batch) {
	if len(o.Path) == 1 {
		o.variable(b)
		return
	}
	if o.none || o.column == nil && o.below == nil {
		o.out.fill(b.n, neither, 0)
		return
	}
	if o.column == nil {
		o.out.fill(b.n, neither, 0)
	} else {
		o.out.load(o.column, b.from, b.n)
	}
	if o.above == nil && o.below == nil {
		return
	}
	for i := range b.n {
		switch row := b.from + i; {
		case anyAt(o.above, row):
			o.out.forms[i] = neither
		case o.out.forms[i] == neither && anyAt(o.below, row):
			o.out.forms[i] = compounds
		}
	}
}

// variable reads what every twin has.
func (o *operator) variable(b *batch) {
	s, v := b.cohort, &o.out
	moment := func(of func(r *row) twin.Time) {
		for i := range b.n {
			t := of(&s.rows[b.from+i])
			v.forms[i], v.values[i] = isTime, float64(t)
			if t == 0 {
				v.forms[i] = neither
			}
		}
	}
	switch o.Path[0] {
	case "id":
		v.fill(b.n, isText, 0)
		own := o.ownTexts(b.n)
		for i := range own {
			own[i] = string(s.ids[b.from+i])
		}
	case "model":
		o.fillText(b, s.model)
	case "now":
		v.fill(b.n, isTime, float64(b.now))
	case "lastSeen":
		moment((*row).seen)
	case "state":
		v.own = nil
		if k := s.state.kid("state"); k != nil {
			v.load(&k.column, b.from, b.n)
		} else {
			v.fill(b.n, neither, 0)
		}
	case "intentState":
		v.own = nil
		if k := s.state.kid("intent"); k != nil {
			v.load(&k.column, b.from, b.n)
		} else {
			v.fill(b.n, neither, 0)
		}
	case "intentSince":
		moment(func(r *row) twin.Time { return r.intentSince })
	case "intentCount":
		for i := range b.n {
			v.forms[i], v.values[i] = isNumber, float64(s.rows[b.from+i].intents)
		}
	case "stateSince":
		moment(func(r *row) twin.Time { return r.stateSince })
	case "driftSince":
		moment(func(r *row) twin.Time { return r.driftSince })
	case "connected":
		for i := range b.n {
			v.forms[i], v.values[i] = isBool, truth(s.rows[b.from+i].connected)
		}
	case "version":
		for i := range b.n {
			v.forms[i], v.values[i] = isNumber, float64(s.rows[b.from+i].version)
			if v.values[i] == 0 {
				v.forms[i] = neither
			}
		}
	case "alarmCount":
		for i := range b.n {
			v.forms[i], v.values[i] = isNumber, float64(s.rows[b.from+i].alarms)
		}
	default: // a whole part
		v.fill(b.n, ask, 0)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// has is false where the object has no such member, and neither where nothing is to have one.
func (o *operator) has(b *batch) {
	r, ok := rootOf(o.Path[0])
	if !ok || len(o.Path) < 2 {
		o.out.fill(b.n, ask, 0)
		return
	}
	if o.none {
		o.out.fill(b.n, neither, 0)
		return
	}
	for i := range b.n {
		row := b.from + i
		var f form
		there := o.column != nil && o.column.at(row).kind != absent
		if r.ofShadow() || r == tags {
			f = o.member(row)
		} else {
			f, there = o.named(row, there)
		}
		o.out.forms[i], o.out.values[i] = f, truth(there)
	}
}

// member tells whether a row has an object to ask for a member. A scalar has no members.
func (o *operator) member(row int) form {
	if o.parent == nil {
		return isBool
	}
	switch o.parent.at(row).kind {
	case absent:
		return neither
	case array:
		return ask
	}
	return isBool
}

// named is the same for a name with dots: the shorter one may be a value, or a part of
// longer ones.
func (o *operator) named(row int, there bool) (form, bool) {
	if len(o.Path) == 2 {
		return isBool, there || anyAt(o.below, row)
	}
	switch {
	case anyAt(o.above, row):
		return neither, false
	case o.shorter != nil && o.shorter.at(row).kind != absent:
		return isBool, false
	case !anyAt(o.outer, row):
		return neither, false
	}
	return isBool, there || anyAt(o.below, row)
}

// logic is && and ||: the value that decides does so whatever the other is.
func (o *operator) logic(b *batch) {
	decides := truth(o.Op == expr.OpOr)
	l := o.args[0].eval(b)
	if o.settled(l, b.n, decides) { // in every row, so the other side need not be looked at
		copy(o.out.forms[:b.n], l.forms[:b.n])
		copy(o.out.values[:b.n], l.values[:b.n])
		return
	}
	r := o.args[1].eval(b)
	for i := range b.n {
		lf, rf := l.forms[i], r.forms[i]
		switch {
		case lf == isBool && l.values[i] == decides, rf == isBool && r.values[i] == decides:
			o.out.forms[i], o.out.values[i] = isBool, decides
		case lf == ask || rf == ask:
			o.out.forms[i] = ask
		case lf == isBool && rf == isBool:
			o.out.forms[i], o.out.values[i] = isBool, 1-decides
		default:
			o.out.forms[i] = neither
		}
	}
}

func (o *operator) settled(l *vector, n int, decides float64) bool {
	for i := range n {
		if l.forms[i] != isBool || l.values[i] != decides {
			return false
		}
	}
	return true
}

func (o *operator) not(b *batch) {
	a := o.args[0].eval(b)
	for i := range b.n {
		o.out.forms[i], o.out.values[i] = a.forms[i], 1-a.values[i]
		if f := a.forms[i]; f != isBool && f != ask {
			o.out.forms[i] = neither
		}
	}
}

// asserts is false where its argument is anything but true.
func (o *operator) asserts(b *batch) {
	a := o.args[0].eval(b)
	for i := range b.n {
		o.out.forms[i], o.out.values[i] = isBool, truth(a.forms[i] == isBool && a.values[i] != 0)
		if a.forms[i] == ask {
			o.out.forms[i] = ask
		}
	}
}

func (o *operator) choose(b *batch) {
	when, yes, no := o.args[0].eval(b), o.args[1].eval(b), o.args[2].eval(b)
	o.out.own = nil
	for i := range b.n {
		from := no
		switch {
		case when.forms[i] == ask:
			o.out.forms[i] = ask
			continue
		case when.forms[i] != isBool:
			o.out.forms[i] = neither
			continue
		case when.values[i] != 0:
			from = yes
		}
		o.out.forms[i], o.out.values[i] = from.forms[i], from.values[i]
		if from.forms[i] == isText && from.own != nil { // rare: texts of both kinds in one vector
			o.out.forms[i] = ask
		}
	}
}

func (o *operator) equal(b *batch) {
	l, r := o.args[0].eval(b), o.args[1].eval(b)
	t, same := b.cohort.texts, truth(o.Op == expr.OpEqual)
	byNumber := l.own == nil && r.own == nil
	for i := range b.n {
		lf, rf := l.forms[i], r.forms[i]
		var f form
		var is bool
		switch {
		case lf == neither || rf == neither:
			f = neither
		case lf == ask || rf == ask || lf == compounds && rf == compounds:
			f = ask
		case lf != rf:
			f = isBool
		case lf == isText && !byNumber:
			f, is = isBool, l.text(t, i) == r.text(t, i)
		default:
			f, is = isBool, l.values[i] == r.values[i]
		}
		o.out.forms[i], o.out.values[i] = f, 1-same
		if is {
			o.out.values[i] = same
		}
	}
}

func (o *operator) order(b *batch) {
	l, r := o.args[0].eval(b), o.args[1].eval(b)
	for i := range b.n {
		lf, rf := l.forms[i], r.forms[i]
		switch {
		case lf == neither || rf == neither || lf == compounds || rf == compounds:
			o.out.forms[i] = neither
			continue
		case lf == ask || rf == ask:
			o.out.forms[i] = ask
			continue
		case lf != rf:
			o.out.forms[i] = neither
			continue
		}
		order := 0
		if lf == isText {
			order = strings.Compare(l.text(b.cohort.texts, i), r.text(b.cohort.texts, i))
		} else {
			x, y := l.values[i], r.values[i]
			if math.IsNaN(x) || math.IsNaN(y) {
				o.out.forms[i] = neither
				continue
			}
			order = int(truth(x > y) - truth(x < y))
		}
		o.out.forms[i], o.out.values[i] = isBool, truth(o.holds(order))
	}
}

func (o *operator) holds(order int) bool {
	switch o.Op {
	case expr.OpLess:
		return order < 0
	case expr.OpLessEqual:
		return order <= 0
	case expr.OpGreater:
		return order > 0
	default:
		return order >= 0
	}
}
