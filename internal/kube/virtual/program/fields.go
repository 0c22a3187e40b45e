package program

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// programFields returns the type whose fields a Program file may have.
func programFields() reflect.Type { return reflect.TypeFor[v1alpha1.Program]() }

// checkFields finds the first key of a document that its type does not have, by the JSON names, and names the nearest.
func checkFields(node *yamlv3.Node, t reflect.Type) (int, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case node.Kind == yamlv3.AliasNode:
		return checkFields(node.Alias, t)
	case node.Kind == yamlv3.SequenceNode && t.Kind() == reflect.Slice:
		for _, item := range node.Content {
			if line, err := checkFields(item, t.Elem()); err != nil {
				return line, err
			}
		}
	case node.Kind == yamlv3.MappingNode && t.Kind() == reflect.Map:
		for i := 1; i < len(node.Content); i += 2 {
			if line, err := checkFields(node.Content[i], t.Elem()); err != nil {
				return line, err
			}
		}
	case node.Kind == yamlv3.MappingNode && t.Kind() == reflect.Struct:
		return checkStruct(node, t)
	}
	return 0, nil
}

func checkStruct(node *yamlv3.Node, t reflect.Type) (int, error) {
	fields := jsonFields(t)
	if len(fields) == 0 || opaque(t) {
		return 0, nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		field, known := fields[key.Value]
		if !known {
			names := slices.Sorted(maps.Keys(fields))
			return key.Line, fmt.Errorf("field %q is not known here; did you mean %q? Known are: %s",
				key.Value, nearest(key.Value, names), strings.Join(names, ", "))
		}
		if line, err := checkFields(node.Content[i+1], field); err != nil {
			return line, err
		}
	}
	return 0, nil
}

// opaque reports whether the type reads itself in a form that its fields do not show.
func opaque(t reflect.Type) bool {
	return len(jsonFields(t)) == 0 && (reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) ||
		reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()))
}

// jsonFields returns the fields of a struct by JSON name, embedded ones included.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case f.Anonymous && (name == "" || strings.Contains(options, "inline")) && f.Type.Kind() == reflect.Struct:
			maps.Copy(out, jsonFields(f.Type))
		case name == "":
			out[f.Name] = f.Type
		default:
			out[name] = f.Type
		}
	}
	return out
}

// lineOf returns the line of the value at a path of keys, or of the deepest part that is there.
func lineOf(node *yamlv3.Node, path ...string) int {
	line := node.Line
	for _, key := range path {
		next := child(node, key)
		if next == nil {
			return line
		}
		node, line = next, next.Line
	}
	return line
}

func child(node *yamlv3.Node, key string) *yamlv3.Node {
	if node.Kind != yamlv3.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// faultyLine finds the line of a value that a type refused: the smallest part of the document that fails alone.
func faultyLine(node *yamlv3.Node, into any) int {
	line, _ := refused(node, reflect.TypeOf(into).Elem())
	return max(line, node.Line)
}

func refused(node *yamlv3.Node, t reflect.Type) (int, bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	text, err := yamlv3.Marshal(node)
	if err != nil {
		return node.Line, true
	}
	if yaml.Unmarshal(text, reflect.New(t).Interface()) == nil {
		return 0, false
	}
	switch {
	case node.Kind == yamlv3.MappingNode && t.Kind() == reflect.Struct:
		fields := jsonFields(t)
		for i := 0; i+1 < len(node.Content); i += 2 {
			if f, known := fields[node.Content[i].Value]; known {
				if line, bad := refused(node.Content[i+1], f); bad {
					return line, true
				}
			}
		}
	case node.Kind == yamlv3.SequenceNode && t.Kind() == reflect.Slice:
		for _, item := range node.Content {
			if line, bad := refused(item, t.Elem()); bad {
				return line, true
			}
		}
	}
	return node.Line, true
}
