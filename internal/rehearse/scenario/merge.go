package scenario

import (
	"reflect"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// merge lays a scenario over another: structs field by field, maps key by key, lists of named things by name; anything
// else that is given replaces what was there.
func merge(under, over reflect.Value) {
	switch {
	case over.IsZero():
	case over.Kind() == reflect.Struct && !leaf(over.Type()):
		for i := range over.NumField() {
			merge(under.Field(i), over.Field(i))
		}
	case over.Kind() == reflect.Map && !under.IsNil():
		for _, key := range over.MapKeys() {
			under.SetMapIndex(key, over.MapIndex(key))
		}
	case over.Kind() == reflect.Slice && appended[over.Type()]:
		mergeList(under, over)
	default:
		under.Set(over)
	}
}

// leaf tells the structs that are one value.
func leaf(t reflect.Type) bool {
	return t == quantityType || reflect.PointerTo(t).Implements(textUnmarshaler)
}

// appended are the lists that grow by merging; others are replaced.
var appended = map[reflect.Type]bool{
	reflect.TypeFor[[]v1alpha1.Pool]():        true,
	reflect.TypeFor[[]v1alpha1.Manifest]():    true,
	reflect.TypeFor[[]v1alpha1.ObjectPatch](): true,
	reflect.TypeFor[[]v1alpha1.Load]():        true,
	reflect.TypeFor[[]v1alpha1.Service]():     true,
	reflect.TypeFor[[]v1alpha1.Step]():        true,
	reflect.TypeFor[[]v1alpha1.Expectation](): true,
}

func mergeList(under, over reflect.Value) {
	for i := range over.Len() {
		item := over.Index(i)
		if at := find(under, mergeKey(item.Interface())); at >= 0 {
			under.Index(at).Set(item)
			continue
		}
		under.Set(reflect.Append(under, item))
	}
}

func find(list reflect.Value, key string) int {
	for i := range list.Len() {
		if key != "" && mergeKey(list.Index(i).Interface()) == key {
			return i
		}
	}
	return -1
}

// mergeKey is what two entries of a list must share for the later to replace the earlier; empty for none.
func mergeKey(item any) string {
	switch item := item.(type) {
	case v1alpha1.Pool:
		return item.Name
	case v1alpha1.Load:
		return LoadName(&item)
	case v1alpha1.Service:
		return item.Match.String() + " " + item.Image
	case v1alpha1.Step:
		return item.Name
	case v1alpha1.Expectation:
		return item.Name
	}
	return ""
}
