package fleet

import (
	"context"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// scan goes through all rows; they are locked.
type scan struct {
	where   *expression
	values  []*expression
	now     twin.Time
	explain Explain
}

// run calls each for every row that the condition holds for, with its values, which are
// good until the call ends.
func (s *scan) run(ctx context.Context, x *Index, each func(seg *cohort, row int, values []value)) error {
	values := make([]value, len(s.values))
	vectors := make([]*vector, len(s.values))
	var hits []int
	for _, seg := range x.order {
		if len(seg.ids) == 0 {
			continue
		}
		s.explain.Models++
		s.bind(seg)
		for from := 0; from < len(seg.ids); from += batchRows {
			if ctx.Err() != nil {
				return twin.NewError(twin.KindUnavailable, "The request ended before the query did")
			}
			b := &batch{cohort: seg, from: from, n: min(batchRows, len(seg.ids)-from), now: s.now}
			if hits = s.hits(b, hits[:0]); len(hits) == 0 {
				continue
			}
			for k, e := range s.values {
				vectors[k] = e.op.eval(b)
			}
			for _, i := range hits {
				for k, e := range s.values {
					values[k] = e.of(vectors[k], b, i)
				}
				each(seg, from+i, values)
			}
		}
	}
	return nil
}

func (s *scan) bind(seg *cohort) {
	if s.where != nil {
		s.where.op.bind(seg)
	}
	for _, e := range s.values {
		e.op.bind(seg)
	}
}

// hits appends the rows of a batch for which the condition holds.
func (s *scan) hits(b *batch, list []int) []int {
	s.explain.Twins += b.n
	if s.where == nil {
		for i := range b.n {
			list = append(list, i)
		}
		s.explain.Matched += b.n
		return list
	}
	v := s.where.op.eval(b)
	for i := range b.n {
		switch v.forms[i] {
		case isBool:
			if v.values[i] != 0 {
				list = append(list, i)
			}
		case ask:
			s.explain.Interpreted++
			if x := s.where.interpret(b.cohort, b.from+i, b.now); x.Form == isBool && x.Number != 0 {
				list = append(list, i)
			}
		}
	}
	s.explain.Matched += len(list)
	return list
}

func (s *scan) explained(where *expression, start time.Time) *Explain {
	x := &s.explain
	x.ByColumns = x.Twins - x.Interpreted
	x.Reads = []string{}
	if where != nil {
		for _, p := range where.program.Reads() {
			x.Reads = append(x.Reads, p.Expression())
		}
		if slices.ContainsFunc(where.op.all(nil), func(o *operator) bool { return o.Op == expr.OpOther }) {
			x.Interpreter = append(x.Interpreter, "a part of the condition has no form over columns: a loop, an index into a list, a conversion or a list that is not of constants")
		} else if x.Interpreted > 0 {
			x.Interpreter = append(x.Interpreter, "whole objects or lists are compared")
		}
	}
	x.Seconds = time.Since(start).Seconds()
	return x
}

func (o *operator) all(list []*operator) []*operator {
	list = append(list, o)
	for _, a := range o.args {
		list = a.all(list)
	}
	return list
}
