package play

import (
	"context"
	"errors"
	"fmt"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// The patches are those that the clients of Argo Rollouts send.

// findRollout is a Rollout as it stands now.
func (r *run) findRollout(ctx context.Context, w v1alpha1.Workload) (*rollouts.Rollout, *unstructured.Unstructured, error) {
	gvk, u, err := r.find(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	if gvk.Group != rollouts.GroupVersion.Group || gvk.Kind != rolloutKind {
		return nil, nil, fmt.Errorf("%s is a %s; this goes with Rollouts", w, gvk.Kind)
	}
	o := &rollouts.Rollout{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o); err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", w, err)
	}
	return o, u, nil
}

// findTemplate is the object that has the pod template of a workload: the workload itself, or the one that a Rollout refers
// to; rollout then names the Rollout, as Kind/namespace/name.
func (r *run) findTemplate(ctx context.Context, w v1alpha1.Workload) (gvk schema.GroupVersionKind, u *unstructured.Unstructured, rollout string, err error) {
	gvk, u, err = r.find(ctx, w)
	if err != nil || gvk.Kind != rolloutKind {
		return gvk, u, "", err
	}
	ref, ok, _ := unstructured.NestedStringMap(u.Object, "spec", "workloadRef")
	if !ok {
		if m, has, _ := unstructured.NestedMap(u.Object, "spec", "workloadRef"); has {
			return gvk, u, "", fmt.Errorf("spec.workloadRef of %s cannot be read: %v", w, m)
		}
		return gvk, u, "", nil
	}
	rollout = object(gvk, u)
	gvk = schema.FromAPIVersionAndKind(ref["apiVersion"], ref["kind"])
	res, err := r.applier.resource(gvk, u.GetNamespace())
	if err != nil {
		return gvk, nil, rollout, err
	}
	u, err = res.Get(ctx, ref["name"], metav1.GetOptions{})
	return gvk, u, rollout, err
}

// rolloutPatch is what a client writes: a part of the spec, a part of the status, or both; nil leaves it alone.
type rolloutPatch struct{ spec, status map[string]any }

func (p rolloutPatch) merge() map[string]any {
	all := map[string]any{}
	if p.spec != nil {
		all["spec"] = p.spec
	}
	if p.status != nil {
		all["status"] = p.status
	}
	return all
}

// steer writes to a Rollout: the status through its subresource first, and through the whole object where there is none.
func (r *run) steer(ctx context.Context, u *unstructured.Unstructured, p rolloutPatch, what string) (outcome, error) {
	gvk := rollouts.GroupVersion.WithKind(rolloutKind)
	write := func(part map[string]any, sub ...string) error {
		return r.applier.patch(ctx, gvk, u.GetNamespace(), u.GetName(), types.MergePatchType, asJSON(part), sub...)
	}
	if p.status != nil {
		err := write(rolloutPatch{status: p.status}.merge(), "status")
		switch {
		case apierrors.IsNotFound(err):
			err = write(p.merge())
			p.spec = nil
		case err == nil && p.spec != nil:
			err = write(rolloutPatch{spec: p.spec}.merge())
			p.spec = nil
		}
		if err != nil {
			return outcome{}, err
		}
	}
	if p.spec != nil {
		if err := write(rolloutPatch{spec: p.spec}.merge()); err != nil {
			return outcome{}, err
		}
	}
	return outcome{what: what + " " + short(object(gvk, u)), targets: []string{object(gvk, u)}}, nil
}

// updating tells whether a Rollout has an update under way or aborted.
func updating(o *rollouts.Rollout) bool {
	return o.Status.CurrentPodHash != "" && o.Status.CurrentPodHash != o.Status.StableRS
}

func (r *run) actPromote(ctx context.Context, a *v1alpha1.PromoteAction) (outcome, error) {
	o, u, err := r.findRollout(ctx, a.Workload)
	if err != nil {
		return outcome{}, err
	}
	what := "promote"
	if a.Full {
		what = "promote in full"
	}
	p := promotion(o, a.Full)
	if p.spec == nil && p.status == nil || !updating(o) && p.spec == nil {
		return outcome{}, fmt.Errorf("%s has nothing to promote: its newest revision is the stable one", a.Workload)
	}
	return r.steer(ctx, u, p, what)
}

// promotion is what promoting a Rollout writes. A pause is lifted, or else the step left; never both.
func promotion(o *rollouts.Rollout, full bool) rolloutPatch {
	var p rolloutPatch
	if o.Spec.Paused {
		p.spec = map[string]any{"paused": false}
	}
	next, has := nextStep(o)
	switch step := o.Status.Canary.CurrentStepAnalysisRunStatus; {
	case full:
		if updating(o) {
			p.status = map[string]any{"promoteFull": true}
		}
	case len(o.Status.PauseConditions) > 0 && o.Status.ControllerPause && has && step != nil && step.Status == argo.AnalysisPhaseInconclusive:
		p.status = map[string]any{"pauseConditions": nil, "controllerPause": false, "currentStepIndex": next}
	case len(o.Status.PauseConditions) > 0:
		p.status = map[string]any{"pauseConditions": nil}
	case has:
		p.status = map[string]any{"pauseConditions": nil, "currentStepIndex": next}
	}
	return p
}

// nextStep is the index of the step after the current one; has is false for updates without steps.
func nextStep(o *rollouts.Rollout) (next int, has bool) {
	c := o.Spec.Strategy.Canary
	if c == nil || len(c.Steps) == 0 {
		return 0, false
	}
	if i := o.Status.CurrentStepIndex; i != nil {
		next = int(*i)
	}
	return min(next+1, len(c.Steps)), true
}

func (r *run) actAbort(ctx context.Context, w v1alpha1.Workload) (outcome, error) {
	o, u, err := r.findRollout(ctx, w)
	switch {
	case err != nil:
		return outcome{}, err
	case !updating(o):
		return outcome{}, fmt.Errorf("%s has no update to abort: its newest revision is the stable one", w)
	}
	return r.steer(ctx, u, rolloutPatch{status: map[string]any{"abort": true}}, "abort the update of")
}

func (r *run) actRetry(ctx context.Context, w v1alpha1.Workload) (outcome, error) {
	o, u, err := r.findRollout(ctx, w)
	switch {
	case err != nil:
		return outcome{}, err
	case !o.Status.Abort:
		return outcome{}, fmt.Errorf("%s has no aborted update to begin anew", w)
	}
	return r.steer(ctx, u, rolloutPatch{status: map[string]any{"abort": false}}, "retry the update of")
}

// actPause sets or clears spec.paused, which Rollouts and Deployments have.
func (r *run) actPause(ctx context.Context, w v1alpha1.Workload, paused bool) (outcome, error) {
	gvk, u, err := r.find(ctx, w)
	if err != nil {
		return outcome{}, err
	}
	if gvk.Kind != rolloutKind && gvk.Kind != "Deployment" {
		return outcome{}, fmt.Errorf("%s is a %s; pause and resume go with Rollouts and Deployments", w, gvk.Kind)
	}
	spec := func(paused bool) map[string]any { return map[string]any{"spec": map[string]any{"paused": paused}} }
	what := "resume"
	if paused {
		what = "pause"
	}
	o, err := r.patchFound(ctx, gvk, u, types.MergePatchType, spec(paused), what)
	if paused && err == nil {
		o.undo = func(ctx context.Context) error {
			_, err := r.patchFound(ctx, gvk, u, types.MergePatchType, spec(false), "")
			if apierrors.IsNotFound(err) {
				return errors.New("what was paused is gone")
			}
			return err
		}
	}
	return o, err
}
