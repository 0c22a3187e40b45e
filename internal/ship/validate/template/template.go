// Package template checks the pod templates of Rollouts and Experiments by Kubernetes' own rules, those of a ReplicaSet. It is
// apart from package validate because it brings in the code that the API server validates pods with.
package template

import (
	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	coredefaults "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/capabilities"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/validate"
)

// Rollout checks the template of a Rollout, and that its selector selects it. A template that is still to be read from a
// workloadRef is not checked.
func Rollout(ro *rollouts.Rollout) []validate.Problem {
	if ro.Spec.WorkloadRef != nil && !ro.Spec.TemplateResolvedFromRef {
		return nil
	}
	replicas := int32(1)
	if ro.Spec.Replicas != nil {
		replicas = *ro.Spec.Replicas
	}
	return problems(check(&ro.Spec.Template, ro.Spec.Selector, replicas, field.NewPath("spec", "template")))
}

// Experiment checks the templates of an Experiment.
func Experiment(e *argo.Experiment) []validate.Problem {
	var errs field.ErrorList
	for i := range e.Spec.Templates {
		t := &e.Spec.Templates[i]
		replicas := int32(1)
		if t.Replicas != nil {
			replicas = *t.Replicas
		}
		errs = append(errs, check(&t.Template, t.Selector, replicas, field.NewPath("spec", "templates").Index(i).Child("template"))...)
	}
	return problems(errs)
}

// check validates a template as the API server would validate that of a ReplicaSet, with the defaults it would fill in. Whatever
// a newer or older server allows that the template uses is allowed.
func check(template *corev1.PodTemplateSpec, selector *metav1.LabelSelector, replicas int32, path *field.Path) field.ErrorList {
	if selector == nil {
		return nil // said already
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil // said already
	}
	capabilities.Setup(true, 0) // whether pods may be privileged is the cluster's to say
	defaulted := &corev1.PodTemplate{Template: *template.DeepCopy()}
	coredefaults.SetObjectDefaults_PodTemplate(defaulted)
	var internal core.PodTemplateSpec
	if err := coredefaults.Convert_v1_PodTemplateSpec_To_core_PodTemplateSpec(&defaulted.Template, &internal, nil); err != nil {
		return field.ErrorList{field.InternalError(path, err)}
	}
	options := podutil.GetValidationOptionsFromPodTemplate(&internal, &internal)
	return appsvalidation.ValidatePodTemplateSpecForReplicaSet(&internal, s, replicas, path, options)
}

func problems(errs field.ErrorList) []validate.Problem {
	var out []validate.Problem
	for _, e := range errs {
		out = append(out, validate.Problem{Field: e.Field, Message: e.ErrorBody()})
	}
	return out
}
