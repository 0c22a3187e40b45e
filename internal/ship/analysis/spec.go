//lint:file-ignore ST1005 messages of runs begin with words of Argo Rollouts that people and tools look for

package analysis

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/fairway-dev/fairway/api/rollouts"
)

const (
	// depthMax bounds how deep templates may refer to templates. Real ones nest two or three deep.
	depthMax = 16
	// templatesMax bounds how many templates one run may be made of, so that a run fits into one API object.
	templatesMax = 128
)

// Spec makes the spec of an AnalysisRun of the templates that refs name and of those that they name in turn, each once.
// Metrics, arguments and rules come in the order of the peer: those of all namespaced templates before those of all cluster
// templates, each kind in the order in which a reader meets them. Values of args replace those of the templates; an argument
// that no template declares is left out. dryRun and retention stand before the templates' own rules.
//
// It fails when a template does not exist (apierrors.IsNotFound holds), when templates refer to each other in a circle or
// nest too deep, when two metrics or two rules have one name, when two templates give one argument different values, when an
// argument has no value, and when a rule matches no metric.
func Spec(refs []argo.AnalysisTemplateRef, t Templates, args []argo.Argument, dryRun []argo.DryRun, retention []argo.MeasurementRetention) (argo.AnalysisRunSpec, error) {
	flat, err := flatten(refs, t)
	if err != nil {
		return argo.AnalysisRunSpec{}, err
	}
	var spec argo.AnalysisRunSpec
	var declared []argo.Argument
	spec.DryRun, spec.MeasurementRetention = slices.Clone(dryRun), slices.Clone(retention)
	for _, one := range flat {
		for i := range one.Metrics {
			spec.Metrics = append(spec.Metrics, *one.Metrics[i].DeepCopy())
		}
		if declared, err = declare(declared, one.Args); err != nil {
			return argo.AnalysisRunSpec{}, err
		}
		spec.DryRun = append(spec.DryRun, one.DryRun...)
		spec.MeasurementRetention = append(spec.MeasurementRetention, one.MeasurementRetention...)
	}
	if err := uniqueNames(spec); err != nil {
		return argo.AnalysisRunSpec{}, err
	}
	if spec.Args, err = override(declared, args); err != nil {
		return argo.AnalysisRunSpec{}, err
	}
	if err := rulesMatch(spec); err != nil {
		return argo.AnalysisRunSpec{}, err
	}
	return spec, nil
}

// Check says whether all templates that refs lead to are there and can be merged, whatever the values of their arguments.
func (t Templates) Check(refs []argo.AnalysisTemplateRef) error {
	_, err := flatten(refs, t)
	return err
}

// flatten lists the specs of all templates that refs lead to: first the namespaced ones, then those of the cluster.
func flatten(refs []argo.AnalysisTemplateRef, t Templates) ([]*argo.AnalysisTemplateSpec, error) {
	f := flattening{from: t, seen: map[argoRef]bool{}}
	if err := f.follow(refs, nil); err != nil {
		return nil, err
	}
	return append(f.namespaced, f.cluster...), nil
}

// argoRef is a reference in a form that can be compared.
type argoRef struct {
	name    string
	cluster bool
}

type flattening struct {
	from                Templates
	seen                map[argoRef]bool
	namespaced, cluster []*argo.AnalysisTemplateSpec
}

func (f *flattening) follow(refs []argo.AnalysisTemplateRef, path []argoRef) error {
	if len(path) > depthMax {
		return fmt.Errorf("analysis templates nest more than %d deep: %s; refer to the innermost ones directly", depthMax, chain(path))
	}
	for i := range refs {
		ref := argoRef{refs[i].TemplateName, ptr.Deref(refs[i].ClusterScope, false)}
		if slices.Contains(path, ref) {
			return fmt.Errorf("analysis templates refer to each other in a circle: %s; remove one of these references", chain(append(path, ref)))
		}
		if f.seen[ref] {
			continue
		}
		spec, err := f.from.find(ref)
		if err != nil {
			return err
		}
		if f.seen[ref] = true; len(f.seen) > templatesMax {
			return fmt.Errorf("an analysis is made of more than %d templates, the last one %s; divide it into several", templatesMax, ref)
		}
		if ref.cluster {
			f.cluster = append(f.cluster, spec)
		} else {
			f.namespaced = append(f.namespaced, spec)
		}
		if err := f.follow(spec.Templates, append(slices.Clone(path), ref)); err != nil {
			return err
		}
	}
	return nil
}

func (t Templates) find(ref argoRef) (*argo.AnalysisTemplateSpec, error) {
	if ref.cluster {
		if c := t.Cluster[ref.name]; c != nil {
			return &c.Spec, nil
		}
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: rollouts.GroupVersion.Group, Resource: "clusteranalysistemplate"}, ref.name)
	}
	if n := t.Namespaced[ref.name]; n != nil {
		return &n.Spec, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Group: rollouts.GroupVersion.Group, Resource: "analysistemplate"}, ref.name)
}

func (r argoRef) String() string {
	if r.cluster {
		return "ClusterAnalysisTemplate " + r.name
	}
	return "AnalysisTemplate " + r.name
}

func chain(path []argoRef) string {
	names := make([]string, len(path))
	for i, r := range path {
		names[i] = r.String()
	}
	return strings.Join(names, " → ")
}

// declare adds the arguments of one more template. Of two with one name the first that has a value stands.
func declare(have, more []argo.Argument) ([]argo.Argument, error) {
	for _, arg := range more {
		i := slices.IndexFunc(have, func(a argo.Argument) bool { return a.Name == arg.Name })
		switch {
		case i < 0:
			have = append(have, *arg.DeepCopy())
		case have[i].Value != nil && arg.Value != nil && *have[i].Value != *arg.Value:
			return nil, fmt.Errorf("Argument `%s` specified multiple times with different values: '%s', '%s'", arg.Name, *have[i].Value, *arg.Value)
		case have[i].Value == nil && (arg.Value != nil || arg.ValueFrom != nil):
			have[i] = *arg.DeepCopy()
		}
	}
	return have, nil
}

// override gives the declared arguments the values that the caller has for them.
func override(declared, given []argo.Argument) ([]argo.Argument, error) {
	for _, arg := range given {
		i := slices.IndexFunc(declared, func(a argo.Argument) bool { return a.Name == arg.Name })
		if i >= 0 && (arg.Value != nil || arg.ValueFrom != nil) {
			arg.DeepCopyInto(&declared[i])
		}
	}
	for i := range declared {
		a := &declared[i]
		if a.Value == nil && (a.ValueFrom == nil || a.ValueFrom.SecretKeyRef == nil) {
			return nil, fmt.Errorf("args.%s was not resolved", a.Name)
		}
	}
	return declared, nil
}

func uniqueNames(spec argo.AnalysisRunSpec) error {
	seen := map[string]bool{}
	for i := range spec.Metrics {
		if name := spec.Metrics[i].Name; seen[name] {
			return fmt.Errorf("two metrics have the same name '%s'", name)
		}
		seen[spec.Metrics[i].Name] = true
	}
	clear(seen)
	for _, r := range spec.DryRun {
		if seen[r.MetricName] {
			return fmt.Errorf("two Dry-Run metric rules have the same name '%s'", r.MetricName)
		}
		seen[r.MetricName] = true
	}
	clear(seen)
	for _, r := range spec.MeasurementRetention {
		if seen[r.MetricName] {
			return fmt.Errorf("two Measurement Retention metric rules have the same name '%s'", r.MetricName)
		}
		seen[r.MetricName] = true
	}
	return nil
}

// rulesMatch checks the rules against the metrics' names as they will be in the run.
func rulesMatch(spec argo.AnalysisRunSpec) error {
	if len(spec.DryRun) == 0 && len(spec.MeasurementRetention) == 0 {
		return nil
	}
	names := make([]string, len(spec.Metrics))
	for i := range spec.Metrics {
		name, err := substitute(spec.Metrics[i].Name, placeholders(spec.Args), plain)
		if err != nil {
			return fmt.Errorf("the name of metric %q: %w", spec.Metrics[i].Name, err)
		}
		names[i] = name
	}
	_, err := newRules(spec, names)
	return err
}

// rules says which metrics are tried only (dry run), and how many measurements of which are kept.
type rules struct {
	dry  map[string]bool
	keep map[string]int
}

// newRules matches the rules of a spec, regular expressions that may match anywhere in a name, against names.
func newRules(spec argo.AnalysisRunSpec, names []string) (rules, error) {
	r := rules{dry: map[string]bool{}, keep: map[string]int{}}
	for i, rule := range spec.DryRun {
		err := match(rule.MetricName, names, func(name string) { r.dry[name] = true })
		if err != nil {
			return rules{}, fmt.Errorf("dryRun[%d]: %w", i, err)
		}
	}
	for i, rule := range spec.MeasurementRetention {
		err := match(rule.MetricName, names, func(name string) { r.keep[name] = int(rule.Limit) })
		if err != nil {
			return rules{}, fmt.Errorf("measurementRetention[%d]: %w", i, err)
		}
	}
	return r, nil
}

func match(expression string, names []string, do func(name string)) error {
	re, err := regexp.Compile(expression)
	if err != nil {
		return fmt.Errorf("metricName %q is not a regular expression: %w", expression, err)
	}
	none := true
	for _, n := range names {
		if re.MatchString(n) {
			none = false
			do(n)
		}
	}
	if none {
		return errors.New("Rule didn't match any metric name(s)")
	}
	return nil
}
