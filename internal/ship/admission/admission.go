// Package admission judges Rollouts, templates, analysis runs and Experiments when they are written. In: the requests of an API
// server's webhooks, and what caches hold of what a Rollout refers to. Out: warnings, which kubectl shows, and a refusal only
// where it is asked to be strict. It judges by the very validators of the engine and of lint. What it cannot see is never a
// problem: objects come in any order. It also moves the steps of the YAML of 2019 to where they belong.
package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/validate"
	podtemplate "github.com/fairway-dev/fairway/internal/ship/validate/template"
)

// warningsMax bounds what is said about one object: an API server cuts off what is beyond 4 KB.
const warningsMax = 16

// Judge answers the webhooks' requests. The zero value judges objects by themselves and lets all of them in.
type Judge struct {
	// Found is what a Rollout refers to, as far as it is known; nil = nothing is. What is not there is no problem.
	Found func(*rollouts.Rollout) validate.Found
	// InstanceID chooses the objects by the label argo-rollouts.argoproj.io/controller-instance-id; "" = those without it.
	InstanceID string
	// Strict refuses objects with problems. Those that the object had before are never a reason to refuse it.
	Strict bool
	Log    *slog.Logger // nil drops it
}

// Validator answers a validating webhook.
func (j *Judge) Validator() http.Handler { return j.serve(j.validate) }

// Mutator answers a mutating webhook.
func (j *Judge) Mutator() http.Handler { return j.serve(j.mutate) }

// serve makes a mistake of ours let the object in: an answer that is an error would be a refusal, whatever the webhook's
// failurePolicy.
func (j *Judge) serve(answer func(*admissionv1.AdmissionRequest) admission.Response) http.Handler {
	return &admission.Webhook{Handler: admission.HandlerFunc(func(_ context.Context, r admission.Request) (out admission.Response) {
		defer func() {
			if e := recover(); e != nil {
				if j.Log != nil {
					j.Log.Error("an object could not be judged and was let in", "kind", r.Kind.Kind, "namespace", r.Namespace, "name", r.Name,
						"panic", e, "stack", string(debug.Stack()))
				}
				out = admission.Allowed("")
			}
		}()
		if !j.concerns(&r.AdmissionRequest) {
			return admission.Allowed("")
		}
		return answer(&r.AdmissionRequest)
	})}
}

// concerns tells whether a request is for us to judge.
func (j *Judge) concerns(r *admissionv1.AdmissionRequest) bool {
	if r.SubResource != "" || r.Kind.Group != rollouts.GroupVersion.Group ||
		r.Operation != admissionv1.Create && r.Operation != admissionv1.Update {
		return false
	}
	var o metav1.PartialObjectMetadata
	if json.Unmarshal(r.Object.Raw, &o) != nil {
		return false
	}
	return o.DeletionTimestamp == nil && o.Labels[argo.LabelKeyControllerInstanceID] == j.InstanceID
}

func (j *Judge) validate(r *admissionv1.AdmissionRequest) admission.Response {
	problems := j.problems(r.Kind.Kind, r.Object.Raw)
	var fresh []validate.Problem
	if j.Strict && len(problems) > 0 {
		fresh = problems
		if r.Operation == admissionv1.Update {
			before := j.problems(r.Kind.Kind, r.OldObject.Raw)
			fresh = slices.DeleteFunc(slices.Clone(problems), func(p validate.Problem) bool { return slices.Contains(before, p) })
		}
	}
	if len(fresh) > 0 {
		return refusal(r, fresh)
	}
	name := nameOf(r)
	var warnings []string
	for _, p := range append(problems, validate.Warnings(r.Object.Raw)...) {
		warnings = append(warnings, fmt.Sprintf("%s %q: %s", r.Kind.Kind, name, p))
	}
	if more := len(warnings) - warningsMax; more > 0 {
		warnings = append(warnings[:warningsMax], fmt.Sprintf("%s %q: %d more; `fairway rollouts lint` lists them", r.Kind.Kind, name, more))
	}
	return admission.Allowed("").WithWarnings(warnings...)
}

// refusal names every problem; it is in the form of the API server's own.
func refusal(r *admissionv1.AdmissionRequest, problems []validate.Problem) admission.Response {
	name := nameOf(r)
	text := validate.Summary(r.Kind.Kind, name, problems)
	if len(problems) > 1 {
		lines := []string{fmt.Sprintf("The %s %q is invalid:", r.Kind.Kind, name)}
		for _, p := range problems {
			lines = append(lines, "* "+p.String())
		}
		text = strings.Join(lines, "\n")
	}
	status := &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid, Message: text,
		Details: &metav1.StatusDetails{Name: name, Group: r.Kind.Group, Kind: r.Kind.Kind}}
	for _, p := range problems {
		status.Details.Causes = append(status.Details.Causes, metav1.StatusCause{Type: metav1.CauseTypeFieldValueInvalid, Field: p.Field, Message: p.Message})
	}
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: status}}
}

func nameOf(r *admissionv1.AdmissionRequest) string {
	if r.Name != "" {
		return r.Name
	}
	var o metav1.PartialObjectMetadata
	_ = json.Unmarshal(r.Object.Raw, &o) // it could be read before
	return o.GenerateName
}

// problems of an object by the validators of its kind. A Rollout is checked against what it refers to when it is right by
// itself.
func (j *Judge) problems(kind string, raw []byte) []validate.Problem {
	switch kind {
	case "Rollout":
		return decoded(raw, func(ro *rollouts.Rollout) []validate.Problem {
			problems := append(validate.Rollout(ro), podtemplate.Rollout(ro)...)
			if len(problems) > 0 || j.Found == nil {
				return problems
			}
			found := j.Found(ro)
			found.Offline = true // what is absent may come yet
			return validate.References(ro, found)
		})
	case "AnalysisTemplate":
		return decoded(raw, validate.AnalysisTemplate)
	case "ClusterAnalysisTemplate":
		return decoded(raw, validate.ClusterAnalysisTemplate)
	case "AnalysisRun":
		return decoded(raw, validate.AnalysisRun)
	case "Experiment":
		return decoded(raw, func(e *argo.Experiment) []validate.Problem {
			return append(validate.Experiment(e), podtemplate.Experiment(e)...)
		})
	}
	return nil
}

// decoded checks an object as its type. What the definitions let pass and the type does not is a problem, too.
func decoded[T any](raw []byte, check func(*T) []validate.Problem) []validate.Problem {
	o := new(T)
	if err := json.Unmarshal(raw, o); err != nil {
		return []validate.Problem{{Message: "a field cannot be read: " + err.Error() + "; correct it"}}
	}
	return check(o)
}
