package expr

import (
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// At returns what a path has, for the answer to "why". An object or array is known to
// be there and has no value of its own.
func (in *Inputs) At(p Path) Result {
	if len(p) == 0 {
		return Result{}
	}
	root, _ := (&activation{in: in}).ResolveName(p[0])
	v, _ := root.(ref.Val)
	for _, name := range p[1:] {
		inner, ok := v.(traits.Indexer)
		if !ok {
			return Result{}
		}
		v = inner.Get(types.String(name))
	}
	switch v.(type) {
	case nil:
		return Result{}
	case *object, *array, tagsVal, valuesVal:
		return Result{Status: Known}
	}
	return result(v)
}
