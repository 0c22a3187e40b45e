package scenario

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// Parse reads one scenario file and checks everything that can be checked without other files and without objects.
// The file name is only for messages and positions. The scenario is as written: no defaults, no includes; a scenario
// with errors holds what could be read.
func Parse(text []byte, file string) (v1alpha1.Scenario, []Diagnostic) {
	l, diags, readable := parse(text, file)
	if readable {
		v := &validator{scenario: &l.Scenario, places: l.places, broken: l.broken, partial: len(l.Scenario.Spec.Include) > 0}
		v.all()
		diags = append(diags, v.diags...)
	}
	return l.Scenario, diagnostics(diags).sorted()
}

// parse reads the text alone. A text that is a scenario at all is readable, be there errors in it.
func parse(text []byte, file string) (l *Loaded, diags []Diagnostic, readable bool) {
	d := &decoder{file: file, places: places{}, broken: broken{}}
	l = &Loaded{places: d.places, broken: d.broken}
	documents := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	switch err := documents.Decode(&document); {
	case errors.Is(err, io.EOF):
		d.diags.add(Error, v1alpha1.Source{File: file, Line: 1, Column: 1}, "begin with apiVersion: fairway.dev/v1alpha1 and kind: Scenario", "the file is empty")
		return l, d.diags, false
	case err != nil:
		d.syntax(err)
		return l, d.diags, false
	}
	root := document.Content[0]
	d.value(root, reflect.ValueOf(&l.Scenario).Elem(), scope{})
	d.kind(root, &l.Scenario)
	if err := documents.Decode(&second); err == nil {
		d.fail(second.Content[0], "put it into a file of its own", "a second document begins here; a scenario is one document")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
	}
	readable = l.Scenario.APIVersion == v1alpha1.GroupVersion.String() && l.Scenario.Kind == v1alpha1.KindScenario && len(d.diags) < diagnosticsMax
	return l, d.diags.sorted(), readable
}

var yamlLine = regexp.MustCompile(`line ([0-9]+): `)

// syntax reports what the YAML reader says, at the line it names.
func (d *decoder) syntax(err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	at := v1alpha1.Source{File: d.file, Line: 1, Column: 1}
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		at.Line, _ = strconv.Atoi(m[1])
		message = strings.Replace(message, m[0], "", 1)
	}
	d.diags.add(Error, at, "check indentation, quotes and tabs", "this is not YAML: %s", message)
}

func (d *decoder) kind(root *yaml.Node, s *v1alpha1.Scenario) {
	if root.Kind != yaml.MappingNode {
		return // already reported
	}
	want := v1alpha1.GroupVersion.String()
	if s.APIVersion != want {
		d.diags.add(Error, d.top("apiVersion", root), "write apiVersion: "+want, "apiVersion is %q", s.APIVersion)
	}
	if s.Kind != v1alpha1.KindScenario {
		d.diags.add(Error, d.top("kind", root), "write kind: "+v1alpha1.KindScenario, "kind is %q", s.Kind)
	}
}

// top is the place of a key of the document, or the document's own when the key is missing.
func (d *decoder) top(key string, root *yaml.Node) v1alpha1.Source {
	if at, ok := d.places[placeKey{path: key}]; ok {
		return at
	}
	return d.at(root)
}
