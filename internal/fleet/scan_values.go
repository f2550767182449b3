package fleet

import (
	"math"
	"strings"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// spanMax is the length in milliseconds from which the interpreter is asked, which knows
// when a time or a duration is out of range.
const spanMax = 1e14

func (o *operator) arithmetic(b *batch) {
	l, r := o.args[0].eval(b), o.args[1].eval(b)
	o.out.own = nil
	for i := range b.n {
		lf, rf := l.forms[i], r.forms[i]
		if lf == isNumber && rf == isNumber {
			o.out.forms[i], o.out.values[i] = o.compute(l.values[i], r.values[i])
			continue
		}
		o.out.forms[i] = o.mixed(lf, rf)
		if o.out.forms[i] < isTime {
			continue
		}
		v := l.values[i] + r.values[i]
		if o.Op == expr.OpSubtract {
			v = l.values[i] - r.values[i]
		}
		if o.out.values[i] = v; math.Abs(v) > spanMax {
			o.out.forms[i] = ask
		}
	}
}

func (o *operator) compute(x, y float64) (form, float64) {
	switch o.Op {
	case expr.OpAdd:
		return isNumber, x + y
	case expr.OpSubtract:
		return isNumber, x - y
	case expr.OpMultiply:
		return isNumber, x * y
	case expr.OpDivide:
		if y == 0 {
			return neither, 0
		}
		return isNumber, x / y
	default:
		if y == 0 {
			return neither, 0
		}
		return isNumber, math.Mod(x, y)
	}
}

// mixed is the form of a sum or difference of times, and what else there is.
func (o *operator) mixed(l, r form) form {
	plus, minus := o.Op == expr.OpAdd, o.Op == expr.OpSubtract
	switch {
	case l == neither || r == neither:
		return neither
	case l == ask || r == ask:
		return ask
	case plus && (l == isText && r == isText || l == compounds && r == compounds):
		return ask // texts and lists can be joined
	case l == isSpan && r == isSpan && (plus || minus):
		return isSpan
	case l == isTime && r == isTime && minus:
		return isSpan
	case l == isTime && r == isSpan && (plus || minus), l == isSpan && r == isTime && plus:
		return isTime
	}
	return neither
}

func (o *operator) negate(b *batch) {
	a := o.args[0].eval(b)
	for i := range b.n {
		o.out.forms[i], o.out.values[i] = a.forms[i], -a.values[i]
		if f := a.forms[i]; f != isNumber && f != isSpan && f != ask {
			o.out.forms[i] = neither
		}
	}
}

// in is whether a value is one of some constants.
func (o *operator) in(b *batch) {
	a := o.args[0].eval(b)
	list := o.Args[1:]
	ids := make([]float64, len(list)) // of constants that are texts, -1: no cell has it
	for i, c := range list {
		ids[i] = -1
		if id, ok := b.cohort.texts.ids[c.Value.Text]; ok {
			ids[i] = float64(id)
		}
	}
	for i := range b.n {
		switch a.forms[i] {
		case neither, ask:
			o.out.forms[i] = a.forms[i]
			continue
		}
		found := false
		for k, c := range list {
			if found = sameAs(a, i, c, ids[k]); found {
				break
			}
		}
		o.out.forms[i], o.out.values[i] = isBool, truth(found)
	}
}

func sameAs(a *vector, i int, c *expr.Form, id float64) bool {
	switch c.Type {
	case expr.TypeText:
		if a.forms[i] != isText {
			return false
		}
		if a.own != nil {
			return a.own[i] == c.Value.Text
		}
		return a.values[i] == id
	case expr.TypeBool:
		return a.forms[i] == isBool && a.values[i] == c.Value.Number
	case expr.TypeTime:
		return a.forms[i] == isTime && a.values[i] == c.Value.Number
	case expr.TypeDuration:
		return a.forms[i] == isSpan && a.values[i] == c.Value.Number
	}
	return a.forms[i] == isNumber && a.values[i] == c.Value.Number
}

// ofText asks something of a text. What is asked of a text that many rows have is asked
// once in a row of them.
func (o *operator) ofText(b *batch) {
	a := o.args[0].eval(b)
	last, answer := -1.0, 0.0
	for i := range b.n {
		switch a.forms[i] {
		case isText:
		case ask:
			o.out.forms[i] = ask
			continue
		default:
			o.out.forms[i] = neither
			continue
		}
		if a.own != nil || a.values[i] != last {
			answer = truth(o.asks(a.text(b.cohort.texts, i)))
			last = a.values[i]
		}
		o.out.forms[i], o.out.values[i] = isBool, answer
	}
}

func (o *operator) asks(s string) bool {
	switch o.Op {
	case expr.OpStartsWith:
		return strings.HasPrefix(s, o.Value.Text)
	case expr.OpEndsWith:
		return strings.HasSuffix(s, o.Value.Text)
	case expr.OpContains:
		return strings.Contains(s, o.Value.Text)
	}
	return o.Match.MatchString(s)
}

// inputs is a row as the interpreter reads it; of the shadow no more than the expression
// reads.
func (s *cohort) inputs(row int, reads []expr.Path, now twin.Time) *expr.Inputs {
	r := &s.rows[row]
	in := &expr.Inputs{
		ID: s.ids[row], Model: s.model, Now: now, Connected: twin.BoolValue(r.connected), LastSeen: r.seen(), DriftSince: r.driftSince, AlarmCount: int(r.alarms),
		Computed: values{s, &s.roots[computed], row}, Telemetry: values{s, &s.roots[telemetry], row}, Alarms: values{s, &s.roots[alarms], row},
		Sections: &expr.Sections{}, StateSince: r.stateSince, Version: r.version, IntentSince: r.intentSince, IntentCount: int(r.intents),
	}
	if k := s.state.kid("state"); k != nil {
		in.State = s.value(k.at(row)).Text
	}
	if k := s.state.kid("intent"); k != nil {
		in.IntentState = s.value(k.at(row)).Text
	}
	for _, p := range reads {
		switch p[0] {
		case "tags":
			in.Tags = s.tags(row)
		case "reported":
			in.Sections.Reported = s.objectNode(&s.roots[reported], row)
		case "desired":
			in.Sections.Desired = s.objectNode(&s.roots[desired], row)
		case "delta":
			in.Sections.Delta = s.objectNode(&s.roots[delta], row)
		case "shadows":
			in.Sections.Shadows = s.objectNode(&s.roots[shadows], row)
		}
	}
	return in
}

func (s *cohort) tags(row int) map[string]string {
	all := map[string]string{}
	for _, k := range s.roots[tags].order {
		if x := k.at(row); x.kind == text {
			all[k.name] = s.texts.text(uint32(x.value))
		}
	}
	return all
}
