package validate

import (
	"fmt"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Experiment checks an Experiment by itself. The pod templates are checked by package template.
func Experiment(e *argo.Experiment) []Problem {
	path := field.NewPath("spec")
	errs := duration(e.Spec.Duration, path.Child("duration"))
	deadline := orDefault(e.Spec.ProgressDeadlineSeconds, progressDeadlineDefault)
	names := map[string]bool{}
	for i := range e.Spec.Templates {
		t, at := &e.Spec.Templates[i], path.Child("templates").Index(i)
		switch {
		case t.Name == "":
			errs = append(errs, field.Required(at.Child("name"), fmt.Sprintf("Experiment %s has empty template name at index %d", e.Name, i)))
		case names[t.Name]:
			errs = append(errs, field.Invalid(at.Child("name"), t.Name,
				fmt.Sprintf("Experiment %s has repeated template name '%s' in templates", e.Name, t.Name)))
		}
		names[t.Name] = true
		errs = append(errs, templateSelector(t, i, at)...)
		errs = append(errs, nonnegative(int64(orDefault(t.Replicas, replicasDefault)), at.Child("replicas"))...)
		if t.MinReadySeconds > deadline {
			errs = append(errs, field.Invalid(at.Child("minReadySeconds"), t.MinReadySeconds,
				fmt.Sprintf("MinReadySeconds cannot be longer than ProgressDeadlineSeconds. Check template index %d", i)))
		}
	}
	analyses := map[string]bool{}
	for i := range e.Spec.Analyses {
		a, at := &e.Spec.Analyses[i], path.Child("analyses").Index(i)
		errs = append(errs, uniqueName(analyses, a.Name, at.Child("name"))...)
		if a.TemplateName == "" {
			errs = append(errs, field.Required(at.Child("templateName"), "name an AnalysisTemplate"))
		}
	}
	return problems(errs)
}

func templateSelector(t *argo.TemplateSpec, index int, path *field.Path) field.ErrorList {
	at := path.Child("selector")
	if t.Selector == nil {
		return field.ErrorList{field.Required(at, missing(fmt.Sprintf(".Spec.Templates[%d].Selector", index)))}
	}
	if len(t.Selector.MatchLabels)+len(t.Selector.MatchExpressions) == 0 {
		return field.ErrorList{field.Invalid(at, t.Selector,
			fmt.Sprintf("This experiment is selecting all pods at index %d. A non-empty selector is required.", index))}
	}
	errs := metav1validation.ValidateLabelSelector(t.Selector, metav1validation.LabelSelectorValidationOptions{}, at)
	if len(errs) > 0 {
		return errs
	}
	selector, err := v1.LabelSelectorAsSelector(t.Selector)
	if err == nil && !selector.Matches(labels.Set(t.Template.Labels)) {
		errs = append(errs, field.Invalid(path.Child("template", "metadata", "labels"), t.Template.Labels, "`selector` does not match template `labels`"))
	}
	return errs
}
