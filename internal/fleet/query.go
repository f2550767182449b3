package fleet

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of a query.
const (
	LimitDefault = 100
	LimitMax     = 1000
	ColumnsMax   = 64
)

// Request is a query as it is asked. Each text is an expression of [expr.NewQueryEnv].
type Request struct {
	Where   string   `json:"where,omitempty"`   // which twins; empty: all
	Select  []string `json:"select,omitempty"`  // what of each; empty: id, model, and what Where reads
	Sort    []string `json:"sort,omitempty"`    // with a leading "-" the greatest first; empty: by id
	Limit   int      `json:"limit,omitempty"`   // of a page, 100
	Cursor  string   `json:"cursor,omitempty"`  // next of the page before
	At      string   `json:"at,omitempty"`      // an instant of the past (RFC 3339); empty: now
	Explain bool     `json:"explain,omitempty"` // tell how it was found
}

// Page is a part of what a query finds.
type Page struct {
	Columns []string
	Rows    []Row
	Total   int    // of all pages
	Next    string // cursor of the next page; empty: this is the last one
	Hints   []string
	Explain *Explain
}

// Row is one twin: a JSON value for each column, null for what is absent.
type Row struct {
	ID     twin.ThingName
	Values []json.RawMessage
}

// Explain says how a query was answered.
type Explain struct {
	Twins       int      `json:"twins"`                 // that were looked at
	ByColumns   int      `json:"byColumns"`             // decided by columns alone
	Interpreted int      `json:"interpreted"`           // given to the interpreter
	Matched     int      `json:"matched"`               //
	Models      int      `json:"models"`                // cohorts looked at
	Reads       []string `json:"reads"`                 // columns
	Interpreter []string `json:"interpreter,omitempty"` // why the interpreter was asked
	Seconds     float64  `json:"seconds"`
}

// Engine answers queries over an index.
type Engine struct {
	Index *Index
	Env   *expr.Env
	Now   func() twin.Time
	// Rebuild makes the index of a past instant; nil: the past cannot be asked.
	Rebuild Rebuild
	past    pasts
}

// expression is an expression of a query in both forms.
type expression struct {
	source  string
	program *expr.Program
	op      *operator
}

func (e *Engine) compile(pointer, source string) (*expression, error) {
	p, err := expr.Compile(source, e.Env)
	if err != nil {
		return nil, &Error{Pointer: pointer, Reason: err.Error()}
	}
	if len(p.Calls()) > 0 {
		return nil, &Error{Pointer: pointer, Reason: p.Calls()[0].Function + "(…) over time is not part of a query; give the model a computed attribute, or ask the series of the twins"}
	}
	return &expression{source: source, program: p, op: newOperator(p.Form())}, nil
}

// Error is a request that cannot be answered, with the place in it.
type Error struct{ Pointer, Reason string }

// Error implements error.
func (e *Error) Error() string { return e.Reason }

// Query finds twins.
func (e *Engine) Query(ctx context.Context, r *Request) (*Page, error) {
	q, err := e.prepare(r)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	index, now, err := e.lock(ctx, q.at)
	if err != nil {
		return nil, err
	}
	defer index.mu.RUnlock()
	page := &Page{Columns: q.columns()}
	best := &ranking{keys: q.sort, limit: q.limit + 1}
	s := scan{where: q.where, values: q.sorted(), now: now}
	err = s.run(ctx, index, func(seg *cohort, row int, values []value) {
		k := found{cohort: seg, row: row, id: seg.ids[row], keys: values}
		if q.after == nil || best.compare(&k, q.after) > 0 {
			best.offer(k)
		}
	})
	if err != nil {
		return nil, err
	}
	page.Total = s.explain.Matched
	page.Hints = index.hints(append(append(q.sorted(), q.chosen...), q.where)...)
	list := best.sorted()
	if len(list) > q.limit {
		list = list[:q.limit]
		page.Next = q.cursorOf(&list[q.limit-1])
	}
	for i := range list {
		page.Rows = append(page.Rows, q.row(&list[i], s.now))
	}
	if r.Explain {
		page.Explain = s.explained(q.where, start)
	}
	return page, nil
}

// query is a request that can be answered.
type query struct {
	where  *expression // nil: all
	chosen []*expression
	sort   []sortKey
	limit  int
	after  *found
	at     twin.Time // 0: now
	tag    string    // of the request, in its cursors
}

type sortKey struct {
	*expression
	down bool
}

func (e *Engine) prepare(r *Request) (*query, error) {
	q := &query{limit: r.Limit, tag: r.Where + "\x00" + r.At + "\x00" + strings.Join(r.Sort, "\x00")}
	var err error
	if q.where, err = e.compileWhere(r.Where); err != nil {
		return nil, err
	}
	switch {
	case r.Limit < 0 || r.Limit > LimitMax:
		return nil, &Error{"/limit", fmt.Sprintf("%d is not 1 to %d", r.Limit, LimitMax)}
	case len(r.Select) > ColumnsMax:
		return nil, &Error{"/select", fmt.Sprintf("%d columns are over the limit of %d", len(r.Select), ColumnsMax)}
	case len(r.Sort) > 8:
		return nil, &Error{"/sort", fmt.Sprintf("%d keys are over the limit of 8", len(r.Sort))}
	case r.Limit == 0:
		q.limit = LimitDefault
	}
	chosen := r.Select
	if len(chosen) == 0 {
		chosen = q.interesting(r.At != "")
	}
	for i, source := range chosen {
		c, err := e.compile(fmt.Sprintf("/select/%d", i), source)
		if err != nil {
			return nil, err
		}
		q.chosen = append(q.chosen, c)
	}
	for i, source := range r.Sort {
		down := strings.HasPrefix(source, "-")
		c, err := e.compile(fmt.Sprintf("/sort/%d", i), strings.TrimPrefix(source, "-"))
		if err != nil {
			return nil, err
		}
		q.sort = append(q.sort, sortKey{c, down})
	}
	if q.at, err = e.instant(r.At, append(append(q.sorted(), q.chosen...), q.where)); err != nil {
		return nil, err
	}
	if r.Cursor != "" {
		if q.after, err = q.readCursor(r.Cursor); err != nil {
			return nil, err
		}
	}
	return q, nil
}

func (e *Engine) compileWhere(source string) (*expression, error) {
	if strings.TrimSpace(source) == "" {
		return nil, nil
	}
	where, err := e.compile("/where", source)
	if err != nil {
		return nil, err
	}
	if t := where.program.Type(); t != expr.TypeBool && t != expr.TypeAny {
		return nil, &Error{"/where", fmt.Sprintf("1:1: the condition is a %s, not a boolean", t)}
	}
	return where, nil
}

// interesting is what is shown if nothing is asked for: what the condition reads.
func (q *query) interesting(past bool) []string {
	list := []string{"id", "model"}
	if q.where == nil && past {
		return append(list, "reported")
	}
	if q.where == nil {
		return append(list, "connected", "lastSeen")
	}
	for _, p := range q.where.program.Reads() {
		if name := p.Expression(); p[0] != "now" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

func (q *query) columns() []string {
	var names []string
	for _, c := range q.chosen {
		names = append(names, c.source)
	}
	return names
}

func (q *query) sorted() []*expression {
	var list []*expression
	for _, k := range q.sort {
		list = append(list, k.expression)
	}
	return list
}

// found is a row with what it is sorted by.
type found struct {
	cohort *cohort
	row    int
	id     twin.ThingName
	keys   []value
}

// row gives a row as it is answered.
func (q *query) row(f *found, now twin.Time) Row {
	r := Row{ID: f.id}
	for _, c := range q.chosen {
		r.Values = append(r.Values, c.json(f.cohort, f.row, now))
	}
	return r
}

// ranking keeps the first so many rows in the order of a query, the last of them on top.
type ranking struct {
	keys  []sortKey
	limit int
	list  []found
}

func (r *ranking) compare(a, b *found) int {
	for i := range r.keys {
		if c := a.keys[i].compare(&b.keys[i], r.keys[i].down); c != 0 {
			return c
		}
	}
	return cmp.Compare(a.id, b.id)
}

func (r *ranking) offer(f found) {
	if len(r.list) == r.limit {
		if r.compare(&f, &r.list[0]) >= 0 {
			return
		}
		f.keys = slices.Clone(f.keys)
		r.list[0] = f
		heap.Fix(r, 0)
		return
	}
	f.keys = slices.Clone(f.keys)
	heap.Push(r, f)
}

func (r *ranking) sorted() []found {
	slices.SortFunc(r.list, func(a, b found) int { return r.compare(&a, &b) })
	return r.list
}

// Len implements [heap.Interface].
func (r *ranking) Len() int { return len(r.list) }

// Less implements [heap.Interface].
func (r *ranking) Less(i, j int) bool { return r.compare(&r.list[i], &r.list[j]) > 0 }

// Swap implements [heap.Interface].
func (r *ranking) Swap(i, j int) { r.list[i], r.list[j] = r.list[j], r.list[i] }

// Push implements [heap.Interface].
func (r *ranking) Push(x any) { r.list = append(r.list, x.(found)) } //nolint:forcetypeassert // only found are pushed

// Pop implements [heap.Interface].
func (r *ranking) Pop() any {
	last := r.list[len(r.list)-1]
	r.list = r.list[:len(r.list)-1]
	return last
}

// cursor is where a page ended.
type cursor struct {
	Tag  uint32  `json:"q"`
	ID   string  `json:"id"`
	Keys []value `json:"k,omitempty"`
}

func (q *query) cursorOf(f *found) string {
	b, err := json.Marshal(cursor{Tag: hash(q.tag), ID: string(f.id), Keys: f.keys})
	if err != nil { // numbers are finite
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func (q *query) readCursor(s string) (*found, error) {
	var c cursor
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || json.Unmarshal(b, &c) != nil || len(c.Keys) != len(q.sort) {
		return nil, &Error{"/cursor", "this is no cursor of such a query"}
	}
	if c.Tag != hash(q.tag) {
		return nil, &Error{"/cursor", "the cursor is of another query: where and sort must stay as they were"}
	}
	return &found{id: twin.ThingName(c.ID), keys: c.Keys}, nil
}
