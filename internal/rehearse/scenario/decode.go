package scenario

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// Limits of a scenario's text: a document within them is read in well under a second, and aliases cannot blow it up.
const (
	depthMax = 64
	nodesMax = 200_000
)

// decoder turns YAML nodes into the types of api/v1alpha1, strictly, and remembers where everything was written.
type decoder struct {
	file   string
	diags  diagnostics
	places places
	broken broken
	nodes  int
}

// broken remembers what could not be read, down to the elements and fields it is in: whatever is said of those later would
// be about a value that nobody wrote.
type broken map[placeKey]bool

// at tells whether a field could not be read, in whole or in part; for an element, whether anything in it could not.
func (b broken) at(element v1alpha1.Source, path string) bool { return b[placeKey{element, path}] }

// list tells whether anything in a list of the spec could not be read, so that a name may be missing from it.
func (b broken) list(path string) bool { return b[placeKey{path: path}] }

// places remembers the position of every field, by the source of the element it belongs to (a step, a load) and its path
// within, such as "killPods.count".
type places map[placeKey]v1alpha1.Source

type placeKey struct {
	element v1alpha1.Source
	path    string
}

// of gives the place of a field of an element; the element's own place when the field was not written.
func (p places) of(element v1alpha1.Source, path string) v1alpha1.Source {
	for {
		if s, ok := p[placeKey{element, path}]; ok {
			return s
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return element
		}
		path = path[:cut]
	}
}

// scope is where the decoder is: the element, and the path within it.
type scope struct {
	element v1alpha1.Source
	path    string
	depth   int
}

func (s scope) in(field string) scope {
	if s.path != "" && !strings.HasPrefix(field, "[") {
		field = "." + field
	}
	return scope{s.element, s.path + field, s.depth + 1}
}

func (d *decoder) at(n *yaml.Node) v1alpha1.Source {
	return v1alpha1.Source{File: d.file, Line: n.Line, Column: n.Column}
}

func (d *decoder) fail(n *yaml.Node, hint, format string, args ...any) {
	d.diags.add(Error, d.at(n), hint, format, args...)
}

var (
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	rawType         = reflect.TypeFor[json.RawMessage]()
	quantityType    = reflect.TypeFor[resource.Quantity]()
	sourceType      = reflect.TypeFor[v1alpha1.Source]()
)

// enter follows aliases and counts, so that neither depth nor size is unbounded.
func (d *decoder) enter(n *yaml.Node, s scope) (*yaml.Node, bool) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if d.nodes++; d.nodes > nodesMax || s.depth > depthMax {
		if d.nodes <= nodesMax+1 {
			d.fail(n, "split it up", "the scenario is nested more than %d deep or has more than %d values", depthMax, nodesMax)
			d.nodes = nodesMax + 1
		}
		return n, false
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		d.fail(n, "write a value or remove the key", "%s has no value", lastName(s.path))
		return n, false
	}
	return n, true
}

func lastName(path string) string {
	if i := strings.LastIndex(path, "."); i >= 0 {
		path = path[i+1:]
	}
	if path == "" {
		return "the scenario"
	}
	return path
}

// value decodes one node into v.
func (d *decoder) value(n *yaml.Node, v reflect.Value, s scope) {
	n, ok := d.enter(n, s)
	if !ok {
		return
	}
	d.places[placeKey{s.element, s.path}] = d.at(n)
	before := len(d.diags)
	defer func() {
		if len(d.diags) > before {
			d.broken[placeKey{s.element, s.path}] = true
		}
	}()
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		v.Set(reflect.New(t.Elem()))
		v, t = v.Elem(), t.Elem()
	}
	if special := specialForms[t]; special != nil && special(d, n, v, s) {
		return
	}
	switch {
	case t == rawType:
		d.raw(n, v)
	case t == quantityType:
		d.quantity(n, v, s)
	case n.Kind == yaml.ScalarNode && reflect.PointerTo(t).Implements(textUnmarshaler):
		d.text(n, v, s)
	case t.Kind() == reflect.Struct:
		d.object(n, v, s)
	case t.Kind() == reflect.Map:
		d.mapping(n, v, s)
	case t.Kind() == reflect.Slice:
		d.list(n, v, s)
	default:
		d.scalar(n, v, s)
	}
}

func (d *decoder) text(n *yaml.Node, v reflect.Value, s scope) {
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)); err != nil {
		d.fail(n, "", "%s: %v", lastName(s.path), err)
		return
	}
	if v.Kind() == reflect.Struct {
		d.enums(n, v)
	}
}

func (d *decoder) quantity(n *yaml.Node, v reflect.Value, s scope) {
	q, err := resource.ParseQuantity(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		d.fail(n, "write for example 500m, 2, 128Mi or 4Gi", "%s: %q is not a quantity", lastName(s.path), n.Value)
		return
	}
	if q.Sign() < 0 {
		d.fail(n, "write 0 or more", "%s: %q is negative", lastName(s.path), n.Value)
		return
	}
	v.Set(reflect.ValueOf(q))
}

func (d *decoder) raw(n *yaml.Node, v reflect.Value) {
	plain, ok := d.plain(n, 0)
	if !ok {
		return
	}
	data, err := json.Marshal(plain)
	if err != nil {
		d.fail(n, "", "this cannot be written as JSON: %v", err)
		return
	}
	v.SetBytes(data)
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, s scope) {
	if n.Kind != yaml.SequenceNode {
		if !singleAllowed[v.Type()] {
			d.fail(n, "write - or [ ]", "%s must be a list", lastName(s.path))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		d.value(n, v.Index(0), scope{s.element, s.path + "[0]", s.depth + 1})
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.value(item, v.Index(i), s.in(fmt.Sprintf("[%d]", i)))
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, s scope) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "write key: value", "%s must be a mapping", lastName(s.path))
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	for _, p := range d.pairs(n) {
		value := reflect.New(v.Type().Elem()).Elem()
		d.value(p.value, value, s.in("["+p.key.Value+"]"))
		v.SetMapIndex(reflect.ValueOf(p.key.Value).Convert(v.Type().Key()), value)
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, s scope) {
	name := lastName(s.path)
	if n.Kind != yaml.ScalarNode {
		d.fail(n, "", "%s must be a single value, not a list or a mapping", name)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Bool:
		b, err := strconv.ParseBool(n.Value)
		if err != nil || (n.Value != "true" && n.Value != "false") {
			d.fail(n, "write true or false", "%s: %q is neither true nor false", name, n.Value)
			return
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		if err != nil {
			d.fail(n, "write for example 3", "%s: %q is not a whole number", name, n.Value)
			return
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			d.fail(n, "write for example 1.5", "%s: %q is not a number", name, n.Value)
			return
		}
		v.SetFloat(f)
	default:
		d.fail(n, "", "%s cannot be read here", name)
	}
}

type pair struct{ key, value *yaml.Node }

// pairs lists a mapping's keys once, with those of << merges after its own, and reports duplicates.
func (d *decoder) pairs(n *yaml.Node) []pair {
	var own, merged []pair
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" {
			for value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			if d.nodes++; value.Kind == yaml.MappingNode && value != n && d.nodes < nodesMax {
				merged = append(merged, d.pairs(value)...)
			}
			continue
		}
		if key.Kind != yaml.ScalarNode {
			d.fail(key, "write a plain name", "a key must be a text")
			continue
		}
		if first := seen[key.Value]; first != nil {
			d.fail(key, "remove one of them", "%q is given twice, first in line %d", key.Value, first.Line)
			continue
		}
		seen[key.Value] = key
		own = append(own, pair{key, value})
	}
	for _, p := range merged {
		if seen[p.key.Value] == nil {
			seen[p.key.Value] = p.key
			own = append(own, p)
		}
	}
	return own
}
