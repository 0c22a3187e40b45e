// Package change makes the writes by which people steer Rollouts, AnalysisRuns and Experiments: the patches that the kubectl
// plugin of Argo Rollouts v1.10 sends, byte for byte in their meaning, so that either controller understands them. In: an
// object and what is wanted. Out: patches. Making them is pure; [Patch.Apply] sends them.
package change

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// Patch is what is to be merged into an object. A nil part is not sent; without any part there is nothing to do.
type Patch struct {
	Status []byte // into the status subresource
	Spec   []byte // into the object
	// Whole goes into the object in place of both where its kind has no status subresource.
	Whole []byte
}

// Empty is whether there is nothing to do.
func (p Patch) Empty() bool { return p.Status == nil && p.Spec == nil }

// Apply sends a patch for obj, which needs its name and namespace, and leaves in obj what came of it. The status goes first.
func (p Patch) Apply(ctx context.Context, c client.Client, obj client.Object, opts ...client.PatchOption) error {
	spec := p.Spec
	if p.Status != nil {
		sub := make([]client.SubResourcePatchOption, 0, len(opts))
		for _, o := range opts {
			if s, ok := o.(client.SubResourcePatchOption); ok {
				sub = append(sub, s)
			}
		}
		err := c.Status().Patch(ctx, obj, client.RawPatch(types.MergePatchType, p.Status), sub...)
		switch {
		case apierrors.IsNotFound(err): // the kind has no status subresource, or there is no such object, which the next patch tells
			spec = p.Whole
		case err != nil:
			return err
		}
	}
	if spec == nil {
		return nil
	}
	return c.Patch(ctx, obj, client.RawPatch(types.MergePatchType, spec), opts...)
}

// fields of a part of an object.
type fields map[string]any

// merge is a merge patch of the status and the spec; nil ones are left out.
func merge(spec, status fields) []byte {
	parts := map[string]fields{}
	if spec != nil {
		parts["spec"] = spec
	}
	if status != nil {
		parts["status"] = status
	}
	b, err := json.Marshal(parts)
	if err != nil {
		panic(err) // fields hold numbers, texts and truths only
	}
	return b
}

func ofStatus(f fields) Patch { return Patch{Status: merge(nil, f), Whole: merge(nil, f)} }

func ofSpec(f fields) Patch { return Patch{Spec: merge(f, nil)} }

// Pause holds a Rollout where it is until it is promoted.
func Pause() Patch { return ofSpec(fields{"paused": true}) }

// Abort takes an update back: all traffic and pods to the stable revision. The spec stays as it is.
func Abort() Patch { return ofStatus(fields{"abort": true}) }

// Retry begins an aborted update anew, at its first step and with fresh analysis.
func Retry() Patch { return ofStatus(fields{"abort": false}) }

// Restart replaces all pods created before a time, from that time on.
func Restart(at time.Time) Patch {
	return ofSpec(fields{"restartAt": at.UTC().Format(time.RFC3339)})
}

// Terminate ends an AnalysisRun or an Experiment.
func Terminate() Patch { return ofSpec(fields{"terminate": true}) }

// RetryExperiment begins an Experiment anew.
func RetryExperiment() Patch { return Patch{Spec: []byte(`{"status":null}`)} }

// Promotion is how far to promote. The zero value ends what a Rollout waits for: a pause, or the analysis or experiment it runs.
type Promotion struct {
	Full     bool // to the end, past all steps, pauses and analysis
	SkipStep bool // past the current step; the plugin's older form
	SkipAll  bool // past all steps; the plugin's older form
}

// Promote a Rollout in the state in which it was read.
func Promote(ro *rollouts.Rollout, how Promotion) (Patch, error) {
	if how.SkipStep || how.SkipAll {
		return skip(ro, how)
	}
	if how.Full {
		p := Patch{Whole: merge(fields{"paused": false}, fields{"promoteFull": true})}
		if ro.Spec.Paused {
			p.Spec = merge(fields{"paused": false}, nil)
		}
		if ro.Status.CurrentPodHash != ro.Status.StableRS {
			p.Status = merge(nil, fields{"promoteFull": true})
		}
		return p, nil
	}
	resume := fields{"pauseConditions": nil}
	p := Patch{Whole: merge(fields{"paused": false}, resume)}
	if ro.Spec.Paused {
		p.Spec = merge(fields{"paused": false}, nil)
	}
	next, steps := nextStep(ro)
	paused := len(ro.Status.PauseConditions) > 0
	switch {
	case paused && ro.Status.ControllerPause && inconclusive(ro):
		// The step is judged by whoever promotes; left at it, its analysis would begin again.
		if steps {
			p.Status = merge(nil, fields{"pauseConditions": nil, "controllerPause": false, "currentStepIndex": next})
		}
	case paused:
		p.Status = merge(nil, resume)
	case steps:
		resume["currentStepIndex"] = next
		p.Status, p.Whole = merge(nil, resume), merge(fields{"paused": false}, resume)
	}
	return p, nil
}

func skip(ro *rollouts.Rollout, how Promotion) (Patch, error) {
	next, steps := nextStep(ro)
	switch {
	case how.SkipStep && how.SkipAll:
		return Patch{}, errors.New("--skip-current-step and --skip-all-steps exclude each other; give one of them")
	case ro.Spec.Strategy.BlueGreen != nil:
		return Patch{}, errors.New("a blue-green update has no steps to skip; promote it without the flag")
	case !steps:
		return Patch{}, errors.New("it has no steps to skip; promote it without the flag")
	case how.SkipAll:
		next = int32(len(ro.Spec.Strategy.Canary.Steps))
	}
	return ofStatus(fields{"currentStepIndex": next}), nil
}

// nextStep is the index after the current step's, at most the number of steps; false without steps.
func nextStep(ro *rollouts.Rollout) (int32, bool) {
	c := ro.Spec.Strategy.Canary
	if c == nil || len(c.Steps) == 0 {
		return 0, false
	}
	var at int32
	if i := ro.Status.CurrentStepIndex; i != nil {
		at = *i
	}
	return min(at+1, int32(len(c.Steps))), true
}

func inconclusive(ro *rollouts.Rollout) bool {
	run := ro.Status.Canary.CurrentStepAnalysisRunStatus
	return ro.Spec.Strategy.Canary != nil && run != nil && run.Status == argo.AnalysisPhaseInconclusive
}
