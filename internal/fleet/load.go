package fleet

import "context"

// Bring brings in what is noted, and returns when it is in the rows.
func (x *Index) Bring(ctx context.Context) { x.bring(ctx) }

// Uncompute takes away what a model has computed that is out of force now.
func (x *Index) Uncompute(ctx context.Context, model string) {
	x.bring(ctx)
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.cohorts[model]
	if s == nil {
		return
	}
	for row := range s.ids {
		s.clearBelow(&s.roots[computed], row)
	}
}

// Kept is how much an index keeps.
type Kept struct{ Twins, Paths, Texts int }

// Kept counts what the index keeps.
func (x *Index) Kept() Kept {
	x.mu.RLock()
	defer x.mu.RUnlock()
	k := Kept{Twins: len(x.places), Texts: len(x.texts.ids)}
	for _, s := range x.order {
		for r := range s.roots {
			k.Paths += s.roots[r].below()
		}
	}
	return k
}

// below is how many paths there are below.
func (b *branch) below() int {
	n := len(b.order)
	for _, k := range b.order {
		n += k.below()
	}
	return n
}
