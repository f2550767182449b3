package awsiot

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twofold-iot/twofold/internal/expr"
)

// fieldKind is what a field of the index has.
type fieldKind uint8

const (
	fieldAny     fieldKind = iota // of a shadow
	fieldText                     // names, attributes
	fieldBool                     //
	fieldNumber                   //
	fieldHasPart                  // shadow.hasDelta, a boolean that is a question
)

// field is a field of a query as an expression reads it.
type field struct {
	source string
	kind   fieldKind
	path   expr.Path // of attributes and shadows
}

func fieldAt(p expr.Path, kind fieldKind) field { return field{p.Expression(), kind, p} }

// unsupported are the fields of AWS that nothing here stands for.
var unsupported = []string{"shadow.metadata.", "deviceDefender.", "connectivity.timestamp", "connectivity.disconnectReason", "thingGroupNames", "thingId", "registry."}

// fieldOf reads the name of a field.
//
// Source: AWS IoT Core Developer Guide, "Managing thing indexing", managed fields.
func fieldOf(name string) (field, error) {
	for _, u := range unsupported {
		if name == u || strings.HasSuffix(u, ".") && strings.HasPrefix(name, u) {
			return field{}, fmt.Errorf("the field %s is not indexed here", name)
		}
	}
	switch name {
	case "thingName":
		return field{source: "id", kind: fieldText}, nil
	case "thingTypeName":
		return field{source: "model", kind: fieldText}, nil
	case "connectivity.connected":
		return field{source: "connected", kind: fieldBool}, nil
	case "shadow.version":
		return field{source: "version", kind: fieldNumber}, nil
	case "shadow.hasDelta":
		return field{source: "holds(driftSince <= now)", kind: fieldHasPart}, nil
	}
	if tag, ok := strings.CutPrefix(name, "attributes."); ok && tag != "" {
		return fieldAt(expr.Path{"tags", tag}, fieldText), nil
	}
	if path, ok := strings.CutPrefix(name, "shadow."); ok {
		parts := strings.Split(path, ".")
		switch parts[0] {
		case "reported", "desired", "delta":
			if len(parts) > 1 {
				return fieldAt(parts, fieldAny), nil
			}
		case "name":
			if f, ok := namedField(parts[1:]); ok {
				return f, nil
			}
		}
	}
	return field{}, fmt.Errorf("there is no field %.100q; there are thingName, thingTypeName, attributes.NAME, shadow.reported.NAME, shadow.desired.NAME, shadow.delta.NAME, shadow.hasDelta, shadow.version, the same of named shadows as shadow.name.SHADOW.reported.NAME, and connectivity.connected", name)
}

// namedField is a field of a named shadow, shadow.name.NAME.reported.X.
func namedField(parts []string) (field, bool) {
	if len(parts) < 2 {
		return field{}, false
	}
	at := append(expr.Path{"shadows"}, parts...)
	switch parts[1] {
	case "version":
		return fieldAt(at, fieldNumber), len(parts) == 2
	case "hasDelta":
		delta := append(slices.Clone(at[:2]), "delta")
		return field{source: "has(" + delta.Expression() + ")", kind: fieldHasPart}, len(parts) == 2
	case "reported", "desired", "delta":
		return fieldAt(at, fieldAny), len(parts) > 2
	}
	return field{}, false
}

// indexQuery is a query of AWS IoT fleet indexing that is being read.
//
// Source: AWS IoT Core Developer Guide, "Query syntax".
type indexQuery struct {
	rest  string
	depth int
}

// queryDepthMax is how deep parentheses may be nested.
const queryDepthMax = 16

// parseIndexQuery turns a query into an expression.
func parseIndexQuery(source string) (string, error) {
	q := &indexQuery{rest: source}
	if q.skip(); q.rest == "" {
		return "", fmt.Errorf("the query is empty; * is all things")
	}
	out, err := q.or(nil)
	if err != nil {
		return "", err
	}
	if q.skip(); q.rest != "" {
		return "", fmt.Errorf("AND or OR is missing before %.40q", q.rest)
	}
	return out, nil
}

func (q *indexQuery) skip() { q.rest = strings.TrimLeft(q.rest, " \t\n\r") }

// word takes a word such as AND, which a space or parenthesis ends.
func (q *indexQuery) word(w string) bool {
	q.skip()
	rest, ok := strings.CutPrefix(q.rest, w)
	if ok && (rest == "" || strings.ContainsAny(rest[:1], " \t\n\r(")) {
		q.rest = rest
		return true
	}
	return false
}

func (q *indexQuery) sign(s string) bool {
	q.skip()
	rest, ok := strings.CutPrefix(q.rest, s)
	if ok {
		q.rest = rest
	}
	return ok
}

// or reads terms joined by OR; of is the field of a group of values, nil outside of one.
func (q *indexQuery) or(of *field) (string, error) {
	if q.depth++; q.depth > queryDepthMax {
		return "", fmt.Errorf("parentheses are nested deeper than %d", queryDepthMax)
	}
	defer func() { q.depth-- }()
	return q.joined("OR", " || ", func() (string, error) {
		return q.joined("AND", " && ", func() (string, error) { return q.not(of) })
	})
}

func (q *indexQuery) joined(word, operator string, next func() (string, error)) (string, error) {
	first, err := next()
	list := []string{first}
	for err == nil && q.word(word) {
		var more string
		more, err = next()
		list = append(list, more)
	}
	if len(list) == 1 || err != nil {
		return first, err
	}
	return "(" + strings.Join(list, operator) + ")", nil
}

func (q *indexQuery) not(of *field) (string, error) {
	if q.word("NOT") || !q.isNumber() && q.sign("-") {
		out, err := q.not(of)
		return "!" + out, err
	}
	if q.sign("(") {
		out, err := q.or(of)
		if err == nil && !q.sign(")") {
			err = fmt.Errorf("a ) is missing before %.40q", q.rest)
		}
		return out, err
	}
	if of != nil {
		return q.value(*of)
	}
	return q.term()
}

// isNumber reports whether a number follows, whose sign is no NOT.
func (q *indexQuery) isNumber() bool {
	q.skip()
	return len(q.rest) > 1 && q.rest[0] == '-' && q.rest[1] >= '0' && q.rest[1] <= '9'
}

// term reads a field and what it has to be.
func (q *indexQuery) term() (string, error) {
	name := q.text(":<>=")
	if name == "*" && !q.sign(":") {
		return "true", nil
	}
	f, err := fieldOf(name)
	if err != nil {
		return "", err
	}
	for _, op := range []string{">=", "<=", ">", "<", "="} {
		if q.sign(op) {
			return q.compare(f, op)
		}
	}
	if !q.sign(":") {
		return "", fmt.Errorf("%s is not followed by : or a comparison", name)
	}
	if q.sign("(") {
		out, err := q.or(&f)
		if err == nil && !q.sign(")") {
			err = fmt.Errorf("a ) is missing before %.40q", q.rest)
		}
		return out, err
	}
	return q.value(f)
}

// text takes letters up to a space, a parenthesis or one of stop; a \ takes the next letter
// as it is.
func (q *indexQuery) text(stop string) string {
	q.skip()
	var b strings.Builder
	for i := 0; i < len(q.rest); i++ {
		switch c := q.rest[i]; {
		case c == '\\' && i+1 < len(q.rest):
			i++
			b.WriteByte(q.rest[i])
		case strings.IndexByte(" \t\n\r()[]{}"+stop, c) >= 0:
			q.rest = q.rest[i:]
			return b.String()
		default:
			b.WriteByte(c)
		}
	}
	q.rest = ""
	return b.String()
}

// value reads what a field has to be: a range, a phrase, a word, the start of one.
func (q *indexQuery) value(f field) (string, error) {
	q.skip()
	switch {
	case q.rest == "":
		return "", fmt.Errorf("the query ends where a value is expected")
	case q.rest[0] == '[' || q.rest[0] == '{':
		return q.between(f)
	case q.rest[0] == '"':
		text, err := q.phrase()
		return f.equals(text, true), err
	}
	for _, op := range []string{">=", "<=", ">", "<"} { // field:>5
		if q.sign(op) {
			return q.compare(f, op)
		}
	}
	text := q.text("")
	switch at := strings.IndexAny(text, "*?"); {
	case text == "":
		return "", fmt.Errorf("a value is expected before %.40q", q.rest)
	case text == "*":
		return f.exists(), nil
	case at == 0:
		return "", fmt.Errorf("%.40q begins with a wildcard", text)
	case at == len(text)-1 && text[at] == '*':
		return fmt.Sprintf("holds(%s.startsWith(%s))", f.source, strconv.Quote(text[:at])), nil
	case at > 0:
		pattern := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(text))
		return fmt.Sprintf("holds(%s.matches(%s))", f.source, strconv.Quote("^"+pattern+"$")), nil
	}
	return f.equals(text, false), nil
}

func (q *indexQuery) phrase() (string, error) {
	end := strings.IndexByte(q.rest[1:], '"')
	if end < 0 {
		return "", fmt.Errorf("a \" is missing after %.40q", q.rest)
	}
	text := q.rest[1 : 1+end]
	q.rest = q.rest[end+2:]
	return text, nil
}

// exists asks whether there is a value.
func (f field) exists() string {
	switch {
	case f.kind == fieldHasPart, f.source == "id", f.kind == fieldBool:
		return "true"
	case f.source == "model":
		return `holds(model != "")`
	case f.kind == fieldNumber:
		return "holds(" + f.source + " >= 0)"
	}
	if strings.HasSuffix(f.source, "]") { // has() takes names that are identifiers
		last := len(f.path) - 1
		return "holds(" + strconv.Quote(f.path[last]) + " in " + f.path[:last].Expression() + ")"
	}
	return "holds(has(" + f.source + "))"
}

// equals compares with a word; one that looks like a number or truth value may be either.
func (f field) equals(text string, phrase bool) string {
	quoted := strconv.Quote(text)
	switch f.kind {
	case fieldHasPart, fieldBool:
		if text == "true" {
			return "(" + f.source + ")"
		}
		return "!(" + f.source + ")"
	case fieldText:
		return fmt.Sprintf("holds(%s == %s)", f.source, quoted)
	case fieldNumber:
		return fmt.Sprintf("holds(%s == %s)", f.source, numberOr(text, quoted))
	}
	if n := numberOr(text, text); !phrase && (n != text || isNumber(text) || text == "true" || text == "false") {
		return fmt.Sprintf("holds(%s == %s || %s == %s)", f.source, n, f.source, quoted)
	}
	return fmt.Sprintf("holds(%s == %s)", f.source, quoted)
}

func isNumber(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}

// numberOr is a number as an expression has it, or other.
func numberOr(text, other string) string {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n-n != 0 { // infinite, or none
		return other
	}
	out := strconv.FormatFloat(n, 'f', -1, 64)
	if !strings.Contains(out, ".") {
		out += ".0"
	}
	return out
}

func (q *indexQuery) compare(f field, op string) (string, error) {
	text := q.text("")
	switch {
	case text == "":
		return "", fmt.Errorf("a value is expected after %s", op)
	case op == "=":
		return f.equals(text, false), nil
	}
	return f.ordered(op, text)
}

// ordered compares a number, or a text.
func (f field) ordered(op, text string) (string, error) {
	switch {
	case f.kind == fieldBool || f.kind == fieldHasPart:
		return "", fmt.Errorf("a truth value has no order: %s %s", op, text)
	case isNumber(text) && f.kind == fieldText:
		return fmt.Sprintf("holds(double(%s) %s %s)", f.source, op, numberOr(text, "0.0")), nil
	case isNumber(text):
		return fmt.Sprintf("holds(%s %s %s)", f.source, op, numberOr(text, "0.0")), nil
	case f.kind == fieldNumber:
		return "", fmt.Errorf("%.40q is no number", text)
	}
	return fmt.Sprintf("holds(%s %s %s)", f.source, op, strconv.Quote(text)), nil
}

// between reads [10 TO 20], {10 TO 20] and so on; * is no bound.
func (q *indexQuery) between(f field) (string, error) {
	open := q.rest[0]
	q.rest = q.rest[1:]
	low := q.text("")
	if !q.word("TO") {
		return "", fmt.Errorf("TO is missing in a range before %.40q", q.rest)
	}
	high := q.text("")
	q.skip()
	if low == "" || high == "" || q.rest == "" || q.rest[0] != ']' && q.rest[0] != '}' {
		return "", fmt.Errorf("a range is [10 TO 20], or {10 TO 20} without its bounds")
	}
	closed := q.rest[0]
	q.rest = q.rest[1:]
	var parts []string
	for _, bound := range []struct {
		text, with, without string
		included            bool
	}{{low, ">=", ">", open == '['}, {high, "<=", "<", closed == ']'}} {
		if bound.text == "*" {
			continue
		}
		op := bound.without
		if bound.included {
			op = bound.with
		}
		part, err := f.ordered(op, bound.text)
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
	}
	if parts == nil {
		return f.exists(), nil
	}
	return "(" + strings.Join(parts, " && ") + ")", nil
}
