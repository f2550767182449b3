package fleet

import (
	"context"
	"slices"

	"github.com/twofold-iot/twofold/twin"
)

// Find lists all twins that a condition holds for, by name.
func (e *Engine) Find(ctx context.Context, condition string) ([]twin.ThingName, error) {
	where, err := e.compileWhere(condition)
	if err != nil {
		return nil, err
	}
	index, now, err := e.lock(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer index.mu.RUnlock()
	var list []twin.ThingName
	s := scan{where: where, now: now}
	err = s.run(ctx, index, func(seg *cohort, row int, _ []value) { list = append(list, seg.ids[row]) })
	slices.Sort(list)
	return list, err
}

// Condition asks of one twin at a time whether a condition holds. It is for one goroutine.
type Condition struct {
	engine *Engine
	where  *expression
}

// Condition compiles a condition.
func (e *Engine) Condition(condition string) (*Condition, error) {
	where, err := e.compileWhere(condition)
	if err != nil {
		return nil, err
	}
	return &Condition{e, where}, nil
}

// Holds reports whether the condition holds for a twin now; it does not for one that is not
// there.
func (c *Condition) Holds(ctx context.Context, thing twin.ThingName) bool {
	index, now, err := c.engine.lock(ctx, 0)
	if err != nil {
		return false
	}
	defer index.mu.RUnlock()
	at, ok := index.places[thing]
	if !ok || c.where == nil {
		return ok
	}
	s := scan{where: c.where, now: now}
	s.bind(at.cohort)
	return len(s.hits(&batch{cohort: at.cohort, from: int(at.row), n: 1, now: now}, nil)) > 0
}

// Timed reports whether the condition reads now, so that time alone may change what it says.
func (c *Condition) Timed() bool { return c.where != nil && c.where.program.OnNow() }

// HoldsEach asks of many twins at once.
func (c *Condition) HoldsEach(ctx context.Context, things []twin.ThingName) []bool {
	holds := make([]bool, len(things))
	index, now, err := c.engine.lock(ctx, 0)
	if err != nil {
		return holds
	}
	defer index.mu.RUnlock()
	s := scan{where: c.where, now: now}
	var bound *cohort
	for i, thing := range things {
		at, ok := index.places[thing]
		if !ok || c.where == nil {
			holds[i] = ok
			continue
		}
		if at.cohort != bound {
			s.bind(at.cohort)
			bound = at.cohort
		}
		holds[i] = len(s.hits(&batch{cohort: at.cohort, from: int(at.row), n: 1, now: now}, nil)) > 0
	}
	return holds
}
