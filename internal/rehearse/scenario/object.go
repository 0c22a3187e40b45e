package scenario

import (
	"fmt"
	"reflect"
	"sort"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-dev/fairway/internal/rehearse/scenario/spelling"
)

// field is one key a struct can have in a scenario.
type field struct {
	name     string
	index    []int
	typ      reflect.Type
	required bool
	enum     []string
	internal bool // filled in by the reader, never written by a user
}

type shape struct {
	fields []field
	byName map[string]field
	source []int // where the struct keeps its Source; nil when it has none
}

var shapes sync.Map // reflect.Type → *shape

// shapeOf reads a struct's JSON tags: the same that make its JSON form.
func shapeOf(t reflect.Type) *shape {
	if known, ok := shapes.Load(t); ok {
		return known.(*shape)
	}
	s := &shape{byName: map[string]field{}}
	collect(t, nil, s)
	for _, f := range s.fields {
		s.byName[f.name] = f
	}
	shapes.Store(t, s)
	return s
}

func collect(t reflect.Type, prefix []int, s *shape) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(append([]int(nil), prefix...), i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			collect(f.Type, index, s)
			continue
		}
		if !f.IsExported() || name == "" || name == "-" {
			continue
		}
		one := field{
			name: name, index: index, typ: f.Type,
			required: !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero"),
			internal: f.Tag.Get("scenario") == "internal",
		}
		if e := f.Tag.Get("enum"); e != "" {
			one.enum = strings.Split(e, ",")
		}
		if f.Type == sourceType {
			s.source = index
		}
		s.fields = append(s.fields, one)
	}
}

// names lists what a user can write.
func (s *shape) names() []string {
	var names []string
	for _, f := range s.fields {
		if !f.internal {
			names = append(names, f.name)
		}
	}
	sort.Strings(names)
	return names
}

// object decodes a mapping into a struct. A struct with a Source begins an element of its own.
func (d *decoder) object(n *yaml.Node, v reflect.Value, s scope) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "known keys are "+strings.Join(shapeOf(v.Type()).names(), ", "), "%s must be a mapping", lastName(s.path))
		return
	}
	shape := shapeOf(v.Type())
	if shape.source != nil {
		element := d.at(n)
		v.FieldByIndex(shape.source).Set(reflect.ValueOf(element))
		d.places[placeKey{element, ""}] = element
		s = scope{element: element, depth: s.depth}
		before := len(d.diags)
		defer func() {
			if len(d.diags) > before {
				d.broken[placeKey{element, ""}] = true
			}
		}()
	}
	given, refused := map[string]bool{}, false
	for _, p := range d.pairs(n) {
		given[p.key.Value] = true
		if instead, later := unbuiltFields[v.Type()][p.key.Value]; later {
			d.fail(p.key, unbuiltHint(instead), "%s is not built yet", p.key.Value)
			refused = true
			continue
		}
		f, ok := shape.byName[p.key.Value]
		if !ok || f.internal {
			d.fail(p.key, spelling.Suggest(p.key.Value, shape.names()), "unknown field %q", p.key.Value)
			continue
		}
		target := v.FieldByIndex(f.index)
		d.value(p.value, target, s.in(f.name))
		d.enumField(p.value, target, v.Type(), f)
	}
	for _, f := range shape.fields {
		if f.required && !given[f.name] && !refused {
			d.fail(n, fmt.Sprintf("write %s: …", f.name), "%s is missing", f.name)
		}
	}
}

// enumField checks a text against the values its field allows; a list, element by element.
func (d *decoder) enumField(n *yaml.Node, v reflect.Value, owner reflect.Type, f field) {
	if f.enum == nil {
		return
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch v.Kind() {
	case reflect.String:
		if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
			d.enum(n, v.String(), owner, f)
		}
	case reflect.Slice:
		for i := range v.Len() {
			if i < len(n.Content) {
				d.enum(n.Content[i], v.Index(i).String(), owner, f)
			}
		}
	}
}

func (d *decoder) enum(n *yaml.Node, text string, owner reflect.Type, f field) {
	for _, allowed := range f.enum {
		if text == allowed {
			return
		}
	}
	for _, later := range unbuiltValues[owner][f.name] {
		if text == later {
			d.fail(n, "write "+strings.Join(f.enum, ", "), "%s: %s is not built yet", f.name, text)
			return
		}
	}
	d.fail(n, spelling.Suggest(text, f.enum), "%s: %q is not known", f.name, text)
}

// enums checks the texts a short form has set.
func (d *decoder) enums(n *yaml.Node, v reflect.Value) {
	for _, f := range shapeOf(v.Type()).fields {
		if f.enum == nil || f.typ.Kind() != reflect.String {
			continue
		}
		if text := v.FieldByIndex(f.index).String(); text != "" {
			d.enum(n, text, v.Type(), f)
		}
	}
}
