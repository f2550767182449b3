package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twofold-iot/twofold/internal/expr"
)

// hints tell of paths that no twin has: such a query is not wrong, but perhaps not what
// was meant.
func (x *Index) hints(list ...*expression) []string {
	var hints []string
	seen := map[string]bool{}
	for _, e := range list {
		if e == nil {
			continue
		}
		for _, p := range e.program.Reads() {
			if name := p.Expression(); !seen[name] && len(p) > 1 && len(x.order) > 0 && !x.has(p) {
				seen[name] = true
				hints = append(hints, x.hint(p))
			}
		}
	}
	return hints
}

func (x *Index) has(p expr.Path) bool {
	r, ok := rootOf(p[0])
	if !ok {
		return true
	}
	for _, s := range x.order {
		b := &s.roots[r]
		if r == telemetry || r == computed || r == alarms {
			name := strings.Join(p[1:], ".")
			if b.kid(name) != nil || len(b.under(name+".")) > 0 {
				return true
			}
			continue
		}
		for _, name := range p[1:] {
			b = b.kid(name)
		}
		if b != nil {
			return true
		}
	}
	return false
}

func (x *Index) hint(p expr.Path) string {
	text := "no twin has " + p.Expression()
	r, _ := rootOf(p[0])
	if near := expr.Nearest(strings.Join(p[1:], "."), x.paths(r)); near != "" {
		text += fmt.Sprintf("; did you mean %s.%s?", p[0], near)
	}
	return text
}

// paths lists the paths of a part, joined by dots.
func (x *Index) paths(r root) []string {
	all := map[string]bool{}
	for _, s := range x.order {
		s.roots[r].paths("", all)
	}
	return slices.Sorted(maps.Keys(all))
}

// pathsMax is how many paths are looked through for one that is like another.
const pathsMax = 5000

func (b *branch) paths(prefix string, all map[string]bool) {
	for _, k := range b.order {
		if len(all) >= pathsMax {
			return
		}
		all[prefix+k.name] = true
		k.paths(prefix+k.name+".", all)
	}
}
