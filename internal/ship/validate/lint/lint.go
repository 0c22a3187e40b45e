// Package lint checks files offline: Rollouts, AnalysisTemplates, AnalysisRuns and Experiments, each by itself and against the
// Services, templates and routers' objects that are in the same files. In: YAML. Out: findings. It is the very validation of
// admission and of the engine; what is not in the files is taken to exist. Unlike the API server it tells of unknown fields.
package lint

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/validate"
	"github.com/fairway-dev/fairway/internal/ship/validate/template"
)

// documentsMax bounds how many objects are checked together.
const documentsMax = 10_000

// Finding is a problem of an object, or a warning about it.
type Finding struct {
	Kind, Namespace, Name string
	Warning               bool
	validate.Problem
}

// String is one line: KIND NAMESPACE/NAME: FIELD: MESSAGE.
func (f Finding) String() string {
	name := f.Name
	if f.Namespace != "" {
		name = f.Namespace + "/" + f.Name
	}
	level := ""
	if f.Warning {
		level = "warning: "
	}
	return fmt.Sprintf("%s %s: %s%s", f.Kind, name, level, f.Problem)
}

// Problems are the findings that are not warnings.
func Problems(findings []Finding) []Finding {
	var out []Finding
	for _, f := range findings {
		if !f.Warning {
			out = append(out, f)
		}
	}
	return out
}

// Lint checks the objects of YAML or JSON texts together, in the order in which they stand. The error is of a text that cannot
// be read at all.
func Lint(texts ...[]byte) ([]Finding, error) {
	var all []*object
	for _, text := range texts {
		more, err := read(text)
		if err != nil {
			return nil, err
		}
		if all = append(all, more...); len(all) > documentsMax {
			return nil, fmt.Errorf("more than %d objects; check fewer files at once", documentsMax)
		}
	}
	var out []Finding
	for _, o := range all {
		out = append(out, o.check(all)...)
	}
	return out, nil
}

// object is one document.
type object struct {
	*unstructured.Unstructured
	raw []byte // JSON
}

// read takes a text apart; the items of a List count each.
func read(text []byte) ([]*object, error) {
	var out []*object
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for n := 1; ; n++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		raw, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if string(raw) == "null" {
			continue
		}
		items, err := unwrap(raw)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		out = append(out, items...)
	}
}

func unwrap(raw []byte) ([]*object, error) {
	var list struct {
		Kind  string            `json:"kind"`
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("not an object: %w", err)
	}
	if list.Kind != "List" {
		list.Items = []json.RawMessage{raw}
	}
	var out []*object
	for _, item := range list.Items {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(item); err != nil {
			return nil, err
		}
		out = append(out, &object{u, item})
	}
	return out, nil
}

// check returns the findings about one object.
func (o *object) check(all []*object) []Finding {
	if o.GroupVersionKind().Group != rollouts.GroupVersion.Group {
		return nil
	}
	var problems []validate.Problem
	switch o.GetKind() {
	case "Rollout":
		problems = o.rollout(all)
	case "AnalysisTemplate":
		t := &argo.AnalysisTemplate{}
		if problems = strict(o.raw, t); problems == nil {
			problems = validate.AnalysisTemplate(t)
		}
	case "ClusterAnalysisTemplate":
		t := &argo.ClusterAnalysisTemplate{}
		if problems = strict(o.raw, t); problems == nil {
			problems = validate.ClusterAnalysisTemplate(t)
		}
	case "AnalysisRun":
		r := &argo.AnalysisRun{}
		if problems = strict(o.raw, r); problems == nil {
			problems = validate.AnalysisRun(r)
		}
	case "Experiment":
		e := &argo.Experiment{}
		if problems = strict(o.raw, e); problems == nil {
			problems = append(validate.Experiment(e), template.Experiment(e)...)
		}
	}
	var out []Finding
	for _, p := range problems {
		out = append(out, o.finding(p, false))
	}
	for _, w := range validate.Warnings(o.raw) {
		out = append(out, o.finding(w, true))
	}
	return out
}

func (o *object) finding(p validate.Problem, warning bool) Finding {
	return Finding{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), Warning: warning, Problem: p}
}

// rollout checks the spec, then the template, and only if both are right what they refer to.
func (o *object) rollout(all []*object) []validate.Problem {
	if problems := strict(without2019(o.Unstructured), &argo.Rollout{}); problems != nil {
		return problems
	}
	ro := &rollouts.Rollout{}
	if err := json.Unmarshal(o.raw, ro); err != nil {
		return []validate.Problem{{Message: err.Error()}}
	}
	if problems := append(validate.Rollout(ro), template.Rollout(ro)...); len(problems) > 0 {
		return problems
	}
	return validate.References(ro, found(ro, all))
}

// strict decodes an object and tells of every field that its kind does not have.
func strict(raw []byte, into any) []validate.Problem {
	unknown, err := kjson.UnmarshalStrict(raw, into)
	if err != nil {
		return []validate.Problem{{Message: err.Error()}}
	}
	var out []validate.Problem
	for _, u := range unknown {
		out = append(out, validate.Problem{Message: u.Error() + "; remove it, or correct its name"})
	}
	return out
}

// without2019 is the JSON of a Rollout without what the peer's type does not have: the steps of the shape of 2019, and the
// duration in the status of one that was read from a cluster.
func without2019(u *unstructured.Unstructured) []byte {
	u = u.DeepCopy()
	unstructured.RemoveNestedField(u.Object, "spec", "strategy", "steps")
	unstructured.RemoveNestedField(u.Object, "status", "duration")
	raw, err := u.MarshalJSON()
	if err != nil {
		return nil
	}
	return raw
}

// found is what a Rollout refers to as far as it is in the files.
func found(ro *rollouts.Rollout, all []*object) validate.Found {
	f := validate.Found{Offline: true, Services: map[string]*corev1.Service{},
		Templates: analysis.Templates{Namespaced: map[string]*argo.AnalysisTemplate{}, Cluster: map[string]*argo.ClusterAnalysisTemplate{}}}
	for _, o := range all {
		here := together(o.GetNamespace(), ro.Namespace)
		switch kind := o.GetKind(); {
		case kind == "Service" && o.GroupVersionKind().Group == "" && here:
			f.Services[o.GetName()] = decoded(o, &corev1.Service{})
		case kind == "AnalysisTemplate" && here:
			f.Templates.Namespaced[o.GetName()] = decoded(o, &argo.AnalysisTemplate{})
		case kind == "ClusterAnalysisTemplate":
			f.Templates.Cluster[o.GetName()] = decoded(o, &argo.ClusterAnalysisTemplate{})
		}
	}
	f.Objects = routerObjects(ro, all)
	return f
}

// decoded is an object as its type; fields that cannot be read stay empty, and are told of where the object itself is checked.
func decoded[T any](o *object, into *T) *T {
	_ = json.Unmarshal(o.raw, into)
	return into
}

// together tells whether objects with these namespaces may be in one: files often leave it out.
func together(a, b string) bool { return a == b || a == "" || b == "" }
