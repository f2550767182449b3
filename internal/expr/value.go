package expr

import (
	"fmt"
	"math"
	"reflect"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/twofold-iot/twofold/twin"
)

// absent is what a name that is not there reads as. CEL carries an unknown through
// operators the way we want it. It is never changed.
var absent = types.NewUnknown(0, nil)

// objectType has no Mapper: CEL then asks IsSet for has() and Get for the value, and
// Get can answer absent instead of an error.
var objectType = types.NewObjectType("object", traits.ContainerType|traits.FieldTesterType|
	traits.IndexerType|traits.IterableType|traits.SizerType)

// object is an object of a shadow, read where it is.
type object twin.Node

func (o *object) node() *twin.Node { return (*twin.Node)(o) }

// wrap gives the value of a node.
func wrap(n *twin.Node) ref.Val {
	switch {
	case n == nil:
		return absent
	case n.IsObject():
		return (*object)(n)
	case n.IsArray():
		return (*array)(n)
	}
	v, ok := n.Value()
	return scalar(v, ok)
}

func scalar(v twin.Value, ok bool) ref.Val {
	if !ok {
		return absent
	}
	switch v.Type {
	case twin.ValueNumber:
		return types.Double(v.Number)
	case twin.ValueBool:
		return types.Bool(v.Number != 0)
	case twin.ValueText:
		return types.String(v.Text)
	}
	return absent
}

func instant(t twin.Time) ref.Val {
	if t == 0 {
		return absent
	}
	return types.Timestamp{Time: t.Std()}
}

func seconds(s float64) ref.Val {
	if math.Abs(s) > math.MaxInt64/float64(time.Second)/2 {
		return types.NewErr("a duration of %g seconds is too long", s)
	}
	return types.Duration{Duration: time.Duration(s * float64(time.Second))}
}

// Get implements [traits.Indexer].
func (o *object) Get(key ref.Val) ref.Val {
	name, ok := key.(types.String)
	if !ok {
		return types.NewErr("a member of an object is named by a string, not a %s", typeName(key))
	}
	return wrap(o.node().Member(string(name)))
}

// IsSet implements [traits.FieldTester].
func (o *object) IsSet(key ref.Val) ref.Val {
	name, ok := key.(types.String)
	return types.Bool(ok && o.node().Member(string(name)) != nil)
}

// Contains implements [traits.Container].
func (o *object) Contains(key ref.Val) ref.Val { return o.IsSet(key) }

// Size implements [traits.Sizer].
func (o *object) Size() ref.Val { return types.Int(o.node().Len()) }

// Iterator implements [traits.Iterable]: over the names, as CEL does for maps.
func (o *object) Iterator() traits.Iterator {
	names := make([]string, o.node().Len())
	for i := range names {
		names[i] = o.node().At(i).Name()
	}
	return types.NewStringList(types.DefaultTypeAdapter, names).Iterator()
}

// Equal implements [ref.Val]: as objects in JSON, whatever the order.
func (o *object) Equal(other ref.Val) ref.Val {
	p, ok := other.(*object)
	if !ok || o.node().Len() != p.node().Len() {
		return types.False
	}
	for i := range o.node().Len() {
		n := o.node().At(i)
		m := p.node().Member(n.Name())
		if m == nil || types.Equal(wrap(n), wrap(m)) != types.True {
			return types.False
		}
	}
	return types.True
}

// Type implements [ref.Val].
func (o *object) Type() ref.Type { return objectType }

// Value implements [ref.Val].
func (o *object) Value() any { return o }

// ConvertToNative implements [ref.Val].
func (o *object) ConvertToNative(to reflect.Type) (any, error) { return nil, errConvert(to) }

// ConvertToType implements [ref.Val].
func (o *object) ConvertToType(to ref.Type) ref.Val { return convert(o, to) }

// array is an array of a shadow, read where it is.
type array twin.Node

func (a *array) node() *twin.Node { return (*twin.Node)(a) }

// list is the array as CEL's own list, for what is rare.
func (a *array) list() traits.Lister {
	vals := make([]ref.Val, a.node().Len())
	for i := range vals {
		vals[i] = wrap(a.node().At(i))
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals)
}

// Get implements [traits.Indexer]: absent beyond the end.
func (a *array) Get(index ref.Val) ref.Val {
	i, err := types.GetOrError(index)
	if err != nil {
		return types.WrapErr(err)
	}
	if i < 0 || i >= a.node().Len() {
		return absent
	}
	return wrap(a.node().At(i))
}

// GetInt64Index answers CEL for an index that is in the text: absent beyond the end.
func (a *array) GetInt64Index(i int64) (any, bool) { return a.Get(types.Int(i)), true }

// Add implements [traits.Adder].
func (a *array) Add(other ref.Val) ref.Val { return a.list().Add(other) }

// Contains implements [traits.Container].
func (a *array) Contains(v ref.Val) ref.Val {
	for i := range a.node().Len() {
		if types.Equal(wrap(a.node().At(i)), v) == types.True {
			return types.True
		}
	}
	return types.False
}

// Size implements [traits.Sizer].
func (a *array) Size() ref.Val { return types.Int(a.node().Len()) }

// Iterator implements [traits.Iterable].
func (a *array) Iterator() traits.Iterator { return a.list().Iterator() }

// Equal implements [ref.Val].
func (a *array) Equal(other ref.Val) ref.Val { return a.list().Equal(other) }

// Type implements [ref.Val].
func (a *array) Type() ref.Type { return types.ListType }

// Value implements [ref.Val].
func (a *array) Value() any { return a }

// ConvertToNative implements [ref.Val].
func (a *array) ConvertToNative(to reflect.Type) (any, error) { return nil, errConvert(to) }

// ConvertToType implements [ref.Val].
func (a *array) ConvertToType(to ref.Type) ref.Val { return convert(a, to) }

func errConvert(to reflect.Type) error { return fmt.Errorf("a part of a shadow is no %v", to) }

func convert(v ref.Val, to ref.Type) ref.Val {
	if to == types.TypeType {
		return v.Type().(*types.Type)
	}
	return types.NewErr("%s cannot be made a %s", typeName(v), to.TypeName())
}

// typeName is the name of a value's type as users write it.
func typeName(v ref.Val) string {
	return plainType(v.Type().TypeName())
}
