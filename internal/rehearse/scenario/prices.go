package scenario

import (
	"reflect"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// ParsePrices reads a file of prices, as strictly as a scenario.
func ParsePrices(text []byte, file string) (v1alpha1.Prices, []Diagnostic) {
	var p v1alpha1.Prices
	diags := parseInto(text, file, reflect.ValueOf(&p).Elem())
	return p, diags
}

// ParseProgram reads one Program object, as strictly as a scenario.
func ParseProgram(text []byte, file string) (v1alpha1.Program, []Diagnostic) {
	var form struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name        string            `json:"name"`
			Labels      map[string]string `json:"labels,omitempty"`
			Annotations map[string]string `json:"annotations,omitempty"`
		} `json:"metadata"`
		Spec v1alpha1.ProgramSpec `json:"spec"`
	}
	diags := parseInto(text, file, reflect.ValueOf(&form).Elem())
	p := v1alpha1.Program{Spec: form.Spec}
	p.APIVersion, p.Kind = form.APIVersion, form.Kind
	p.Name, p.Labels, p.Annotations = form.Metadata.Name, form.Metadata.Labels, form.Metadata.Annotations
	if !HasErrors(diags) && (p.APIVersion != v1alpha1.GroupVersion.String() || p.Kind != "Program") {
		diags = append(diags, Diagnostic{File: file, Line: 1, Column: 1, Severity: Error,
			Message: "this is a " + p.Kind + " of " + p.APIVersion, Hint: "write apiVersion: fairway.dev/v1alpha1 and kind: Program"})
	}
	return p, diags
}

func parseInto(text []byte, file string, v reflect.Value) []Diagnostic {
	d := &decoder{file: file, places: places{}}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		d.syntax(err)
		return d.diags
	}
	if len(document.Content) == 0 {
		d.diags.add(Error, v1alpha1.Source{File: file, Line: 1, Column: 1}, "", "the file is empty")
		return d.diags
	}
	d.value(document.Content[0], v, scope{})
	return d.diags.sorted()
}
