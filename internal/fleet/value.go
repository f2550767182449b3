package fleet

import (
	"cmp"
	"encoding/json"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// value is what an expression gives for one twin, for sorting and figures. The zero value
// is absent.
type value struct {
	Form   form    `json:"f,omitempty"` // neither, isBool, isNumber, isText, isTime, isSpan
	Number float64 `json:"n,omitempty"`
	Text   string  `json:"t,omitempty"`
}

// compare orders values: numbers, times, booleans, texts; what is absent comes last either
// way.
func (v *value) compare(w *value, down bool) int {
	if (v.Form == neither) != (w.Form == neither) {
		if v.Form == neither {
			return 1
		}
		return -1
	}
	c := cmp.Or(cmp.Compare(v.Form, w.Form), cmp.Compare(v.Number, w.Number), strings.Compare(v.Text, w.Text))
	if down {
		return -c
	}
	return c
}

// appendKey appends bytes that only equal values have.
func (v *value) appendKey(dst []byte) []byte {
	dst = append(dst, byte(v.Form))
	if v.Form == isText {
		dst = strconv.AppendInt(dst, int64(len(v.Text)), 10)
		dst = append(dst, ':')
		return append(dst, v.Text...)
	}
	bits := math.Float64bits(v.Number)
	for i := range 8 {
		dst = append(dst, byte(bits>>(8*i)))
	}
	return dst
}

// json is the value as it is answered: a time in RFC 3339, a duration in seconds.
func (v *value) json() json.RawMessage {
	switch v.Form {
	case isBool:
		return strconv.AppendBool(nil, v.Number != 0)
	case isNumber:
		return twin.NumberValue(v.Number).AppendJSON(nil)
	case isText:
		return twin.TextValue(v.Text).AppendJSON(nil)
	case isTime:
		return twin.TextValue(time.UnixMilli(int64(v.Number)).UTC().Format("2006-01-02T15:04:05.999Z")).AppendJSON(nil)
	case isSpan:
		return twin.NumberValue(v.Number / 1000).AppendJSON(nil)
	}
	return json.RawMessage("null")
}

// of reads what an operator gave for a row of a batch.
func (e *expression) of(v *vector, b *batch, i int) value {
	switch f := v.forms[i]; f {
	case isText:
		return value{Form: f, Text: v.text(b.cohort.texts, i)}
	case isBool, isNumber, isTime, isSpan:
		if math.IsNaN(v.values[i]) || math.IsInf(v.values[i], 0) {
			return value{}
		}
		return value{Form: f, Number: v.values[i]}
	case ask:
		return e.interpret(b.cohort, b.from+i, b.now)
	}
	return value{}
}

// interpret asks the interpreter.
func (e *expression) interpret(s *cohort, row int, now twin.Time) value {
	r := e.program.Evaluate(s.inputs(row, e.program.Reads(), now))
	if r.Status != expr.Known {
		return value{}
	}
	switch kind := e.program.Type(); {
	case r.Value.Type == twin.ValueBool:
		return value{Form: isBool, Number: r.Value.Number}
	case kind == expr.TypeDuration:
		return value{Form: isSpan, Number: r.Value.Number * 1000}
	case r.Value.Type == twin.ValueNumber:
		return value{Form: isNumber, Number: r.Value.Number}
	case kind == expr.TypeTime:
		if t, err := time.Parse(time.RFC3339, r.Value.Text); err == nil {
			return value{Form: isTime, Number: float64(t.UnixMilli())}
		}
	}
	return value{Form: isText, Text: r.Value.Text}
}

// json gives the value for one row, also an object or array of the shadow.
func (e *expression) json(s *cohort, row int, now twin.Time) json.RawMessage {
	e.op.bind(s)
	b := &batch{cohort: s, from: row, n: 1, now: now}
	v := e.op.eval(b)
	if f := v.forms[0]; e.op.Op == expr.OpPath && (f == compounds || f == ask) {
		return s.part(e.op.Path, row)
	}
	x := e.of(v, b, 0)
	return x.json()
}

// part is an object or array as JSON.
func (s *cohort) part(p expr.Path, row int) json.RawMessage {
	r, ok := rootOf(p[0])
	if !ok {
		return json.RawMessage("null")
	}
	at := &s.roots[r]
	if !r.ofShadow() {
		return s.named(at, p[1:], row)
	}
	for _, name := range p[1:] {
		if at = at.kid(name); at == nil {
			return json.RawMessage("null")
		}
	}
	if len(p) == 1 {
		return s.objectNode(at, row).AppendJSON(nil)
	}
	return s.node(at, row).AppendJSON(nil)
}

// named is the values whose names begin so.
func (s *cohort) named(b *branch, names []string, row int) json.RawMessage {
	prefix := ""
	if len(names) > 0 {
		prefix = strings.Join(names, ".") + "."
	}
	var keys []string
	var nodes []*twin.Node
	sorted := slices.SortedFunc(slices.Values(b.order), func(x, y *branch) int { return cmp.Compare(x.name, y.name) })
	for _, k := range sorted {
		if rest, ok := strings.CutPrefix(k.name, prefix); ok {
			if n := s.node(k, row); n != nil {
				keys, nodes = append(keys, rest), append(nodes, n)
			}
		}
	}
	return twin.ObjectNode(keys, nodes).AppendJSON(nil)
}

func hash(s string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	return h.Sum32()
}
