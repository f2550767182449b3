package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of an aggregation.
const (
	GroupsMax     = 10_000 // that are answered; the largest are
	groupsHardMax = 1 << 20
	GroupByMax    = 4
	FiguresMax    = 32
	BucketsMax    = 1000
	figuresUsage  = "count(), count(x), distinct(x), avg(x), min(x), max(x), sum(x), p50(x), percentile(x, 99.9), top(x, 5) or histogram(x, 10)"
)

// AggregateRequest asks for figures over twins.
type AggregateRequest struct {
	Where   string   `json:"where,omitempty"`
	GroupBy []string `json:"groupBy,omitempty"` // expressions; none: one group of all
	// Figures are calls such as count(), avg(reported.temp), p95(telemetry.power),
	// top(reported.mode, 5), histogram(reported.temp, 10).
	Figures []string `json:"figures"`
	Limit   int      `json:"limit,omitempty"` // of groups, the largest first; 100
	At      string   `json:"at,omitempty"`    // as in [Request]
	Explain bool     `json:"explain,omitempty"`
}

// Aggregate is figures by group, the largest first.
type Aggregate struct {
	GroupBy []string
	Figures []string
	Groups  []Group
	Total   int // groups there are
	Matched int // twins
	Hints   []string
	Explain *Explain
}

// Group is the twins for which the expressions of a group have the same values.
type Group struct {
	Key     []json.RawMessage
	Twins   int
	Figures []json.RawMessage
}

// figure is one call of a request.
type figure struct {
	name string
	arg  int     // which value, -1: none
	x    float64 // percentile, or how many
}

// gathering is what is known of a figure in a group.
type gathering struct {
	count    int
	sum      float64
	values   []float64      // of percentiles and histograms
	tally    map[string]int // of distinct and top, by key
	shown    map[string]value
	min, max value
}

// Aggregate gives figures over the twins that a condition holds for.
func (e *Engine) Aggregate(ctx context.Context, r *AggregateRequest) (*Aggregate, error) {
	where, err := e.compileWhere(r.Where)
	if err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	s := scan{where: where}
	for i, source := range r.GroupBy {
		x, err := e.compile(fmt.Sprintf("/groupBy/%d", i), source)
		if err != nil {
			return nil, err
		}
		s.values = append(s.values, x)
	}
	figures, err := e.figures(r, &s)
	if err != nil {
		return nil, err
	}
	at, err := e.instant(r.At, append(slices.Clone(s.values), where))
	if err != nil {
		return nil, err
	}
	start := time.Now()
	index, now, err := e.lock(ctx, at)
	if err != nil {
		return nil, err
	}
	defer index.mu.RUnlock()
	s.now = now
	g := grouping{by: len(r.GroupBy), figures: figures, groups: make(map[string]*group)}
	if err := s.run(ctx, index, g.add); err != nil {
		return nil, err
	}
	if g.over {
		return nil, &Error{"/groupBy", fmt.Sprintf("more than %d groups", groupsHardMax)}
	}
	a := &Aggregate{GroupBy: r.GroupBy, Figures: r.Figures, Total: len(g.groups), Matched: s.explain.Matched, Groups: g.answer(cmp.Or(r.Limit, LimitDefault))}
	a.Hints = index.hints(append(slices.Clone(s.values), where)...)
	if r.Explain {
		a.Explain = s.explained(where, start)
	}
	return a, nil
}

func (r *AggregateRequest) check() error {
	switch {
	case len(r.Figures) == 0:
		return &Error{"/figures", "no figure is asked for: " + figuresUsage}
	case len(r.Figures) > FiguresMax:
		return &Error{"/figures", fmt.Sprintf("%d figures are over the limit of %d", len(r.Figures), FiguresMax)}
	case len(r.GroupBy) > GroupByMax:
		return &Error{"/groupBy", fmt.Sprintf("%d expressions are over the limit of %d", len(r.GroupBy), GroupByMax)}
	case r.Limit < 0 || r.Limit > GroupsMax:
		return &Error{"/limit", fmt.Sprintf("%d is not 1 to %d", r.Limit, GroupsMax)}
	}
	return nil
}

// figures reads the calls; the values they are of are appended to those of the scan.
func (e *Engine) figures(r *AggregateRequest, s *scan) ([]figure, error) {
	var list []figure
	seen := map[string]int{}
	for i, source := range r.Figures {
		pointer := fmt.Sprintf("/figures/%d", i)
		f, arg, err := parseFigure(source)
		if err != nil {
			return nil, &Error{pointer, err.Error()}
		}
		f.arg = -1
		if arg != "" {
			at, ok := seen[arg]
			if !ok {
				x, err := e.compile(pointer, arg)
				if err != nil {
					return nil, err
				}
				at = len(s.values)
				seen[arg] = at
				s.values = append(s.values, x)
			}
			f.arg = at
		}
		list = append(list, f)
	}
	return list, nil
}

// parseFigure takes a call apart: its name, the expression it is of, and its number.
func parseFigure(source string) (f figure, arg string, err error) {
	name, rest, ok := strings.Cut(strings.TrimSpace(source), "(")
	rest, closed := strings.CutSuffix(rest, ")")
	if !ok || !closed {
		return f, "", fmt.Errorf("%.80q is no figure: %s", source, figuresUsage)
	}
	f.name, arg = strings.TrimSpace(name), strings.TrimSpace(rest)
	if digits, ok := strings.CutPrefix(f.name, "p"); ok && digits != "" && digits[0] <= '9' {
		p, err := strconv.ParseFloat(digits, 64)
		if err != nil || p < 0 || p > 100 {
			return f, "", fmt.Errorf("%s: a percentile is one of 0 to 100: p95, p99.9", f.name)
		}
		f.name, f.x = "percentile", p
		return f, arg, needs(f.name, arg)
	}
	switch f.name {
	case "count":
		return f, arg, nil
	case "distinct", "avg", "min", "max", "sum":
		return f, arg, needs(f.name, arg)
	case "percentile", "top", "histogram":
		at := strings.LastIndexByte(arg, ',')
		if at < 0 {
			return f, "", fmt.Errorf("%s has two arguments: %s", f.name, figuresUsage)
		}
		if f.x, err = strconv.ParseFloat(strings.TrimSpace(arg[at+1:]), 64); err != nil {
			return f, "", fmt.Errorf("%s: %.40q is no number", f.name, strings.TrimSpace(arg[at+1:]))
		}
		arg = strings.TrimSpace(arg[:at])
		switch {
		case f.name == "percentile" && (f.x < 0 || f.x > 100):
			return f, "", fmt.Errorf("percentile: %g is not 0 to 100", f.x)
		case f.name != "percentile" && (f.x < 1 || f.x > BucketsMax || f.x != math.Trunc(f.x)):
			return f, "", fmt.Errorf("%s: %g is no whole number of 1 to %d", f.name, f.x, BucketsMax)
		}
		return f, arg, needs(f.name, arg)
	}
	return f, "", fmt.Errorf("there is no figure %.40q: %s", f.name, figuresUsage)
}

func needs(name, arg string) error {
	if arg == "" {
		return fmt.Errorf("%s needs what it is of, such as %s(reported.temperature)", name, name)
	}
	return nil
}

// grouping gathers figures by group.
type grouping struct {
	by      int
	figures []figure
	groups  map[string]*group
	key     []byte
	over    bool
}

type group struct {
	key    []value
	twins  int
	gather []gathering
}

func (g *grouping) add(_ *cohort, _ int, values []value) {
	g.key = g.key[:0]
	for i := range g.by {
		g.key = values[i].appendKey(g.key)
	}
	of := g.groups[string(g.key)]
	if of == nil {
		if len(g.groups) == groupsHardMax {
			g.over = true
			return
		}
		of = &group{key: slices.Clone(values[:g.by]), gather: make([]gathering, len(g.figures))}
		g.groups[string(g.key)] = of
	}
	of.twins++
	for i := range g.figures {
		if f := &g.figures[i]; f.arg >= 0 && values[f.arg].Form != neither {
			of.gather[i].add(f, &values[f.arg])
		}
	}
}

func (h *gathering) add(f *figure, v *value) {
	switch f.name {
	case "min", "max":
		if h.count == 0 || v.compare(&h.min, false) < 0 {
			h.min = *v
		}
		if h.count == 0 || v.compare(&h.max, false) > 0 {
			h.max = *v
		}
	case "distinct", "top":
		if h.tally == nil {
			h.tally, h.shown = make(map[string]int), make(map[string]value)
		}
		var room [64]byte
		key := v.appendKey(room[:0])
		if h.tally[string(key)]++; h.tally[string(key)] == 1 {
			h.shown[string(key)] = *v
		}
	case "avg", "sum", "percentile", "histogram":
		if v.Form != isNumber && v.Form != isSpan {
			return // a figure of numbers leaves out what is none
		}
		n := v.Number
		if v.Form == isSpan {
			n /= 1000
		}
		h.sum += n
		if f.name == "percentile" || f.name == "histogram" {
			h.values = append(h.values, n)
		}
	}
	h.count++
}

// answer gives the largest groups with their figures.
func (g *grouping) answer(limit int) []Group {
	list := slices.Collect(maps.Values(g.groups))
	slices.SortFunc(list, func(a, b *group) int {
		if c := cmp.Compare(b.twins, a.twins); c != 0 {
			return c
		}
		return slices.CompareFunc(a.key, b.key, func(x, y value) int { return x.compare(&y, false) })
	})
	out := []Group{}
	for _, x := range list[:min(limit, len(list))] {
		one := Group{Key: []json.RawMessage{}, Twins: x.twins}
		for i := range x.key {
			one.Key = append(one.Key, x.key[i].json())
		}
		for i := range g.figures {
			one.Figures = append(one.Figures, x.gather[i].json(&g.figures[i], x.twins))
		}
		out = append(out, one)
	}
	return out
}

// json gives the figure; null if no twin has a value for it.
func (h *gathering) json(f *figure, twins int) json.RawMessage {
	number := func(x float64) json.RawMessage { v := value{Form: isNumber, Number: x}; return v.json() }
	switch {
	case f.name == "count" && f.arg < 0:
		return number(float64(twins))
	case f.name == "count":
		return number(float64(h.count))
	case f.name == "distinct":
		return number(float64(len(h.tally)))
	case f.name == "top":
		return h.top(int(f.x))
	case h.count == 0:
		return json.RawMessage("null")
	}
	switch f.name {
	case "min":
		return h.min.json()
	case "max":
		return h.max.json()
	case "avg":
		return number(h.sum / float64(h.count))
	case "sum":
		return number(h.sum)
	case "percentile":
		slices.Sort(h.values)
		return number(percentile(h.values, f.x))
	}
	return h.histogram(int(f.x))
}

// percentile interpolates between the two values around the rank p/100·(n−1) (type 7 of
// Hyndman and Fan, Sample Quantiles in Statistical Packages, 1996).
func percentile(sorted []float64, p float64) float64 {
	rank := p / 100 * float64(len(sorted)-1)
	low := int(rank)
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (rank-float64(low))*(sorted[low+1]-sorted[low])
}

type tallied struct {
	Value json.RawMessage `json:"value"`
	Count int             `json:"count"`
}

// top is the values that most twins have.
func (h *gathering) top(n int) json.RawMessage {
	keys := slices.SortedFunc(maps.Keys(h.tally), func(a, b string) int {
		x, y := h.shown[a], h.shown[b]
		return cmp.Or(cmp.Compare(h.tally[b], h.tally[a]), x.compare(&y, false))
	})
	list := []tallied{}
	for _, k := range keys[:min(n, len(keys))] {
		v := h.shown[k]
		list = append(list, tallied{v.json(), h.tally[k]})
	}
	return marshal(list)
}

type bucket struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"` // the last one has its upper end in it
	Count int     `json:"count"`
}

// histogram is n ranges of the same width from the least to the greatest value.
func (h *gathering) histogram(n int) json.RawMessage {
	low, high := slices.Min(h.values), slices.Max(h.values)
	if low == high {
		n = 1
	}
	list := make([]bucket, n)
	width := (high - low) / float64(n)
	for i := range list {
		list[i].From, list[i].To = low+float64(i)*width, low+float64(i+1)*width
	}
	list[n-1].To = high
	for _, v := range h.values {
		at := n - 1
		if width > 0 {
			at = min(n-1, int((v-low)/width))
		}
		list[at].Count++
	}
	return marshal(list)
}

func marshal(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil { // an infinite bound
		return json.RawMessage("null")
	}
	return b
}
