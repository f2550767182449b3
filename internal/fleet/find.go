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
