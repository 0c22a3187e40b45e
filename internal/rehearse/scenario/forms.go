package scenario

import (
	"reflect"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// singleAllowed are the lists for which one element may stand alone.
var singleAllowed = map[reflect.Type]bool{
	reflect.TypeFor[v1alpha1.CallGroup]():  true,
	reflect.TypeFor[v1alpha1.Apply]():      true,
	reflect.TypeFor[v1alpha1.ObjectRefs](): true,
}

// specialForms read the types whose YAML is more than their struct or their text. A form gives false to leave a node to
// the usual rules.
var specialForms map[reflect.Type]func(*decoder, *yaml.Node, reflect.Value, scope) bool

func init() { // not in the declaration: the forms refer back to the decoder
	specialForms = map[reflect.Type]func(*decoder, *yaml.Node, reflect.Value, scope) bool{
		reflect.TypeFor[v1alpha1.Seeds]():              seedsForm,
		reflect.TypeFor[v1alpha1.DailyShape]():         shapeForm,
		reflect.TypeFor[v1alpha1.Arrivals]():           arrivalsForm,
		reflect.TypeFor[v1alpha1.Balance]():            balanceForm,
		reflect.TypeFor[v1alpha1.ApplyItem]():          applyForm,
		reflect.TypeFor[v1alpha1.NoWorseExpectation](): noWorseForm,
		reflect.TypeFor[v1alpha1.Manifest]():           manifestForm,
	}
}

func seedsForm(d *decoder, n *yaml.Node, v reflect.Value, s scope) bool {
	if n.Kind == yaml.ScalarNode {
		d.text(n, v, s)
		return true
	}
	return false
}

func shapeForm(d *decoder, n *yaml.Node, v reflect.Value, s scope) bool {
	if n.Kind != yaml.SequenceNode {
		return false
	}
	d.list(n, v.FieldByName("Hourly"), s)
	return true
}

// arrivalsForm reads {bursty: {scv: 4}}.
func arrivalsForm(d *decoder, n *yaml.Node, v reflect.Value, s scope) bool {
	if n.Kind == yaml.ScalarNode {
		return false
	}
	var form struct {
		Bursty struct {
			SCV float64 `json:"scv"`
		} `json:"bursty"`
	}
	before := len(d.diags)
	d.object(n, reflect.ValueOf(&form).Elem(), s)
	if len(d.diags) == before && form.Bursty.SCV < 0 {
		d.fail(n, "write 0 or more; 1 is poisson", "scv: %s is negative", strconv.FormatFloat(form.Bursty.SCV, 'g', -1, 64))
	}
	v.Set(reflect.ValueOf(v1alpha1.Arrivals{Process: v1alpha1.ArrivalsBursty, SCV: form.Bursty.SCV}))
	return true
}

// balanceForm reads {connection: {perClient: 2, maxAge: 30m}} beside {kind: connection, …}.
func balanceForm(d *decoder, n *yaml.Node, v reflect.Value, s scope) bool {
	if n.Kind != yaml.MappingNode || len(n.Content) != 2 || n.Content[0].Value != string(v1alpha1.BalanceConnection) {
		return false
	}
	var form struct {
		PerClient int32             `json:"perClient,omitempty"`
		MaxAge    v1alpha1.Duration `json:"maxAge,omitzero"`
	}
	d.value(n.Content[1], reflect.ValueOf(&form).Elem(), s.in(n.Content[0].Value))
	v.Set(reflect.ValueOf(v1alpha1.Balance{Kind: v1alpha1.BalanceConnection, PerClient: form.PerClient, MaxAge: form.MaxAge}))
	return true
}

// applyForm takes a mapping for an object of the API, whatever its fields.
func applyForm(d *decoder, n *yaml.Node, v reflect.Value, _ scope) bool {
	if n.Kind != yaml.MappingNode {
		return false
	}
	given := map[string]bool{}
	for _, p := range d.pairs(n) {
		given[p.key.Value] = true
	}
	if !given["apiVersion"] || !given["kind"] {
		d.fail(n, "write a path, or an object with apiVersion, kind and metadata", "this is not an object of Kubernetes")
		return true
	}
	v.FieldByName("File").SetString(d.file)
	v.FieldByName("Line").SetInt(int64(n.Line))
	d.raw(n, v.FieldByName("Object"))
	return true
}

func noWorseForm(d *decoder, n *yaml.Node, v reflect.Value, s scope) bool {
	if n.Kind != yaml.SequenceNode {
		return false
	}
	d.list(n, v.FieldByName("Metrics"), s)
	return true
}

// manifestForm keeps the place of a path, which its short form could not.
func manifestForm(d *decoder, n *yaml.Node, v reflect.Value, s scope) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	d.text(n, v, s)
	v.FieldByName("Source").Set(reflect.ValueOf(d.at(n)))
	return true
}
