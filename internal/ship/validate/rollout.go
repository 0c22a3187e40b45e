package validate

import (
	"fmt"
	"slices"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// Defaults of the peer that rules depend on.
const (
	replicasDefault         = 1
	revisionHistoryDefault  = 10
	progressDeadlineDefault = 600 // seconds
	trafficWeightDefault    = 100
)

// missing is the peer's wording for a field that is not there.
func missing(what string) string { return fmt.Sprintf("Rollout has missing field '%s'", what) }

// Rollout checks the spec of a Rollout by itself. The pod template is checked by package template, with Kubernetes' own rules.
func Rollout(ro *rollouts.Rollout) []Problem {
	spec, path := &ro.Spec, field.NewPath("spec")
	errs := nonnegative(int64(orDefault(spec.Replicas, replicasDefault)), path.Child("replicas"))
	errs = append(errs, workload(spec, path)...)
	errs = append(errs, nonnegative(int64(spec.MinReadySeconds), path.Child("minReadySeconds"))...)
	errs = append(errs, nonnegative(int64(orDefault(spec.RevisionHistoryLimit, revisionHistoryDefault)), path.Child("revisionHistoryLimit"))...)
	deadline := orDefault(spec.ProgressDeadlineSeconds, progressDeadlineDefault)
	errs = append(errs, nonnegative(int64(deadline), path.Child("progressDeadlineSeconds"))...)
	if deadline <= spec.MinReadySeconds {
		errs = append(errs, field.Invalid(path.Child("progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds"))
	}
	if w := spec.RollbackWindow; w != nil {
		errs = append(errs, nonnegative(int64(w.Revisions), path.Child("rollbackWindow", "revisions"))...)
	}
	if a := spec.Analysis; a != nil {
		errs = append(errs, nonnegative(int64(orDefault(a.SuccessfulRunHistoryLimit, 0)), path.Child("analysis", "successfulRunHistoryLimit"))...)
		errs = append(errs, nonnegative(int64(orDefault(a.UnsuccessfulRunHistoryLimit, 0)), path.Child("analysis", "unsuccessfulRunHistoryLimit"))...)
	}
	return problems(append(errs, strategy(ro, path.Child("strategy"))...))
}

// workload checks the selector, and where the template comes from.
func workload(spec *argo.RolloutSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.WorkloadRef == nil {
		switch s := spec.Selector; {
		case s == nil:
			errs = append(errs, field.Required(path.Child("selector"), missing(".spec.selector")))
		case len(s.MatchLabels)+len(s.MatchExpressions) == 0:
			errs = append(errs, field.Invalid(path.Child("selector"), s, "empty selector is invalid for deployment; select labels of the template"))
		default:
			errs = append(errs, metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, path.Child("selector"))...)
		}
		return errs
	}
	ref, at := spec.WorkloadRef, path.Child("workloadRef")
	if !spec.TemplateResolvedFromRef && !spec.EmptyTemplate() {
		errs = append(errs, field.Forbidden(path.Child("template"),
			"template must be empty for workload reference rollout; remove it, or remove workloadRef"))
	}
	kinds := []string{"apps/v1 Deployment", "apps/v1 ReplicaSet", "v1 PodTemplate"}
	if kind := ref.APIVersion + " " + ref.Kind; !slices.Contains(kinds, kind) {
		errs = append(errs, field.NotSupported(at.Child("kind"), kind, kinds))
	}
	if ref.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), "name the workload"))
	}
	modes := []string{argo.ScaleDownNever, argo.ScaleDownOnSuccess, argo.ScaleDownProgressively}
	if ref.ScaleDown != "" && !slices.Contains(modes, ref.ScaleDown) {
		errs = append(errs, field.NotSupported(at.Child("scaleDown"), ref.ScaleDown, modes))
	}
	return errs
}

func strategy(ro *rollouts.Rollout, path *field.Path) field.ErrorList {
	s := ro.Spec.Strategy
	switch {
	case s.BlueGreen == nil && s.Canary == nil:
		return field.ErrorList{field.Required(path, missing(".spec.strategy.canary or .spec.strategy.blueGreen"))}
	case s.BlueGreen != nil && s.Canary != nil:
		return field.ErrorList{field.Invalid(path, "blueGreen: true canary: true",
			"Multiple Strategies can not be listed; remove one of canary and blueGreen")}
	case s.BlueGreen != nil:
		return blueGreen(ro, path.Child("blueGreen"))
	}
	return canary(ro, path.Child("canary"))
}

func blueGreen(ro *rollouts.Rollout, path *field.Path) field.ErrorList {
	s := ro.Spec.Strategy.BlueGreen
	var errs field.ErrorList
	switch {
	case s.ActiveService == "":
		errs = append(errs, field.Required(path.Child("activeService"), missing(".spec.strategy.blueGreen.activeService")))
	case s.ActiveService == s.PreviewService:
		errs = append(errs, field.Invalid(path.Child("activeService"), s.ActiveService,
			"This rollout uses the same service for the active and preview services, but two different services are required."))
	}
	errs = append(errs, nonnegative(int64(orDefault(s.PreviewReplicaCount, 0)), path.Child("previewReplicaCount"))...)
	errs = append(errs, intOrPercent(s.MaxUnavailable, path.Child("maxUnavailable"))...)
	if limit := s.ScaleDownDelayRevisionLimit; limit != nil && *limit > orDefault(ro.Spec.RevisionHistoryLimit, revisionHistoryDefault) {
		errs = append(errs, field.Invalid(path.Child("scaleDownDelayRevisionLimit"), *limit,
			"This rollout's revision history limit can not be smaller than the rollout's scale down limit; raise spec.revisionHistoryLimit"))
	}
	for _, a := range []struct {
		name string
		of   *argo.RolloutAnalysis
	}{{"prePromotionAnalysis", s.PrePromotionAnalysis}, {"postPromotionAnalysis", s.PostPromotionAnalysis}} {
		if a.of != nil {
			errs = append(errs, rolloutAnalysis(ro, a.of, path.Child(a.name))...)
		}
	}
	return append(errs, antiAffinity(s.AntiAffinity, path.Child("antiAffinity"))...)
}

func antiAffinity(a *argo.AntiAffinity, path *field.Path) field.ErrorList {
	if a == nil {
		return nil
	}
	var errs field.ErrorList
	preferred, required := a.PreferredDuringSchedulingIgnoredDuringExecution, a.RequiredDuringSchedulingIgnoredDuringExecution
	if (preferred == nil) == (required == nil) {
		value := fmt.Sprintf("antiAffinity.PreferredDuringSchedulingIgnoredDuringExecution: %t antiAffinity.RequiredDuringSchedulingIgnoredDuringExecution: %t",
			preferred != nil, required != nil)
		errs = append(errs, field.Invalid(path, value, "AntiAffinity must have exactly one strategy listed"))
	}
	if preferred != nil && (preferred.Weight < 1 || preferred.Weight > 100) {
		errs = append(errs, field.Invalid(path.Child("weight"), preferred.Weight, "AntiAffinity weight must be between 1-100"))
	}
	return errs
}

// intOrPercent checks the form of a number of pods.
func intOrPercent(value *intstr.IntOrString, path *field.Path) field.ErrorList {
	switch {
	case value == nil:
		return nil
	case value.Type == intstr.Int:
		return nonnegative(int64(value.IntVal), path)
	case len(validation.IsValidPercent(value.StrVal)) > 0 && !digits(value.StrVal):
		return field.ErrorList{field.Invalid(path, value.StrVal, "must be an integer or percentage (e.g '5%')")}
	}
	return nil
}

// digits tells whether a text is a number of pods; the peer takes those, too.
func digits(text string) bool {
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
	}
	return text != ""
}
