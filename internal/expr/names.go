package expr

import (
	"maps"
	"reflect"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// valuesType can neither be counted nor gone through: [Values] need not know its names.
var valuesType = types.NewObjectType("object", traits.ContainerType|traits.FieldTesterType|traits.IndexerType)

// tagsVal is the tags of a twin.
type tagsVal map[string]string

// Get implements traits.Indexer.
func (t tagsVal) Get(key ref.Val) ref.Val {
	name, _ := key.(types.String)
	if v, ok := t[string(name)]; ok {
		return types.String(v)
	}
	return absent
}

// IsSet implements traits.FieldTester.
func (t tagsVal) IsSet(key ref.Val) ref.Val {
	name, isText := key.(types.String)
	_, ok := t[string(name)]
	return types.Bool(ok && isText)
}

// Contains implements traits.Container.
func (t tagsVal) Contains(key ref.Val) ref.Val { return t.IsSet(key) }

// Iterator implements traits.Iterable: over the names in order.
func (t tagsVal) Iterator() traits.Iterator {
	names := slices.Sorted(maps.Keys(t))
	return types.NewStringList(types.DefaultTypeAdapter, names).Iterator()
}

// Size implements traits.Sizer.
func (t tagsVal) Size() ref.Val { return types.Int(len(t)) }

// Equal implements [ref.Val]: tags are compared one by one.
func (t tagsVal) Equal(ref.Val) ref.Val { return types.False }

// Type implements [ref.Val].
func (t tagsVal) Type() ref.Type { return objectType }

// Value implements [ref.Val].
func (t tagsVal) Value() any { return t }

// ConvertToNative implements [ref.Val].
func (t tagsVal) ConvertToNative(to reflect.Type) (any, error) { return nil, errConvert(to) }

// ConvertToType implements [ref.Val].
func (t tagsVal) ConvertToType(to ref.Type) ref.Val { return convert(t, to) }

// valuesVal is telemetry or computed attributes, or those under a prefix:
// telemetry.motor.speed is the metric motor.speed, as is telemetry["motor.speed"].
type valuesVal struct {
	values Values
	prefix string // empty, or ends with a dot
}

// Get implements traits.Indexer.
func (v valuesVal) Get(key ref.Val) ref.Val {
	name, ok := key.(types.String)
	if !ok || v.values == nil {
		return absent
	}
	at := v.prefix + string(name)
	if val, ok := v.values.Value(at); ok {
		return scalar(val, true)
	}
	if at += "."; v.values.Under(at) {
		return valuesVal{v.values, at}
	}
	return absent
}

// IsSet implements traits.FieldTester.
func (v valuesVal) IsSet(key ref.Val) ref.Val { return types.Bool(v.Get(key) != ref.Val(absent)) }

// Contains implements traits.Container.
func (v valuesVal) Contains(key ref.Val) ref.Val { return v.IsSet(key) }

// Equal implements [ref.Val]: values are compared one by one.
func (v valuesVal) Equal(ref.Val) ref.Val { return types.False }

// Type implements [ref.Val].
func (v valuesVal) Type() ref.Type { return valuesType }

// Value implements [ref.Val].
func (v valuesVal) Value() any { return v }

// ConvertToNative implements [ref.Val].
func (v valuesVal) ConvertToNative(to reflect.Type) (any, error) { return nil, errConvert(to) }

// ConvertToType implements [ref.Val].
func (v valuesVal) ConvertToType(to ref.Type) ref.Val { return convert(v, to) }
